"""The mean of each feature over the rows that have it: what handleInvalid="mean" puts in place of missing numbers."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import TaskContext

from sparkdml.blocks.block import Block
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import Decoder
from sparkdml.blocks.worker import freeze_modules
from sparkdml.errors import DataError

if TYPE_CHECKING:  # workers read this file and have no use for it
    from pyspark.sql import DataFrame

SCHEMA = "sums binary"


def feature_means(selected: "DataFrame", columns: Columns) -> np.ndarray | None:
    """The weighted means of the features of `select_columns`, (d,), by one job over the rows.

    None where there are no rows or vectors of several sizes, which packing tells better. Raises DataError for a
    feature without any number.
    """
    sums = [pickle.loads(row.sums) for row in selected.mapInArrow(SumPresent(columns, columns.size), SCHEMA).collect()]
    if len({len(part.weight) for part in sums}) != 1:
        return None
    mean: np.ndarray = reduce(PresentSums.merge, sums).mean
    if (absent := np.flatnonzero(np.isnan(mean))).size:
        name = columns.feature_names(len(mean))[absent[0]]
        raise DataError(f"column {name!r} has no number in any row of positive weight, so no mean: leave it out.")
    return mean


@dataclass(frozen=True, eq=False)
class PresentSums:
    """Sums over the numbers x of each feature that are present, (d,): sum s, and sum s (x - origin)."""

    weight: np.ndarray
    total: np.ndarray
    origin: np.ndarray

    @classmethod
    def of(cls, block: Block, origin: np.ndarray) -> "PresentSums":
        """The sums of a block in which NaN is what is missing."""
        X, s = block.features, block.weights
        if isinstance(X, np.ndarray):
            present = ~np.isnan(X)
            return cls(s @ present, s @ np.where(present, X - origin, 0.0), origin)
        present = ~np.isnan(X.data)
        rows, which = np.repeat(s, np.diff(X.indptr)), X.indices
        missing = np.bincount(which, rows * ~present, X.shape[1])
        total = np.bincount(which, rows * np.where(present, X.data, 0.0), X.shape[1])
        weight = s.sum() - missing
        return cls(weight, total - weight * origin, origin)

    def merge(self, other: "PresentSums") -> "PresentSums":
        """The sums of the rows of both, about the origin of the first."""
        total = self.total + other.total + other.weight * (other.origin - self.origin)
        return PresentSums(self.weight + other.weight, total, self.origin)

    @property
    def mean(self) -> np.ndarray:
        """The means, NaN for a feature that no row has, (d,)."""
        present = self.weight > 0.0
        return np.where(present, self.origin + self.total / np.where(present, self.weight, 1.0), np.nan)


@dataclass(frozen=True)
class SumPresent:
    """The function of `mapInArrow`: one record a partition; rows that packing will refuse are left out."""

    columns: Columns
    size: int | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        decoder = Decoder(self.columns, context.partitionId() if context else 0, self.size, fill=np.nan)
        total: PresentSums | None = None
        for batch in batches:
            block = decoder.decode(batch)
            if block.rows:
                part = PresentSums.of(block, total.origin if total else _origin(block))
                total = total.merge(part) if total else part
        if total is not None:
            yield pa.RecordBatch.from_pydict({"sums": pa.array([pickle.dumps(total)], pa.binary())})
        freeze_modules()


def _origin(block: Block) -> np.ndarray:
    """A row to count from: sums of differences lose no digits where the mean is far from zero, (d,)."""
    if not isinstance(block.features, np.ndarray):
        return np.zeros(block.columns)
    return np.nan_to_num(block.features[0])
