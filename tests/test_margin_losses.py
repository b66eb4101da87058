"""Losses with a kink, and one with a scale, end at their exact minimum, whatever the penalty."""

from dataclasses import replace

import numpy as np
import pytest
from problems import PENALTIES, Rows, design, random_features, standardized, theta_of
from scipy.optimize import linprog
from scipy.optimize import minimize as scipy_minimize

from sparkdml.engine.data import LocalData
from sparkdml.engine.minimize import Fit, minimize
from sparkdml.errors import SolverError
from sparkdml.optim.losses import Hinge, Huber, Loss, Quantile, SquaredHinge
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import (
    SOLVERS,
    EarlyStopping,
    Lbfgs,
    Smoothing,
    StopReason,
    check_admissible,
    dump_state,
    load_state,
)
from sparkdml.optim.solvers.early_stopping import EarlyStoppingState
from sparkdml.optim.solvers.smoothing import SmoothingState

KINKED: dict[str, Loss] = {"hinge": Hinge(), "median": Quantile(), "quantile 0.9": Quantile(quantile=0.9)}
TOL = 1e-6

every_kink = pytest.mark.parametrize("loss", KINKED.values(), ids=KINKED.keys())
every_inner = pytest.mark.parametrize("inner", ["l-bfgs", "newton"])
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
with_and_without_intercept = pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "origin"])


def rows_for(loss: Loss, n: int = 90, d: int = 5, density: float = 0.7) -> Rows:
    rng = np.random.default_rng(8)
    X = random_features(n, d, density)
    y = X @ rng.normal(size=d) + 1.0 + 3.0 * rng.standard_t(3.0, size=n)
    return Rows(X, y if loss.domain(np.array([0.5]))[0] else (y > 0.0).astype(float), rng.exponential(size=n))


def fitted(data: LocalData, problem: Problem, tol: float = TOL, max_iter: int = 5000, inner: str = "l-bfgs") -> Fit:
    return minimize([(problem, Smoothing(tol=tol, max_iter=max_iter, inner=SOLVERS[inner]()))], data)[0]


def exact_objective(problem: Problem, rows: Rows, theta: np.ndarray) -> float:
    z = (design(problem, rows.dense) @ theta)[:, None]
    return float(np.average(problem.loss.value(rows.label, z), weights=rows.weights)) + problem.penalty.value(theta)


def linear_program(problem: Problem, rows: Rows) -> float:
    """The minimum of F without an L2 part, by HiGHS: theta, |theta|, and the parts of r above and below zero."""
    A, y, s = design(problem, rows.dense), rows.label, rows.weights / rows.weights.sum()
    n, p = A.shape
    loss = problem.loss
    side = np.full(n, 1.0) if isinstance(loss, Quantile) else 2.0 * y - 1.0
    at = y if isinstance(loss, Quantile) else np.ones(n)
    above, below = (loss.quantile, 1.0 - loss.quantile) if isinstance(loss, Quantile) else (1.0, 0.0)
    cost = np.concatenate([np.zeros(p), problem.penalty.l1.strength, above * s, below * s])
    equal = np.hstack([side[:, None] * A, np.zeros((n, p)), np.eye(n), -np.eye(n)])
    signs = np.vstack([np.hstack([k * np.eye(p), -np.eye(p), np.zeros((p, 2 * n))]) for k in (1.0, -1.0)])
    bounds = [(None, None)] * p + [(0.0, None)] * (p + 2 * n)
    found = linprog(cost, A_ub=signs, b_ub=np.zeros(2 * p), A_eq=equal, b_eq=at, bounds=bounds, method="highs")
    assert found.status == 0
    return float(found.fun)


@pytest.mark.thinned
@every_kink
@every_inner
@pytest.mark.parametrize("penalty", ["none", "l1"])
@pytest.mark.parametrize(
    ("intercept", "sparse"), [(True, True), (False, False)], ids=["intercept, sparse", "origin, dense"]
)
def test_without_l2_the_minimum_is_that_of_the_linear_program(
    loss: Loss, inner: str, penalty: str, intercept: bool, sparse: bool
) -> None:
    rows = rows_for(loss, n=50, density=0.3 if sparse else 0.7)
    rows = rows.sparse if sparse else rows
    data = rows.local(3)
    problem = standardized(data, intercept, 0.1 * PENALTIES[penalty][0], loss=loss)
    fit = fitted(data, problem, inner=inner)
    minimum, found = linear_program(problem, rows), exact_objective(problem, rows, theta_of(fit))
    assert fit.state.stop is StopReason.CONVERGED
    assert minimum * (1.0 - 1e-10) <= found <= minimum * (1.0 + TOL)
    assert isinstance(fit.state, SmoothingState)
    assert fit.state.bound <= minimum * (1.0 + 1e-10)
    assert fit.state.history[-1] == pytest.approx(found, rel=1e-12)


