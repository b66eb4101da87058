"""LinearRegression: the coefficients and the surface of pyspark.ml, what scikit-learn says, saving and loading."""

import itertools
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Rows, random_rows
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Matrices, Vectors
from pyspark.ml.regression import LinearRegression as Oracle
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from sklearn import linear_model, metrics

from sparkdml import LocalData, pack
from sparkdml.errors import (
    ColumnError,
    ColumnTypeError,
    ConvergenceWarning,
    DataError,
    DataWarning,
    FormatError,
    ParamError,
    SolverError,
    StatisticsError,
)
from sparkdml.optim.solvers import SOLVERS
from sparkdml.regression import LinearRegression, LinearRegressionModel

DIABETES = Path(__file__).resolve().parents[1] / "data" / "diabetes.csv"
TABLE = np.loadtxt(DIABETES, delimiter=",", skiprows=1)
NAMES = DIABETES.read_text().splitlines()[0].split(",")
FEATURES, LABEL = NAMES[:-1], NAMES[-1]
X, Y = TABLE[:, :-1], TABLE[:, -1]
S = np.random.default_rng(0).integers(0, 5, len(Y)).astype(float)


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> Iterator[DataFrame]:
    """The diabetes table with weights and a vector column."""
    rows = spark.createDataFrame(np.column_stack([TABLE, S]).tolist(), [*NAMES, "weight"])
    table = VectorAssembler(inputCols=FEATURES, outputCol="features").transform(rows).coalesce(3).cache()
    yield table
    table.unpersist(blocking=True)


@pytest.fixture(scope="module")
def local() -> LocalData:
    return LocalData(X, Y, feature_names=FEATURES)


@pytest.fixture(scope="module")
def model(df: DataFrame) -> LinearRegressionModel:
    return LinearRegression(labelCol=LABEL, weightCol="weight", regParam=0.1).fit(df)


# Parity with pyspark.ml.

STRENGTHS = [(0.0, 0.0), (0.3, 0.0), (0.4, 0.5), (0.2, 1.0)]
EXACT = [name for name in SOLVERS if name != "sgd"]  # which ends near the optimum: tests/test_stochastic_solvers.py
GRID = list(itertools.product(STRENGTHS, [True, False], [True, False]))
# The colours of a chessboard: what goes without weights in one goes with them in the other.
COLOURS = [[each for each in GRID if (STRENGTHS.index(each[0]) + each[1] + each[2]) % 2 == i] for i in (0, 1)]


def objective(w: np.ndarray, b: float, params: dict, rows: Rows) -> float:
    """pyspark.ml's objective, written out."""
    A, y, s = rows.dense, rows.label, rows.weights
    deviation, label = (
        np.sqrt(np.average(np.square(v - np.average(v, axis=0, weights=s)), axis=0, weights=s)) for v in (A, y)
    )
    v = w * deviation if params["standardization"] else w
    reg, alpha = params["regParam"], params["elasticNetParam"]
    loss = np.average(np.square(A @ w + b - y), weights=s) / 2
    return float(loss + reg * (alpha * np.abs(v).sum() + (1 - alpha) / 2 * v @ v / label))


