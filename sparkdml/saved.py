"""What a saved estimator or model consists of, and the checks that reading it makes; no Spark.

A directory with `metadata/part-00000`, one line of JSON with a fixed set of fields, and for a model `data/arrays`,
plain little-endian numbers that the JSON describes. The layout of `metadata` is that of pyspark.ml, so that Pipeline,
PipelineModel and CrossValidatorModel can hold our stages. Reading imports nothing that a file names.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkdml import __version__, arrays
from sparkdml.arrays import require
from sparkdml.errors import FormatError

FORMAT = 1
METADATA = "metadata/part-00000"
ARRAYS = "data/arrays"
FIELDS = {"class", "timestamp", "sparkVersion", "uid", "paramMap", "defaultParamMap", "sparkdml"}


@dataclass(frozen=True, eq=False)
class Saved:
    """What was saved.

    Attributes
    ----------
    kind : the name of the class, with its module.
    uid : of the estimator or model.
    params, defaults : Params that were set, and defaults, by name.
    values, arrays : the content, as JSON and as arrays.
    """

    kind: str
    uid: str
    params: dict[str, Any]
    defaults: dict[str, Any]
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]


def dump(saved: Saved, timestamp: int, spark_version: str) -> tuple[bytes, bytes]:
    """The contents of the two files, METADATA and ARRAYS; the second is empty where there are no arrays."""
    header, blob = arrays.dump(saved.arrays)
    own = {"format": FORMAT, "version": __version__, "values": saved.values, "arrays": header}
    metadata: dict[str, Any] = {
        "class": saved.kind,
        "timestamp": timestamp,
        "sparkVersion": spark_version,
        "uid": saved.uid,
        "paramMap": saved.params,
        "defaultParamMap": saved.defaults,
    }
    metadata["sparkdml"] = {**own, "sha256": _digest(metadata, own)}
    return json.dumps(metadata, allow_nan=False).encode() + b"\n", blob


def load(read: Callable[[str], bytes], path: str) -> Saved:
    """What `read` finds in the files of a directory; `path` is for messages. Raises FormatError naming the check."""
    try:
        metadata = _parse(read(METADATA))
        own = metadata["sparkdml"]
        blob = read(ARRAYS) if own["arrays"]["arrays"] else b""
        found = arrays.load(own["arrays"], blob)
    except FormatError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    require(all(np.all(np.isfinite(a)) for a in found.values()), f"an array of {path} is not finite")
    kind, uid, params, defaults = (metadata[name] for name in ("class", "uid", "paramMap", "defaultParamMap"))
    return Saved(kind, uid, params, defaults, own["values"], found)


def damaged(path: str, error: Exception) -> FormatError:
    """The refusal of content that passed every check and still makes no sense."""
    return FormatError(f"{path} is damaged or was not written by sparkdml: {error}")


def _digest(metadata: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides what is loaded; of the arrays, their own digest is part of it."""
    parts = [metadata[name] for name in ("class", "uid", "paramMap", "defaultParamMap")]
    decisive = [*parts, *(own[name] for name in ("format", "version", "values", "arrays"))]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _parse(content: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(content)
    except ValueError:
        metadata = None
    require(
        isinstance(metadata, dict) and set(metadata) == FIELDS, "the fields of the metadata are not the expected ones"
    )
    own = metadata["sparkdml"]
    require(
        isinstance(own, dict) and set(own) == {"format", "version", "values", "arrays", "sha256"},
        "the fields of the sparkdml section are not the expected ones",
    )
    require(own["format"] == FORMAT, f"format {own['format']!r} is unknown to this version ({__version__})")
    require(isinstance(own["values"], dict) and isinstance(own["arrays"], dict), "the sparkdml section is damaged")
    require(own["sha256"] == _digest(metadata, own), "the metadata do not match their SHA-256")
    maps = (metadata["paramMap"], metadata["defaultParamMap"])
    require(all(isinstance(m, dict) for m in maps) and isinstance(metadata["uid"], str), "the Params are damaged")
    return metadata
