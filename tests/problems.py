"""Data and problems for the laws: every one has an optimum that is known beforehand."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sparkdml.engine.data import Data, LocalData
from sparkdml.engine.minimize import Fit, minimize
from sparkdml.optim.losses import FAMILY_LINKS, LOSSES, GeneralizedLinear, Loss, Softmax, generalized_linear
from sparkdml.optim.penalties import L1, L2, ElasticNet
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import SOLVERS

PENALTIES = {"none": (0.0, 0.0), "l2": (0.0, 0.3), "l1": (0.2, 0.0), "elastic net": (0.15, 0.2)}


@dataclass(frozen=True)
class TwoMargins(Loss):
    """A loss of two coupled margins, so that the tests see C > 1 before the library has such a loss."""

    name = "twoMargins"
    margins = 2
    curvature = 2.0

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 0.5 * np.square(z[..., 0] - y) + np.log(np.cosh(z[..., 1] - 0.5 * z[..., 0]))

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        slope = np.tanh(z[..., 1] - 0.5 * z[..., 0])
        return np.stack([z[..., 0] - y - 0.5 * slope, slope], axis=-1)

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        c = 1.0 - np.square(np.tanh(z[..., 1] - 0.5 * z[..., 0]))
        first = np.stack([1.0 + 0.25 * c, -0.5 * c], axis=-1)
        return np.stack([first, np.stack([-0.5 * c, c], axis=-1)], axis=-2)

    def link(self, mean: np.ndarray) -> np.ndarray:
        return np.stack([mean, 0.5 * np.asarray(mean)], axis=-1)

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return z[..., 0]

    def domain(self, y: np.ndarray) -> np.ndarray:
        return np.isfinite(y)


def glm_losses() -> dict[str, GeneralizedLinear]:
    """Every family with each of its links, and with powers between them."""
    pairs = [generalized_linear(family, link) for family, links in FAMILY_LINKS.items() for link in links]
    powers = [(0.0, 0.5), (1.5, None), (1.5, 0.0), (1.2, 1.0), (2.5, 0.0), (3.0, None)]
    pairs += [generalized_linear("tweedie", variance_power=p, link_power=link) for p, link in powers]
    pairs.append(generalized_linear("negativeBinomial", overdispersion=0.3))
    return {f"{loss.family}, {loss.link_function}": loss for loss in pairs}


GLM_LOSSES = glm_losses()
ALL_LOSSES: dict[str, Loss] = {**LOSSES, TwoMargins.name: TwoMargins(), Softmax.name: Softmax(3)}
# Those whose best constant prediction is the mean, and whose gradient is the prediction minus the label.
OF_THE_MEAN = {name: loss for name, loss in ALL_LOSSES.items() if name not in ("huber", "quantile", "hinge")}
CANONICAL = {name: LOSSES[name] for name in ("squaredError", "logistic")}


@dataclass(frozen=True, eq=False)
class Rows:
    """The arguments of `LocalData`."""

    features: Any
    label: np.ndarray
    weight: np.ndarray | None = None
    offset: np.ndarray | None = None
    fold: np.ndarray | None = None

    def local(self, partitions: int = 1) -> LocalData:
        return LocalData(self.features, self.label, self.weight, self.offset, self.fold, partitions=partitions)

    def take(self, rows: np.ndarray) -> "Rows":
        parts = (self.label, self.weight, self.offset, self.fold)
        return Rows(self.features[rows], *(part if part is None else part[rows] for part in parts))

    @property
    def dense(self) -> np.ndarray:
        return self.features if isinstance(self.features, np.ndarray) else self.features.toarray()

    @property
    def sparse(self) -> "Rows":
        return replace(self, features=csr_array(self.features))

    @property
    def weights(self) -> np.ndarray:
        return np.ones(len(self.label)) if self.weight is None else self.weight


def random_features(n: int = 200, d: int = 7, density: float = 0.6, seed: int = 0) -> np.ndarray:
    """Correlated columns of different scales and means; the zeros of a sparse table are left zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ (np.eye(d) + 0.3 * rng.normal(size=(d, d))) + rng.normal(size=d)
    return X * (rng.random((n, d)) < density) * np.geomspace(0.3, 3.0, d)


def random_rows(n: int = 200, d: int = 7, density: float = 0.6, seed: int = 0) -> Rows:
    """Rows with all parts: weights (some zero), offsets, three folds."""
    rng = np.random.default_rng(seed + 1)
    weight = rng.exponential(size=n) * (rng.random(n) < 0.9)
    X = random_features(n, d, density, seed)
    return Rows(X, rng.normal(2.0, 3.0, n), weight, rng.normal(size=n), rng.integers(0, 3, n).astype(np.int32))


