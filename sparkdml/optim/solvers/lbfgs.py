"""L-BFGS; with L1 as a proximal quasi-Newton method."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, LineSums, Query
from sparkdml.optim.solvers.base import Solver, State, StopReason, begin, empty, has_progressed, is_near
from sparkdml.optim.solvers.quasi_newton import Model, has_curvature, inverse_times, with_pair

MEMORY = 10  # pairs kept, as in pyspark.ml
SUFFICIENT_DECREASE = 1e-4
FLAT = 1e-6  # share of F within which slopes tell of a decrease better than F: Hager and Zhang's epsilon
BACKTRACKS = 0.5 ** np.arange(1, 17)  # the steps of a line search, all tried in one pass
PATIENCE = 20  # iterations without progress that end a fit at machine precision


@dataclass(frozen=True, eq=False)
class LbfgsState(State):
    """Adds the memory and the search.

    Attributes
    ----------
    S, Y : the last steps and changes of the gradient, (m, n) each, oldest first.
    direction : where the search goes from `point`, (n,), and `t` how far along it the next trial lies.
    expected : the change of F that a full step was expected to bring, to first order; negative.
    searching : the next query is a line search, since the trial was refused.
    curvature, residual, stalled : the smallest curvature and KKT residual met, and iterations without progress.
    """

    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    direction: np.ndarray = field(default_factory=empty)
    t: float = 0.0
    expected: float = 0.0
    searching: bool = False
    curvature: float = np.inf
    residual: float = np.inf
    stalled: int = 0


class Lbfgs(Solver[LbfgsState]):
    """Step to the minimum of a quadratic model of the smooth part plus the exact L1 penalty.

    The model's matrix is the L-BFGS approximation of the Hessian. A trial takes one pass; a refused trial takes a
    second, which tries 16 shorter steps at once. Without L1 the minimum is the classical L-BFGS direction.

    Source: J. Nocedal, S. Wright, Numerical Optimization (2006), chapter 7; J. Lee, Y. Sun, M. Saunders, Proximal
    Newton-Type Methods for Minimizing Composite Functions (2014).
    """

    name = "l-bfgs"
    state_class = LbfgsState

    def init(self, problem: Problem) -> LbfgsState:
        n = len(problem.start)
        return LbfgsState(S=np.empty((0, n)), Y=np.empty((0, n)), direction=np.zeros(n))

    def queries(self, problem: Problem, state: LbfgsState) -> list[Query]:
        if state.point is None:
            return [problem.gradient_query(problem.start)]
        if state.searching:
            return [problem.line_query(state.point.theta, state.direction, BACKTRACKS)]
        return [problem.gradient_query(state.point.theta + state.t * state.direction)]

    def step(self, problem: Problem, state: LbfgsState, answers: Sequence[GradientSums | LineSums]) -> LbfgsState:
        (answer,) = answers
        if isinstance(answer, LineSums):
            return _shorten(problem, state, answer)
        if state.point is None:
            state = begin(state, problem, problem.point(problem.start, answer), self.max_iter)
            return _aim(problem, state) if state.stop is StopReason.RUNNING else state
        point = problem.point(state.point.theta + state.t * state.direction, answer)
        if _is_accepted(problem, state, point):
            return self._accept(problem, state, point)
        if state.t < 1.0:  # the line search had found it lower: only rounding can be left
            return _forget(problem, state)
        return replace(state, searching=True)

    def _accept(self, problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
        state = _remember(problem, state, point)
        if is_near(problem, point, state.curvature, self.tol):
            return replace(state, stop=StopReason.CONVERGED)
        if state.stalled >= PATIENCE:
            return replace(state, stop=StopReason.PRECISION)
        if state.iterations >= self.max_iter:
            return replace(state, stop=StopReason.MAX_ITERATIONS)
        return _aim(problem, state)


def _aim(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Choose the direction: to the minimizer of the model."""
    assert state.point is not None
    theta, gradient = state.point.theta, problem.smooth_gradient(state.point)
    l1 = problem.penalty.l1
    if problem.penalty.has_l1:
        model = Model.of(state.S, state.Y, problem.lipschitz)
        direction = model.minimize(theta, gradient, l1.strength) - theta
    else:
        direction = -inverse_times(state.S, state.Y, gradient, 1.0 / problem.lipschitz)
    expected = _slope(gradient, direction, theta, l1.strength)
    if expected < 0.0:
        return replace(state, direction=direction, t=1.0, expected=expected, searching=False)
    return _forget(problem, state)


def _forget(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Start again from the plain gradient; where even that leads nowhere, rounding is all that is left."""
    if not len(state.S):
        return replace(state, stop=StopReason.PRECISION)
    return _aim(problem, replace(state, S=state.S[:0], Y=state.Y[:0]))


def _shorten(problem: Problem, state: LbfgsState, answer: LineSums) -> LbfgsState:
    """Take the best of the shorter steps that the line search tried."""
    assert state.point is not None
    objectives = problem.line_objectives(state.point.theta, state.direction, BACKTRACKS, answer)
    bound = problem.objective(state.point) + SUFFICIENT_DECREASE * BACKTRACKS * state.expected
    admissible = np.where(objectives <= bound, objectives, np.inf)
    if not np.any(np.isfinite(admissible)):
        return _forget(problem, state)
    return replace(state, t=float(BACKTRACKS[np.argmin(admissible)]), searching=False)


def _is_accepted(problem: Problem, state: LbfgsState, point: Point) -> bool:
    """Sufficient decrease; measured by the slopes where the change of F is lost in rounding.

    Source: W. Hager, H. Zhang, A New Conjugate Gradient Method with Guaranteed Descent (2005), approximate Wolfe.
    """
    assert state.point is not None
    before, after = problem.objective(state.point), problem.objective(point)
    if after <= before + SUFFICIENT_DECREASE * state.t * state.expected:
        return True
    gradient = problem.smooth_gradient(point)
    slope = _slope(gradient, state.direction, point.theta, problem.penalty.l1.strength)
    flat = slope <= (1.0 - 2.0 * SUFFICIENT_DECREASE) * -state.expected
    return bool(flat and after <= before + FLAT * abs(before))


def _slope(gradient: np.ndarray, direction: np.ndarray, theta: np.ndarray, l1: np.ndarray) -> float:
    """The derivative of F along the direction, to first order; what leaves zero pays for it."""
    change = np.where(theta != 0.0, np.sign(theta) * direction, np.abs(direction))
    return float(gradient @ direction + l1 @ change)


def _remember(problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
    """Move to the point, keep its pair of step and change of gradient, and note the progress."""
    assert state.point is not None
    s = point.theta - state.point.theta
    y = problem.smooth_gradient(point) - problem.smooth_gradient(state.point)
    before, after = problem.objective(state.point), problem.objective(point)
    residual = float(np.linalg.norm(problem.residual(point)))
    progress = has_progressed(before, after, state.residual, residual)
    state = replace(
        state,
        point=point,
        iterations=state.iterations + 1,
        history=np.append(state.history, after),
        residual=min(residual, state.residual),
        stalled=0 if progress else state.stalled + 1,
    )
    if not has_curvature(s, y):
        return state
    S, Y = with_pair(state.S, state.Y, s, y, MEMORY)
    return replace(state, S=S, Y=Y, curvature=min(state.curvature, float(s @ y) / float(s @ s)))
