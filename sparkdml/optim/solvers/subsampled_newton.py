"""A quasi-Newton method that begins with what a sample of the rows knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import HessianSums, LineSums, Query, Sample
from sparkdml.optim.solvers.base import Solver, State, StopReason, begin, empty
from sparkdml.optim.solvers.covariance import objective_matrix
from sparkdml.optim.solvers.line_search import BACKTRACKS, aimed, is_accepted, moved_to, shortened
from sparkdml.optim.solvers.newton import (
    MatrixState,
    Newton,
    NewtonState,
    aimed_by,
    downhill_from,
    matrix_queries,
    model_matrix,
    newton_step,
)
from sparkdml.optim.solvers.quasi_newton import corrected

ROWS_PER_COEFFICIENT = 100  # of the sample: the minimum of its rows is then some 10 % of its way off that of all
MIN_ROWS = 20_000  # of the sample: to look at fewer takes as long
NEAR, MAX_STEPS = 0.02, 10  # the minimum of the sample need not be nearer, relative to its way, and steps towards it


def sample_fraction(rows: float, coefficients: int) -> float:
    """The share of the rows that a sample has, of so many rows that tell something.

    >>> sample_fraction(1_000_000, 500), sample_fraction(1_000, 10)
    (0.05, 1.0)
    """
    return min(max(ROWS_PER_COEFFICIENT * coefficients, MIN_ROWS) / max(rows, 1.0), 1.0)


@dataclass(frozen=True, eq=False)
class SubsampledNewtonState(MatrixState):
    """Adds the sample and what is known of the curvature.

    Attributes
    ----------
    inner : of Newton's method on the sample; `sampling` is whether it runs.
    matrix : of second derivatives of the loss at `point`, (n, n); empty where it is to be asked for.
    samples : how many there were, and `doubled` how often they were made larger.
    matrix_rank : of the last sample's matrix with the penalty; -1 before the first.
    """

    inner: State = field(default_factory=NewtonState)
    sampling: bool = False
    matrix: np.ndarray = field(default_factory=empty)
    samples: int = 0
    doubled: int = 0
    matrix_rank: int = -1


@dataclass(frozen=True)
class SubsampledNewton(Solver[SubsampledNewtonState]):
    """Minimize the objective of a sample, and go on from there with its curvature.

    Newton's method finds the minimum of the sample, in passes that read nothing else. Where all rows are looked at for
    the first time, the sample tells the Hessian too. From then on a pass asks for the gradient alone: the BFGS update
    makes of the sample's matrix one that has the curvature of all rows along the steps taken. Each step is that of
    `Newton` with this matrix. A start that is nearer to the minimum than the sample can tell is gone on from directly.

    Where a step is refused, or leads nowhere, the sample was too small: the next matrix is that of twice as many rows.
    So is that after one of dependent columns, until more rows show the same dependence.

    It is for many more rows than coefficients; the length of the next step tells when to stop, as in `Newton`.

    Parameters
    ----------
    fraction : of the rows of every block, which the sample has.
    seed : of the sample.

    Source: F. Roosta-Khorasani, M. Mahoney, Sub-Sampled Newton Methods (2019); R. Byrd, G. Chin, W. Neveitt, J.
    Nocedal, On the Use of Stochastic Hessian Information in Optimization Methods for Machine Learning (2011).
    """

    fraction: float = 0.1
    seed: int = 0

    name = "subsampled-newton"
    bounded = True
    state_class = SubsampledNewtonState

    def refusal(self, problem: Problem) -> str | None:
        return Newton().refusal(problem)

    def init(self, problem: Problem) -> SubsampledNewtonState:
        nowhere = np.zeros(len(problem.start))
        return SubsampledNewtonState(direction=nowhere, inner=NewtonState(direction=nowhere))

    def queries(self, problem: Problem, state: SubsampledNewtonState) -> list[Query]:
        if state.point is None:
            return [problem.gradient_query(problem.start)]
        if state.sampling:
            return self._newton.queries(self._sampled(problem, state), self._inner(state))
        if state.searching:
            return [problem.line_query(state.point.theta, state.direction, BACKTRACKS)]
        asked = [problem.gradient_query(state.trial)]
        return asked if len(state.matrix) else [*asked, *matrix_queries(self._sampled(problem, state), state.trial)]

    def largest_queries(self, problem: Problem) -> list[Query]:
        return self._newton.largest_queries(problem)

    def step(self, problem: Problem, state: SubsampledNewtonState, answers: Sequence[Any]) -> SubsampledNewtonState:
        if state.point is None:
            state = begin(state, problem, problem.point(problem.start, answers[0]), self.max_iter)
            return replace(state, sampling=state.stop is StopReason.RUNNING)
        if state.sampling:
            return self._sample(problem, state, answers)
        if isinstance(answers[0], LineSums):
            return shortened(problem, state, answers[0]) or downhill_from(problem, state)
        point = problem.point(state.trial, answers[0])
        if is_accepted(problem, state, point):
            moved = replace(moved_to(problem, state, point), downhill=False)
            if len(answers) > 1:
                return self._follow(problem, moved, answers[1:])
            assert state.point is not None
            steps = point.theta - state.point.theta, point.gradient - state.point.gradient
            return self._aim(problem, replace(moved, matrix=corrected(state.matrix, *steps)))
        if state.t < 1.0:  # the line search had found it lower: only rounding can be left
            return downhill_from(problem, state)
        return _with_more_rows(replace(state, searching=True))

    @property
    def _newton(self) -> Newton:
        return Newton(tol=NEAR, max_iter=MAX_STEPS)

    def _sampled(self, problem: Problem, state: SubsampledNewtonState) -> Problem:
        fraction = min(self.fraction * 2.0**state.doubled, 1.0)
        return problem.sampled(Sample(fraction, self.seed, state.samples))

    def _inner(self, state: SubsampledNewtonState) -> NewtonState:
        assert isinstance(state.inner, NewtonState)
        return state.inner

    def _sample(self, problem: Problem, state: SubsampledNewtonState, answers: Sequence[Any]) -> SubsampledNewtonState:
        """Newton's method on the sample, and at its end the way there as the first that all rows are asked about."""
        point, inner = state.point, self._inner(state)
        assert point is not None
        if inner.point is None and self._is_near(problem, point, answers[1:]):
            return self._follow(problem, replace(state, sampling=False), answers[1:])
        inner = self._newton.step(self._sampled(problem, state), inner, answers)
        state = replace(state, inner=inner)
        if inner.stop is StopReason.RUNNING:
            return state
        assert inner.point is not None
        state = replace(state, sampling=False, samples=state.samples + 1)
        return aimed(problem, state, inner.point.theta - point.theta) or downhill_from(problem, state)

    def _is_near(self, problem: Problem, start: Point, answers: Sequence[HessianSums]) -> bool:
        """Whether the minimum of all rows is no farther from the start than that of a sample may be from it."""
        matrix = _filled(problem, answers)
        if not np.all(np.isfinite(matrix)):
            return False
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(newton_step(problem, start, matrix)))
        return length <= ROWS_PER_COEFFICIENT**-0.5 * problem.way(start.theta)

    def _follow(
        self, problem: Problem, state: SubsampledNewtonState, answers: Sequence[HessianSums]
    ) -> SubsampledNewtonState:
        """Go on by the matrix of a sample at the point, or stop there."""
        matrix = _filled(problem, answers)
        state = replace(state, matrix=matrix)
        if self.fraction * 2.0**state.doubled >= 1.0 or not np.all(np.isfinite(matrix)):
            return self._aim(problem, state)
        known = objective_matrix(problem, matrix)
        if known.rank in (len(known.free), state.matrix_rank):
            return self._aim(problem, state)
        state = replace(state, matrix_rank=known.rank)
        # what the sample does not know of is no reason to stop
        return _with_more_rows(aimed_by(problem, state, matrix, replace(self, tol=0.0)))

    def _aim(self, problem: Problem, state: SubsampledNewtonState) -> SubsampledNewtonState:
        state = aimed_by(problem, state, state.matrix, self)
        return _with_more_rows(state) if state.downhill else state


def _with_more_rows(state: SubsampledNewtonState) -> SubsampledNewtonState:
    """The state that asks for another matrix, of twice as many rows."""
    return replace(state, matrix=empty(), samples=state.samples + 1, doubled=state.doubled + 1)


def _filled(problem: Problem, answers: Sequence[HessianSums]) -> np.ndarray:
    """The matrix of a sample, (n, n); columns that are zero in it have the curvature of uncorrelated ones."""
    answer, C = answers[0], problem.loss.margins
    matrix = model_matrix(problem, answers, problem.hessian(answer))
    own = [a * (a + 3) // 2 for a in range(C)]  # the places of the pairs (a, a)
    flat = np.diag(matrix) == 0.0
    flat &= problem.join(np.repeat(problem.scale[:, None], C, axis=1), np.zeros(C)) > 0.0
    return matrix + np.diag(np.where(flat, np.mean(answer.second[own, -1]) / answer.weight, 0.0))
