"""LinearSVC: the objective, the summaries and the surface of pyspark.ml, but at the minimum of the hinge."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import random_features
from pyspark.ml.classification import LinearSVC as Oracle
from pyspark.ml.classification import OneVsRest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from summaries import assert_same_by_class, assert_same_curves

from sparkdml import LocalData
from sparkdml.array_model import load_model
from sparkdml.blocks.scores import Scores
from sparkdml.classification import LinearSVC, LinearSVCModel
from sparkdml.errors import ConvergenceWarning, DataError, DataWarning, ParamError, SolverError, StatisticsError

N, D = 150, 4
RNG = np.random.default_rng(3)
X = random_features(N, D, density=1.0)
Y = (X @ [1.0, -0.7, 0.0, 0.2] - 0.5 + RNG.logistic(size=N) > 0.0).astype(float)
S = RNG.exponential(size=N) * (RNG.random(N) < 0.9)


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> Iterator[DataFrame]:
    rows = [(Vectors.dense(x), float(y), float(s)) for x, y, s in zip(X, Y, S, strict=True)]
    table = spark.createDataFrame(rows, ["features", "label", "weight"]).coalesce(1).cache()
    yield table
    table.unpersist(blocking=True)


@pytest.fixture(scope="module")
def model(df: DataFrame) -> LinearSVCModel:
    return LinearSVC(weightCol="weight", regParam=0.05, threshold=0.2, maxIter=1000).fit(df)


def local(weights: np.ndarray | None = S, features: np.ndarray = X) -> LocalData:
    return LocalData(features, Y, weights)


def objective(model: Any, regParam: float, standardization: bool, power: int = 1, weights: np.ndarray = S) -> float:
    """The formula of the docstring, with the deviations of n - 1 that pyspark.ml takes."""
    w, b = model.coefficients.toArray(), model.intercept
    total = weights.sum()
    variance = np.average(np.square(X - np.average(X, axis=0, weights=weights)), axis=0, weights=weights)
    variance *= total / (total - np.sum(weights**2) / total)
    v = w * np.sqrt(variance) if standardization else w
    missed = np.maximum(0.0, 1.0 - (2.0 * Y - 1.0) * (X @ w + b))
    return float(np.average(missed**power, weights=weights) + regParam / 2.0 * v @ v)


@pytest.mark.parametrize(("regParam", "fitIntercept", "standardization"), [(0.01, False, True), (0.1, True, False)])
def test_the_minimum_is_no_higher_than_pysparks_and_near_it(
    df: DataFrame, regParam: float, fitIntercept: bool, standardization: bool
) -> None:
    params = {"regParam": regParam, "fitIntercept": fitIntercept, "standardization": standardization}
    theirs = objective(Oracle(**params, maxIter=20, weightCol="weight").fit(df), regParam, standardization)
    model = LinearSVC(**params, maxIter=1000).fit(local())
    ours = objective(model, regParam, standardization)
    assert model.summary.converged
    assert model.summary.objectiveHistory[-1] == pytest.approx(ours, rel=1e-12)
    assert theirs * (1.0 - 0.01) <= ours <= theirs * (1.0 + 1e-6)


def test_the_squared_hinge_is_at_its_minimum() -> None:
    best = LinearSVC(loss="squaredHinge", regParam=0.1, tol=1e-12, maxIter=1000).fit(local())
    found = objective(best, 0.1, True, power=2)
    assert best.summary.objectiveHistory[-1] == pytest.approx(found, rel=1e-12)
    for solver, near in (("l-bfgs", 1e-9), ("gd", 1e-9), ("sgd", 1e-3), ("local-sgd", 1e-6)):
        other = LinearSVC(loss="squaredHinge", regParam=0.1, solver=solver, maxIter=1000).fit(local())
        assert objective(other, 0.1, True, power=2) <= found * (1.0 + near)


def test_l1_leaves_out_columns() -> None:
    model = LinearSVC(regParam=0.1, elasticNetParam=1.0, maxIter=1000).fit(local())
    assert 0 < np.count_nonzero(model.coefficients.toArray()) < D


def test_classes_weigh_as_rows_do() -> None:
    by_class = LinearSVC(regParam=0.1, classWeight={0.0: 0.5, 1.0: 4.0}, maxIter=1000).fit(local())
    by_row = LinearSVC(regParam=0.1, maxIter=1000).fit(local(S * np.where(Y == 1.0, 4.0, 0.5)))
    weights = S * np.where(Y == 1.0, 4.0, 0.5)
    found = [objective(each, 0.1, True, weights=weights) for each in (by_class, by_row)]
    assert found[0] == pytest.approx(found[1], rel=2e-6)


@pytest.mark.extras
def test_summaries_are_those_of_pyspark_on_the_same_predictions(df: DataFrame, model: LinearSVCModel) -> None:
    theirs, ours = model.to_pyspark().evaluate(df), model.evaluate(df)
    assert_same_by_class(ours, theirs)
    assert_same_curves(ours, theirs)
    assert ours.scoreCol == "rawPrediction"
    assert set(ours.metrics()) == {"auc", "auc_pr", "accuracy", "precision", "recall", "f1"}


def test_the_summary_is_a_property_and_a_method(model: LinearSVCModel) -> None:
    assert model.summary() is model.summary
    assert model.summary().accuracy == model.summary.accuracy
    assert "AUC" in str(model.summary)
    assert not hasattr(model.summary, "probabilityCol")
    with pytest.raises(StatisticsError, match="take LogisticRegression"):
        _ = model.summary.pValues


@pytest.mark.parametrize("parts", [1, 7])
def test_margins_of_either_sign_keep_their_order(parts: int) -> None:
    z = np.concatenate([RNG.normal(size=40), [-0.0, 0.0, -np.pi, 1e-300, -1e-300]])
    pieces = [Scores.of(z[i], np.ones(len(i)), np.ones(len(i))) for i in np.array_split(np.arange(len(z)), parts)]
    whole = pieces[0]
    for piece in pieces[1:]:
        whole = whole.merge(piece)
    np.testing.assert_array_equal(whole.values, np.unique(z))
    assert whole.weights.sum() == len(z)


def test_a_model_predicts_as_its_pyspark_twin_and_as_arrays(
    df: DataFrame, model: LinearSVCModel, tmp_path: Path
) -> None:
    twin, vector = model.to_pyspark(), df.first().features
    ours, theirs = (each.transform(df).toPandas() for each in (model, twin))
    np.testing.assert_array_equal(ours.prediction, theirs.prediction)
    np.testing.assert_allclose(np.stack(ours.rawPrediction), np.stack(theirs.rawPrediction), rtol=1e-12)
    assert ours.columns.tolist() == theirs.columns.tolist()
    assert model.predict(vector) == twin.predict(vector)
    np.testing.assert_allclose(model.predictRaw(vector).toArray(), twin.predictRaw(vector).toArray(), rtol=1e-12)
    assert 0 < ours.prediction.sum() < N
    model.save(str(tmp_path / "model"))
    np.testing.assert_array_equal(load_model(str(tmp_path / "model")).predict(X), ours.prediction)


def test_a_model_and_its_summary_survive_to_the_bit(model: LinearSVCModel, tmp_path: Path) -> None:
    model.save(str(tmp_path / "model"))
    loaded = LinearSVCModel.load(str(tmp_path / "model"))
    assert loaded.coefficients == model.coefficients and loaded.intercept == model.intercept
    assert (loaded.uid, loaded.getThreshold()) == (model.uid, 0.2)
    assert str(loaded.summary) == str(model.summary)
    assert loaded.summary().areaUnderROC == model.summary().areaUnderROC


def test_one_against_the_rest_makes_a_classifier_of_three_classes(df: DataFrame) -> None:
    three = df.selectExpr("features", "label + cast(features is null as int) as label").union(
        df.limit(40).selectExpr("features", "2.0 as label")
    )
    found = OneVsRest(classifier=LinearSVC(regParam=0.1, loss="squaredHinge")).fit(three).transform(three)
    assert set(found.toPandas().prediction) <= {0.0, 1.0, 2.0}


def test_params_are_those_of_pyspark(spark: SparkSession) -> None:
    ours, theirs = LinearSVC(), Oracle()
    missing = {param.name for param in theirs.params} - {param.name for param in ours.params}
    assert not missing
    assert {p.name: theirs.getOrDefault(p) for p in theirs.params if theirs.hasDefault(p)}.items() <= {
        p.name: ours.getOrDefault(p) for p in ours.params if ours.hasDefault(p)
    }.items()


def test_what_cannot_be_is_refused_and_what_is_odd_is_told() -> None:
    for wrong in ({"loss": "logistic"}, {"threshold": float("nan")}, {"classWeight": {2.0: 1.0}}, {"solver": "normal"}):
        with pytest.raises(ParamError):
            LinearSVC(**wrong).fit(local())
    for solver in ("sgd", "local-sgd"):
        with pytest.raises(SolverError, match="solver='l-bfgs'"):
            LinearSVC(solver=solver).fit(local())
    with pytest.raises(DataError, match="label"):
        LinearSVC().fit(LocalData(X, Y + 1.0))
    with pytest.warns(DataWarning, match="every label is 1"):
        one = LinearSVC().fit(LocalData(X, np.ones(N)))
    assert (one.intercept, one.summary.objectiveHistory) == (1.0, [0.0])
    for bounds in ({}, {"upperBoundsOnCoefficients": 9.0}):
        with pytest.warns(DataWarning, match="every label is 0: without an intercept .* on which side"):
            assert LinearSVC(fitIntercept=False, **bounds).fit(LocalData(X, np.zeros(N))).coefficients.toArray().any()
    near = r"an objective at most 0\.\d+ times itself above .* maxIter=3, or tol=1e-06 .* loss='squaredHinge'"
    with pytest.warns(ConvergenceWarning, match=near):
        LinearSVC(maxIter=3, regParam=1.0).fit(local())
    with pytest.warns(ConvergenceWarning, match="converged: raise maxIter=0, or take another solver, or loss='squared"):
        LinearSVC(maxIter=0).fit(local())
    with pytest.raises(StatisticsError, match="rows of the fit"):
        _ = one.summary.accuracy
