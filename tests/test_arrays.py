"""The closed format of arrays: what is written is read, what is damaged is refused."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sparkdml import arrays
from sparkdml.errors import FormatError

ARRAYS = {
    "floats": np.array([[1.5, -0.0, 5e-324], [np.inf, -np.inf, np.pi]]),
    "integers": np.array([[2**62], [-1]]),
    "nothing": np.empty((0, 3)),
    "scalar": np.array(2.0),
    "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    "none": np.empty(0),
}


def test_what_is_written_is_read_to_the_bit() -> None:
    header, blob = arrays.dump(ARRAYS)
    read = arrays.load(json.loads(json.dumps(header)), blob)
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()
        assert read[name].flags.writeable


def test_no_arrays_are_no_trouble() -> None:
    assert arrays.load(*arrays.dump({})) == {}


WRONG: list[Any] = [None, -1, 1.5, "x", [], {}, True, 10**30, [1], {"a": 1}, ["<f8"], float("nan")]
PLACES = [
    ("arrays",),
    ("bytes",),
    ("sha256",),
    ("arrays", "floats"),
    ("arrays", "floats", "dtype"),
    ("arrays", "floats", "shape"),
    ("arrays", "floats", "offset"),
    ("arrays", "floats", "shape", 0),
    ("arrays", "nothing", "shape", 0),
    ("arrays", "nothing", "shape", 1),
]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_header_with_a_wrong_value_is_refused(place: tuple, value: Any) -> None:
    header, blob = arrays.dump(ARRAYS)
    inner: Any = header
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(FormatError, match="damaged"):
        arrays.load(header, blob)


def test_an_empty_array_of_absurd_shape_is_refused() -> None:
    header, blob = arrays.dump({"w": np.empty((0, 3))})
    header["arrays"]["w"]["shape"] = [0, 10**30]
    with pytest.raises(FormatError):
        arrays.load(header, blob)


@pytest.mark.parametrize("field", ["arrays", "bytes", "sha256"])
def test_a_missing_or_unknown_field_is_refused(field: str) -> None:
    header, blob = arrays.dump(ARRAYS)
    with pytest.raises(FormatError):
        arrays.load({**header, "more": 1}, blob)
    del header[field]
    with pytest.raises(FormatError):
        arrays.load(header, blob)


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: b"",
        *(lambda blob, at=at: blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in (0, 17, 60)),
    ],
)
def test_a_damaged_blob_is_refused(damage: Callable[[bytes], bytes]) -> None:
    header, blob = arrays.dump(ARRAYS)
    with pytest.raises(FormatError, match="damaged"):
        arrays.load(header, damage(blob))


@pytest.mark.parametrize("header", [None, [], "x", 3, {}])
def test_what_is_no_header_is_refused(header: Any) -> None:
    with pytest.raises(FormatError):
        arrays.load(header, b"")
