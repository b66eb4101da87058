"""Newton's method, far from the minimum as Fisher scoring; with L1 as a proximal Newton method."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, HessianSums, LineSums, Query
from sparkdml.optim.solvers.base import (
    LEFT,
    PERFECT,
    ROUNDING,
    Solver,
    StopReason,
    begin,
    is_small,
    parabola_height,
    smoothness_refusal,
)
from sparkdml.optim.solvers.coordinate_descent import COORDINATE_TOL, minimize_quadratic
from sparkdml.optim.solvers.covariance import Covariance, CovarianceState, estimable_matrix, objective_matrix
from sparkdml.optim.solvers.line_search import (
    BACKTRACKS,
    SearchState,
    aimed,
    is_accepted,
    moved_to,
    shortened,
    slope_of,
)
from sparkdml.optim.solvers.normal import moved_along

PATIENCE = 3  # iterations without progress that end a fit at machine precision
# Where some margins have no mean the last step is not taken unseen, since it may lead there: the one before it has to
# end as near as an unseen one would.
SEEN = 1e-3
CONVEX = 1e-10  # of the expected curvature: a negative one that small is the rounding of none


@dataclass(frozen=True, eq=False)
class MatrixState(SearchState):
    """Adds the end of the search.

    Attributes
    ----------
    downhill : whether the search goes along the gradient, since the matrix led nowhere.
    height : above the minimum, infinite before it is estimated: half of what the last step of a matrix was expected to
        gain to first order, which is the height above the minimum of its model; or that of the parabola of the origin's
        curvature, if it is higher, for next to a margin without a mean a matrix may be as large as one likes.
    """

    downhill: bool = False
    height: float = np.inf


@dataclass(frozen=True, eq=False)
class NewtonState(MatrixState, CovarianceState):
    """Adds what the statistics need."""


class Newton(Solver[NewtonState]):
    """Step to the minimum of the quadratic model of the loss, plus the exact penalty.

    The model's matrix is the Hessian. With a link that is not canonical it depends on the labels and may be indefinite;
    then the expected Hessian takes its place, with which this is iteratively reweighted least squares. The gradient
    and the Hessians at a trial take one pass; a refused trial takes a second, which tries 16 shorter steps at once.
    Along dependent columns the step is the shortest; where the loss is flat, as at margins beyond the reach of floating
    point, it goes down the gradient. With L1 or a box the model is minimized by coordinate descent.

    The length of the next step estimates the distance to the minimizer, by which the method stops. Near the minimizer
    each step squares the error: of a smooth objective that is finite everywhere this last one is taken too, unseen,
    since it costs no pass.

    Source: J. Nelder, R. Wedderburn, Generalized Linear Models (1972); J. Lee, Y. Sun, M. Saunders, Proximal
    Newton-Type Methods for Minimizing Composite Functions (2014).
    """

    name = "newton"
    bounded = True
    state_class = NewtonState

    def refusal(self, problem: Problem) -> str | None:
        if problem.loss.constants:
            return f"knows no second derivatives by the scale of {problem.loss.name!r}; take solver='l-bfgs'."
        return smoothness_refusal(problem)

    def init(self, problem: Problem) -> NewtonState:
        return NewtonState(direction=np.zeros(len(problem.start)))

    def queries(self, problem: Problem, state: NewtonState) -> list[Query]:
        if state.searching:
            assert state.point is not None
            return [problem.line_query(state.point.theta, state.direction, BACKTRACKS)]
        theta = problem.start if state.point is None else state.trial
        return [problem.gradient_query(theta), *matrix_queries(problem, theta)]

    def step(
        self, problem: Problem, state: NewtonState, answers: Sequence[GradientSums | HessianSums | LineSums]
    ) -> NewtonState:
        if isinstance(answers[0], LineSums):
            return shortened(problem, state, answers[0]) or downhill_from(problem, state)
        gradient, *hessians = answers
        assert isinstance(gradient, GradientSums)
        if state.point is None:
            point = problem.point(problem.start, gradient)
            return self._go_on(problem, begin(state, problem, point, self.max_iter), hessians)
        point = problem.point(state.trial, gradient)
        if is_accepted(problem, state, point):
            state = replace(moved_to(problem, state, point), downhill=False)
            return self._go_on(problem, state, hessians)
        if state.t < 1.0:  # the line search had found it lower: only rounding can be left
            return downhill_from(problem, state)
        return replace(state, searching=True)

    def _go_on(self, problem: Problem, state: NewtonState, answers: Sequence[Any]) -> NewtonState:
        """Choose the direction, or stop: with what the statistics need, which is of the expected Hessian."""
        expected = problem.hessian(answers[0])
        state = aimed_by(problem, state, model_matrix(problem, answers, expected), self)
        if state.stop is StopReason.RUNNING or problem.penalty.has_kinks or not np.all(np.isfinite(expected)):
            return state
        known = Covariance.of(problem, estimable_matrix(problem, expected), answers[0].weight)
        return replace(state, rank=known.rank, covariance=known.diagonal)


def matrix_queries(problem: Problem, theta: np.ndarray) -> list[Query]:
    """Return the queries whose answers `model_matrix` turns into a matrix of second derivatives at theta."""
    expected = problem.hessian_query(theta)
    return [expected] if problem.loss.canonical else [expected, problem.observed_query(theta)]


def model_matrix(problem: Problem, answers: Sequence[HessianSums], expected: np.ndarray) -> np.ndarray:
    """Return the second derivatives that the labels give, unless they are indefinite: then those expected, (n, n)."""
    if len(answers) == 1:
        return expected
    observed = problem.hessian(answers[1])
    return observed if _is_convex(observed, expected) else expected


def _is_convex(observed: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a Hessian has no negative eigenvalue, but for rounding beside what is expected of it."""
    if not np.all(np.isfinite(observed)):
        return False
    try:
        np.linalg.cholesky(observed + np.diag(CONVEX * np.diag(expected) + np.finfo(float).tiny))
    except np.linalg.LinAlgError:
        return False
    return True


