"""The normal equations: one pass for a Gram matrix, everything else on the driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.gram import Quadratic
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, GramSums, Query
from sparkdml.optim.solvers.base import Solver, StopReason, empty
from sparkdml.optim.solvers.coordinate_descent import COORDINATE_TOL, minimize_quadratic
from sparkdml.optim.solvers.covariance import Covariance, CovarianceState, objective_matrix

# A sum of squared residuals below this share of that of the labels has lost digits as the difference that it is of the
# moments: it keeps some ten digits there.
LOST = 1e-6
MOST_LOOKS = 2  # at the residuals; after a second one of independent columns only rounding is left


@dataclass(frozen=True, eq=False)
class NormalState(CovarianceState):
    """Adds what a look at the residuals needs.

    Attributes
    ----------
    Q : the second derivatives of the loss, (n, n); empty where the residuals need no look.
    looks : how often the residuals were looked at.
    """

    Q: np.ndarray = field(default_factory=empty)
    looks: int = 0


class Normal(Solver[NormalState]):
    """Solve (Q + L2) v = q by Cholesky; with dependent columns by eigenvalues; with L1 or in a box by coordinates.

    Where the columns fit the labels so well that the moments do not know the residuals any more, one pass looks at
    these, and their gradient refines the solution; where that gains much, a second pass looks again.

    Source of the refinement: A. Bjorck, Numerical Methods for Least Squares Problems (1996), section 2.9.
    """

    name = "normal"
    bounded = True
    iterative = False
    state_class = NormalState

    def refusal(self, problem: Problem) -> str | None:
        if not problem.loss.quadratic:
            return f"needs a squared loss, not {problem.loss.name!r}; take solver='l-bfgs'."
        return None

    def init(self, problem: Problem) -> NormalState:
        return NormalState()

    def queries(self, problem: Problem, state: NormalState) -> list[Query]:
        return [problem.gram_query() if state.point is None else problem.gradient_query(state.point.theta)]

    def step(self, problem: Problem, state: NormalState, answers: Sequence[GramSums | GradientSums]) -> NormalState:
        (answer,) = answers
        if isinstance(answer, GradientSums):
            assert state.point is not None
            return self._refined(problem, state, problem.point(state.point.theta, answer))
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
            state = replace(state, iterations=1, stop=StopReason.SOLVED, rank=matrix.rank, covariance=spread.diagonal)
        point = quadratic.point(v)
        state = replace(state, point=point, history=np.array([start, problem.objective(point)]))
        if 2.0 * point.loss >= LOST * quadratic.a:
            return state
        return replace(state, Q=quadratic.Q, stop=StopReason.RUNNING)

    def _refined(self, problem: Problem, state: NormalState, seen: Point) -> NormalState:
        """End at the point whose residuals were seen, or where their gradient leads; or look there again."""
        point, looks, stop = seen, state.looks + 1, StopReason.SOLVED
        if not problem.penalty.has_kinks:
            step = -objective_matrix(problem, state.Q).solve(problem.smooth_gradient(seen))
            moved = moved_along(problem, seen, step, state.Q)
            if moved.loss >= LOST * seen.loss:
                point = moved
            elif looks < MOST_LOOKS:
                point, stop = moved, StopReason.RUNNING
        history = np.array([state.history[0], problem.objective(point)])
        return replace(state, point=point, looks=looks, history=history, stop=stop)


def moved_along(problem: Problem, point: Point, step: np.ndarray, hessian: np.ndarray) -> Point:
    """Return where a step ends, (n,), as the matrix of second derivatives of the loss there predicts it."""
    change = hessian @ step
    gradient = point.gradient + change
    return Point(
        theta=point.theta + step,
        loss=point.loss + float(step @ (point.gradient + change / 2.0)),
        gradient=gradient,
        slope=gradient[-len(point.slope) :] if problem.fit_intercept else point.slope,
    )
