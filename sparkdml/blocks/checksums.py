"""Checksums of stored bytes: NumPy sums, since those of the standard library take as long as a pass over the rows."""

from zlib import crc32

import numpy as np

ROWS, WIDTH = 127, 4093  # of the matrix that a chunk is taken for; the bytes of a row are a prime number
CHUNK = ROWS * WIDTH  # bytes that share a checksum
HEAD = 512  # bytes at the beginning of a chunk that enter its checksum as they are


class Damaged(Exception):
    """Stored bytes are not those that were written."""


def checksums(data: np.ndarray) -> list[int]:
    """Return the checksum of each chunk of some bytes. The last chunk may be shorter than the others.

    >>> data = np.arange(1_200_000, dtype=np.uint8)
    >>> found = checksums(data)
    >>> data[600_000] ^= 1
    >>> [one == other for one, other in zip(checksums(data), found)]
    [True, False, True]
    """
    return [checksum(data[start : start + CHUNK]) for start in range(0, len(data), CHUNK)]


def checksum(chunk: np.ndarray) -> int:
    """Return the checksum of at most `CHUNK` bytes.

    They are taken for a matrix of bytes. The checksum is the CRC-32 of the first bytes and of the exclusive-or of the
    rows. Each changed byte changes it, and so do pages that change places, since no page is a multiple of a row. Two
    numbers that change places are missed only if they are a multiple of four rows apart. The first bytes tell
    chunks of one repeated number apart. Zeros at the end change nothing: compare the sizes too.
    """
    if len(chunk) < CHUNK:
        padded = np.zeros(-(-len(chunk) // WIDTH) * WIDTH, np.uint8)
        padded[: len(chunk)] = chunk
        chunk = padded
    matrix = chunk.reshape(-1, WIDTH)
    return crc32(np.bitwise_xor.reduce(matrix, axis=0).tobytes(), crc32(matrix[0, :HEAD].tobytes()))


class RunningChecksums:
    """The checksums of bytes that come piece by piece.

    Attributes
    ----------
    size : how many bytes came.
    """

    def __init__(self) -> None:
        self.size = 0
        self._whole: list[int] = []
        self._rest = np.empty(0, np.uint8)  # of the chunk that is not yet whole

    def add(self, data: np.ndarray) -> None:
        """Add some bytes, (n,) uint8."""
        self.size += len(data)
        missing = CHUNK - len(self._rest)
        if len(data) < missing:
            self._rest = np.concatenate([self._rest, data])
            return
        whole = missing + (len(data) - missing) // CHUNK * CHUNK
        self._whole += [checksum(np.concatenate([self._rest, data[:missing]])), *checksums(data[missing:whole])]
        self._rest = data[whole:].copy()

    @property
    def values(self) -> list[int]:
        """The checksums, as `checksums` of all bytes."""
        return [*self._whole, *checksums(self._rest)]


class Expected:
    """The checksums that the bytes of a file should have, and which of them were compared.

    Attributes
    ----------
    size : how many bytes the file should have.
    """

    def __init__(self, size: int, sums: list[int]) -> None:
        self.size = size
        self._sums = sums
        self._left = set(range(len(sums)))

    @property
    def complete(self) -> bool:
        """Return whether all were compared."""
        return not self._left

    def left(self, start: int, stop: int) -> tuple[int, int]:
        """Return where the chunks with the bytes from `start` to `stop` that are still to be compared begin and end."""
        places = self._left.intersection(range(start // CHUNK, -(-stop // CHUNK)))
        return (min(places) * CHUNK, min((max(places) + 1) * CHUNK, self.size)) if places else (start, start)

    def check(self, start: int, data: np.ndarray) -> None:
        """Compare the bytes from `start` on, the first of a chunk; raises `Damaged` where they have other checksums."""
        for place, found in enumerate(checksums(data), start // CHUNK):
            if found != self._sums[place]:
                first, last = place * CHUNK, min((place + 1) * CHUNK, self.size)
                raise Damaged(f"bytes {first:,} to {last:,} are not those that were packed")
            self._left.discard(place)
