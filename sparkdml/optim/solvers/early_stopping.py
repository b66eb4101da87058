"""Early stopping: the point at which the loss of rows that are left out of training was lowest."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkdml.errors import DivergenceError
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import HeldOutSums, Query
from sparkdml.optim.solvers.base import Solver, State, StopReason, empty


@dataclass(frozen=True, eq=False)
class EarlyStoppingState(State):
    """Adds what is watched; `point` is where the validation loss was lowest.

    Attributes
    ----------
    inner : the state of the solver.
    validation : the mean loss of the rows left out, of each entry of `history` that is validated, (m,).
    """

    inner: State = field(default_factory=State)
    validation: np.ndarray = field(default_factory=empty)


@dataclass(frozen=True)
class EarlyStopping(Solver[EarlyStoppingState]):
    """Runs a solver whose iterates are validated by the rows that the problem leaves out.

    Each point that the solver notes in its history is: the loss of these rows there, without the penalty, is asked for
    together with what the solver asks to go on, so that it costs no pass; the last point of a solver that ends costs
    one.

    Source: L. Prechelt, Early Stopping - But When? (1998).

    Parameters
    ----------
    inner : the solver, with its `tol` and `max_iter`.
    patience : so many points in a row without a lower validation loss end the fit.
    """

    tol: float = field(default=0.0, init=False, repr=False)
    max_iter: int = field(default=0, init=False, repr=False)
    inner: Solver = field(kw_only=True)
    patience: int = 5

    state_class = EarlyStoppingState

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the solver."""
        return self.inner.name

    @property
    def bounded(self) -> bool:  # type: ignore[override]
        """As the solver."""
        return self.inner.bounded

    def refusal(self, problem: Problem) -> str | None:
        if not self.inner.iterative:
            return "has no point before its end that could be validated for early stopping; take solver='l-bfgs'."
        return self.inner.refusal(problem)

    def aggregation_refusal(self, aggregation: str) -> str | None:
        return self.inner.aggregation_refusal(aggregation)

    def init(self, problem: Problem) -> EarlyStoppingState:
        return EarlyStoppingState(inner=self.inner.init(problem))

    def queries(self, problem: Problem, state: EarlyStoppingState) -> list[Query]:
        running = state.inner.stop is StopReason.RUNNING
        asked = self.inner.queries(problem, state.inner) if running else []
        if _is_validated(state):
            return asked
        assert state.inner.iterate is not None
        return [problem.held_out_query(state.inner.iterate.theta), *asked]

    def largest_queries(self, problem: Problem) -> list[Query]:
        return self.inner.largest_queries(problem)

    def step(self, problem: Problem, state: EarlyStoppingState, answers: Sequence[Any]) -> EarlyStoppingState:
        if not _is_validated(state):
            state, answers = _validate(problem, state, answers[0]), answers[1:]
            if len(state.validation) - 1 - int(np.argmin(state.validation)) >= self.patience:
                return replace(state, stop=StopReason.VALIDATION)
        inner = state.inner
        if inner.stop is StopReason.RUNNING:
            inner = self.inner.step(problem, inner, answers)
            state = replace(state, inner=inner, iterations=inner.iterations, history=inner.history)
            if not len(state.validation):
                state = replace(state, point=inner.point)
        if inner.stop is not StopReason.RUNNING and _is_validated(state):
            return replace(state, stop=inner.stop)
        return state


def _is_validated(state: EarlyStoppingState) -> bool:
    """Whether the validation loss of the last iterate is known, or there is no iterate yet."""
    return len(state.validation) == len(state.inner.history)


def _validate(problem: Problem, state: EarlyStoppingState, answer: HeldOutSums) -> EarlyStoppingState:
    """Note the validation loss of the last iterate, and keep the iterate if it is the best."""
    loss = problem.held_out_loss(answer)
    if not np.isfinite(loss):
        raise DivergenceError(
            f"the validation loss is {loss} after {state.inner.iterations} iterations, although the objective is "
            "finite: look for outliers among the rows that validate, or raise regParam."
        )
    better = not len(state.validation) or loss < state.validation.min()
    state = replace(state, validation=np.append(state.validation, loss))
    return replace(state, point=state.inner.iterate) if better else state