@pytest.mark.extras
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_coefficients_are_those_of_pyspark(spark: SparkSession, weighted: bool) -> None:
    """Every combination in two passes of fits; the oracle's own L1 solver needs all its iterations to come so close."""
    grid = COLOURS[weighted]
    rows = random_rows(300, 6, density=1.0)
    rows = Rows(rows.features, rows.features @ [1.0, -2.0, 0.0, 3.0, 0.1, 0.0] + rows.label, rows.weight)
    weight, rows = ({"weightCol": "weight"}, rows) if weighted else ({}, replace(rows, weight=None))
    lists = zip(rows.dense, rows.label, rows.weights, strict=True)
    df = spark.createDataFrame(
        [(Vectors.dense(x), float(y), float(s)) for x, y, s in lists], ["features", "label", "weight"]
    )
    df = df.coalesce(1).cache()
    base = LinearRegression(tol=1e-11, maxIter=1000, **weight)
    settings = [{**combination(each), "solver": name} for each in grid for name in EXACT]
    with pack(df, **weight) as data:
        models = base.fit(data, [{base.getParam(k): v for k, v in each.items()} for each in settings])
    for i, each in enumerate(grid):
        params = combination(each)
        oracle = Oracle(solver="normal", tol=0.0, maxIter=2_000, **weight, **params).fit(df)
        theirs, worst = (
            oracle.coefficients.toArray(),
            objective(oracle.coefficients.toArray(), oracle.intercept, params, rows),
        )
        close = 1e-4 if params["regParam"] * params["elasticNetParam"] else 1e-6
        for ours in models[len(EXACT) * i : len(EXACT) * (i + 1)]:
            w, where = ours.coefficients.toArray(), f"{ours.summary.solver} {params}"
            np.testing.assert_allclose(w, theirs, rtol=close, atol=close * np.abs(theirs).max(), err_msg=where)
            assert ours.intercept == pytest.approx(oracle.intercept, rel=close, abs=close), where
            found = objective(w, ours.intercept, params, rows)
            assert found <= worst * (1 + 1e-9), where
            assert found == pytest.approx(min(ours.summary.objectiveHistory), rel=1e-9), where
    df.unpersist(blocking=True)


def combination(each: tuple) -> dict[str, Any]:
    (reg, alpha), intercept, standardize = each
    return {"regParam": reg, "elasticNetParam": alpha, "fitIntercept": intercept, "standardization": standardize}


METRICS = [
    "explainedVariance",
    "meanAbsoluteError",
    "meanSquaredError",
    "rootMeanSquaredError",
    "r2",
    "r2adj",
    "numInstances",
    "degreesOfFreedom",
    "devianceResiduals",
]
INFERENCE = ["coefficientStandardErrors", "tValues", "pValues"]


@pytest.mark.extras
@pytest.mark.parametrize(
    ("weight", "params"),
    [
        ({}, {}),
        ({}, {"fitIntercept": False}),
        ({"weightCol": "positive"}, {"regParam": 0.5}),
        ({"weightCol": "positive"}, {"fitIntercept": False}),
    ],
    ids=str,
)
def test_summaries_are_those_of_pyspark(df: DataFrame, params: dict, weight: dict) -> None:
    table = df.withColumn("positive", df["weight"] + 1)
    kwargs = {"labelCol": LABEL, "solver": "normal", "tol": 1e-9, "maxIter": 1000, **params, **weight}
    ours, theirs = LinearRegression(**kwargs).fit(table), Oracle(**kwargs).fit(table)
    assert ours.hasSummary
    # pyspark's weighted total sum of squares mixes two divisors; ours is scikit-learn's, see below
    differing = {"r2", "r2adj"} if weight and ours.getFitIntercept() else set()
    if differing:
        s = S + 1.0
        total = (s.sum() - 1.0) / (s.sum() - s @ s / s.sum())
        assert 1.0 - theirs.summary.r2 == pytest.approx((1.0 - ours.summary.r2) / total, rel=1e-9)
    for name in [each for each in [*METRICS, *INFERENCE] if each not in differing]:
        expected = getattr(theirs.summary, name)
        np.testing.assert_allclose(getattr(ours.summary, name), expected, rtol=1e-6, atol=1e-12, err_msg=name)
    evaluated = ours.evaluate(table)
    for name in METRICS:
        np.testing.assert_allclose(getattr(evaluated, name), getattr(ours.summary, name), rtol=1e-9, err_msg=name)
    assert (ours.summary.labelCol, ours.summary.featuresCol, ours.summary.predictionCol) == (
        LABEL,
        "features",
        "prediction",
    )
    residuals = np.array([row.residuals for row in ours.summary.residuals.collect()])
    np.testing.assert_allclose(residuals, Y - X @ ours.coefficients.toArray() - ours.intercept, atol=1e-9)
    for solver in () if params else ("l-bfgs", "gd"):
        other = LinearRegression(**{**kwargs, "solver": solver}, computeStatistics=True).fit(table)
        np.testing.assert_allclose(other.summary.pValues, ours.summary.pValues, rtol=1e-5, atol=1e-9)


