"""Cross entropy, the loss of multinomial logistic regression."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.logistic import EPS


@dataclass(frozen=True)
class Softmax(Loss):
    """l(y, z) = log(sum_k exp(z_k)) - z_y for y in {0, ..., K - 1}: z_k is the logarithm of p_k but for a constant.

    The mean of a label is here that of the indicators of its classes: their shares, (..., K), which `link` takes and
    `inverse_link` gives. Margins that differ by a constant mean the same; `link` gives those that sum to zero. The link
    of a share of 0, which no finite margin has, is that of the share 2.2e-16.

    Parameters
    ----------
    classes : K, at least 2; each has its own margin.

    Source: J. Friedman, T. Hastie, R. Tibshirani, Regularization Paths for GLMs via Coordinate Descent (2010).

    >>> Softmax(3).value(np.array([0.0, 2.0]), np.array([[0.0, 0.0, 0.0], [-1e4, -1e4, 1e4]]))
    array([1.09861229, 0.        ])
    """

    classes: int = 2

    name = "softmax"
    relative = True
    curvature = 0.5  # diag(p) - p p^T, at p = (1/2, 1/2, 0, ...)

    @property
    def margins(self) -> int:  # type: ignore[override]
        """One a class."""
        return self.classes

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(y, z)[0]

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(y, z)[1]

    def value_and_gradient(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own = _places(y, z)
        away = z - np.take_along_axis(z, own, axis=-1)  # zero of the label's class: nothing cancels
        first = np.argmax(away, axis=-1)[..., None]
        largest = np.take_along_axis(away, first, axis=-1)
        powers = np.exp(away - largest)
        np.put_along_axis(powers, first, 0.0, axis=-1)
        others = powers.sum(axis=-1, keepdims=True)
        np.put_along_axis(powers, first, 1.0, axis=-1)
        slopes = powers / (1.0 + others)
        np.put_along_axis(slopes, own, np.take_along_axis(slopes, own, axis=-1) - 1.0, axis=-1)
        return (largest + np.log1p(others))[..., 0], slopes

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        p = softmax(z, axis=-1)
        return p[..., None] * (np.eye(self.classes) - p[..., None, :])

    def link(self, mean: np.ndarray) -> np.ndarray:
        z = np.log(np.maximum(mean, EPS))
        return z - z.mean(axis=-1, keepdims=True)

    def has_margin(self, mean: float) -> bool:
        return False

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return softmax(z, axis=-1)

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0.0) & (y < self.classes) & (np.floor(y) == y)


def _places(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The class of each row as an index along the last axis of its margins."""
    return np.broadcast_to(np.asarray(y), z.shape[:-1]).astype(np.intp)[..., None]
