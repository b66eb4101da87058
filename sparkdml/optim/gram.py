"""The Gram matrix of a pass as the quadratic objective of a least-squares problem."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.aggregation import aggregate
from sparkdml.optim.moments import moved
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import GramSums, PerPartition


@dataclass(frozen=True, eq=False)
class Quadratic:
    """loss(theta) = (a - 2 q.v + v.Q v) / 2 with v = theta - origin.

    `origin` is zero but for the intercept, whose origin is the label's mean: about it nothing cancels.
    """

    Q: np.ndarray
    q: np.ndarray
    a: float
    origin: np.ndarray
    mean: np.ndarray  # of (scaled features, label) about the origin

    @classmethod
    def of(cls, sums: GramSums, problem: Problem) -> "Quadratic":
        """Move the moments from the shift of the pass to the origin of the problem and rescale them."""
        label_origin = problem.shift[-1] if problem.fit_intercept else 0.0
        move = np.append(problem.center, label_origin) - problem.shift
        mean, second = moved(1.0, sums.first / sums.weight, sums.matrix() / sums.weight, move)
        scale = problem.inverse_scale
        Q = second[:-1, :-1] * np.outer(scale, scale)
        q = second[:-1, -1] * scale
        origin = np.zeros(len(q))
        if problem.fit_intercept:
            cross = (mean[:-1] * scale)[:, None]
            Q = np.block([[Q, cross], [cross.T, np.ones((1, 1))]])
            q = np.append(q, mean[-1])
            origin = np.append(origin, label_origin)
        return cls(Q, q, float(second[-1, -1]), origin, mean * np.append(scale, 1.0))

    def point(self, v: np.ndarray) -> Point:
        """Loss and gradient at theta = v + origin."""
        gradient = self.Q @ v - self.q
        loss = 0.5 * max(self.a + float(v @ (gradient - self.q)), 0.0)
        d = len(self.mean) - 1
        slope = self.mean[:d] @ v[:d] + v[d:].sum() - self.mean[d]
        return Point(v + self.origin, loss, gradient, np.array([slope]))


def principal_axes(problem: Problem, answer: PerPartition[GramSums]) -> np.ndarray:
    """Axes along which the standardized columns are uncorrelated, one a column, orthonormal, (n, n).

    They are the eigenvectors of the second moments of the partitions, aggregated as the problem aggregates gradients.
    """
    parts = [part for part in answer.parts if part.weight > 0.0]
    with np.errstate(over="ignore", invalid="ignore"):  # of a corrupted partition, which is left out
        moments = np.array([Quadratic.of(part, problem).Q for part in parts])
    axes: np.ndarray = np.linalg.eigh(aggregate(problem.aggregation, moments, np.array([s.weight for s in parts])))[1]
    return axes
