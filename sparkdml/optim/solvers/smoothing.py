"""Losses with a kink, minimized through smooth losses above them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, Query
from sparkdml.optim.solvers.base import LEFT, PERFECT, ROUNDING, Solver, State, StopReason, is_small
from sparkdml.optim.solvers.lbfgs import Lbfgs
from sparkdml.optim.solvers.newton import Newton

SHRINKAGE = 0.35  # of the width; from wider to narrower in larger strides, Newton's method loses its way at times
NARROWEST = 1e-10  # times the first width: below, the smooth loss is the exact one but for rounding
SETTLED = 0.1  # a width ends where its residual costs the bound less than this share of the gap, or of the tolerance
STUCK = 20  # iterations of Newton's method for one width, where it needs two to six, that show it to be lost
LONG = 1e-2  # times the way from the origin: shorter steps tell no curvature
SAMPLING = ("sgd", "local-sgd")  # whose end is near the minimum, but not at it
SECANT = 2.0**-10  # how much wider, relatively, is the loss that tells how the smooth one grows with its width


@dataclass(frozen=True, eq=False)
class SmoothingState(State):
    """Adds the width; `point` is where the exact objective was lowest, its loss and gradient the exact ones.

    Attributes
    ----------
    inner : the state of the solver for this width.
    width : of the smooth loss; zero before the exact loss at the start is known.
    seen : where the last width ended, and this one began; None for the first.
    slack : what its residual costs the bound.
    looked : whether the exact objective there is known; if not, the next pass asks for it.
    bound : the largest lower bound of the minimum so far.
    earlier : the iterations of the widths before.
    fallen_back : from Newton's method to L-BFGS.
    curvature : the smallest met by a step; infinite before the first.
    """

    inner: State = field(default_factory=State)
    width: float = 0.0
    seen: Point | None = None
    slack: float = np.inf
    looked: bool = True
    bound: float = 0.0
    earlier: int = 0
    curvature: float = np.inf
    fallen_back: bool = False

    @property
    def iterate(self) -> Point | None:
        return self.inner.point if self.stop is StopReason.RUNNING and self.iterations > self.earlier else self.point

    @property
    def gap(self) -> float:
        return 1.0 - self.bound / float(self.history[-1]) if self.stop is not StopReason.RUNNING else np.inf


@dataclass(frozen=True)
class Smoothing(Solver[SmoothingState]):
    """Minimize smooth losses of ever smaller width, each from where the last ended, until a bound certifies the end.

    The smooth loss of width m is the maximum over a of [0, 1] of a linear function of the margin with slope a, plus
    m H(a) >= 0. At the end theta of a width, with the maximizers a and the KKT residual r of the smooth objective,

        F(minimum) >= F_m(theta) - m dF_m/dm - min(sum_j r_j^2 / (2 l2_j), ||r|| R),

    since the first two terms are the linear functions alone, which bound the exact loss from below everywhere. F_m is
    convex in m, so that a secant bounds the derivative: the same loss, a little wider, asked for at theta. R bounds the
    distance to the minimum: that from the origin, plus ||r|| over the smallest curvature that was met. The fit ends
    where F(theta) is within `tol` times itself of the largest bound. With residuals that are spread without gaps the
    certified gap falls as m^2.

    The exact objective, and the wider one, are asked for together with the first query of the next width: a look costs
    no pass. The history has F at the start and at the end, and F_m, which is above F and falls with m, between them.

    Source: Y. Nesterov, Smooth Minimization of Non-Smooth Functions (2005); R. Koenker, Quantile Regression (2005).

    Parameters
    ----------
    tol : the certified relative distance of the objective to its minimum at which to stop.
    max_iter : the largest number of iterations, of all widths together.
    inner : the solver for one width; its `tol` and `max_iter` are set here. Newton's method, where it finds no way on,
        leaves the rest to L-BFGS.
    """

    inner: Solver = field(kw_only=True)

    state_class = SmoothingState

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the solver."""
        return self.inner.name

    @property
    def bounded(self) -> bool:  # type: ignore[override]
        """Whether the solver keeps within the box."""
        return self.inner.bounded

    def aggregation_refusal(self, aggregation: str) -> str | None:
        if aggregation in self.aggregations:
            return None
        return f"cannot bound the minimum of a loss with a kink by aggregation={aggregation!r}: take 'weighted_mean'."

    def refusal(self, problem: Problem) -> str | None:
        if problem.loss.smooth:
            return f"needs no Smoothing for the loss {problem.loss.name!r}, which is smooth."
        if self.inner.name in SAMPLING:
            return f"stops short of the minimum of {problem.loss.name!r}, which has a kink; take solver='l-bfgs'."
        return self.inner.refusal(replace(problem, loss=problem.loss.smoothed(1.0)))

    def init(self, problem: Problem) -> SmoothingState:
        return SmoothingState(inner=self.inner.init(problem))

    def queries(self, problem: Problem, state: SmoothingState) -> list[Query]:
        if state.point is None:
            return [problem.gradient_query(problem.start)]
        asked = self._inner(state).queries(_smooth(problem, state), state.inner)
        if state.seen is None or state.looked:
            return asked
        wider = replace(problem, loss=problem.loss.smoothed(_last_width(state) * (1.0 + SECANT)))
        return [problem.gradient_query(state.seen.theta), wider.gradient_query(state.seen.theta), *asked]

    def largest_queries(self, problem: Problem) -> list[Query]:
        return self.inner.largest_queries(replace(problem, loss=problem.loss.smoothed(1.0)))

    def step(self, problem: Problem, state: SmoothingState, answers: Sequence[Any]) -> SmoothingState:
        if state.point is None:
            return self._begin(problem, state, problem.point(problem.start, answers[0]))
        if not state.looked:
            state = self._look(problem, state, answers[0], answers[1])
            if state.stop is not StopReason.RUNNING:
                return state
            answers = answers[2:]
        smooth, solver = _smooth(problem, state), self._inner(state)
        inner = solver.step(smooth, state.inner, answers)
        history = np.append(state.history[: state.earlier + 1], inner.history[1:])
        curvature = min(state.curvature, _curvature(smooth, state.inner.point, inner.point))
        iterations = state.earlier + inner.iterations
        state = replace(state, inner=inner, history=history, iterations=iterations, curvature=curvature)
        if self._is_settled(smooth, state):
            return self._narrow(problem, state)
        if self._is_lost(state):
            return self._fall_back(problem, state)
        return state if inner.stop is StopReason.RUNNING else self._narrow(problem, state)

    def _inner(self, state: SmoothingState) -> Solver:
        solver = Lbfgs() if state.fallen_back else self.inner
        return replace(solver, tol=0.0, max_iter=self.max_iter - state.earlier)

    def _is_settled(self, smooth: Problem, state: SmoothingState) -> bool:
        """Whether to minimize the smooth objective of this width any further would tell no more."""
        assert state.point is not None
        point = state.inner.point
        assert point is not None
        objective = smooth.objective(point)
        gap = SHRINKAGE * (smooth.objective(state.point) - state.bound)
        return _slack(smooth, point, state.curvature) <= SETTLED * max(gap, self.tol * objective)

    def _is_lost(self, state: SmoothingState) -> bool:
        """Whether Newton's method finds no way on, as where too few rows within the width leave its matrix singular."""
        left = state.iterations < self.max_iter and not state.fallen_back and self.inner.name == Newton.name
        return left and (state.inner.stop is not StopReason.RUNNING or state.inner.iterations >= STUCK)

    def _fall_back(self, problem: Problem, state: SmoothingState) -> SmoothingState:
        """Go on with this width, and all that are narrower, by L-BFGS."""
        state = replace(state, fallen_back=True, seen=state.inner.point, earlier=state.iterations)
        return replace(state, inner=self._inner(state).init(_smooth(problem, state)))

    def _begin(self, problem: Problem, state: SmoothingState, start: Point) -> SmoothingState:
        objective = problem.objective(start)
        state = replace(state, point=start, history=np.array([objective]), width=objective)
        if not objective > 0.0:
            return replace(state, stop=StopReason.CONVERGED)
        if self.max_iter == 0:
            return replace(state, stop=StopReason.MAX_ITERATIONS)
        return state

    def _narrow(self, problem: Problem, state: SmoothingState) -> SmoothingState:
        """Go on from the end of a width with the next."""
        ended = state.inner.point
        assert ended is not None
        slack = _slack(problem, ended, state.curvature)
        state = replace(state, seen=ended, looked=False, slack=slack)
        state = replace(state, width=SHRINKAGE * state.width, earlier=state.iterations)
        return replace(state, inner=self._inner(state).init_after(_smooth(problem, state), state.inner))

    def _look(
        self, problem: Problem, state: SmoothingState, exact: GradientSums, wider: GradientSums
    ) -> SmoothingState:
        """Compare the exact objective where a width ended with the lower bound that it gives."""
        assert state.seen is not None and state.point is not None
        seen, point = state.seen, problem.point(state.seen.theta, exact)
        growth = (problem.point(seen.theta, wider).loss - seen.loss) / SECANT
        if problem.objective(state.point) < problem.objective(point):
            point = state.point
        objective = problem.objective(point)
        # a bound above what was found shows that the minimum was farther than R
        bounds = (state.bound, problem.objective(seen) - growth - state.slack)
        bound = max((each for each in bounds if each <= objective * (1.0 + ROUNDING)), default=0.0)
        stop = StopReason.RUNNING
        if objective - bound <= self.tol * objective:
            stop = StopReason.CONVERGED
        elif objective - bound <= ROUNDING * objective:
            stop = StopReason.PRECISION
        elif state.width < NARROWEST * state.history[0]:
            closed = is_small(problem, replace(state, point=point), objective - bound, max(self.tol, LEFT), PERFECT)
            stop = StopReason.PRECISION if closed else StopReason.STUCK
        elif state.iterations >= self.max_iter:
            stop = StopReason.MAX_ITERATIONS
        history = state.history
        if stop is not StopReason.RUNNING:
            history = np.append(history[:-1], objective)
        return replace(state, point=point, bound=bound, looked=True, stop=stop, history=history)


