"""Hinge losses, those of support vector machines."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.kinked import Kinked


def shortfall(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """1 - z for a label 1 and 1 + z for a label 0: by how much the margin misses the side of its label, (...)."""
    return 1.0 - (2.0 * y - 1.0) * z[..., 0]


class Sided(Loss):
    """A loss of labels 0 and 1 whose margin has a side, and is no probability: the link only gives a fit its start."""

    def link(self, mean: np.ndarray) -> np.ndarray:
        return (2.0 * np.asarray(mean, float) - 1.0)[..., None]

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return np.clip((z[..., 0] + 1.0) / 2.0, 0.0, 1.0)

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y == 0.0) | (y == 1.0)


@dataclass(frozen=True)
class Hinge(Sided, Kinked):
    """l(y, z) = max(0, 1 - z) for y = 1 and max(0, 1 + z) for y = 0; the sign of z is the predicted class.

    Source: C. Cortes, V. Vapnik, Support-Vector Networks (1995).

    >>> Hinge().value(np.array([1.0, 0.0]), np.array([[0.25], [0.25]]))
    array([0.75, 1.25])
    """

    name = "hinge"

    @property
    def tilt(self) -> float:
        return 0.0

    def excess(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return shortfall(y, z)

    def direction(self, y: np.ndarray) -> np.ndarray:
        return 1.0 - 2.0 * y


@dataclass(frozen=True)
class SquaredHinge(Sided):
    """l(y, z) = max(0, 1 - z)^2 for y = 1 and max(0, 1 + z)^2 for y = 0, as in LIBLINEAR.

    Its best constant margin is 2 mean(y) - 1, the link.

    Source: R.-E. Fan et al., LIBLINEAR: A Library for Large Linear Classification (2008).

    >>> SquaredHinge().value(np.array([1.0, 0.0]), np.array([[0.5], [2.0]]))
    array([0.25, 9.  ])
    """

    name = "squaredHinge"
    curvature = 2.0

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.square(np.maximum(shortfall(y, z), 0.0))

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return (2.0 * (1.0 - 2.0 * y) * np.maximum(shortfall(y, z), 0.0))[..., None]

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.where(shortfall(y, z) > 0.0, 2.0, 0.0)[..., None, None]
