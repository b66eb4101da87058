"""Full-batch gradient descent whose step finds itself; proximal with L1."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.aggregation import AGGREGATIONS, ROBUST
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, Query
from sparkdml.optim.solvers.base import (
    ROUNDING,
    Solver,
    State,
    StopReason,
    at_limit,
    at_rest,
    begin,
    curvature_refusal,
    empty,
    has_progressed,
    is_near,
)
from sparkdml.optim.solvers.quasi_newton import with_pair

MEMORY = 10  # objectives that a trial is compared with: Grippo, Lampariello, Lucidi (1986) take 10
# Steps whose curvatures are analysed together. Where the curvature changes from step to step, longer sweeps are planned
# on what is no longer true: on correlated logistic problems two needed half the passes of one, and of three or more.
SWEEP, CHANGING_SWEEP = 6, 2
SUFFICIENT_DECREASE = 1e-4
SHRINKAGE = (0.01, 0.5)  # a refused step shrinks to a share of this range
DEPENDENT = 1e-8  # a step that lies this much within the span of the others tells nothing new
PATIENCE = 50  # iterations without progress that end a fit at machine precision


@dataclass(frozen=True, eq=False)
class GradientDescentState(State):
    """Adds the walk.

    Attributes
    ----------
    current : where the walk stands; `point` is the best point so far. `trial`, (n,), is where it looks next.
    steps : the step sizes planned, the next one first, (k,).
    S, Y : the last moves and changes of the gradient, (m, n) each, oldest first.
    curvature, residual, stalled : the smallest curvature and KKT residual met, and iterations without progress.
    """

    trial: np.ndarray = field(default_factory=empty)
    current: Point | None = None
    steps: np.ndarray = field(default_factory=empty)
    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    curvature: float = np.inf
    residual: float = np.inf
    stalled: int = 0

    @property
    def iterate(self) -> Point | None:
        return self.current


class GradientDescent(Solver[GradientDescentState]):
    """theta <- prox(theta - step * gradient), one pass a trial.

    The first step is 1 / L with L an upper bound of the curvature. The moves and the changes of the gradient that they
    bring then tell the curvatures of the loss within their span (its Ritz values); the next steps are the inverses of
    those, shortest first. A trial is accepted when it lies below the worst of the last 10 objectives, else the step
    shrinks. With a memory of one move the steps would be those of Barzilai and Borwein.

    Source: R. Fletcher, A Limited Memory Steepest Descent Method (2012); S. Wright, R. Nowak, M. Figueiredo, Sparse
    Reconstruction by Separable Approximation (2009).
    """

    name = "gd"
    bounded = True
    state_class = GradientDescentState
    aggregations = tuple(name for name in AGGREGATIONS if name not in ROBUST)

    def refusal(self, problem: Problem) -> str | None:
        return curvature_refusal(problem)

    def init(self, problem: Problem) -> GradientDescentState:
        none = np.empty((0, len(problem.start)))
        return GradientDescentState(trial=problem.start, steps=np.array([1.0 / problem.lipschitz]), S=none, Y=none)

    def queries(self, problem: Problem, state: GradientDescentState) -> list[Query]:
        return [problem.gradient_query(state.trial)]

    def step(
        self, problem: Problem, state: GradientDescentState, answers: Sequence[GradientSums]
    ) -> GradientDescentState:
        point = problem.point(state.trial, *answers)
        if state.current is None:
            return _look(problem, replace(begin(state, problem, point, self.max_iter), current=point))
        stands_still = np.allclose(state.trial, state.current.theta, rtol=ROUNDING, atol=0.0)
        if stands_still and not len(state.S):  # the start was the minimum, and no curvature will ever be met
            return replace(state, stop=at_rest(problem, state, state.curvature))
        if _is_accepted(problem, state, point):
            return self._accept(problem, state, point)
        if stands_still:
            return replace(state, stop=at_rest(problem, state, state.curvature))
        return _look(problem, replace(state, steps=state.steps[:1] * _shrinkage(problem, state, point)))

    def _accept(self, problem: Problem, state: GradientDescentState, point: Point) -> GradientDescentState:
        state = _measure(problem, state, point)
        state = replace(state, current=point, iterations=state.iterations + 1)
        stop = StopReason.RUNNING
        if is_near(problem, state, point, state.curvature, self.tol):
            return replace(state, point=point, stop=StopReason.CONVERGED)
        if state.stalled >= PATIENCE:
            stop = at_rest(problem, state, state.curvature)
        elif state.iterations >= self.max_iter:
            stop = at_limit(problem, state, point, state.curvature, self.tol)
        return replace(_look(problem, state), stop=stop)


def _look(problem: Problem, state: GradientDescentState) -> GradientDescentState:
    """Place the trial one step along the negative gradient from where the walk stands."""
    assert state.current is not None
    downhill = state.current.theta - state.steps[0] * problem.smooth_gradient(state.current)
    return replace(state, trial=problem.penalty.l1.prox(downhill, float(state.steps[0])))


def _is_accepted(problem: Problem, state: GradientDescentState, point: Point) -> bool:
    assert state.current is not None
    worst = float(np.max(state.history[-MEMORY:]))
    moved = float(np.sum(np.square(point.theta - state.current.theta)))
    bound = worst - SUFFICIENT_DECREASE / (2 * state.steps[0]) * moved
    return problem.objective(point) <= bound + ROUNDING * abs(worst)


def _shrinkage(problem: Problem, state: GradientDescentState, refused: Point) -> float:
    """Where the parabola through F here, its slope, and F at the refused trial is lowest, as a share of the way."""
    assert state.current is not None
    way = refused.theta - state.current.theta
    here, there = problem.objective(state.current), problem.objective(refused)
    bend = problem.penalty.l1.change(state.current.theta, refused.theta)
    slope = float(problem.smooth_gradient(state.current) @ way) + bend
    return float(np.clip(-slope / (2.0 * (there - here - slope)), *SHRINKAGE)) if np.isfinite(there) else SHRINKAGE[0]


def _measure(problem: Problem, state: GradientDescentState, point: Point) -> GradientDescentState:
    """What the accepted step tells: the next step size, the curvature, whether there was progress."""
    assert state.current is not None and state.point is not None
    s = point.theta - state.current.theta
    y = problem.smooth_gradient(point) - problem.smooth_gradient(state.current)
    objective, best = problem.objective(point), problem.objective(state.point)
    residual = float(np.linalg.norm(problem.residual(point)))
    progress = has_progressed(best, objective, state.residual, residual)
    state = replace(
        state,
        point=point if objective <= best else state.point,
        history=np.append(state.history, objective),
        stalled=0 if progress else state.stalled + 1,
        residual=min(residual, state.residual),
    )
    free = problem.penalty.l1.is_smooth_at(point.theta)
    return _plan(state, s, y, free, SWEEP if problem.loss.quadratic else CHANGING_SWEEP)


def _plan(
    state: GradientDescentState, s: np.ndarray, y: np.ndarray, free: np.ndarray, sweep: int
) -> GradientDescentState:
    """Remember the move; take the next planned step, or plan new ones where none is left.

    Only the curvatures within the coordinates that L1 and the box leave free count, so only moves within them tell.
    """
    sy, ss = float(s @ y), float(s @ s)
    if min(sy, ss) > 0.0:  # else rounding, no curvature along the move, or a square that underflows
        S, Y = with_pair(state.S, state.Y, s, y, sweep)
        state = replace(state, S=S, Y=Y, curvature=min(state.curvature, sy / ss))
    if len(state.steps) > 1:
        return replace(state, steps=state.steps[1:])
    within = ~np.any(state.S[:, ~free], axis=1)
    ritz = ritz_values(state.S[within][:, free], state.Y[within][:, free])
    return replace(state, steps=1.0 / ritz) if len(ritz) else state


def ritz_values(S: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """The positive curvatures within the span of the moves S, given their changes of gradient Y; largest first."""
    if not S.size:
        return np.empty(0)
    lengths = np.linalg.norm(S, axis=1)
    basis, triangle = np.linalg.qr((S / lengths[:, None])[::-1].T)  # the newest first, it counts most
    keep = np.abs(np.diag(triangle)) > DEPENDENT
    count = int(np.argmin(keep)) if not keep.all() else len(keep)
    changes = (Y / lengths[:, None])[::-1][:count].T
    projected = np.linalg.solve(triangle[:count, :count].T, (basis[:, :count].T @ changes).T).T
    values = np.linalg.eigvalsh((projected + projected.T) / 2)[::-1]
    return values[values > 0.0]
