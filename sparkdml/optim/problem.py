"""A fit as a problem of minimization, in variables in which every column has the same scale.

The solvers see theta = (u, c): u = scale * w, and c is the margin of the average row. The executors see the raw
(w, b) with w = u / scale and b = c - center . w, so that they never touch the scaling and sparse rows stay sparse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sparkdml.optim.losses import Loss
from sparkdml.optim.penalties import ElasticNet
from sparkdml.optim.queries import (
    Gradient,
    GradientSums,
    Gram,
    HeldOut,
    HeldOutSums,
    Line,
    LineSums,
    LocalEpoch,
    Sample,
    Units,
)


@dataclass(frozen=True, eq=False)
class Point:
    """Where a solver stands.

    Attributes
    ----------
    theta : (n,).
    loss : the mean weighted loss at theta.
    gradient : of that loss by theta, (n,).
    slope : of that loss by the margins, averaged over the rows, (C,); the last C of `gradient` with an intercept.
    """

    theta: np.ndarray
    loss: float
    gradient: np.ndarray
    slope: np.ndarray


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimize F(theta) = mean weighted loss + penalty(theta).

    Parameters
    ----------
    loss : the pointwise loss, of C margins.
    penalty : over theta (n,); its strength is zero at the intercept.
    center, scale : the change of variables, (d,) each. A scale of zero keeps the coefficient at zero, as for a
        column that never changes; `center` is zero without an intercept.
    fit_intercept : whether theta ends with the C margins of the average row.
    start : theta where a solver begins, (n,).
    shift : where the Gram matrix is centred, (d + 1,): the features, then the label.
    fold : the rows of this fold are left out; -1 leaves out none.
    class_weights : multiply the weights of the rows with these labels.
    """

    loss: Loss
    penalty: ElasticNet
    center: np.ndarray
    scale: np.ndarray
    fit_intercept: bool
    start: np.ndarray
    shift: np.ndarray
    fold: int = -1
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def inverse_scale(self) -> np.ndarray:
        """1 / scale, and zero where the scale is zero, (d,)."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    @property
    def lipschitz(self) -> float:
        """An upper bound of the curvature of the smooth part: the trace bounds the largest eigenvalue."""
        trace = np.count_nonzero(self.scale) + self.fit_intercept
        return self.loss.curvature * max(int(trace), 1) + float(self.penalty.l2.strength.max(initial=0.0))

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """theta (n,) as u (d, C) and c (C,)."""
        size = len(self.scale) * self.loss.margins
        c = theta[size:] if self.fit_intercept else np.zeros(self.loss.margins)
        return theta[:size].reshape(-1, self.loss.margins), c

    def join(self, u: np.ndarray, c: np.ndarray) -> np.ndarray:
        """The inverse of `split`."""
        return np.concatenate([u.ravel(), c]) if self.fit_intercept else u.ravel()

    def raw(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The raw coefficients w (d, C) and intercepts b (C,) of theta; linear in theta."""
        u, c = self.split(theta)
        w = u * self.inverse_scale[:, None]
        return w, c - self.center @ w

    def gradient_query(self, theta: np.ndarray, sample: Sample | None = None) -> Gradient:
        """The query whose answer `point` turns into loss and gradient at theta, of all rows or of a sample."""
        return Gradient(self.loss, *self.raw(theta), self.fold, sample, self.class_weights)

    def point(self, theta: np.ndarray, sums: GradientSums) -> Point:
        """Loss and gradient in the variables of the solver, by the chain rule through `raw`."""
        gradient = (sums.w - np.outer(self.center, sums.b)) * self.inverse_scale[:, None]
        joined = self.join(gradient, sums.b) / sums.weight
        return Point(theta, sums.value / sums.weight, joined, sums.b / sums.weight)

    def line_query(self, theta: np.ndarray, direction: np.ndarray, steps: np.ndarray) -> Line:
        """The query whose answer `line_objectives` turns into F along a direction."""
        return Line(self.loss, *self.raw(theta), *self.raw(direction), steps, self.fold, self.class_weights)

    def line_objectives(
        self, theta: np.ndarray, direction: np.ndarray, steps: np.ndarray, sums: LineSums
    ) -> np.ndarray:
        """F(theta + t direction) for each t of `steps`, (T,)."""
        penalties = [self.penalty.value(theta + t * direction) for t in steps]
        return sums.values / sums.weight + np.array(penalties)

    def local_query(
        self, theta: np.ndarray, control: np.ndarray, step: float, free: np.ndarray | None, measured: bool
    ) -> LocalEpoch:
        """The query for walks of the partitions from theta on."""
        w, b = self.raw(theta)
        return LocalEpoch(self.loss, w, b, self.units, control, step, free, measured, self.fold, self.class_weights)

    @cached_property
    def units(self) -> Units:
        """The change of variables as the data need it."""
        return Units(self.center, self.inverse_scale, self.penalty.l2.strength, self.fit_intercept)

    def gram_query(self) -> Gram:
        """The query that says all about the data where the loss is quadratic."""
        return Gram(self.shift, self.fold, self.class_weights)

    def held_out_query(self, theta: np.ndarray) -> HeldOut:
        """The query whose answer `held_out_loss` turns into the loss at theta of the rows that are left out."""
        return HeldOut(self.loss, *self.raw(theta), self.fold, self.class_weights)

    def held_out_loss(self, sums: HeldOutSums) -> float:
        """The mean weighted loss of the rows that are left out, without the penalty."""
        return sums.value / sums.weight

    def objective(self, point: Point) -> float:
        """F(theta)."""
        return point.loss + self.penalty.value(point.theta)

    def smooth_gradient(self, point: Point) -> np.ndarray:
        """The gradient of the loss and of the smooth part of the penalty, (n,)."""
        return point.gradient + self.penalty.l2.gradient(point.theta)

    def residual(self, point: Point) -> np.ndarray:
        """The KKT residual theta - prox(theta - gradient), (n,): zero at the minimum and only there."""
        return point.theta - self.penalty.l1.prox(point.theta - self.smooth_gradient(point), 1.0)
