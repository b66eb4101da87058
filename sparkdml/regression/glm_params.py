"""The Params of generalized linear models."""

import math
from typing import Any, ClassVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasSolver

from sparkdml.errors import ParamError
from sparkdml.given import check_owned
from sparkdml.optim.losses import FAMILY_LINKS, GeneralizedLinear, generalized_linear
from sparkdml.optim.losses.links import LINKS
from sparkdml.optim.solvers import ALIASES, SOLVERS
from sparkdml.params import FitParams, HasStandardErrors, choice, number

# The family that each Param of a family is for.
SHAPES = {"variancePower": "tweedie", "linkPower": "tweedie", "overdispersion": "negativeBinomial"}


def variance_power(value: Any) -> float:
    """The value of variancePower: 0, or at least 1; what is between belongs to no distribution.

    >>> variance_power(1.5)
    1.5
    """
    power = TypeConverters.toFloat(value)
    if power != 0.0 and not 1.0 <= power < math.inf:
        raise ParamError(f"variancePower={power!r} is out of range: it must be 0 or at least 1.")
    return power


class GeneralizedLinearParams(FitParams, HasSolver, HasStandardErrors):
    """The Params of the estimator and of its model."""

    _family: ClassVar[str] = "gaussian"

    solver = choice("solver", "the method of minimization.", ["auto", *SOLVERS, *ALIASES])
    family = choice("family", "the distribution of the label.", list(FAMILY_LINKS))
    link = choice("link", "the function of the mean that is linear; each family has its default.", list(LINKS))
    linkPredictionCol: Param[str] = Param(
        Params._dummy(), "linkPredictionCol", "column of the margins, link(prediction).", TypeConverters.toString
    )
    variancePower: Param[float] = Param(
        Params._dummy(),
        "variancePower",
        "of the family tweedie: the power of the mean that the variance is, 0 or at least 1.",
        variance_power,
    )
    linkPower = number(
        "linkPower", "of the family tweedie: the power of the mean that is linear, 0 for its logarithm.", -math.inf
    )
    overdispersion = number(
        "overdispersion",
        "k of the family negativeBinomial, whose variance is mean + k mean^2, above 0.",
        0.0,
        open_low=True,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(family=self._family, solver="irls", maxIter=25, variancePower=0.0, overdispersion=1.0)
        self._setDefault(computeStatistics=False, standardErrors="classical")
        del self._defaultParamMap[self.standardization]  # what is the default depends on the family

    def _loss(self) -> GeneralizedLinear:
        """The loss of the family and the link; ParamError where they do not go together."""
        family, link = self.getOrDefault("family"), self._optional("link")
        check_owned(self, "family", SHAPES)
        links = FAMILY_LINKS[family]
        if link is not None and link not in links:
            instead = f"take {' or '.join(map(repr, links))}" if links else "it takes a linkPower"
            raise ParamError(f"link={link!r} does not go with family={family!r}: {instead}.")
        return generalized_linear(
            family,
            link,
            variance_power=self.getOrDefault("variancePower"),
            link_power=self._optional("linkPower"),
            overdispersion=self.getOrDefault("overdispersion"),
        )

    def _optional(self, name: str) -> Any:
        """The value of a Param, or None where it has none."""
        return self.getOrDefault(name) if self.isDefined(name) else None