def test_a_model_predicts_as_its_pyspark_twin(df: DataFrame, model: LinearRegressionModel) -> None:
    ours = np.array([row.prediction for row in model.transform(df).collect()])
    twin = np.array([row.prediction for row in model.to_pyspark().transform(df).collect()])
    np.testing.assert_array_equal(ours, twin)
    np.testing.assert_allclose(ours, X @ model.coefficients.toArray() + model.intercept, rtol=1e-13)
    assert model.predict(Vectors.dense(X[0])) == pytest.approx(ours[0], rel=1e-13)
    sparse = Vectors.sparse(10, [1], [2.0])
    assert model.predict(sparse) == pytest.approx(2.0 * model.coefficients[1] + model.intercept, rel=1e-13)


# Parity with scikit-learn, without Spark.


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("intercept", [True, False])
def test_coefficients_are_those_of_scikit_learn(local: LocalData, solver: str, intercept: bool) -> None:
    n, label = len(Y), Y.std()
    same = {"fit_intercept": intercept, "tol": 1e-14}
    lasso = {**same, "max_iter": 1_000_000}
    pairs = [
        ({}, linear_model.LinearRegression(fit_intercept=intercept)),
        ({"regParam": 5.0}, linear_model.Ridge(alpha=n * 5.0 / label, **same)),
        ({"regParam": 0.8, "elasticNetParam": 1.0}, linear_model.Lasso(alpha=0.8, **lasso)),
    ]
    base = LinearRegression(tol=1e-12, maxIter=5000, solver=solver, fitIntercept=intercept, standardization=False)
    fitted = base.fit(local, [{base.getParam(k): v for k, v in params.items()} for params, _ in pairs])  # type: ignore[call-overload]
    for ours, (params, theirs) in zip(fitted, pairs, strict=True):
        theirs.fit(X, Y)
        np.testing.assert_allclose(ours.coefficients.toArray(), theirs.coef_, rtol=1e-5, atol=1e-5, err_msg=str(params))
        assert ours.intercept == pytest.approx(float(theirs.intercept_), rel=1e-5, abs=1e-6)
        assert ours.summary.r2 == pytest.approx(
            metrics.r2_score(Y, theirs.predict(X)) if intercept else 1 - np.sum((Y - theirs.predict(X)) ** 2) / (Y @ Y),
            rel=1e-6,
        )


def test_evaluation_is_that_of_scikit_learn(df: DataFrame, model: LinearRegressionModel) -> None:
    found = model.evaluate(df)
    predicted = X @ model.coefficients.toArray() + model.intercept
    assert found.meanSquaredError == pytest.approx(metrics.mean_squared_error(Y, predicted, sample_weight=S))
    assert found.meanAbsoluteError == pytest.approx(metrics.mean_absolute_error(Y, predicted, sample_weight=S))
    assert found.r2 == pytest.approx(metrics.r2_score(Y, predicted, sample_weight=S))
    assert found.numInstances == len(Y)
    for name in METRICS:
        np.testing.assert_allclose(getattr(model.summary, name), getattr(found, name), rtol=1e-9, err_msg=name)
    with pytest.raises(StatisticsError):
        _ = found.pValues
    with pytest.raises(DataError):
        _ = model.evaluate(df.limit(0)).r2
    with pytest.raises(TypeError):
        model.evaluate(X)  # type: ignore[arg-type]


# Params.


@pytest.mark.parametrize("cls", [LinearRegression, LinearRegressionModel])
def test_every_param_has_a_getter_and_its_pyspark_default(spark: SparkSession, cls: type) -> None:
    theirs = Oracle()
    instance = LinearRegression() if cls is LinearRegression else LinearRegressionModel(Vectors.dense(1.0), 0.0, ("x",))
    for param in instance.params:
        getter = getattr(instance, f"get{param.name[0].upper()}{param.name[1:]}")
        if instance.isDefined(param):
            assert getter() == instance.getOrDefault(param)
        assert param.name in instance.explainParams()
    assert {param.name for param in theirs.params} <= {param.name for param in instance.params}
    for param in theirs.params:
        assert instance.isDefined(param.name) == theirs.isDefined(param), param.name
        if theirs.isDefined(param):
            assert instance.getOrDefault(param.name) == theirs.getOrDefault(param), param.name