S = TypeVar("S", bound=MatrixState)


def aimed_by(problem: Problem, state: S, hessian: np.ndarray, solver: Solver) -> S:
    """The state that tries the step of a matrix of second derivatives of the loss, or that has a reason to stop."""
    assert state.point is not None
    if not np.all(np.isfinite(hessian)):
        return downhill_from(problem, state)
    point, direction = state.point, newton_step(problem, state.point, hessian)
    heights = -slope_of(problem, point, direction) / 2.0, parabola_height(problem, point, problem.lipschitz)
    state = replace(state, height=max(heights))
    stop = _reason(problem, state, direction, solver)
    vanished = stop is StopReason.PRECISION and _has_vanished(state)
    short = vanished and bool(np.linalg.norm(direction) <= problem.way(point.theta))
    free = problem.loss.anywhere and not (problem.penalty.has_kinks or problem.settled)
    if (stop is StopReason.CONVERGED or short) and free:
        # known and short, the last step squares the error without a pass
        return replace(state, stop=stop, point=moved_along(problem, point, direction, hessian))
    if stop is not StopReason.RUNNING:
        return replace(state, stop=stop)
    return aimed(problem, state, direction) or downhill_from(problem, state)


def _reason(problem: Problem, state: MatrixState, direction: np.ndarray, solver: Solver) -> StopReason:
    """The reason to stop, or RUNNING."""
    assert state.point is not None
    if state.stop is not StopReason.RUNNING:  # at the start
        return state.stop
    with np.errstate(over="ignore"):  # of a step that the line search shortens
        tol = solver.tol if problem.loss.anywhere else SEEN * solver.tol
        near = np.linalg.norm(direction) <= tol * problem.way(state.point.theta)
    if near and is_small(problem, state, state.height, solver.tol):
        return StopReason.CONVERGED
    if _has_vanished(state):
        return StopReason.PRECISION
    if state.stalled >= PATIENCE:
        return _at_rest(problem, state)
    return StopReason.MAX_ITERATIONS if state.iterations >= solver.max_iter else StopReason.RUNNING


def newton_step(problem: Problem, point: Point, hessian: np.ndarray) -> np.ndarray:
    """The way from the point to the minimum of the model with this matrix of second derivatives of the loss, (n,)."""
    theta, gradient, ridge = point.theta, problem.smooth_gradient(point), problem.penalty.l2.strength
    flat = np.diag(hessian) + ridge <= 0.0
    Q = hessian + np.diag(np.where(flat, _curvature(problem, point, gradient * flat), 0.0))
    if problem.penalty.has_kinks:
        q, l1 = Q @ theta - point.gradient, problem.penalty.l1
        box = l1.low, l1.high
        return minimize_quadratic(Q, q, l1.strength, ridge, COORDINATE_TOL, theta, 10_000, *box)[0] - theta
    matrix = objective_matrix(problem, Q)
    step = -matrix.solve(gradient)
    if matrix.rank == len(step):
        return step
    left = gradient + Q @ step + ridge * step  # of rows at flat margins; of dependent columns nothing is left
    return step - left / problem.lipschitz


def _curvature(problem: Problem, point: Point, gradient: np.ndarray) -> float:
    """What to take for the curvature where the matrix has none: of the parabola of this slope that goes down to zero.

    It knows how far the minimum may be, which a bound of the curvature does not; but no curvature is above the bound.
    """
    parabola = float(gradient @ gradient) / (2.0 * (abs(problem.objective(point)) or 1.0))
    return min(parabola, problem.lipschitz) or 1.0


def downhill_from(problem: Problem, state: S) -> S:
    """Search along the plain gradient; where even that leads nowhere, rounding is all that is left."""
    assert state.point is not None
    if state.downhill or state.stop is not StopReason.RUNNING:
        return replace(state, stop=_at_rest(problem, state))
    gradient = problem.smooth_gradient(state.point)
    step = 1.0 / _curvature(problem, state.point, gradient)
    direction = problem.penalty.l1.prox(state.point.theta - step * gradient, step) - state.point.theta
    found = aimed(problem, replace(state, downhill=True), direction)
    return found or replace(state, stop=_at_rest(problem, state))


def _has_vanished(state: MatrixState) -> bool:
    """Return whether nothing but rounding is left of the objective, as of classes that a plane separates."""
    return bool(state.history[-1] <= ROUNDING * state.history[0])


def _at_rest(problem: Problem, state: MatrixState) -> StopReason:
    """Return why no lower point is found: only rounding is left of the way, or the search is stuck."""
    return StopReason.PRECISION if is_small(problem, state, state.height, LEFT, PERFECT) else StopReason.STUCK
