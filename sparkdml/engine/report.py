"""What the report of a packing tells of the rows: whether they can be fitted, and what to warn of."""

from collections.abc import Sequence

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.report import Report
from sparkdml.blocks.violations import FLATTENED
from sparkdml.engine.unreadable import unreadable_error
from sparkdml.errors import DataError, DataWarning, warn

EMPTY = "there are no rows to fit: the DataFrame is empty."
WARN_PARTITION_BYTES = 256 << 20


def check_report(report: Report, columns: Columns, skip: bool) -> None:
    """Raise `DataError` unless there are rows that a model can be fitted to, or the error of a file."""
    if found := report.violations.unreadable:
        raise unreadable_error(*found)
    if len(report.sizes) > 1:
        raise DataError(_told_sizes(report, columns.features[0]))
    if violations := report.violations.fatal(skip):
        raise DataError(violations.sentence())
    statistics = report.statistics
    if statistics is None or statistics.count == 0:
        why = f"all {report.rows_seen:,} were skipped: {report.violations.sentence()}" if report.rows_seen else ""
        raise DataError(f"there are no rows to fit: {why}" if why else EMPTY)
    if statistics.weight == 0.0:
        weight = columns.roles["weight"]
        raise DataError(f"all {statistics.count:,} weights in column {weight!r} are zero: one must be positive.")
    _warn_flattened(report, columns.feature_names(len(statistics.mean) - 1))
    largest = max(content.nbytes for content in report.contents)
    if largest > WARN_PARTITION_BYTES:
        warn(
            f"the largest partition takes {largest >> 20:,} MB, more than {WARN_PARTITION_BYTES >> 20} MB: "
            "a larger numPartitions spreads the work better.",
            DataWarning,
        )


def _told_sizes(report: Report, column: str) -> str:
    """What is to be said of vectors of several sizes: how many have another one than most, and where the first is."""
    usual = max(report.sizes, key=lambda size: report.sizes[size][0])
    others = {size: found for size, found in report.sizes.items() if size != usual}
    count = sum(rows for rows, _ in others.values())
    size, (_, partition) = next(iter(others.items()))
    return (
        f"column {column!r} has {count:,} vector{'s' * (count > 1)} of another size than {usual}, which "
        f"{report.sizes[usual][0]:,} have (first: size {size} in partition {partition}): every vector of the column "
        "must have the same size."
    )


def _warn_flattened(report: Report, names: Sequence[str]) -> None:
    """Warn of columns that vary in the table but not in what was packed of it."""
    assert report.statistics is not None
    constant = report.statistics.low[:-1] == report.statistics.high[:-1]
    same = [(name, FLATTENED) for name, each in zip(names, constant, strict=True) if each]
    if lost := [key for key in same if key in report.violations.found]:
        warn(
            f"{len(lost)} columns, such as {lost[0][0]!r} about {report.violations.found[lost[0]][1]}, vary by less "
            "than float32 can tell and are constants in what was packed: subtract a constant from them or rescale them "
            "where they are made, or set dtype='float64'.",
            DataWarning,
        )
