"""Bad values, counted where they are found and told on the driver."""

from dataclasses import dataclass, field

ADVICE = {
    "null": "fill or drop them, or set handleInvalid='skip'",
    "NaN": "fill or drop them, or set handleInvalid='skip'",
    "infinite": "replace or drop them, or set handleInvalid='skip'",
    "negative": "weights must be zero or more",
    "ragged": "every vector of the column must have the same size",
}
NOUN = {  # the plural's s goes where the $ is
    "null": "missing value$",
    "NaN": "NaN value$",
    "infinite": "infinite value$",
    "negative": "negative weight$",
    "ragged": "vector$ of another size",
}
SKIPPABLE = ("null", "NaN", "infinite")


@dataclass
class Violations:
    """How often each (column, kind) of bad value was met, and one example of each."""

    found: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def add(self, column: str, kind: str, count: int, example: str) -> None:
        """Count some more; the first example is kept."""
        seen, first = self.found.get((column, kind), (0, example))
        self.found[column, kind] = (seen + count, first)

    def merge(self, other: "Violations") -> "Violations":
        """The violations of both."""
        merged = Violations(dict(self.found))
        for (column, kind), (count, example) in other.found.items():
            merged.add(column, kind, count, example)
        return merged

    def fatal(self, skip: bool) -> "Violations":
        """Those that end a fit: all, or with `skip` those that no row can be dropped for."""
        return Violations({k: v for k, v in self.found.items() if not (skip and k[1] in SKIPPABLE)})

    def sentence(self) -> str:
        """One sentence: column, count, an example of each, and what to do."""
        parts = [
            f"column {column!r} has {count:,} {_plural(NOUN[kind], count)} (first: {example})"
            for (column, kind), (count, example) in list(self.found.items())[:5]
        ]
        more = f", and {len(self.found) - 5} more kinds of bad values" if len(self.found) > 5 else ""
        advice = "; ".join(dict.fromkeys(ADVICE[kind] for _, kind in self.found))
        return f"{', '.join(parts)}{more}: {advice}."

    def __bool__(self) -> bool:
        return bool(self.found)


def _plural(noun: str, count: int) -> str:
    return noun.replace("$", "s" if count > 1 else "")
