"""Blocks of one partition as plain array files in a directory of their own."""

import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from scipy.sparse import csr_array

from sparkdml.blocks.block import CHUNK_BYTES, Block, sparse_chunk
from sparkdml.blocks.columns import ROLES

# What stands in which file, as blocks have it in memory; the parts of CSR blocks have files of their own.
FILES: dict[str, np.dtype] = {
    "dense": np.dtype("<f8"),
    "data": np.dtype("<f8"),
    "indices": np.dtype("<i4"),
    "indptr": np.dtype("<i8"),
    "label": np.dtype("<f8"),
    "weight": np.dtype("<f8"),
    "offset": np.dtype("<f8"),
    "fold": np.dtype("<i4"),
}
# What the values of the features, in "dense" and "data", may be stored as.
DTYPES: dict[str, np.dtype] = {"float64": np.dtype("<f8"), "float32": np.dtype("<f4")}
CAST_NUMBERS = 1 << 14  # cast at a time: a quarter takes a third longer, more bring nothing, measured at 100 columns


def stored_types(dtype: str) -> dict[str, np.dtype]:
    """The type of the numbers in each file, given that of the features' values."""
    return FILES | {"dense": DTYPES[dtype], "data": DTYPES[dtype]}


@dataclass(frozen=True)
class Layout:
    """One stored block: its rows, and its stored values where it is CSR, else -1."""

    rows: int
    nonzeros: int = -1


@dataclass(frozen=True)
class Handle:
    """All that Spark keeps of a packed partition.

    Attributes
    ----------
    partition : its number.
    directory : where its files are, on the machine that packed it.
    columns : d, the number of features.
    layouts : its blocks, in order.
    parts : which of the files it has.
    digest : a hash of the rows, whatever their order. `order` is one that knows the order.
    nbytes : the size of the files.
    dtype : as what the features' values are stored, one of `DTYPES`.
    """

    partition: int
    directory: str
    columns: int
    layouts: tuple[Layout, ...]
    parts: tuple[str, ...]
    digest: int
    order: int
    nbytes: int
    dtype: str = "float64"

    @property
    def rows(self) -> int:
        """How many rows the partition has."""
        return sum(layout.rows for layout in self.layouts)


@dataclass
class Writer:
    """Appends blocks to the files of a directory, features as `dtype`, to which they should be rounded before."""

    directory: Path
    dtype: str = "float64"
    layouts: list[Layout] = field(default_factory=list)
    files: dict[str, BinaryIO] = field(default_factory=dict)

    def append(self, block: Block) -> None:
        """Write one block after the others."""
        X = block.features
        if isinstance(X, np.ndarray):
            self._write("dense", X)
            self.layouts.append(Layout(block.rows))
        else:
            for part in ("data", "indices", "indptr"):
                self._write(part, getattr(X, part))
            self.layouts.append(Layout(block.rows, X.nnz))
        for role in ROLES:
            if getattr(block, role) is not None:
                self._write(role, getattr(block, role))

    def close(self) -> int:
        """Close the files and return their size in bytes."""
        for file in self.files.values():
            file.close()
        return sum((self.directory / part).stat().st_size for part in self.files)

    def discard(self) -> None:
        """Close the files and remove them."""
        for file in self.files.values():
            file.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write(self, part: str, array: np.ndarray) -> None:
        if part not in self.files:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.files[part] = open(self.directory / part, "wb")  # noqa: SIM115 - closed in close()
        self.files[part].write(np.ascontiguousarray(array, stored_types(self.dtype)[part]).data)


class Missing(Exception):
    """The files of a partition are not on this machine."""


@dataclass(frozen=True)
class _Place:
    """Where a block begins in the files: how many rows, dense rows, row pointers and stored values stand before it."""

    rows: int = 0
    dense: int = 0
    pointers: int = 0
    nonzeros: int = 0

    def features(self, layout: Layout, columns: int) -> list[tuple[str, int, int]]:
        """The files that have the features of a block that begins here, and from where to where."""
        if layout.nonzeros < 0:
            return [("dense", self.dense * columns, (self.dense + layout.rows) * columns)]
        return [(part, self.nonzeros, self.nonzeros + layout.nonzeros) for part in ("data", "indices")]

    def after(self, layout: Layout) -> "_Place":
        """Where the next block begins."""
        if layout.nonzeros < 0:
            return _Place(self.rows + layout.rows, self.dense + layout.rows, self.pointers, self.nonzeros)
        pointers, nonzeros = self.pointers + layout.rows + 1, self.nonzeros + layout.nonzeros
        return _Place(self.rows + layout.rows, self.dense, pointers, nonzeros)


