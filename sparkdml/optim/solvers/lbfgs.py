"""L-BFGS; with L1 as a proximal quasi-Newton method."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GradientSums, LineSums, Query
from sparkdml.optim.solvers.base import ROUNDING, Solver, State, StopReason, begin, empty, is_near

MEMORY = 10  # pairs kept, as in pyspark.ml
SUFFICIENT_DECREASE = 1e-4
FLAT = 1e-6  # share of F within which slopes tell of a decrease better than F: Hager and Zhang's epsilon
BACKTRACKS = 0.5 ** np.arange(1, 17)  # the steps of a line search, all tried in one pass
CURVATURE_FLOOR = 1e-10  # a pair with a smaller s.y / (||s|| ||y||) is rounding, not curvature
PATIENCE = 20  # iterations without progress that end a fit at machine precision


@dataclass(frozen=True, eq=False)
class LbfgsState(State):
    """Adds the memory and the search.

    Attributes
    ----------
    S, Y : the last steps and changes of the gradient, (m, n) each, oldest first.
    direction : where the search goes from `point`, (n,), and `t` how far along it the next trial lies.
    expected : the change of F that a full step was expected to bring, to first order; negative.
    searching : the next query is a line search, since the trial was refused.
    curvature, residual, stalled : the smallest curvature and KKT residual met, and iterations without progress.
    """

    S: np.ndarray = field(default_factory=empty)
    Y: np.ndarray = field(default_factory=empty)
    direction: np.ndarray = field(default_factory=empty)
    t: float = 0.0
    expected: float = 0.0
    searching: bool = False
    curvature: float = np.inf
    residual: float = np.inf
    stalled: int = 0


class Lbfgs(Solver[LbfgsState]):
    """Step to the minimum of a quadratic model of the smooth part plus the exact L1 penalty.

    The model's matrix is the L-BFGS approximation of the Hessian. A trial takes one pass; a refused trial takes a
    second, which tries 16 shorter steps at once. Without L1 the minimum is the classical L-BFGS direction.

    Source: J. Nocedal, S. Wright, Numerical Optimization (2006), chapter 7; J. Lee, Y. Sun, M. Saunders, Proximal
    Newton-Type Methods for Minimizing Composite Functions (2014).
    """

    name = "l-bfgs"
    state_class = LbfgsState

    def init(self, problem: Problem) -> LbfgsState:
        n = len(problem.start)
        return LbfgsState(S=np.empty((0, n)), Y=np.empty((0, n)), direction=np.zeros(n))

    def queries(self, problem: Problem, state: LbfgsState) -> list[Query]:
        if state.point is None:
            return [problem.gradient_query(problem.start)]
        if state.searching:
            return [problem.line_query(state.point.theta, state.direction, BACKTRACKS)]
        return [problem.gradient_query(state.point.theta + state.t * state.direction)]

    def step(self, problem: Problem, state: LbfgsState, answers: Sequence[GradientSums | LineSums]) -> LbfgsState:
        (answer,) = answers
        if isinstance(answer, LineSums):
            return _shorten(problem, state, answer)
        if state.point is None:
            state = begin(state, problem, problem.point(problem.start, answer), self.max_iter)
            return _aim(problem, state) if state.stop is StopReason.RUNNING else state
        point = problem.point(state.point.theta + state.t * state.direction, answer)
        if _is_accepted(problem, state, point):
            return self._accept(problem, state, point)
        if state.t < 1.0:  # the line search had found it lower: only rounding can be left
            return _forget(problem, state)
        return replace(state, searching=True)

    def _accept(self, problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
        state = _remember(problem, state, point)
        if is_near(problem, point, state.curvature, self.tol):
            return replace(state, stop=StopReason.CONVERGED)
        if state.stalled >= PATIENCE:
            return replace(state, stop=StopReason.PRECISION)
        if state.iterations >= self.max_iter:
            return replace(state, stop=StopReason.MAX_ITERATIONS)
        return _aim(problem, state)


def _aim(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Choose the direction: to the minimizer of the model."""
    assert state.point is not None
    theta, gradient = state.point.theta, problem.smooth_gradient(state.point)
    l1 = problem.penalty.l1
    model = Model.of(state.S, state.Y, problem.lipschitz)
    if np.any(l1.strength):
        direction = model.minimize(theta, gradient, l1.strength) - theta
    else:
        direction = -inverse_times(state.S, state.Y, gradient, 1.0 / problem.lipschitz)
    expected = _slope(gradient, direction, theta, l1.strength)
    if expected < 0.0:
        return replace(state, direction=direction, t=1.0, expected=expected, searching=False)
    return _forget(problem, state)


