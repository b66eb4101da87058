"""LinearRegression(loss="huber") as pyspark.ml has it, and loss="quantile"."""

from pathlib import Path

import numpy as np
import pytest
from problems import random_features
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import LinearRegression as Oracle
from pyspark.sql import SparkSession

from sparkdml import LocalData
from sparkdml.errors import ConvergenceWarning, DataError, ParamError, SolverError, StatisticsError
from sparkdml.regression import LinearRegression, LinearRegressionModel

N, D = 150, 4
RNG = np.random.default_rng(3)
X = random_features(N, D, density=1.0)
Y = X @ [1.0, -0.7, 0.0, 0.2] - 0.5 + 2.0 * RNG.standard_t(2.0, size=N)
S = RNG.exponential(size=N) * (RNG.random(N) < 0.9)
DATA = LocalData(X, Y, S)


@pytest.mark.parametrize(
    ("regParam", "fitIntercept", "standardization", "epsilon"),
    [(0.0, True, True, 1.35), (0.3, True, False, 2.0), (0.3, False, True, 1.35), (0.3, True, True, 1.2)],
)
def test_huber_is_that_of_pyspark(
    spark: SparkSession, regParam: float, fitIntercept: bool, standardization: bool, epsilon: float
) -> None:
    rows = [(Vectors.dense(x), float(y), float(s)) for x, y, s in zip(X, Y, S, strict=True)]
    df = spark.createDataFrame(rows, ["features", "label", "weight"]).coalesce(1)
    params = {"regParam": regParam, "fitIntercept": fitIntercept, "epsilon": epsilon, "loss": "huber"}
    theirs = Oracle(**params, standardization=standardization, weightCol="weight", tol=1e-9).fit(df)
    ours = LinearRegression(**params, standardization=standardization, tol=1e-9).fit(DATA)
    assert ours.summary.converged
    assert ours.scale == pytest.approx(theirs.scale, rel=2e-4)
    np.testing.assert_allclose(ours.coefficients.toArray(), theirs.coefficients.toArray(), atol=2e-4)
    assert ours.intercept == pytest.approx(theirs.intercept, abs=2e-4)


def test_the_scale_survives_saving_and_is_that_of_the_twin(spark: SparkSession, tmp_path: Path) -> None:
    model = LinearRegression().setLoss("huber").setEpsilon(1.5).fit(DATA)
    model.save(str(tmp_path / "model"))
    loaded = LinearRegressionModel.load(str(tmp_path / "model"))
    assert loaded.scale == model.scale == model.to_pyspark().scale != 1.0
    assert str(loaded.summary) == str(model.summary)


def test_a_fit_begun_at_a_model_of_the_same_loss_is_there() -> None:
    cold = LinearRegression(loss="huber", tol=1e-9).fit(DATA)
    warm = LinearRegression(loss="huber", tol=1e-6, initialModel=cold).fit(DATA)
    squared = LinearRegression(loss="huber", tol=1e-9, initialModel=LinearRegression().fit(DATA)).fit(DATA)
    assert 2 * warm.summary.passes < cold.summary.passes
    for other in (warm, squared):
        assert other.scale == pytest.approx(cold.scale, rel=1e-6)


@pytest.mark.parametrize("loss", ["huber", "quantile"])
@pytest.mark.parametrize("fitIntercept", [True, False])
def test_the_metrics_are_those_of_the_predictions(loss: str, fitIntercept: bool) -> None:
    summary = (
        model := LinearRegression(loss=loss, fitIntercept=fitIntercept, maxIter=1000, regParam=0.01).fit(DATA)
    ).summary
    p = X @ model.coefficients.toArray() + model.intercept
    assert summary.meanSquaredError == pytest.approx(np.average((p - Y) ** 2, weights=S), rel=1e-10)
    mean = np.average(Y, weights=S)
    assert summary.explainedVariance == pytest.approx(np.average((p - mean) ** 2, weights=S), rel=1e-9)
    with pytest.raises(StatisticsError, match="they need loss='squaredError'"):
        _ = summary.pValues


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_a_quantile_has_its_share_of_the_labels_below(q: float) -> None:
    model = LinearRegression(loss="quantile", quantile=q, maxIter=2000).fit(LocalData(X, Y))
    below = np.mean(X @ model.coefficients.toArray() + model.intercept > Y)
    assert abs(below - q) <= (D + 1) / N
    assert model.summary.converged


def test_quantiles_and_hubers_share_their_passes() -> None:
    grid = [{LinearRegression.quantile: q} for q in (0.25, 0.5, 0.75)]
    estimator = LinearRegression(loss="quantile", maxIter=2000, regParam=0.01)
    together = dict(estimator.fitMultiple(DATA, grid))
    for i, extra in enumerate(grid):
        alone = estimator.copy(extra).fit(DATA)
        assert together[i].summary.objectiveHistory[-1] == pytest.approx(alone.summary.objectiveHistory[-1], rel=2e-6)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"loss": "huber", "regParam": 0.1, "elasticNetParam": 0.5}, "only have an L2 penalty"),
        ({"epsilon": 2.0}, "epsilon=2 is for loss='huber', not 'squaredError'"),
        ({"loss": "quantile", "epsilon": 2.0}, "epsilon=2 is for loss='huber', not 'quantile'"),
        ({"loss": "huber", "quantile": 0.3}, "quantile=0.3 is for loss='quantile', not 'huber'"),
        (
            {"loss": "huber", "computeStatistics": True},
            "computeStatistics=True: there are no standard errors with loss=",
        ),
        (
            {"loss": "quantile", "standardErrors": "HC1"},
            "standardErrors='HC1': there are no standard errors with loss=",
        ),
    ],
)
def test_what_a_loss_cannot_have_is_refused(params: dict, told: str) -> None:
    with pytest.raises(ParamError, match=told):
        LinearRegression(**params).fit(DATA)


@pytest.mark.parametrize("q", [0.0, 1.0, -1.0, float("nan")])
def test_a_quantile_is_between_0_and_1(q: float) -> None:
    with pytest.raises(ParamError, match="quantile"):
        LinearRegression(quantile=q)


def test_equal_labels_have_no_scale_and_the_normal_equations_no_huber() -> None:
    with pytest.raises(DataError, match="no scale"):
        LinearRegression(loss="huber").fit(LocalData(X, np.full(N, 3.0)))
    for loss in ("huber", "quantile"):
        with pytest.raises(SolverError, match="l-bfgs"):
            LinearRegression(loss=loss, solver="normal").fit(DATA)


def test_a_scale_that_collapses_is_told_of() -> None:
    """Of more columns than rows: the residuals can be zero, and with them the scale."""
    wide = np.random.default_rng(7).normal(size=(40, 80))
    with pytest.warns(ConvergenceWarning, match=r"raise maxIter=50, or raise regParam, .* the scale has fallen from "):
        LinearRegression(loss="huber", regParam=1e-4, maxIter=50).fit(LocalData(wide, wide[:, 0] + Y[:40]))
