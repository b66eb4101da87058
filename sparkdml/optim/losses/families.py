"""Families of distributions of a label: half of the unit deviance in a coordinate of the mean.

A family is written in the coordinate t in which it is simplest (the mean, its logarithm, its log odds), with
derivatives by t, and a link tells t(z). Half of the unit deviance is what a label lacks of the log likelihood that a
mean of its own would give it, times the dispersion: it is zero where the mean is the label.

Source: P. McCullagh, J. Nelder, Generalized Linear Models (1989); B. Jorgensen, The Theory of Dispersion Models (1997).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, gammaln, logit, xlog1py, xlogy

from sparkdml.optim.losses.excess import LARGEST_EXPONENT, log_excess, power_excess
from sparkdml.optim.losses.links import Coordinate, OddsLink, Power, saturated_exp
from sparkdml.optim.losses.logistic import EPS, Logistic
from sparkdml.optim.losses.squared_error import SquaredError


@dataclass(frozen=True)
class Family(ABC):
    """A family. Labels y, coordinates t and weights s are arrays that broadcast against each other.

    Attributes
    ----------
    name : the value of the Param `family`.
    labels : what labels must be, in words.
    dispersed : the dispersion is estimated; else it is one.
    positive : the mean is above zero, and t is its logarithm.
    shape : the given number that tells the family from others of its name, in words; empty without.
    """

    name: ClassVar[str]
    labels: ClassVar[str]
    dispersed: ClassVar[bool] = False
    positive: ClassVar[bool] = False
    shape: ClassVar[str] = ""

    @abstractmethod
    def domain(self, y: np.ndarray) -> np.ndarray:
        """Which labels there may be: an array of bool."""

    @abstractmethod
    def coordinate(self, link: Any, z: np.ndarray) -> Coordinate:
        """t and its derivatives by the margin."""

    @abstractmethod
    def value(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Half of the unit deviance."""

    @abstractmethod
    def slope(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The derivative of `value` by t."""

    @abstractmethod
    def bend(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        """The second derivative of `value` by t."""

    @abstractmethod
    def information(self, t: np.ndarray) -> np.ndarray:
        """What `bend` is expected to be of a label with this mean."""

    @abstractmethod
    def relative_square(self, mean: np.ndarray) -> np.ndarray:
        """mean^2 / V(mean): of a label that is a small share off its mean, the unit deviance over the squared share."""

    @abstractmethod
    def inside(self, mean: np.ndarray) -> np.ndarray:
        """The nearest mean that has a margin: labels may all lie at the end of their range, means not."""

    @abstractmethod
    def saturated(self, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        """What of a row's log likelihood depends on neither mean nor dispersion; `log_likelihood` has the rest."""

    def log_likelihood(self, deviance: float, saturated: float, rows: int, weight: float) -> float | None:
        """The log likelihood of `rows` rows whose weights sum to `weight`, at the dispersion deviance / weight if that
        is estimated; None where it has no closed form. `deviance` and `saturated` are sums over the rows."""
        return saturated - deviance / 2.0


class Gaussian(Family):
    """The normal distribution; t is the mean. The variance of a row is dispersion / s."""

    name = "gaussian"
    labels = "finite"
    dispersed = True
    squared: ClassVar = SquaredError()

    def domain(self, y: np.ndarray) -> np.ndarray:
        return self.squared.domain(y)

    def coordinate(self, link: Power, z: np.ndarray) -> Coordinate:
        return link.means(z)

    def value(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.squared.value(y, np.asarray(t)[..., None])

    def slope(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.squared.gradient(y, np.asarray(t)[..., None])[..., 0]

    def bend(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.ones_like(t)

    def information(self, t: np.ndarray) -> np.ndarray:
        return np.ones_like(t)

    def relative_square(self, mean: np.ndarray) -> np.ndarray:
        return np.square(mean)

    def inside(self, mean: np.ndarray) -> np.ndarray:
        return np.asarray(mean, float)

    def saturated(self, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        return 0.5 * np.log(s)

    def log_likelihood(self, deviance: float, saturated: float, rows: int, weight: float) -> float | None:
        with np.errstate(divide="ignore"):  # of a perfect fit
            return float(saturated - 0.5 * rows * (np.log(2.0 * np.pi * np.divide(deviance, rows)) + 1.0))


class Binomial(Family):
    """The share of successes in s trials, s = 1 of a 0 or a 1; t is the logarithm of the odds."""

    name = "binomial"
    labels = "between 0 and 1"
    logistic: ClassVar = Logistic()

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0.0) & (y <= 1.0)

    def coordinate(self, link: OddsLink, z: np.ndarray) -> Coordinate:
        return link.log_odds(z)

    def value(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        found = self.logistic.value(y, np.asarray(t)[..., None])
        share = (y > 0.0) & (y < 1.0)
        if not np.any(share):
            return found
        inside = np.where(share, y, 0.5)
        rare, away = np.minimum(inside, 1.0 - inside), np.asarray(t) - logit(inside)
        return np.where(share, rare * log_excess(rare, np.where(inside <= 0.5, away, -away)), found)

    def slope(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.logistic.gradient(y, np.asarray(t)[..., None])[..., 0]

    def bend(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.information(t)

    def information(self, t: np.ndarray) -> np.ndarray:
        return self.logistic.hessian(np.zeros(()), np.asarray(t)[..., None])[..., 0, 0]

    def relative_square(self, mean: np.ndarray) -> np.ndarray:
        return mean / (1.0 - mean)

    def inside(self, mean: np.ndarray) -> np.ndarray:
        return np.clip(mean, EPS, 1.0 - EPS)

    def saturated(self, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        ways = gammaln(s + 1.0) - gammaln(s * y + 1.0) - gammaln(s * (1.0 - y) + 1.0)
        return ways + s * (xlogy(y, y) + xlog1py(1.0 - y, -y))


class Positive(Family):
    """A family of means above zero; t is the logarithm of the mean."""

    positive = True

    def coordinate(self, link: Power, z: np.ndarray) -> Coordinate:
        at = link.log_means(z)
        return at._replace(value=np.clip(at.value, -self.largest, self.largest))

    @property
    def largest(self) -> float:
        """Of the logarithm of a mean: what is beyond counts as this, so that no power of a mean overflows."""
        return LARGEST_EXPONENT

    def relative_square(self, mean: np.ndarray) -> np.ndarray:
        return self.information(np.log(mean))

    def inside(self, mean: np.ndarray) -> np.ndarray:
        return np.maximum(mean, EPS)


@dataclass(frozen=True)
class Tweedie(Positive):
    """The variance is dispersion * mean^power / s: Poisson for the power 1, gamma for 2, zeros and a gamma between.

    Source: M. Tweedie, An Index Which Distinguishes between Some Important Exponential Families (1984).
    """

    power: float

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of a power that has one."""
        return {1.0: "poisson", 2.0: "gamma"}.get(self.power, "tweedie")

    @property
    def shape(self) -> str:  # type: ignore[override]
        """The power, where the name does not say it."""
        return f"variance power {self.power:g}" if self.name == "tweedie" else ""

    @property
    def labels(self) -> str:  # type: ignore[override]
        """Zeros are there up to the power 2."""
        return "zero or more" if self.power < 2.0 else "above zero"

    @property
    def dispersed(self) -> bool:  # type: ignore[override]
        """A count has the variance that is its mean."""
        return self.power != 1.0

    @property
    def largest(self) -> float:
        return LARGEST_EXPONENT / max(abs(self.power - 1.0), 1.0)

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0.0 if self.power < 2.0 else y > 0.0) & np.isfinite(y)

    def value(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        p, none = self.power, np.equal(y, 0.0)
        label = y + none  # any above zero where there is none
        found = power_excess(p, t - np.log(label))
        if p != 2.0:
            found *= label if p == 1.0 else np.power(label, 2.0 - p)
        return np.where(none, saturated_exp((2.0 - p) * t) / (2.0 - p), found) if np.any(none) else found

    def slope(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.information(t) - y * saturated_exp((1.0 - self.power) * t)

    def bend(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        p = self.power
        return (2.0 - p) * self.information(t) - (1.0 - p) * y * saturated_exp((1.0 - p) * t)

    def information(self, t: np.ndarray) -> np.ndarray:
        return saturated_exp((2.0 - self.power) * t)

    def saturated(self, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        if self.power == 1.0:
            return s * (xlogy(y, y) - y - gammaln(y + 1.0))
        return -s * np.log(y) if self.power == 2.0 else np.full(np.broadcast_shapes(np.shape(y), np.shape(s)), 0.0)

    def log_likelihood(self, deviance: float, saturated: float, rows: int, weight: float) -> float | None:
        if self.power == 1.0:
            return super().log_likelihood(deviance, saturated, rows, weight)
        if self.power != 2.0 or deviance <= 0.0:
            return None
        shape = weight / deviance
        return float(saturated + weight * log_peak(shape) - shape * deviance / 2.0)


def log_peak(shape: float) -> float:
    """shape log(shape) - shape - log Gamma(shape), of a gamma density with this shape the logarithm where x = mean = 1.

    Where the shape is large the terms cancel, and Stirling's series takes their place.

    >>> round(log_peak(1.0), 12), round(log_peak(1e16), 12)
    (-1.0, 17.501742210748)
    """
    if shape < 1e4:
        return float(xlogy(shape, shape) - shape - gammaln(shape))
    return float(np.log(shape / (2.0 * np.pi)) / 2.0 - 1.0 / (12.0 * shape))


@dataclass(frozen=True)
class NegativeBinomial(Positive):
    """Counts whose variance is mean + overdispersion * mean^2, divided by s.

    Source: J. Hilbe, Negative Binomial Regression (2011).
    """

    overdispersion: float

    name = "negativeBinomial"
    labels = "zero or more"

    @property
    def shape(self) -> str:  # type: ignore[override]
        """The overdispersion."""
        return f"overdispersion {self.overdispersion:g}"

    def domain(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0.0) & np.isfinite(y)

    def value(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        k, none = self.overdispersion, np.equal(y, 0.0)
        label = y + none
        poisson, away = 1.0 / (1.0 + k * label), t - np.log(label)  # the share of the variance that is a Poisson one
        many = poisson < 0.5
        found = np.where(many, 1.0 / k, label) * log_excess(
            np.where(many, poisson, 1.0 - poisson), np.where(many, -away, away)
        )
        return np.where(none, np.logaddexp(0.0, t + np.log(k)) / k, found) if np.any(none) else found

    def slope(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        k = self.overdispersion
        return self.information(t) - y * expit(-t - np.log(k))

    def bend(self, y: np.ndarray, t: np.ndarray) -> np.ndarray:
        k = self.overdispersion
        share = expit(t + np.log(k))  # k mean / (1 + k mean)
        return (1.0 / k + y) * share * expit(-t - np.log(k))

    def information(self, t: np.ndarray) -> np.ndarray:
        return expit(t + np.log(self.overdispersion)) / self.overdispersion

    def saturated(self, y: np.ndarray, s: np.ndarray) -> np.ndarray:
        k = self.overdispersion
        ways = gammaln(y + 1.0 / k) - gammaln(1.0 / k) - gammaln(y + 1.0)
        return s * (ways + xlogy(y, k * y) - (y + 1.0 / k) * np.log1p(k * y))
