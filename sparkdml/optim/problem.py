"""A fit as a problem of minimization, in variables in which every column has the same scale.

The solvers see theta = (u, c): u = scale * w, and c is the margin of the average row. The executors see the raw
(w, b) with w = u / scale and b = c - center . w, so that they never touch the scaling and sparse rows stay sparse.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sparkdml.optim.aggregation import WEIGHTED_MEAN, aggregate
from sparkdml.optim.bounds import Bounds
from sparkdml.optim.losses import Loss
from sparkdml.optim.moments import moved
from sparkdml.optim.penalties import ElasticNet
from sparkdml.optim.queries import (
    EachPartition,
    Gradient,
    GradientSums,
    Gram,
    HeldOut,
    HeldOutSums,
    Hessian,
    HessianSums,
    Line,
    LineSums,
    LocalEpoch,
    LocalEpochSums,
    ObservedHessian,
    PerPartition,
    Query,
    Sample,
    Scores,
    Units,
    unpacked,
)

ENDS = np.array([0.0, 1.0])  # of a line, as steps


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
    penalty : over theta (n,); its strength is zero at the intercept. Its box is that of `bounds`.
    center, scale : the change of variables, (d,) each. A scale of zero keeps the coefficient at zero, as for a
        column that never changes; `center` is zero without an intercept, and where that has a bound.
    fit_intercept : whether theta ends with the C margins of the average row; the constants of the loss are there
        also without.
    start : theta where a solver begins, (n,).
    shift : where the Gram matrix is centred, (d + 1,): the features, then the label.
    fold : the rows of this fold are left out; -1 leaves out none.
    aggregation : how the partitions' gradients make one, of `aggregation.AGGREGATIONS`. Unless it is a mean, what comes
        of them is no function's gradient, and the loss of a point only tells how far it is from the others.
    axes : the orthonormal axes along which gradients are aggregated, one a column, (n, n); None are those of theta.
    origin : theta without coefficients, (n,), from which `way` measures; None where that is the start.
    class_weights : multiply the weights of the rows with these labels.
    bounds : of the raw coefficients and intercepts, or None.
    offset_mean : what the margins of the average row have beside those in theta.
    null : the best constant next to the offsets, and the curvature of the mean loss by it, where they were measured.
    confined : the bounds keep theta from the best constant prediction, at which it would start.
    settled : the start is known to be as good as the minimum, where a solver stops.
    foreign : the start comes from another fit, perhaps of other units, and may be worse than the origin.
    reference : F at the origin, where it was compared with that of a foreign start; a scale of objectives.
    sample : the rows that are looked at; None for all.
    """

    loss: Loss
    penalty: ElasticNet
    center: np.ndarray
    scale: np.ndarray
    fit_intercept: bool
    start: np.ndarray
    shift: np.ndarray
    fold: int = -1
    aggregation: str = WEIGHTED_MEAN
    axes: np.ndarray | None = None
    origin: np.ndarray | None = None
    class_weights: Mapping[float, float] = field(default_factory=dict)
    bounds: Bounds | None = None
    offset_mean: float = 0.0
    null: tuple[float, float] | None = None
    confined: bool = False
    settled: bool = False
    foreign: bool = False
    reference: float = 0.0
    sample: Sample | None = None

    @property
    def inverse_scale(self) -> np.ndarray:
        """1 / scale, and zero where the scale is zero, (d,)."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    @property
    def lipschitz(self) -> float:
        """An upper bound of the curvature of the smooth part: the trace bounds the largest eigenvalue.

        Where the loss has no such bound, the curvature that it is expected to have at the start takes its place.
        """
        trace = np.count_nonzero(self.scale) + self.fit_intercept
        return self._curvature * max(int(trace), 1) + float(self.penalty.l2.strength.max(initial=0.0))

    @property
    def _curvature(self) -> float:
        """The bound of the loss, or without one its expected curvature at the margin of the average row, else one."""
        if np.isfinite(self.loss.curvature):
            return self.loss.curvature
        return float(np.linalg.eigvalsh(self.average_hessian).max()) or 1.0

    @property
    def average_hessian(self) -> np.ndarray:
        """The expected second derivatives of the loss without coefficients, (C, C).

        They are those of the average row at the origin, where a start from another model does not reach; or, since
        offsets make rows differ, those that were measured.
        """
        if self.null is not None:
            return np.full((1, 1), self.null[1])
        _, z = self.split(self.start if self.origin is None else self.origin)
        z[: self.loss.margins - self.loss.constants] += self.offset_mean
        return self.loss.fisher(self.loss.inverse_link(z), z)

    @property
    def information(self) -> float:
        """What the average row tells, as a share of the most that a row can: of two classes, 4 times their shares."""
        if not np.isfinite(self.loss.curvature):
            return 1.0
        found = float(np.trace(self.average_hessian)) / (self.loss.margins * self.loss.curvature)
        return min(found, 1.0) or 1.0

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """theta (n,) as u (d, C) and c (C,)."""
        C, constants = self.loss.margins, self.loss.constants
        size = len(self.scale) * (C - constants)
        u = np.zeros((len(self.scale), C))
        u[:, : C - constants] = theta[:size].reshape(-1, C - constants)
        c = np.zeros(C)
        c[self._absent :] = theta[size:]
        return u, c

    def join(self, u: np.ndarray, c: np.ndarray) -> np.ndarray:
        """The inverse of `split`; the constants of the loss have no coefficients, so theirs are left out."""
        return np.concatenate([u[:, : self.loss.margins - self.loss.constants].ravel(), c[self._absent :]])

    @property
    def _absent(self) -> int:
        """How many margins of the average row theta leaves out, the first: without an intercept they are zero."""
        return 0 if self.fit_intercept else self.loss.margins - self.loss.constants

    def starting_from(self, w: np.ndarray, b: np.ndarray | None) -> "Problem":
        """The same problem, to be begun at the raw coefficients w (d, C) and intercepts b (C,).

        Coefficients that the scale keeps at zero stay there. Without b the margins of the average row are those of the
        start; so they are without any free coefficient, when the start is the minimum. The constants of the loss may be
        left out, of b and of w, where they are those of the start.
        """
        _, c = self.split(self.start)
        if b is not None and np.any(self.scale):
            c[: len(b)] = b
            c[: w.shape[1]] += self.center @ w
        return replace(self.starting_at(self.join(w * self.scale[:, None], c)), foreign=True)

    def starting_at(self, theta: np.ndarray) -> "Problem":
        """The same problem, to be begun at theta (n,), or where its box is nearest to that."""
        origin = self.start if self.origin is None else self.origin
        return replace(self, start=self.penalty.l1.clip(theta), origin=origin, foreign=False)

    def starting_at_origin(self) -> "Problem":
        """The same problem, to be begun without coefficients."""
        return self if self.origin is None else replace(self, start=self.origin, origin=None, foreign=False)

    def comparison_query(self) -> Query:
        """The query whose answer `line_objectives` turns into F at the origin and at the start."""
        assert self.origin is not None
        return self.line_query(self.origin, self.start - self.origin, ENDS)

    def compared(self, answer: LineSums | PerPartition[LineSums]) -> "Problem":
        """The same problem, begun at the origin if F is lower there than at the start."""
        assert self.origin is not None
        at_origin, at_start = self.line_objectives(self.origin, self.start - self.origin, ENDS, answer)
        if np.isfinite(at_origin) and not at_start <= at_origin:
            return self.starting_at_origin()
        return replace(self, foreign=False, reference=float(at_origin) if np.isfinite(at_origin) else 0.0)

    def settle(self) -> "Problem":
        """The same problem where the best constant prediction is perfect, so that there is nothing to find."""
        return replace(self, scale=np.zeros_like(self.scale), settled=True)

    def raw(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The raw coefficients w (d, C) and intercepts b (C,) of theta; linear in theta."""
        u, c = self.split(theta)
        w = u * self.inverse_scale[:, None]
        return w, c - self.center @ w

    def solution(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `raw`, and within the bounds to the last bit."""
        w, b = self.raw(theta)
        return (w, b) if self.bounds is None else self.bounds.clip(w, b, self.scale)

    def way(self, theta: np.ndarray) -> float:
        """How far theta lies from the origin: a length to measure others by, however near a start is to the minimum."""
        return float(np.linalg.norm(theta - (self.start if self.origin is None else self.origin)))

    def sampled(self, sample: Sample) -> "Problem":
        """The same problem of a sample of the rows, as far as gradients, lines and Hessians are asked for."""
        return replace(self, sample=sample)

    def gradient_query(self, theta: np.ndarray) -> Query:
        """The query whose answer `point` turns into loss and gradient at theta."""
        return self._asked(Gradient(self.loss, *self.raw(theta), self.fold, self.sample, self.class_weights))

    def _asked(self, query: Gradient | Line | LocalEpoch) -> Query:
        """The query as the aggregation needs it: of all partitions together, or of each apart."""
        return query if self.aggregation == WEIGHTED_MEAN else EachPartition(query)

    def point(self, theta: np.ndarray, answer: GradientSums | PerPartition[GradientSums]) -> Point:
        """Loss and gradient in the variables of the solver: of all rows, or aggregated over the partitions.

        Aggregated are the coordinates along `axes`, not those of raw gradients: a column with a large mean would
        leave nothing but the difference of two medians.
        """
        if isinstance(answer, GradientSums):
            return self._point(theta, answer)
        parts = [part for part in answer.parts if part.weight > 0.0]
        with np.errstate(over="ignore", invalid="ignore"):  # of a corrupted partition, which is left out
            points = [self._point(theta, part) for part in parts]
            gradients = np.array([point.gradient for point in points])
            along = gradients if self.axes is None else gradients @ self.axes
        stacked = np.column_stack([[point.loss for point in points], along, [point.slope for point in points]])
        one = aggregate(self.aggregation, stacked, np.array([part.weight for part in parts]))
        gradient = one[1 : len(theta) + 1]
        return Point(
            theta,
            float(one[0]),
            gradient if self.axes is None else self.axes @ gradient,
            one[len(theta) + 1 :],
        )

    def _point(self, theta: np.ndarray, sums: GradientSums) -> Point:
        """The chain rule through `raw`."""
        gradient = (sums.w - np.outer(self.center, sums.b)) * self.inverse_scale[:, None]
        joined = self.join(gradient, sums.b) / sums.weight
        return Point(theta, sums.value / sums.weight, joined, sums.b / sums.weight)

    def line_query(self, theta: np.ndarray, direction: np.ndarray, steps: np.ndarray) -> Query:
        """The query whose answer `line_objectives` turns into F along a direction."""
        w, b = self.raw(theta)
        dw, db = self.raw(direction)
        return self._asked(Line(self.loss, w, b, dw, db, steps, self.fold, self.sample, self.class_weights))

    def line_objectives(
        self, theta: np.ndarray, direction: np.ndarray, steps: np.ndarray, answer: LineSums | PerPartition[LineSums]
    ) -> np.ndarray:
        """F(theta + t direction) for each t of `steps`, (T,)."""
        with np.errstate(over="ignore", invalid="ignore"):  # of a direction that is far too long
            penalties = [self.penalty.value(theta + t * direction) for t in steps]
        if isinstance(answer, LineSums):
            return answer.values / answer.weight + np.array(penalties)
        parts = [part for part in answer.parts if part.weight > 0.0]
        losses = np.array([part.values / part.weight for part in parts])
        return aggregate(self.aggregation, losses, np.array([part.weight for part in parts])) + np.array(penalties)

    @property
    def tells_lines(self) -> bool:
        """Whether two points tell all of the line through them, as those of a quadratic function do."""
        return self.loss.quadratic and self.aggregation == WEIGHTED_MEAN

    def objectives_between(self, start: Point, end: Point, steps: np.ndarray) -> np.ndarray:
        """F(start + t (end - start)) for each t of `steps`, (T,), of a quadratic loss."""
        direction = end.theta - start.theta
        slope, bend = start.gradient @ direction, (end.gradient - start.gradient) @ direction
        penalties = [self.penalty.value(start.theta + t * direction) for t in steps]
        return start.loss + steps * slope + steps**2 / 2.0 * bend + np.array(penalties)

    def local_query(
        self, theta: np.ndarray, control: np.ndarray, step: float, free: np.ndarray | None, measured: bool
    ) -> Query:
        """The query for walks of the partitions from theta on, which `merged_walk` merges."""
        w, b = self.raw(theta)
        units, weights = self.units, self.class_weights
        return self._asked(LocalEpoch(self.loss, w, b, units, control, step, free, measured, self.fold, weights))

    def merged_walk(self, answer: LocalEpochSums | PerPartition[LocalEpochSums]) -> tuple[np.ndarray, float]:
        """The walk that the partitions' walks make, (n,), and the smallest of their cosines."""
        if isinstance(answer, LocalEpochSums):
            return (answer.walk / answer.weight if answer.weight else answer.walk), answer.cosine
        parts = [part for part in answer.parts if part.weight > 0.0]
        walks = np.array([part.walk / part.weight for part in parts])
        along = walks if self.axes is None else walks @ self.axes
        one = aggregate(self.aggregation, along, np.array([part.weight for part in parts]))
        return (one if self.axes is None else self.axes @ one), min(part.cosine for part in parts)

    @cached_property
    def units(self) -> Units:
        """The change of variables as the data need it."""
        return Units(self.center, self.inverse_scale, self.penalty.l2.strength, self.fit_intercept)

    def gram_query(self) -> Gram:
        """The query that says all about the data where the loss is quadratic."""
        return Gram(self.shift, self.fold, self.class_weights)

    def hessian_query(self, theta: np.ndarray) -> Hessian:
        """The query whose answer `hessian` turns into the expected second derivatives of the mean loss at theta."""
        w, b = self.raw(theta)
        return Hessian(self.loss, w, b, self.shift[:-1], self.fold, self.sample, self.class_weights)

    def observed_query(self, theta: np.ndarray) -> ObservedHessian:
        """The query whose answer `hessian` turns into the second derivatives of the mean loss at theta."""
        return ObservedHessian(**vars(self.hessian_query(theta)))

    def scores_query(self, theta: np.ndarray) -> Scores:
        """The query whose answer `hessian` turns into sum_i s_i^2 g_i g_i^T / sum_i s_i, g_i the gradient of a row."""
        return Scores(**vars(self.hessian_query(theta)))

    def hessian(self, sums: HessianSums) -> np.ndarray:
        """The second derivatives of the mean loss by theta, (n, n): the chain rule through `raw`."""
        d, C = len(self.scale), self.loss.margins
        scale, full = np.append(self.inverse_scale, 1.0), np.empty((d + 1, C, d + 1, C))
        with np.errstate(over="ignore", invalid="ignore"):  # of sums that overflowed, which whoever asked looks at
            for a, b, triangle in zip(*np.tril_indices(C), sums.second, strict=True):
                moments = unpacked(triangle) / sums.weight
                weight = moments[d, d]
                moments[d, :d], moments[:d, :d] = moved(
                    weight, moments[d, :d], moments[:d, :d], self.center - self.shift[:d]
                )
                moments[:d, d] = moments[d, :d]
                full[:, a, :, b] = full[:, b, :, a] = moments * np.outer(scale, scale)
        places = self.join(np.arange(d * C).reshape(d, C), np.arange(d * C, (d + 1) * C))
        return full.reshape((d + 1) * C, (d + 1) * C)[np.ix_(places, places)]

    def raw_variances(self, covariance: np.ndarray) -> np.ndarray:
        """The variances of the raw w (d, C), row by row, and then of the intercepts (C,) if there are any.

        `covariance` is that of theta, (n, n). Since b = c - center . w, an intercept has that of this combination.
        """
        variances, _ = self.split(np.diag(covariance))
        found = [(variances * np.square(self.inverse_scale)[:, None]).ravel()]
        if self.fit_intercept:
            away = -self.center * self.inverse_scale
            ways = [self.join(np.outer(away, unit), unit) for unit in np.eye(self.loss.margins)]
            found.append(np.array([way @ covariance @ way for way in ways]))
        return np.concatenate(found)

    def held_out_query(self, theta: np.ndarray) -> HeldOut:
        """The query whose answer `held_out_loss` turns into the loss at theta of the rows that are left out."""
        return HeldOut(self.loss, *self.raw(theta), self.fold, self.class_weights)

    def held_out_loss(self, sums: HeldOutSums) -> float:
        """The mean weighted loss of the rows that are left out, without the penalty."""
        return sums.value / sums.weight

    def objective(self, point: Point) -> float:
        """F(theta); infinite or NaN where a step was far too long, which whoever took it looks at."""
        with np.errstate(over="ignore", invalid="ignore"):
            return point.loss + self.penalty.value(point.theta)

    def smooth_gradient(self, point: Point) -> np.ndarray:
        """The gradient of the loss and of the smooth part of the penalty, (n,)."""
        return point.gradient + self.penalty.l2.gradient(point.theta)

    def residual(self, point: Point) -> np.ndarray:
        """The KKT residual theta - prox(theta - gradient), (n,): zero at the minimum and only there."""
        return self.penalty.l1.residual(point.theta, self.smooth_gradient(point))
