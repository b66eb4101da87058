"""A fit that starts from a fitted model: the same result sooner, whatever features came and went."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import random_features
from pyspark.ml import Pipeline
from pyspark.sql import SparkSession
from scipy.special import expit

from sparkdml import LocalData
from sparkdml.classification import LogisticRegression
from sparkdml.errors import ColumnError, FormatError, ParamError
from sparkdml.estimator import LinearEstimator
from sparkdml.regression import LinearRegression

N, D = 300, 6
X = random_features(N, D, density=1.0)
MARGIN = X @ np.linspace(-1.0, 1.0, D) + 2.0
LABELS: dict[type, np.ndarray] = {
    LinearRegression: MARGIN + np.random.default_rng(1).normal(size=N),
    LogisticRegression: (np.random.default_rng(1).random(N) < expit(MARGIN)).astype(float),
}
every_estimator = pytest.mark.parametrize("estimator", LABELS)
every_solver = pytest.mark.parametrize("solver", ["l-bfgs", "gd"])


def data(estimator: type, *columns: int) -> LocalData:
    """Some of the columns, in this order, under their own names."""
    chosen = list(columns or range(D))
    return LocalData(X[:, chosen], LABELS[estimator], feature_names=[f"x{j}" for j in chosen])


@every_estimator
@every_solver
@pytest.mark.parametrize("settings", [{}, {"regParam": 0.1}, {"regParam": 0.1, "elasticNetParam": 1.0}], ids=str)
@pytest.mark.parametrize("intercept", [True, False])
def test_the_minimum_is_found_at_once_from_the_minimum(
    estimator: type[LinearEstimator], solver: str, settings: dict, intercept: bool
) -> None:
    base = estimator(solver=solver, fitIntercept=intercept, maxIter=1000, **settings)
    cold = base.fit(data(estimator))
    warm = base.copy({base.initialModel: cold}).fit(data(estimator))
    assert warm.summary.passes <= 3 < cold.summary.passes
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=1e-5)
    assert warm.intercept == pytest.approx(cold.intercept, abs=1e-5)
    assert warm.summary.objectiveHistory[0] == pytest.approx(cold.summary.objectiveHistory[-1], rel=1e-9)
    assert not warm.hasParam("initialModel")  # nothing of its ancestors is left in a model


@every_estimator
@every_solver
@pytest.mark.parametrize("columns", [(3, 1, 0, 5, 2, 4), (1, 2, 3), (0, 1), (5,)], ids=str)
def test_features_are_matched_by_name(estimator: type[LinearEstimator], solver: str, columns: tuple) -> None:
    base = estimator(solver=solver, tol=1e-10, maxIter=2000)
    other, whole = base.fit(data(estimator, *columns)), base.fit(data(estimator))
    grown = base.copy({base.initialModel: other}).fit(data(estimator))
    shrunk = base.copy({base.initialModel: whole}).fit(data(estimator, *columns))
    np.testing.assert_allclose(grown.coefficients, whole.coefficients, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(shrunk.coefficients, other.coefficients, rtol=1e-6, atol=1e-7)
    # features that came begin at zero, so that nothing has changed yet
    start, end = grown.summary.objectiveHistory[0], other.summary.objectiveHistory[-1]
    assert start == pytest.approx(end, rel=1e-9)


def test_normal_is_exact_wherever_it_starts() -> None:
    cold = LinearRegression(solver="normal").fit(data(LinearRegression))
    other = LinearRegression(solver="normal", regParam=100.0).fit(data(LinearRegression, 1, 2))
    warm = LinearRegression(solver="normal", initialModel=other).fit(data(LinearRegression))
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, rtol=1e-12)


@every_solver
def test_one_class_stays_at_its_infinite_intercept(solver: str) -> None:
    start = LogisticRegression().fit(data(LogisticRegression))
    with pytest.warns(UserWarning, match="every label is 1"):
        fitted = LogisticRegression(solver=solver, initialModel=start).fit(LocalData(X, np.ones(N)))
    assert (fitted.summary.totalIterations, fitted.intercept > 36.0) == (0, True)


@every_estimator
def test_maps_of_a_fit_have_their_own_starts(estimator: type[LinearEstimator]) -> None:
    base = estimator(solver="l-bfgs")
    rows = data(estimator)
    near, far = base.fit(rows), base.copy({base.regParam: 10.0}).fit(rows)
    maps: list[Any] = [{}, {base.initialModel: near}, {base.initialModel: far}]
    passes = [model.summary.passes for _, model in sorted(base.fitMultiple(rows, maps))]
    assert passes[1] <= 3 < min(passes[0], passes[2])
    assert [model.summary.passes for model in base.fit(rows, maps)] == passes


@every_estimator
def test_a_start_that_makes_no_sense_is_refused(estimator: type[LinearEstimator]) -> None:
    (other,) = set(LABELS) - {estimator}
    wrong = other().fit(data(other))
    with pytest.raises(ParamError, match=f"initialModel is a {other.__name__}Model: {estimator.__name__} can start"):
        estimator(initialModel=wrong).fit(data(estimator))
    strange = estimator().fit(LocalData(X, LABELS[estimator], feature_names=[f"z{j}" for j in range(D)]))
    with pytest.raises(ColumnError, match=r"knows z0, .*, and these are x0, "):
        estimator(initialModel=strange).fit(data(estimator))
    with pytest.raises(ParamError, match="not PipelineModel; of a PipelineModel take the last"):
        estimator(initialModel=Pipeline(stages=[]).fit(None))


@every_estimator
def test_an_estimator_with_a_start_survives(
    spark: SparkSession, estimator: type[LinearEstimator], tmp_path: Path, damaged: Callable[[Path], None]
) -> None:
    rows, path = data(estimator), str(tmp_path / "estimator")
    saved = estimator(solver="l-bfgs", regParam=0.01, initialModel=estimator().fit(data(estimator, 1, 2)))
    saved.save(path)
    loaded = estimator.load(path)
    assert (loaded.uid, loaded.getRegParam()) == (saved.uid, 0.01)
    assert loaded.getInitialModel().featureNames == ("x1", "x2")
    ours, theirs = loaded.fit(rows), saved.fit(rows)
    assert ours.coefficients == theirs.coefficients
    assert ours.summary.objectiveHistory == theirs.summary.objectiveHistory
    Pipeline(stages=[saved]).save(str(tmp_path / "pipeline"))
    (stage,) = Pipeline.load(str(tmp_path / "pipeline")).getStages()
    assert stage.getInitialModel().coefficients == saved.getInitialModel().coefficients
    damaged(tmp_path / "estimator" / "data" / "arrays")
    with pytest.raises(FormatError, match="SHA-256"):
        estimator.load(path)


@pytest.fixture
def damaged() -> Callable[[Path], None]:
    """Changes the first byte of a file."""

    def change(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])

    return change
