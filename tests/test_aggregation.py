"""How partitions become one: exactly, or so that a few corrupted ones do not decide."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import Rows, design, random_features, random_rows, standardized, theta_of, with_known_optimum
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import LocalData, pack
from sparkdml.blocks.stats import Statistics
from sparkdml.classification import LogisticRegression
from sparkdml.engine.minimize import minimize
from sparkdml.engine.robust import aggregate_statistics, exact_points, with_axes
from sparkdml.engine.tree import combine
from sparkdml.errors import DataError, DataWarning, ParamError, SolverError
from sparkdml.optim.aggregation import AGGREGATIONS, ROBUST, TRIM, WEIGHTED_MEAN, aggregate
from sparkdml.optim.losses import LOSSES, Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import EachPartition, Gradient, PerPartition
from sparkdml.optim.solvers import SOLVERS
from sparkdml.optim.solvers.rule_descent import COMPARING, LEARNING_RATES, RuleDescent
from sparkdml.regression import LinearRegression

WILD = [0.0, 1e300, -1e300, np.inf, -np.inf, np.nan]

every_aggregation = pytest.mark.parametrize("name", AGGREGATIONS)
every_robust = pytest.mark.parametrize("name", ROBUST)


def some_partitions(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3, 2)), rng.integers(1, 9, count).astype(float)


# The function.


def test_a_weighted_mean_is_that_of_all_rows() -> None:
    stacked, weights = some_partitions(7)
    expected = np.average(stacked, axis=0, weights=weights)
    np.testing.assert_allclose(aggregate(WEIGHTED_MEAN, stacked, weights), expected, rtol=1e-13)


@every_aggregation
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12, 101])
def test_copies_agree(name: str, count: int) -> None:
    (one,), _ = some_partitions(1)
    found = aggregate(name, np.array([one] * count), np.ones(count))
    np.testing.assert_allclose(found, one, rtol=0.0 if name in ROBUST else 1e-14)


@every_aggregation
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12, 101])
def test_the_order_of_the_partitions_does_not_matter(name: str, count: int) -> None:
    stacked, weights = some_partitions(count)
    order = np.random.default_rng(1).permutation(count)
    found = aggregate(name, stacked[order], weights[order])
    np.testing.assert_allclose(found, aggregate(name, stacked, weights), rtol=1e-13, atol=1e-14)


@every_aggregation
def test_partitions_of_no_weight_are_left_out(name: str) -> None:
    stacked, weights = some_partitions(6)
    more, none = np.concatenate([np.full((2, 3, 2), np.nan), stacked]), np.append([0.0, 0.0], weights)
    np.testing.assert_array_equal(aggregate(name, more, none), aggregate(name, stacked, weights))


@every_robust
@pytest.mark.parametrize("count", [3, 5, 8, 12, 101])
@pytest.mark.parametrize("wild", WILD)
def test_one_corrupted_partition_stays_within_the_others(name: str, count: int, wild: float) -> None:
    """However it is corrupted, and in whichever coordinates."""
    stacked, weights = some_partitions(count)
    for corrupted in (np.full((3, 2), wild), np.where(np.arange(6).reshape(3, 2) % 2, wild, stacked[1])):
        found = aggregate(name, np.concatenate([stacked[:1], corrupted[None], stacked[2:]]), weights)
        others = np.delete(stacked, 1, axis=0)
        assert np.all((others.min(axis=0) <= found) & (found <= others.max(axis=0)))


@every_robust
def test_a_third_of_the_partitions_is_no_majority(name: str) -> None:
    stacked, weights = some_partitions(12)
    stacked[:3] = 1e12
    assert int(TRIM * 12) == 3
    assert np.all(np.abs(aggregate(name, stacked, weights)) <= np.abs(stacked[3:]).max())


@every_aggregation
def test_where_no_partition_is_left_there_is_no_number(name: str) -> None:
    assert np.all(np.isnan(aggregate(name, np.full((4, 2), np.nan), np.ones(4))))
    assert np.all(np.isnan(aggregate(name, np.ones((4, 2)), np.zeros(4))))


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ParamError, match="'mode' is not one of 'weighted_mean', 'mean', 'median'"):
        aggregate("mode", np.ones((3, 1)), np.ones(3))


# Gradients.


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("partitions", [1, 2, 7, 64, 300])
def test_the_weighted_mean_of_partitions_kept_apart_is_the_exact_gradient(loss: Loss, partitions: int) -> None:
    rows = random_rows()
    data = rows.local(partitions)
    exact = standardized(data, True, loss=loss)
    theta = np.linspace(-1.0, 1.0, len(exact.start))
    apart, whole = data.run([replace(exact, aggregation="mean").gradient_query(theta), exact.gradient_query(theta)])
    assert isinstance(apart, PerPartition)
    found, expected = exact.point(theta, apart), exact.point(theta, whole)  # type: ignore[arg-type]
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.slope, expected.slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 16, 33])
def test_partitions_kept_apart_stand_in_order_whoever_merges_them(count: int) -> None:
    nodes: list[Any] = [((0, p), PerPartition((p,))) for p in range(count)]
    for cut in range(0, count, 3):
        merged = combine([*combine(nodes[:cut], count), *combine(nodes[cut:], count)], count)
        assert [value.parts for _, value in merged] == [tuple(range(count))]


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name != WEIGHTED_MEAN])
def test_partitions_that_are_copies_fit_as_one_of_them(name: str) -> None:
    rows, _, _ = with_known_optimum(random_features(), None, True, 0.1, 0.1)
    copies = Rows(np.tile(rows.features, (5, 1)), np.tile(rows.label, 5)).local(5)
    problem = replace(standardized(rows.local(), True, 0.1, 0.1), aggregation=name)
    for solver in (RuleDescent(learning_rate="barzilaiBorwein"), RuleDescent(optimizer="nesterov")):
        (many,) = minimize([(problem, solver)], copies)
        (one,) = minimize([(replace(problem, aggregation=WEIGHTED_MEAN), solver)], rows.local())
        np.testing.assert_allclose(theta_of(many), theta_of(one), rtol=1e-9, atol=1e-9)


def test_fits_together_are_fits_alone() -> None:
    rows, problem, _ = with_known_optimum(random_features(600), None, True, 0.1, 0.1)
    data = rows.local(6)
    fits = [
        (replace(problem, aggregation=name), RuleDescent(max_iter=30, learning_rate=rate))
        for name in AGGREGATIONS
        for rate in (None, "barzilaiBorwein")
    ]
    for together, fit in zip(minimize(fits, data), fits, strict=True):
        (alone,) = minimize([fit], data)
        np.testing.assert_allclose(theta_of(together), theta_of(alone), rtol=1e-9, atol=1e-9)


@every_robust
def test_a_partition_whose_numbers_are_not_finite_is_as_if_it_were_not_there(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(600), None, True, 0.0, 0.1)
    problem, solver = replace(problem, aggregation=name), RuleDescent(learning_rate="barzilaiBorwein")
    data, five = rows.local(6), rows.take(np.arange(500)).local(5)
    last = data.blocks[-1]
    data.blocks[-1] = replace(last, label=np.full(last.rows, 1e200))  # whose loss overflows
    for found, expected in [(minimize([(problem, solver)], each)[0] for each in (data, five))]:
        np.testing.assert_array_equal(theta_of(found), theta_of(expected))


@every_aggregation
def test_exact_points_are_those_of_all_rows(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(600), None, True, 0.1, 0.1)
    data = rows.local(6)
    fits = minimize([(replace(problem, aggregation=name), RuleDescent(max_iter=20))] * 2, data)
    before = data.passes
    points = exact_points(fits, data)
    assert data.passes - before == int(name != WEIGHTED_MEAN)  # one pass for all of them
    assert all(fit.passes == data.passes for fit in fits)
    for fit, point in zip(fits, points, strict=True):
        (answer,) = data.run([problem.gradient_query(theta_of(fit))])
        assert point.loss == pytest.approx(problem.point(theta_of(fit), answer).loss, rel=1e-12)  # type: ignore[arg-type]


@every_aggregation
def test_a_solver_takes_an_aggregation_or_says_which_one_does(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, 0.0, 0.1)
    data, problem = rows.local(5), replace(problem, aggregation=name)
    rules = {rate: RuleDescent(max_iter=3, learning_rate=rate) for rate in LEARNING_RATES}
    for solver in [*(kind() for kind in SOLVERS.values()), *rules.values()]:
        compares = getattr(solver, "learning_rate", None) in COMPARING
        if name in solver.aggregations and not (compares and name in ROBUST):
            minimize([(problem, solver)], data)
            continue
        before = data.passes
        with pytest.raises(SolverError, match=rf"aggregation='{name}'.*take (solver='gd' with|learningRate=)"):
            minimize([(problem, solver)], data)
        assert data.passes == before


def axes_of(data: LocalData, problem: Problem) -> np.ndarray:
    (turned,) = with_axes([problem], data)
    assert turned.axes is not None
    return turned.axes


@every_robust
def test_along_the_axes_the_columns_are_uncorrelated(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(900), None, True, 0.0, 0.0)
    X, bad = np.tile(rows.features, (7, 1)), slice(0, 900)
    X[bad] = np.random.default_rng(0).normal(size=(900, 7)) * 1e6
    axes = axes_of(LocalData(X, np.tile(rows.label, 7), partitions=7), replace(problem, aggregation=name))
    np.testing.assert_allclose(axes.T @ axes, np.eye(8), atol=1e-12)
    A = design(problem, rows.features)
    moments = axes.T @ (A.T @ A / 900) @ axes
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-10)


@every_aggregation
def test_axes_change_nothing_where_partitions_agree(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, 0.0, 0.1)
    copies = Rows(np.tile(rows.features, (5, 1)), np.tile(rows.label, 5)).local(5)
    axes = axes_of(copies, replace(problem, aggregation="median"))
    theta = np.linspace(-1.0, 1.0, 8)
    plain = replace(problem, aggregation=name)
    (answer,) = copies.run([EachPartition(Gradient(problem.loss, *problem.raw(theta)))])
    found, expected = (each.point(theta, answer) for each in (replace(plain, axes=axes), plain))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-10, atol=1e-12)


@every_robust
@pytest.mark.parametrize("seed", range(3))
def test_votes_along_the_axes_bear_correlated_columns(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(12_000, 6)) @ (np.eye(6) + 0.5 * rng.normal(size=(6, 6)))
    y, bad = X @ np.arange(6.0) + rng.normal(size=12_000), np.where(np.arange(12_000) < 1000, -100.0, 1.0)
    clean, data = LocalData(X, y), LocalData(X * bad[:, None], y, partitions=12)
    exact, solver = standardized(clean, True), RuleDescent(max_iter=500, learning_rate="barzilaiBorwein")
    voting = replace(exact, aggregation=name)
    (best,) = minimize([(exact, solver)], clean)
    plain, turned = minimize([(voting, solver), (with_axes([voting], data)[0], solver)], data)
    off, less = (np.linalg.norm(theta_of(each) - theta_of(best)) for each in (plain, turned))
    assert less < 0.5 * off
    assert less < 0.01 * np.linalg.norm(theta_of(best))


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name not in ROBUST])
def test_means_need_no_axes(name: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, 0.0, 0.1)
    data = rows.local(5)
    assert with_axes([replace(problem, aggregation=name)], data)[0].axes is None
    assert data.passes == 0


# Statistics.


@every_robust
def test_statistics_of_alike_partitions_are_those_of_one(name: str) -> None:
    rows = random_rows()
    one = rows.local().statistics
    parts = (one,) * 7
    found = aggregate_statistics(
        Rows(np.tile(rows.features, (7, 1)), np.tile(rows.label, 7)).local(7).statistics, parts, name
    )
    np.testing.assert_array_equal(found.center, one.center)
    np.testing.assert_allclose(found.variance, one.variance, rtol=1e-13)


@every_robust
@pytest.mark.parametrize("factor", [1e3, 1e200])
def test_statistics_do_not_follow_one_partition(name: str, factor: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal([3.0, -1.0, 0.0], [1.0, 10.0, 0.1], (6000, 3))
    clean = LocalData(X, X[:, 0], partitions=12)
    X = X.copy()
    X[:500] *= factor
    with np.errstate(over="ignore", invalid="ignore"):
        data = LocalData(X, X[:, 0], partitions=12)
    found = aggregate_statistics(data.statistics, data.partition_statistics, name)
    deviation = np.sqrt(clean.statistics.variance)
    np.testing.assert_allclose(found.center, clean.statistics.center, atol=0.05 * deviation.max())
    np.testing.assert_allclose(np.sqrt(found.variance), deviation, rtol=0.02)
    assert (found.count, found.weight) == (6000, 6000.0)


@every_robust
def test_a_column_that_most_partitions_do_not_change_has_exactly_no_variance(name: str) -> None:
    X = np.tile([0.1, 7.0], (120, 1))
    X[:10] = np.random.default_rng(0).normal(size=(10, 2))
    data = LocalData(X, np.arange(120.0), partitions=12)
    found = aggregate_statistics(data.statistics, data.partition_statistics, name)
    np.testing.assert_array_equal(found.center[:2], [0.1, 7.0])
    np.testing.assert_array_equal(found.variance[:2], 0.0)
    assert found.variance[2] > 0.0


# Estimators.


def drawn(logistic: bool, n: int = 24_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.normal([0.0, 1.0, -2.0, 0.0, 0.5], [1.0, 2.0, 1.0, 0.5, 1.0], (n, 5))
    z = X @ [1.0, -1.0, 0.5, 1.5, -1.0] + 2.0
    return X, (rng.random(n) < 1.0 / (1.0 + np.exp(-z))).astype(float) if logistic else z + rng.normal(size=n)


def poisoned(X: np.ndarray, y: np.ndarray, logistic: bool, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The fifth of twelve partitions spoilt."""
    X, y, bad = X.copy(), y.copy(), np.array_split(np.arange(len(y)), 12)[4]
    if how != "labels":
        X[bad] *= 1e3
    if how != "features":
        shuffled = np.random.default_rng(0).permutation(y[bad])
        y[bad] = 1.0 - y[bad] if logistic else shuffled * 1e6
    return X, y


