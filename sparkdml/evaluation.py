"""Metrics of predictions, weighted, in one job over a DataFrame and without a shuffle."""

import pickle
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame

from sparkdml.blocks.schema import resolve_columns, select_columns
from sparkdml.blocks.scored import SCHEMA, Score, Scored
from sparkdml.errors import DataError


@dataclass(frozen=True)
class RegressionMetrics:
    """Sums over the rows of labels y, predictions p and weights s, and the metrics that follow from them.

    Attributes
    ----------
    count, weight : rows, and sum s.
    label_mean : sum s y / sum s.
    label_m2 : sum s (y - label_mean)^2.
    prediction_m2 : sum s (p - label_mean)^2.
    squared_error : sum s (y - p)^2.
    absolute_error : sum s |y - p|, or None where it is not known.
    residual_range : the extremes of sqrt(s) (y - p), or None where they are not known.
    bias : sum s (p - y) / sum s, or None where it is not known.
    """

    count: int
    weight: float
    label_mean: float
    label_m2: float
    prediction_m2: float
    squared_error: float
    absolute_error: float | None = None
    residual_range: tuple[float, float] | None = None
    bias: float | None = None

    @property
    def mean_squared_error(self) -> float:
        """squared_error / weight."""
        return self.squared_error / self.weight

    @property
    def explained_variance(self) -> float:
        """prediction_m2 / weight: the variance of the predictions about the mean label, as in pyspark.ml."""
        return self.prediction_m2 / self.weight

    def r2(self, through_origin: bool) -> float:
        """1 - squared_error / sum s (y - mean)^2; of a model without an intercept the mean is taken as zero."""
        total = self.label_m2 + (self.weight * self.label_mean**2 if through_origin else 0.0)
        return 1.0 - self.squared_error / total if total > 0.0 else float("nan")


def regression_metrics(
    predictions: DataFrame, label: str, prediction: str, weight: str | None = None, skip: bool = False
) -> RegressionMetrics:
    """The metrics of a DataFrame of predictions, by one job.

    Raises
    ------
    ColumnError, ColumnTypeError : a column does not exist or is not numeric.
    DataError : a value is missing or infinite (with `skip`, such rows are left out), or there are no rows.
    """
    columns = resolve_columns(predictions.schema, [prediction], label, weight)
    scored = select_columns(predictions, columns).mapInArrow(Score(columns), SCHEMA).collect()
    total = reduce(Scored.merge, (pickle.loads(row.scored) for row in scored)) if scored else None
    if total is not None and (bad := total.violations.fatal(skip)):
        raise DataError(bad.sentence())
    if total is None or total.moments.weight == 0.0:
        raise DataError("there are no rows of positive weight to evaluate.")
    return _metrics(total)


def _metrics(scored: Scored) -> RegressionMetrics:
    """The sums as metrics."""
    weight = scored.moments.weight
    (prediction_mean, label_mean), (prediction_m2, label_m2) = scored.moments.mean, scored.moments.m2
    (absolute, residual_mean), (_, residual_m2) = scored.residuals.mean, scored.residuals.m2
    return RegressionMetrics(
        scored.moments.count,
        weight,
        float(label_mean),
        float(label_m2),
        float(prediction_m2 + weight * (prediction_mean - label_mean) ** 2),
        float(residual_m2 + weight * residual_mean**2),
        float(weight * absolute),
        (scored.low, scored.high),
        float(prediction_mean - label_mean),
    )
