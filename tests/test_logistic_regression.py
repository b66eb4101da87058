"""LogisticRegression: the coefficients, summaries and surface of pyspark.ml, what scikit-learn says, saving."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Rows, random_features
from pyspark.ml.classification import LogisticRegression as Oracle
from pyspark.ml.classification import LogisticRegressionModel as OracleModel
from pyspark.ml.linalg import Matrices, Vectors
from pyspark.sql import DataFrame, SparkSession
from scipy.special import expit
from sklearn import metrics
from summaries import assert_same_by_class, assert_same_curves

from sparkdml import LocalData, pack
from sparkdml.blocks import scores
from sparkdml.blocks.scores import Scores
from sparkdml.classification import LogisticRegression, LogisticRegressionModel
from sparkdml.engine.data import Data
from sparkdml.errors import ConvergenceWarning, DataError, DataWarning, FormatError, ParamError, StatisticsError
from sparkdml.evaluation import binary_metrics

N, D = 150, 4
X = random_features(N, D, density=1.0)
RNG = np.random.default_rng(7)
Y = (RNG.random(N) < expit(X @ [1.0, -0.7, 0.0, 0.2] - 0.5)).astype(float)
SEPARATED = (X[:, 0] > np.median(X[:, 0])).astype(float)
S = RNG.exponential(size=N) * (RNG.random(N) < 0.9)


def frame(spark: SparkSession, features: np.ndarray, label: np.ndarray, weight: np.ndarray) -> DataFrame:
    rows = zip(features, label, weight, strict=True)
    table = [(Vectors.dense(x), float(y), float(s)) for x, y, s in rows]
    return spark.createDataFrame(table, ["features", "label", "weight"]).coalesce(1)


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> Iterator[DataFrame]:
    table = frame(spark, X, Y, S).cache()
    yield table
    table.unpersist(blocking=True)


@pytest.fixture(scope="module")
def local() -> LocalData:
    return LocalData(X, Y)


@pytest.fixture(scope="module")
def model(df: DataFrame) -> LogisticRegressionModel:
    return LogisticRegression(weightCol="weight", regParam=0.01, threshold=0.4).fit(df)


# Parity with pyspark.ml.

STRENGTHS = [(0.0, 0.0), (0.1, 0.0), (0.05, 0.5), (0.03, 1.0)]


def grid(weighted: bool) -> list[dict[str, Any]]:
    """One colour of a chessboard of settings: what goes without weights here goes with them there."""
    names = ("regParam", "elasticNetParam", "fitIntercept", "standardization")
    settings = itertools.product(enumerate(STRENGTHS), [True, False], [True, False])
    return [
        dict(zip(names, (*strength, intercept, standardize), strict=True))
        for (i, strength), intercept, standardize in settings
        if (i + intercept + standardize) % 2 == weighted
    ]


def objective(w: np.ndarray, b: float, params: dict, rows: Rows) -> float:
    """pyspark.ml's objective, written out: its variances are unbiased for weights that tell how reliable a row is."""
    A, y, s = rows.dense, rows.label, rows.weights
    m2 = s @ np.square(A - np.average(A, axis=0, weights=s))
    v = w * np.sqrt(m2 / (s.sum() - s @ s / s.sum())) if params["standardization"] else w
    reg, alpha = params["regParam"], params["elasticNetParam"]
    z = A @ w + b
    loss = np.average(np.logaddexp(0.0, z) - y * z, weights=s)
    return float(loss + reg * (alpha * np.abs(v).sum() + (1 - alpha) / 2 * v @ v))


@pytest.mark.extras
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_coefficients_are_those_of_pyspark(df: DataFrame, weighted: bool) -> None:
    weight, rows = ({"weightCol": "weight"}, Rows(X, Y, S)) if weighted else ({}, Rows(X, Y))
    solvers = ("l-bfgs", "newton")
    base = LogisticRegression(tol=1e-11, maxIter=3000, **weight)
    settings = [{**params, "solver": name} for params in grid(weighted) for name in solvers]
    with pack(df, **weight) as data:
        models = base.fit(data, [{base.getParam(k): v for k, v in each.items()} for each in settings])
        assert data.passes == max(each.summary.passes for each in models)
    for i, params in enumerate(grid(weighted)):
        lasso = params["regParam"] * params["elasticNetParam"] > 0.0
        oracle = Oracle(tol=1e-10 if lasso else 1e-13, maxIter=200, **weight, **params).fit(df)
        theirs = oracle.coefficients.toArray()
        worst = objective(theirs, oracle.intercept, params, rows)
        close = 1e-4 if lasso else 1e-6
        for ours in models[2 * i : 2 * i + 2]:
            w, where = ours.coefficients.toArray(), f"{ours.summary.solver} {params}"
            np.testing.assert_allclose(w, theirs, rtol=close, atol=close * np.abs(theirs).max(), err_msg=where)
            assert ours.intercept == pytest.approx(oracle.intercept, rel=close, abs=close), where
            found = objective(w, ours.intercept, params, rows)
            assert found <= worst * (1 + 1e-9), where
            assert found == pytest.approx(min(ours.summary.objectiveHistory), rel=1e-9), where
            assert ours.summary.objectiveHistory[0] == pytest.approx(oracle.summary.objectiveHistory[0], rel=1e-9)


