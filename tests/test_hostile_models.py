"""A model is data: whatever its files hold, loading it is refused at once, or gives the model; nothing runs.

Each way of tampering is tried with every loader that could meet it.
"""

import gzip
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkdml import load_model, saved
from sparkdml.array_model import KINDS, PARAMS
from sparkdml.classification import LogisticRegressionModel
from sparkdml.errors import FormatError, InputMissingError
from sparkdml.jobkit.models import load_saved
from sparkdml.storage import Storage

MODELS = Path(__file__).resolve().parent / "models" / "0.1"
PLAIN, PIPELINE = MODELS / "models" / "binomial-plain", MODELS / "published" / "categorical"
SECONDS = 2.0
Tamper = Callable[[Path], object]


# Watching what a loader does.

_watching: list[list[tuple[str, Any]]] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in ("import", "exec", "socket.connect", "open", "subprocess.Popen", "os.system"):
        _watching[-1].append((event, args))


sys.addaudithook(_watch)  # for ever: Python has no way to take it back


@contextmanager
def watched(inside: Path) -> Iterator[list[str]]:
    """What was imported, run, connected to, or opened outside of the directory; the gateway to the JVM is ours."""
    seen: list[tuple[str, Any]] = []
    told: list[str] = []
    _watching.append(seen)
    try:
        yield told
    finally:
        _watching.pop()
        for event, args in seen:
            text = f"{event} {args[0]!r}"
            if event == "open":
                path = os.path.realpath(str(args[0]))
                known = path.startswith(
                    (str(inside), sys.prefix, sys.base_prefix, str(MODELS.parents[2]), "/tmp/pytest")
                )
                text = "" if known or isinstance(args[0], int) else text
            elif event == "socket.connect":
                text = "" if str(args[1][0]) in ("127.0.0.1", "localhost") else text
            elif event == "import":
                text = text if any(word in text for word in ("evil", "os.system")) else ""
            elif event == "exec":
                text = ""  # of modules of ours and of libraries, which `import` tells of
            if text:
                told.append(text)


# The ways of tampering.


def metadata_of(directory: Path) -> Path:
    return next(each for each in (directory / "metadata").iterdir() if each.name.startswith("part-"))