def _forget(problem: Problem, state: LbfgsState) -> LbfgsState:
    """Start again from the plain gradient; where even that leads nowhere, rounding is all that is left."""
    if not len(state.S):
        return replace(state, stop=StopReason.PRECISION)
    return _aim(problem, replace(state, S=state.S[:0], Y=state.Y[:0]))


def _shorten(problem: Problem, state: LbfgsState, answer: LineSums) -> LbfgsState:
    """Take the best of the shorter steps that the line search tried."""
    assert state.point is not None
    objectives = problem.line_objectives(state.point.theta, state.direction, BACKTRACKS, answer)
    bound = problem.objective(state.point) + SUFFICIENT_DECREASE * BACKTRACKS * state.expected
    admissible = np.where(objectives <= bound, objectives, np.inf)
    if not np.any(np.isfinite(admissible)):
        return _forget(problem, state)
    return replace(state, t=float(BACKTRACKS[np.argmin(admissible)]), searching=False)


def _is_accepted(problem: Problem, state: LbfgsState, point: Point) -> bool:
    """Sufficient decrease; measured by the slopes where the change of F is lost in rounding.

    Source: W. Hager, H. Zhang, A New Conjugate Gradient Method with Guaranteed Descent (2005), approximate Wolfe.
    """
    assert state.point is not None
    before, after = problem.objective(state.point), problem.objective(point)
    if after <= before + SUFFICIENT_DECREASE * state.t * state.expected:
        return True
    gradient = problem.smooth_gradient(point)
    slope = _slope(gradient, state.direction, point.theta, problem.penalty.l1.strength)
    flat = slope <= (1.0 - 2.0 * SUFFICIENT_DECREASE) * -state.expected
    return bool(flat and after <= before + FLAT * abs(before))


def _slope(gradient: np.ndarray, direction: np.ndarray, theta: np.ndarray, l1: np.ndarray) -> float:
    """The derivative of F along the direction, to first order; what leaves zero pays for it."""
    change = np.where(theta != 0.0, np.sign(theta) * direction, np.abs(direction))
    return float(gradient @ direction + l1 @ change)


def _remember(problem: Problem, state: LbfgsState, point: Point) -> LbfgsState:
    """Move to the point, keep its pair of step and change of gradient, and note the progress."""
    assert state.point is not None
    s = point.theta - state.point.theta
    y = problem.smooth_gradient(point) - problem.smooth_gradient(state.point)
    before, after = problem.objective(state.point), problem.objective(point)
    residual = float(np.linalg.norm(problem.residual(point)))
    progress = after < before - ROUNDING * abs(before) or residual < 0.9 * state.residual
    state = replace(
        state,
        point=point,
        iterations=state.iterations + 1,
        history=np.append(state.history, after),
        residual=min(residual, state.residual),
        stalled=0 if progress else state.stalled + 1,
    )
    sy = float(s @ y)
    if sy <= CURVATURE_FLOOR * float(np.linalg.norm(s) * np.linalg.norm(y)):
        return state
    S, Y = np.vstack([state.S, s])[-MEMORY:], np.vstack([state.Y, y])[-MEMORY:]
    return replace(state, S=S, Y=Y, curvature=min(state.curvature, sy / float(s @ s)))