VALUES = {
    "featuresCol": "f",
    "labelCol": "l",
    "predictionCol": "p",
    "maxIter": 7,
    "regParam": 0.5,
    "elasticNetParam": 0.25,
    "tol": 1e-3,
    "fitIntercept": False,
    "standardization": False,
    "solver": "gd",
    "weightCol": "w",
    "aggregationDepth": 3,
    "loss": "squaredError",
    "epsilon": 2.0,
    "maxBlockSizeInMB": 1.0,
    "featuresCols": ["a", "b"],
    "offsetCol": "o",
    "numPartitions": 4,
    "handleInvalid": "skip",
    "computeStatistics": True,
    "standardErrors": "HC1",
    "optimizer": "momentum",
    "learningRate": "cosine",
    "stepSize": 0.5,
    "momentum": 0.8,
    "miniBatchFraction": 0.2,
    "batchSize": 500,
    "warmStartEpochs": 2,
    "aggregation": "median",
    "partitioning": "uniform",
    "dtype": "float32",
    "validationIndicatorCol": "v",
    "validationFraction": 0.25,
    "patience": 3,
    "seed": 7,
    "quantile": 0.75,
    "lowerBoundsOnCoefficients": Matrices.dense(2, 2, [0.0, -1.0, float("-inf"), 2.0]),
    "upperBoundsOnCoefficients": 3.5,
    "lowerBoundsOnIntercepts": Vectors.dense(float("-inf"), 1.0),
    "upperBoundsOnIntercepts": float("inf"),
}


def test_setters_constructor_copy_and_maps_do_the_same() -> None:
    assert {*VALUES, "initialModel"} == {param.name for param in LinearRegression().params}
    built, by_setters = LinearRegression(**VALUES), LinearRegression()
    for name, value in VALUES.items():
        assert getattr(by_setters, f"set{name[0].upper()}{name[1:]}")(value) is by_setters
    plain = LinearRegression()
    copied = plain.copy({plain.getParam(name): value for name, value in VALUES.items()})
    for each in (built, by_setters, copied, built.copy(), LinearRegression().setParams(**VALUES)):
        assert {param.name: value for param, value in each.extractParamMap().items()} == VALUES
    assert plain.getRegParam() == 0.0
    assert copied.uid == plain.uid


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("regParam", each) for each in (-1e-9, float("nan"), float("inf"))),
        *(("elasticNetParam", each) for each in (-0.1, 1.1, float("nan"))),
        *(("maxIter", each) for each in (-1,)),
        *(("tol", each) for each in (-1e-9, float("nan"))),
        *(("solver", each) for each in ("adamW", "")),
        *(("loss", each) for each in ("huberr", "")),
        *(("epsilon", each) for each in (1.0, float("nan"))),
        *(("aggregationDepth", each) for each in (0, -1)),
        *(("maxBlockSizeInMB", each) for each in (-1.0,)),
        *(("numPartitions", each) for each in (0,)),
        *(("handleInvalid", each) for each in ("keep",)),
        *(("dtype", each) for each in ("float16",)),
        *(("optimizer", each) for each in ("sgd",)),
        *(("learningRate", each) for each in ("fast",)),
        *(("stepSize", each) for each in (0.0, float("inf"))),
        *(("momentum", each) for each in (-0.1, 1.0)),
    ],
)
def test_a_value_out_of_range_is_refused_when_it_is_set(name: str, value: Any) -> None:
    for use in (
        lambda: LinearRegression(**{name: value}),
        lambda: getattr(LinearRegression(), f"set{name[0].upper()}{name[1:]}")(value),
    ):
        with pytest.raises(ParamError, match=name) as caught:
            use()
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "nesterov", "momentum": 0.8},
        {"optimizer": "momentum", "stepSize": 0.1},
        {"stepSize": 0.3},
        {"learningRate": "barzilaiBorwein"},
    ],
    ids=str,
)
def test_gd_descends_as_it_is_told(local: LocalData, choice: dict) -> None:
    told = LinearRegression(solver="gd", maxIter=5000, tol=1e-9, regParam=0.5, **choice).fit(local)
    alone = LinearRegression(solver="normal", regParam=0.5).fit(local)
    np.testing.assert_allclose(told.coefficients, alone.coefficients, rtol=1e-6, atol=1e-8)
    assert told.summary.converged
    own = LinearRegression(solver="gd", maxIter=5000, tol=1e-9, regParam=0.5).fit(local)
    assert told.summary.passes > own.summary.passes  # so the choice is not ignored


