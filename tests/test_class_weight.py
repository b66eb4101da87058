"""classWeight = weightCol with the weights of the classes multiplied in: coefficients, start, refusals, summaries."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import random_features
from pyspark.sql import SparkSession
from scipy.special import expit
from sklearn.linear_model import LogisticRegression as Exact
from sklearn.utils.class_weight import compute_class_weight

from sparkdml import LocalData, pack
from sparkdml.classification import LogisticRegression, LogisticRegressionModel
from sparkdml.errors import DataError, DataWarning, ParamError, StatisticsError

N, D = 200, 4
X = random_features(N, D, density=1.0)
RNG = np.random.default_rng(2)
Y = (RNG.random(N) < expit(X @ [1.0, -0.7, 0.0, 0.2] - 2.0)).astype(float)
S = RNG.exponential(size=N) * (RNG.random(N) < 0.9)
EXACT = {"tol": 1e-11, "maxIter": 3000}

CHOICES: dict[str, Any] = {
    "balanced": "balanced",
    "both": {0: 0.5, 1: 3.0},
    "one of them": {1: 4.0},
    "as text": "0=2,1=0.25",
}
SETTINGS = [
    dict(zip(("solver", "regParam", "elasticNetParam", "standardization", "fitIntercept"), each, strict=True))
    for i, each in enumerate(itertools.product(("l-bfgs", "gd"), (0.0, 0.05), (0.0, 0.5), (True, False), (True, False)))
    if each[1] or not each[2]
]


def factors(choice: Any, weight: np.ndarray) -> np.ndarray:
    """The weight of each row's class, as scikit-learn has it."""
    if choice == "balanced":
        pair = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=Y, sample_weight=weight)
        return np.where(Y == 1.0, pair[1], pair[0])
    pairs = dict(each.split("=") for each in choice.split(",")) if isinstance(choice, str) else choice
    found = {float(label): float(each) for label, each in pairs.items()}
    return np.array([found.get(y, 1.0) for y in Y])


@pytest.mark.thinned
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_weights_of_classes_are_weights_of_rows(choice: Any, weighted: bool) -> None:
    own = S if weighted else np.ones(N)
    by_class, by_row = LocalData(X, Y, S if weighted else None), LocalData(X, Y, own * factors(choice, own))
    estimators = [LogisticRegression(**EXACT, **params, classWeight=choice) for params in SETTINGS]
    found = estimators[0]._fit_all(by_class, estimators)
    for params, ours in zip(SETTINGS, found, strict=True):
        expected = LogisticRegression(**EXACT, **params).fit(by_row)
        np.testing.assert_allclose(ours.coefficients, expected.coefficients, atol=1e-8, err_msg=str(params))
        assert ours.intercept == pytest.approx(expected.intercept, abs=1e-8), params
        history, other = ours.summary.objectiveHistory, expected.summary.objectiveHistory
        assert (history[0], min(history)) == pytest.approx((other[0], min(other)), rel=1e-10), params


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_coefficients_are_those_of_scikit_learn(choice: Any, weighted: bool) -> None:
    weight = S if weighted else np.ones(N)
    pairs = dict(zip(Y, factors(choice, weight), strict=True))
    exact = Exact(C=np.inf, tol=1e-12, max_iter=10_000, class_weight={int(y): w for y, w in pairs.items()})
    exact.fit(X, Y, sample_weight=weight)
    ours = LogisticRegression(**EXACT, classWeight=choice).fit(LocalData(X, Y, weight))
    np.testing.assert_allclose(ours.coefficients, exact.coef_[0], atol=1e-6)
    assert ours.intercept == pytest.approx(exact.intercept_[0], abs=1e-6)


def test_models_of_different_weights_are_fitted_together() -> None:
    data, base = LocalData(X, Y, S), LogisticRegression(**EXACT)
    maps = [{}, *({base.classWeight: base.classWeight.typeConverter(each)} for each in CHOICES.values())]
    together = base.fit(data, maps)  # type: ignore[call-overload]
    assert data.passes == max(each.summary.passes for each in together)
    for each, found in zip(maps, together, strict=True):
        alone = base.copy(each).fit(data)
        np.testing.assert_allclose(found.coefficients, alone.coefficients, atol=1e-8)


