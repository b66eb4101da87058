"""Saving and loading of estimators and models in the closed format of `sparkdml.saved`, on any path of Spark's."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pyspark.ml.util import GeneralMLWriter, MLReadable, MLReader, MLWritable, MLWriter

from sparkdml import saved
from sparkdml.arrays import require
from sparkdml.errors import FormatError
from sparkdml.saved import ARRAYS, METADATA, Saved
from sparkdml.storage import Storage


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
        metadata, blob = saved.dump(_content_of(self.instance), int(time.time() * 1000), self.sparkSession.version)
        if blob:
            storage.write(f"{path}/{ARRAYS}", blob)
        storage.write(f"{path}/{METADATA}", metadata)


def _content_of(instance: Any) -> Saved:
    params = (params_as_json(each) for each in (instance._paramMap, instance._defaultParamMap))
    return Saved(saved.public_name(type(instance)), instance.uid, *params, *instance._content())


def _plain(value: Any) -> Any:
    """A vector or matrix as lists of numbers, in which infinities are text, for JSON has none."""
    if hasattr(value, "toArray"):
        value = value.toArray().tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def params_as_json(params: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of Params by name as JSON reads them back, where the keys of a dictionary are text."""
    # a model among the Params is of the content, where it is written as models are
    values = {param.name: _plain(value) for param, value in params.items() if not isinstance(value, Persistable)}
    read: dict[str, Any] = json.loads(json.dumps(values))
    return read


class Reader(MLReader):
    """Reads what `Writer` wrote, for one class; raises `FormatError` naming the check that failed."""

    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Any:
        """The estimator or model that was saved at `path`."""
        files = Storage(self.sparkSession).below(path)
        if files.size(METADATA) is None:
            raise FileNotFoundError(f"there is no saved {self.cls.__name__} at {path}.")
        found, expected = saved.load(files), saved.public_name(self.cls)
        require(found.kind == expected, f"{path} holds a {found.kind:.200}, not a {expected}")
        try:
            return self._made_of(found)
        except FormatError:
            raise
        except Exception as error:  # of values of which no check thought: nothing here waits for Spark
            raise saved.damaged(path, error) from error

    def _made_of(self, found: Saved) -> Any:
        instance = self.cls._from_content(found.values, found.arrays)  # type: ignore[attr-defined]
        instance._resetUid(found.uid)
        for values in (found.params, found.defaults):
            for name, value in values.items():
                require(instance.hasParam(name), f"the Param {name!r:.50} is unknown to {self.cls.__name__}")
                require(value is not None, f"the Param {name!r} has no value")
        instance._setDefault(**found.defaults)
        instance._set(**found.params)
        instance._check_loaded()
        return instance


def _unpickled(cls: type, content: Saved) -> Any:
    return Reader(cls)._made_of(content)


class Persistable(MLWritable, MLReadable):
    """Mixin: `write`, `save`, `read`, `load` as in pyspark.ml, in the format of `sparkdml.saved`."""

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what `save` writes: a summary then knows no more of its table than that of a loaded model."""
        content = _content_of(self)
        plain = replace(content, values=json.loads(json.dumps(content.values)))
        return _unpickled, (type(self), plain)

    def __copy__(self) -> Self:
        """As for a class that says nothing of pickling, on which `Params.copy` counts."""
        copied = self.__class__.__new__(self.__class__)
        copied.__dict__.update(self.__dict__)
        return copied

    def _check_loaded(self) -> None:
        """Raise an exception of any kind where Params and content contradict each other."""

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        require(not values and not arrays, f"a {cls.__name__} has no content besides its Params")
        return cls()