def fitted(estimator: Any, X: np.ndarray, y: np.ndarray, partitions: int = 12) -> np.ndarray:
    model = estimator.fit(LocalData(X, y, partitions=partitions))
    assert model.summary.converged
    return np.append(model.coefficients.toArray(), model.intercept)


FAMILIES = {"linear": LinearRegression, "logistic": LogisticRegression}


@pytest.mark.thinned
@every_robust
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", ["features", "labels", "both"])
@pytest.mark.parametrize("penalty", [(0.0, 0.0), (0.02, 0.5)], ids=["none", "elastic net"])
def test_one_poisoned_partition_of_twelve_is_outvoted(
    spark: SparkSession, name: str, family: str, how: str, penalty: tuple[float, float]
) -> None:
    logistic = family == "logistic"
    X, y = drawn(logistic)
    params: dict[str, Any] = dict(zip(("regParam", "elasticNetParam"), penalty, strict=True))
    clean = fitted(FAMILIES[family](**params), X, y)
    spoilt = poisoned(X, y, logistic, how)
    robust = fitted(FAMILIES[family](aggregation=name, **params), *spoilt)
    assert np.linalg.norm(robust - clean) < 0.05 * np.linalg.norm(clean)
    exact = fitted(FAMILIES[family](maxIter=2000, **params), *spoilt)
    assert np.linalg.norm(exact - clean) > (0.1 if how == "labels" and logistic else 0.5) * np.linalg.norm(clean)


