"""The normal equations: one pass for a Gram matrix, everything else on the driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import linalg

from sparkdml.optim.gram import Quadratic
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import GramSums, Query
from sparkdml.optim.solvers.base import Solver, State, StopReason, empty
from sparkdml.optim.solvers.coordinate_descent import minimize_quadratic

# Rounding in the Gram matrix is worth some eps: coordinate descent cannot promise more.
COORDINATE_TOL = 1e-13


@dataclass(frozen=True, eq=False)
class NormalState(State):
    """Adds what the statistics need.

    Attributes
    ----------
    rank : the numerical rank of the columns, the intercept included; -1 before the pass.
    inverse_diagonal : the diagonal of (X'SX + penalty)^-1 in raw units, for the coefficients and then the
        intercept; empty with an L1 penalty or dependent columns.
    """

    rank: int = -1
    inverse_diagonal: np.ndarray = field(default_factory=empty)


class Normal(Solver[NormalState]):
    """Solve (Q + L2) v = q by Cholesky; with dependent columns by eigenvalues; with L1 by coordinate descent."""

    name = "normal"
    iterative = False
    state_class = NormalState

    def refusal(self, problem: Problem) -> str | None:
        if not problem.loss.quadratic:
            return f"needs a squared loss, not {problem.loss.name!r}; take solver='l-bfgs'."
        return None

    def init(self, problem: Problem) -> NormalState:
        return NormalState()

    def queries(self, problem: Problem, state: NormalState) -> list[Query]:
        return [problem.gram_query()]

    def step(self, problem: Problem, state: NormalState, answers: Sequence[GramSums]) -> NormalState:
        (answer,) = answers
        quadratic = Quadratic.of(answer, problem)
        start = problem.objective(quadratic.point(problem.start - quadratic.origin))
        if problem.penalty.has_l1:
            l1, l2 = problem.penalty.l1.strength, problem.penalty.l2.strength
            v, iterations, done = minimize_quadratic(quadratic.Q, quadratic.q, l1, l2, COORDINATE_TOL)
            stop = StopReason.SOLVED if done else StopReason.PRECISION
            state = replace(state, iterations=iterations, stop=stop)
        else:
            v, rank, inverse = solve_ridge(quadratic, problem, answer.weight)
            state = replace(state, iterations=1, stop=StopReason.SOLVED, rank=rank, inverse_diagonal=inverse)
        point = quadratic.point(v)
        return replace(state, point=point, history=np.array([start, problem.objective(point)]))


def solve_ridge(quadratic: Quadratic, problem: Problem, weight: float) -> tuple[np.ndarray, int, np.ndarray]:
    """Solve (Q + L2) v = q: the solution (n,), the rank, and the diagonal of the inverse in raw units.

    Dependent columns are found by the condition number of the matrix scaled to a unit diagonal; the solution is then
    the one of least norm, and the inverse is empty.
    """
    A = quadratic.Q + np.diag(problem.penalty.l2.strength)
    free = np.flatnonzero(np.diag(A) > 0)
    unit = 1.0 / np.sqrt(np.diag(A)[free])
    A, q = A[np.ix_(free, free)] * np.outer(unit, unit), quadratic.q[free] * unit
    v = np.zeros(len(quadratic.q))
    try:
        factor = _well_conditioned_factor(A)
    except linalg.LinAlgError:
        solution, rank = _least_norm(A, q)
        v[free] = unit * solution
        return v, rank, np.empty(0)
    v[free] = unit * linalg.cho_solve(factor, q)
    return v, len(free), _raw_inverse_diagonal(factor, problem, free, unit) / weight


def _well_conditioned_factor(A: np.ndarray) -> tuple[np.ndarray, bool]:
    """The Cholesky factor; raises `LinAlgError` where rounding would decide the solution."""
    factor = linalg.cho_factor(A, lower=True)
    if len(A):
        rcond, _ = linalg.lapack.dpocon(factor[0], np.linalg.norm(A, 1), uplo="L")
        if rcond < len(A) * np.finfo(float).eps:
            raise linalg.LinAlgError("the columns are numerically dependent")
    return factor


def _least_norm(A: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, int]:
    """The least-norm solution of A v = q for a positive semidefinite A, and the rank of A."""
    eigenvalues, vectors = linalg.eigh(A)
    keep = eigenvalues > len(A) * np.finfo(float).eps * eigenvalues[-1] * 10
    vectors = vectors[:, keep]
    return vectors @ ((vectors.T @ q) / eigenvalues[keep]), int(np.count_nonzero(keep))


def _raw_inverse_diagonal(
    factor: tuple[np.ndarray, bool], problem: Problem, free: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """The diagonal of the inverse after the change back to raw units; zero for a column kept out.

    b = c - center . (u / scale), so its entry is the quadratic form of that combination.
    """
    inverse, _ = linalg.lapack.dpotri(factor[0], lower=1)
    d = len(problem.scale)
    diagonal = np.zeros(d + problem.fit_intercept)
    diagonal[free] = np.diag(inverse) * unit**2
    diagonal[:d] *= problem.inverse_scale**2
    if problem.fit_intercept:
        combination = np.append(-problem.center * problem.inverse_scale, 1.0)[free] * unit
        diagonal[d] = combination @ linalg.cho_solve(factor, combination)
    return diagonal
