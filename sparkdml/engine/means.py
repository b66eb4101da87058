"""The job that finds the means which handleInvalid="mean" puts in place of missing numbers."""

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.means import SCHEMA, Found, SumPresent, load_nodes
from sparkdml.engine.tree import gather, root
from sparkdml.errors import DataError

UNKNOWN_SIZE = 1 << 20  # of vectors whose size the column does not tell: they may be this wide
DEPTH = 2


def feature_means(selected: DataFrame, columns: Columns) -> np.ndarray | None:
    """The weighted means of the features of `select_columns`, (d,), by one job over the rows.

    None where there are no rows or vectors of several sizes, which packing tells better. Raises DataError for a
    feature without any number.
    """
    nodes = selected.mapInArrow(SumPresent(columns, columns.size), SCHEMA).rdd.mapPartitionsWithIndex(load_nodes)
    count, size = nodes.getNumPartitions(), 3 * 8 * (columns.size or UNKNOWN_SIZE)
    found: Found = root(gather(nodes, count, DEPTH, size), count) if count else Found()
    if found.sums is None:
        return None
    mean = found.sums.mean
    if (absent := np.flatnonzero(np.isnan(mean))).size:
        name = columns.feature_names(len(mean))[absent[0]]
        raise DataError(f"column {name!r} has no number in any row of positive weight, so no mean: leave it out.")
    return mean
