"""Bad values, counted where they are found and told on the driver."""

from dataclasses import dataclass, field

SKIP = ", or set handleInvalid (--handle-invalid in a job) to 'skip'"
HANDLE_ADVICE = {
    "null": f"{SKIP}, or of features to 'mean'",
    "NaN": f"{SKIP}, or of features to 'mean'",
    "infinite": SKIP,
}
ADVICE = {
    "null": "fill or drop them",
    "NaN": "fill or drop them",
    "infinite": "replace or drop them",
    "negative": "weights must be zero or more",
    "too large": "rescale the column, whose squares overflow",
    "beyond float32": "rescale the column, or set dtype (--dtype in a job) to 'float64'",
    "no fold": "folds must be whole numbers below 2^31",
    "ragged": "every vector of the column must have the same size",
}
NOUN = {  # the plural's s goes where the $ is
    "null": "missing value$",
    "NaN": "NaN value$",
    "infinite": "infinite value$",
    "negative": "negative weight$",
    "too large": "value$ too large to be added to a margin",
    "beyond float32": "value$ beyond 3.4e+38, the range of float32",
    "no fold": "number$ of no fold",
    "ragged": "vector$ of another size",
}
HANDLE_INVALID = ("error", "skip", "mean")
SKIPPABLE = ("null", "NaN", "infinite")
FILLED = "filled"  # missing values that a mean took the place of: counted, and never fatal
FLATTENED = "flattened"  # values that differ in the table and no more in what is stored of it: never fatal either
UNREADABLE = "unreadable"  # files that a task could not read, which stand in the place of columns


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
        harmless = (FILLED, FLATTENED, *(SKIPPABLE if skip else ()))
        return Violations({k: v for k, v in self.found.items() if k[1] not in harmless})

    @property
    def filled(self) -> int:
        """How many missing values a mean took the place of."""
        return sum(count for (_, kind), (count, _) in self.found.items() if kind == FILLED)

    @property
    def unreadable(self) -> tuple[str, str] | None:
        """The path of the first file that could not be read, and the reason; None where all could be."""
        return min(
            ((path, reason) for (path, kind), (_, reason) in self.found.items() if kind == UNREADABLE), default=None
        )

    def sentence(self, of_arrays: bool = False) -> str:
        """One sentence: column, count, an example of each, and what to do; arrays have no handleInvalid."""
        handled = {} if of_arrays else HANDLE_ADVICE
        parts = [
            f"column {column!r} has {count:,} {_plural(NOUN[kind], count)} (first: {example})"
            for (column, kind), (count, example) in list(self.found.items())[:5]
        ]
        more = f", and {len(self.found) - 5} more kinds of bad values" if len(self.found) > 5 else ""
        advice = "; ".join(dict.fromkeys(ADVICE[kind] + handled.get(kind, "") for _, kind in self.found))
        return f"{', '.join(parts)}{more}: {advice}."

    def __bool__(self) -> bool:
        return bool(self.found)


def _plural(noun: str, count: int) -> str:
    return noun.replace("$", "s" if count > 1 else "")