def class_rows(n: int = 200, d: int = 7, density: float = 0.6, seed: int = 0) -> Rows:
    """As `random_rows`, with labels of 0, 1 and 2, which every loss is defined for."""
    rows = random_rows(n, d, density, seed)
    return replace(rows, label=np.floor(rows.label) % 3.0)


SQUARED = LOSSES["squaredError"]


def standardized(
    data: Data, intercept: bool, l1: float = 0.0, l2: float = 0.0, fold: int = -1, loss: Loss = SQUARED
) -> Problem:
    """The problem in units in which every column varies by one, as the estimator builds it."""
    statistics = data.statistics
    mean, deviation = statistics.center[:-1], np.sqrt(statistics.variance[:-1])
    center = mean if intercept else np.zeros_like(mean)
    scale = deviation if intercept else np.hypot(deviation, mean)
    shares = isinstance(loss, Softmax)  # the means of its labels, which begin at equal ones
    mean_label = np.full(loss.margins, 1.0 / loss.margins) if shares else statistics.center[-1]
    average = loss.link(mean_label)[0 if intercept else loss.margins - loss.constants :]
    coefficients = len(scale) * (loss.margins - loss.constants)
    penalized = np.append(np.ones(coefficients), np.zeros(len(average)))
    start = np.append(np.zeros(coefficients), average)
    penalty = ElasticNet(L1(l1 * penalized), L2(l2 * penalized))
    return Problem(loss, penalty, center, scale, intercept, start, statistics.center, fold)


def design(problem: Problem, X: np.ndarray) -> np.ndarray:
    """The matrix A of z = A theta, (n, len(theta))."""
    A = (X - problem.center) * problem.inverse_scale
    return np.column_stack([A, np.ones(len(A))]) if problem.fit_intercept else A


def with_known_optimum(
    X: Any,
    weight: np.ndarray | None,
    intercept: bool,
    l1: float,
    l2: float,
    seed: int = 5,
    loss: Loss = SQUARED,
    size: float = 1.0,
) -> tuple[Rows, Problem, np.ndarray]:
    """Labels such that a chosen theta satisfies the KKT conditions: A'S r / sum(s) = -subgradient of the penalty.

    Here r is the gradient by the margin, which every loss of one margin has linear in the label. Of a logistic loss the
    labels are fractions: the loss is that of a row of label 1 and one of label 0 with these shares as weights.
    `size` is that of theta and of the noise, which must be small where labels could leave the domain of the loss.
    """
    rng = np.random.default_rng(seed)
    bare = Rows(X, np.zeros(X.shape[0]), weight)
    problem = standardized(bare.local(), intercept, l1, l2)
    A, s = design(problem, bare.dense), bare.weights
    theta = rng.normal(size=A.shape[1]) * size * (1.0 if loss.quadratic else 0.4)
    subgradient = np.sign(theta)
    if l1:
        theta[1:4] = 0.0
        subgradient[1:4] = [0.9, -0.5, 0.0]
    wanted = -(problem.penalty.l1.strength * subgradient + problem.penalty.l2.strength * theta)
    noise = rng.normal(size=len(A)) * size * (1.0 if loss.quadratic else 0.05)
    gram = A.T @ (A * s[:, None])
    residual = noise + A @ np.linalg.solve(gram, wanted * s.sum() - A.T @ (s * noise))
    z = (A @ theta)[:, None]
    at_zero, at_one = (loss.gradient(np.full(len(A), y), z)[:, 0] for y in (0.0, 1.0))
    rows = replace(bare, label=(at_zero - residual) / (at_zero - at_one))
    return rows, standardized(rows.local(), intercept, l1, l2, loss=loss), theta


def kkt_residual(problem: Problem, rows: Rows, theta: np.ndarray) -> float:
    """The distance of -gradient from the subdifferential of the L1 part, computed from the rows alone."""
    A, s = design(problem, rows.dense), rows.weights
    slopes = problem.loss.gradient(rows.label, (A @ theta)[:, None])[:, 0]
    gradient = A.T @ (s * slopes) / s.sum() + problem.penalty.l2.strength * theta
    l1 = problem.penalty.l1.strength
    at_zero = np.maximum(np.abs(gradient) - l1, 0.0)
    return float(np.max(np.where(theta == 0.0, at_zero, np.abs(gradient + l1 * np.sign(theta)))))


def solve(data: Data, problem: Problem, solver: str, tol: float = 1e-12, max_iter: int = 1000) -> Fit:
    """One fit alone."""
    return minimize([(problem, SOLVERS[solver](tol=tol, max_iter=max_iter))], data)[0]


def theta_of(fit: Fit) -> np.ndarray:
    """Where a fit ended."""
    assert fit.state.point is not None
    return fit.state.point.theta
