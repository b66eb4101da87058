"""Early stopping: any solver ends at the iterate whose validation loss was lowest, and trains on other rows."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import CANONICAL, PENALTIES, Rows, design, random_features, standardized, theta_of
from pyspark.sql import DataFrame, SparkSession

from sparkdml import pack
from sparkdml.classification import LogisticRegression, LogisticRegressionModel
from sparkdml.engine.data import LocalData
from sparkdml.engine.known import known_answers
from sparkdml.engine.minimize import minimize
from sparkdml.errors import (
    ColumnError,
    DataError,
    DivergenceError,
    FormatError,
    ParamError,
    SolverError,
    StatisticsError,
)
from sparkdml.optim.losses import LOSSES, Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import HeldOutSums
from sparkdml.optim.solvers import SOLVERS, EarlyStopping, Solver, State, StopReason, dump_state, load_state
from sparkdml.optim.solvers.early_stopping import EarlyStoppingState
from sparkdml.optim.solvers.rule_descent import RuleDescent
from sparkdml.optim.solvers.sampled_rules import SampledRules
from sparkdml.optim.solvers.stochastic_descent import StochasticDescent
from sparkdml.regression import LinearRegression

VALIDATES = 1
LIMITS = {"tol": 1e-9, "max_iter": 60}
SOLVED: dict[str, Solver] = {name: kind(**LIMITS) for name, kind in SOLVERS.items() if kind.iterative}
SOLVED |= {name: RuleDescent(**LIMITS, optimizer=name) for name in ("momentum", "adam")}
SOLVED["sgd"] = StochasticDescent(tol=1e-9, max_iter=400, fraction=0.5)
SOLVED["barzilaiBorwein"] = RuleDescent(**LIMITS, learning_rate="barzilaiBorwein")

every_solver = pytest.mark.parametrize("inner", SOLVED.values(), ids=SOLVED.keys())
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
every_loss = pytest.mark.parametrize("loss", CANONICAL.values(), ids=CANONICAL.keys())


def noisy_rows(loss: Loss, n: int = 90, d: int = 20) -> Rows:
    """So many columns for so few rows that a model soon learns the noise; a third of the rows validate."""
    rng = np.random.default_rng(11)
    X = random_features(n, d, density=1.0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    signal = X[:, :3] @ [1.0, -1.0, 0.5]
    label = signal + 2.0 * rng.normal(size=n) if loss.quadratic else (signal + rng.logistic(size=n) > 0.0).astype(float)
    return Rows(X, label, rng.exponential(size=n), fold=(np.arange(n) % 3 == 0).astype(np.int32))


def noisy_problem(loss: Loss, penalty: str) -> tuple[Rows, LocalData, Problem]:
    rows = noisy_rows(loss)
    l1, l2 = PENALTIES[penalty]
    trained = rows.take(np.flatnonzero(rows.fold != VALIDATES))
    problem = standardized(trained.local(), True, 0.05 * l1, 0.05 * l2, loss=loss)
    return rows, rows.local(2), replace(problem, fold=VALIDATES)


def iterates(solver: Solver, problem: Problem, data: LocalData) -> Iterator[State]:
    """The states of a solver alone whenever its history has a new entry, and at last where it stopped."""
    state, told = solver.init(problem), 0
    while state.stop is StopReason.RUNNING:
        queries = solver.queries(problem, state)
        state = solver.step(problem, state, known_answers(data, queries) or data.run(queries))
        if len(state.history) > told:
            told = len(state.history)
            yield state
    yield state


def validation_loss(problem: Problem, rows: Rows, state: State) -> float:
    held_out = rows.take(np.flatnonzero(rows.fold == VALIDATES))
    assert state.iterate is not None
    z = design(problem, held_out.dense) @ state.iterate.theta
    return float(np.average(problem.loss.value(held_out.label, z[:, None]), weights=held_out.weights))


@pytest.mark.thinned
@every_solver
@every_penalty
@every_loss
def test_it_ends_at_the_best_iterate_of_the_solver_alone(inner: Solver, penalty: str, loss: Loss) -> None:
    patience = 2
    rows, data, problem = noisy_problem(loss, penalty)
    *alone, end = iterates(inner, problem, data)
    losses = np.array([validation_loss(problem, rows, state) for state in alone])
    behind = [k - int(np.argmin(losses[: k + 1])) for k in range(len(losses))]
    stopped = behind.index(patience) if patience in behind else None
    last = len(alone) - 1 if stopped is None else stopped
    best = alone[int(np.argmin(losses[: last + 1]))].iterate

    (fit,) = minimize([(problem, EarlyStopping(inner=inner, patience=patience))], data)
    assert isinstance(fit.state, EarlyStoppingState)
    assert best is not None
    assert theta_of(fit).tobytes() == best.theta.tobytes()
    assert fit.state.stop is (end.stop if stopped is None else StopReason.VALIDATION)
    assert fit.state.iterations == alone[last].iterations
    np.testing.assert_allclose(fit.state.validation, losses[: last + 1], rtol=1e-11)
    np.testing.assert_array_equal(fit.state.history, end.history[: last + 1])


def test_a_solver_that_is_patient_enough_stops_most_of_these_fits() -> None:
    for name, inner in SOLVED.items():
        if name == "newton":  # at the minimum of a squared loss after one iteration
            continue
        _, data, problem = noisy_problem(LOSSES["squaredError"], "none")
        (fit,) = minimize([(problem, EarlyStopping(inner=inner))], data)
        assert fit.state.stop is StopReason.VALIDATION
        assert fit.state.stop.converged
        assert len(fit.state.history) < 40


@every_solver
def test_it_costs_a_pass_at_the_end_and_no_other(inner: Solver) -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "l2")
    alone, patient = minimize([(problem, inner), (problem, EarlyStopping(inner=inner, patience=1000))], data)
    assert alone.passes <= patient.passes <= alone.passes + 1
    assert patient.state.stop is alone.state.stop
    assert len(patient.state.history) == len(alone.state.history)


@pytest.mark.thinned
@every_solver
@every_loss
def test_rows_that_validate_do_not_train(inner: Solver, loss: Loss) -> None:
    rows, data, problem = noisy_problem(loss, "l2")
    other = rows.take(np.arange(90))
    other.features[rows.fold == VALIDATES] *= 1.1
    other.label[rows.fold == VALIDATES] = 1.0
    solver = EarlyStopping(inner=inner, patience=1000)
    states = [minimize([(problem, solver)], each)[0].state for each in (data, other.local(2))]
    np.testing.assert_array_equal(*(state.history for state in states))
    assert not np.array_equal(*(state.validation for state in states))  # type: ignore[attr-defined]


@pytest.mark.thinned
@every_solver
@every_penalty
def test_a_state_written_and_read_between_steps_ends_with_the_same_bits(inner: Solver, penalty: str) -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], penalty)
    solver = EarlyStopping(inner=inner, patience=3)
    state = solver.init(problem)
    while state.stop is StopReason.RUNNING:
        state = load_state(solver.state_class, dump_state(state))
        queries = solver.queries(problem, state)
        state = solver.step(problem, state, known_answers(data, queries) or data.run(queries))
    (fit,) = minimize([(problem, solver)], data)
    assert dump_state(load_state(solver.state_class, dump_state(state))) == dump_state(fit.state)


@every_solver
def test_a_damaged_state_is_refused(inner: Solver) -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "none")
    (fit,) = minimize([(problem, EarlyStopping(inner=inner))], data)
    whole = dump_state(fit.state)
    name = type(fit.state.inner).__name__.encode()  # type: ignore[attr-defined]
    for wrong in (whole.replace(name, b"Other"), whole.replace(b"inner.state", b"inner.stat"), whole[:-1]):
        with pytest.raises(FormatError):
            load_state(EarlyStoppingState, wrong)


def test_fits_together_are_fits_alone() -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "l2")
    solvers = [EarlyStopping(inner=SOLVED[name]) for name in SOLVED if name != "adam"]  # see test_rule_descent
    fits = [(problem, solver) for solver in [SOLVED["l-bfgs"], *solvers]]
    for together, fit in zip(minimize(fits, data), fits, strict=True):
        (alone,) = minimize([fit], data)
        assert alone.state.stop is together.state.stop
        np.testing.assert_allclose(theta_of(together), theta_of(alone), rtol=1e-6, atol=1e-9)


@every_solver
def test_without_iterations_the_start_is_the_best(inner: Solver) -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "none")
    (fit,) = minimize([(problem, EarlyStopping(inner=replace(inner, max_iter=0)))], data)
    assert fit.state.stop is StopReason.MAX_ITERATIONS
    np.testing.assert_array_equal(theta_of(fit), problem.start)
    assert isinstance(fit.state, EarlyStoppingState)
    assert len(fit.state.validation) == 1


def test_a_solver_without_iterations_is_refused_and_so_is_what_the_solver_refuses() -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "none")
    with pytest.raises(SolverError, match=r"solver='normal' has no point before its end .*take solver='l-bfgs'"):
        minimize([(problem, EarlyStopping(inner=SOLVERS["normal"]()))], data)
    with pytest.raises(SolverError, match=r"solver='sgd' has no point before its end"):
        minimize([(problem, EarlyStopping(inner=SampledRules()))], data)

    class Unbounded(type(problem.loss)):  # type: ignore[misc]
        curvature = np.inf

    with pytest.raises(SolverError, match="bounded curvature"):
        minimize([(replace(problem, loss=Unbounded()), EarlyStopping(inner=SOLVERS["gd"]()))], data)
    assert data.passes == 0


def test_a_validation_loss_that_overflows_is_told() -> None:
    _, data, problem = noisy_problem(LOSSES["squaredError"], "none")
    solver = EarlyStopping(inner=SOLVED["l-bfgs"])
    state = solver.step(problem, solver.init(problem), data.run(solver.queries(problem, solver.init(problem))))
    _, answer = data.run(solver.queries(problem, state))
    with pytest.raises(DivergenceError, match="validation loss is inf after 0 iterations"):
        solver.step(problem, state, [HeldOutSums(np.inf, 1.0), answer])


# The estimators: which rows train and which validate.

ENOUGH: dict[str, Any] = {"tol": 1e-9, "maxIter": 1000, "regParam": 1e-3}
ESTIMATORS: dict[str, Callable[..., Any]] = {
    "linear": lambda **params: LinearRegression(**ENOUGH | params),
    "logistic": lambda **params: LogisticRegression(**ENOUGH | params),
}
OF = {"linear": LOSSES["squaredError"], "logistic": LOSSES["logistic"]}

every_estimator = pytest.mark.parametrize("kind", ESTIMATORS)


def trained(rows: Rows) -> Rows:
    return replace(rows.take(np.flatnonzero(rows.fold != VALIDATES)), fold=None)


@every_estimator
@pytest.mark.parametrize("params", [{}, {"regParam": 0.1}, {"regParam": 0.1, "elasticNetParam": 0.5}])
@pytest.mark.parametrize("standardization", [True, False])
def test_an_estimator_that_is_patient_trains_as_if_the_other_rows_were_not_there(
    kind: str, params: dict, standardization: bool
) -> None:
    rows, settings = noisy_rows(OF[kind]), {**params, "standardization": standardization, "solver": "l-bfgs"}
    alone = ESTIMATORS[kind](**settings).fit(trained(rows).local())
    watched = ESTIMATORS[kind](**settings, validationIndicatorCol="v", patience=1000).fit(rows.local())
    ours, theirs = watched.summary.objectiveHistory, alone.summary.objectiveHistory
    np.testing.assert_allclose(ours[:5], theirs[:5], rtol=1e-10)
    assert ours[-1] == pytest.approx(theirs[-1], rel=1e-10)
    assert (watched.summary.numInstances, watched.summary.converged) == (60, True)


@every_estimator
@pytest.mark.parametrize("solver", ["auto", "l-bfgs", "gd"])
def test_the_model_is_the_one_of_the_lowest_validation_loss(kind: str, solver: str) -> None:
    rows = noisy_rows(OF[kind])
    fitted = ESTIMATORS[kind](solver=solver, validationIndicatorCol="v", patience=3).fit(rows.local())
    summary, held_out = fitted.summary, rows.take(np.flatnonzero(rows.fold == VALIDATES))
    z = held_out.dense @ fitted.coefficients.toArray() + fitted.intercept
    losses = OF[kind].value(held_out.label, z[:, None])
    assert min(summary.validationHistory) == pytest.approx(np.average(losses, weights=held_out.weights), rel=1e-10)
    assert len(summary.validationHistory) == len(summary.objectiveHistory) == summary.totalIterations + 1
    assert (summary.solver, summary.converged) == ("gd" if solver == "gd" else "l-bfgs", True)
    assert summary.stopReason == "validation loss stopped improving"
    train = trained(rows)
    z = train.dense @ fitted.coefficients.toArray() + fitted.intercept
    loss = np.average(OF[kind].value(train.label, z[:, None]), weights=train.weights)
    known = summary.logLoss if kind == "logistic" else summary.meanSquaredError / 2
    assert known == pytest.approx(loss, rel=1e-10)
    assert ESTIMATORS[kind]().fit(rows.local()).summary.validationHistory == []


def test_balanced_weights_are_those_of_the_rows_that_train() -> None:
    rows = noisy_rows(OF["logistic"])
    heavy = replace(rows, weight=np.where((rows.fold == VALIDATES) & (rows.label == 1.0), 50.0, rows.weights))
    alone = ESTIMATORS["logistic"](classWeight="balanced").fit(trained(heavy).local())
    watched = ESTIMATORS["logistic"](classWeight="balanced", validationIndicatorCol="v", patience=1000)
    found = watched.fit(heavy.local()).summary.objectiveHistory
    assert found[-1] == pytest.approx(alone.summary.objectiveHistory[-1], rel=1e-10)


@pytest.mark.parametrize(
    ("fold", "told"),
    [
        (np.zeros(90), "none of positive weight validates"),
        (None, "validationIndicatorCol='v' but the data have no fold"),
        (np.ones(90), "none of positive weight is left to train"),
        (np.arange(90) % 3, "column 'v' has 30 values, such as 2, other than 0 and 1"),
        (np.arange(90) % 2 - 1, "column 'v' has 45 values, such as -1, other than 0 and 1"),
        (np.arange(90), "column 'v' has .* other than 0 and 1"),
    ],
)
@every_estimator
def test_indicators_that_leave_nothing_to_do_are_refused(kind: str, fold: np.ndarray | None, told: str) -> None:
    rows = replace(noisy_rows(OF[kind]), fold=None if fold is None else fold.astype(np.int32))
    with pytest.raises(DataError if fold is not None else ColumnError, match=told):
        ESTIMATORS[kind](validationIndicatorCol="v").fit(rows.local())


@pytest.mark.parametrize(
    ("params", "error", "told"),
    [
        ({"validationIndicatorCol": "v", "validationFraction": 0.2}, ParamError, "both choose the rows"),
        ({"patience": 3}, ParamError, "patience is for early stopping"),
        ({"validationIndicatorCol": "v", "solver": "normal"}, SolverError, "no point before its end .*solver='l-bfgs'"),
        ({"validationFraction": 0.2}, ParamError, "validationFraction=0.2 with seed=0, but the data were packed with"),
    ],
)
def test_params_that_contradict_each_other_are_refused(params: dict, error: type, told: str) -> None:
    data = noisy_rows(OF["linear"]).local()
    with pytest.raises(error, match=told):
        LinearRegression(**params).fit(data)
    assert data.passes == 0


# With Spark.


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> Iterator[DataFrame]:
    rows = noisy_rows(OF["logistic"], d=6)
    columns = np.column_stack([rows.dense, rows.label, rows.weights, rows.fold]).tolist()
    schema = ", ".join(f"{name} double" for name in [*"abcdef", "label", "weight", "v"])
    frame = spark.createDataFrame(spark.sparkContext.parallelize(columns, 3), schema)
    frame = frame.withColumn("v", frame["v"] == 1.0).cache()
    yield frame
    frame.unpersist(blocking=True)


COLUMNS = {"featuresCols": [*"abcdef"], "weightCol": "weight"}


def test_a_column_says_which_rows_validate_and_metrics_are_of_the_others(table: DataFrame, tmp_path: Path) -> None:
    watched = LogisticRegression(**COLUMNS, validationIndicatorCol="v")
    fitted = watched.fit(table)
    local = watched.fit(noisy_rows(OF["logistic"], d=6).local(3))
    np.testing.assert_allclose(fitted.coefficients, local.coefficients, rtol=1e-8)
    summary = fitted.summary
    known = (summary.numInstances, summary.logLoss)
    assert summary.predictions.count() == summary.numInstances == 60
    assert summary.areaUnderROC == fitted.evaluate(table.where("not v")).areaUnderROC
    assert (summary.numInstances, summary.logLoss) == pytest.approx(known, rel=1e-9)
    fitted.save(str(tmp_path / "model"))
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    assert loaded.summary.validationHistory == summary.validationHistory
    assert len(loaded.summary.validationHistory) > 1
    assert loaded.getValidationIndicatorCol() == "v"


def test_packed_data_know_which_rows_validate(table: DataFrame) -> None:
    with pack(table, **COLUMNS, foldCol="v") as data:  # type: ignore[arg-type]
        fits = [LogisticRegression(validationIndicatorCol="v").fit(data), LogisticRegression().fit(data)]
        assert [fit.summary.numInstances for fit in fits] == [60, 90]
        with pytest.raises(ColumnError, match="validationIndicatorCol='other' but the data were packed with 'v'"):
            LogisticRegression(validationIndicatorCol="other").fit(data)
    half = table.withColumn("v", table["v"].cast("int") / 2)
    with pytest.raises(DataError, match=r"'v' has 30 numbers of no fold .first: 0.5 in row .*whole numbers"):
        pack(half, **COLUMNS, foldCol="v")  # type: ignore[arg-type]


def test_a_share_of_the_rows_is_drawn_by_the_seed(table: DataFrame) -> None:
    one, other = (LogisticRegression(**COLUMNS, validationFraction=0.4, seed=seed).fit(table) for seed in (1, 2))
    assert one.summary.validationHistory != other.summary.validationHistory
    assert 35 <= one.summary.numInstances <= 73  # 54 expected, four standard deviations
    assert set(one.summary.metrics()) == {"log_loss", "pseudo_r2"}
    with pytest.raises(StatisticsError, match="not at hand"):
        _ = one.summary.areaUnderROC
    with pack(table, **COLUMNS, validationFraction=0.4, seed=1) as data:  # type: ignore[arg-type]
        again = LogisticRegression(validationFraction=0.4, seed=1).fit(data)
        assert again.coefficients == one.coefficients
        assert again.summary.validationHistory == one.summary.validationHistory
        assert data.cells.inside(VALIDATES).total.count == 90 - one.summary.numInstances
        with pytest.raises(ParamError, match=r"validationFraction=0\.4 with seed=2, but"):
            LogisticRegression(validationFraction=0.4, seed=2).fit(data)
    with pytest.raises(ParamError, match="both make folds"):
        pack(table, **COLUMNS, foldCol="v", validationFraction=0.4)  # type: ignore[arg-type]
