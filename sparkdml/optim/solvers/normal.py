"""The normal equations: one pass for a Gram matrix, everything else on the driver."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparkdml.optim.gram import Quadratic
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import GramSums, Query
from sparkdml.optim.solvers.base import Solver, StopReason
from sparkdml.optim.solvers.coordinate_descent import COORDINATE_TOL, minimize_quadratic
from sparkdml.optim.solvers.covariance import Covariance, CovarianceState, objective_matrix


class Normal(Solver[CovarianceState]):
    """Solve (Q + L2) v = q by Cholesky; with dependent columns by eigenvalues; with L1 or in a box by coordinates."""

    name = "normal"
    bounded = True
    iterative = False
    state_class = CovarianceState

    def refusal(self, problem: Problem) -> str | None:
        if not problem.loss.quadratic:
            return f"needs a squared loss, not {problem.loss.name!r}; take solver='l-bfgs'."
        return None

    def init(self, problem: Problem) -> CovarianceState:
        return CovarianceState()

    def queries(self, problem: Problem, state: CovarianceState) -> list[Query]:
        return [problem.gram_query()]

    def step(self, problem: Problem, state: CovarianceState, answers: Sequence[GramSums]) -> CovarianceState:
        (answer,) = answers
        quadratic = Quadratic.of(answer, problem)
        start = problem.objective(quadratic.point(problem.start - quadratic.origin))
        if problem.penalty.has_kinks:
            l1, l2, origin = problem.penalty.l1, problem.penalty.l2.strength, quadratic.origin
            low, high = l1.low - origin, l1.high - origin
            v, iterations, done = minimize_quadratic(
                quadratic.Q, quadratic.q, l1.strength, l2, COORDINATE_TOL, low=low, high=high
            )
            stop = StopReason.SOLVED if done else StopReason.PRECISION
            state = replace(state, iterations=iterations, stop=stop)
        else:
            matrix = objective_matrix(problem, quadratic.Q)
            v, spread = matrix.solve(quadratic.q), Covariance.of(problem, matrix, answer.weight)
            stop, rank = StopReason.SOLVED, matrix.rank
            state = replace(state, iterations=1, stop=stop, rank=rank, covariance=spread.diagonal)
        point = quadratic.point(v)
        return replace(state, point=point, history=np.array([start, problem.objective(point)]))
