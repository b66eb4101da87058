"""Mini-batch SGD: a pass reads a sample of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.errors import DivergenceError
from sparkdml.optim.aggregation import AGGREGATIONS
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, Query, Sample
from sparkdml.optim.solvers.base import Solver, State, StopReason, begin, curvature_refusal, empty, is_near
from sparkdml.optim.solvers.quasi_newton import Model, has_curvature, inverse_times, with_pair
from sparkdml.optim.solvers.rule_descent import BACK_OFF, is_explosion

ROWS_PER_COEFFICIENT = 100  # of a mini-batch by default: its own minimum then lies within 1 % of the objective
STAGE = 20  # mini-batches from one look at all rows to the next
AVERAGED = 0.5  # the share of a stage, its last, whose average is its result
FULL_STEPS = 10  # of a stage, before the steps become shorter
MEMORY = 20  # pairs kept: each is noisy by itself


def default_fraction(rows: int, coefficients: int) -> float:
    """The share of the rows that a mini-batch has unless the user says.

    >>> default_fraction(1_000_000, 50), default_fraction(400, 10)
    (0.005, 1.0)
    """
    return min(ROWS_PER_COEFFICIENT * coefficients / max(rows, 1), 1.0)


@dataclass(frozen=True, eq=False)
class StochasticDescentState(State):
    """Adds the walk. `point` is the best point at which all rows were looked at; `history` has the objective there.

    Attributes
    ----------
    theta, before : where the walk stands, and where it stood, (n,); `before` is empty at the beginning of a stage.
    total, zeros : the sum of the last points of the stage, (n,), and how often each coefficient was zero there.
    made : steps of this stage. `stage` is its number; a `looking` state asks all rows.
    S, Y : the last steps, and what they changed of the gradient on a mini-batch, (m, n) each, oldest first.
    curvature : the smallest met.
    shortened : what steps are multiplied by. `explosions` is how often the walk had to be begun again.
    """

    theta: np.ndarray = field(default_factory=empty)
    before: np.ndarray = field(default_factory=empty)
    total: np.ndarray = field(default_factory=empty)
    zeros: np.ndarray = field(default_factory=empty)
    made: int = 0
    stage: int = 0
    looking: bool = True
    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    curvature: float = np.inf
    shortened: float = 1.0
    explosions: int = 0


@dataclass(frozen=True)
class StochasticDescent(Solver[StochasticDescentState]):
    """Stochastic quasi-Newton descent in stages, with averaging and variance reduction.

    A step goes along -H g, for the gradient g of a mini-batch and the L-BFGS matrix H, whose pairs compare gradients
    of the same mini-batch at the last two points. A stage of 20 steps ends with the average of its last half, where one
    pass over all rows tells the objective and its gradient. From the second stage on that gradient is the control
    variate: g = g_B(theta) - g_B(anchor) + gradient(anchor), whose noise vanishes at the minimum. The fit ends when
    the decrease that the matrix still promises is below `tol` times the objective.

    Parameters
    ----------
    fraction : of the rows of every block, which a mini-batch has; the rest is not even read.
    seed : of the mini-batches.

    Source: R. Byrd, S. Hansen, J. Nocedal, Y. Singer, A Stochastic Quasi-Newton Method for Large-Scale Optimization
    (2016); P. Moritz, R. Nishihara, M. Jordan, A Linearly-Convergent Stochastic L-BFGS Algorithm (2016); B. Polyak,
    A. Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).
    """

    fraction: float = 0.1
    seed: int = 0

    name = "sgd"
    bounded = True
    state_class = StochasticDescentState
    aggregations = tuple(AGGREGATIONS)

    def refusal(self, problem: Problem) -> str | None:
        return curvature_refusal(problem)

    def init(self, problem: Problem) -> StochasticDescentState:
        none = np.empty((0, len(problem.start)))
        return StochasticDescentState(theta=problem.start, S=none, Y=none)

    def queries(self, problem: Problem, state: StochasticDescentState) -> list[Query]:
        if state.looking:
            return [problem.gradient_query(state.theta)]
        sampled = problem.sampled(Sample(self.fraction, self.seed, state.iterations))
        places = [state.theta]
        if state.stage:
            assert state.point is not None
            places.append(state.point.theta)
        if len(state.before):
            places.append(state.before)
        return [sampled.gradient_query(place) for place in places]

    def step(
        self, problem: Problem, state: StochasticDescentState, answers: Sequence[GradientSums]
    ) -> StochasticDescentState:
        point = problem.point(state.theta, answers[0])
        if state.looking:
            return self._look(problem, state, point)
        objective = problem.objective(point)
        if is_explosion(state, objective):
            return self._back_off(problem, state, objective)
        gradient = problem.smooth_gradient(point)
        if state.stage:
            assert state.point is not None
            anchor = problem.point(state.point.theta, answers[1])
            control = problem.smooth_gradient(state.point) - problem.smooth_gradient(anchor)
        else:
            control = np.zeros_like(gradient)
        if len(state.before):
            last = problem.point(state.before, answers[-1])
            state = _remember(state, point.theta - last.theta, gradient - problem.smooth_gradient(last))
        return self._walk(problem, state, gradient + control)

    def _walk(self, problem: Problem, state: StochasticDescentState, gradient: np.ndarray) -> StochasticDescentState:
        """One step by the gradient of a mini-batch."""
        size = state.shortened * min(1.0, FULL_STEPS / (state.made + 1.0))
        theta = state.theta + size * (self._target(problem, state, gradient) - state.theta)
        made, kept = state.made + 1, state.made + 1 > (1.0 - AVERAGED) * STAGE
        state = replace(
            state,
            theta=theta,
            before=state.theta,
            total=state.total + theta if kept else np.zeros_like(theta),
            zeros=state.zeros + (theta == 0.0) if kept else np.zeros_like(theta),
            made=made,
            iterations=state.iterations + 1,
        )
        if made < STAGE and state.iterations < self.max_iter:
            return state
        averaged = max(made - int((1.0 - AVERAGED) * STAGE), 0)
        mean = np.where(state.zeros > averaged / 2, 0.0, state.total / averaged) if averaged else theta
        return replace(state, theta=mean, looking=True)

    def _target(self, problem: Problem, state: StochasticDescentState, gradient: np.ndarray) -> np.ndarray:
        """Where the model of the objective is lowest, (n,)."""
        if not problem.penalty.has_kinks:
            return state.theta - inverse_times(state.S, state.Y, gradient, 1.0 / problem.lipschitz)
        model = Model.of(state.S, state.Y, problem.lipschitz)
        return model.minimize(state.theta, gradient, problem.penalty.l1)

    def _look(self, problem: Problem, state: StochasticDescentState, point: Point) -> StochasticDescentState:
        """End a stage with a look at all rows."""
        if state.point is None:
            return _new_stage(begin(state, problem, point, self.max_iter), 0)
        objective, best = problem.objective(point), problem.objective(state.point)
        state = replace(state, history=np.append(state.history, objective))
        if objective < best:
            state = replace(state, point=point)
            if self._is_enough(problem, state, point):
                return replace(state, stop=StopReason.CONVERGED)
        else:
            state = replace(state, shortened=0.5 * state.shortened)
        if state.iterations >= self.max_iter:
            return replace(state, stop=StopReason.MAX_ITERATIONS)
        return _new_stage(state, state.stage + 1)

    def _is_enough(self, problem: Problem, state: StochasticDescentState, point: Point) -> bool:
        model, gradient = Model.of(state.S, state.Y, problem.lipschitz), problem.smooth_gradient(point)
        left = model.decrease(point.theta, gradient, problem.penalty.l1)
        enough = left <= self.tol * problem.objective(point)
        return enough or is_near(problem, state, point, state.curvature, self.tol)

    def _back_off(self, problem: Problem, state: StochasticDescentState, objective: float) -> StochasticDescentState:
        assert state.point is not None
        if state.explosions:
            raise DivergenceError(
                f"solver='sgd' diverged twice, now in step {state.iterations + 1}: the objective on a mini-batch went "
                f"from {state.history[0]:.6g} to {objective:.6g}; take a larger "
                f"miniBatchFraction than {self.fraction:g}.",
                problem.raw(state.point.theta),
            )
        again = replace(state, S=state.S[:0], Y=state.Y[:0], shortened=BACK_OFF * state.shortened, explosions=1)
        return _new_stage(replace(again, iterations=state.iterations + 1), state.stage)


def _new_stage(state: StochasticDescentState, number: int) -> StochasticDescentState:
    """Begin a stage at the best point."""
    assert state.point is not None
    nothing = np.zeros_like(state.theta)
    return replace(
        state,
        theta=state.point.theta,
        before=empty(),
        total=nothing,
        zeros=nothing,
        made=0,
        stage=number,
        looking=False,
    )


def _remember(state: StochasticDescentState, s: np.ndarray, y: np.ndarray) -> StochasticDescentState:
    """Keep the pair of a step and what it changed of the gradient on a mini-batch."""
    if not has_curvature(s, y):
        return state
    S, Y = with_pair(state.S, state.Y, s, y, MEMORY)
    return replace(state, S=S, Y=Y, curvature=min(state.curvature, float(s @ y) / float(s @ s)))
