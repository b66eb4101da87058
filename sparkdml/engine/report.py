"""What the report of a packing tells of the rows: whether they can be fitted, and what to warn of."""

import warnings
from collections.abc import Sequence

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.pack import Report
from sparkdml.blocks.violations import FLATTENED
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
    _warn_flattened(report, columns.feature_names(len(statistics.mean) - 1))
    largest = max(content.nbytes for content in report.contents)
    if largest > WARN_PARTITION_BYTES:
        warnings.warn(
            f"the largest partition takes {largest >> 20:,} MB, more than {WARN_PARTITION_BYTES >> 20} MB: "
            "a larger numPartitions spreads the work better.",
            DataWarning,
            stacklevel=4,
        )


def _warn_flattened(report: Report, names: Sequence[str]) -> None:
    """Warn of a column that varies in the table but not in the rows that were packed."""
    assert report.statistics is not None
    constant = report.statistics.low[:-1] == report.statistics.high[:-1]
    for name in (name for name, same in zip(names, constant, strict=True) if same):
        if (name, FLATTENED) in report.violations.found:
            _, value = report.violations.found[name, FLATTENED]
            warnings.warn(
                f"column {name!r} varies about {value} by less than float32 can tell, and is a constant in what was "
                "packed: subtract that from it where it is made, or set dtype='float64'.",
                DataWarning,
                stacklevel=5,
            )
