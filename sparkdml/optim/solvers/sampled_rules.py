"""Mini-batch SGD by an update rule and a schedule that the user chooses."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.adaptive import ADAPTIVE
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, Query, Sample
from sparkdml.optim.solvers.base import StopReason, empty
from sparkdml.optim.solvers.rule_descent import RuleDescent, RuleDescentState, is_explosion

AVERAGED = 0.5  # the share of the steps, the last ones, whose average is the result


@dataclass(frozen=True, eq=False)
class SampledRulesState(RuleDescentState):
    """Adds the average. `point` and `history` are of the two looks at all rows, at the start and at the end.

    Attributes
    ----------
    total : the sum of the last points, (n,), and `kept`, of how many. `looking` : the next pass asks all rows.
    """

    total: np.ndarray = field(default_factory=empty)
    kept: int = 0
    looking: bool = True


@dataclass(frozen=True)
class SampledRules(RuleDescent):
    """Descent by an update rule, each gradient that of a mini-batch, and the average of the last half of the points.

    Without averaging a constant step would end at a distance from the minimum that the noise decides. There is no
    test of convergence on the way: `max_iter` steps are made, and the last pass, over all rows, tells where they led.

    Parameters
    ----------
    fraction : of the rows of every block, which a mini-batch has; the rest is not even read.
    seed : of the mini-batches.

    Source: B. Polyak, A. Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).
    """

    fraction: float = 0.1
    seed: int = 0

    name = "sgd"
    iterative = False
    state_class = SampledRulesState

    def refusal(self, problem: Problem) -> str | None:
        if self.learning_rate in ADAPTIVE:
            return (
                f"sees the objective of mini-batches only, which learningRate={self.learning_rate!r} cannot use: take "
                "a schedule such as 'inverseScaling', or solver='gd'."
            )
        return super().refusal(problem)

    def init(self, problem: Problem) -> SampledRulesState:
        return SampledRulesState(trial=problem.start, total=np.zeros_like(problem.start))

    def queries(self, problem: Problem, state: RuleDescentState) -> list[Query]:
        assert isinstance(state, SampledRulesState)
        if state.looking:
            return [problem.gradient_query(state.trial)]
        sample = Sample(self.fraction, self.seed, state.iterations)
        return [problem.sampled(sample).gradient_query(state.trial)]

    def step(self, problem: Problem, state: RuleDescentState, answers: Sequence[GradientSums]) -> RuleDescentState:
        assert isinstance(state, SampledRulesState)
        point = problem.point(state.trial, *answers)
        if state.current is None:
            return self._begin(problem, state, point)
        if state.looking:
            return self._finish(problem, state, point)
        objective = problem.objective(point)
        if is_explosion(state, objective):
            return self._back_off(problem, state, objective)
        state = replace(state, current=point)
        trial, memory = self._move(problem, state)
        made = state.iterations + 1
        state = replace(state, trial=trial, rule=memory, iterations=made)
        if made > (1.0 - AVERAGED) * self.max_iter:
            state = replace(state, total=state.total + trial, kept=state.kept + 1)
        return state if made < self.max_iter else _average(state)

    def _begin(self, problem: Problem, state: RuleDescentState, point: Point) -> RuleDescentState:
        """Stay at the start: the first step is that of the first mini-batch."""
        begun = super()._begin(problem, state, point)
        assert isinstance(begun, SampledRulesState)
        return replace(begun, trial=point.theta, looking=False)

    def _back_off(self, problem: Problem, state: RuleDescentState, objective: float) -> RuleDescentState:
        again = super()._back_off(problem, state, objective)
        assert isinstance(again, SampledRulesState)
        again = replace(again, iterations=state.iterations + 1)
        return again if again.iterations < self.max_iter else _average(again)

    def _finish(self, problem: Problem, state: SampledRulesState, point: Point) -> SampledRulesState:
        assert state.point is not None
        best = min(state.point, point, key=problem.objective)
        history = np.append(state.history, problem.objective(point))
        return replace(state, point=best, history=history, stop=StopReason.MAX_ITERATIONS)


def _average(state: SampledRulesState) -> SampledRulesState:
    """Look at all rows where the average of the last points is."""
    return replace(state, trial=state.total / state.kept if state.kept else state.trial, looking=True)