def rewrite(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the metadata of a stage; of ours the digest is made anew, as somebody who means it would."""
    path = metadata_of(directory)
    found = json.loads(path.read_text())
    change(found)
    if isinstance(found.get("sparkdml"), dict) and "sha256" in found["sparkdml"]:
        found["sparkdml"]["sha256"] = saved._digest(found, found["sparkdml"])
    path.write_text(json.dumps(found))


def blob(directory: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change the arrays of a model, with a header that describes them."""
    path = metadata_of(directory)
    found = json.loads(path.read_text())
    arrays = saved.arrays.load(found["sparkdml"]["arrays"], (directory / "data" / "arrays").read_bytes())
    change(arrays)
    found["sparkdml"]["arrays"], content = saved.arrays.dump(arrays)
    (directory / "data" / "arrays").write_bytes(content)
    found["sparkdml"]["sha256"] = saved._digest(found, found["sparkdml"])
    path.write_text(json.dumps(found))


def text(directory: Path, old: str, new: str) -> None:
    """Change the text of the metadata, the digest too where there is one."""
    path = metadata_of(directory)
    content = path.read_text()
    assert old in content, old
    path.write_text(content.replace(old, new, 1))


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(6 << 30)


def values(**new: Any) -> Tamper:
    return lambda d: rewrite(d, lambda m: m["sparkdml"]["values"].update(new))


def param(**new: Any) -> Tamper:
    return lambda d: rewrite(d, lambda m: m["paramMap"].update(new))


def shape(name: str, found: list[int]) -> Tamper:
    return lambda d: rewrite(d, lambda m: m["sparkdml"]["arrays"]["arrays"][name].update(shape=found))


ANY_STAGE: dict[str, Tamper] = {  # of the metadata of any directory
    "a pipe": lambda d: replaced(metadata_of(d), os.mkfifo),
    "a device": lambda d: replaced(metadata_of(d), lambda p: p.symlink_to("/dev/zero")),
    "a link that leaves": lambda d: replaced(metadata_of(d), lambda p: p.symlink_to("/etc/passwd")),
    "6 GB": lambda d: sparse(metadata_of(d)),
    "an empty directory": lambda d: replaced(metadata_of(d), os.mkdir),
    "two parts": lambda d: shutil.copy(metadata_of(d), d / "metadata" / "part-00001"),
    "a compressed part": lambda d: (d / "metadata" / "part-00001.gz").write_bytes(gzip.compress(b"{}")),
    "only a compressed part": lambda d: metadata_of(d).rename(d / "metadata" / "part-00000.gz"),
    "a pipe beside it": lambda d: os.mkfifo(d / "metadata" / "part-00001"),
    "deep": lambda d: metadata_of(d).write_text("[" * 100_000),
    "deep objects": lambda d: metadata_of(d).write_text('{"a":' * 100_000),
    "many values": lambda d: metadata_of(d).write_text("[" + "1," * 1_000_000 + "1]"),
    "no text": lambda d: metadata_of(d).write_bytes(b"{\xff\xfe}"),
    "empty": lambda d: metadata_of(d).write_bytes(b""),
    "a number": lambda d: metadata_of(d).write_text("1e5"),
    "a key twice": lambda d: text(d, '"uid"', '"uid":"x","uid"'),
    "NaN": lambda d: text(d, '"timestamp"', '"x":NaN,"timestamp"'),
    "infinity": lambda d: text(d, '"timestamp"', '"x":1e999,"timestamp"'),
    "a class of Python": lambda d: rewrite(d, lambda m: m.update({"class": "os.system"})),
    "a class of a stranger": lambda d: rewrite(d, lambda m: m.update({"class": "evil.LogisticRegressionModel"})),
    "a class that is no text": lambda d: rewrite(d, lambda m: m.update({"class": ["os.system"]})),
    "a uid that is a path": lambda d: rewrite(d, lambda m: m.update(uid="../../evil")),
    "a uid that is no text": lambda d: rewrite(d, lambda m: m.update(uid=7)),
    "an unknown Param": param(evil=1),
    "Params that are a list": lambda d: rewrite(d, lambda m: m.update(paramMap=[])),
    "an unknown default": lambda d: rewrite(d, lambda m: m["defaultParamMap"].update(evil=1)),
}
OURS: dict[str, Tamper] = {
    **ANY_STAGE,
    "arrays of a pipe": lambda d: replaced(d / "data" / "arrays", os.mkfifo),
    "arrays of a device": lambda d: replaced(d / "data" / "arrays", lambda p: p.symlink_to("/dev/zero")),
    "arrays that leave": lambda d: replaced(d / "data" / "arrays", lambda p: p.symlink_to("/etc/passwd")),
    "arrays of 6 GB": lambda d: sparse(d / "data" / "arrays"),
    "arrays of 6 GB that are described": lambda d: (
        sparse(d / "data" / "arrays"),
        rewrite(
            d,
            lambda m: m["sparkdml"].update(
                arrays={
                    "arrays": {"coefficients": {"dtype": "<f8", "shape": [6 << 27], "offset": 0}},
                    "bytes": 6 << 30,
                    "sha256": "",
                }
            ),
        ),
    ),
    "no arrays": lambda d: (d / "data" / "arrays").unlink(),
    "half of the arrays": lambda d: (d / "data" / "arrays").write_bytes((d / "data" / "arrays").read_bytes()[:8]),
    "a million dimensions": shape("coefficients", [1] * 1_000_000),
    "many dimensions": shape("coefficients", [1] * 30),
    "a huge shape": shape("coefficients", [1 << 39, 1 << 39]),
    "a negative shape": shape("coefficients", [-5]),
    "a shape of truths": shape("coefficients", [True]),
    "objects": lambda d: rewrite(d, lambda m: m["sparkdml"]["arrays"]["arrays"]["coefficients"].update(dtype="O")),
    "a dtype that is a list": lambda d: rewrite(
        d, lambda m: m["sparkdml"]["arrays"]["arrays"]["coefficients"].update(dtype=["<f8"])
    ),
    "coefficients that are not finite": lambda d: blob(d, lambda a: a.update(coefficients=a["coefficients"] * np.nan)),
    "too many coefficients": lambda d: blob(d, lambda a: a.update(coefficients=np.ones(50))),
    "too many intercepts": lambda d: blob(d, lambda a: a.update(intercept=np.ones(7))),
    "too many margins": lambda d: blob(
        d, lambda a: a.update(intercept=np.ones(9000), coefficients=np.ones((9000, len(a["coefficients"]))))
    ),
    "means of other features": lambda d: blob(d, lambda a: a.update(featureMeans=np.ones(50))),
    "an unknown array": lambda d: blob(d, lambda a: a.update(evil=np.ones(1))),
    "no intercept": lambda d: blob(d, lambda a: a.pop("intercept")),
    "a long history": lambda d: blob(d, lambda a: a.update({"summary.objectiveHistory": np.ones(1_100_000)})),
    "names that are numbers": values(featureNames=[1, 2, 3]),
    "names that are a text": values(featureNames="abc"),
    "names that are nothing": values(featureNames=None),
    "fewer names": values(featureNames=["x0"]),
    "unknown content": values(evil=1),
    "a summary that is a list": values(summary=[]),
    "a newer format": lambda d: rewrite(d, lambda m: m["sparkdml"].update(format=99, sections={})),
    "a newer section": lambda d: rewrite(d, lambda m: m["sparkdml"].update(format=2, sections={"model": 2})),
    "a section that nobody knows": lambda d: rewrite(d, lambda m: m["sparkdml"].update(format=2, sections={"x": 1})),
    "a threshold that is a text": param(threshold="high"),
    "thresholds of other classes": param(thresholds=[0.2, 0.3, 0.5]),
    "a Param of the wrong kind": param(threshold={"__class__": "os.system"}),
    "a Param that is nothing": param(threshold=None),
    "another digest": lambda d: text(d, '"featureNames": ["x0"', '"featureNames": ["X0"'),
}


def copied(source: Path, tmp_path: Path) -> Path:
    shutil.copytree(source, tmp_path / "it")
    return tmp_path / "it"


def refused(loader: Callable[[], Any], inside: Path, *kinds: type[Exception]) -> str:
    """The sentence of the refusal, which comes soon and runs nothing."""
    started = time.monotonic()
    with watched(inside) as seen, pytest.raises(kinds or FormatError) as failure:
        loader()
    assert time.monotonic() - started < SECONDS
    assert seen == []
    return str(failure.value)


@pytest.mark.parametrize("name", OURS)
def test_a_hostile_model_is_refused_by_every_loader(name: str, spark: SparkSession, tmp_path: Path) -> None:
    model = copied(PLAIN, tmp_path)
    LogisticRegressionModel.load(str(model))
    load_model(str(model))
    load_saved(Storage(spark), str(model))
    OURS[name](model)
    for loader in (LogisticRegressionModel.load, load_model, lambda path: load_saved(Storage(spark), path)):
        told = refused(lambda loader=loader: loader(str(model)), model, FormatError, FileNotFoundError)
        assert len(told) < 1000


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    model = copied(PLAIN, tmp_path)
    rewrite(model, lambda m: m["sparkdml"].update(format=2, version="7.1", sections={"model": 1, "training": 4}))
    with pytest.raises(FormatError, match=r"written by sparkdml 7\.1, whose training 4 is newer"):
        load_model(str(model))


@pytest.mark.parametrize("part", ["scoring", "metrics", "training"])
def test_what_an_older_version_did_not_write_has_a_default(part: str, spark: SparkSession, tmp_path: Path) -> None:
    expected = LogisticRegressionModel.load(str(PLAIN))
    for field in json.loads(metadata_of(PLAIN).read_text())["sparkdml"]["values"]["summary"][part]:
        model = copied(PLAIN, tmp_path / field)
        rewrite(model, lambda m, field=field: m["sparkdml"]["values"]["summary"][part].pop(field))
        found = LogisticRegressionModel.load(str(model))
        assert found.coefficients == expected.coefficients
        assert found.summary.objectiveHistory == expected.summary.objectiveHistory
    rewrite(model, lambda m: m["sparkdml"]["values"]["summary"].pop(part))
    assert LogisticRegressionModel.load(str(model)).coefficients == expected.coefficients


# Pipelines.


def stage(model: Path, i: int) -> Path:
    return next((model / "stages").glob(f"{i}_*"))


def at(i: int, tamper: Tamper) -> Tamper:
    return lambda model: tamper(stage(model, i))


def uids(change: Callable[[list[Any]], Any]) -> Tamper:
    return lambda d: rewrite(d, lambda m: m["paramMap"].update(stageUids=change(m["paramMap"]["stageUids"])))


def data_of(directory: Path) -> Path:
    return next((directory / "data").glob("*.parquet"))


def cell(**columns: Any) -> Tamper:
    return lambda d: pq.write_table(pa.table(columns), data_of(d))


PIPELINES: dict[str, Tamper] = {
    **{
        f"{name} of the pipeline": tamper
        for name, tamper in ANY_STAGE.items()
        if "Param" not in name and "default" not in name
    },
    **{f"{name} of an encoder": at(0, tamper) for name, tamper in ANY_STAGE.items()},
    **{f"{name} of the slicer": at(3, tamper) for name, tamper in ANY_STAGE.items() if "Param" in name},
    **{f"{name} of the model": at(4, OURS[name]) for name in ("a class of Python", "an unknown Param", "no arrays")},
    "a uid that is a path": uids(lambda found: ["../../evil", *found[1:]]),
    "a uid that is a pattern": uids(lambda found: ["*", *found[1:]]),
    "a uid that is an address": uids(lambda found: ["http://127.0.0.1/x", *found[1:]]),
    "a stage less": uids(lambda found: found[1:]),
    "a stage twice": uids(lambda found: [found[0], *found]),
    "another order": uids(lambda found: found[::-1]),
    "uids that are a text": uids(lambda found: "x"),
    "no stages": uids(lambda found: []),
    "a million stages": uids(lambda found: found * 20_000),
    "a stage more": lambda d: shutil.copytree(stage(d, 0), d / "stages" / "5_evil"),
    "a stage that is a link": lambda d: (shutil.rmtree(stage(d, 1)), (d / "stages" / "1_x").symlink_to("/etc")),
    "only encoders": lambda d: (shutil.rmtree(stage(d, 4)), uids(lambda found: found[:4])(d)),
    "labels that are numbers": at(0, cell(labelsArray=[[[1, 2]]])),
    "labels that are missing": at(0, cell(labelsArray=[[["red", None]]])),
    "a label twice": at(0, cell(labelsArray=[[["red", "red"]]])),
    "no labels": at(0, cell(labelsArray=[[[]]])),
    "labels of two columns": at(0, cell(labelsArray=[[["red"], ["green"]]])),
    "labels in two rows": at(0, cell(labelsArray=[[["red"]], [["green"]]])),
    "labels of another name": at(0, cell(evil=[[["red"]]])),
    "damaged labels": at(0, lambda d: data_of(d).write_bytes(b"PAR1" + b"\0" * 50 + b"PAR1")),
    "labels of 6 GB": at(0, lambda d: sparse(data_of(d))),
    "labels of a pipe": at(0, lambda d: replaced(data_of(d), os.mkfifo)),
    "two files of labels": at(0, lambda d: shutil.copy(data_of(d), d / "data" / "part-1.parquet")),
    "a text in place of columns": at(0, param(inputCols="colour")),
    "another way with the unseen": at(0, param(handleInvalid="evil")),
    "sizes that are texts": at(1, cell(categorySizes=[["4"]])),
    "a size below zero": at(1, cell(categorySizes=[[-4]])),
    "indices that are texts": at(3, param(indices=["0"])),
    "an index far away": at(3, param(indices=[-1])),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_hostile_pipeline_is_refused(name: str, spark: SparkSession, tmp_path: Path) -> None:
    model = copied(next(PIPELINE.glob("versions/*/model")), tmp_path)
    PIPELINES[name](model)
    refused(lambda: load_saved(Storage(spark), str(model)), model, FormatError, InputMissingError)


def test_a_pipeline_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is a pipeline, which cannot score arrays"):
        load_model(str(PIPELINE))


# Published versions.


def version(root: Path) -> Path:
    return next((root / "versions").iterdir())


PUBLISHED: dict[str, Tamper] = {
    "LATEST that leaves": lambda d: (d / "LATEST").write_text("../../evil"),
    "LATEST of a hidden name": lambda d: (d / "LATEST").write_text(".evil"),
    "an empty LATEST": lambda d: (d / "LATEST").write_text(""),
    "LATEST of a pipe": lambda d: replaced(d / "LATEST", os.mkfifo),
    "LATEST of 6 GB": lambda d: sparse(d / "LATEST"),
    "no manifest": lambda d: (version(d) / "manifest.json").unlink(),
    "no _SUCCESS": lambda d: (version(d) / "_SUCCESS").unlink(),
    "a file more": lambda d: (version(d) / "model" / "evil").write_text("x"),
    "a file less": lambda d: (version(d) / "metrics.json").unlink(),
    "a file of another size": lambda d: (version(d) / "metrics.json").write_text("{}"),
    "a byte of a file": lambda d: (version(d) / "run.json").write_text(
        (version(d) / "run.json").read_text().replace('"', "'", 1)
    ),
    "a manifest of a pipe": lambda d: replaced(version(d) / "manifest.json", os.mkfifo),
    "a manifest of 6 GB": lambda d: sparse(version(d) / "manifest.json"),
    "a deep manifest": lambda d: (version(d) / "manifest.json").write_text("[" * 100_000),
    "a manifest that lists nothing": lambda d: (version(d) / "manifest.json").write_text('{"files": {}}'),
    "a pipe that nobody lists": lambda d: os.mkfifo(version(d) / "evil"),
    "a link that nobody lists": lambda d: (version(d) / "evil").symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_hostile_publication_is_refused(name: str, spark: SparkSession, tmp_path: Path) -> None:
    root = copied(MODELS / "published" / "plain", tmp_path)
    load_model(str(root))
    load_saved(Storage(spark), str(root))
    PUBLISHED[name](root)
    for loader in (load_model, lambda path: load_saved(Storage(spark), path)):
        refused(lambda loader=loader: loader(str(root)), root, FormatError, FileNotFoundError)


# Bytes and values at random.


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, or doubled."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        i = int(rng.integers(len(data)))
        match rng.integers(4):
            case 0:
                data[i] = int(rng.integers(256))
            case 1:
                del data[i : i + int(rng.integers(1, 20))]
            case 2:
                data[i:i] = data[i : i + int(rng.integers(1, 20))]
            case _:
                data[i] ^= 1 << int(rng.integers(8))
    return bytes(data)


def loaded_or_refused(model: Path) -> None:
    with suppress(FormatError):
        load_model(str(model))


def test_any_bytes_are_loaded_or_refused(tmp_path: Path) -> None:
    model, rng = copied(PLAIN, tmp_path), np.random.default_rng(0)
    for path in (metadata_of(model), model / "data" / "arrays"):
        original = path.read_bytes()
        for _ in range(1000):
            path.write_bytes(mutated(original, rng))
            loaded_or_refused(model)
        path.write_bytes(original)


STRANGE = (None, True, -1, 10**400, 1e308, "", "x", [], {}, [None], {"a": 1}, [[1.0]], "\ud800", "*" * 10_000)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a value of JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def test_any_value_is_loaded_or_refused(spark: SparkSession, tmp_path: Path) -> None:
    model, rng = copied(PLAIN, tmp_path), np.random.default_rng(0)
    path = metadata_of(model)
    original = json.loads(path.read_text())
    every = list(places(original))
    for _ in range(600):
        found = json.loads(json.dumps(original))
        place = every[rng.integers(len(every))]
        inner = found
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = STRANGE[rng.integers(len(STRANGE))]
        with suppress(KeyError, TypeError):
            found["sparkdml"]["sha256"] = saved._digest(found, found["sparkdml"])
        path.write_text(json.dumps(found))
        loaded_or_refused(model)
        with suppress(FormatError):
            str(LogisticRegressionModel.load(str(model)).summary)


def test_the_params_that_arrays_know_are_those_of_the_models() -> None:
    found: set[str] = set()
    for name in KINDS:
        module, _, cls = name.rpartition(".")
        model = getattr(sys.modules[module], cls)(np.ones(1), 0.0, ("x",))
        assert saved.public_name(type(model)) == name
        found |= {param.name for param in model.params}
    assert found == PARAMS


def test_a_model_of_many_columns_loads(tmp_path: Path) -> None:
    d = 200_000
    names = [f"column {j}" for j in range(d)]
    content = saved.Saved(
        "sparkdml.regression.LinearRegressionModel",
        "LinearRegression_1",
        {},
        {},
        {"featureNames": names, "summary": None},
        {"coefficients": np.ones(d), "intercept": np.zeros(1)},
    )
    metadata, arrays = saved.dump(content, 0, "4.1.0")
    for name, part in ((saved.METADATA, metadata), (saved.ARRAYS, arrays)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(part)
    assert load_model(str(tmp_path)).predict(np.ones((1, d)))[0] == d
