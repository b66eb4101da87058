"""What a saved estimator or model consists of, and the checks that reading it makes; no Spark.

A directory with `metadata/part-00000`, one line of JSON with a fixed set of fields, and for a model `data/arrays`,
plain little-endian numbers that the JSON describes. The layout of `metadata` is that of pyspark.ml, so that Pipeline,
PipelineModel and CrossValidatorModel can hold our stages. Reading imports nothing that a file names, and knows how
much it will read before it reads it.

Classes are named as users import them. Each section of the content has a version of its own: fields that an older
version did not write get defaults, and a newer version is refused by its name. Which files are damaged the digests say.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkdml import __version__, arrays
from sparkdml.arrays import require
from sparkdml.errors import FormatError
from sparkdml.files import Files
from sparkdml.model_content import check_content

FORMAT = 2
SECTIONS = {"model": 1, "scoring": 1, "metrics": 1, "training": 1}  # the newest versions, of which the first is 1
METADATA = "metadata/part-00000"
ARRAYS = "data/arrays"
FIELDS = {"class", "timestamp", "sparkVersion", "uid", "paramMap", "defaultParamMap", "sparkdml"}
_OWN_FIELDS = {"format", "version", "values", "arrays", "sha256"}  # and since format 2 `sections`
# What metadata can rightly take: so much, and for each number of the arrays a name of so many bytes.
SMALL, A_NAME = 1 << 22, 512
_PART = re.compile(r"part-[0-9A-Za-z-]+(\.txt|\.json)?")
_UID = re.compile(r"[0-9A-Za-z_-]{1,200}")

# How files of 0.1 name the classes that moved since; they are names, and no modules that must exist.
_FORMER = {
    "sparkdml.classification.linear_svc": "sparkdml.classification",
    "sparkdml.classification.logistic_model": "sparkdml.classification",
    "sparkdml.classification.logistic_regression": "sparkdml.classification",
    "sparkdml.regression.fixed_families": "sparkdml.regression",
    "sparkdml.regression.generalized_linear_regression": "sparkdml.regression",
    "sparkdml.regression.linear_regression": "sparkdml.regression",
}


@dataclass(frozen=True, eq=False)
class Saved:
    """What was saved.

    Attributes
    ----------
    kind : the name of the class, with the module that users import it from.
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


def public_name(cls: type) -> str:
    """How a class is named in files: a class of ours by the package that users import it from.

    >>> from sparkdml.regression import LinearRegressionModel
    >>> public_name(LinearRegressionModel)
    'sparkdml.regression.LinearRegressionModel'
    """
    module = cls.__module__
    if module.startswith("sparkdml."):
        module = ".".join(module.split(".")[:2])
    return f"{module}.{cls.__name__}"


def present_name(name: str) -> str:
    """The public name of a class that a file names, which may be of an older version."""
    module, _, kind = name.rpartition(".")
    return f"{_FORMER.get(module, module)}.{kind}"


def dump(saved: Saved, timestamp: int, spark_version: str) -> tuple[bytes, bytes]:
    """The contents of the two files, METADATA and ARRAYS; the second is empty where there are no arrays."""
    header, blob = arrays.dump(saved.arrays)
    own = {"format": FORMAT, "version": __version__, "sections": SECTIONS, "values": saved.values, "arrays": header}
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


def load(files: Files) -> Saved:
    """What was saved in a directory; FormatError naming the check that failed."""
    metadata = examine(files)
    own = metadata["sparkdml"]
    blob = files.read(ARRAYS, own["arrays"]["bytes"]) if own["arrays"]["arrays"] else b""
    found = arrays.load(own["arrays"], blob)
    require(all(np.all(np.isfinite(a)) for a in found.values()), f"an array of {files.root} is not finite")
    uid, params, defaults = (metadata[name] for name in ("uid", "paramMap", "defaultParamMap"))
    return Saved(present_name(metadata["class"]), uid, params, defaults, own["values"], found)


def examine(files: Files) -> dict[str, Any]:
    """The metadata of a saved estimator or model, after every check that needs no array."""
    size = files.size(ARRAYS) or 0
    metadata = read_metadata(files, "", size)
    require(set(metadata) == FIELDS, "the fields of the metadata are not the expected ones")
    own = metadata["sparkdml"]
    require(isinstance(own, dict) and {"format", "version"} <= set(own), "the sparkdml section is damaged")
    _require_known(own)
    expected = _OWN_FIELDS | ({"sections"} if own["format"] > 1 else set())
    require(set(own) == expected, "the fields of the sparkdml section are not the expected ones")
    require(isinstance(own["values"], dict) and isinstance(own["arrays"], dict), "the sparkdml section is damaged")
    require(own["sha256"] == _digest(metadata, own), "the metadata do not match their SHA-256")
    arrays.check_header(own["arrays"], size)
    shapes = {name: entry["shape"] for name, entry in own["arrays"]["arrays"].items()}
    _check_values(present_name(metadata["class"]), own["values"], shapes)
    return metadata