class _Files:
    """The open files of a partition. Features come out of them as float64, whatever they are stored as."""

    def __init__(self, dtype: str) -> None:
        self.open: dict[str, BinaryIO] = {}
        self.types = stored_types(dtype)
        self.raw = np.empty(CAST_NUMBERS, DTYPES[dtype])  # reused, since memory is slow when it is touched first
        self.mapped: dict[str, tuple[int, np.ndarray]] = {}

    def map(self, part: str, start: int, stop: int) -> None:
        """Have the numbers from `start` to `stop` of a file taken from the system's own pages, without a copy.

        A range is a block, and not the whole file, so that a worker never has much of it among its pages.
        """
        self.mapped.pop(part, None)
        if start == stop:
            return
        kind, file = self.types[part], self.open[part]
        before = start * kind.itemsize % mmap.ALLOCATIONGRANULARITY
        size = before + (stop - start) * kind.itemsize
        try:
            pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=start * kind.itemsize - before)
        except ValueError:
            raise OSError(f"{file.name} is shorter than when it was packed") from None
        pages.madvise(mmap.MADV_SEQUENTIAL)
        self.mapped[part] = start, np.frombuffer(pages, kind, stop - start, before)

    def read(self, part: str, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """The numbers from `start` to `stop` of a file, not to be written to.

        They are those that are mapped, or a copy, in the buffer if there is one.
        """
        array = np.empty(stop - start, FILES[part]) if buffer is None else buffer[: stop - start]
        if part in self.mapped:
            first, stored = self.mapped[part]
            found = stored[start - first : stop - first]
            if found.dtype == array.dtype:
                return found
            array[:] = found
        elif self.types[part] == array.dtype:
            _fill(self.open[part], array, start)
        else:
            for place in range(0, len(array), len(self.raw)):
                piece = array[place : place + len(self.raw)]
                _fill(self.open[part], raw := self.raw[: len(piece)], start + place)
                piece[:] = raw
        return array


def read_chunks(
    handle: Handle, size: int = CHUNK_BYTES, windows: Sequence[Sequence[slice]] | None = None
) -> Iterator[Block]:
    """The rows of a partition in chunks of about `size` bytes, whose arrays are not to be written to.

    With `windows`, some slices of each block, only their rows are read. A chunk is valid until the next one is asked
    for: most are views of the files' pages, or of a buffer that is used again. Raises `Missing` before the first where
    a file is gone.
    """
    files = _Files(handle.dtype)
    try:
        for part in handle.parts:
            files.open[part] = open(Path(handle.directory) / part, "rb", buffering=0)  # noqa: SIM115
            if part == "dense" and windows is not None:  # the system is not to read beyond the end of a window
                os.posix_fadvise(files.open[part].fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        dense = partial(_dense_chunks, buffer=np.empty(max(size // 8, handle.columns)))  # at least one row
        sparse = partial(_sparse_chunks, most=sparse_chunk(size, handle.columns))
        roles = [role for role in ROLES if role in files.open]
        place = _Place()
        for i, layout in enumerate(handle.layouts):
            read = dense if layout.nonzeros < 0 else sparse
            if windows is None:
                for part, start, stop in place.features(layout, handle.columns):
                    files.map(part, start, stop)
            for rows in [slice(0, layout.rows)] if windows is None else windows[i]:
                rest = {role: files.read(role, place.rows + rows.start, place.rows + rows.stop) for role in roles}
                yield from read(files, handle.columns, place, rows, rest)
            place = place.after(layout)
    except FileNotFoundError as error:
        raise Missing(handle.partition) from error
    finally:
        for file in files.open.values():
            file.close()


def _dense_chunks(
    files: _Files,
    columns: int,
    place: _Place,
    rows: slice,
    rest: dict[str, np.ndarray],
    buffer: np.ndarray,
) -> Iterator[Block]:
    step = max(1, len(buffer) // max(columns, 1))
    for start in range(rows.start, rows.stop, step):
        count = min(start + step, rows.stop) - start
        first = (place.dense + start) * columns
        X = files.read("dense", first, first + count * columns, buffer)
        within = slice(start - rows.start, start - rows.start + count)
        yield Block(X.reshape(count, columns), **{role: part[within] for role, part in rest.items()})


def _sparse_chunks(
    files: _Files,
    columns: int,
    place: _Place,
    rows: slice,
    rest: dict[str, np.ndarray],
    most: int,
) -> Iterator[Block]:
    indptr = files.read("indptr", place.pointers + rows.start, place.pointers + rows.stop + 1)
    start, total = 0, rows.stop - rows.start
    while start < total:
        stop = int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1
        chunk = slice(start, min(max(stop, start + 1), total))
        ends = place.nonzeros + int(indptr[start]), place.nonzeros + int(indptr[chunk.stop])
        local = (indptr[start : chunk.stop + 1] - indptr[start]).astype(np.int32)
        cells = (files.read("data", *ends), files.read("indices", *ends), local)
        X = csr_array(cells, shape=(chunk.stop - start, columns))
        yield Block(X, **{role: part[chunk] for role, part in rest.items()})
        start = chunk.stop


def _fill(file: BinaryIO, array: np.ndarray, start: int) -> None:
    """Fill an array with the numbers of its own type in a file from `start` on."""
    view = memoryview(array.data).cast("B") if array.size else memoryview(b"")
    file.seek(start * array.itemsize)
    while len(view):
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise OSError(f"{file.name} is shorter than when it was packed")
        view = view[count:]