def test_what_contradicts_is_refused(df: DataFrame, local: LocalData) -> None:
    with pytest.raises(ColumnError, match="both set"):
        LinearRegression(featuresCol="features", featuresCols=["age"], labelCol=LABEL).fit(df)
    with pytest.raises(ParamError, match="L1"):
        LinearRegression(computeStatistics=True, regParam=1.0, elasticNetParam=0.5, labelCol=LABEL).fit(df)
    for wrong in ({"optimizer": "adam"}, {"stepSize": 0.1}, {"learningRate": "step"}, {"momentum": 0.5}):
        with pytest.raises(ParamError, match=f"{next(iter(wrong))}=.* is for solver='gd' or .*, not 'auto'"):
            LinearRegression(**wrong).fit(local)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match=r"momentum=0\.5 is for optimizer="):
        LinearRegression(solver="gd", momentum=0.5).fit(local)
    with pytest.raises(ColumnTypeError):
        LinearRegression().fit(X)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        LinearRegression("features")  # type: ignore[misc]
    with pack(df, labelCol=LABEL) as data:
        for wrong in ({"labelCol": "age"}, {"weightCol": "weight"}, {"featuresCol": "x"}, {"featuresCols": ["age"]}):
            with pytest.raises(ColumnError, match="packed"):
                LinearRegression(**wrong).fit(data)  # type: ignore[arg-type]


# Passes.


def test_normal_takes_one_pass_and_a_grid_shares_it(df: DataFrame) -> None:
    base = LinearRegression(labelCol=LABEL, tol=1e-10)
    grid = ParamGridBuilder().addGrid(base.regParam, [0.0, 0.1, 1.0]).addGrid(base.elasticNetParam, [0.0, 1.0]).build()
    with pack(df, labelCol=LABEL) as data:
        assert base.fit(data).summary.passes == data.passes == 1  # type: ignore[arg-type]
        models = dict(base.fitMultiple(data, grid))
        assert data.passes == 2
        assert sorted(models) == list(range(len(grid)))
        iterative = base.copy({base.solver: "l-bfgs"})
        ours = dict(iterative.fitMultiple(data, grid))
        assert data.passes - 2 == max(each.summary.passes for each in ours.values())
        for i, params in enumerate(grid):
            assert models[i].getRegParam() == params[base.regParam]
            assert models[i].uid == base.uid
            np.testing.assert_allclose(models[i].coefficients, ours[i].coefficients, rtol=1e-6, atol=1e-6)
        inferred = iterative.copy({base.computeStatistics: True}).fit(data)  # type: ignore[arg-type]
        assert inferred.summary.passes == data.passes - 2 - max(each.summary.passes for each in ours.values())
        assert len(inferred.summary.pValues) == 11


def test_maps_of_other_columns_are_packed_on_their_own(df: DataFrame) -> None:
    base = LinearRegression(labelCol=LABEL)
    maps = [{}, {base.weightCol: "weight"}, {base.regParam: 1.0}, {base.featuresCols: ["age", "bmi"]}]
    together = base.fit(df, maps)
    for each, extra in zip(together, maps, strict=True):
        alone = base.fit(df, extra)
        np.testing.assert_array_equal(each.coefficients.toArray(), alone.coefficients.toArray())
        assert each.intercept == alone.intercept


def test_summary_metrics_of_a_fit_cost_no_job(df: DataFrame) -> None:
    fitted = LinearRegression(labelCol=LABEL).fit(df)
    group = "summary-is-lazy"
    context = df.sparkSession.sparkContext
    context.setJobGroup(group, "none is expected")
    try:
        eager = ["explainedVariance", "meanSquaredError", "rootMeanSquaredError", "r2", "r2adj", "numInstances"]
        for name in [*eager, "degreesOfFreedom", *INFERENCE, "objectiveHistory", "totalIterations", "passes"]:
            assert getattr(fitted.summary, name) is not None
        assert "bmi" in str(fitted.summary)
        fitted.transform(df)
        _ = fitted.summary.predictions, fitted.summary.residuals, fitted.evaluate(df)
        assert list(context.statusTracker().getJobIdsForGroup(group)) == []
        assert fitted.summary.meanAbsoluteError > 0
        assert len(context.statusTracker().getJobIdsForGroup(group)) > 0
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)


