"""What the matrix of second derivatives at the minimum tells of how exactly the data decide the coefficients."""

from dataclasses import dataclass, field

import numpy as np

from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import HessianSums
from sparkdml.optim.semidefinite import Contrasts, Semidefinite
from sparkdml.optim.solvers.base import State, empty


@dataclass(frozen=True, eq=False)
class Covariance:
    """The covariance of the coefficients as far as statistics need it.

    Attributes
    ----------
    rank : the numerical rank of the columns, the intercept included; -1 where it is not known.
    diagonal : of the covariance of a loss that is the negative log likelihood, in raw units: for the coefficients, and
        then for the intercepts if there are any; empty with dependent columns.
    """

    rank: int = -1
    diagonal: np.ndarray = field(default_factory=empty)

    @classmethod
    def of(cls, problem: Problem, matrix: Semidefinite, weight: float) -> "Covariance":
        """The inverse of the second derivatives of the objective, which are weight times this matrix (n, n)."""
        inverse = matrix.inverse()
        return cls(matrix.rank, np.empty(0) if inverse is None else problem.raw_variances(inverse) / weight)

    @classmethod
    def robust(cls, problem: Problem, hessian: HessianSums, scores: HessianSums) -> "Covariance":
        """A^-1 B A^-1 with A the second derivatives of the objective and B the sum of products of the rows' gradients.

        A is that of the labels, not of what they are expected to be, for the mean may be of another form too.

        It holds whatever distribution the labels have, as long as the rows are independent.

        Source: P. Huber, The Behavior of Maximum Likelihood Estimates under Nonstandard Conditions (1967); H. White, A
        Heteroskedasticity-Consistent Covariance Matrix Estimator and a Direct Test for Heteroskedasticity (1980).
        """
        matrix = estimable_matrix(problem, problem.hessian(hessian))
        inverse = matrix.inverse()
        if inverse is None:
            return cls(matrix.rank)
        covariance = inverse @ problem.hessian(scores) @ inverse
        return cls(matrix.rank, problem.raw_variances(covariance) / hessian.weight)


def objective_matrix(problem: Problem, hessian: np.ndarray) -> Semidefinite:
    """The second derivatives of the objective without its L1 part, given those of the mean loss, (n, n)."""
    return Semidefinite(_with_ridge(problem, hessian))


def estimable_matrix(problem: Problem, hessian: np.ndarray) -> Semidefinite:
    """The same for statistics: of a loss to which margins are relative, of coefficients that sum to zero over them.

    Those are what is estimated, since all other coefficients of the same differences mean the same.
    """
    matrix = _with_ridge(problem, hessian)
    if not problem.loss.relative:
        return Semidefinite(matrix)
    return Contrasts(matrix, np.arange(len(matrix)).reshape(-1, problem.loss.margins))


def _with_ridge(problem: Problem, hessian: np.ndarray) -> np.ndarray:
    return hessian + np.diag(problem.penalty.l2.strength)


@dataclass(frozen=True, eq=False)
class CovarianceState(State):
    """Adds what the statistics need; nothing is known with an L1 penalty.

    Attributes
    ----------
    rank, covariance : those of `Covariance`, of the point where the solver stopped.
    """

    rank: int = -1
    covariance: np.ndarray = field(default_factory=empty)
