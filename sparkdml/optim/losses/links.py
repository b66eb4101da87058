"""Link functions: how the mean of a label depends on the margin, z = g(mean).

A link gives the coordinate in which its families are written, with two derivatives by z, so that the chain rule stands
in one place (`losses.generalized_linear`) instead of in each pair of a family and a link. No margin makes a NumPy
warning or a NaN: exponentials saturate.

Source: P. McCullagh, J. Nelder, Generalized Linear Models (1989), chapter 2.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import erfcx, expit, exprel, log_ndtr, logit, ndtr, ndtri

from sparkdml.optim.losses.excess import LARGEST_EXPONENT
from sparkdml.optim.losses.logistic import EPS

SMALLEST_MARGIN = 1e-50  # of a margin that is divided by, for the same reason


class Coordinate(NamedTuple):
    """A coordinate t of the mean as a function of the margin: t(z) and its first and second derivative."""

    value: np.ndarray
    slope: np.ndarray | float
    bend: np.ndarray | float


def saturated_exp(x: np.ndarray) -> np.ndarray:
    """exp(x), at most exp(300).

    >>> saturated_exp(np.array([0.0, 1e4]))
    array([1.0000000e+000, 1.9424264e+130])
    """
    return np.exp(np.minimum(x, LARGEST_EXPONENT))


class Link(ABC):
    """A link g; `margin` and `mean` are its two directions, on arrays of any shape."""

    name: ClassVar[str]

    @abstractmethod
    def margin(self, mean: np.ndarray) -> np.ndarray:
        """z = g(mean)."""

    @abstractmethod
    def mean(self, z: np.ndarray) -> np.ndarray:
        """The mean at the margin z."""

    @abstractmethod
    def finite(self, mean: np.ndarray) -> np.ndarray:
        """Which means have a finite margin: an array of bool."""


@dataclass(frozen=True)
class Power(Link):
    """g(mean) = mean^power, and log(mean) for the power 0.

    But for the identity, a mean nearer to zero than 2.2e-16 has the margin of 2.2e-16, and but for the inverse, so has
    one below it.

    >>> Power(-1.0).name, Power(0.0).margin(np.array([1.0])), Power(2.0).mean(np.array([9.0]))
    ('inverse', array([0.]), array([3.]))
    """

    power: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of a power that has one."""
        return {1.0: "identity", 0.0: "log", -1.0: "inverse", 0.5: "sqrt"}.get(self.power, f"power({self.power:g})")

    def margin(self, mean: np.ndarray) -> np.ndarray:
        if self.power == 1.0:
            return np.asarray(mean, float)
        if self.power == -1.0:
            return 1.0 / np.copysign(np.maximum(np.abs(mean), EPS), mean)
        inside = np.maximum(mean, EPS)
        return np.power(inside, self.power) if self.power else np.log(inside)

    def mean(self, z: np.ndarray) -> np.ndarray:
        return self.means(z).value

    def finite(self, mean: np.ndarray) -> np.ndarray:
        return np.asarray((self.power > 0.0) | (mean > 0.0) | ((self.power == -1.0) & (mean < 0.0)))

    def means(self, z: np.ndarray) -> Coordinate:
        """The mean itself; z must be positive unless the power is 0, 1 or -1."""
        if self.power == 0.0:
            mean = saturated_exp(z)
            return Coordinate(mean, mean, mean)
        if self.power == 1.0:
            return Coordinate(np.asarray(z), 1.0, 0.0)
        size, k = np.maximum(np.abs(z), SMALLEST_MARGIN), 1.0 / self.power
        z, mean = np.copysign(size, z), np.copysign(saturated_exp(k * np.log(size)), z)
        return Coordinate(mean, k * mean / z, k * (k - 1.0) * mean / z / z)

    def log_means(self, z: np.ndarray) -> Coordinate:
        """log(mean); z must be positive unless the power is 0."""
        if self.power == 0.0:
            return Coordinate(np.asarray(z), 1.0, 0.0)
        z = np.maximum(z, SMALLEST_MARGIN)
        slope = 1.0 / (self.power * z)
        return Coordinate(np.log(z) / self.power, slope, -slope / z)


class OddsLink(Link):
    """A link of means between 0 and 1."""

    def finite(self, mean: np.ndarray) -> np.ndarray:
        return (mean > 0.0) & (mean < 1.0)

    @abstractmethod
    def log_odds(self, z: np.ndarray) -> Coordinate:
        """log(mean / (1 - mean))."""


@dataclass(frozen=True)
class Logit(OddsLink):
    """g(mean) = log(mean / (1 - mean))."""

    name = "logit"

    def margin(self, mean: np.ndarray) -> np.ndarray:
        return logit(mean)

    def mean(self, z: np.ndarray) -> np.ndarray:
        return expit(z)

    def log_odds(self, z: np.ndarray) -> Coordinate:
        return Coordinate(np.asarray(z), 1.0, 0.0)


@dataclass(frozen=True)
class Probit(OddsLink):
    """g(mean) = the quantile of the standard normal distribution."""

    name = "probit"

    def margin(self, mean: np.ndarray) -> np.ndarray:
        return ndtri(mean)

    def mean(self, z: np.ndarray) -> np.ndarray:
        return ndtr(z)

    def log_odds(self, z: np.ndarray) -> Coordinate:
        below, above = _mills(z), _mills(-z)  # the density over the mean, and over 1 - mean
        slope = below + above
        return Coordinate(log_ndtr(z) - log_ndtr(-z), slope, above * (above - z) - below * (below + z))


@dataclass(frozen=True)
class Cloglog(OddsLink):
    """g(mean) = log(-log(1 - mean))."""

    name = "cloglog"

    def margin(self, mean: np.ndarray) -> np.ndarray:
        return np.log(-np.log1p(-mean))

    def mean(self, z: np.ndarray) -> np.ndarray:
        return -np.expm1(-saturated_exp(z))

    def log_odds(self, z: np.ndarray) -> Coordinate:
        hazard = saturated_exp(z)  # -log(1 - mean), so that the mean over it is exprel(-hazard)
        slope = 1.0 / exprel(-hazard)
        bend = slope * (1.0 - slope * np.exp(-hazard))
        return Coordinate(hazard + np.minimum(z, LARGEST_EXPONENT) - np.log(slope), slope, bend)


def _mills(z: np.ndarray) -> np.ndarray:
    """The density of the standard normal distribution over the probability below z; -z for small z."""
    with np.errstate(over="ignore"):  # of erfcx: the ratio is then zero
        return np.sqrt(2.0 / np.pi) / erfcx(-np.asarray(z) / np.sqrt(2.0))


LINKS: dict[str, Link] = {
    link.name: link for link in (Power(1.0), Power(0.0), Power(-1.0), Logit(), Probit(), Cloglog(), Power(0.5))
}