@every_kink
@pytest.mark.parametrize("l2", [1e-3, 0.1])
@with_and_without_intercept
def test_with_l2_the_dual_meets_it(loss: Loss, l2: float, intercept: bool) -> None:
    """The dual of min mean(tilt r + max(r, 0)) + l2 ||u||^2 / 2, r = at - side A theta, is a QP in a box, (n,).

    It is maximized by L-BFGS-B with the intercept's equation as an augmented Lagrangian, whose value at any point that
    solves the equation is a lower bound.
    """
    rows = rows_for(loss, n=60, d=4)
    data = rows.local(2)
    problem = standardized(data, intercept, 0.0, l2, loss=loss)
    fit = fitted(data, problem)
    A, s = design(problem, rows.dense), rows.weights / rows.weights.sum()
    A = -loss.direction(rows.label)[:, None] * A  # type: ignore[attr-defined]
    at = loss.excess(rows.label, np.zeros((len(A), 1)))  # type: ignore[attr-defined]
    tilt = loss.tilt  # type: ignore[attr-defined]
    d, equation = len(problem.scale), np.zeros(1)

    def dual(a: np.ndarray) -> tuple[float, np.ndarray]:
        pull = A.T @ (s * a)
        held, free = pull[:d], pull[d:]
        value = held @ held / (2.0 * l2) - (s * a) @ at + equation[: len(free)] @ free + 50.0 * free @ free
        slope = A[:, :d] @ held / l2 - at + A[:, d:] @ (equation[: len(free)] + 100.0 * free)
        return float(value), s * slope

    a = np.full(len(A), tilt + 0.5)
    for _ in range(60):
        a = scipy_minimize(
            dual, a, jac=True, method="L-BFGS-B", bounds=[(tilt, tilt + 1.0)] * len(A),
            options={"maxiter": 5000, "maxcor": 50, "ftol": 1e-16, "gtol": 1e-12},
        ).x  # fmt: skip
        equation = equation + 100.0 * (A.T @ (s * a))[d:].sum()
    found = exact_objective(problem, rows, theta_of(fit))
    assert found == pytest.approx(-dual(a)[0], rel=2e-6)
    assert fit.state.stop is StopReason.CONVERGED
    assert fit.state.history[-1] == pytest.approx(found, rel=1e-12)


@every_kink
@pytest.mark.parametrize("penalty", ["none", "l2"])
def test_the_history_falls_to_the_end_and_a_tighter_tolerance_ends_lower(loss: Loss, penalty: str) -> None:
    rows = rows_for(loss)
    data = rows.local()
    problem = standardized(data, True, *(0.1 * each for each in PENALTIES[penalty]), loss=loss)
    loose, tight = (fitted(data, problem, tol) for tol in (1e-2, 1e-7))
    assert loose.passes < tight.passes
    assert tight.state.history[-1] <= loose.state.history[-1] <= 1.01 * tight.state.history[-1]
    assert len(tight.state.history) == tight.state.iterations + 1
    assert tight.state.history[-1] == tight.state.history.min()


@every_kink
@every_penalty
def test_a_state_written_and_read_between_steps_ends_with_the_same_bits(loss: Loss, penalty: str) -> None:
    data = rows_for(loss).local(2)
    problem = standardized(data, True, *(0.1 * each for each in PENALTIES[penalty]), loss=loss)
    solver = Smoothing(tol=1e-2, max_iter=1000, inner=Lbfgs())
    plain = interrupted = solver.init(problem)
    while plain.stop is StopReason.RUNNING:
        queries = solver.queries(problem, plain)
        plain = solver.step(problem, plain, data.run(queries))
        again = load_state(SmoothingState, dump_state(interrupted))
        interrupted = solver.step(problem, again, data.run(solver.queries(problem, again)))
    assert dump_state(interrupted) == dump_state(plain)


@every_kink
@pytest.mark.parametrize("max_iter", [0, 1, 7, 30])
def test_no_more_than_max_iter_iterations_and_the_reason_says_so(loss: Loss, max_iter: int) -> None:
    rows = rows_for(loss)
    problem = standardized(rows.local(), True, loss=loss)
    fit = fitted(rows.local(), problem, max_iter=max_iter)
    assert fit.state.stop is StopReason.MAX_ITERATIONS
    assert fit.state.iterations == max_iter == len(fit.state.history) - 1
    assert fit.state.history[-1] == pytest.approx(exact_objective(problem, rows, theta_of(fit)), rel=1e-12)


def test_classes_that_a_plane_separates_lose_nothing() -> None:
    X = random_features(density=1.0)
    score = X @ np.ones(7)
    rows = Rows(X, (score > np.median(score)).astype(float))
    problem = standardized(rows.local(), True, loss=Hinge())
    fit = fitted(rows.local(), problem)
    assert fit.state.stop is StopReason.CONVERGED
    assert exact_objective(problem, rows, theta_of(fit)) == 0.0


@pytest.mark.parametrize("label", [0.0, 1.0])
@every_kink
def test_equal_labels_are_the_start_and_the_end(loss: Loss, label: float) -> None:
    rows = Rows(random_features(), np.full(200, label))
    fit = fitted(rows.local(), standardized(rows.local(), True, 0.1, 0.1, loss=loss))
    assert (fit.state.stop, fit.passes) == (StopReason.CONVERGED, 0)
    assert not np.any(theta_of(fit)[:7])


