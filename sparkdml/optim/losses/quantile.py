"""Pinball loss, the loss of quantile regression."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.losses.base import IdentityLink
from sparkdml.optim.losses.kinked import Kinked


@dataclass(frozen=True)
class Quantile(IdentityLink, Kinked):
    """l(y, z) = q r for r >= 0 and (q - 1) r for r < 0, where r = y - z, for any real y; identity link.

    The best constant prediction is the quantile q of the labels; for q = 0.5 the loss is half the absolute error.

    Source: R. Koenker, G. Bassett, Regression Quantiles (1978).

    Attributes
    ----------
    quantile : q, above 0 and below 1.

    >>> Quantile(quantile=0.9).value(np.array([3.0, 1.0]), np.array([[2.0], [2.0]])).round(12)
    array([0.9, 0.1])
    """

    name = "quantile"
    quantile: float = 0.5

    @property
    def tilt(self) -> float:
        return self.quantile - 1.0

    def excess(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return y - z[..., 0]

    def direction(self, y: np.ndarray) -> np.ndarray:
        return np.full(np.shape(y), -1.0)
