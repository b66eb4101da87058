"""L-BFGS; with L1 as a proximal quasi-Newton method."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, LineSums, Query
from sparkdml.optim.solvers.base import (
    UNSEEN,
    Solver,
    StopReason,
    at_limit,
    at_rest,
    begin,
    empty,
    is_low,
    is_near,
    is_small,
    smoothness_refusal,
)
from sparkdml.optim.solvers.line_search import BACKTRACKS, SearchState, aimed, is_accepted, moved_to, shortened
from sparkdml.optim.solvers.quasi_newton import Model, has_curvature, inverse_times, with_pair

MEMORY = 10  # pairs kept, as in pyspark.ml
PATIENCE = 20  # iterations without progress that end a fit at machine precision


@dataclass(frozen=True, eq=False)
class LbfgsState(SearchState):
    """Adds the memory.

    Attributes
    ----------
    S, Y : the last steps and changes of the gradient, (m, n) each, oldest first.
    curvature, steepest : the smallest and the largest met.
    """

    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    curvature: float = np.inf
    steepest: float = 0.0


class Lbfgs(Solver[LbfgsState]):
    """Step to the minimum of a quadratic model of the smooth part plus the exact L1 penalty, within the box.

    The model's matrix is the L-BFGS approximation of the Hessian. A trial takes one pass; a refused trial takes a
    second, which tries 16 shorter steps at once. Without both the minimum is the classical L-BFGS direction.

    It stops where the minimizer is estimated to be within the relative distance `tol`; or where the objective is as low
    as everywhere within that distance, and less than the share `tol` of what was gained is still to be gained: where
    columns nearly depend on each other, coefficients can be far from the minimizer that no row would tell from it.

    Source: J. Nocedal, S. Wright, Numerical Optimization (2006), chapter 7; J. Lee, Y. Sun, M. Saunders, Proximal
    Newton-Type Methods for Minimizing Composite Functions (2014).
    """

    name = "l-bfgs"
    bounded = True
    state_class = LbfgsState

    def refusal(self, problem: Problem) -> str | None:
        return smoothness_refusal(problem)

    def init(self, problem: Problem) -> LbfgsState:
        n = len(problem.start)
        return LbfgsState(S=np.empty((0, n)), Y=np.empty((0, n)), direction=np.zeros(n))

    def init_after(self, problem: Problem, ended: LbfgsState) -> LbfgsState:
        return replace(self.init(problem), S=ended.S, Y=ended.Y)

    def queries(self, problem: Problem, state: LbfgsState) -> list[Query]:
        if state.point is None:
            return [problem.gradient_query(problem.start)]
        if state.searching:
            return [problem.line_query(state.point.theta, state.direction, BACKTRACKS)]
        return [problem.gradient_query(state.trial)]

    def step(self, problem: Problem, state: LbfgsState, answers: Sequence[GradientSums | LineSums]) -> LbfgsState:
        (answer,) = answers
        if isinstance(answer, LineSums):
            return shortened(problem, state, answer) or _forget(problem, state)
        if state.point is None:
            state = begin(state, problem, problem.point(problem.start, answer), self.max_iter)
            return _aim(problem, state) if state.stop is StopReason.RUNNING else state
        point = problem.point(state.trial, answer)
        if is_accepted(problem, state, point):
            return self._accept(problem, state, point)
        if state.t < 1.0:  # the line search had found it lower: only rounding can be left
            return _forget(problem, state)
        return replace(state, searching=True)

    def _accept(self, problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
        state = _remember(problem, state, point)
        if is_near(problem, state, point, state.curvature, self.tol):
            return replace(state, stop=StopReason.CONVERGED)
        if state.stalled >= PATIENCE:
            return replace(state, stop=at_rest(problem, state, state.curvature))
        if state.iterations >= self.max_iter:
            return replace(state, stop=at_limit(problem, state, point, state.curvature, self.tol))
        aimed_at = _aim(problem, state)
        return replace(state, stop=StopReason.CONVERGED) if _is_low(problem, aimed_at, self.tol) else aimed_at


def _is_low(problem: Problem, state: LbfgsState, tol: float) -> bool:
    """Whether F is as low as everywhere within the relative distance `tol` of the minimizer, and nearly all is gained.

    There it is at most L (tol * way)^2 / 2 above the minimum, L being the largest curvature. What the next step is
    expected to gain estimates the height: within a factor of 7 on one-hot and hashed tables, but 100 times too low
    where all directions of a problem of condition 1e4 matter. Early on, when the model does not know the flat ones yet,
    it may be far too low: so the last step must have gained no more either, and the height that the flattest curvature
    met would allow must be a small share of F too.
    """
    assert state.point is not None
    height = state.steepest / 2.0 * (tol * problem.way(state.point.theta)) ** 2
    first, before, now = state.history[[0, -2, -1]]
    left = max(-state.expected / 2.0, before - now)
    low = bool(left <= min(height, tol * (first - now))) and is_small(problem, state, left, tol)
    low = low and is_low(problem, state, state.point, state.curvature, UNSEEN * tol)
    return low and state.stop is StopReason.RUNNING


def _aim(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Choose the direction: to the minimizer of the model."""
    assert state.point is not None
    theta, gradient = state.point.theta, problem.smooth_gradient(state.point)
    l1 = problem.penalty.l1
    if problem.penalty.has_kinks:
        model = Model.of(state.S, state.Y, problem.lipschitz)
        direction = model.minimize(theta, gradient, l1) - theta
    else:
        direction = -inverse_times(state.S, state.Y, gradient, 1.0 / problem.lipschitz)
    return aimed(problem, state, direction) or _forget(problem, state)


def _forget(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Start again from the plain gradient; where even that leads nowhere, rounding is all that is left."""
    if not len(state.S):
        return replace(state, stop=at_rest(problem, state, state.curvature))
    return _aim(problem, replace(state, S=state.S[:0], Y=state.Y[:0]))


def _remember(problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
    """Move to the point, and keep its pair of step and change of gradient."""
    assert state.point is not None
    s = point.theta - state.point.theta
    y = problem.smooth_gradient(point) - problem.smooth_gradient(state.point)
    state = moved_to(problem, state, point)
    if not has_curvature(s, y):
        return state
    S, Y = with_pair(state.S, state.Y, s, y, MEMORY)
    product = float(s @ y)
    return replace(
        state,
        S=S,
        Y=Y,
        curvature=min(state.curvature, product / float(s @ s)),
        steepest=max(state.steepest, float(y @ y) / product),
    )
