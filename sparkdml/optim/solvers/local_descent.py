"""Local SGD: every partition walks by mini-batches, the driver merges the walks into a quasi-Newton step."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkdml.optim.adaptive import ADAPTIVE
from sparkdml.optim.aggregation import AGGREGATIONS
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, LineSums, LocalEpochSums, Query
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
from sparkdml.optim.solvers.faces import Face
from sparkdml.optim.solvers.lbfgs import MEMORY
from sparkdml.optim.solvers.quasi_newton import Model, first_loop, has_curvature, second_loop, with_pair
from sparkdml.optim.solvers.rule_descent import scheduled

STEPS = 2.0 ** np.arange(-5, 4)  # how far along a merged walk to look, all in one pass
SHORTEST_STEP = 1e-8  # relative to theta, of which the change of the gradient still tells a curvature
LONGEST_GUESS = 4.0  # a step beyond this times the walk is taken, but no gradient is predicted so far ahead
FLAT = 1e-10  # share of F within which residuals tell better than F which point is nearer to the minimum
SKEWED = 0.95  # a smaller cosine between the gradient of a partition and that of all tells of skewed partitions
PATIENCE = 5  # iterations without progress that end a fit at machine precision


@dataclass(frozen=True, eq=False)
class LocalDescentState(State):
    """Adds the walk. `point` is the best point so far.

    Attributes
    ----------
    base : where the partitions begin their walks, (n,).
    gradient : of the smooth part of the objective at `base`, (n,); predicted unless `base` is where `current` is.
    current : the exact point at `base`, or None before the walks' pass has told.
    direction : of the merged walk, (n,), while the next pass is to look along it; empty while walks are asked for.
    S, Y : the last steps and changes of the gradient, (m, n) each, oldest first.
    curvature, residual, stalled : the smallest curvature and KKT residual met, and iterations without progress.
    refused, cautious : the objective was higher where the model of l-bfgs is lowest; walks led nowhere.
    cosine : the smallest between the gradient of a partition at the start and that of all; one before it is known.
    """

    base: np.ndarray = field(default_factory=empty)
    gradient: np.ndarray = field(default_factory=empty)
    current: Point | None = None
    direction: np.ndarray = field(default_factory=empty)
    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    curvature: float = np.inf
    residual: float = np.inf
    stalled: int = 0
    refused: bool = False
    cautious: bool = False
    cosine: float = 1.0


@dataclass(frozen=True)
class LocalDescent(Solver[LocalDescentState]):
    """Two passes an iteration: the partitions walk, then all rows are asked how far to follow the merged walk.

    A partition goes once through its rows in mini-batches (several times where they are few), each step corrected by
    what the gradient on the mini-batch was at the start of the walk, and steered by a vector that is the same for all
    partitions. With the gradient of the objective as that vector, walks end near the minimum of the objective and not
    near that of the partition's own rows, however the rows are distributed. The mean of the walks, weighted by the
    partitions, is about -M g for the gradient g and a matrix M near the inverse Hessian: it takes the place of the
    initial matrix in L-BFGS, whose pairs of steps and changes of the gradient, exact ones, correct what the
    partitions cannot know of each other. With an L1 penalty an iteration stays in one orthant, as in OWL-QN, and the
    next begins where the model of `l-bfgs` is lowest, which a third pass looks at.

    Parameters
    ----------
    step_size : of the walks' steps, times the longest that the curvature of a partition's rows allows.
    learning_rate : how that goes on from iteration to iteration: one of `schedules.SCHEDULES`.

    Source: S. Stich, Local SGD Converges Fast and Communicates Little (2019); S. P. Karimireddy et al., SCAFFOLD
    (2020), and R. Johnson, T. Zhang, SVRG (2013), for the correction; J. Nocedal, S. Wright, Numerical Optimization
    (2006), chapter 7; G. Andrew, J. Gao, Scalable Training of L1-Regularized Log-Linear Models (2007), for OWL-QN.
    """

    step_size: float = 1.0
    learning_rate: str = "constant"

    name = "local-sgd"
    state_class = LocalDescentState
    aggregations = tuple(AGGREGATIONS)

    def refusal(self, problem: Problem) -> str | None:
        if self.learning_rate in ADAPTIVE:
            return f"has a line search of its own, not learningRate={self.learning_rate!r}: take a schedule or none."
        return curvature_refusal(problem)

    def init(self, problem: Problem) -> LocalDescentState:
        none = np.empty((0, len(problem.start)))
        return LocalDescentState(base=problem.start, S=none, Y=none)

    def queries(self, problem: Problem, state: LocalDescentState) -> list[Query]:
        if _arrives(problem, state):
            return [problem.gradient_query(state.base)]
        if len(state.direction):
            ahead = problem.gradient_query(state.base + state.direction)
            line = problem.line_query(state.base, state.direction, _steps(problem))
            return [ahead] if problem.tells_lines else [ahead, line]
        face = Face.at(problem, state.base, state.gradient)
        control, _ = first_loop(*face.pairs(state.S, state.Y), face.gradient)
        step = scheduled(self.learning_rate, self.step_size, self.max_iter, state.iterations)
        walks = problem.local_query(state.base, control, step, face.mask, measured=not state.iterations)
        return [walks] if state.current is not None else [problem.gradient_query(state.base), walks]

    def step(self, problem: Problem, state: LocalDescentState, answers: Sequence[Any]) -> LocalDescentState:
        if len(state.direction):
            return self._move(problem, state, *answers)
        if state.current is None:
            point = problem.point(state.base, answers[0])
            if state.point is None:
                return _stand(problem, begin(state, problem, point, self.max_iter), point)
            if _arrives(problem, state):
                return _arrive(problem, state, point)
            return _aim(problem, state, answers[1], point)
        return _aim(problem, state, answers[0], state.current)

    def _move(
        self, problem: Problem, state: LocalDescentState, ahead: GradientSums, line: LineSums | None = None
    ) -> LocalDescentState:
        """Go as far along the direction as lowers the objective most."""
        assert state.current is not None and state.point is not None
        point = problem.point(state.base + state.direction, ahead)
        before = problem.objective(state.current)
        if line is None:
            objectives = problem.objectives_between(state.current, point, _steps(problem))
        else:
            objectives = problem.line_objectives(state.base, state.direction, _steps(problem), line)
        objectives = np.where(np.isfinite(objectives), objectives, np.inf)
        nearer = _is_nearer(problem, state.current, point)
        state = _remember(problem, state, state.current, point)
        falls = nearer or objectives.min() <= before + ROUNDING * abs(before)
        if not falls and (state.refused or not _is_modelled(problem, state)):
            return _start_over(problem, state)
        assert state.point is not None
        nearest = _better(problem, state.point, point)
        best, last = problem.objective(nearest), float(state.history[-1])
        residual = float(np.linalg.norm(problem.residual(nearest)))
        new = replace(
            state,
            point=nearest,
            iterations=state.iterations + 1,
            history=np.append(state.history, best),
            residual=min(residual, state.residual),
            stalled=0 if has_progressed(last, best, state.residual, residual) else state.stalled + 1,
        )
        if is_near(problem, new, nearest, new.curvature, self.tol):
            return replace(new, stop=StopReason.CONVERGED)
        if new.stalled >= (PATIENCE if np.isfinite(new.curvature) else 1):
            return replace(new, stop=at_rest(problem, new, new.curvature))
        if new.iterations >= self.max_iter:
            return replace(new, stop=at_limit(problem, new, nearest, new.curvature, self.tol))
        return _rebase(problem, new, point, _best_step(_steps(problem), objectives, before))


def _steps(problem: Problem) -> np.ndarray:
    """Which steps to look at; beyond one a direction may leave its orthant."""
    return STEPS[STEPS <= 1.0] if problem.penalty.has_l1 else STEPS


def _arrives(problem: Problem, state: LocalDescentState) -> bool:
    """Whether the next pass only tells the gradient at `base`, because no walk can be steered by a predicted one."""
    return state.current is None and (state.point is None or problem.penalty.has_l1)


def _arrive(problem: Problem, state: LocalDescentState, point: Point) -> LocalDescentState:
    """Stay where the model of l-bfgs was lowest, unless the objective is higher there."""
    assert state.point is not None
    before = state.point
    state = _remember(problem, state, before, point)
    if problem.objective(point) > problem.objective(before):
        return replace(_return(problem, state), refused=True)
    return _stand(problem, state, point)


def _stand(problem: Problem, state: LocalDescentState, point: Point) -> LocalDescentState:
    """Know `base` exactly."""
    assert state.point is not None
    best = _better(problem, state.point, point)
    return replace(state, point=best, current=point, gradient=problem.smooth_gradient(point))


def _better(problem: Problem, old: Point, new: Point) -> Point:
    """The point with the lower objective; where they differ by rounding, that with the smaller residual."""
    if _is_nearer(problem, old, new):
        return new
    return old if _is_nearer(problem, new, old) else min(old, new, key=problem.objective)


def _is_nearer(problem: Problem, old: Point, new: Point) -> bool:
    """Whether the new point has a smaller residual, and an objective that differs by rounding only."""
    before, after = problem.objective(old), problem.objective(new)
    if not abs(after - before) <= FLAT * abs(before):
        return False
    return float(np.linalg.norm(problem.residual(new))) < float(np.linalg.norm(problem.residual(old)))


def _aim(problem: Problem, state: LocalDescentState, walks: LocalEpochSums, point: Point) -> LocalDescentState:
    """Merge the walks from a point into a direction."""
    predicted = Face.at(problem, state.base, state.gradient)
    merged, cosine = problem.merged_walk(walks)
    state = replace(_stand(problem, state, point), cosine=min(state.cosine, cosine))
    S, Y = predicted.pairs(state.S, state.Y)
    _, alpha = first_loop(S, Y, predicted.gradient)
    direction = -second_loop(S, Y, alpha, -merged)
    face = Face.at(problem, state.base, state.gradient)
    direction = face.project(state.base + direction) - state.base
    if state.cautious or not float(face.gradient @ direction) < 0.0:
        direction = _downhill(problem, state) - state.base
    if not np.any(direction):
        return replace(state, stop=at_rest(problem, state, state.curvature))
    return replace(state, direction=direction)


def _downhill(problem: Problem, state: LocalDescentState) -> np.ndarray:
    """A step of proximal gradient descent from `base`, which is short enough to lower the objective."""
    short = 1.0 / problem.lipschitz
    return problem.penalty.l1.prox(state.base - short * state.gradient, short)


def _remember(problem: Problem, state: LocalDescentState, before: Point, after: Point) -> LocalDescentState:
    """Keep the pair of a step and the change of the gradient along it, unless the step is lost in rounding."""
    s = after.theta - before.theta
    y = problem.smooth_gradient(after) - problem.smooth_gradient(before)
    if not has_curvature(s, y):
        return state
    curvature = min(state.curvature, float(s @ y) / float(s @ s))
    if np.linalg.norm(s) < SHORTEST_STEP * np.linalg.norm(after.theta):
        return replace(state, curvature=curvature)
    S, Y = with_pair(state.S, state.Y, s, y, MEMORY)
    return replace(state, S=S, Y=Y, curvature=curvature)


def _best_step(steps: np.ndarray, objectives: np.ndarray, before: float) -> float:
    """Where the parabola through the lowest objective and its neighbours is lowest; steps (T,) increase by doubling.

    Where steps end at one they stay in an orthant, and one is where coefficients become zero: it is kept if it is best.

    >>> steps = np.array([1.0, 2.0, 4.0])
    >>> round(_best_step(steps, np.square(steps - 1.75), 1.75**2), 12), _best_step(steps, np.square(steps - 1.0), 1.0)
    (1.75, 1.0)
    """
    t, f = np.append(0.0, steps), np.append(before, objectives)
    if objectives[steps == 1.0] <= objectives.min() + FLAT * abs(before):
        return 1.0
    i = int(np.argmin(objectives)) + 1
    if i == len(steps) or not np.isfinite(f[i + 1]):
        return float(t[i])
    left, right = (f[i] - f[i - 1]) / (t[i] - t[i - 1]), (f[i + 1] - f[i]) / (t[i + 1] - t[i])
    bend = (right - left) / (t[i + 1] - t[i - 1])
    if not bend > 0.0:
        return float(t[i])
    return float(np.clip((t[i] + t[i - 1]) / 2.0 - left / (2.0 * bend), t[i - 1], t[i + 1]))


def _rebase(problem: Problem, state: LocalDescentState, ahead: Point, t: float) -> LocalDescentState:
    """Let the next walks begin at the step t, where the gradient is predicted by the change of its slope.

    With L1 let them begin where the model of l-bfgs is lowest, which knows better which coefficients are zero.
    """
    state = replace(state, cautious=False)
    assert state.current is not None and state.point is not None
    if not state.refused and _is_modelled(problem, state):
        best = state.point.theta
        gradient, model = problem.smooth_gradient(state.point), Model.of(state.S, state.Y, problem.lipschitz)
        base = model.minimize(best, gradient, problem.penalty.l1)
        return replace(state, base=base, current=None, gradient=gradient + model.times(base - best), direction=empty())
    gradient, beyond = problem.smooth_gradient(state.current), problem.smooth_gradient(ahead)
    state = replace(state, refused=False)
    if t == 1.0:
        return replace(state, base=ahead.theta, current=ahead, gradient=beyond, direction=empty())
    falls = float((gradient - beyond) @ state.direction)
    share = float(gradient @ state.direction) / falls if falls < 0.0 else t
    share = min(max(share, 0.0), LONGEST_GUESS)
    base = state.base + t * state.direction
    return replace(state, base=base, current=None, gradient=gradient + share * (beyond - gradient), direction=empty())


def _start_over(problem: Problem, state: LocalDescentState) -> LocalDescentState:
    """Take a plain step from the best point, without memories; where that was one, rounding is all that is left."""
    if state.cautious:
        return replace(state, stop=at_rest(problem, state, state.curvature))
    return replace(_return(problem, state), S=state.S[:0], Y=state.Y[:0], cautious=True)


def _is_modelled(problem: Problem, state: LocalDescentState) -> bool:
    """Whether the walks go on from where the model of l-bfgs is lowest."""
    return problem.penalty.has_l1 and len(state.S) > 0


def _return(problem: Problem, state: LocalDescentState) -> LocalDescentState:
    """Let the next walks begin at the best point."""
    assert state.point is not None
    gradient = problem.smooth_gradient(state.point)
    return replace(state, base=state.point.theta, current=state.point, gradient=gradient, direction=empty())
