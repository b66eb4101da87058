"""What is in each packed partition, as numbers and as a table to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparkdml.text import align

MAX_SHARES = 5  # so many labels have a column each, more of them one column with their mean
UNEVEN = 3.0  # a partition of so many times the mean rows makes the others wait for it


@dataclass(frozen=True)
class Content:
    """What is in a packed partition.

    Attributes
    ----------
    partition : its number.
    rows, weight : rows, and the sum of their weights.
    labels : rows and weight of each label, or None where they are not counted, see `Statistics`.
    label_mean : the weighted mean of the label; NaN without rows of positive weight.
    nbytes : the size of its files.
    """

    partition: int
    rows: int
    weight: float
    labels: dict[float, tuple[int, float]] | None
    label_mean: float
    nbytes: int


def table_of(contents: Sequence[Content], limit: int = 20) -> str:
    """The partitions as a table, one line each: rows, weight, MB, and the share of each label among the rows.

    With more than five labels the mean label takes the place of the shares. Of more than `limit` partitions only
    those with the most and with the fewest rows are shown.

    >>> mixed, zeros = {0.0: (30, 30.0), 1.0: (10, 10.0)}, {0.0: (20, 20.0)}
    >>> print(table_of([Content(0, 40, 40.0, mixed, 0.25, 1 << 20), Content(1, 20, 20.0, zeros, 0.0, 1 << 19)]))
    Partition  Rows  Weight   MB  Label 0  Label 1
    0            40      40  1.0    75.0%    25.0%
    1            20      20  0.5   100.0%     0.0%
    all          60      60  1.5    83.3%    16.7%
    """
    labels = _labels(contents)
    shown = list(contents)
    if left_out := max(len(shown) - limit, 0):
        by_rows = sorted(shown, key=lambda content: -content.rows)
        shown = by_rows[: (limit + 1) // 2] + by_rows[len(by_rows) - limit // 2 :]
    header = ["Partition", "Rows", "Weight", "MB"]
    header += ["Mean label"] if labels is None else [f"Label {label:g}" for label in labels]
    lines = [_line(str(content.partition), [content], labels) for content in shown]
    if left_out:
        lines.insert((limit + 1) // 2, [f"... {left_out:,} more", *[""] * (len(header) - 1)])
    return align([header, *lines, _line("all", contents, labels)])


def told_uneven(contents: Sequence[Content]) -> str | None:
    """A sentence where one partition has so many rows that the others wait for it, else None."""
    rows, largest = sum(content.rows for content in contents), max(contents, key=lambda content: content.rows)
    if largest.rows <= UNEVEN * rows / len(contents):
        return None
    return (
        f"partition {largest.partition} of {len(contents)} has {largest.rows / rows:.0%} of the rows: "
        "partitioning='uniform' gives each as many"
    )


def _labels(contents: Sequence[Content]) -> list[float] | None:
    """All labels, ascending, or None where they are too many for a column each."""
    found: set[float] = set()
    for content in contents:
        if content.labels is None or len(found := found | set(content.labels)) > MAX_SHARES:
            return None
    return sorted(found)


def _line(name: str, contents: Sequence[Content], labels: Sequence[float] | None) -> list[str]:
    """One line of the table: what is in these partitions together."""
    rows, weight = sum(content.rows for content in contents), sum(content.weight for content in contents)
    cells = [name, f"{rows:,}", f"{weight:,.6g}", f"{sum(content.nbytes for content in contents) / 2**20:.1f}"]
    if labels is None:
        total = sum(content.weight * content.label_mean for content in contents if content.weight)
        return [*cells, f"{total / weight:.6g}" if weight else "-"]
    counts = [sum((content.labels or {}).get(label, (0, 0.0))[0] for content in contents) for label in labels]
    return [*cells, *(f"{count / rows:.1%}" if rows else "-" for count in counts)]
