"""What the report of a packing tells of the rows: whether they can be fitted, and what to warn of."""

import warnings

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.pack import Report
from sparkdml.errors import DataError, DataWarning

EMPTY = "there are no rows to fit: the DataFrame is empty."
WARN_PARTITION_BYTES = 256 << 20


def check_report(report: Report, columns: Columns, skip: bool) -> None:
    """Raise `DataError` unless there are rows that a model can be fitted to."""
    if len(report.sizes) > 1:
        parts = [f"{size} (first in partition {p})" for size, (_, p) in sorted(report.sizes.items())]
        raise DataError(
            f"column {columns.features[0]!r} has vectors of several sizes, {', '.join(parts)}: every vector of the "
            "column must have the same size."
        )
    if violations := report.violations.fatal(skip):
        raise DataError(violations.sentence())
    statistics = report.statistics
    if statistics is None or statistics.count == 0:
        why = f"all {report.rows_seen:,} were skipped: {report.violations.sentence()}" if report.rows_seen else ""
        raise DataError(f"there are no rows to fit: {why}" if why else EMPTY)
    if statistics.weight == 0.0:
        weight = columns.roles["weight"]
        raise DataError(f"all {statistics.count:,} weights in column {weight!r} are zero: one must be positive.")
    largest = max(content.nbytes for content in report.contents)
    if largest > WARN_PARTITION_BYTES:
        warnings.warn(
            f"the largest partition takes {largest >> 20:,} MB, more than {WARN_PARTITION_BYTES >> 20} MB: "
            "a larger numPartitions spreads the work better.",
            DataWarning,
            stacklevel=4,
        )
