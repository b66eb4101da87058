"""A closed format for arrays: a JSON header and one blob of plain little-endian numbers.

The header says of each array its dtype, shape and place in the blob; a SHA-256 covers the blob. Reading
trusts nothing: no name in a header is imported, nothing is unpickled, and every size is checked before use.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sparkdml.errors import FormatError

LARGEST, MOST_DIMENSIONS = 1 << 40, 8  # no dimension of ours is larger, and no array has more
DTYPES = {"<f8": np.dtype("<f8"), "<i8": np.dtype("<i8")}


def dump(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], bytes]:
    """Write named arrays of floats or integers as (header, blob).

    >>> header, blob = dump({"w": np.array([1.0, 2.0])})
    >>> header["arrays"]["w"], len(blob)
    ({'dtype': '<f8', 'shape': [2], 'offset': 0}, 16)
    """
    entries: dict[str, Any] = {}
    chunks = []
    offset = 0
    for name, array in arrays.items():
        dtype = "<i8" if np.asarray(array).dtype.kind in "iu" else "<f8"
        data = np.ascontiguousarray(array, DTYPES[dtype]).tobytes()
        entries[name] = {"dtype": dtype, "shape": list(np.shape(array)), "offset": offset}
        chunks.append(data)
        offset += len(data)
    blob = b"".join(chunks)
    return {"arrays": entries, "bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}, blob


def load(header: Mapping[str, Any], blob: bytes) -> dict[str, np.ndarray]:
    """Read what `dump` wrote; raises `FormatError` naming the check that failed.

    >>> load(*dump({"w": np.array([1.0, 2.0])}))
    {'w': array([1., 2.])}
    """
    check_header(header, len(blob))
    require(header["sha256"] == hashlib.sha256(blob).hexdigest(), "the arrays do not match their SHA-256")
    return {name: _array(entry, blob) for name, entry in header["arrays"].items()}


def check_header(header: Mapping[str, Any], size: int) -> None:
    """Raise `FormatError` unless the header describes arrays that fill a blob of so many bytes."""
    fields = isinstance(header, Mapping) and set(header) == {"arrays", "bytes", "sha256"}
    require(fields, "the array header has unknown or missing fields")
    require(type(header["bytes"]) is int and isinstance(header["arrays"], dict), "the array header is damaged")
    require(header["bytes"] == size, f"the arrays take {size} bytes, not {header['bytes']}")
    offset = 0
    for name, entry in header["arrays"].items():
        known = isinstance(entry, dict) and set(entry) == {"dtype", "shape", "offset"}
        require(known and entry["dtype"] in ("<f8", "<i8"), f"array {name!r:.50} has a bad header")
        shape = entry["shape"]
        whole = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
        whole = whole and all(type(n) is int and 0 <= n < LARGEST for n in shape)
        require(whole and entry["offset"] == offset, f"array {name!r:.50} has a bad shape or offset")
        offset += 8 * math.prod(shape)
        require(offset <= size, f"array {name!r:.50} reaches past the end of the file")
    require(offset == size, "the arrays do not fill their file")


def require(condition: bool, failure: str) -> None:
    """Raise `FormatError` unless the condition holds."""
    if not condition:
        raise FormatError(f"{failure}; the file is damaged or was not written by sparkdml.")


def _array(entry: Mapping[str, Any], blob: bytes) -> np.ndarray:
    """The array of an entry of a header that was checked."""
    size = math.prod(entry["shape"])
    if not size:
        return np.empty(entry["shape"], DTYPES[entry["dtype"]])
    return np.frombuffer(blob, DTYPES[entry["dtype"]], size, entry["offset"]).reshape(entry["shape"]).copy()
