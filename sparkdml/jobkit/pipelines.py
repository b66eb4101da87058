"""A saved pipeline of Spark's encoders and a model of ours, read as data.

`PipelineModel.load` imports the class that each file names and calls its `load`, so it must not be used on a directory
that a stranger may have written. Here the files say which of four encoders stand where and with which Params, and the
encoders are made anew from that.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import SparkContext
from pyspark.ml.base import Transformer
from pyspark.ml.feature import OneHotEncoderModel, StringIndexerModel, VectorAssembler, VectorSlicer
from pyspark.ml.wrapper import JavaWrapper

from sparkdml.arrays import require
from sparkdml.errors import FormatError
from sparkdml.files import Files
from sparkdml.saved import ARRAYS, read_metadata

PIPELINE = "pyspark.ml.pipeline.PipelineModel"
MOST_STAGES, MOST_LEVELS_BYTES = 20, 1 << 26
_DATA = re.compile(r"part-[0-9A-Za-z-]+(\.[a-z0-9]+)?\.parquet")
_PACKAGE = "org.apache.spark.ml.feature."


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline: the class that its metadata name, its directory, and those metadata."""

    kind: str
    directory: str
    metadata: Mapping[str, Any]


def stages_of(files: Files) -> list[Stage]:
    """The stages that a saved pipeline lists, each where Spark writes it; FormatError for anything else."""
    metadata = read_metadata(files, "")
    require(metadata["class"] == PIPELINE, f"{files.root} is no pipeline")
    uids = metadata["paramMap"].get("stageUids")
    listed = isinstance(uids, list) and all(isinstance(uid, str) for uid in uids) and len(uids) <= MOST_STAGES
    require(listed, f"{files.root} lists no stages")
    digits = len(str(len(uids)))
    places = [f"{i:0{digits}}_{uid}" for i, uid in enumerate(uids)]
    there = {name.partition("/")[0] for name in files.sizes("stages")}
    require(
        set(places) == there, f"{files.root}/stages holds {', '.join(sorted(there)[:10])}, which is not what it lists"
    )
    found = []
    for place, uid in zip(places, uids, strict=True):
        try:
            stage = read_metadata(files, f"stages/{place}", files.size(f"stages/{place}/{ARRAYS}") or 0)
        except FileNotFoundError as error:
            raise FormatError(f"{files.root} lists a stage that is not there: {error}") from error
        require(stage["uid"] == uid, f"{files.root}/stages/{place} is of another uid")
        found.append(Stage(stage["class"], f"stages/{place}", stage))
    return found


def is_encoder(stage: Stage) -> bool:
    """Whether the stage is one of the encoders that stand in front of a model."""
    return stage.kind in _ENCODERS


def load_encoder(files: Files, stage: Stage) -> Transformer:
    """The encoder of a stage; FormatError where its Params or its data are not those of such an encoder."""
    make, kinds = _ENCODERS[stage.kind]
    params = {}
    for name, value in stage.metadata["paramMap"].items():
        require(
            name in kinds and _is_of(value, kinds[name]), f"{stage.directory} has a Param {name!r:.50} that it cannot"
        )
        params[name] = value
    for name in stage.metadata["defaultParamMap"]:
        require(
            name in (*kinds, "inputCol", "outputCol", "stringOrderType"), f"{stage.directory} has an unknown default"
        )
    try:
        encoder = make(files, stage, params)
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{files.root}/{stage.directory} is damaged: {error!s:.200}.") from error
    encoder._resetUid(stage.metadata["uid"])
    return encoder


def _string_indexer(files: Files, stage: Stage, params: Mapping[str, Any]) -> Transformer:
    inputs, outputs = params["inputCols"], params["outputCols"]
    labels = _cell(files, stage, "labelsArray")
    texts = isinstance(labels, list) and all(
        isinstance(each, list) and all(isinstance(label, str) for label in each) for each in labels
    )
    require(texts and len(labels) == len(inputs) == len(outputs), f"{stage.directory} has no labels of its columns")
    distinct = all(len(set(each)) == len(each) > 0 for each in labels)
    require(distinct, f"{stage.directory} has a label twice, or none")
    context: Any = SparkContext._active_spark_context
    arrays = context._gateway.new_array(context._jvm.java.lang.String, len(labels), 0)
    for i, each in enumerate(
        labels
    ):  # of their own lengths, where pyspark's `from_arrays_of_labels` fills up with null
        arrays[i] = _java_array(context._jvm.java.lang.String, each)
    return _of_java("StringIndexerModel", stage, arrays, StringIndexerModel, params)


