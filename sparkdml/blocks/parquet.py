"""Rows straight from Parquet files into a packing task: Arrow decodes them, and no row passes through the JVM.

Whatever Arrow reads otherwise than Spark does, or not at all, is `Unreadable`: Spark shall read it then.
Executors read this file, so it does not load pyspark.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.hadoop_checksums import Checksums

BATCH_BYTES = 1 << 22  # of the features of a batch, about
CODECS = frozenset(("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4"))  # without those that Arrow reads and Spark not
BAD_PAGE = "CRC checksum verification failed"  # in a sentence of Arrow's


GONE = "it is gone"


class Unreadable(Exception):
    """A file that cannot be read here: damaged, gone, or of a kind that is left to Spark."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"file {path} cannot be read: {reason}")
        self.path, self.reason = path, reason


@contextmanager
def raised_unreadable(path: str) -> Iterator[None]:
    """Raise `Unreadable` where a file cannot be read, with the reason that Arrow gives."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as failure:
        gone = isinstance(failure, FileNotFoundError)
        raise Unreadable(path, GONE if gone else " ".join(str(failure).split())) from failure


@dataclass(frozen=True)
class Split:
    """The part of a file, from byte `start` to byte `stop`, whose rows Spark would put into one partition."""

    path: str
    start: int
    stop: int

    def row_groups(self, footer: pq.FileMetaData) -> list[int]:
        """The row groups of the split, which are those with their middle in it."""
        middles = [_middle(footer.row_group(i)) for i in range(footer.num_row_groups)]
        return [i for i, middle in enumerate(middles) if self.start <= middle < self.stop]


def _middle(group: pq.RowGroupMetaData) -> int:
    """The byte of the file that is in the middle of a row group."""
    chunks = [group.column(j) for j in range(group.num_columns)]
    return _start(chunks[0]) + sum(chunk.total_compressed_size for chunk in chunks) // 2


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    """The first byte of the pages of a column."""
    offsets = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return min(int(offset) for offset in offsets if offset is not None)


@dataclass(frozen=True)
class Source:
    """Which columns of files are what.

    Attributes
    ----------
    roles : the column in the files of each role that is used.
    features : the columns in the files that are features: one vector or array column, or numeric ones.
    kind : "vector", "array" or "scalars", as in `Columns`.
    types : the type of each of these columns, as `plain` gives it.
    case_sensitive : whether names that differ in capitals are different names.
    """

    roles: dict[str, str]
    features: tuple[str, ...]
    kind: str
    types: dict[str, pa.DataType]
    case_sensitive: bool

    @classmethod
    def of(
        cls, columns: Columns, names: dict[str, str], types: dict[str, pa.DataType], case_sensitive: bool
    ) -> "Source":
        """The source of the columns of a DataFrame, given the name in the files of each, and their types there."""
        roles = {role: names[name] for role, name in columns.roles.items()}
        features = tuple(names[name] for name in columns.features)
        return cls(roles, features, columns.kind, types, case_sensitive)

    def fits(self, schema: pa.Schema) -> bool:
        """Whether a file has each column once, as a type that needs no conversion."""
        same = str if self.case_sensitive else str.lower
        count, places = Counter(map(same, schema.names)), {name: i for i, name in enumerate(schema.names)}
        return all(
            name in places and count[same(name)] == 1 and plain(schema.field(places[name]).type) == data_type
            for name, data_type in self.types.items()
        )

    def batches(self, splits: Iterable[Split]) -> Iterator[pa.RecordBatch]:
        """The rows of some splits, as `select_columns` would send them; raises `Unreadable`."""
        for split in splits:
            with raised_unreadable(split.path):
                before = _state(split.path)
                yield from self._batches(split)
                if _state(split.path) != before:
                    raise Unreadable(split.path, "it was changed while it was read")

    def _batches(self, split: Split) -> Iterator[pa.RecordBatch]:
        wanted = [*self.roles.values(), *self.features]
        rows = max(BATCH_BYTES // (8 * len(self.features)), 1) if self.kind == "scalars" else 1 << 12
        sums = Checksums.of(split.path)
        with pq.ParquetFile(split.path, page_checksum_verification=sums is None) as file:
            if not self.fits(file.schema_arrow):
                raise Unreadable(split.path, "its columns are no more of the types that they were")
            groups = split.row_groups(file.metadata)
            self._check(split.path, file.metadata, groups, sums)
            for group in groups:
                for batch in file.iter_batches(rows, [group], wanted, use_threads=False):
                    yield self._arranged(batch)

    def _check(self, path: str, footer: pq.FileMetaData, groups: Sequence[int], sums: Checksums | None) -> None:
        """Raise `Unreadable` for bytes that Hadoop's checksums are not of, and what only Arrow can decompress."""
        size = os.path.getsize(path)
        ranges = [(size - footer.serialized_size - 8, size)]
        for group in map(footer.row_group, groups):
            for chunk in map(group.column, range(group.num_columns)):
                if chunk.path_in_schema.partition(".")[0] not in self.types:
                    continue
                if chunk.compression not in CODECS:
                    raise Unreadable(path, f"{chunk.compression} is a compression that not every Spark reads")
                ranges.append((_start(chunk), _start(chunk) + chunk.total_compressed_size))
        if sums is None:
            return
        with open(path, "rb", buffering=0) as file:
            if not all(sums.match(file, *each) for each in _joined(ranges)):
                raise Unreadable(path, "its bytes differ from their checksums")

    def _arranged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        parts = {role: _doubles(batch.column(name)) for role, name in self.roles.items()}
        chosen = [batch.column(name) for name in self.features]
        if self.kind == "scalars":
            features = _side_by_side(chosen)
        else:
            features = chosen[0] if self.kind == "vector" else chosen[0].cast(pa.list_(pa.float64()), safe=False)
        return pa.RecordBatch.from_pydict({**parts, "features": features})


def plain(data_type: pa.DataType) -> pa.DataType:
    """A type without the names and nullability of the elements of its lists, and the nullability of its fields.

    >>> plain(pa.list_(pa.field("element", pa.int32(), nullable=False))) == pa.list_(pa.int32())
    True
    """
    if pa.types.is_list(data_type):
        return pa.list_(plain(data_type.value_type))
    if pa.types.is_struct(data_type):
        return pa.struct([(part.name, plain(part.type)) for part in data_type])
    return data_type


def _state(path: str) -> tuple[int, int, int]:
    """What changes when somebody writes to a file or puts another in its place."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of bytes, those that follow each other as one.

    >>> _joined([(5, 9), (0, 2), (2, 5), (10, 12)])
    [(0, 9), (10, 12)]
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def _doubles(column: pa.Array) -> pa.Array:
    """Numbers as the doubles next to them: whole ones beyond 2^53 are rounded, as Spark's cast does."""
    return column.cast(pa.float64(), safe=False)


def _side_by_side(columns: list[pa.Array]) -> pa.ListArray:
    """Numeric columns as one of arrays."""
    rows, size = len(columns[0]), len(columns)
    X, missing = np.empty((rows, size)), None
    for j, column in enumerate(columns):
        X[:, j] = _doubles(column).to_numpy(zero_copy_only=False)
        if column.null_count:
            missing = np.zeros((rows, size), bool) if missing is None else missing
            missing[:, j] = column.is_null().to_numpy(zero_copy_only=False)
    values = pa.array(X.ravel(), mask=None if missing is None else missing.ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(0, (rows + 1) * size, size), pa.int32()), values)
