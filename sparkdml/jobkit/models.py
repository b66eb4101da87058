"""Finding and loading the model that a job is given: a published one through LATEST, or a saved one by its path."""

from dataclasses import dataclass
from typing import Any

from pyspark.ml.base import Transformer

from sparkdml import manifest
from sparkdml.classification import LinearSVCModel, LogisticRegressionModel
from sparkdml.errors import FormatError
from sparkdml.files import Files
from sparkdml.jobkit.failures import InputMissingError
from sparkdml.jobkit.pipelines import PIPELINE, Stage, is_encoder, load_encoder, stages_of
from sparkdml.model import LinearModel
from sparkdml.regression import GeneralizedLinearRegressionModel, LinearRegressionModel
from sparkdml.saved import ARRAYS, examine, present_name, public_name, read_metadata
from sparkdml.storage import Storage

_CLASSES: tuple[type[LinearModel], ...] = (
    LinearRegressionModel,
    LogisticRegressionModel,
    LinearSVCModel,
    GeneralizedLinearRegressionModel,
)
_MODELS = {public_name(cls): cls for cls in _CLASSES}


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
    directory = _version_directory(storage, root)
    if directory is None:
        return _loaded(storage, root, None)
    files = storage.below(directory)
    listed = manifest.check_listed(files)
    _check_model(storage.below(f"{directory}/model"))
    manifest.check_digests(files, listed)
    return _loaded(storage, f"{directory}/model", directory.rpartition("/")[2])


def _version_directory(storage: Storage, root: str) -> str | None:
    """The directory of the published version at `root`, or that its LATEST names; None if nothing is published."""
    files = storage.below(root)
    if files.size(manifest.MANIFEST) is not None:
        return root
    if files.size(manifest.LATEST) is None:
        return None
    name = manifest.latest_version(files.read(manifest.LATEST, 4096), f"{root}/{manifest.LATEST}")
    return f"{root}/versions/{name}"


def _kind(files: Files) -> str:
    """The class that the metadata of a model name."""
    try:
        return present_name(read_metadata(files, "", files.size(ARRAYS) or 0)["class"])
    except FileNotFoundError as error:
        raise InputMissingError(f"there is no model at {files.root}.") from error


def _check_model(files: Files) -> None:
    """Every check of a model or a pipeline that costs little, before its digests are computed."""
    if _kind(files) == PIPELINE:
        _pipeline(files)
    else:
        examine(files)


def _loaded(storage: Storage, directory: str, version: str | None) -> SavedModel:
    files = storage.below(directory)
    kind = _kind(files)
    if kind == PIPELINE:
        *encoders, last = _pipeline(files)
        made = tuple(load_encoder(files, stage) for stage in encoders)
        model: Any = _MODELS[present_name(last.kind)].load(f"{directory}/{last.directory}")
        return SavedModel(directory, version, made, model)
    if kind not in _MODELS:
        raise FormatError(f"{directory} holds {kind:.200}; this job takes {_known()}.")
    return SavedModel(directory, version, (), _MODELS[kind].load(directory))


def _pipeline(files: Files) -> list[Stage]:
    """The stages of a saved pipeline: encoders that are known, and a model of ours, which is the last."""
    stages = stages_of(files)
    ours = bool(stages) and present_name(stages[-1].kind) in _MODELS
    if not (ours and all(map(is_encoder, stages[:-1]))):
        kinds = ", ".join(stage.kind for stage in stages) or "nothing"
        raise FormatError(f"{files.root} is a pipeline of {kinds:.300}; this job takes encoders and {_known()}.")
    return stages


def _known() -> str:
    return f"sparkdml's {', '.join(kind.rpartition('.')[2] for kind in _MODELS)}"
