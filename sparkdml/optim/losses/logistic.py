"""Log loss, the loss of binomial logistic regression."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from sparkdml.optim.losses.base import Loss

EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Logistic(Loss):
    """l(y, z) = log(1 + exp(z)) - y z for y in {0, 1}; logit link: z is the logarithm of the odds of a 1.

    The link of a mean of 0 or 1, which no finite margin has, is the margin +-36.04 that comes within 2.2e-16 of it.

    Source: D. R. Cox, The Regression Analysis of Binary Sequences (1958).

    >>> Logistic().value(np.array([1.0, 0.0]), np.array([[0.0], [-1e4]]))
    array([0.69314718, 0.        ])
    """

    name = "logistic"
    curvature = 0.25

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.value_and_gradient(y, z)[0]

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        margin = z[..., 0]
        return (sigmoid(margin, np.exp(-np.abs(margin))) - y)[..., None]

    def value_and_gradient(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        margin = z[..., 0]
        small = np.exp(-np.abs(margin))
        # the small part is added last, or a large margin on the right side would leave rounding instead of it
        value = (np.maximum(margin, 0.0) - y * margin) + np.log1p(small)
        return value, (sigmoid(margin, small) - y)[..., None]

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        small = np.exp(-np.abs(z))
        return (small / np.square(1.0 + small))[..., None]

    def link(self, mean: np.ndarray) -> np.ndarray:
        return logit(np.clip(mean, EPS, 1.0 - EPS))[..., None]

    def has_margin(self, mean: float) -> bool:
        return 0.0 < mean < 1.0

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return expit(z[..., 0])

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y == 0.0) | (y == 1.0)


def sigmoid(t: np.ndarray, small: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-t)), given small = exp(-|t|)."""
    return np.where(t >= 0.0, 1.0, small) / (1.0 + small)