def _one_hot_encoder(files: Files, stage: Stage, params: Mapping[str, Any]) -> Transformer:
    sizes = _cell(files, stage, "categorySizes")
    counts = isinstance(sizes, list) and all(type(size) is int and 0 < size < 1 << 31 for size in sizes)
    fit = counts and len(sizes) == len(params["inputCols"]) == len(params["outputCols"])
    require(fit, f"{stage.directory} has no sizes of its columns")
    context: Any = SparkContext._active_spark_context
    return _of_java("OneHotEncoderModel", stage, _java_array(context._jvm.int, sizes), OneHotEncoderModel, params)


def _vector_assembler(files: Files, stage: Stage, params: Mapping[str, Any]) -> Transformer:
    return VectorAssembler(**params)


def _vector_slicer(files: Files, stage: Stage, params: Mapping[str, Any]) -> Transformer:
    indices = params.get("indices", [])
    require(
        min(indices, default=0) >= 0 and len(set(indices)) == len(indices), f"{stage.directory} has no such indices"
    )
    return VectorSlicer(**params)


def _of_java(name: str, stage: Stage, content: Any, kind: Any, params: Mapping[str, Any]) -> Any:
    """A fitted encoder, which pyspark makes of the one in the JVM."""
    java = JavaWrapper._new_java_obj(f"{_PACKAGE}{name}", stage.metadata["uid"], content)
    return kind(java)._set(**params)


def _java_array(kind: Any, values: Sequence[Any]) -> Any:
    context: Any = SparkContext._active_spark_context
    array = context._gateway.new_array(kind, len(values))
    for i, value in enumerate(values):
        array[i] = value
    return array


_TEXTS, _INVALID = [str], ("error", "skip", "keep")
_COLUMNS = {"inputCols": _TEXTS, "outputCols": _TEXTS, "handleInvalid": _INVALID}
# How each is made, and the kinds of its Params: a list of a type, a choice of texts, or a type.
_ENCODERS: dict[str, tuple[Callable[[Files, Stage, Mapping[str, Any]], Transformer], dict[str, Any]]] = {
    f"{_PACKAGE}StringIndexerModel": (_string_indexer, {**_COLUMNS, "stringOrderType": str}),
    f"{_PACKAGE}OneHotEncoderModel": (_one_hot_encoder, {**_COLUMNS, "dropLast": bool}),
    f"{_PACKAGE}VectorAssembler": (_vector_assembler, {**_COLUMNS, "outputCol": str}),
    f"{_PACKAGE}VectorSlicer": (
        _vector_slicer,
        {"inputCol": str, "outputCol": str, "indices": [int], "names": _TEXTS},
    ),
}


def _is_of(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return value in kind if isinstance(value, str) else False
    if isinstance(kind, list):
        return isinstance(value, list) and all(type(each) is kind[0] for each in value)
    return type(value) is kind


def _cell(files: Files, stage: Stage, column: str) -> Any:
    """The one value that a stage keeps as data: a row of one column, in one Parquet file."""
    place = f"{stage.directory}/data"
    names = [name for name in files.sizes(place) if not name.startswith(("_", "."))]
    plain = len(names) == 1 and _DATA.fullmatch(names[0])
    require(bool(plain), f"{files.root}/{place} must hold one Parquet file, and holds {', '.join(names[:5])}")
    content = files.read(f"{place}/{names[0]}", MOST_LEVELS_BYTES)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        small = sum(group.total_byte_size for group in groups) <= MOST_LEVELS_BYTES and file.metadata.num_rows == 1
        require(small and file.schema_arrow.names == [column], f"{files.root}/{place} holds no {column}")
        return file.read().column(0)[0].as_py()
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{files.root}/{place}/{names[0]} is damaged: {error!s:.200}.") from error
