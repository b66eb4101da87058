"""Squared error, the loss of ordinary least squares."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.losses.base import IdentityLink


@dataclass(frozen=True)
class SquaredError(IdentityLink):
    """l(y, z) = (y - z)^2 / 2 for any real y; identity link.

    Source: C. F. Gauss, Theoria motus corporum coelestium (1809).

    >>> SquaredError().value(np.array([3.0]), np.array([[1.0]]))
    array([2.])
    """

    name = "squaredError"
    quadratic = True
    curvature = 1.0

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return 0.5 * np.square(z[..., 0] - y)

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return z - np.asarray(y)[..., None]

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.ones((*z.shape, 1))