# Degenerate data, without Spark.


@pytest.mark.parametrize("solver", EXACT)
def test_constant_labels_and_columns(solver: str) -> None:
    with pytest.warns(DataWarning, match="every label is 3"):
        flat = LinearRegression(solver=solver, regParam=0.1).fit(LocalData(X, np.full(len(X), 3.0)))
    np.testing.assert_allclose([*flat.coefficients, flat.intercept], [0.0] * 10 + [3.0], atol=1e-12)
    with pytest.raises(DataError, match="cannot be regularized"):
        LinearRegression(solver=solver, regParam=0.1, fitIntercept=False).fit(LocalData(X, np.full(len(X), 3.0)))
    constant = LocalData(np.column_stack([X, np.full(len(X), 0.1)]), Y)
    fitted = LinearRegression(solver=solver, tol=1e-10).fit(constant)
    assert fitted.coefficients[10] == 0.0
    exact = linear_model.LinearRegression().fit(X, Y)
    np.testing.assert_allclose(fitted.coefficients[:10], exact.coef_, rtol=1e-5)
    with pytest.warns(DataWarning, match="1 constant non-zero column"):
        LinearRegression(solver=solver, fitIntercept=False, maxIter=1000).fit(constant)


@pytest.mark.parametrize("solver", EXACT)
def test_more_columns_than_rows(solver: str) -> None:
    few = LocalData(X[:6], Y[:6])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = LinearRegression(solver=solver, tol=1e-12, maxIter=1000).fit(few)
    np.testing.assert_allclose(X[:6] @ fitted.coefficients.toArray() + fitted.intercept, Y[:6], rtol=1e-6)
    A = (X[:6] - X[:6].mean(axis=0)) / X[:6].std(axis=0)
    least = np.linalg.lstsq(A, Y[:6] - Y[:6].mean(), rcond=1e-10)[0] / X[:6].std(axis=0)
    np.testing.assert_allclose(fitted.coefficients, least, rtol=1e-5, atol=1e-6)
    told = [str(each.message) for each in caught if each.category is DataWarning]
    assert any("linearly dependent (rank 6 of 11)" in each for each in told) == (solver in ("normal", "newton"))
    with pytest.raises(StatisticsError):
        _ = fitted.summary.pValues
    assert np.isnan(fitted.summary.r2adj)


@pytest.mark.parametrize("solver", ["l-bfgs", "gd"])
def test_too_few_iterations_are_told(local: LocalData, solver: str) -> None:
    with pytest.warns(ConvergenceWarning, match="maxIter=2"):
        fitted = LinearRegression(solver=solver, maxIter=2).fit(local)
    assert (fitted.summary.totalIterations, fitted.summary.converged) == (2, False)
    assert len(fitted.summary.objectiveHistory) == 3
    assert "maxIter" in fitted.summary.stopReason


def test_auto_and_its_solver_are_told(local: LocalData) -> None:
    assert LinearRegression().fit(local).summary.solver == "normal"


# Transform.


@pytest.mark.filterwarnings("ignore:an essentially perfect fit")
def test_missing_features_give_a_null_and_nothing_else_changes(spark: SparkSession) -> None:
    names = ["first one", "a.b"]
    table = spark.createDataFrame([(1.0, 2.0, 5.0), (2.0, 0.5, 6.5), (0.0, 1.0, 1.0)], [*names, "the.label"])
    fitted = LinearRegression(featuresCols=names, labelCol="the.label", predictionCol="my.prediction").fit(table)
    assert fitted.featureNames == tuple(names)
    holes = spark.createDataFrame(
        [(1.0, 2.0, 5.0), (None, 2.0, 5.0), (1.0, None, None), (float("nan"), 1.0, 1.0)],
        "`first one` double, `a.b` double, `the.label` double",
    )
    scored = fitted.transform(holes)
    assert scored.columns == [*holes.columns, "my.prediction"]
    values = [row["my.prediction"] for row in scored.collect()]
    assert values[0] == pytest.approx(5.0)
    assert values[1:] == [None, None, None]