def _check_values(kind: str, values: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    """Check the content of a model; that of an estimator is a model to start from, or nothing."""
    if "initialModel" in values:
        require(set(values) == {"initialModel"} and isinstance(values["initialModel"], dict), "the content is unknown")
        kind, values = f"{kind}Model", values["initialModel"]
    if values:
        check_content(kind, values, shapes)
    else:
        require(not shapes, "there are arrays, and nothing that they are of")


def read_metadata(files: Files, directory: str, numbers: int = 0) -> dict[str, Any]:
    """The metadata of a stage of Spark or of ours in a directory below `files`, of the class and uid that they name.

    Raises FormatError unless there is exactly one part file, plain and no larger than it can rightly be; `numbers` are
    the bytes of the arrays that it describes. FileNotFoundError where there is nothing.
    """
    place = f"{directory}/metadata" if directory else "metadata"
    names = [name for name in files.sizes(place) if not name.startswith(("_", "."))]
    if not names:
        raise FileNotFoundError(f"there is nothing saved at {files.root}/{directory}".rstrip("/") + ".")
    plain = len(names) == 1 and _PART.fullmatch(names[0])
    require(bool(plain), f"{files.root}/{place} must hold one part file, and holds {', '.join(names[:5])}")
    content = files.read(f"{place}/{names[0]}", SMALL + numbers // 8 * A_NAME)
    found = parse(content, f"{files.root}/{place}", SMALL // 40 + numbers // 4)
    named = isinstance(found, dict) and {"class", "uid", "paramMap", "defaultParamMap"} <= set(found)
    require(named, f"{files.root}/{place} holds no metadata of a stage")
    maps = all(isinstance(found[name], dict) for name in ("paramMap", "defaultParamMap"))
    texts = all(isinstance(found[name], str) for name in ("class", "uid"))
    require(maps and texts and bool(_UID.fullmatch(found["uid"])), f"the Params or the uid in {place} are damaged")
    return dict(found)


def parse(content: bytes, where: str, most: int = SMALL // 40) -> Any:
    """JSON of at most so many values, as strict as JSON is: no key twice, no NaN or infinity; else FormatError."""
    require(content[:1] in (b"{", b"["), f"{where} is not JSON")
    values = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    require(values <= most, f"{where} holds {values:,} values, and at most {most:,} can be right")
    try:
        return json.loads(
            content, object_pairs_hook=_unique, parse_constant=_number, parse_float=_number, parse_int=_integer
        )
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not JSON: {error!s:.200}; the file is damaged.") from error


def damaged(path: str, error: Exception) -> FormatError:
    """The refusal of content that passed every check and still makes no sense."""
    return FormatError(f"{path} is damaged or was not written by sparkdml: {error}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    require(len(found) == len(pairs), "a key of the metadata is there twice")
    return found


def _number(text: str) -> float:
    value = float(text)
    require(math.isfinite(value), f"the metadata hold {text[:20]}, which is no number of JSON")
    return value


def _integer(text: str) -> int:
    require(len(text) < 20 and abs(int(text)) < 1 << 63, f"the metadata hold {text[:20]}..., which is too large")
    return int(text)


def _require_known(own: Mapping[str, Any]) -> None:
    """Refuse what a newer version wrote, by name."""
    form, sections = own["format"], own.get("sections", {})
    require(type(form) is int and form >= 1, f"the format {form!r:.50} is none")
    require(isinstance(sections, dict) and all(type(each) is int for each in sections.values()), "no such sections")
    newer = {name: each for name, each in sections.items() if each > SECTIONS.get(name, 0)}
    if form > FORMAT or newer:
        told = f"format {form}" if form > FORMAT else ", ".join(f"{name} {each}" for name, each in newer.items())
        raise FormatError(
            f"it was written by sparkdml {own['version']!s:.30}, whose {told:.200} is newer than this version "
            f"({__version__}) knows: update sparkdml to load it."
        )


def _digest(metadata: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """SHA-256 of all that decides what is loaded; of the arrays, their own digest is part of it."""
    parts = [metadata[name] for name in ("class", "uid", "paramMap", "defaultParamMap")]
    sections = [own["sections"]] if own["format"] > 1 else []
    decisive = [*parts, *(own[name] for name in ("format", "version")), *sections, own["values"], own["arrays"]]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
