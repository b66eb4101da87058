"""Huber's loss with the scale of the residuals, the loss of robust regression."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.losses.base import Loss


@dataclass(frozen=True)
class Huber(Loss):
    """l(y, (z, sigma)) = (sigma + sigma h((y - z) / sigma)) / 2 for any real y; identity link of z.

    Here h(t) = t^2 for |t| <= epsilon, else 2 epsilon |t| - epsilon^2. The scale sigma > 0 is the same in all rows and
    is estimated together with the coefficients; l is jointly convex, and infinite unless sigma is positive.

    Source: A. B. Owen, A robust hybrid of lasso and ridge regression (2007).

    Attributes
    ----------
    epsilon : from how many sigma on a residual counts by its size instead of its square; above 1.

    >>> Huber(epsilon=1.5).value(np.array([1.0, 6.0]), np.array([[0.0, 2.0], [0.0, 2.0]]))
    array([1.25, 7.75])
    """

    name = "huber"
    margins = 2
    constants = 1
    epsilon: float = 1.35

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        t = self._ratio(y, z)
        h = np.where(np.abs(t) <= self.epsilon, t * t, 2.0 * self.epsilon * np.abs(t) - self.epsilon**2)
        return np.where(self.valid(z), 0.5 * z[..., 1] * (1.0 + h), np.inf)

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        clipped = self._clipped(y, z)
        derivatives = np.stack([-clipped, 0.5 * (1.0 - np.square(clipped))], axis=-1)
        return np.where(self.valid(z)[..., None], derivatives, 0.0)

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        t = self._ratio(y, z)
        inside = np.where((np.abs(t) <= self.epsilon) & self.valid(z), 1.0 / self._positive(z), 0.0)
        first = np.stack([inside, inside * t], axis=-1)
        return np.stack([first, np.stack([inside * t, inside * t * t], axis=-1)], axis=-2)

    def link(self, mean: np.ndarray) -> np.ndarray:
        mean = np.asarray(mean, float)
        return np.stack([mean, np.ones_like(mean)], axis=-1)

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return z[..., 0]

    def domain(self, y: np.ndarray) -> np.ndarray:
        return np.isfinite(y)

    def valid(self, z: np.ndarray) -> np.ndarray:
        return z[..., 1] > 0.0

    def _ratio(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The residual in units of sigma."""
        return (y - z[..., 0]) / self._positive(z)

    def _clipped(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.clip(self._ratio(y, z), -self.epsilon, self.epsilon)

    def _positive(self, z: np.ndarray) -> np.ndarray:
        """sigma, or 1 where the value is infinite anyway."""
        return np.where(self.valid(z), z[..., 1], 1.0)