@pytest.mark.filterwarnings("ignore:an essentially perfect fit")
def test_a_null_vector_or_array_gives_a_null_prediction(spark: SparkSession) -> None:
    rows = [(Vectors.dense(float(i), float(i * i)), [float(i), float(i * i)], 3.0 * i) for i in range(5)]
    table = spark.createDataFrame(rows, ["vector", "array", "label"])
    holes = table.union(table.limit(1).selectExpr("null", "null", "0.0d"))
    elements = table.selectExpr("vector", "array(0d, null) array", "label")
    for column in ("vector", "array"):
        fitted = LinearRegression(featuresCol=column).fit(table)
        values = [row.prediction for row in fitted.transform(holes).collect()]
        np.testing.assert_allclose(np.array(values[:5], float), 3.0 * np.arange(5), atol=1e-9)
        assert values[5] is None
        assert fitted.transform(holes).columns == [*holes.columns, "prediction"]
    assert {row.prediction for row in fitted.transform(elements).collect()} == {None}


def test_a_table_with_other_features_is_refused(spark: SparkSession, df: DataFrame) -> None:
    fitted = LinearRegression(featuresCols=FEATURES, labelCol=LABEL).fit(df)
    with pytest.raises(ColumnError, match="'bmi'"):
        fitted.transform(df.drop("bmi"))
    with pytest.raises(ColumnError, match="2 columns but the model was trained on 10"):
        fitted.copy({fitted.featuresCols: ["age", "bmi"]}).transform(df)
    strings = df.withColumn("bmi", df["bmi"].cast("string"))
    with pytest.raises(ColumnTypeError):
        fitted.transform(strings)


# Saving.


def test_an_estimator_survives(spark: SparkSession, tmp_path: Path) -> None:
    estimator = LinearRegression(**VALUES)
    path = str(tmp_path / "with a space")
    estimator.save(path)
    loaded = LinearRegression.load(path)
    assert loaded.uid == estimator.uid
    assert {p.name: v for p, v in loaded.extractParamMap().items()} == VALUES
    assert {p.name for p in loaded.params if loaded.isSet(p)} == set(VALUES)
    with pytest.raises(FileExistsError):
        estimator.save(path)
    LinearRegression().write().overwrite().save(path)
    assert LinearRegression.load(path).getRegParam() == 0.0


def test_a_model_and_its_summary_survive_to_the_bit(
    df: DataFrame, model: LinearRegressionModel, tmp_path: Path
) -> None:
    model.save(str(tmp_path / "model"))
    loaded = LinearRegressionModel.load(str(tmp_path / "model"))
    assert loaded.coefficients.toArray().tobytes() == model.coefficients.toArray().tobytes()
    assert (loaded.intercept, loaded.uid, loaded.featureNames) == (model.intercept, model.uid, model.featureNames)
    assert {p.name: v for p, v in loaded.extractParamMap().items()} == {
        p.name: v for p, v in model.extractParamMap().items()
    }
    known = ["explainedVariance", "meanSquaredError", "r2", "r2adj", "numInstances", "degreesOfFreedom", *INFERENCE]
    more = ["objectiveHistory", "totalIterations", "passes", "solver", "stopReason", "converged", "numSkipped"]
    for name in [*known, *more]:
        assert getattr(loaded.summary, name) == getattr(model.summary, name), name
    assert str(loaded.summary) == str(model.summary)
    assert loaded.transform(df).collect() == model.transform(df).collect()
    with pytest.raises(StatisticsError, match="not at hand"):
        _ = loaded.summary.residuals
    loaded.save(str(tmp_path / "again"))
    for name in ("data/arrays",):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_pyspark_reads_the_twin(df: DataFrame, model: LinearRegressionModel, tmp_path: Path) -> None:
    from pyspark.ml.regression import LinearRegressionModel as Theirs

    model.to_pyspark().write().save(str(tmp_path / "twin"))
    twin = Theirs.load(str(tmp_path / "twin"))
    np.testing.assert_array_equal(twin.coefficients.toArray(), model.coefficients.toArray())


