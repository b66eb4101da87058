"""Blocks of one partition as plain array files in a directory of their own, with checksums of every byte."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sparkdml.blocks.block import Block
from sparkdml.blocks.checksums import Damaged, Expected, RunningChecksums
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
CHECKSUMS = "checksums.json"  # of each other file the size and the checksums
CHECKED = "checked"  # an empty file, newer than the files of the blocks once these were found to be as they were packed
VALUES = ("dense", "data")  # the files of the features' values


def stored_types(dtype: str) -> dict[str, np.dtype]:
    """The type of the numbers in each file, given that of the features' values."""
    return FILES | dict.fromkeys(VALUES, DTYPES[dtype])


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
    seal : the digest of the file with the checksums.
    """

    partition: int
    directory: str
    columns: int
    layouts: tuple[Layout, ...]
    parts: tuple[str, ...]
    digest: int
    order: int
    nbytes: int
    dtype: str
    seal: str

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
    written: dict[str, RunningChecksums] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """How many bytes were written."""
        return sum(each.size for each in self.written.values())

    def append(self, block: Block) -> None:
        """Write one block after the others."""
        X = block.features
        if isinstance(X, np.ndarray):
            self._write_numbers("dense", X)
            self.layouts.append(Layout(block.rows))
        else:
            for part in ("data", "indices", "indptr"):
                self._write_numbers(part, getattr(X, part))
            self.layouts.append(Layout(block.rows, X.nnz))
        for role in ROLES:
            if getattr(block, role) is not None:
                self._write_numbers(role, getattr(block, role))

    def write(self, part: str, data: np.ndarray) -> None:
        """Append bytes, (n,) uint8, to a file of any name."""
        if part not in self.files:
            make_private(self.directory)
            self.files[part] = _opened(self.directory / part)
            self.written[part] = RunningChecksums()
        self.files[part].write(data.data)
        self.written[part].add(data)

    def close(self) -> str:
        """Close the files, write their checksums and return the digest of these."""
        for file in self.files.values():
            file.close()
        table = json.dumps({part: [each.size, each.values] for part, each in self.written.items()}).encode()
        make_private(self.directory)
        with _opened(self.directory / CHECKSUMS) as file:
            file.write(table)
        return _digest(table)

    def discard(self) -> None:
        """Close the files and remove them; also where the disk has no room for what they still hold."""
        for file in self.files.values():
            with suppress(OSError):
                file.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _write_numbers(self, part: str, array: np.ndarray) -> None:
        self.write(part, np.ascontiguousarray(array, stored_types(self.dtype)[part]).reshape(-1).view(np.uint8))


def make_private(directory: Path) -> None:
    """Make the directory of a partition and that of its pack, which nobody else may read."""
    directory.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (directory.parent, directory):
        each.mkdir(mode=0o700, exist_ok=True)


def _opened(path: Path) -> BinaryIO:
    """A new file that nobody else may read; whoever opens it closes it."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _digest(table: bytes) -> str:
    return blake2b(table, digest_size=16).hexdigest()


class Missing(Exception):
    """The files of a partition are not on this machine, or not as they were packed; the message says what is wrong."""


@contextmanager
def missing_if_unreadable(handle: Handle) -> Iterator[None]:
    """Raise `Missing` where the system cannot read a file of a partition."""
    try:
        yield
    except OSError as error:
        raise Missing(f"{error.filename or handle.directory} cannot be read: {error.strerror or error}") from error


def expected_files(handle: Handle) -> dict[str, Expected]:
    """Return what each file of a partition was when it was packed."""
    path = Path(handle.directory, CHECKSUMS)
    table = path.read_bytes()
    if _digest(table) != handle.seal:
        raise Missing(f"{path} is damaged")
    return {part: Expected(size, sums) for part, (size, sums) in json.loads(table).items()}


def read_file(handle: Handle, part: str) -> bytes:
    """Return a file of a partition as it was packed; raises `Missing` where it is not there or is another one now."""
    path = Path(handle.directory, part)
    with missing_if_unreadable(handle):
        expected, data = expected_files(handle)[part], path.read_bytes()
    check_size(path, len(data), expected)
    check_bytes(path, 0, np.frombuffer(data, np.uint8), expected)
    return data


def check_size(path: Path, size: int, expected: Expected) -> None:
    """Raise `Missing` unless a file has as many bytes as were packed."""
    if size != expected.size:
        raise Missing(f"{path} has {size:,} bytes, but {expected.size:,} were packed")


def check_bytes(path: Path, start: int, data: np.ndarray, expected: Expected) -> None:
    """Raise `Missing` unless the bytes of a file from `start` on are those that were packed."""
    try:
        expected.check(start, data)
    except Damaged as damaged:
        raise Missing(f"{path} is damaged: {damaged}") from None
