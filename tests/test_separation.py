"""Labels that are separated: no finite coefficients are best, which a warning says, with the columns."""

import warnings
from typing import Any

import numpy as np
import pytest

from sparkdml import LocalData
from sparkdml.classification import LogisticRegression
from sparkdml.errors import ConvergenceWarning, DataWarning
from sparkdml.regression import GeneralizedLinearRegression

N = 400
RNG = np.random.default_rng(0)
X = RNG.normal(size=N)
GROUP = (RNG.random(N) < 0.1).astype(float)
LEVELS = np.eye(3)[RNG.integers(0, 3, N)]
BINARY = (RNG.random(N) < 1.0 / (1.0 + np.exp(-0.5 * X))).astype(float)
COUNTS = RNG.poisson(np.exp(0.3 * X + 0.5)).astype(float)
MANY = RNG.poisson(np.exp(0.3 * X + 5.0)).astype(float)  # so many labels that they are not kept apart
GLM = GeneralizedLinearRegression


def caught(estimator: Any, features: np.ndarray, label: np.ndarray, **columns: np.ndarray) -> list[str]:
    """What a fit says of separation; nothing else is warned of but that it does not converge."""
    names = [f"c{j}" for j in range(features.shape[1])]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        estimator.fit(LocalData(features, label, feature_names=names, **columns))
    assert {each.category for each in found} <= {DataWarning, ConvergenceWarning}
    for each in found:
        if each.category is ConvergenceWarning:
            assert "more iterations do not help, since the labels are separated" in str(each.message)
    return [str(each.message) for each in found if each.category is DataWarning]


ESTIMATORS = {
    "logistic": (LogisticRegression, {"family": "binomial"}, 1.0, BINARY),
    "logit": (GLM, {"family": "binomial"}, 1.0, BINARY),
    "probit": (GLM, {"family": "binomial", "link": "probit"}, 1.0, BINARY),
    "cloglog": (GLM, {"family": "binomial", "link": "cloglog"}, 1.0, BINARY),
    "cloglog of zeros": (GLM, {"family": "binomial", "link": "cloglog"}, 0.0, BINARY),
    "multinomial": (LogisticRegression, {"family": "multinomial"}, 2.0, BINARY + (RNG.random(N) < 0.3)),
    "poisson": (GLM, {"family": "poisson"}, 0.0, COUNTS),
    "poisson of many counts": (GLM, {"family": "poisson"}, 0.0, MANY),
    "negativeBinomial": (GLM, {"family": "negativeBinomial"}, 0.0, COUNTS),
    "tweedie": (GLM, {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.0}, 0.0, MANY),
}
SOLVERS = ("auto", "newton", "l-bfgs", "subsampled-newton")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_group_of_one_label_is_named(name: str, solver: str) -> None:
    cls, settings, limit, label = ESTIMATORS[name]
    separated = np.where(GROUP == 1.0, limit, label)
    for group, side in ((GROUP, "above 0"), (5.0 - GROUP, "below 5")):
        (message,) = caught(cls(solver=solver, **settings), np.column_stack([X, group]), separated)
        assert message.startswith("separation: column 'c1': ")
        assert "'c0'" not in message
        if name not in ("multinomial", "poisson of many counts", "tweedie"):
            assert f"all rows {side} have the label {limit:g}, so that no finite coefficients are best" in message
        assert "regParam above 0" in message


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_held_or_not_separated_is_not_warned_of(name: str) -> None:
    cls, settings, limit, label = ESTIMATORS[name]
    features, separated = np.column_stack([X, GROUP]), np.where(GROUP == 1.0, limit, label)
    assert caught(cls(regParam=0.01, **settings), features, separated) == []
    spoilt = separated.copy()
    others = [0.0, 1.0] if name == "multinomial" else [1.0 - limit]
    spoilt[np.flatnonzero(GROUP)[: len(others)]] = others  # rows of the group that speak against it
    assert caught(cls(**settings), features, spoilt) == []
    assert caught(cls(**settings), features, separated, weight=1.0 - GROUP) == []


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_level_without_a_column_is_found_by_the_others(solver: str) -> None:
    features = np.column_stack([X, LEVELS[:, :2]])
    (message,) = caught(LogisticRegression(solver=solver), features, np.where(LEVELS[:, 2] == 1.0, 1.0, BINARY))
    assert message.startswith("separation: columns 'c1', 'c2': together they leave rows")


def test_a_rare_group_and_offsets_and_no_intercept() -> None:
    rare = np.zeros(N)
    rare[7] = 1.0
    label = np.where(rare == 1.0, 1.0, BINARY)
    features = np.column_stack([X, rare])
    assert len(caught(LogisticRegression(), features, label)) == 1
    assert len(caught(LogisticRegression(fitIntercept=False), features, label)) == 1
    assert len(caught(LogisticRegression(offsetCol="offset"), features, label, offset=RNG.normal(size=N))) == 1
    # about zero a column that is 1 or 2 separates nothing
    assert caught(LogisticRegression(fitIntercept=False), np.column_stack([X, 1.0 + rare]), label) == []


def test_planes_that_separate_all_or_some_rows() -> None:
    z = RNG.normal(size=N)
    plane = X + 0.5 * z
    features = np.column_stack([X, z])
    (message,) = caught(LogisticRegression(), features, (plane > 0.3).astype(float))
    assert message.startswith("separation: a plane separates the classes, so that")
    (message,) = caught(LogisticRegression(), features[:, :1], (X > 0.1).astype(float))
    assert "a plane separates the classes (column 'c0': all rows above " in message
    tied = np.round(plane)
    label = np.where(tied == 0.0, BINARY, (tied > 0.0).astype(float))
    mixed = np.column_stack([X, tied - X])
    (message,) = caught(LogisticRegression(solver="newton", tol=1e-12), mixed, label)
    assert message.startswith("separation: a combination of columns predicts some labels perfectly")
