"""Reading a directory that nobody vouches for: regular files inside it, of sizes that are known before they are read.

A pipe, a device, a symbolic link that leaves the directory, or a file that is larger than what it can rightly be raises
`FormatError` before a byte of it is read.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sparkdml.arrays import require
from sparkdml.errors import FormatError

MOST_FILES, DEEPEST = 10_000, 16  # of a directory that is listed; a published model has some twenty files
_PIECE = 1 << 20  # bytes read at a time


class Files(Protocol):
    """The files below a directory; `name` is a path below it, with slashes. Raises FormatError for one that is none."""

    root: str

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name, below the directory `below` of them -> size in bytes, of every file at any depth, in order."""

    def size(self, name: str) -> int | None:
        """The size of a file in bytes, or None where there is none."""

    def read(self, name: str, most: int) -> bytes:
        """The content of a file of at most so many bytes."""

    def sha256(self, name: str) -> str:
        """SHA-256 of a file in hexadecimal."""


class LocalFiles:
    """Files of this machine; messages call the directory `shown`."""

    def __init__(self, root: str | os.PathLike[str], shown: str = "") -> None:
        self.root = shown or str(root)
        self._real = os.path.realpath(root)

    def sizes(self, below: str = "") -> dict[str, int]:
        """As `Files` has it; nothing where there is no such directory."""
        found: dict[str, int] = {}
        for path in self._walk(os.path.join(self._real, below), 0):
            name = os.path.relpath(path, os.path.join(self._real, below))
            found[name.replace(os.sep, "/")] = self._status(path).st_size
        return dict(sorted(found.items()))

    def size(self, name: str) -> int | None:
        """As `Files` has it."""
        path = os.path.join(self._real, name)
        return self._status(path).st_size if os.path.lexists(path) else None

    def read(self, name: str, most: int) -> bytes:
        """As `Files` has it."""
        descriptor = self._open(name)
        with open(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            require_size(self.root, name, size, most)
            content = file.read(size + 1)
        require(len(content) == size, f"{self.root}/{name} changed while it was read")
        return content

    def sha256(self, name: str) -> str:
        """As `Files` has it."""
        digest = hashlib.sha256()
        with open(self._open(name), "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def _open(self, name: str) -> int:
        """Open a file without waiting for the other end of a pipe; FileNotFoundError where there is none."""
        path = os.path.join(self._real, name)
        self._status(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _irregular(path)
        return descriptor

    def _status(self, path: str) -> os.stat_result:
        real = os.path.realpath(path)
        inside = real.startswith(self._real.rstrip(os.sep) + os.sep)
        require(inside, f"{path} is a link that leaves the directory")
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            raise _irregular(path)
        return status

    def _walk(self, directory: str, depth: int) -> Iterator[str]:
        require(depth <= DEEPEST, f"{self.root} has more than {DEEPEST} directories in each other")
        if not os.path.isdir(directory):
            return
        for count, entry in enumerate(os.scandir(directory)):
            require(count < MOST_FILES, f"{self.root} has more than {MOST_FILES:,} files")
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path, depth + 1)
            else:
                yield entry.path


def require_size(root: str, name: str, size: int, most: int) -> None:
    """Raise FormatError for a file that is larger than it can rightly be."""
    require(size <= most, f"{root}/{name} has {size:,} bytes, and at most {most:,} can be right")


def _irregular(path: str | Path) -> FormatError:
    return FormatError(f"{path} is no regular file: a saved model has files and directories only.")