@pytest.mark.parametrize("solver", [each for each in SOLVERS.values() if each.name != "normal"])
def test_a_kink_is_refused_outside_smoothing_and_smoothing_without_one(solver: type) -> None:
    rows = rows_for(Hinge())
    kinked = standardized(rows.local(), True, loss=Hinge())
    with pytest.raises(SolverError, match="hinge"):
        check_admissible(solver(), kinked)
    with pytest.raises(SolverError, match="is smooth"):
        check_admissible(Smoothing(inner=solver()), replace(kinked, loss=SquaredHinge()))
    with pytest.raises(SolverError, match="aggregation='median'"):
        check_admissible(Smoothing(inner=solver()), replace(kinked, aggregation="median"))


# The scale of Huber's loss.


def huber_problem(rows: Rows, intercept: bool, l2: float = 0.0, epsilon: float = 1.35) -> Problem:
    """Begun at the standard deviation of the label, as the estimator begins."""
    data = rows.local()
    problem = standardized(data, intercept, 0.0, l2, loss=Huber(epsilon=epsilon))
    return replace(problem, start=np.append(problem.start[:-1], np.sqrt(data.statistics.variance[-1])))


def huber_objective(problem: Problem, rows: Rows, theta: np.ndarray) -> float:
    sigma, t = theta[-1], (rows.label - design(problem, rows.dense) @ theta[:-1]) / theta[-1]
    eps = problem.loss.epsilon  # type: ignore[attr-defined]
    h = np.where(np.abs(t) <= eps, t * t, 2.0 * eps * np.abs(t) - eps**2)
    return float(np.average(0.5 * (sigma + sigma * h), weights=rows.weights)) + problem.penalty.value(theta)


@with_and_without_intercept
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("epsilon", [1.2, 1.35, 5.0])
@pytest.mark.parametrize("units", [1e6, 1e-6])
def test_huber_ends_at_the_minimum_of_its_formula(intercept: bool, l2: float, epsilon: float, units: float) -> None:
    rows = rows_for(Huber())
    rows = replace(rows, label=units * rows.label)
    problem = huber_problem(rows, intercept, l2 / units, epsilon)
    (fit,) = minimize([(problem, Lbfgs(tol=1e-10, max_iter=1000))], rows.local(3))
    theta = theta_of(fit)
    assert fit.state.stop.converged
    assert len(theta) == 5 + intercept + 1 and theta[-1] > 0.0
    found = huber_objective(problem, rows, theta)
    assert found == pytest.approx(fit.state.history[-1], rel=1e-12)
    steps = 1e-4 * units * np.vstack([np.eye(len(theta)), np.random.default_rng(0).normal(size=(20, len(theta)))])
    around = [huber_objective(problem, rows, theta + k * step) for step in steps for k in (1.0, -1.0)]
    assert min(around) > found


@with_and_without_intercept
def test_raw_coefficients_of_a_loss_with_a_scale_come_back(intercept: bool) -> None:
    rows = rows_for(Huber())
    problem = huber_problem(rows, intercept)
    w, b = np.linspace(-1.0, 1.0, 5)[:, None], np.array([0.5 * intercept, 2.5])
    begun = problem.starting_from(w, b)
    w_back, b_back = begun.raw(begun.start)
    np.testing.assert_allclose(w_back, np.hstack([w, np.zeros((5, 1))]), rtol=1e-12)
    np.testing.assert_allclose(b_back, b, atol=1e-12)
    assert problem.starting_from(w, b[:1]).start[-1] == problem.start[-1]
    np.testing.assert_array_equal(problem.join(*problem.split(begun.start)), begun.start)


def test_an_offset_moves_the_label_and_not_the_scale() -> None:
    rows = rows_for(Huber())
    offset = np.random.default_rng(6).normal(size=90)
    moved = replace(rows, offset=offset, label=rows.label + offset)
    problem = huber_problem(rows, True)
    found = [minimize([(problem, Lbfgs(tol=1e-10, max_iter=1000))], each.local())[0] for each in (rows, moved)]
    np.testing.assert_allclose(theta_of(found[0]), theta_of(found[1]), rtol=1e-9)


@every_kink
def test_early_stopping_keeps_the_iterate_whose_validation_loss_was_lowest(loss: Loss) -> None:
    rows = replace(rows_for(loss), fold=(np.arange(90) % 3 == 0).astype(np.int32))
    data = rows.local(2)
    problem = replace(standardized(data, True, loss=loss), fold=1)
    for patience in (2, 10_000):
        solver = EarlyStopping(inner=Smoothing(tol=1e-4, max_iter=1000, inner=Lbfgs()), patience=patience)
        (fit,) = minimize([(problem, solver)], data)
        assert isinstance(fit.state, EarlyStoppingState)
        validating = rows.take(np.flatnonzero(rows.fold == 1))
        held_out = replace(problem, penalty=standardized(data, True).penalty)
        found = exact_objective(held_out, validating, theta_of(fit))
        assert found == pytest.approx(fit.state.validation.min(), rel=1e-9)
        assert fit.state.stop is (StopReason.VALIDATION if patience == 2 else StopReason.CONVERGED)