def inverse_times(S: np.ndarray, Y: np.ndarray, g: np.ndarray, initial: float) -> np.ndarray:
    """H g by the two-loop recursion; H = initial * I without pairs."""
    q, alpha = first_loop(S, Y, g)
    return second_loop(S, Y, alpha, q * (float(S[-1] @ Y[-1]) / float(Y[-1] @ Y[-1]) if len(S) else initial))


def first_loop(S: np.ndarray, Y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first half of the recursion: q, to be multiplied by the initial H, and what the second half needs, (m,)."""
    q = g.copy()
    alpha = np.empty(len(S))
    for i in reversed(range(len(S))):
        alpha[i] = (S[i] @ q) / (S[i] @ Y[i])
        q -= alpha[i] * Y[i]
    return q, alpha


def second_loop(S: np.ndarray, Y: np.ndarray, alpha: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The second half: H g, from r, the initial H times q."""
    for i in range(len(S)):
        r = r + (alpha[i] - (Y[i] @ r) / (S[i] @ Y[i])) * S[i]
    return r


@dataclass(frozen=True, eq=False)
class Model:
    """The L-BFGS matrix B = sigma I + basis @ core @ basis.T, with an orthonormal basis (n, r)."""

    sigma: float
    basis: np.ndarray
    core: np.ndarray

    @classmethod
    def of(cls, S: np.ndarray, Y: np.ndarray, initial: float) -> "Model":
        """The compact form: Nocedal and Wright, equation 7.24."""
        if not len(S):
            return cls(initial, np.empty((S.shape[1], 0)), np.empty((0, 0)))
        SY = S @ Y.T
        sigma = float(Y[-1] @ Y[-1]) / SY[-1, -1]
        middle = np.block([[sigma * (S @ S.T), np.tril(SY, -1)], [np.tril(SY, -1).T, -np.diag(np.diag(SY))]])
        basis, triangle = np.linalg.qr(np.hstack([sigma * S.T, Y.T]))
        core = -triangle @ np.linalg.lstsq(middle, triangle.T, rcond=None)[0]
        return cls(sigma, basis, (core + core.T) / 2)

    def times(self, v: np.ndarray) -> np.ndarray:
        """B v."""
        return self.sigma * v + self.basis @ (self.core @ (self.basis.T @ v))

    def decrease(self, theta: np.ndarray, g: np.ndarray, l1: np.ndarray) -> float:
        """How much lower than at theta the model is at its minimum."""
        v = self.minimize(theta, g, l1)
        s = v - theta
        return -float(g @ s + s @ self.times(s) / 2.0 + l1 @ (np.abs(v) - np.abs(theta)))

    def minimize(
        self, theta: np.ndarray, g: np.ndarray, l1: np.ndarray, tol: float = 1e-10, max_steps: int = 2000
    ) -> np.ndarray:
        """argmin_v g.(v - theta) + (v - theta).B (v - theta) / 2 + sum_j l1_j |v_j|.

        Accelerated proximal gradient with the momentum of the known condition number; touches no data.
        Source: Y. Nesterov, Introductory Lectures on Convex Optimization (2004), section 2.2.
        """
        spectrum = np.append(self.sigma + np.linalg.eigvalsh(self.core), self.sigma)
        largest, smallest = float(spectrum.max()), max(float(spectrum.min()), 0.0)
        ratio = np.sqrt(smallest / largest)
        momentum = (1.0 - ratio) / (1.0 + ratio)
        v = ahead = theta
        for _ in range(max_steps):
            forward = ahead - (g + self.times(ahead - theta)) / largest
            new = np.sign(forward) * np.maximum(np.abs(forward) - l1 / largest, 0.0)
            if np.linalg.norm(new - ahead) <= tol * np.linalg.norm(new - theta):
                return new
            v, ahead = new, new + momentum * (new - v)
        return v
