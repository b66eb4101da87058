"""Balanced classes: as many rows of each as was asked for, and a model that knows what was done."""

from typing import Any

import numpy as np
import pytest
from problems import random_features
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.special import expit

from sparkdml import LocalData, pack
from sparkdml.blocks.balance import Draw
from sparkdml.blocks.sampling import SAMPLINGS, Sampling
from sparkdml.classification import LogisticRegression, LogisticRegressionModel
from sparkdml.errors import DataError, ParamError
from sparkdml.regression import LinearRegression

DRAWING = [kind for kind in SAMPLINGS if kind != "none"]
N = 20_000
FEATURES = ["a", "b"]


def table(spark: SparkSession, intercept: float = -2.5, rows: int = N) -> DataFrame:
    """Labels drawn with the log odds a - b / 2 + intercept; the weights are larger for the ones."""
    columns = ["sin(id * 12.9898) * 2 AS a", "cos(id * 78.233) * 2 AS b", "rand(7) AS u", "rand(8) AS v"]
    df = spark.range(0, rows, 1, 3).selectExpr(*columns)
    df = df.withColumn("label", (F.col("u") < 1 / (1 + F.exp(-(F.col("a") - F.col("b") / 2 + intercept)))).cast("int"))
    return df.withColumn("weight", F.col("v") * (1 + F.col("label"))).select("a", "b", "label", "weight")


@pytest.mark.parametrize("kind", DRAWING)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
def test_the_rates_bring_about_the_ratio(kind: str, ratio: float) -> None:
    for weights in ({0.0: 900.0, 1.0: 100.0}, {0.0: 2.5, 1.0: 1e6}, {0.0: 5.0, 1.0: 5.0}, {3.0: 1.0, 7.0: 0.3}):
        rates = Sampling(kind, ratio).rates(weights)
        after = {label: weights[label] * rates[label] for label in weights}
        rare = min(weights.values()) / max(weights.values())
        assert min(after.values()) / max(after.values()) == pytest.approx(max(ratio, rare))
        assert all(rate <= 1.0 if kind == "undersample" else rate >= 1.0 for rate in rates.values())
        assert 1.0 in rates.values()


@pytest.mark.parametrize(
    ("kind", "ratio", "weighted", "partitioning"),
    [
        ("undersample", 0.4, True, "uniform"),
        ("oversample", 0.5, False, "as-is"),
    ],
)
def test_the_rows_drawn_have_the_ratio_and_are_the_same_again(
    spark: SparkSession, kind: str, ratio: float, weighted: bool, partitioning: str
) -> None:
    df = table(spark)
    wanted: dict[str, Any] = {"featuresCols": FEATURES, "sampling": kind, "samplingRatio": ratio}
    wanted |= {"weightCol": "weight" if weighted else None, "partitioning": partitioning}
    with pack(df, **wanted) as data:
        labels = data.statistics.labels or {}
        weights = {label: weight for label, (_, weight) in labels.items()}
        assert weights[1.0] / weights[0.0] == pytest.approx(ratio, rel=0.1)
        assert (data.sampling, data.partitioning) == (Sampling(kind, ratio), partitioning)
        weight = F.sum("weight" if weighted else F.lit(1))
        before = {row.label: row.n for row in df.groupBy("label").agg(weight.alias("n")).collect()}
        for label, rate in data.class_rates.items():
            assert rate * before[int(label)] == pytest.approx(weights[label])
        first = [(each.digest, each.rows) for each in data._handles.rdd.collect()]
        assert [(each.digest, each.rows) for each in data._packed.collect()] == first
        if partitioning == "uniform":
            assert np.ptp([rows for _, rows in first]) <= 2
    with pack(df, seed=1, **wanted) as data:
        assert [(each.digest, each.rows) for each in data._handles.rdd.collect()] != first


@pytest.mark.parametrize("intercept", [-5.0, -2.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "ratio"), [("undersample", 1.0), ("oversample", 0.4)])
def test_probabilities_stay_calibrated(intercept: float, weighted: bool, kind: str, ratio: float) -> None:
    """Without Spark, with rows enough for a tolerance of 2 %: the mean probability is the share of the ones."""
    rng = np.random.default_rng(3)
    X = rng.uniform(-2.0, 2.0, (400_000, 2))
    y = (rng.random(len(X)) < expit(X @ [1.0, -0.5] + intercept)).astype(float)
    s = rng.random(len(X)) * (1.0 + y) if weighted else np.ones(len(X))
    draw = Draw(Sampling(kind, ratio), {label: s[y == label].sum() for label in (0.0, 1.0)})
    rates = np.where(y == 1.0, draw.rates[1.0], draw.rates[0.0])
    rows = np.repeat(np.arange(len(X)), np.floor(rates + rng.random(len(X))).astype(int))
    data = LocalData(X[rows], y[rows], s[rows] if weighted else None)
    data.sampling, data.class_rates = draw.sampling, draw.realized(data.statistics.labels or {}, 0)
    fitted = LogisticRegression().fit(data)
    p = expit(X @ fitted.coefficients.toArray() + fitted.intercept)
    assert s @ p / (s @ y) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(fitted.coefficients, [1.0, -0.5], atol=0.1)
    assert fitted.summary._training.estimates[-1] == fitted.intercept


