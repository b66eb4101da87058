"""Penalties on the coefficients: value, gradient where smooth, proximal operator.

The proximal operator of a penalty h with step t is prox(w, t) = argmin_v h(v) + ||v - w||^2 / (2 t).
Strengths are given per coordinate, so that an intercept simply has strength zero.
Source: N. Parikh and S. Boyd, Proximal Algorithms (2014).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np


class Penalty(ABC):
    """A convex function of the coefficients `w`, of shape (n,)."""

    smooth: ClassVar[bool]

    @abstractmethod
    def value(self, w: np.ndarray) -> float:
        """h(w)."""

    def change(self, w: np.ndarray, new: np.ndarray) -> float:
        """h(new) - h(w)."""
        return self.value(new) - self.value(w)

    @abstractmethod
    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        """argmin_v h(v) + sum_j (v_j - w_j)^2 / (2 step_j), of shape (n,); `step` is one number or (n,)."""

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """The gradient of h, of shape (n,), for a smooth penalty."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")


@dataclass(frozen=True)
class L2(Penalty):
    """h(w) = sum_j strength_j w_j^2 / 2, the ridge.

    >>> L2(np.array([2.0])).value(np.array([3.0]))
    9.0
    """

    strength: np.ndarray
    smooth = True

    def value(self, w: np.ndarray) -> float:
        return 0.5 * float(np.dot(self.strength, w * w))

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return self.strength * w

    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        return w / (1.0 + step * self.strength)


@dataclass(frozen=True)
class L1(Penalty):
    """h(w) = sum_j strength_j |w_j| where low_j <= w_j <= high_j, and infinite elsewhere: the lasso, in a box.

    Its prox is soft thresholding, then clipping to the box. `value` and `change` are those of points inside.

    >>> L1(np.array([1.0, 1.0])).prox(np.array([3.0, -0.5]), 1.0)
    array([ 2., -0.])
    >>> L1(np.array([1.0, 1.0]), low=0.5, high=np.array([1.0, np.inf])).prox(np.array([3.0, -0.5]), 1.0)
    array([1. , 0.5])
    """

    strength: np.ndarray
    low: np.ndarray | float = -np.inf
    high: np.ndarray | float = np.inf
    smooth = False

    def value(self, w: np.ndarray) -> float:
        return float(np.dot(self.strength, np.abs(w)))

    def change(self, w: np.ndarray, new: np.ndarray) -> float:
        return float(np.dot(self.strength, np.abs(new) - np.abs(w)))  # near w, no digits cancel

    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        return self.clip(np.sign(w) * np.maximum(np.abs(w) - step * self.strength, 0.0))

    def clip(self, w: np.ndarray) -> np.ndarray:
        """The nearest point of the box, (n,)."""
        return np.clip(w, self.low, self.high)

    def residual(self, w: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """w - prox(w - gradient, 1), (n,), written so that no digits of a small gradient are lost beside a large w.

        >>> L1(np.array([0.0, 0.5]), high=2.0).residual(np.array([1.0, 0.25]), np.array([1e-30, -0.5]))
        array([1.e-30, 0.e+00])
        """
        thresholded = gradient + np.clip(w - gradient, -self.strength, self.strength)
        return np.clip(thresholded, w - self.high, w - self.low)

    def is_smooth_at(self, w: np.ndarray) -> np.ndarray:
        """Along which coordinates h has a derivative at w, (n,): not where it has a kink or the box ends."""
        return ((w != 0.0) | (self.strength == 0.0)) & (self.low < w) & (w < self.high)

    def subdifferential(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the interval of slopes of h at w along each coordinate, (n,) each; infinite at those of the box.

        >>> L1(np.array([1.0, 1.0, 1.0]), low=-2.0).subdifferential(np.array([0.0, 3.0, -2.0]))
        (array([ -1.,   1., -inf]), array([ 1.,  1., -1.]))
        """
        slope = np.where(w == 0.0, self.strength, self.strength * np.sign(w))
        least = np.where(w == 0.0, -self.strength, slope)
        return np.where(w <= self.low, -np.inf, least), np.where(w >= self.high, np.inf, slope)


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """h(w) = sum_j l1_j |w_j| + l2_j w_j^2 / 2 in a box: shrink after soft thresholding, then clip.

    Source: H. Zou and T. Hastie, Regularization and Variable Selection via the Elastic Net (2005).
    """

    l1: L1
    l2: L2
    smooth = False

    @property
    def has_l1(self) -> bool:
        """Whether some coefficients may become exactly zero."""
        return bool(np.any(self.l1.strength))

    @property
    def has_box(self) -> bool:
        """Whether some coefficients have a bound."""
        return bool(np.any(np.isfinite(self.l1.low)) or np.any(np.isfinite(self.l1.high)))

    @property
    def has_kinks(self) -> bool:
        """Whether the gradient does not tell all."""
        return self.has_l1 or self.has_box

    def within(self, low: np.ndarray | float, high: np.ndarray | float) -> "ElasticNet":
        """The same penalty in a box, (n,) each, or numbers for all."""
        return replace(self, l1=replace(self.l1, low=low, high=high))

    def value(self, w: np.ndarray) -> float:
        return self.l1.value(w) + self.l2.value(w)

    def prox(self, w: np.ndarray, step: float | np.ndarray) -> np.ndarray:
        return self.l1.clip(self.l2.prox(replace(self.l1, low=-np.inf, high=np.inf).prox(w, step), step))


def elastic_net(reg_param: float, elastic_net_param: float, l1_units: np.ndarray, l2_units: np.ndarray) -> ElasticNet:
    """pyspark.ml's penalty regParam (a ||w||_1 + (1 - a) / 2 ||w||^2) with the units of each coordinate."""
    return ElasticNet(
        L1(reg_param * elastic_net_param * l1_units), L2(reg_param * (1.0 - elastic_net_param) * l2_units)
    )
