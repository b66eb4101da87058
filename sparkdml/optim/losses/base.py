"""What a loss is: a function of one row's label and margins."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Loss(ABC):
    """A pointwise loss l(y, z) of a label y and margins z = (z_1, ..., z_C).

    All methods are vectorized: `z` has shape (..., C), `y` any shape that broadcasts to (...), both float64.
    A loss knows nothing of features, weights of rows, penalties or Spark. Losses with equal parameters are equal.

    Attributes
    ----------
    name : the value of the estimator's Param `loss`.
    margins : C, how many margins a row has.
    constants : of these the last so many have no coefficients, only an intercept, also where no other margin has one:
        scales, in units of the label.
    relative : margins that differ by a constant mean the same.
    quadratic : l is a quadratic function of z, so that one Gram matrix says all about the data.
    curvature : an upper bound of the largest eigenvalue of the Hessian; infinite where there is none.
    """

    name: ClassVar[str]
    margins: ClassVar[int] = 1
    constants: ClassVar[int] = 0
    relative: ClassVar[bool] = False
    quadratic: ClassVar[bool] = False
    curvature: ClassVar[float] = np.inf

    @property
    def smooth(self) -> bool:
        """Whether the gradient is continuous."""
        return True

    @property
    def anywhere(self) -> bool:
        """Whether the loss is finite whatever the margins are."""
        return True

    @property
    def canonical(self) -> bool:
        """Whether the second derivatives are the same for all labels, so that `fisher` is `hessian`."""
        return True

    def smoothed(self, width: float) -> "Loss":
        """A smooth loss above this one, which it nears as the width goes to zero; a smooth loss is its own."""
        return self

    @abstractmethod
    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """l(y, z), of shape (...)."""

    @abstractmethod
    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The derivatives of l by each margin, of shape (..., C)."""

    def value_and_gradient(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, where they have a costly part in common; one pass over the rows asks for both."""
        return self.value(y, z), self.gradient(y, z)

    @abstractmethod
    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The second derivatives of l by the margins, of shape (..., C, C)."""

    def fisher(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The second derivatives that the margins let expect of a label, (..., C, C): never indefinite.

        With a canonical link they are those of any label.
        """
        return self.hessian(y, z)

    @abstractmethod
    def link(self, mean: np.ndarray) -> np.ndarray:
        """The margins whose expected label is `mean`, the best constant prediction: (...) to (..., C).

        Of a label that is the number of a class, here and in `inverse_link`, the mean is the share of each: (..., C).
        """

    def has_margin(self, mean: float) -> bool:
        """Whether a finite margin has this expected label."""
        return True

    @abstractmethod
    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        """The expected label given the margins: (..., C) to (...)."""

    @abstractmethod
    def domain(self, y: np.ndarray) -> np.ndarray:
        """Which labels the loss is defined for: an array of bool."""

    def valid(self, z: np.ndarray) -> np.ndarray:
        """Where the loss is finite, (..., C) to (...); elsewhere it is infinite, and its derivatives are zero."""
        return np.ones(z.shape[:-1], bool)


class IdentityLink(Loss):
    """A loss of any real label, of which the margin is the prediction."""

    def link(self, mean: np.ndarray) -> np.ndarray:
        return np.asarray(mean, float)[..., None]

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return z[..., 0]

    def domain(self, y: np.ndarray) -> np.ndarray:
        return np.isfinite(y)
