"""Fits whose residuals are far smaller than the labels: summaries know them as well as a look at the rows does."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from sparkdml import LocalData
from sparkdml.errors import DataWarning
from sparkdml.regression import GeneralizedLinearRegression, LinearRegression

N, EPS = 200, np.finfo(float).eps
RNG = np.random.default_rng(0)
X, NOISE = RNG.normal(size=(N, 3)), RNG.normal(size=N)
Z = X @ [0.2, -0.1, 0.3] + 1.0
LADDER = [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12]
SOLVERS = ("normal", "newton", "l-bfgs", "gd")


def least_squares(label: np.ndarray, intercept: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (N,) and standard errors by QR, refined once."""
    A = np.column_stack([X, np.ones(N)]) if intercept else X
    Q, R = np.linalg.qr(A)
    solution = np.linalg.solve(R, Q.T @ label)
    solution += np.linalg.solve(R, Q.T @ (label - A @ solution))
    residuals = label - A @ solution
    inverse = np.linalg.inv(R)
    return residuals, np.sqrt(np.diag(inverse @ inverse.T) * (residuals @ residuals) / (N - A.shape[1]))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("noise", LADDER)
@pytest.mark.parametrize("mean", [1.0, -1e4])
@pytest.mark.parametrize("intercept", [True, False])
def test_residuals_and_standard_errors_are_those_of_the_rows(
    solver: str, noise: float, mean: float, intercept: bool
) -> None:
    label = X @ [1.0, 2.0, 3.0] + noise * NOISE + (mean if intercept else 0.0)
    settings = {"solver": solver, "fitIntercept": intercept, "computeStatistics": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "an essentially perfect fit")
        summary = LinearRegression(**settings).fit(LocalData(X, label)).summary
    residuals, errors = least_squares(label, intercept)
    rounding = 8.0 * EPS * np.abs(label).max()
    rmse = float(np.sqrt(np.mean(residuals**2)))
    assert summary.converged
    assert summary.rootMeanSquaredError == pytest.approx(rmse, rel=1e-6, abs=rounding)
    np.testing.assert_allclose(summary.coefficientStandardErrors, errors, rtol=1e-6 + 2.0 * rounding / rmse)


def test_a_label_of_nanoseconds_with_seconds_of_noise() -> None:
    seconds = 1e9 * NOISE
    for spread in (1e12, 1e16):
        label = 1.7e18 + spread * X[:, 0] + seconds
        summary = LinearRegression(solver="normal").fit(LocalData(X, label)).summary
        residuals, errors = least_squares(label)
        assert summary.rootMeanSquaredError == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-5)
        np.testing.assert_allclose(summary.coefficientStandardErrors, errors, rtol=1e-5)


def test_residuals_are_looked_at_only_where_moments_have_lost_them() -> None:
    passes = [
        LinearRegression(solver="normal").fit(LocalData(X, Z + noise * NOISE)).summary.passes for noise in LADDER[:4]
    ]
    assert passes == [1, 2, 2, 2]
    penalized = LinearRegression(solver="normal", regParam=1e-12, elasticNetParam=1.0).fit(
        LocalData(X, Z + 1e-8 * NOISE)
    )
    rows = Z + 1e-8 * NOISE - X @ penalized.coefficients.toArray() - penalized.intercept
    assert penalized.summary.rootMeanSquaredError == pytest.approx(np.sqrt(np.mean(rows**2)), rel=1e-6)


FAMILIES: dict[str, tuple[dict[str, Any], Callable[[float], np.ndarray]]] = {
    "gaussian": ({}, lambda noise: Z + noise * NOISE),
    "gaussian, log": ({"family": "gaussian", "link": "log"}, lambda noise: np.exp(Z) + noise * NOISE),
    "binomial": ({"family": "binomial"}, lambda noise: 1.0 / (1.0 + np.exp(-Z - noise * NOISE))),
    "poisson": ({"family": "poisson"}, lambda noise: np.exp(Z + noise * NOISE)),
    "gamma": ({"family": "gamma", "link": "log"}, lambda noise: np.exp(Z + noise * NOISE)),
    "tweedie": (
        {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.0},
        lambda noise: np.exp(Z + noise * NOISE),
    ),
    "negativeBinomial": ({"family": "negativeBinomial"}, lambda noise: np.exp(Z + noise * NOISE)),
}
VALUES = ("deviance", "nullDeviance", "dispersion")


@pytest.mark.thinned
@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_summary_says_of_the_training_rows_evaluate_says_too(spark: SparkSession, name: str) -> None:
    settings, draw = FAMILIES[name]
    for noise in LADDER[::2] + LADDER[-1:]:
        label = draw(noise)
        df = spark.createDataFrame(np.column_stack([X, label]).tolist(), ["a", "b", "c", "label"]).coalesce(1)
        estimators = [GeneralizedLinearRegression(featuresCols=["a", "b", "c"], **settings)]
        if name == "gaussian":
            estimators += [LinearRegression(featuresCols=["a", "b", "c"], solver=solver) for solver in SOLVERS[:3]]
        for estimator in estimators:
            model = estimator.fit(df)
            trained, evaluated = model.summary, model.evaluate(df)
            # a deviance is a sum of squares, each of which knows its root to some eps of the label
            rounding = 16.0 * EPS / noise
            values = VALUES if isinstance(estimator, GeneralizedLinearRegression) else ("meanSquaredError", "r2")
            for value in values:
                assert getattr(trained, value) == pytest.approx(getattr(evaluated, value), rel=1e-6 + 4.0 * rounding), (
                    value,
                    noise,
                )


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_essentially_perfect_fit_is_warned_of(solver: str) -> None:
    with pytest.warns(DataWarning, match="an essentially perfect fit: the residuals are not above the rounding"):
        LinearRegression(solver=solver).fit(LocalData(X, X @ [1.0, 2.0, 3.0] + 1.0))
    with pytest.warns(DataWarning, match="an essentially perfect fit"):
        GeneralizedLinearRegression(family="gamma", link="log").fit(LocalData(X, np.exp(Z)))
