"""Checksums of stored bytes: NumPy sums, since those of the standard library take as long as a pass over the rows."""

from zlib import crc32

import numpy as np

ROWS, WIDTH = 63, 8191  # of the matrix that a chunk is taken for; the bytes of a row are a prime number
CHUNK = ROWS * WIDTH  # bytes that share a checksum


class Damaged(Exception):
    """Stored bytes are not those that were written."""


def checksums(data: np.ndarray) -> np.ndarray:
    """Return the checksum of each chunk of some bytes, the last one perhaps shorter than the others, (k,) uint32.

    A chunk is taken for a matrix of bytes. Its checksum is the CRC-32 of the exclusive-or of the rows, which changes
    with every byte, and where two bytes or numbers change places unless these are whole rows apart: since a row is no
    multiple of any power of two, pages never are. Zeros at the end change nothing: the size is to be compared too.

    >>> data = np.arange(1_200_000, dtype=np.uint8)
    >>> found = checksums(data)
    >>> data[600_000] ^= 1
    >>> (checksums(data) == found).tolist()
    [True, False, True]
    """
    whole = len(data) // CHUNK * CHUNK
    rest = np.zeros(-(-(len(data) - whole) // WIDTH) * WIDTH, np.uint8)
    rest[: len(data) - whole] = data[whole:]
    matrices = [*data[:whole].reshape(-1, ROWS, WIDTH), *([rest.reshape(-1, WIDTH)] if len(rest) else [])]
    return np.array([crc32(np.bitwise_xor.reduce(matrix, axis=0)) for matrix in matrices], np.uint32)


class RunningChecksums:
    """The checksums of bytes that come piece by piece.

    Attributes
    ----------
    size : how many bytes came.
    """

    def __init__(self) -> None:
        self.size = 0
        self._whole: list[np.ndarray] = []
        self._rest = np.empty(0, np.uint8)  # of the chunk that is not yet whole

    def add(self, data: np.ndarray) -> None:
        """Add some bytes, (n,) uint8."""
        self.size += len(data)
        if len(self._rest):
            missing = CHUNK - len(self._rest)
            self._rest, data = np.concatenate([self._rest, data[:missing]]), data[missing:]
        if len(self._rest) == CHUNK:
            self._whole.append(checksums(self._rest))
            self._rest = np.empty(0, np.uint8)
        if len(data):
            whole = len(data) // CHUNK * CHUNK
            self._whole.append(checksums(data[:whole]))
            self._rest = data[whole:].copy()

    @property
    def values(self) -> np.ndarray:
        """The checksums, as `checksums` of all bytes."""
        return np.concatenate([*self._whole, checksums(self._rest)])


class Expected:
    """The checksums that the bytes of a file should have, and which of them were compared.

    Attributes
    ----------
    size : how many bytes the file should have.
    complete : whether all were compared.
    """

    def __init__(self, size: int, sums: list[int]) -> None:
        self.size = size
        self._sums = np.array(sums, np.uint32)
        self._left = np.ones(len(sums), bool)

    @property
    def complete(self) -> bool:
        return not self._left.any()

    def left(self, start: int, stop: int) -> tuple[int, int]:
        """Return where the chunks with the bytes from `start` to `stop` that are still to be compared begin and end."""
        first = start // CHUNK
        places = first + np.flatnonzero(self._left[first : -(-stop // CHUNK)])
        return (int(places[0]) * CHUNK, min(int(places[-1] + 1) * CHUNK, self.size)) if len(places) else (start, start)

    def check(self, start: int, data: np.ndarray) -> None:
        """Compare the bytes from `start` on, the first of a chunk; raises `Damaged` where they have other checksums."""
        first = start // CHUNK
        found = checksums(data)
        places = slice(first, first + len(found))
        wrong = np.flatnonzero(found != self._sums[places])
        if len(wrong):
            begin = start + CHUNK * int(wrong[0])
            raise Damaged(f"bytes {begin:,} to {min(begin + CHUNK, self.size):,} are not those that were packed")
        self._left[places] = False
