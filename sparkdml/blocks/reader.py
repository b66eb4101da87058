"""Reading the rows of a packed partition in chunks that fit the cache, and comparing them with their checksums."""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np
from scipy.sparse import csr_array

from sparkdml.blocks.block import CHUNK_BYTES, Block, sparse_chunk
from sparkdml.blocks.checksums import CHUNK, Expected
from sparkdml.blocks.columns import ROLES
from sparkdml.blocks.store import (
    CHECKED,
    DTYPES,
    FILES,
    VALUES,
    Handle,
    Layout,
    check_bytes,
    check_size,
    expected_files,
    missing_if_unreadable,
    stored_types,
)

CAST_NUMBERS = 1 << 14  # cast at a time: a quarter takes a third longer, more bring nothing, measured at 100 columns


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
    """The open files of a partition. Features come out of them as float64, whatever they are stored as.

    Bytes are compared with their checksums, unless some reader before found all to be as they were packed, and no file
    was changed since. They are compared before they are used. Mapped values of features are compared after their use,
    while they are still in the cache; a comparison before would wait for the memory.

    Attributes
    ----------
    paths, open, sizes : of each part its path, its open file, and how many bytes this has.
    expected : the checksums of each part; empty where there is nothing to compare.
    """

    def __init__(self, handle: Handle) -> None:
        self.directory = Path(handle.directory)
        self.paths = {part: self.directory / part for part in handle.parts}
        self.open: dict[str, BinaryIO] = {}
        self.sizes: dict[str, int] = {}
        self.expected: dict[str, Expected] = {}
        self.types = stored_types(handle.dtype)
        self.raw = np.empty(CAST_NUMBERS, DTYPES[handle.dtype])  # reused, since memory is slow when it is touched first
        self.mapped: dict[str, tuple[int, np.ndarray]] = {}

    def open_parts(self, handle: Handle, sequential: bool) -> None:
        """Open the files of a partition."""
        changed = []
        for part, path in self.paths.items():
            file = self.open[part] = open(path, "rb", buffering=0)  # noqa: SIM115
            status = os.fstat(file.fileno())
            self.sizes[part] = status.st_size
            changed.append(status.st_ctime_ns)
            if part == "dense" and not sequential:  # the system is not to read beyond the end of a window
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        if changed and not self._checked_after(max(changed)):
            self.expected = expected_files(handle)
            for part, size in self.sizes.items():
                check_size(self.paths[part], size, self.expected[part])

    def mark_checked(self) -> None:
        """Spare later readers the comparison, if all was compared."""
        if self.expected and all(self.expected[part].complete for part in self.open):
            with suppress(OSError):  # the next reader compares again
                (self.directory / CHECKED).touch()

    def close(self) -> None:
        """Close the files."""
        for file in self.open.values():
            file.close()

    def map(self, part: str, start: int, stop: int) -> None:
        """Have the numbers from `start` to `stop` of a file taken from the system's own pages, without a copy.

        A range is a block, and not the whole file, so that a worker never has much of it among its pages.
        """
        self.mapped.pop(part, None)
        if start < stop:
            size = self.types[part].itemsize
            first, last = start * size // CHUNK * CHUNK, -(-stop * size // CHUNK) * CHUNK
            self.mapped[part] = first, self._pages(part, first, min(last, self.sizes[part]))

    def read(self, part: str, start: int, stop: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """The numbers from `start` to `stop` of a file, not to be written to.

        They are those that are mapped, or a copy, in the buffer if there is one.
        """
        array = np.empty(stop - start, FILES[part]) if buffer is None else buffer[: stop - start]
        kind = self.types[part]
        if part not in self.mapped or part not in VALUES:
            self._compare(part, start * kind.itemsize, stop * kind.itemsize)
        if part in self.mapped:
            first, stored = self.mapped[part]
            found = stored[start * kind.itemsize - first : stop * kind.itemsize - first].view(kind)
            if found.dtype == array.dtype:
                return found
            array[:] = found
        elif kind == array.dtype:
            _fill(self.open[part], array, start)
        else:
            for place in range(0, len(array), len(self.raw)):
                piece = array[place : place + len(self.raw)]
                _fill(self.open[part], raw := self.raw[: len(piece)], start + place)
                piece[:] = raw
        return array

    def compare_used(self, part: str, stop: int) -> None:
        """Compare the numbers of a file up to `stop`, as far as their chunks were used as a whole."""
        if part in self.mapped:
            end = stop * self.types[part].itemsize
            self._compare(part, self.mapped[part][0], end if end == self.sizes[part] else end // CHUNK * CHUNK)

    def _checked_after(self, changed: int) -> bool:
        """Whether all files were found to be as they were packed after this time, of their last change."""
        try:
            mark = os.stat(self.directory / CHECKED)
        except OSError:
            return False
        return S_ISREG(mark.st_mode) and mark.st_ctime_ns > changed

    def _compare(self, part: str, start: int, stop: int) -> None:
        """Compare the bytes from `start` to `stop` of a file with their checksums, unless that was done."""
        if part not in self.expected:
            return
        start, stop = self.expected[part].left(start, stop)
        if start < stop:
            first, stored = self.mapped.get(part) or (start, self._pages(part, start, stop))
            check_bytes(self.paths[part], start, stored[start - first : stop - first], self.expected[part])

    def _pages(self, part: str, start: int, stop: int) -> np.ndarray:
        """The bytes of a file from `start` to `stop`."""
        file, before = self.open[part], start % mmap.ALLOCATIONGRANULARITY
        try:
            pages = mmap.mmap(file.fileno(), stop - start + before, access=mmap.ACCESS_READ, offset=start - before)
        except (ValueError, OverflowError):
            raise OSError(f"{file.name} is shorter than when it was packed") from None
        pages.madvise(mmap.MADV_SEQUENTIAL)
        return np.frombuffer(pages, np.uint8, offset=before)


def read_chunks(
    handle: Handle, size: int = CHUNK_BYTES, windows: Sequence[Sequence[slice]] | None = None
) -> Iterator[Block]:
    """The rows of a partition in chunks of about `size` bytes, whose arrays are not to be written to.

    With `windows`, some slices of each block, only their rows are read. A chunk is valid until the next one is asked
    for: most are views of the files' pages, or of a buffer that is used again. Raises `Missing`, perhaps after some
    chunks, where a file is gone or damaged.
    """
    files = _Files(handle)
    try:
        with missing_if_unreadable(handle):
            files.open_parts(handle, sequential=windows is None)
            yield from _chunks(files, handle, size, windows)
            files.mark_checked()
    finally:
        files.close()


def _chunks(files: _Files, handle: Handle, size: int, windows: Sequence[Sequence[slice]] | None) -> Iterator[Block]:
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
        files.compare_used("dense", first + count * columns)


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
        files.compare_used("data", ends[1])
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