@pytest.fixture(scope="module")
def saved(model: LinearRegressionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(str(path))
    return path


def places(value: Any, at: tuple = ()) -> Iterator[tuple]:
    """The path to every value inside of JSON."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def test_whatever_is_changed_in_the_metadata_is_loaded_or_a_format_error(saved: Path, tmp_path: Path) -> None:
    """No other exception leaves `load`, whatever a file says."""
    shutil.copytree(saved, tmp_path / "model")
    file = tmp_path / "model" / "metadata" / "part-00000"
    original = json.loads(file.read_text())
    wrong = []
    for place in places(original):
        for value in ("delete", None, [], {}, -1, "x", [None]):
            changed = json.loads(json.dumps(original))
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            if value == "delete":
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            file.write_text(json.dumps(changed))
            try:
                LinearRegressionModel.load(str(tmp_path / "model"))
            except FormatError:
                continue
            except Exception as error:
                wrong.append(f"{place} = {value!r}: {type(error).__name__}: {str(error)[:60]}")
    assert wrong == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda meta: meta.update(more=1),
        lambda meta: meta["sparkdml"].update(more=1),
        lambda meta: meta["sparkdml"].update(format=99),
        lambda meta: meta["sparkdml"]["values"].update(more=1),
        lambda meta: meta["sparkdml"]["values"].update(featureNames=["x"]),
        lambda meta: meta["sparkdml"]["values"]["summary"].update(more={}),
        lambda meta: meta["sparkdml"]["values"]["summary"]["training"].update(more=1),
        lambda meta: meta["sparkdml"]["values"]["summary"]["metrics"].pop("weight"),
        lambda meta: meta["sparkdml"]["arrays"]["arrays"]["coefficients"].update(shape=[2, 5]),
        lambda meta: meta["sparkdml"]["arrays"]["arrays"]["coefficients"].update(shape=[9]),
        lambda meta: meta["sparkdml"]["arrays"]["arrays"].pop("intercept"),
        lambda meta: meta["sparkdml"]["arrays"]["arrays"].update(more={"dtype": "<f8", "shape": [1], "offset": 0}),
        lambda meta: meta["sparkdml"]["arrays"]["arrays"]["coefficients"].update(dtype="O"),
        lambda meta: meta.update({"class": "os.system"}),
        lambda meta: meta.update({"class": "sparkdml.regression.linear_regression.LinearRegression"}),
        lambda meta: meta["paramMap"].update(regParam=-1.0),
        lambda meta: meta["paramMap"].update(unknown=1),
    ],
)
def test_a_changed_meaning_is_a_format_error(saved: Path, tmp_path: Path, damage: Callable[[dict], object]) -> None:
    shutil.copytree(saved, tmp_path / "model")
    file = tmp_path / "model" / "metadata" / "part-00000"
    metadata = json.loads(file.read_text())
    damage(metadata)
    file.write_text(json.dumps(metadata))
    with pytest.raises(FormatError):
        LinearRegressionModel.load(str(tmp_path / "model"))


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_changed_byte_in_the_numbers_is_a_format_error(saved: Path, tmp_path: Path, at: int) -> None:
    shutil.copytree(saved, tmp_path / "model")
    file = tmp_path / "model" / "data" / "arrays"
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match="SHA-256"):
        LinearRegressionModel.load(str(tmp_path / "model"))
    file.write_bytes(content[:-8])
    with pytest.raises(FormatError):
        LinearRegressionModel.load(str(tmp_path / "model"))


def test_what_is_not_there_or_of_another_class_is_told(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LinearRegressionModel.load(str(tmp_path / "nothing"))
    with pytest.raises(FormatError, match="not a"):
        LinearRegression.load(str(saved))
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "metadata" / "part-00000").write_text("{")
    with pytest.raises(FormatError):
        LinearRegressionModel.load(str(tmp_path / "model"))
    (tmp_path / "model" / "metadata" / "part-00000").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError):
        LinearRegressionModel.load(str(tmp_path / "model"))


def test_a_solver_that_cannot_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, local: LocalData) -> None:
    monkeypatch.setattr(SOLVERS["gd"], "refusal", lambda self, problem: "cannot; take solver='normal'.")
    with pytest.raises(SolverError, match="solver='gd' cannot") as caught:
        LinearRegression(solver="gd").fit(local)
    assert isinstance(caught.value, ValueError)