@pytest.mark.parametrize("choice", ["balanced", {0: 1.0, 1: 5.0}])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_goes_on_working(choice: Any, label: float) -> None:
    with pytest.warns(DataWarning, match=f"every label is {label:g}: all coefficients are zero"):
        fitted = LogisticRegression(classWeight=choice).fit(LocalData(X, np.full(N, label)))
    assert fitted.predict(fitted.coefficients) == label


def test_a_class_of_weight_zero_is_as_if_it_were_not_there() -> None:
    with pytest.warns(DataWarning, match="every label is 1"):
        fitted = LogisticRegression(classWeight={0: 0.0}).fit(LocalData(X, Y))
    assert fitted.summary.numInstances == N


@pytest.mark.parametrize(
    ("choice", "label", "error", "told"),
    [
        ({2: 1.0}, Y, ParamError, "classWeight names the label 2: the labels are 0 and 1"),
        ({0: 0.0, 1: 0.0}, Y, ParamError, "zero for all labels"),
        ({1: 0.0}, np.ones(N), DataError, "of 200 rows none of positive weight is left to train"),
        ({1: 0.0}, Y * 0.5, DataError, "labels that no class can have"),
    ],
)
def test_weights_that_make_no_sense_are_refused(choice: Any, label: np.ndarray, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        LogisticRegression(classWeight=choice).fit(LocalData(X, label))


@pytest.mark.parametrize("early", [{}, {"validationIndicatorCol": "fold"}], ids=["", "early stopping"])
def test_weights_of_many_classes_are_weights_of_rows(early: dict[str, Any]) -> None:
    """More classes than packing keeps the statistics of take one more pass."""
    label, weights = np.arange(N) % 40.0, {k: 1.0 + k % 3 for k in range(40)}
    fold = (np.arange(N) // 40 % 4 == 0).astype(np.int32) if early else None
    base = LogisticRegression(**EXACT, regParam=0.1, **early)
    by_class = base.copy({base.classWeight: weights}).fit(LocalData(X, label, fold=fold))
    by_row = base.fit(LocalData(X, label, np.array([weights[y] for y in label]), fold=fold))
    found, expected = (model.coefficientMatrix.toArray() for model in (by_class, by_row))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_the_fit_does_not_know_the_loss_of_the_rows_own_weights(spark: SparkSession, tmp_path: Path) -> None:
    local = LogisticRegression(classWeight="balanced").fit(LocalData(X, Y))
    assert (local.summary.numInstances, local.summary.metrics()) == (N, {})
    assert "log loss" not in str(local.summary)
    with pytest.raises(StatisticsError, match="not at hand"):
        _ = local.summary.logLoss
    names = ["a", "b", "c", "d"]
    table = spark.createDataFrame(np.column_stack([X, Y, S]).tolist(), [*names, "label", "weight"]).coalesce(2)
    estimator = LogisticRegression(featuresCols=names, weightCol="weight", classWeight={0: 1, 1: 5}, regParam=0.01)
    estimator.save(str(tmp_path / "estimator"))
    assert LogisticRegression.load(str(tmp_path / "estimator")).getClassWeight() == {0.0: 1.0, 1.0: 5.0}
    with pack(table, featuresCols=names, weightCol="weight") as data:
        fitted = estimator.fit(data)
    p = expit(X @ fitted.coefficients.toArray() + fitted.intercept)
    assert fitted.summary.logLoss == pytest.approx(-np.average(np.log(np.where(Y == 1, p, 1 - p)), weights=S), rel=1e-9)
    fitted.save(str(tmp_path / "model"))
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    assert loaded.getClassWeight() == {0.0: 1.0, 1.0: 5.0}
    assert loaded.summary.metrics() == fitted.summary.metrics()
    assert str(loaded.summary) == str(fitted.summary)