def test_summaries_are_those_of_pyspark_on_the_same_predictions(df: DataFrame, model: LogisticRegressionModel) -> None:
    ours, theirs = model.evaluate(df), model.to_pyspark().evaluate(df)
    assert_same_by_class(ours, theirs)
    assert_same_curves(ours, theirs)
    for name in ("probabilityCol", "predictionCol", "labelCol", "featuresCol", "weightCol"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_metrics_are_those_of_scikit_learn(df: DataFrame, model: LogisticRegressionModel) -> None:
    p = expit(X @ model.coefficients.toArray() + model.intercept)
    c, found = p > 0.4, model.evaluate(df).metrics()
    expected = {
        "log_loss": metrics.log_loss(Y, p, sample_weight=S),
        "auc": metrics.roc_auc_score(Y, p, sample_weight=S),
        "accuracy": metrics.accuracy_score(Y, c, sample_weight=S),
        "precision": metrics.precision_score(Y, c, sample_weight=S),
        "recall": metrics.recall_score(Y, c, sample_weight=S),
        "f1": metrics.f1_score(Y, c, sample_weight=S),
        "pseudo_r2": metrics.d2_log_loss_score(Y, np.column_stack([1 - p, p]), sample_weight=S),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert found["bias"] == pytest.approx(0.0, abs=1e-6)  # of the rows that it was trained on
    assert model.summary.metrics() == pytest.approx(found, rel=1e-9, abs=1e-12)


def test_what_the_fit_knows_costs_no_job_and_the_rest_one(df: DataFrame) -> None:
    fitted = LogisticRegression().fit(df)
    context = df.sparkSession.sparkContext
    context.setJobGroup("lazy", "none is expected")
    try:
        told = [fitted.summary.logLoss, fitted.summary.pseudoR2, fitted.summary.numInstances, str(fitted.summary)]
        _ = fitted.transform(df), fitted.summary.predictions, fitted.evaluate(df)
        assert list(context.statusTracker().getJobIdsForGroup("lazy")) == []
        assert fitted.summary.areaUnderROC > 0.5
        assert [fitted.summary.logLoss, fitted.summary.pseudoR2] == pytest.approx(told[:2], rel=1e-9)
        assert len(context.statusTracker().getJobIdsForGroup("lazy")) == 1
        assert "AUC" in str(fitted.summary)
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


# The curve, without Spark.


def curve_of(p: np.ndarray, y: np.ndarray, s: np.ndarray, parts: int) -> Scores:
    pieces = [Scores.of(p[rows], y[rows], s[rows]) for rows in np.array_split(np.arange(len(p)), parts)]
    total = pieces[0]
    for piece in pieces[1:]:
        total = total.merge(piece)
    return total


@pytest.mark.parametrize("limit", [40, 1000, 8192])
def test_scores_are_those_of_the_whole_however_they_are_cut(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MAX_SCORES", limit)
    rng = np.random.default_rng(limit)
    p = np.append(expit(rng.normal(0.0, 6.0, 3000)), [0.0, -0.0, 1.0, 1.0, 5e-324])
    y, s = (rng.random(len(p)) < p).astype(float), rng.exponential(size=len(p))
    whole = curve_of(p, y, s, 1)
    assert len(whole.values) <= limit
    assert (whole.dropped == 0) == (limit == 8192)
    for parts in (2, 7, 64):
        order = rng.permutation(len(p))
        cut = curve_of(p[order], y[order], s[order], parts)
        assert (cut.dropped, cut.bits.tolist()) == (whole.dropped, whole.bits.tolist())
        np.testing.assert_allclose(cut.weights, whole.weights, rtol=1e-12)
    for value, above in zip(whole.values, np.cumsum(whole.weights[::-1], axis=0)[::-1], strict=True):
        rows = p >= value
        np.testing.assert_allclose(above, [s[rows & (y == 0)].sum(), s[rows & (y == 1)].sum()], rtol=1e-12)


@pytest.mark.parametrize("limit", [50, 8192])
def test_the_area_is_within_its_error(spark: SparkSession, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MAX_SCORES", limit)  # on the driver, where the partitions are merged
    rng = np.random.default_rng(0)
    p = expit(rng.normal(0.0, 2.0, 400))
    y = (rng.random(400) < p).astype(float)
    table = spark.createDataFrame(np.column_stack([p, p > 0.5, y]).tolist(), ["p", "c", "y"]).repartition(2)
    found = binary_metrics(table, "y", "c", "p")
    off = abs(found.area_under_roc - metrics.roc_auc_score(y, p))
    assert off <= found.area_error + 1e-12
    assert (found.area_error == 0.0) == (limit == 8192)
    assert found.area_error < 0.02
    with pytest.raises(DataError, match=f"'y' has {int(y.sum())} labels other than 0 and 1 .such as 2"):
        binary_metrics(table.withColumn("y", table["y"] * 2), "y", "c", "p")


# Params.

VALUES = {
    "featuresCol": "f",
    "labelCol": "l",
    "predictionCol": "p",
    "maxIter": 7,
    "regParam": 0.5,
    "elasticNetParam": 0.25,
    "tol": 1e-3,
    "fitIntercept": False,
    "threshold": 0.25,
    "thresholds": [0.75, 0.25],
    "probabilityCol": "q",
    "rawPredictionCol": "r",
    "standardization": False,
    "weightCol": "w",
    "aggregationDepth": 3,
    "family": "binomial",
    "maxBlockSizeInMB": 1.0,
    "featuresCols": ["a", "b"],
    "offsetCol": "o",
    "numPartitions": 4,
    "handleInvalid": "skip",
    "solver": "gd",
    "optimizer": "momentum",
    "learningRate": "constant",
    "stepSize": 0.5,
    "momentum": 0.8,
    "miniBatchFraction": 0.2,
    "batchSize": 500,
    "warmStartEpochs": 2,
    "aggregation": "median",
    "partitioning": "uniform",
    "dtype": "float32",
    "sampling": "undersample",
    "samplingRatio": 0.5,
    "classWeight": {0.0: 0.5, 1.0: 2.0, 10.0: 1.0},
    "validationIndicatorCol": "v",
    "validationFraction": 0.25,
    "patience": 3,
    "seed": 7,
    "computeStatistics": True,
    "standardErrors": "HC0",
    "lowerBoundsOnCoefficients": Matrices.dense(2, 2, [0.0, -1.0, float("-inf"), 2.0]),
    "upperBoundsOnCoefficients": 3.5,
    "lowerBoundsOnIntercepts": Vectors.dense(float("-inf"), 1.0),
    "upperBoundsOnIntercepts": float("inf"),
}


def test_params_are_those_of_pyspark(spark: SparkSession) -> None:
    theirs = Oracle()
    for ours in (LogisticRegression(), LogisticRegressionModel(Vectors.dense(1.0), 0.0, ("x",))):
        for param in ours.params:
            name = f"{param.name[0].upper()}{param.name[1:]}"
            assert hasattr(ours, f"get{name}")
            assert hasattr(ours, f"set{name}")
        for param in theirs.params:
            assert ours.isDefined(param.name) == theirs.isDefined(param), param.name
            if theirs.isDefined(param):
                assert ours.getOrDefault(param.name) == theirs.getOrDefault(param), param.name


def test_setters_constructor_copy_and_saving_do_the_same(spark: SparkSession, tmp_path: Path) -> None:
    assert {*VALUES, "initialModel"} == {param.name for param in LogisticRegression().params}
    built, plain = LogisticRegression(**VALUES), LogisticRegression()
    copied = plain.copy({plain.getParam(name): value for name, value in VALUES.items()})
    built.save(str(tmp_path / "estimator"))
    for each in (built, copied, built.copy(), LogisticRegression.load(str(tmp_path / "estimator"))):
        assert {param.name: value for param, value in each.extractParamMap().items()} == VALUES
    for name in set(VALUES) - {"threshold", "thresholds"}:
        assert getattr(plain, f"set{name[0].upper()}{name[1:]}")(VALUES[name]) is plain
        assert plain.getOrDefault(name) == VALUES[name]


def test_threshold_and_thresholds_say_the_same(spark: SparkSession) -> None:
    cls = LogisticRegression
    both = cls(threshold=0.3)
    assert both.getThresholds() == pytest.approx([0.7, 0.3])
    assert both.setThresholds([0.2, 0.6]) is both
    assert (both.isSet("threshold"), both.getThreshold()) == (False, pytest.approx(0.75))
    assert both.setThreshold(0.1) is both
    assert (both.isSet("thresholds"), both.getThreshold()) == (False, 0.1)
    assert cls(threshold=0.75, thresholds=[0.2, 0.6]).getThreshold() == pytest.approx(0.75)
    with pytest.raises(ValueError, match=r"threshold"):
        cls(threshold=0.3, thresholds=[0.2, 0.6])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("threshold", each) for each in (-0.1, 1.1, float("nan"))),
        *(("thresholds", each) for each in ([-1.0, 1.0], [0.0, 0.0], [float("nan"), 1.0])),
        *(("family", each) for each in ("poisson", "")),
        *(("solver", each) for each in ("normal", "")),
        *(("regParam", each) for each in (-1.0, float("inf"))),
        *(("sampling", each) for each in ("smote", "")),
        *(("samplingRatio", each) for each in (0.0, 1.5, float("nan"))),
        *(("initialModel", each) for each in ("model", LogisticRegression)),
        *(("classWeight", each) for each in ("even", "0=1;1=2", {0: -1.0}, {1: float("inf")}, {"a": 1.0}, "0=")),
        *(("validationFraction", each) for each in (0.0, 1.0)),
        *(("patience", each) for each in (0, -1)),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParamError, match=name):
        LogisticRegression(**{name: value})


# Data that cannot be fitted, or hardly, without Spark.


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (
            np.where(Y == 1.0, 1.0, -1.0),
            f"'label' has {int((Y == 0).sum())} labels that no class can have .such as -1.*",
        ),
        (Y + 0.5, "such as 1.5"),
        (np.where(np.arange(N) == 3, 1e9, Y), "has 1 label that no class can have .such as 1e.09.: .*8191"),
        (np.arange(300) + 0.5, "more distinct labels than there can be classes"),
    ],
)
def test_other_labels_are_refused(label: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=told):
        LogisticRegression().fit(LocalData(np.resize(X, (len(label), D)), label))


