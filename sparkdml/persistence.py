"""Saving and loading of estimators and models in a closed format.

A directory with `metadata/part-00000`, one line of JSON with a fixed set of fields, and for a model `data/arrays`,
plain little-endian numbers that the JSON describes. The layout of `metadata` is that of pyspark.ml, so that Pipeline,
PipelineModel and CrossValidatorModel can hold our stages. Loading imports nothing that a file names.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from pyspark.ml.param import Params
from pyspark.ml.util import GeneralMLWriter, MLReadable, MLReader, MLWritable, MLWriter

from sparkdml import __version__, arrays
from sparkdml.arrays import require
from sparkdml.errors import FormatError
from sparkdml.storage import Storage

FORMAT = 1
METADATA = "metadata/part-00000"
ARRAYS = "data/arrays"
FIELDS = {"class", "timestamp", "sparkVersion", "uid", "paramMap", "defaultParamMap", "sparkdml"}


class Writer(GeneralMLWriter):
    """Writes an estimator or a model; `format("pmml")` writes a model as PMML instead."""

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self.instance = instance
        self.source = "internal"

    def saveImpl(self, path: str) -> None:
        """Write the files; raises FileExistsError where there is something at `path`."""
        storage = Storage(self.sparkSession)
        if storage.exists(path):
            raise FileExistsError(f"{path} exists already: choose another path, or use write().overwrite().save(path).")
        if self.source != "internal":
            self.instance.to_pyspark().write().format(self.source).save(path)
            return
        values, found = self.instance._content()
        header, blob = arrays.dump(found)
        metadata = _metadata(self.instance, self.sparkSession.version)
        own = {"format": FORMAT, "version": __version__, "values": values, "arrays": header}
        metadata["sparkdml"] = {**own, "sha256": _digest(metadata, own)}
        if found:
            storage.write(f"{path}/{ARRAYS}", blob)
        storage.write(f"{path}/{METADATA}", json.dumps(metadata, allow_nan=False).encode() + b"\n")


def _metadata(instance: Params, spark_version: str) -> dict[str, Any]:
    return {
        "class": f"{type(instance).__module__}.{type(instance).__name__}",
        "timestamp": int(time.time() * 1000),
        "sparkVersion": spark_version,
        "uid": instance.uid,
        "paramMap": _as_json(instance._paramMap),
        "defaultParamMap": _as_json(instance._defaultParamMap),
    }


def _as_json(params: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of Params by name as JSON reads them back, where the keys of a dictionary are text."""
    # a model among the Params is of the content, where it is written as models are
    values = {param.name: value for param, value in params.items() if not isinstance(value, Persistable)}
    read: dict[str, Any] = json.loads(json.dumps(values))
    return read


def _digest(metadata: dict[str, Any], own: dict[str, Any]) -> str:
    """SHA-256 of all that decides what is loaded; of the arrays, their own digest is part of it."""
    parts = [metadata[name] for name in ("class", "uid", "paramMap", "defaultParamMap")]
    decisive = [*parts, *(own[name] for name in ("format", "version", "values", "arrays"))]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


class Reader(MLReader):
    """Reads what `Writer` wrote, for one class; raises `FormatError` naming the check that failed."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Any:
        """The estimator or model that was saved at `path`."""
        storage = Storage(self.sparkSession)
        if not storage.exists(f"{path}/{METADATA}"):
            raise FileNotFoundError(f"there is no saved {self.cls.__name__} at {path}.")
        try:
            return self._load(storage, path)
        except FormatError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{path} is damaged or was not written by sparkdml: {error}") from error

    def _load(self, storage: Storage, path: str) -> Any:
        metadata = _parse(storage.read(f"{path}/{METADATA}"))
        expected = f"{self.cls.__module__}.{self.cls.__name__}"
        require(metadata["class"] == expected, f"{path} holds a {metadata['class']}, not a {expected}")
        own = metadata["sparkdml"]
        blob = storage.read(f"{path}/{ARRAYS}") if own["arrays"]["arrays"] else b""
        found = arrays.load(own["arrays"], blob)
        require(all(np.all(np.isfinite(a)) for a in found.values()), f"an array of {path} is not finite")
        instance = self.cls._from_content(own["values"], found)  # type: ignore[attr-defined]
        instance._resetUid(metadata["uid"])
        _set_params(instance, metadata)
        return instance


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


def _set_params(instance: Params, metadata: dict[str, Any]) -> None:
    for name in {**metadata["paramMap"], **metadata["defaultParamMap"]}:
        require(instance.hasParam(name), f"the Param {name!r} is unknown to {type(instance).__name__}")
    instance._setDefault(**metadata["defaultParamMap"])
    instance._set(**metadata["paramMap"])


class Persistable(MLWritable, MLReadable):
    """Mixin: `write`, `save`, `read`, `load` as in pyspark.ml, in the format of this module."""

    def write(self) -> MLWriter:
        """A writer: `write().overwrite().save(path)` replaces what is there."""
        return Writer(self)

    def save(self, path: str) -> None:
        """Save to any path that Spark can write."""
        self.write().save(path)

    @classmethod
    def read(cls) -> MLReader:
        """A reader for this class."""
        return Reader(cls)

    @classmethod
    def load(cls, path: str) -> Self:
        """Load what `save` wrote."""
        loaded: Self = cls.read().load(path)
        return loaded

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        require(not values and not arrays, f"a {cls.__name__} has no content besides its Params")
        return cls()
