"""Rows straight from Parquet files into a packing task: Arrow decodes them, and no row passes through the JVM.

Executors read this file, so it does not load pyspark.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparkdml.blocks.columns import Columns

BATCH_BYTES = 1 << 22  # of the features of a batch, about


@dataclass(frozen=True)
class RowGroup:
    """One row group of a file."""

    path: str
    index: int


@dataclass(frozen=True)
class Split:
    """The part of a file, from byte `start` to byte `stop`, whose rows Spark would put into one partition."""

    path: str
    start: int
    stop: int

    def row_groups(self, footer: pq.FileMetaData) -> list[RowGroup]:
        """The row groups of the split, which are those with their middle in it."""
        middles = [_middle(footer.row_group(i)) for i in range(footer.num_row_groups)]
        return [RowGroup(self.path, i) for i, middle in enumerate(middles) if self.start <= middle < self.stop]


def _middle(group: pq.RowGroupMetaData) -> int:
    """The byte of the file that is in the middle of a row group."""
    chunks = [group.column(j) for j in range(group.num_columns)]
    offsets = (chunks[0].dictionary_page_offset, chunks[0].data_page_offset)
    start = min(offset for offset in offsets if offset is not None)
    return int(start + sum(chunk.total_compressed_size for chunk in chunks) // 2)


@dataclass(frozen=True)
class Source:
    """Which columns of files are what.

    Attributes
    ----------
    roles : the column in the files of each role that is used.
    features : the columns in the files that are features: one vector or array column, or numeric ones.
    kind : "vector", "array" or "scalars", as in `Columns`.
    """

    roles: dict[str, str]
    features: tuple[str, ...]
    kind: str

    @classmethod
    def of(cls, columns: Columns, names: dict[str, str]) -> "Source":
        """The source of the columns of a DataFrame, given the name in the files of each."""
        roles = {role: names[name] for role, name in columns.roles.items()}
        return cls(roles, tuple(names[name] for name in columns.features), columns.kind)

    def batches(self, groups: Iterable[RowGroup]) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups, as `select_columns` would send them."""
        wanted = [*self.roles.values(), *self.features]
        rows = max(BATCH_BYTES // (8 * len(self.features)), 1) if self.kind == "scalars" else 1 << 12
        for group in groups:
            with pq.ParquetFile(group.path) as file:
                for batch in file.iter_batches(rows, [group.index], wanted, use_threads=False):
                    yield self._arranged(batch)

    def _arranged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        parts = {role: batch.column(name).cast(pa.float64()) for role, name in self.roles.items()}
        chosen = [batch.column(name) for name in self.features]
        if self.kind == "scalars":
            features = _side_by_side(chosen)
        else:
            features = chosen[0] if self.kind == "vector" else chosen[0].cast(pa.list_(pa.float64()))
        return pa.RecordBatch.from_pydict({**parts, "features": features})


def _side_by_side(columns: list[pa.Array]) -> pa.ListArray:
    """Numeric columns as one of arrays."""
    rows, size = len(columns[0]), len(columns)
    X, missing = np.empty((rows, size)), None
    for j, column in enumerate(columns):
        X[:, j] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if column.null_count:
            missing = np.zeros((rows, size), bool) if missing is None else missing
            missing[:, j] = column.is_null().to_numpy(zero_copy_only=False)
    values = pa.array(X.ravel(), mask=None if missing is None else missing.ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(0, (rows + 1) * size, size), pa.int32()), values)
