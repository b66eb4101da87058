"""SGD and local SGD: near the minimum with their defaults, whatever the columns, the rows' order and the partitions."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from problems import PENALTIES, Rows, random_features, standardized, theta_of, with_known_optimum
from scipy.special import expit

from sparkdml.classification import LogisticRegression
from sparkdml.engine.data import LocalData
from sparkdml.engine.minimize import Fit, minimize
from sparkdml.errors import DataWarning, DivergenceError, ParamError, SolverError
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Gradient, LocalEpoch
from sparkdml.optim.solvers import Lbfgs, LocalDescent, Solver, StochasticDescent, StopReason
from sparkdml.optim.solvers.local_descent import SKEWED
from sparkdml.optim.solvers.stochastic_descent import default_fraction
from sparkdml.regression import LinearRegression

NEAR = 1e-3  # of the objective


def stochastic(data: LocalData, problem: Problem, **more: Any) -> StochasticDescent:
    """`sgd` with the mini-batch that the estimators take by default."""
    return StochasticDescent(fraction=default_fraction(data.statistics.count, len(problem.start)), **more)


def local(data: LocalData, problem: Problem, **more: Any) -> LocalDescent:
    return LocalDescent(**more)


MAKERS: dict[str, Callable[..., Solver]] = {"sgd": stochastic, "local-sgd": local}
every_solver = pytest.mark.parametrize("solver", MAKERS)
every_loss = pytest.mark.parametrize("loss", ["squaredError", "logistic"])


def correlated(
    loss: str, n: int = 6000, d: int = 12, correlation: float = 0.95, seed: int = 0, sort: bool = False
) -> Rows:
    """Correlated columns with means and deviations from 1e-3 to 1e6; sorted by label or not."""
    rng = np.random.default_rng(seed)
    Z = np.sqrt(1.0 - correlation) * rng.normal(size=(n, d)) + np.sqrt(correlation) * rng.normal(size=(n, 1))
    margin = Z @ rng.normal(size=d)
    margin /= margin.std()
    if loss == "squaredError":
        label = margin + 0.5 * rng.normal(size=n)
    else:
        label = (rng.random(n) < expit(2.0 * margin + 0.5)).astype(float)
    units = rng.permutation(np.geomspace(1e-3, 1e6, d))
    order = np.argsort(label, kind="stable") if sort else np.arange(n)
    return Rows(((Z + rng.normal(size=d)) * units)[order], label[order])


def sparse_rows(loss: str, n: int = 6000, d: int = 30, seed: int = 1) -> Rows:
    """Columns with a few percent of values, in units from 1e-3 to 1e6."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < rng.uniform(0.02, 0.15, d))
    margin = X @ rng.normal(size=d)
    margin /= margin.std()
    label = margin + 0.5 * rng.normal(size=n) if loss == "squaredError" else (rng.random(n) < expit(2.0 * margin)) * 1.0
    return Rows(X * np.geomspace(1e-3, 1e6, d), label).sparse


def optimum(data: LocalData, problem: Problem) -> float:
    (fit,) = minimize([(problem, Lbfgs(tol=1e-10, max_iter=2000))], data)
    assert fit.state.point is not None
    return problem.objective(fit.state.point)


def missed(data: LocalData, problem: Problem, fit: Fit) -> float:
    """By how much the objective of the optimum was missed, relative to it."""
    assert fit.state.point is not None
    return problem.objective(fit.state.point) / optimum(data, problem) - 1.0


def passes_to(near: float, data: LocalData, problem: Problem, solver: Solver) -> int:
    """Passes until the best point so far is so near to the optimum."""
    best, state = optimum(data, problem), solver.init(problem)
    for count in range(1, 1000):
        state = solver.step(problem, state, data.run(solver.queries(problem, state)))
        assert state.point is not None
        if problem.objective(state.point) / best - 1.0 < near:
            return count
        assert state.stop is StopReason.RUNNING
    raise AssertionError("the optimum is out of reach")


@pytest.mark.thinned
@every_solver
@every_loss
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", ["correlated", "sparse"])
def test_the_defaults_come_near_the_minimum(solver: str, loss: str, penalty: str, kind: str) -> None:
    rows = correlated(loss) if kind == "correlated" else sparse_rows(loss)
    data = rows.local(4)
    l1, l2 = (0.05 * strength for strength in PENALTIES[penalty])
    problem = standardized(data, True, l1, l2, loss=LOSSES[loss])
    (fit,) = minimize([(problem, MAKERS[solver](data, problem))], data)
    assert fit.state.stop is StopReason.CONVERGED
    assert missed(data, problem, fit) < NEAR


