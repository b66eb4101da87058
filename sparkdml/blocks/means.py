"""The mean of each feature over the rows that have it: what handleInvalid="mean" puts in place of missing numbers."""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Row

from sparkdml.blocks.block import Block
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import UNNUMBERED, Decoder
from sparkdml.blocks.worker import freeze_modules

SCHEMA = "sums binary"


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


@dataclass(frozen=True, eq=False)
class Found:
    """The sizes of the vectors of some partitions, and the sums where they are all of one size."""

    sizes: frozenset[int] = frozenset()
    sums: PresentSums | None = None

    def merge(self, other: "Found") -> "Found":
        """What both have."""
        sizes = self.sizes | other.sizes
        if len(sizes) > 1:
            return Found(sizes)
        return Found(sizes, self.sums.merge(other.sums) if self.sums and other.sums else self.sums or other.sums)


@dataclass(frozen=True)
class SumPresent:
    """The function of `mapInArrow`: one record a partition; rows that packing will refuse are left out."""

    columns: Columns
    size: int | None

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        decoder = Decoder(self.columns, UNNUMBERED, self.size, fill=np.nan)
        total: PresentSums | None = None
        for batch in batches:
            block = decoder.decode(batch)
            if block.rows:
                part = PresentSums.of(block, total.origin if total else _origin(block))
                total = total.merge(part) if total else part
        found = Found(frozenset([len(total.weight)]), total) if total else Found()
        yield pa.RecordBatch.from_pydict({"sums": pa.array([pickle.dumps(found)], pa.binary())})
        freeze_modules()


def load_nodes(partition: int, rows: Iterable[Row]) -> Iterator[tuple[tuple[int, int], Any]]:
    """The record of the partition of this number as a node of the tree in which they are merged."""
    for row in rows:
        yield (0, partition), pickle.loads(row.sums)


def _origin(block: Block) -> np.ndarray:
    """A row to count from: sums of differences lose no digits where the mean is far from zero, (d,)."""
    if not isinstance(block.features, np.ndarray):
        return np.zeros(block.columns)
    return np.nan_to_num(block.features[0])