def test_a_binomial_model_has_two_classes(local: LocalData) -> None:
    with pytest.raises(DataError, match=r"has 50 labels other than 0 and 1 .such as 2.*multinomial"):
        LogisticRegression(family="binomial").fit(LocalData(X, np.arange(N) % 3.0))
    ours, same = (LogisticRegression(family=family).fit(local) for family in ("binomial", "auto"))
    assert (ours.numClasses, ours.coefficientMatrix, ours.intercept) == (2, same.coefficientMatrix, same.intercept)


@pytest.mark.parametrize("solver", ["l-bfgs", "gd"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class(solver: str, label: float) -> None:
    data = LocalData(X, np.full(N, label))
    with pytest.warns(DataWarning, match=f"every label is {label:g}: all coefficients are zero"):
        fitted = LogisticRegression(solver=solver, regParam=0.1).fit(data)
    assert not np.any(fitted.coefficients.toArray())
    assert fitted.predictProbability(Vectors.dense(X[0]))[1] == pytest.approx(label, abs=3e-16)
    assert (fitted.predict(Vectors.dense(X[0])), fitted.summary.totalIterations) == (label, 0)
    assert fitted.summary.converged
    assert np.isnan(fitted.summary.pseudoR2)
    with pytest.warns(DataWarning, match="without an intercept"):
        without = LogisticRegression(solver=solver, regParam=0.1, fitIntercept=False).fit(data)
    assert np.any(without.coefficients.toArray())


@pytest.mark.parametrize("solver", ["l-bfgs", "gd"])
def test_classes_that_a_plane_separates_are_told(solver: str) -> None:
    apart = X + 5.0 * SEPARATED[:, None]
    data = LocalData(apart, SEPARATED)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("always")
        fitted = LogisticRegression(solver=solver, maxIter=300).fit(data)
    assert any("set regParam above 0" in str(each.message) for each in caught)
    assert [fitted.predict(Vectors.dense(x)) for x in apart] == SEPARATED.tolist()
    assert LogisticRegression(solver=solver, regParam=0.01, maxIter=300).fit(data).summary.converged


def test_constant_columns_and_too_few_iterations_are_told(local: LocalData) -> None:
    constant = LocalData(np.column_stack([X, np.full(N, 3.0)]), Y)
    plain = LogisticRegression(tol=1e-10).fit(local)
    fitted = LogisticRegression(tol=1e-10).fit(constant)
    np.testing.assert_allclose(fitted.coefficients.toArray(), [*plain.coefficients, 0.0], rtol=1e-7)
    with pytest.warns(DataWarning, match="1 constant non-zero column"):
        LogisticRegression(fitIntercept=False).fit(constant)
    with pytest.warns(ConvergenceWarning, match="maxIter=2"):
        few = LogisticRegression(maxIter=2).fit(local)
    assert (few.summary.totalIterations, len(few.summary.objectiveHistory)) == (2, 3)


# The model.


def test_a_model_predicts_as_its_pyspark_twin(df: DataFrame, model: LogisticRegressionModel, tmp_path: Path) -> None:
    model.to_pyspark().save(str(tmp_path / "twin"))
    twin = OracleModel.load(str(tmp_path / "twin"))
    columns = ["rawPrediction", "probability", "prediction"]
    ours, theirs = (each.transform(df).select(columns).collect() for each in (model, twin))
    assert ours == theirs
    assert twin.getThreshold() == 0.4
    one = Vectors.sparse(D, [1], [2.0])
    for name in ("predict", "predictRaw", "predictProbability"):
        np.testing.assert_allclose(getattr(model, name)(one), getattr(twin, name)(one), rtol=1e-13)
    assert model.coefficientMatrix.toArray().tolist() == twin.coefficientMatrix.toArray().tolist()
    assert (model.interceptVector, model.numClasses, model.numFeatures) == (twin.interceptVector, 2, D)


def test_missing_features_give_nulls_unless_means_fill_them(spark: SparkSession) -> None:
    nan = float("nan")
    rows = [(1.0, 2.0, 1), (2.0, 0.5, 0), (0.0, 1.0, 1), (nan, 3.0, 0)]
    table = spark.createDataFrame(rows, ["a.b", "c", "y"])
    base = {"featuresCols": ["a.b", "c"], "labelCol": "y", "regParam": 0.1}
    fitted = LogisticRegression(**base, handleInvalid="skip").fit(table)
    assert (fitted.summary.numSkipped, fitted.summary.numInstances) == (1, 3)
    scored = fitted.transform(table)
    assert scored.columns == [*table.columns, "rawPrediction", "probability", "prediction"]
    nulls = [[value is None for value in row[3:]] for row in scored.collect()]
    assert nulls == [[False] * 3] * 3 + [[True] * 3]
    without = fitted.copy({fitted.rawPredictionCol: "", fitted.probabilityCol: ""})
    assert without.transform(table).columns == [*table.columns, "prediction"]
    assert [row.prediction for row in without.transform(table).collect()][3] is None
    with pytest.raises(DataError, match="'probability' has 1 missing value"):
        _ = fitted.copy({fitted.handleInvalid: "error"}).evaluate(table).accuracy
    whole = table.where("c < 3")
    assert without.evaluate(whole).areaUnderROC == fitted.evaluate(whole).areaUnderROC
    filled = LogisticRegression(**base, handleInvalid="mean").fit(table)
    assert filled.summary.numFilled == 1
    assert filled.transform(table).where("prediction is null").count() == 0
    assert filled.predict(Vectors.dense([nan, 3.0])) == filled.predict(Vectors.dense([1.0, 3.0]))


def test_a_model_and_its_summary_survive_to_the_bit(df: DataFrame, tmp_path: Path) -> None:
    fitted = LogisticRegression(weightCol="weight", regParam=0.1).fit(df)
    for complete in (False, True):  # what is known is saved, whether a job has measured the rest or not
        if complete:
            fitted.summary.metrics()
        path = str(tmp_path / str(complete))
        fitted.save(path)
        loaded = LogisticRegressionModel.load(path)
        assert loaded.coefficients.toArray().tobytes() == fitted.coefficients.toArray().tobytes()
        assert (loaded.intercept, loaded.uid, loaded.featureNames) == (
            fitted.intercept,
            fitted.uid,
            fitted.featureNames,
        )
        assert str(loaded.summary) == str(fitted.summary)
        for name in ("objectiveHistory", "totalIterations", "passes", "solver", "stopReason", "logLoss", "pseudoR2"):
            assert getattr(loaded.summary, name) == getattr(fitted.summary, name)
    assert loaded.summary.metrics() == fitted.summary.metrics()
    assert loaded.summary.roc.collect() == fitted.summary.roc.collect()
    assert loaded.transform(df).collect() == fitted.transform(df).collect()
    with pytest.raises(StatisticsError, match="not at hand"):
        _ = LogisticRegressionModel.load(str(tmp_path / "False")).summary.areaUnderROC
    with pytest.raises(FormatError, match="not a"):
        LogisticRegression.load(path)


def test_the_data_do_the_packing_once(df: DataFrame) -> None:
    with pack(df) as data:
        assert isinstance(data, Data)
        assert LogisticRegression().fit(data).summary.passes == data.passes
