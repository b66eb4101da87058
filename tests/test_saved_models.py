"""What earlier versions saved loads, predicts and shows as it did then; `models/make.py` wrote it.

Values that were stored are equal. Those that are computed again, from stored coefficients, differ by rounding, which is
another on other processors. What a later version shows besides is not looked at.
"""

import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from observed import FEATURES, array_outputs, known, numbers, outputs, params, plain, points, read_table
from pyspark.sql import DataFrame, SparkSession

from sparkdml import LocalData, load_model

MODELS = Path(__file__).resolve().parent / "models"
VERSIONS = sorted(each.name for each in MODELS.iterdir() if (each / "models.json").is_file())
ROUNDING = 1e-12  # relative
FITTED = 1e-6  # of coefficients that are fitted again, from a loaded estimator
STORED = ("objectiveHistory", "validationHistory")  # numbers that no formula makes anew
AUXILIARY = dict.fromkeys(("nullDeviance", "devianceExplained", "null_deviance", "deviance_explained"), 1e-8)  # fits


def entries(part: str) -> list[Any]:
    """The version and the name of every entry of a part, and what it showed."""
    parts = {version: json.loads((MODELS / version / f"{part}.json").read_text()) for version in VERSIONS}
    return [
        pytest.param(version, name, entry, id=f"{version}-{name}")
        for version, found in parts.items()
        for name, entry in found.items()
    ]


@pytest.fixture(scope="module")
def tables(spark: SparkSession) -> dict[str, DataFrame]:
    """The rows that each version trained on, by version."""
    return {version: read_table(spark, MODELS / version / "table.csv").cache() for version in VERSIONS}


def class_of(name: str) -> Any:
    """The class that a user imports by this name."""
    module, _, cls = name.rpartition(".")
    return getattr(import_module(module), cls)


def assert_same(found: Any, expected: Any, tolerance: float, where: str) -> None:
    """Floats within a relative tolerance, and everything else equal."""
    if isinstance(expected, list) and expected and all(isinstance(each, float) for each in expected):
        np.testing.assert_allclose(np.array(found, float), expected, rtol=tolerance, atol=tolerance, err_msg=where)
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, tolerance, f"{where}[{i}]")
    elif isinstance(expected, dict):
        for name, value in expected.items():
            assert_same(found[name], value, tolerance, f"{where}.{name}")
    elif isinstance(expected, float) and math.isfinite(expected):
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), where
    else:
        assert found == expected or (expected != expected and found != found), where


def assert_shows(summary: Any, expected: dict[str, Any], where: str) -> None:
    """Every value that a summary showed is there and the same."""
    for name, value in expected.items():
        tolerance = 0.0 if name in STORED else AUXILIARY.get(name, ROUNDING)
        assert_same(plain(known(summary, name)), value, tolerance, f"{where}.{name}")


def test_every_kind_is_there() -> None:
    names = {part: [each.id for each in entries(part)] for part in ("models", "estimators", "spark", "published")}
    assert "0.1" in VERSIONS
    assert len(names["models"]) >= 100
    assert all(names.values())


@pytest.mark.thinned
@pytest.mark.parametrize(("version", "name", "entry"), entries("models"))
def test_models(tables: dict[str, DataFrame], version: str, name: str, entry: dict[str, Any]) -> None:
    path, table = str(MODELS / version / "models" / name), tables[version]
    model = class_of(entry["class"]).load(path)
    assert model.uid == entry["uid"]
    assert_same(params(model), entry["params"], 0.0, "params")
    assert_same(numbers(model), entry["numbers"], 0.0, "numbers")
    assert_same(array_outputs(load_model(path), points()), entry["arrays"], ROUNDING, "arrays")
    assert_shows(model.summary, entry["summary"], "summary")
    if "outputs" in entry:
        assert_same(outputs(model, table), entry["outputs"], ROUNDING, "outputs")
        assert_shows(model.evaluate(table), entry["evaluated"], "evaluated")


@pytest.mark.parametrize(("version", "name", "entry"), entries("estimators"))
def test_estimators(spark: SparkSession, version: str, name: str, entry: dict[str, Any]) -> None:
    estimator = class_of(entry["class"]).load(str(MODELS / version / "estimators" / name))
    assert estimator.uid == entry["uid"]
    assert_same(params(estimator), entry["params"], 0.0, "params")
    assert_same(numbers(estimator.getInitialModel()), entry["initialModel"], 0.0, "initialModel")
    fitted = estimator.fit(local_rows(version, estimator))
    for each, value in entry["fitted"].items():
        assert_same(numbers(fitted)[each], value, FITTED, f"fitted.{each}")


def local_rows(version: str, estimator: Any) -> LocalData:
    """The rows that a version trained on, as arrays, with the columns that an estimator names."""
    table = pd.read_csv(MODELS / version / "table.csv")
    roles = {"label": "labelCol", "weight": "weightCol", "offset": "offsetCol"}
    named = {role: estimator.getOrDefault(name) for role, name in roles.items() if estimator.isDefined(name)}
    return LocalData(
        table[FEATURES].to_numpy(), **{r: table[c].to_numpy() for r, c in named.items()}, feature_names=FEATURES
    )


@pytest.mark.parametrize(("version", "name", "entry"), entries("spark"))
def test_stages_of_pipelines_and_searches(
    tables: dict[str, DataFrame], version: str, name: str, entry: dict[str, Any]
) -> None:
    path = str(MODELS / version / "spark" / name)
    unfitted, fitted = (class_of(each) for each in entry["classes"])
    assert isinstance(unfitted.load(path), unfitted)
    loaded = fitted.load(f"{path}-fitted")
    assert_same(outputs(loaded, tables[version]), entry["outputs"], ROUNDING, "outputs")
    metrics = getattr(loaded, "avgMetrics", getattr(loaded, "validationMetrics", []))
    assert_same(plain(metrics), entry["metrics"], 0.0, "metrics")


@pytest.mark.extras
@pytest.mark.parametrize(("version", "name", "entry"), entries("published"))
def test_jobs_read_what_was_published(
    run: Callable[..., Any], spark: SparkSession, tmp_path: Path, version: str, name: str, entry: dict[str, Any]
) -> None:
    model, table = MODELS / version / "published" / name, MODELS / version / "table.csv"
    scored = run("predict", "--model", model, "--input", table, "--output", tmp_path / "scored")
    assert scored.code == 0, scored.err
    rows = spark.read.parquet(str(tmp_path / "scored")).orderBy(*FEATURES)
    assert_same(plain(rows.select(*entry["scored"]["columns"])), entry["scored"], ROUNDING, "scored")
    judged = run("evaluate", "--model", model, "--input", table)
    assert judged.code == 0, judged.err
    for each, value in entry["metrics"].items():
        assert_same(judged.result["metrics"][each], value, AUXILIARY.get(each, ROUNDING), each)
