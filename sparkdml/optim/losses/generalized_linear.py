"""The loss of a generalized linear model: a family of distributions and a link."""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.families import Binomial, Family, Gaussian, NegativeBinomial, Tweedie
from sparkdml.optim.losses.links import LINKS, Coordinate, Link, Logit, Power, Probit


@dataclass(frozen=True)
class GeneralizedLinear(Loss):
    """l(y, z) = half of the unit deviance of a label y whose mean is g^-1(z).

    Its sum over the rows is, up to what the labels alone decide, the negative log likelihood times the dispersion. A
    margin that no mean has, such as one below zero where the mean is z and must be positive, has an infinite loss.

    Parameters
    ----------
    family : the distribution of a label.
    link_function : g, one that the family goes with: an `OddsLink` with `Binomial`, else a `Power`.

    >>> poisson = GeneralizedLinear(Tweedie(1.0), Power(0.0))
    >>> poisson.value(np.array([1.0, 0.0]), np.array([[0.0], [-1e4]])).round(12)
    array([0., 0.])
    >>> GeneralizedLinear(Tweedie(1.0), Power(1.0)).value(np.array([2.0]), np.array([[-1.0]]))
    array([inf])
    """

    family: Family
    link_function: Link

    @property
    def name(self) -> str:  # type: ignore[override]
        """The names of both."""
        return f"{self.family.name}, {self.link_function.name} link"

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Of normal labels whose mean is the margin."""
        return isinstance(self.family, Gaussian) and self.link_function == Power(1.0)

    @property
    def curvature(self) -> float:  # type: ignore[override]
        """Bounded where the loss is quadratic or of log odds, and of the probit, whose Mills ratio has a slope below 1.

        Source of the last: M. Sampford, Some Inequalities on Mill's Ratio and Related Functions (1953).
        """
        if isinstance(self.family, Binomial):
            return {Logit(): 0.25, Probit(): 1.0}.get(self.link_function, np.inf)  # type: ignore[call-overload]
        return 1.0 if self.quadratic else np.inf

    @property
    def canonical(self) -> bool:
        """Whether the margin is the natural parameter of the family, but for a factor."""
        natural: dict[type, Link] = {Gaussian: Power(1.0), Binomial: Logit()}
        if isinstance(self.family, Tweedie):
            return self.link_function == Power(1.0 - self.family.power)
        return self.link_function == natural.get(type(self.family))

    @property
    def anywhere(self) -> bool:
        """Whether every margin has a mean; else zero has none."""
        return bool(np.all(self.valid(np.zeros((1, 1)))))

    def valid(self, z: np.ndarray) -> np.ndarray:
        free = (0.0,) if self.family.positive else (0.0, 1.0)
        if not isinstance(self.link_function, Power) or self.link_function.power in free:
            return np.ones(z.shape[:-1], bool)
        margin = z[..., 0]
        return margin != 0.0 if self.link_function.power == -1.0 and not self.family.positive else margin > 0.0

    def value(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self._value(y, z, self.family.coordinate(self.link_function, z[..., 0]))

    def gradient(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self._gradient(y, z, self.family.coordinate(self.link_function, z[..., 0]))

    def value_and_gradient(self, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = self.family.coordinate(self.link_function, z[..., 0])
        return self._value(y, z, at), self._gradient(y, z, at)

    def _value(self, y: np.ndarray, z: np.ndarray, at: Coordinate) -> np.ndarray:
        return np.where(self.valid(z), self.family.value(y, at.value), np.inf)

    def _gradient(self, y: np.ndarray, z: np.ndarray, at: Coordinate) -> np.ndarray:
        t, slope, _ = at
        return self._inside(z, self.family.slope(y, t) * slope)[..., None]

    def hessian(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        t, slope, bend = self.family.coordinate(self.link_function, z[..., 0])
        found = self.family.bend(y, t) * np.square(slope) + self.family.slope(y, t) * bend
        return self._inside(z, found)[..., None, None]

    def fisher(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        t, slope, _ = self.family.coordinate(self.link_function, z[..., 0])
        found = np.broadcast_to(
            self.family.information(t) * np.square(slope), np.broadcast_shapes(np.shape(y), t.shape)
        )
        return self._inside(z, found)[..., None, None]

    def _inside(self, z: np.ndarray, found: np.ndarray) -> np.ndarray:
        """The derivatives, zero where the loss is infinite."""
        return np.where(self.valid(z), found, 0.0)

    def link(self, mean: np.ndarray) -> np.ndarray:
        return self.link_function.margin(self.family.inside(np.asarray(mean, float)))[..., None]

    def has_margin(self, mean: float) -> bool:
        return bool(self.link_function.finite(np.asarray(mean)))

    def inverse_link(self, z: np.ndarray) -> np.ndarray:
        return self.link_function.mean(z[..., 0])

    def domain(self, y: np.ndarray) -> np.ndarray:
        return self.family.domain(y)


# The links that go with each family, the default first: those of pyspark.ml. The powers of Tweedie families say theirs.
FAMILY_LINKS: dict[str, tuple[str, ...]] = {
    "gaussian": ("identity", "log", "inverse"),
    "binomial": ("logit", "probit", "cloglog"),
    "poisson": ("log", "identity", "sqrt"),
    "gamma": ("inverse", "identity", "log"),
    "tweedie": (),
    "negativeBinomial": ("log", "identity", "sqrt"),
}


def generalized_linear(
    family: str,
    link: str | None = None,
    *,
    variance_power: float = 0.0,
    link_power: float | None = None,
    overdispersion: float = 1.0,
) -> GeneralizedLinear:
    """The loss of a family and a link by their names.

    Parameters
    ----------
    family, link : keys of FAMILY_LINKS and of LINKS; without a link, the family's default.
    variance_power, link_power : of the family "tweedie": 0 is Gaussian, and without a `link_power` it is
        1 - variance_power.
    overdispersion : of the family "negativeBinomial".

    >>> generalized_linear("tweedie", variance_power=1.0) == generalized_linear("poisson", "log")
    True
    """
    if family == "tweedie":
        power = 1.0 - variance_power if link_power is None else link_power
        return GeneralizedLinear(Tweedie(variance_power) if variance_power else Gaussian(), Power(power))
    families: dict[str, Family] = {
        "gaussian": Gaussian(),
        "binomial": Binomial(),
        "poisson": Tweedie(1.0),
        "gamma": Tweedie(2.0),
        "negativeBinomial": NegativeBinomial(overdispersion),
    }
    return GeneralizedLinear(families[family], LINKS[link or FAMILY_LINKS[family][0]])