@every_loss
def test_rows_sorted_by_label_cost_at_most_twice_the_passes(loss: str) -> None:
    passes = {False: 0, True: 0}
    for correlation, partitions, seed in ((0.0, 2, 0), (0.5, 8, 1), (0.95, 8, 2), (0.8, 12, 3)):
        for sort in passes:
            data = correlated(loss, correlation=correlation, seed=seed, sort=sort).local(partitions)
            problem = standardized(data, True, loss=LOSSES[loss])
            passes[sort] += passes_to(NEAR, data, problem, LocalDescent())
    assert passes[True] <= 2 * passes[False]


@every_loss
def test_local_sgd_needs_fewer_passes_than_lbfgs_where_the_columns_are_correlated(loss: str) -> None:
    data = correlated(loss).local(4)
    problem = standardized(data, True, loss=LOSSES[loss])
    ours = passes_to(NEAR, data, problem, LocalDescent())
    assert ours < passes_to(NEAR, data, problem, Lbfgs(max_iter=1000))


@every_loss
@pytest.mark.parametrize("sort", [False, True], ids=["shuffled", "sorted"])
def test_the_cosine_tells_skewed_partitions(loss: str, sort: bool) -> None:
    data = correlated(loss, sort=sort).local(6)
    problem = standardized(data, True, loss=LOSSES[loss])
    (fit,) = minimize([(problem, LocalDescent())], data)
    assert fit.state.cosine < SKEWED if sort else fit.state.cosine == 1.0  # type: ignore[attr-defined]


def test_walks_are_sums_over_partitions_that_steer_by_the_same_gradient() -> None:
    """At the minimum, where the control is zero, no partition moves, however its rows differ from the others'."""
    rows, problem, theta = with_known_optimum(random_features(), None, True, 0.0, 0.2)
    for partitions in (1, 2, 7):
        w, b = problem.raw(theta)
        query = LocalEpoch(problem.loss, w, b, problem.units, np.zeros(len(theta)))
        (walks,) = rows.local(partitions).run([query])
        np.testing.assert_array_equal(walks.walk, 0.0)  # type: ignore[union-attr]
        assert walks.weight == 200.0


def test_mini_batches_read_the_fraction_that_was_asked_for() -> None:
    data = correlated("squaredError").local(3)
    problem = standardized(data, True)
    solver = StochasticDescent(fraction=0.05, seed=7, max_iter=40, tol=0.0)
    state = solver.init(problem)
    steps, asked = [], 0.0
    while state.stop is StopReason.RUNNING:
        queries = solver.queries(problem, state)
        answers = data.run(queries)
        assert all(isinstance(query, Gradient) for query in queries)
        if queries[0].sample is not None:  # type: ignore[union-attr]
            steps.append(queries[0].sample.step)  # type: ignore[union-attr]
            asked += answers[0].weight  # type: ignore[union-attr]
            assert {query.sample for query in queries} == {queries[0].sample}  # type: ignore[union-attr]
        state = solver.step(problem, state, answers)
    assert steps == list(range(40))
    assert asked == pytest.approx(40 * 0.05 * 6000, rel=0.01)


def test_other_seeds_are_other_mini_batches_and_the_same_seed_the_same_bits() -> None:
    data = correlated("logistic").local(3)
    problem = standardized(data, True, loss=LOSSES["logistic"])
    fits = minimize([(problem, StochasticDescent(fraction=0.2, seed=seed)) for seed in (1, 1, 2)], data)
    first, again, other = (theta_of(minimize([(problem, fit.solver)], data)[0]) for fit in fits)
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_mini_batches_that_are_far_too_small_are_a_divergence_or_end() -> None:
    rows = correlated("squaredError")
    wild = Rows(rows.features, rows.label * np.random.default_rng(0).standard_cauchy(6000) ** 3)
    data = wild.local(2)
    problem = standardized(data, True)
    try:
        (fit,) = minimize([(problem, StochasticDescent(fraction=0.0005))], data)
    except DivergenceError as error:
        assert np.all(np.isfinite(error.weights[0]))
    else:
        assert np.all(np.isfinite(theta_of(fit)))
        assert fit.state.history.min() <= fit.state.history[0]


