"""Full-batch gradient descent by an update rule and a step size that the user chooses; proximal with L1."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkdml.errors import DivergenceError
from sparkdml.optim.adaptive import ADAPTIVE, Adaptive, LineSearch
from sparkdml.optim.aggregation import AGGREGATIONS, ROBUST
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, Query
from sparkdml.optim.schedules import SCHEDULES, named_schedule
from sparkdml.optim.solvers.base import (
    ROUNDING,
    Memory,
    Solver,
    State,
    StopReason,
    at_limit,
    at_rest,
    begin,
    empty,
    is_near,
)
from sparkdml.optim.updates import Rule, named_rule, state_arrays, state_from_arrays

LEARNING_RATES = (*SCHEDULES, *ADAPTIVE)
COMPARING = ("plateau", "boldDriver", "lineSearch")  # those that look at the objective
DESCENDING = ("boldDriver", "lineSearch")  # those that undo a step which does not lower the objective
# Rules that divide by the size of the gradients: the step size is what a coefficient moves by, whatever the loss.
NORMALIZED = ("adagrad", "rmsprop", "adam", "adamw")
FIRST_MOVE = 0.1  # of such a rule: a share of the way that a step of length 1 / curvature would go
# Where partitions are outvoted there is no objective to search by. Of the rules that need none this takes 20 to 75
# passes on columns whose correlation has a condition number of 6 to 48, Nesterov's with a constant step 130 to 250.
ROBUST_DESCENT = {"optimizer": "plain", "learning_rate": "barzilaiBorwein"}
EXPLODED = 1e3  # an objective so many times that of the start is not on its way to a minimum
LAST_STEP, HALVINGS = 0.01, 7  # a schedule that needs to know how far it goes ends at about a hundredth
BACK_OFF = 0.1  # and the steps become so much shorter, once


@dataclass(frozen=True, eq=False)
class RuleDescentState(State):
    """Adds the walk.

    Attributes
    ----------
    current : where the walk stands; `point` is the best point so far. `trial`, (n,), is where it looks next.
    rule, rate : what the update rule and the adaptive step size remember, before they see `current`.
    step_size : the user's, or the default; shorter after an explosion, of which there have been `explosions`.
    unit : what the rule sees gradients divided by, so that its epsilon is small in any units of the label.
    curvature : the smallest met.
    """

    trial: np.ndarray = field(default_factory=empty)
    current: Point | None = None
    rule: Memory = field(default_factory=dict)
    rate: Memory = field(default_factory=dict)
    step_size: float = 0.0
    unit: float = 1.0
    explosions: int = 0
    curvature: float = np.inf

    @property
    def iterate(self) -> Point | None:
        return self.current


@dataclass(frozen=True)
class RuleDescent(Solver[RuleDescentState]):
    """theta <- prox(theta - step_t * rule(gradient), step_t * scales of the rule), one pass a step.

    Parameters
    ----------
    optimizer : the update rule, one of `updates.RULES`; "adamw" takes the L2 penalty out of the gradient and decays the
        coefficients instead, so that where it ends is not the minimum of the objective but near it.
    learning_rate : how the step size goes on: a schedule or an adaptive rule, one of `LEARNING_RATES`; by default
        constant, for "rmsprop", "adam" and "adamw" a cosine over `max_iter` steps.
    step_size : the first, in the units of standardized coefficients. By default 1 / L, L an upper bound of the
        curvature; for the rules that divide by the size of the gradient a tenth of the first step that would take.
    momentum : of the rules "momentum" and "nesterov".

    An objective that is not finite, or has grown a thousandfold, sends the walk back to its best point, once and with
    a tenth of the step size; then DivergenceError is raised. Of all aggregations of the partitions it takes those that
    have no objective too, unless its learning rate compares objectives.
    """

    optimizer: str = "plain"
    learning_rate: str | None = None
    step_size: float | None = None
    momentum: float = 0.9

    name = "gd"
    bounded = True
    state_class = RuleDescentState
    aggregations = tuple(AGGREGATIONS)

    def aggregation_refusal(self, aggregation: str) -> str | None:
        if aggregation in ROBUST and self.learning_rate in COMPARING:
            return (
                f"with learningRate={self.learning_rate!r} compares losses, and aggregation={aggregation!r} gives none "
                "that its gradients belong to: take learningRate='barzilaiBorwein', or a schedule."
            )
        return None

    def refusal(self, problem: Problem) -> str | None:
        if not np.isfinite(problem.loss.curvature) and self.step_size is None:
            return f"needs a loss of bounded curvature, not {problem.loss.name!r}, or a stepSize."
        strengths = problem.penalty.l2.strength
        if self.optimizer == "adamw" and len(np.unique(strengths[strengths > 0.0])) > 1:
            return "with optimizer='adamw' decays all coefficients alike: set standardization=True, or take 'adam'."
        if self.optimizer == "adamw" and self.learning_rate in DESCENDING:
            return (
                f"cannot take learningRate={self.learning_rate!r} with optimizer='adamw', which comes to rest above "
                "the minimum of the objective: take 'adam'."
            )
        return None

    def init(self, problem: Problem) -> RuleDescentState:
        return RuleDescentState(trial=problem.start)

    def queries(self, problem: Problem, state: RuleDescentState) -> list[Query]:
        return [problem.gradient_query(state.trial)]

    def step(self, problem: Problem, state: RuleDescentState, answers: Sequence[GradientSums]) -> RuleDescentState:
        point = problem.point(state.trial, *answers)
        if state.current is None:
            return self._begin(problem, state, point)
        objective = problem.objective(point)
        if is_explosion(state, objective):
            return self._back_off(problem, state, objective)
        if self.learning_rate in ADAPTIVE:
            rate = self._adaptive(problem)
            before = state_from_arrays(rate, state.rate)
            seen = rate.observe(before, objective, point.theta, problem.smooth_gradient(point))
            state = replace(state, rate=state_arrays(seen))
            if seen.undo:
                return self._undo(problem, state, seen.forget)
        return self._accept(problem, state, point)

    def _begin(self, problem: Problem, state: RuleDescentState, point: Point) -> RuleDescentState:
        unit, default = 1.0, 1.0 / problem.lipschitz
        if self.optimizer in NORMALIZED:
            unit = float(np.max(np.abs(problem.smooth_gradient(point)), initial=0.0)) or 1.0
            default = FIRST_MOVE * unit / problem.loss.curvature
        step_size = self.step_size or default
        state = replace(begin(state, problem, point, self.max_iter), current=point, step_size=step_size, unit=unit)
        return self._start_over(problem, state)

    def _start_over(self, problem: Problem, state: RuleDescentState) -> RuleDescentState:
        """Begin the walk at `current`, without memories."""
        assert state.current is not None
        rate: Memory = {}
        if self.learning_rate in ADAPTIVE:
            adaptive = self._adaptive(problem)
            first = adaptive.init(state.step_size)
            where = state.current.theta, problem.smooth_gradient(state.current)
            rate = state_arrays(adaptive.observe(first, problem.objective(state.current), *where))
        state = replace(state, rule=self._no_memory(problem, state.current), rate=rate)
        return replace(state, trial=self._move(problem, state)[0])

    def _undo(self, problem: Problem, state: RuleDescentState, forget: bool) -> RuleDescentState:
        """Look from `current` again, by the step size that has just changed, or with no memory of the way there."""
        assert state.current is not None
        if np.allclose(state.trial, state.current.theta, rtol=ROUNDING, atol=0.0):
            return replace(state, stop=at_rest(problem, state, state.curvature))
        if forget:
            state = replace(state, rule=self._no_memory(problem, state.current))
        return replace(state, trial=self._move(problem, state)[0])

    def _back_off(self, problem: Problem, state: RuleDescentState, objective: float) -> RuleDescentState:
        assert state.point is not None
        if state.explosions:
            raise DivergenceError(
                f"solver={self.name!r} with optimizer={self.optimizer!r} diverged twice, now in step "
                f"{state.iterations + 1} with the step size {state.step_size:.3g}: the objective went from "
                f"{state.history[0]:.6g} to {objective:.6g}; take a smaller stepSize, or leave stepSize out.",
                problem.raw(state.point.theta),
            )
        shorter = replace(state, current=state.point, step_size=BACK_OFF * state.step_size, explosions=1)
        return self._start_over(problem, shorter)

    def _accept(self, problem: Problem, state: RuleDescentState, point: Point) -> RuleDescentState:
        assert state.current is not None and state.point is not None
        objective, best = problem.objective(point), problem.objective(state.point)
        s = point.theta - state.current.theta
        sy = float(s @ (problem.smooth_gradient(point) - problem.smooth_gradient(state.current)))
        state = replace(
            state,
            rule=self._move(problem, state)[1],
            current=point,
            point=point if objective <= best else state.point,
            iterations=state.iterations + 1,
            history=np.append(state.history, objective),
            curvature=min(state.curvature, sy / float(s @ s)) if sy > 0.0 else state.curvature,
        )
        if is_near(problem, state, point, state.curvature, self.tol):
            return replace(state, point=point, stop=StopReason.CONVERGED)
        if state.iterations >= self.max_iter:
            return replace(state, stop=at_limit(problem, state, point, state.curvature, self.tol))
        return replace(state, trial=self._move(problem, state)[0])

    def _move(self, problem: Problem, state: RuleDescentState) -> tuple[np.ndarray, Memory]:
        """Where the rule leads from `current`, (n,), and what it remembers then."""
        assert state.current is not None
        rule, theta = self._rule(problem), state.current.theta[:, None]
        gradient = self._gradient(problem, state.current)[:, None]
        way, after = rule.update(gradient / state.unit, state_from_arrays(rule, state.rule), theta)
        step = self._step_size(state)
        lengths = np.broadcast_to(step * rule.scales(after) / state.unit, theta.shape)[:, 0]
        return problem.penalty.l1.prox((theta + step * way)[:, 0], lengths), state_arrays(after)

    def _step_size(self, state: RuleDescentState) -> float:
        if self.learning_rate in ADAPTIVE:
            return float(state.rate["step"])
        name = self.learning_rate or ("cosine" if self.optimizer in ("rmsprop", "adam", "adamw") else "constant")
        return scheduled(name, state.step_size, self.max_iter, state.iterations)

    def _rule(self, problem: Problem) -> Rule:
        """The rule, with a step size of one: how long a step is is decided outside."""
        settings: dict[str, object] = {}
        if self.optimizer in ("momentum", "nesterov"):
            settings["momentum"] = self.momentum
        if self.optimizer == "adamw":
            strength = problem.penalty.l2.strength
            settings = {"weight_decay": float(strength.max(initial=0.0)), "mask": strength > 0.0}
        return named_rule(self.optimizer, 1.0, **settings)

    def _no_memory(self, problem: Problem, point: Point) -> Memory:
        """What the rule remembers before it sees a point."""
        return state_arrays(self._rule(problem).init(point.theta[:, None]))

    def _adaptive(self, problem: Problem) -> Adaptive:
        kind = ADAPTIVE[str(self.learning_rate)]
        return kind(problem.penalty.l1) if issubclass(kind, LineSearch) else kind()

    def _gradient(self, problem: Problem, point: Point) -> np.ndarray:
        return point.gradient if self.optimizer == "adamw" else problem.smooth_gradient(point)


def is_explosion(state: State, objective: float) -> bool:
    """Whether an objective is not finite, or so much above that of the start that the walk has to go back."""
    return not objective <= EXPLODED * abs(float(state.history[0]))


def scheduled(name: str, step_size: float, steps: int, t: int) -> float:
    """The size of step number t by a schedule that has done its work after so many steps.

    >>> scheduled("cosine", 1.0, 10, 5)
    0.505
    """
    return float(named_schedule(name, step_size, **_settings(name, steps))(t))


def _settings(name: str, steps: int) -> dict[str, Any]:
    """What a schedule needs beside its first step size, so that it has done its work after so many steps."""
    length = max(steps, 1)
    settings: dict[str, dict[str, Any]] = {
        "inverseTime": {"decay": 1.0 / (LAST_STEP * length)},
        "exponential": {"decay": LAST_STEP, "steps": length},
        "step": {"factor": 0.5, "every": max(length // HALVINGS, 1)},
        "cosine": {"length": length},
    }
    return settings.get(name, {})
