"""Multinomial logistic regression: the coefficients, summaries and surface of pyspark.ml, and its own laws."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import random_features
from pyspark.ml.classification import LogisticRegression as Oracle
from pyspark.ml.classification import LogisticRegressionModel as OracleModel
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from scipy.special import softmax
from sklearn import metrics
from summaries import assert_same_by_class

from sparkdml import LocalData, load_model
from sparkdml.classification import LogisticRegression, LogisticRegressionModel
from sparkdml.errors import ConvergenceWarning, DataError, DataWarning, ParamError, StatisticsError
from sparkdml.inference import STANDARD_ERRORS

N, D, K = 240, 4, 3
X = random_features(N, D, density=1.0)
RNG = np.random.default_rng(11)
Z = X @ RNG.normal(size=(D, K)) + RNG.gumbel(size=(N, K)) * 2.0
Y = np.argmax(Z, axis=1).astype(float)
S = RNG.exponential(size=N) * (RNG.random(N) < 0.9)
SOLVERS = ("l-bfgs", "newton", "gd", "local-sgd")
EXACT: dict[str, Any] = {"tol": 1e-12, "maxIter": 3000}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"fitIntercept": False, "weightCol": "weight"},
    {"regParam": 0.1, "weightCol": "weight"},
    {"regParam": 0.05, "standardization": False},
    {"regParam": 0.02, "elasticNetParam": 0.5},
    {"regParam": 0.03, "elasticNetParam": 1.0, "fitIntercept": False},
]


def local(label: np.ndarray = Y, weight: np.ndarray | None = None, partitions: int = 1) -> LocalData:
    return LocalData(X, label, weight, partitions=partitions)


def numbers(model: Any) -> np.ndarray:
    """All coefficients and intercepts, (K, d + 1)."""
    return np.column_stack([model.coefficientMatrix.toArray(), model.interceptVector.toArray()])


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> Iterator[DataFrame]:
    rows = [(Vectors.dense(x), float(y), float(s)) for x, y, s in zip(X, Y, S, strict=True)]
    table = spark.createDataFrame(rows, ["features", "label", "weight"]).coalesce(1).cache()
    yield table
    table.unpersist(blocking=True)


@pytest.fixture(scope="module")
def model(df: DataFrame) -> LogisticRegressionModel:
    return LogisticRegression(weightCol="weight", regParam=0.01).fit(df)


@pytest.mark.extras
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_coefficients_are_those_of_pyspark(df: DataFrame, settings: dict[str, Any]) -> None:
    lasso = "elasticNetParam" in settings
    oracle = Oracle(tol=1e-10 if lasso else 1e-13, maxIter=1000, **settings).fit(df)
    theirs, close = numbers(oracle), 1e-4 if lasso else 1e-6
    data = local(weight=S if "weightCol" in settings else None)
    own = {name: value for name, value in settings.items() if name != "weightCol"}
    for solver in SOLVERS:
        ours = LogisticRegression(**EXACT, **own, solver=solver).fit(data)
        np.testing.assert_allclose(numbers(ours), theirs, atol=close * np.abs(theirs).max(), err_msg=solver)
        assert ours.summary.objectiveHistory[-1] <= oracle.summary.objectiveHistory[-1] * (1 + 1e-9)
    if "regParam" not in settings:
        np.testing.assert_allclose(numbers(ours).sum(axis=0), 0.0, atol=1e-12)


@pytest.mark.thinned
@pytest.mark.parametrize("solver", [*SOLVERS, "sgd"])
@pytest.mark.parametrize("settings", [{"regParam": 0.1}, {"regParam": 0.02, "elasticNetParam": 0.5}, {}], ids=str)
def test_neither_the_cut_of_the_rows_nor_the_names_of_the_classes_matter(solver: str, settings: dict[str, Any]) -> None:
    """The rows in another cut, other names of the classes: the same coefficients."""
    if solver == "local-sgd" and not settings:
        pytest.skip("hundreds of passes, since what all classes share is not held by a penalty")
    base = LogisticRegression(**EXACT, **settings, solver=solver)
    close = 1e-3 if solver == "sgd" else 1e-6
    expected, renamed = numbers(base.fit(local())), np.array([2, 0, 1])
    found = numbers(base.fit(local(renamed[Y.astype(int)].astype(float), partitions=7)))[renamed]
    np.testing.assert_allclose(found, expected, atol=close * np.abs(expected).max())


def test_two_classes_are_the_binomial_model() -> None:
    """Coefficients are half as far from zero on either side, so that a ridge is twice as strong."""
    label = (Y > 0.0).astype(float)
    for reg in (0.0, 0.1):
        two = LogisticRegression(**EXACT, family="multinomial", regParam=2 * reg)
        both = two.fit(local(label))
        one = LogisticRegression(**EXACT, regParam=reg).fit(local(label))
        np.testing.assert_allclose(numbers(both), numbers(one) * [[-0.5], [0.5]], atol=1e-8)
        assert both.numClasses == one.numClasses == 2
        assert both.summary.logLoss == pytest.approx(one.summary.logLoss, rel=1e-9)
        printed = str(two.copy({two.solver: "l-bfgs"}).fit(local(label)).summary)  # which tells no errors
        assert printed.splitlines()[0].split() == ["Feature", "Class", "0", "Class", "1"]


@pytest.mark.parametrize("kind", STANDARD_ERRORS)
@pytest.mark.parametrize("reg", [0.0, 0.1])
def test_two_classes_have_half_the_standard_errors_of_the_binomial_model(kind: str, reg: float) -> None:
    label = (Y > 0.0).astype(float)
    settings: Any = {**EXACT, "standardErrors": kind, "computeStatistics": True}
    both = LogisticRegression(**settings, family="multinomial", regParam=2 * reg).fit(local(label)).summary
    one = LogisticRegression(**settings, regParam=reg).fit(local(label)).summary
    expected = np.repeat(one.coefficientStandardErrors, 2) / 2.0
    np.testing.assert_allclose(both.coefficientStandardErrors, expected, rtol=1e-6)
    np.testing.assert_allclose(both.pValues, np.repeat(one.pValues, 2), rtol=1e-4)


@pytest.mark.parametrize("solver", ["newton", "l-bfgs"])
def test_standard_errors_are_of_coefficients_that_sum_to_zero_and_stand_in_a_table_a_class(solver: str) -> None:
    """Those of the pseudo-inverse of the information, which has nothing of what all classes share."""
    found = LogisticRegression(**EXACT, solver=solver, computeStatistics=True).fit(local(weight=S))
    A = np.column_stack([X, np.ones(N)])
    p = softmax(A @ numbers(found).T, axis=1)
    curvature = S[:, None, None] * (p[:, :, None] * np.eye(K) - p[:, :, None] * p[:, None, :])
    information = np.einsum("ni,nkl,nj->ikjl", A, curvature, A).reshape((D + 1) * K, -1)
    expected = np.sqrt(np.diag(np.linalg.pinv(information, rcond=1e-10)))
    np.testing.assert_allclose(found.summary.coefficientStandardErrors, expected, rtol=1e-6)
    tables = [[line.split() for line in part.splitlines()] for part in str(found.summary).split("\n\n")[:K]]
    assert [table[0][:2] for table in tables] == [["Class", f"{k}"] for k in range(K)]
    assert tables[-1].pop()[:2] == ["(each", "feature's"]
    assert [len(table) for table in tables] == [D + 2] * K
    of_class_1 = tables[1][1:]
    assert [line[0] for line in of_class_1] == [*found.featureNames, "(intercept)"]
    np.testing.assert_allclose([float(line[2]) for line in of_class_1], expected[1::K], rtol=1e-3)


def test_a_class_without_rows_is_never_predicted() -> None:
    gap = np.where(Y == 1.0, 5.0, Y)
    found = LogisticRegression(**EXACT, regParam=0.1).fit(local(gap))
    present = numbers(LogisticRegression(**EXACT, regParam=0.1).fit(local()))
    assert found.numClasses == 6
    p = np.array([found.predictProbability(Vectors.dense(x)).toArray() for x in X])
    assert p[:, [1, 3, 4]].max() < 1e-14
    np.testing.assert_allclose(p[:, [0, 5, 2]], softmax(X @ present[:, :-1].T + present[:, -1], axis=1), atol=1e-9)


@pytest.mark.parametrize("label", [0.0, 2.0])
def test_one_class_of_many(label: float) -> None:
    with pytest.warns(DataWarning, match=f"every label is {label:g}: all coefficients are zero"):
        found = LogisticRegression(family="multinomial").fit(local(np.full(N, label)))
    assert not np.any(found.coefficientMatrix.toArray())
    assert found.predictProbability(Vectors.dense(X[0]))[int(label)] == pytest.approx(1.0, abs=1e-15)


def test_many_classes_are_learned() -> None:
    classes, rng = 300, np.random.default_rng(0)
    centers = rng.normal(size=(classes, 12))
    label = np.arange(3000.0) % classes
    rows = LocalData(centers[label.astype(int)] + 0.1 * rng.normal(size=(3000, 12)), label, partitions=3)
    with pytest.warns(ConvergenceWarning):
        found = LogisticRegression(maxIter=15).fit(rows)
    assert found.numClasses == classes
    assert found.summary.logLoss < 1.0
    assert found.summary.objectiveHistory[0] == pytest.approx(np.log(classes))
    assert "288 more classes" in str(found.summary)


def test_weights_of_classes_are_weights_of_rows() -> None:
    weights = {0: 2.0, 2: 0.5}
    by_class = LogisticRegression(**EXACT, classWeight=weights).fit(local(weight=S))
    by_row = LogisticRegression(**EXACT).fit(local(weight=S * np.array([weights.get(y, 1.0) for y in Y])))
    np.testing.assert_allclose(numbers(by_class), numbers(by_row), atol=1e-8)
    balanced = LogisticRegression(**EXACT, classWeight="balanced").fit(local())
    p = softmax(X @ numbers(balanced)[:, :-1].T + numbers(balanced)[:, -1], axis=1)
    shares = [np.average(p[:, k], weights=1.0 / np.bincount(Y.astype(int))[Y.astype(int)]) for k in range(K)]
    np.testing.assert_allclose(shares, 1.0 / K, atol=1e-9)  # what is predicted on average is what is there


def test_a_model_refuses_thresholds_of_other_classes() -> None:
    found = LogisticRegression(maxIter=1000).fit(local()).setThresholds([0.5, 0.5])
    with pytest.raises(ParamError, match="are 2 numbers, and the labels are 0 to 2"):
        found.predict(Vectors.dense(X[0]))


@pytest.mark.parametrize(
    ("params", "label", "error", "told"),
    [
        ({"classWeight": {3: 1.0}}, Y, ParamError, "classWeight names the label 3: the labels are 0 to 2"),
        ({"thresholds": [0.5, 0.5]}, Y, ParamError, r"are 2 numbers, and the labels are 0 to 2: give one a class"),
        ({"thresholds": [0.2, 0.3, 0.5]}, Y % 2, ParamError, r"are 3 numbers, and the labels are 0 and 1"),
        ({"threshold": 0.7}, Y, ParamError, "threshold=0.7 is for a binomial model, .*: give thresholds"),
        ({"threshold": 0.7, "family": "multinomial"}, Y % 2, ParamError, "threshold=0.7 is for a binomial model"),
        ({"threshold": 0.5, "thresholds": [0.2, 0.3, 0.5]}, Y, ParamError, "threshold=0.5 is for two classes"),
        ({"family": "binomial"}, Y, DataError, "take LogisticRegression with family='multinomial'"),
        ({}, Y - 0.5, DataError, "labels that no class can have .such as 1.5."),
        ({}, Y - 1.0, DataError, "labels that no class can have .such as -1."),
    ],
)
def test_what_makes_no_sense_is_refused(params: dict[str, Any], label: np.ndarray, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        LogisticRegression(**params).fit(local(label))


def test_a_start_has_the_same_classes() -> None:
    cold = LogisticRegression(**EXACT).fit(local())
    warm = LogisticRegression(initialModel=cold).fit(local())
    assert warm.summary.passes <= 3 < cold.summary.passes
    np.testing.assert_allclose(numbers(warm), numbers(cold), atol=1e-5)
    binomial = LogisticRegression().fit(local(Y % 2))
    with pytest.raises(ParamError, match=r"is a binomial model, and .* make a multinomial model of 3 clas"):
        LogisticRegression(initialModel=binomial).fit(local())


def test_rows_that_validate_may_have_a_class_of_their_own() -> None:
    label, fold = np.where(np.arange(N) < 5, 3.0, Y), (np.arange(N) < 60).astype(np.int32)
    data = LocalData(X, label, fold=fold)
    found = LogisticRegression(validationIndicatorCol="fold", regParam=0.1, patience=3).fit(data)
    assert found.numClasses == 4
    assert np.all(np.isfinite(found.summary.validationHistory))


# The model and its summary.


def test_summaries_are_those_of_pyspark_and_scikit_learn(df: DataFrame, model: LogisticRegressionModel) -> None:
    ours, theirs = model.evaluate(df), model.to_pyspark().evaluate(df)
    assert_same_by_class(ours, theirs)
    p = softmax(X @ numbers(model)[:, :-1].T + numbers(model)[:, -1], axis=1)
    predicted = np.argmax(p, axis=1)
    expected = metrics.confusion_matrix(Y, predicted, sample_weight=S)
    np.testing.assert_allclose(ours.confusionMatrix.toArray(), expected, rtol=1e-12)
    found = ours.metrics()
    assert found["log_loss"] == pytest.approx(metrics.log_loss(Y, p, sample_weight=S), rel=1e-9)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(Y, predicted, sample_weight=S, average="macro"))
    assert found["pseudo_r2"] == pytest.approx(metrics.d2_log_loss_score(Y, p, sample_weight=S), rel=1e-9)
    assert (ours.logLoss, model.summary.metrics()) == (pytest.approx(model.summary.logLoss), pytest.approx(found))
    table = np.array(ours.calibration(4).collect())
    assert table[:, 2].sum() == pytest.approx(S.sum())
    assert table[:, 2] @ table[:, 1] / S.sum() == pytest.approx(ours.accuracy)
    assert table[:, 2] @ table[:, 0] / S.sum() == pytest.approx(np.average(p.max(axis=1), weights=S))
    assert np.all(np.diff(table[:, 0]) > 0.0)


def test_one_job_tells_all(df: DataFrame, model: LogisticRegressionModel) -> None:
    context, summary = df.sparkSession.sparkContext, model.evaluate(df)
    context.setJobGroup("all", "one is expected")
    try:
        _ = summary.metrics(), summary.confusionMatrix, summary.labels, summary.fMeasureByLabel(), str(summary)
        assert len(context.statusTracker().getJobIdsForGroup("all")) == 1
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


def test_labels_that_the_model_does_not_know_are_told(df: DataFrame, model: LogisticRegressionModel) -> None:
    with pytest.raises(DataError, match="'label' has the label 4: the model knows the classes 0 to 2"):
        _ = model.evaluate(df.withColumn("label", df["label"] * 2)).accuracy


@pytest.mark.parametrize("thresholds", [None, [0.9, 0.3, 0.6], [0.5, 0.0, 0.5]])
def test_a_model_predicts_as_its_pyspark_twin(
    df: DataFrame, model: LogisticRegressionModel, tmp_path: Path, thresholds: list[float] | None
) -> None:
    model = model.copy() if thresholds is None else model.copy({model.thresholds: thresholds})
    model.to_pyspark().save(str(tmp_path / "twin"))
    model.save(str(tmp_path / "model"))
    twin = OracleModel.load(str(tmp_path / "twin"))
    columns = ["rawPrediction", "probability", "prediction"]
    ours, theirs = (each.transform(df).select(columns).collect() for each in (model, twin))
    assert ours == theirs
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    assert loaded.transform(df).select(columns).collect() == ours
    assert str(loaded.summary) == str(model.summary)
    for one in (Vectors.sparse(D, [1], [2.0]), Vectors.dense(X[0])):
        for name in ("predict", "predictRaw", "predictProbability"):
            np.testing.assert_allclose(getattr(model, name)(one), getattr(twin, name)(one), rtol=1e-12)
    of_arrays = load_model(str(tmp_path / "model"))
    np.testing.assert_allclose(of_arrays.predict(X), [row.prediction for row in ours])
    np.testing.assert_allclose(of_arrays.predict_proba(X), [row.probability for row in ours], atol=1e-14)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(numbers(model), numbers(twin))
    assert (model.numClasses, model.numFeatures) == (twin.numClasses, twin.numFeatures) == (K, D)


def test_a_multinomial_model_has_no_single_coefficients(model: LogisticRegressionModel) -> None:
    for name, instead in (("coefficients", "coefficientMatrix"), ("intercept", "interceptVector")):
        with pytest.raises(ParamError, match=f"use {instead}"):
            getattr(model, name)
    with pytest.raises(ParamError, match="no single threshold"):
        model.copy({model.thresholds: [0.2, 0.3, 0.5]}).getThreshold()


def test_what_the_fit_knows_needs_no_rows() -> None:
    found = LogisticRegression(regParam=0.1).fit(local())
    assert set(found.summary.metrics()) == {"log_loss", "pseudo_r2"}
    with warnings.catch_warnings(), pytest.raises(StatisticsError, match="not at hand"):
        _ = found.summary.accuracy
