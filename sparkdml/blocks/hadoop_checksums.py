"""Hadoop's checksums of local files, in `.NAME.crc` next to each file; Spark compares all bytes it reads with them.

Executors read this file, so it does not load pyspark.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path

import numpy as np

HEADER = struct.Struct(">4sI")  # a mark, and the bytes of each sum
MARK = b"crc\0"
PIECE = 1 << 11  # sums that are compared at once: those of 1 MB


@dataclass(frozen=True, eq=False)
class Checksums:
    """The CRC-32 of every `span` bytes of a file, `sums`.

    Comparing them one by one takes four times as long as one CRC-32 of all their bytes, measured. So the sums of some
    bytes are combined into that of all of them, as zlib's crc32_combine does.
    """

    span: int
    sums: np.ndarray

    @classmethod
    def of(cls, path: str) -> "Checksums | None":
        """Return the checksums of a file; None if there are none. Raise ValueError if they are damaged."""
        sums_path = Path(path).with_name(f".{Path(path).name}.crc")
        try:
            content = sums_path.read_bytes()
        except FileNotFoundError:
            return None
        mark, span = HEADER.unpack_from(content.ljust(HEADER.size))
        if mark != MARK or not 0 < span <= 1 << 20 or len(content) % 4:
            raise ValueError(f"{sums_path} has no checksums")
        return cls(span, np.frombuffer(content, ">u4", offset=HEADER.size).astype("<u4"))

    def match(self, file: FileIO, start: int, stop: int) -> bool:
        """Compare the bytes of a file from `start` to `stop`, and those that share a checksum with them.

        `file` is opened without a buffer.
        """
        first, last = start // self.span, -(-stop // self.span)
        buffer = memoryview(bytearray(self.span * PIECE))
        file.seek(first * self.span)
        for place in range(first, last, PIECE):
            found = buffer[: file.readinto(buffer[: self.span * min(PIECE, last - place)])]
            if not self._match(found, self.sums[place : place - (-len(found) // self.span)]):
                return False
        return True

    def _match(self, found: memoryview, sums: np.ndarray) -> bool:
        """Compare bytes with their sums. The last sum may cover fewer bytes, at the end of the file."""
        whole = len(found) // self.span
        cut = whole * self.span
        same = zlib.crc32(found[:cut]) == combined(sums[:whole], self.span)
        return same and [zlib.crc32(found[cut:])] * (cut < len(found)) == sums[whole:].tolist()


def combined(sums: np.ndarray, span: int) -> int:
    """Return the CRC-32 of some bytes, given those of every `span` of them, (n,).

    >>> combined(np.array([zlib.crc32(b"ab"), zlib.crc32(b"cd"), zlib.crc32(b"ef")], "<u4"), 2) == zlib.crc32(b"abcdef")
    True
    """
    size = 1 << max(len(sums) - 1, 0).bit_length()
    level = np.zeros(size, "<u4")  # zeros in front change nothing: 0 is the CRC-32 of no bytes
    level[size - len(sums) :] = sums
    while len(level) > 1:
        level = _followed(level[::2], span) ^ level[1::2]
        span *= 2
    return int(level[0])


def _followed(sums: np.ndarray, zeros: int) -> np.ndarray:
    """Return what each sum adds to that of its bytes followed by so many others."""
    columns = np.ascontiguousarray(sums).view(np.uint8).reshape(-1, 4)
    found: np.ndarray = np.bitwise_xor.reduce(_tables(zeros)[np.arange(4), columns], axis=1)
    return found


@cache
def _tables(zeros: int) -> np.ndarray:
    """Return what `_followed` makes of each value of each byte of a sum, (4, 256): it is linear over bits."""
    ones = 1 << np.arange(32, dtype="<u4")
    if zeros > 1024 and zeros % 2 == 0:
        bits = _followed(_followed(ones, zeros // 2), zeros // 2)
    else:
        behind = bytes(zeros)
        bits = np.array([zlib.crc32(behind, one) ^ zlib.crc32(behind) for one in ones.tolist()], "<u4")
    tables = np.zeros((4, 256), "<u4")
    for k in range(8):
        tables[:, 1 << k : 2 << k] = tables[:, : 1 << k] ^ bits.reshape(4, 8)[:, k, None]
    return tables
