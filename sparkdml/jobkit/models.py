"""Finding and loading the model that a job is given: a published one through LATEST, or a saved one by its path."""

import json
from dataclasses import dataclass
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.base import Transformer
from pyspark.ml.feature import OneHotEncoderModel, StringIndexerModel, VectorAssembler, VectorSlicer

from sparkdml.classification import LinearSVCModel, LogisticRegressionModel
from sparkdml.errors import FormatError
from sparkdml.jobkit.failures import InputMissingError
from sparkdml.jobkit.publish import LATEST, MANIFEST, verify
from sparkdml.model import LinearModel
from sparkdml.regression import GeneralizedLinearRegressionModel, LinearRegressionModel
from sparkdml.storage import Storage

_PIPELINE = "pyspark.ml.pipeline.PipelineModel"
_CLASSES: tuple[type[LinearModel], ...] = (
    LinearRegressionModel,
    LogisticRegressionModel,
    LinearSVCModel,
    GeneralizedLinearRegressionModel,
)
_MODELS = {f"{cls.__module__}.{cls.__name__}": cls for cls in _CLASSES}
# What may stand in front of a model. Spark loads a stage by the class that its file names, so the names are looked
# at first.
_ENCODERS = {
    f"org.apache.spark.ml.feature.{cls.__name__}"
    for cls in (StringIndexerModel, OneHotEncoderModel, VectorAssembler, VectorSlicer)
}


@dataclass(frozen=True)
class SavedModel:
    """A model of sparkdml and what stands in front of it.

    Attributes
    ----------
    path : str
        Where it was loaded from.
    version : str or None
        Its version, if it is a published one.
    encoders : tuple of Transformer
        The stages before the model, which encode categorical columns.
    model : LinearModel
        The model itself.
    """

    path: str
    version: str | None
    encoders: tuple[Transformer, ...]
    model: LinearModel


def load_saved(storage: Storage, path: str) -> SavedModel:
    """The model at `path`: what a training job published (its OUTPUT, or one version of it), or what `save` wrote.

    Raises
    ------
    InputMissingError
        There is no model.
    FormatError
        A check failed: of the manifest, of the format, or of the classes that the files name.
    """
    root = path.rstrip("/") or "/"
    directory = root
    if storage.exists(f"{root}/{LATEST}"):
        directory = f"{root}/versions/{_latest(storage, root)}"
    version = None
    if storage.exists(f"{directory}/{MANIFEST}"):
        verify(storage, directory)
        version, directory = directory.rpartition("/")[2], f"{directory}/model"
    elif directory != root:
        raise FormatError(f"{root}/{LATEST} names {directory}, which has no {MANIFEST}.")
    kind = _class_of(storage, directory)
    if kind == _PIPELINE:
        *encoders, model = _load_pipeline(storage, directory)
        return SavedModel(directory, version, tuple(encoders), model)
    if kind not in _MODELS:
        raise FormatError(f"{directory} holds {kind}; this job takes {_known()}.")
    return SavedModel(directory, version, (), _MODELS[kind].load(directory))


def _latest(storage: Storage, root: str) -> str:
    name = storage.read(f"{root}/{LATEST}").decode(errors="replace").strip()
    if not name or "/" in name or name.startswith("."):
        raise FormatError(f"{root}/{LATEST} does not name a version: {name!r}.")
    return name


def _load_pipeline(storage: Storage, directory: str) -> list[Any]:
    """The stages of a saved pipeline, all of classes that are known, the last a model of ours."""
    stages = storage.directories(f"{directory}/stages")
    kinds = [_class_of(storage, f"{directory}/stages/{stage}") for stage in stages]
    strange = [kind for kind in kinds if kind not in _ENCODERS and kind not in _MODELS]
    if strange or [kind in _MODELS for kind in kinds].count(True) != 1:
        raise FormatError(f"{directory} is a pipeline of {', '.join(kinds) or 'nothing'}; this job takes {_known()}.")
    loaded = PipelineModel.load(directory).stages
    if not isinstance(loaded[-1], LinearModel):
        raise FormatError(f"{directory} is a pipeline that does not end with its model.")
    return list(loaded)


def _class_of(storage: Storage, directory: str) -> str:
    """The class that the metadata of a saved stage name, whatever wrote them."""
    files = [name for name in storage.files(f"{directory}/metadata") if name.startswith("part-")]
    if not files:
        raise InputMissingError(f"there is no model at {directory}.")
    try:
        return str(json.loads(storage.read(f"{directory}/metadata/{files[0]}"))["class"])
    except (ValueError, KeyError, TypeError) as problem:
        raise FormatError(f"{directory}/metadata/{files[0]} is damaged: {problem}.") from problem


def _known() -> str:
    return f"sparkdml's {', '.join(kind.rpartition('.')[2] for kind in _MODELS)}"