@every_solver
def test_partitions_without_rows_are_no_trouble(solver: str) -> None:
    data = correlated("squaredError", n=100, d=3).local(120)
    problem = standardized(data, True)
    (fit,) = minimize([(problem, MAKERS[solver](data, problem))], data)
    assert missed(data, problem, fit) < NEAR


@pytest.mark.thinned
@every_solver
@every_loss
@pytest.mark.parametrize("aggregation", ["median", "trimmed_mean"])
@pytest.mark.filterwarnings("ignore::sparkdml.errors.DataWarning", "ignore::sparkdml.errors.ConvergenceWarning")
def test_a_poisoned_partition_of_twelve_is_outvoted(solver: str, loss: str, aggregation: str) -> None:
    estimator: Any = LinearRegression if loss == "squaredError" else LogisticRegression
    rows, count = correlated(loss, n=18_000, d=5, correlation=0.3), 1500
    clean = estimator().fit(rows.local(12)).coefficients.toArray()
    X, y = rows.features.copy(), rows.label.copy()
    X[:count] *= 1e3
    y[:count] = 1e6 * y[:count] if loss == "squaredError" else 1.0 - y[:count]
    poisoned = Rows(X, y).local(12)
    found = estimator(solver=solver, aggregation=aggregation, maxIter=60 if solver == "sgd" else 12).fit(poisoned)
    deviation = rows.features.std(axis=0)
    missed = np.linalg.norm((found.coefficients.toArray() - clean) * deviation)
    assert missed < 0.05 * np.linalg.norm(clean * deviation)


@every_loss
@pytest.mark.parametrize("solver", ["l-bfgs", "gd", "sgd"])
def test_a_warm_start_ends_where_the_solver_would_and_its_passes_count(loss: str, solver: str) -> None:
    estimator: Any = LinearRegression if loss == "squaredError" else LogisticRegression
    data = correlated(loss, correlation=0.8).local(4)
    cold, warm = (estimator(solver=solver, warmStartEpochs=epochs, tol=1e-8).fit(data) for epochs in (0, 2))
    best = min(cold.summary.objectiveHistory)
    assert min(warm.summary.objectiveHistory) == pytest.approx(best, rel=1e-5 if solver == "sgd" else 1e-9)
    assert warm.summary.objectiveHistory[0] < cold.summary.objectiveHistory[0]
    before = data.passes, data.bytes_down, data.bytes_up
    again = estimator(solver=solver, warmStartEpochs=2, tol=1e-8).fit(data).summary
    spent = (data.passes, data.bytes_down, data.bytes_up)
    assert (again.passes, *again.bytes) == tuple(np.subtract(spent, before))


def test_a_warm_start_makes_auto_take_a_solver_that_begins_there_and_is_refused_where_there_is_none() -> None:
    data = correlated("squaredError").local(4)
    assert LinearRegression(warmStartEpochs=2).fit(data).summary.solver == "l-bfgs"
    for loss in ("huber", "quantile"):
        with pytest.raises(SolverError, match=f"local-sgd, which cannot take the loss '{loss}', .*: leave it out"):
            LinearRegression(warmStartEpochs=2, loss=loss).fit(data)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"solver": "l-bfgs", "batchSize": 10}, "batchSize=10 is for solver='sgd', not 'l-bfgs'"),
        ({"solver": "gd", "miniBatchFraction": 0.1}, "miniBatchFraction=0.1 is for solver='sgd', not 'gd'"),
        ({"solver": "sgd", "miniBatchFraction": 0.1, "batchSize": 5}, "say the same in two ways"),
        ({"solver": "local-sgd", "optimizer": "adam"}, "is for solver='gd' or solver='sgd', not 'local-sgd'"),
        ({"solver": "local-sgd", "warmStartEpochs": 2}, "warmStartEpochs=2 is for solvers that begin somewhere"),
        ({"solver": "normal", "warmStartEpochs": 2}, "not for solver='normal'"),
    ],
)
def test_a_param_of_another_solver_is_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamError, match=re.escape(told)):
        LinearRegression(**params).fit(correlated("squaredError").local())


def test_skewed_partitions_are_warned_of() -> None:
    data = correlated("logistic", sort=True).local(6)
    with pytest.warns(DataWarning, match=r"smallest cosine .* partitioning='random' or 'stratified'"):
        LogisticRegression(solver="local-sgd").fit(data)
