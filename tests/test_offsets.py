"""An offset is a feature whose coefficient is one: in every family, in the fit, in Spark's scores and in arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import ESTIMATORS, TELLING, D, N, X, Z, margins, parameters
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from sparkdml import LocalData, load_model
from sparkdml.classification import LinearSVC, LogisticRegression
from sparkdml.errors import ColumnError, DataWarning, ParamError
from sparkdml.jobkit.training import _parser
from sparkdml.regression import GeneralizedLinearRegression, LinearRegression

RNG = np.random.default_rng(5)
OFFSET = 0.7 * RNG.normal(size=N) + 0.4
WEIGHT = RNG.exponential(size=N) + 0.1
SINGLE = [name for name, family in ESTIMATORS.items() if family.outputs == 1]
LABELS = {name: ESTIMATORS[name].draw(Z + OFFSET, np.random.default_rng(1)) for name in SINGLE}


@pytest.mark.parametrize("name", SINGLE)
def test_the_minimum_beside_offsets_is_that_of_scipy(name: str) -> None:
    family, label = ESTIMATORS[name], LABELS[name]
    close = 1e-6 if family.kinked else 1e-10
    model = family.make(tol=close, maxIter=1000).fit(LocalData(X, label, None, OFFSET))
    best = family.best(X, label, offset=OFFSET)
    assert family.objective(model, X, label, OFFSET) <= best + (close + 1e-9) * abs(best)


@pytest.mark.parametrize("name", SINGLE)
def test_what_all_offsets_have_in_common_is_taken_from_the_intercept(name: str) -> None:
    family = ESTIMATORS[name]
    estimator = family.make(tol=1e-9, maxIter=1000, regParam=0.01, solver="l-bfgs")
    near, far = (estimator.fit(LocalData(X, LABELS[name], WEIGHT, OFFSET + c)) for c in (0.0, -20.0))
    np.testing.assert_allclose(parameters(far), parameters(near) + np.append(np.zeros(D), 20.0), rtol=1e-6, atol=1e-6)
    assert far.summary.metrics() == pytest.approx(near.summary.metrics(), rel=1e-5)


# Losses of y - z: an offset of the margin is one of the label.

FOLD = (np.arange(N) % 4 == 0).astype(np.int32)
SETTINGS: dict[str, dict[str, Any]] = {
    "normal": {},
    "normal, ridge": {"regParam": 0.3, "computeStatistics": True},
    "normal, lasso": {"regParam": 0.1, "elasticNetParam": 1.0},
    "newton, robust errors": {"solver": "newton", "standardErrors": "HC1"},
    "l-bfgs without an intercept": {"solver": "l-bfgs", "fitIntercept": False, "regParam": 0.2},
    "l-bfgs, elastic net": {"solver": "l-bfgs", "regParam": 0.1, "elasticNetParam": 0.5},
    "gd": {"solver": "gd", "regParam": 0.1},
    "sgd": {"solver": "sgd"},
    "local-sgd": {"solver": "local-sgd"},
    "bounds": {"lowerBoundsOnCoefficients": 0.0, "upperBoundsOnIntercepts": 0.1},
    "median": {"aggregation": "median"},
    "early stopping": {"solver": "l-bfgs", "validationIndicatorCol": "fold"},
    "huber": {"loss": "huber", "regParam": 0.1},
    "quantile": {"loss": "quantile", "quantile": 0.3, "regParam": 0.01, "tol": 1e-6},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_linear_regression_is_that_of_the_label_less_the_offset(case: str) -> None:
    estimator = LinearRegression(**{"tol": 1e-9, "maxIter": 500, **SETTINGS[case]})
    fold, label = FOLD if "fold" in SETTINGS[case].values() else None, LABELS["linear"]
    found = estimator.fit(LocalData(X, label, WEIGHT, OFFSET, fold, partitions=4))
    expected = estimator.fit(LocalData(X, label - OFFSET, WEIGHT, None, fold, partitions=4))
    np.testing.assert_allclose(parameters(found), parameters(expected), rtol=1e-7, atol=1e-9)
    assert found.scale == pytest.approx(expected.scale, rel=1e-9)
    ours, theirs = found.summary, expected.summary
    np.testing.assert_allclose(ours.validationHistory, theirs.validationHistory, rtol=1e-9)
    assert ours.objectiveHistory[-1] == pytest.approx(theirs.objectiveHistory[-1], rel=1e-9)
    assert ours.meanSquaredError == pytest.approx(theirs.meanSquaredError, rel=1e-9)
    trained = np.ones(N, bool) if fold is None else fold == 0
    spread = np.cov(label[trained], aweights=WEIGHT[trained], ddof=0)
    assert ours.r2 == pytest.approx(1.0 - ours.meanSquaredError / spread) or not estimator.getFitIntercept()
    assert (ours._inferred() is None) == (theirs._inferred() is None)
    if ours._inferred() is not None:
        np.testing.assert_allclose(ours.coefficientStandardErrors, theirs.coefficientStandardErrors, rtol=1e-7)


@pytest.mark.parametrize("settings", [{"regParam": 0.3}, {"regParam": 0.1, "elasticNetParam": 0.5}], ids=str)
def test_linear_regression_is_the_gaussian_model(settings: dict[str, float]) -> None:
    data = LocalData(X, LABELS["linear"], WEIGHT, OFFSET)
    found, expected = (cls(**settings, tol=1e-10).fit(data) for cls in (LinearRegression, GeneralizedLinearRegression))
    np.testing.assert_allclose(parameters(found), parameters(expected), rtol=1e-9)


def test_labels_that_offsets_explain_leave_nothing() -> None:
    offset = np.round(64.0 * OFFSET) / 64.0  # so that 2 + offset is exact
    with pytest.warns(DataWarning, match="every label less its offset is 2: all coefficients are zero"):
        model = LinearRegression().fit(LocalData(X, 2.0 + offset, None, offset))
    np.testing.assert_allclose(parameters(model), [0.0] * D + [2.0], atol=1e-12)


# What is refused.


def test_a_multinomial_model_has_no_use_for_offsets() -> None:
    with pytest.raises(ParamError, match="same to the margins of all classes of a multinomial model"):
        LogisticRegression(family="multinomial", offsetCol="offset").fit(LocalData(X, LABELS["logistic"]))
    with pytest.raises(ParamError, match="clear it, or for the labels 0 and 1 take family='binomial'"):
        LogisticRegression().fit(LocalData(X, LABELS["logistic"] + (Z > 1.0), None, OFFSET))


@pytest.mark.parametrize("name", ["linear", "logistic", "support_vectors"])
def test_twins_that_know_no_offset_are_refused(name: str) -> None:
    family = ESTIMATORS[name]
    model = family.make(offsetCol="offset", regParam=0.1).fit(LocalData(X, LABELS[name], None, OFFSET))
    with pytest.raises(ParamError, match=r"offsetCol='offset': \w+Model of pyspark.ml adds no offset"):
        model.to_pyspark()
    with pytest.raises(ParamError, match="no estimator of scikit-learn predicts with offsetCol='offset'"):
        model.to_sklearn()


@pytest.mark.parametrize("cls", [LinearRegression, LogisticRegression, LinearSVC, GeneralizedLinearRegression])
def test_jobs_have_a_flag_for_the_column(cls: Any) -> None:
    assert _parser(cls, "sample.csv", "label").parse_args(["--offset-col", "offset"]).offsetCol == "offset"


# On Spark.

NAME = "log.exposure"  # a name that has to be quoted


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> Iterator[DataFrame]:
    """The rows, dense and sparse in turn, and two more without an offset."""
    vectors = [Vectors.sparse(D, dict(enumerate(x))) if i % 2 else Vectors.dense(x) for i, x in enumerate(X)]
    labels = [LABELS[name].tolist() for name in SINGLE]
    rows = list(zip(vectors, OFFSET.tolist(), *labels, strict=True))
    rows += [(rows[0][0], missing, *rows[0][2:]) for missing in (None, float("nan"))]
    found = spark.createDataFrame(rows, ["features", NAME, *(f"label_{name}" for name in SINGLE)]).coalesce(1).cache()
    assert found.count() == N + 2
    yield found
    found.unpersist(blocking=True)


@pytest.mark.parametrize("name", [name for name in TELLING if name in SINGLE])
def test_spark_adds_the_offset_in_the_fit_and_in_scores(table: DataFrame, name: str, tmp_path: Path) -> None:
    family = ESTIMATORS[name]
    estimator = family.make(labelCol=f"label_{name}", offsetCol=NAME, handleInvalid="skip", regParam=0.1, tol=0.01)
    model = estimator.fit(table)
    assert model.summary.numSkipped == 2
    direct = family.make(regParam=0.1, tol=0.01).fit(LocalData(X, LABELS[name], None, OFFSET))
    np.testing.assert_allclose(parameters(model), parameters(direct), rtol=1e-6, atol=1e-8)

    scored = model.transform(table)
    outputs = [model.getOrDefault(output) for output in model._outputs if model.isDefined(output)]
    assert (scored.columns[: -len(outputs)], sorted(scored.columns[-len(outputs) :])) == (
        table.columns,
        sorted(outputs),
    )
    found = scored.toPandas()
    assert found[outputs].iloc[N:].isna().all(axis=None)
    model.save(str(tmp_path / "model"))
    arrays: Any = load_model(str(tmp_path / "model"))
    np.testing.assert_allclose(found.prediction[:N], arrays.predict(X, OFFSET), rtol=1e-9)
    np.testing.assert_allclose(arrays.margins(X, OFFSET)[:, 0], margins(model, X) + OFFSET, rtol=1e-12)
    if family.classes:
        np.testing.assert_allclose([z[1] for z in found.rawPrediction[:N]], margins(model, X) + OFFSET, rtol=1e-9)
        assert np.any(found.prediction[:N] != arrays.predict(X))
    told, known = type(model).load(str(tmp_path / "model")).evaluate(table).metrics(), model.summary.metrics()
    assert told == pytest.approx({**told, **known}, rel=1e-6)
    with pytest.raises(ColumnError, match=f"there is no column '{NAME}'"):
        model.transform(table.select("features"))


def test_the_explained_variance_is_counted_when_it_is_asked_for(table: DataFrame) -> None:
    estimator = LinearRegression(labelCol="label_linear", offsetCol=NAME, handleInvalid="skip")
    model = estimator.fit(table)
    assert "explained_variance" not in model.summary.metrics()
    away = margins(model, X) + OFFSET - LABELS["linear"].mean()
    assert model.summary.explainedVariance == pytest.approx(np.mean(away**2), rel=1e-9)
    assert "explained_variance" in model.summary.metrics()