def test_a_partition_whose_squares_overflow_is_refused_or_outvoted(spark: SparkSession) -> None:
    X, y = drawn(False)
    clean = fitted(LinearRegression(), X, y)
    X[:2000] *= 1e200
    with np.errstate(over="ignore", invalid="ignore"):
        data = LocalData(X, y, partitions=12)
    with pytest.raises(DataError, match=r"'x0' has 2,000 values too large .*e\+200"):
        LinearRegression().fit(data)
    model = LinearRegression(aggregation="median").fit(data)
    found = np.append(model.coefficients.toArray(), model.intercept)
    assert np.linalg.norm(found - clean) < 0.05 * np.linalg.norm(clean)
    assert all(np.isfinite(value) for value in model.summary.metrics().values())  # so that it can be saved


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"solver": "normal"}, SolverError, "take solver='gd'"),
        ({"solver": "l-bfgs"}, SolverError, "take solver='gd'"),
        ({"solver": "gd", "learningRate": "plateau"}, SolverError, "take learningRate='barzilaiBorwein'"),
        ({"learningRate": "lineSearch"}, SolverError, "take learningRate='barzilaiBorwein'"),
        ({"computeStatistics": True}, ParamError, "no standard errors"),
    ],
)
def test_what_cannot_be_robust_is_refused_before_the_rows_are_read(
    spark: SparkSession, params: dict[str, Any], error: type[Exception], said: str
) -> None:
    nothing = spark.createDataFrame([], "x double, label double")  # reading it would be a DataError
    with pytest.raises(error, match=said):
        LinearRegression(featuresCols=["x"], aggregation="median", **params).fit(nothing)


