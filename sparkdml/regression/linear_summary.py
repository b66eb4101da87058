"""How well a linear regression predicts, and how it was trained."""

from typing import ClassVar

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.blocks.schema import quoted
from sparkdml.evaluation import RegressionMetrics, regression_metrics
from sparkdml.inference import Inferred
from sparkdml.summary import Scoring, Summary, Training, TrainingSummary


class LinearRegressionSummary(Inferred, Summary[RegressionMetrics]):
    """Metrics of a model on a table; as in pyspark.ml, but every metric honours the weights.

    Nothing is computed before it is asked for. One job then computes all metrics.
    """

    @property
    def residuals(self) -> DataFrame:
        """label - prediction of each row, in a column `residuals`; lazy."""
        predictions = self.predictions
        return predictions.select((quoted(self.labelCol) - quoted(self.predictionCol)).alias("residuals"))

    @property
    def explainedVariance(self) -> float:
        """sum s (p - mean label)^2 / sum s for predictions p and weights s; with an offset the first use runs a job."""
        known = self._known()
        return (known if known.prediction_m2 is not None else self._complete()).explained_variance

    @property
    def meanSquaredError(self) -> float:
        """sum s (y - p)^2 / sum s."""
        return self._known().mean_squared_error

    @property
    def rootMeanSquaredError(self) -> float:
        """sqrt(meanSquaredError), in units of the label."""
        return float(np.sqrt(self.meanSquaredError))

    @property
    def meanAbsoluteError(self) -> float:
        """sum s |y - p| / sum s; needs the predictions, so the first use runs a job."""
        metrics = self._complete()
        assert metrics.absolute_error is not None
        return metrics.absolute_error / metrics.weight

    @property
    def r2(self) -> float:
        """1 - sum s (y - p)^2 / sum s (y - mean label)^2; without an intercept the mean counts as zero.

        As in scikit-learn. With weights and an intercept pyspark.ml multiplies the lower sum by
        (S - 1) / (S - sum s^2 / S), S = sum s.
        """
        return self._known().r2(through_origin=not self._scoring.fitIntercept)

    @property
    def r2adj(self) -> float:
        """1 - (1 - r2) (n - i) / (n - d - i) with i = 1 if there is an intercept, else 0."""
        count, d, i = self.numInstances, self._scoring.numFeatures, int(self._scoring.fitIntercept)
        left = count - d - i
        return 1.0 - (1.0 - self.r2) * (count - i) / left if left > 0 else float("nan")

    @property
    def degreesOfFreedom(self) -> int:
        """Rows less coefficients less one for an intercept."""
        return self.numInstances - self._scoring.numFeatures - int(self._scoring.fitIntercept)

    @property
    def devianceResiduals(self) -> list[float]:
        """The smallest and the largest sqrt(s) (y - p); needs the predictions."""
        metrics = self._complete()
        assert metrics.residual_range is not None
        return list(metrics.residual_range)

    def metrics(self) -> dict[str, float]:
        """The metrics that are at hand, by the names that the jobs give them: those of a fit, or all of a table."""
        known = self._known()
        found = {
            "rmse": self.rootMeanSquaredError,
            "mse": self.meanSquaredError,
            "r2": self.r2,
            "r2adj": self.r2adj,
        }
        if known.prediction_m2 is not None:
            found["explained_variance"] = self.explainedVariance
        if known.absolute_error is not None:
            low, high = self.devianceResiduals
            found |= {"mae": self.meanAbsoluteError, "bias": float(known.bias or 0.0)}
            found |= {"deviance_residual_min": low, "deviance_residual_max": high}
        return found

    def _measure(self) -> RegressionMetrics:
        s = self._scoring
        return regression_metrics(self.predictions, s.labelCol, s.predictionCol, s.weightCol, s.skip)

    def __str__(self) -> str:
        return (
            f"Rows: {self.numInstances:,}   RMSE: {self.rootMeanSquaredError:.6g}   r2: {self.r2:.6f}   "
            f"adjusted r2: {self.r2adj:.6f}"
        )


class LinearRegressionTrainingSummary(TrainingSummary[RegressionMetrics], LinearRegressionSummary):
    """How a linear regression was trained and how well it fits; survives save and load.

    The metrics that the fit knows cost nothing. What needs the predictions (`meanAbsoluteError`, `devianceResiduals`,
    `residuals`) is computed when it is asked for, from the training table.
    """

    _parts: ClassVar = {"scoring": Scoring, "metrics": RegressionMetrics, "training": Training}
    _needed: ClassVar = f"loss='squaredError', {Inferred._needed}"

    @property
    def _freedom(self) -> float:
        return self.degreesOfFreedom

    @property
    def _dispersion(self) -> float:
        """The variance of a label of weight one."""
        return self._known().squared_error / self._freedom if self._freedom > 0 else float("nan")
