"""How well a generalized linear model fits, and how it was trained."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.errors import StatisticsError
from sparkdml.inference import Inferred
from sparkdml.optim.losses import GeneralizedLinear, generalized_linear
from sparkdml.regression.glm_evaluation import GlmMetrics, glm_metrics, residuals_of
from sparkdml.summary import Scoring, Summary, Training, TrainingSummary


@dataclass(frozen=True, kw_only=True)
class GlmScoring(Scoring):
    """Adds the Params that make the loss, the column of offsets and that of the margins."""

    family: str
    link: str | None
    variancePower: float
    linkPower: float | None
    overdispersion: float
    offsetCol: str | None
    linkPredictionCol: str | None

    @property
    def loss(self) -> GeneralizedLinear:
        """The loss of the family and the link."""
        return generalized_linear(
            self.family,
            self.link,
            variance_power=self.variancePower,
            link_power=self.linkPower,
            overdispersion=self.overdispersion,
        )


class GeneralizedLinearRegressionSummary(Inferred, Summary[GlmMetrics]):
    """Metrics of a model on a table; as in pyspark.ml, with the likelihood, its criteria and pseudo R2 besides.

    Every metric honours the weights: a weight multiplies a row's log likelihood, and of a share y of the binomial
    family it is the number of trials. Nothing is computed before it is asked for; one job then computes all metrics.
    """

    @property
    def family(self) -> str:
        """The distribution of the label."""
        return self._scoring.loss.family.name

    @property
    def link(self) -> str:
        """The function of the mean that is linear."""
        return self._scoring.loss.link_function.name

    @property
    def rank(self) -> int:
        """How many coefficients and intercepts there are; as in pyspark.ml, even where they depend on each other."""
        return self._scoring.numFeatures + int(self._scoring.fitIntercept)

    @property
    def degreesOfFreedom(self) -> int:
        """numInstances - rank."""
        return self.numInstances - self.rank

    @property
    def residualDegreeOfFreedom(self) -> int:
        """The same as `degreesOfFreedom`."""
        return self.degreesOfFreedom

    @property
    def residualDegreeOfFreedomNull(self) -> int:
        """numInstances, less one for an intercept."""
        return self.numInstances - int(self._scoring.fitIntercept)

    @property
    def deviance(self) -> float:
        """sum s d(y, mean), d being the unit deviance of the family."""
        return self._known().deviance

    @property
    def nullDeviance(self) -> float:
        """The deviance of the best model without features; infinite where the margin zero has no mean."""
        null = self._known().null_deviance
        return float("inf") if null is None else null

    @property
    def dispersion(self) -> float:
        """sum s (y - mean)^2 / V(mean) / degreesOfFreedom; one where the family has none to estimate."""
        if not self._scoring.loss.family.dispersed:
            return 1.0
        freedom = self.degreesOfFreedom
        return self._known().pearson / freedom if freedom > 0 else float("nan")

    @property
    def logLikelihood(self) -> float:
        """The log likelihood, at the dispersion deviance / sum s if that is estimated.

        StatisticsError where the density of the family has no closed form, as that of a Tweedie one other than
        Gaussian, Poisson and gamma. Fractional weights of binomial rows count as they are; pyspark.ml rounds them.
        """
        found = self._known().log_likelihood
        if found is None:
            raise StatisticsError(
                f"there is no log likelihood of the family {self.family!r} here, so no aic and no bic."
            )
        return found

    @property
    def aic(self) -> float:
        """2 k - 2 logLikelihood, k being the rank, and one more where the dispersion is estimated.

        Source: H. Akaike, A New Look at the Statistical Model Identification (1974).
        """
        return 2.0 * self._estimated - 2.0 * self.logLikelihood

    @property
    def bic(self) -> float:
        """k log(numInstances) - 2 logLikelihood, with k as in `aic`.

        Source: G. Schwarz, Estimating the Dimension of a Model (1978).
        """
        return self._estimated * float(np.log(self.numInstances)) - 2.0 * self.logLikelihood

    @property
    def devianceExplained(self) -> float:
        """1 - deviance / nullDeviance, D^2 of scikit-learn; NaN where the null model is perfect."""
        return 1.0 - self.deviance / self.nullDeviance if self.nullDeviance > 0.0 else float("nan")

    @property
    def _estimated(self) -> int:
        """How many numbers were estimated."""
        return self.rank + int(self._scoring.loss.family.dispersed)

    def residuals(self, residualsType: str = "deviance") -> DataFrame:
        """The residuals of each row, in a column such as `devianceResiduals`; lazy.

        Parameters
        ----------
        residualsType : "deviance", sign(y - mean) sqrt(s d(y, mean)); "pearson", (y - mean) sqrt(s / V(mean));
            "working", (y - mean) dz / dmean; or "response", y - mean.
        """
        s = self._scoring
        return residuals_of(self.predictions, s.loss, residualsType, s.labelCol, s.predictionCol, s.weightCol)

    def metrics(self) -> dict[str, float]:
        """The metrics by the names that the jobs give them."""
        found = {
            "deviance": self.deviance,
            "null_deviance": self.nullDeviance,
            "deviance_explained": self.devianceExplained,
            "dispersion": self.dispersion,
        }
        if self._known().log_likelihood is not None:
            found |= {"log_likelihood": self.logLikelihood, "aic": self.aic, "bic": self.bic}
        return found

    def _measure(self) -> GlmMetrics:
        s = self._scoring
        columns = {"label": s.labelCol, "prediction": s.predictionCol, "weight": s.weightCol, "offset": s.offsetCol}
        return glm_metrics(self.predictions, s.loss, s.fitIntercept, **columns, skip=s.skip)

    def __str__(self) -> str:
        family = self._scoring.loss.family
        shape = f" ({family.shape})" if family.shape else ""
        estimated = f"{self.dispersion:.6g}" if family.dispersed else "1 (fixed)"
        lines = [
            f"Family: {self.family}{shape}   link: {self.link}   dispersion: {estimated}",
            f"    Null deviance: {self.nullDeviance:.6g} on {self.residualDegreeOfFreedomNull:,} degrees of freedom",
            f"Residual deviance: {self.deviance:.6g} on {self.residualDegreeOfFreedom:,} degrees of freedom",
        ]
        if self._known().log_likelihood is not None:
            lines.append(f"AIC: {self.aic:.6g}   BIC: {self.bic:.6g}   log likelihood: {self.logLikelihood:.6g}")
        return "\n".join([*lines, f"Rows: {self.numInstances:,}   deviance explained: {self.devianceExplained:.6f}"])


class GeneralizedLinearRegressionTrainingSummary(TrainingSummary[GlmMetrics], GeneralizedLinearRegressionSummary):
    """How a generalized linear model was trained and how well it fits; survives save and load.

    All metrics are known from the fit. Only `predictions` and `residuals` score the training table, when they are asked
    for.
    """

    _parts: ClassVar = {"scoring": GlmScoring, "metrics": GlmMetrics, "training": Training}

    @property
    def numIterations(self) -> int:
        """The same as `totalIterations`, by the name of pyspark.ml."""
        return self.totalIterations

    @property
    def _freedom(self) -> float:
        return self.degreesOfFreedom if self._scoring.loss.family.dispersed else float("inf")

    @property
    def _dispersion(self) -> float:
        return self.dispersion