def test_what_a_solver_cannot_take_is_refused_before_the_pass_for_the_axes(spark: SparkSession) -> None:
    X, y = drawn(False, n=600)
    data = LocalData(X, y, partitions=6)
    uneven = {"optimizer": "adamw", "standardization": False, "regParam": 0.1}
    with pytest.raises(SolverError, match="take 'adam'"):
        LinearRegression(aggregation="median", solver="gd", **uneven).fit(data)
    assert data.passes == 0


def test_partitions_too_few_or_too_different_are_told(spark: SparkSession) -> None:
    X, y = drawn(True, n=600)
    with pytest.warns(DataWarning, match="over 2 partitions outvotes none"):
        LogisticRegression(aggregation="median").fit(LocalData(X, y, partitions=2))
    few_ones = LocalData(X, np.arange(600) // 500 * y, partitions=12)
    with pytest.raises(DataError, match=r"'label' is 0 throughout most partitions.*repartition\(12\)"):
        LogisticRegression(aggregation="median").fit(few_ones)
    X[50:, 2] = 0.0
    with pytest.warns(DataWarning, match="1 columns, such as 'x2', never change within most partitions"):
        model = LogisticRegression(aggregation="trimmed_mean").fit(LocalData(X, y, partitions=12))
    assert model.coefficients[2] == 0.0


# Spark.


def table(spark: SparkSession) -> DataFrame:
    noise = F.randn(7)
    df = spark.range(0, 3000, 1, 6).select(F.randn(1).alias("a"), (F.randn(2) * 3 + 1).alias("b"), "id")
    df = df.withColumn("label", 2 * F.col("a") - F.col("b") + 4 + 0.5 * noise)
    bad = F.spark_partition_id() == 4
    return df.select(*(F.when(bad, F.col(c) * -1e3).otherwise(F.col(c)).alias(c) for c in ("a", "b")), "label")


def test_packed_partitions_vote_however_many_share_a_task(spark: SparkSession, tmp_path: Any) -> None:
    df, estimator, found = table(spark), LinearRegression(featuresCols=["a", "b"], aggregation="median", tol=1e-3), []
    for tasks in (6, 2):
        with pack(df, featuresCols=["a", "b"], numPartitions=tasks) as data:
            assert (data.partitions, data.tasks) == (6, tasks)
            found.append(estimator.fit(data))
    first = found[0]
    np.testing.assert_allclose([*first.coefficients, first.intercept], [2.0, -1.0, 4.0], atol=0.1)
    for other in found[1:]:
        assert other.coefficients.toArray().tobytes() == first.coefficients.toArray().tobytes()
    scored = first.evaluate(df)
    assert first.summary.rootMeanSquaredError == pytest.approx(scored.rootMeanSquaredError, rel=1e-9)
    assert first.summary.r2 == pytest.approx(scored.r2, rel=1e-9)
    first.save(f"{tmp_path}/model")
    assert str(type(first).load(f"{tmp_path}/model").summary) == str(first.summary)


def test_statistics_of_packed_partitions_survive_the_loss_of_files(spark: SparkSession) -> None:
    with pack(table(spark), featuresCols=["a", "b"]) as data:
        shutil.rmtree(data._handles.rdd.collect()[3].directory)
        parts = data.partition_statistics
        assert [part.count for part in parts] == [content.rows for content in data.contents]
        whole = combine([((0, p), part) for p, part in enumerate(parts)], 6)[0][1]
        assert isinstance(whole, Statistics)
        assert whole.mean.tobytes() == data.statistics.mean.tobytes()