def _last_width(state: SmoothingState) -> float:
    return state.width / SHRINKAGE


def _smooth(problem: Problem, state: SmoothingState) -> Problem:
    """The problem of this width, to be begun where the last one ended."""
    smooth = replace(problem, loss=problem.loss.smoothed(state.width))
    return smooth if state.seen is None else smooth.starting_at(state.seen.theta)


def _slack(problem: Problem, point: Point, curvature: float) -> float:
    """By how much a penalty that is not at its minimum can still lower a linear loss, within the distance R.

    Infinite where the curvature, which tells R, is not known yet.
    """
    residual, strength = problem.residual(point), problem.penalty.l2.strength
    length = float(np.linalg.norm(residual))
    if not length:
        return 0.0
    distance = problem.way(point.theta) + length / curvature if np.isfinite(curvature) else np.inf
    held = strength > 0.0
    curved = float(np.sum(np.square(residual[held]) / (2.0 * strength[held])))
    free = float(np.linalg.norm(residual[~held]))
    return min(curved + (free * distance if free else 0.0), length * distance)


def _curvature(problem: Problem, before: Point | None, after: Point | None) -> float:
    """Of the smooth part along a step; infinite where there was none, or one too short to tell.

    Along a short step a narrow loss is linear, which says nothing of how far the minimum is.
    """
    if before is None or after is None:
        return np.inf
    s = after.theta - before.theta
    bend = float(s @ (problem.smooth_gradient(after) - problem.smooth_gradient(before)))
    long = np.linalg.norm(s) > LONG * problem.way(after.theta)
    return bend / float(s @ s) if long and bend > 0.0 else np.inf
