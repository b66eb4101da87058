"""Losses that are linear but for one kink, and the smooth losses above them."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import expit

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.logistic import sigmoid


@dataclass(frozen=True)
class Kinked(Loss):
    """l(y, z) = tilt r + max(r, 0) with r = r(y, z) linear in z; with a width m > 0 the smooth loss above it,

        l_m(y, z) = tilt r + m log(1 + exp(r / m)),  l <= l_m <= l + m log 2.

    For each row l_m is convex and increasing in m, being the maximum over a of [0, 1] of (tilt + a) r + m H(a), with
    the entropy H(a) = -a log a - (1 - a) log(1 - a) >= 0.

    Source: Y. Nesterov, Smooth Minimization of Non-Smooth Functions (2005).

    Attributes
    ----------
    width : m, in units of r; zero for the exact loss.
    """

    width: float = 0.0

    @property
    def smooth(self) -> bool:
        return self.width > 0.0

    @property
    def curvature(self) -> float:  # type: ignore[override]
        return 0.25 / self.width if self.smooth else np.inf

    def smoothed(self, width: float) -> Self:
        return replace(self, width=width)

    @property
    @abstractmethod
    def tilt(self) -> float:
        """The slope by r where r is negative."""

    @abstractmethod
    def excess(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """r(y, z), of shape (...)."""

    @abstractmethod
    def direction(self, y: np.ndarray) -> np.ndarray:
        """The derivative of r by the margin, 1 or -1, of shape (...)."""

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(y, z)[0]

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(y, z)[1]

    def value_and_gradient(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r = self.excess(y, z)
        above, share = np.maximum(r, 0.0), (r > 0.0).astype(float)
        if self.smooth:
            small = np.exp(-np.abs(r) / self.width)
            above += self.width * np.log1p(small)
            share = sigmoid(r, small)
        return self.tilt * r + above, (self.direction(y) * (self.tilt + share))[..., None]

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        r = self.excess(y, z)
        if not self.smooth:
            return np.zeros((*r.shape, 1, 1))
        return (expit(r / self.width) * expit(-r / self.width) / self.width)[..., None, None]