def test_metrics_are_those_of_the_model_on_the_whole_table(spark: SparkSession, tmp_path: Any) -> None:
    df = table(spark, rows=4000).cache()
    fitted = LogisticRegression(featuresCols=FEATURES, sampling="undersample", samplingRatio=0.8).fit(df)
    assert fitted.summary.numInstances == 4000
    assert abs(fitted.summary.metrics()["bias"]) < 0.01  # of a share of 0.1; without a correction it is 0.3
    assert fitted.summary.metrics() == pytest.approx(fitted.evaluate(df).metrics(), rel=1e-12)
    fitted.save(str(tmp_path / "model"))
    assert LogisticRegressionModel.load(str(tmp_path / "model")).summary.metrics() == fitted.summary.metrics()
    df.unpersist()


def test_packed_rows_know_how_they_were_drawn(spark: SparkSession) -> None:
    df = table(spark, rows=3000).cache()
    base = LogisticRegression(featuresCols=FEATURES)
    chosen = base.copy({base.sampling: "undersample", base.samplingRatio: 0.5})
    with pack(df, featuresCols=FEATURES, sampling="undersample", samplingRatio=0.5, partitioning="random") as data:
        direct = chosen.copy({base.partitioning: "random"}).fit(df)
        for estimator in (base, chosen, base.copy({base.initialModel: direct})):
            np.testing.assert_allclose(estimator.fit(data).intercept, direct.intercept, atol=1e-4)
        assert base.copy({base.initialModel: direct}).fit(data).summary.passes <= 3
        for wrong in ({base.sampling: "oversample"}, {base.samplingRatio: 1.0, base.sampling: "undersample"}):
            with pytest.raises(ParamError, match=r"packed with sampling='undersample', samplingRatio=0\.5"):
                base.copy(wrong).fit(data)
        with pytest.raises(ParamError, match="partitioning='uniform' but the data were packed with 'random'"):
            base.copy({base.partitioning: "uniform"}).fit(data)
        with pytest.raises(ParamError, match="needs an intercept"):
            base.copy({base.fitIntercept: False}).fit(data)
        with pytest.raises(ParamError, match="LinearRegression cannot undo"):
            LinearRegression(featuresCols=FEATURES).fit(data)
    df.unpersist()


def test_rows_that_are_skipped_do_not_bend_the_correction(spark: SparkSession) -> None:
    """Half of the ones lack a feature: the model is then of the rows that remain, as it is without sampling."""
    holes = F.when((F.col("label") == 0) | (F.col("weight") > 0.6), F.col("a"))
    df = table(spark).withColumn("a", holes).cache()
    fitted = LogisticRegression(featuresCols=FEATURES, handleInvalid="skip", sampling="undersample").fit(df)
    known = fitted.summary._known()
    assert known.bias / known.label_mean == pytest.approx(0.0, abs=0.1)
    df.unpersist()


def test_what_cannot_be_balanced_is_refused(spark: SparkSession) -> None:
    df = spark.range(0, 30, 1, 2).selectExpr("1.0 * id AS x", "id % 3 AS three", "0 AS one", "id AS many")
    for label, told in (("three", "'three' 0, 1, 2"), ("one", "'one' 0"), ("many", "'many' .* and more")):
        with pytest.raises(DataError, match=f"needs a label of two classes.*{told}: set sampling='none'"):
            pack(df, featuresCols=["x"], labelCol=label, sampling="oversample")
    for wrong, told in (
        ({"sampling": "smote"}, "'smote' is not one of 'none', 'oversample'"),
        ({"sampling": "undersample", "samplingRatio": 0.0}, "above 0 and at most 1"),
        ({"samplingRatio": 0.5}, "samplingRatio=0.5 is for sampling="),
    ):
        with pytest.raises(ParamError, match=told):
            pack(df, featuresCols=["x"], labelCol="one", **wrong)  # type: ignore[arg-type]


def test_params_that_contradict_each_other_are_refused_before_any_row_is_read() -> None:
    data = LocalData(random_features(20, 2), np.arange(20) % 2.0)
    for wrong, told in (
        ({"sampling": "undersample"}, "but the data were packed with sampling='none'"),
        ({"sampling": "oversample", "fitIntercept": False}, "sampling='oversample' needs an intercept"),
        ({"samplingRatio": 0.5}, r"samplingRatio=0\.5 is for sampling="),
    ):
        with pytest.raises(ParamError, match=told):
            LogisticRegression(**wrong).fit(data)  # type: ignore[arg-type]
