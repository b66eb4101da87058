"""How well predicted means fit labels: deviance, dispersion, likelihood, and the residuals of each row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkdml.blocks.block import Block
from sparkdml.blocks.schema import quoted
from sparkdml.blocks.stats import RANGES, Statistics
from sparkdml.engine.null_model import null_model
from sparkdml.engine.spark_data import pack
from sparkdml.errors import DataError, StatisticsError
from sparkdml.evaluation import total_of
from sparkdml.optim.losses import GeneralizedLinear
from sparkdml.optim.queries import GoodnessSums


@dataclass(frozen=True)
class GlmMetrics:
    """Sums over the rows of labels y, means and weights s, and what follows from them.

    Attributes
    ----------
    count, weight : rows, and sum s.
    deviance : 2 sum s l with l the loss: half of the unit deviance.
    null_deviance : that of the best model without features; None where it is infinite, as without an intercept it is
        where no mean can be the link's inverse of zero.
    pearson : sum s (y - mean)^2 / V(mean).
    log_likelihood : at the dispersion deviance / weight where that is estimated; None where it has no closed form.
    """

    count: int
    weight: float
    deviance: float
    null_deviance: float | None
    pearson: float
    log_likelihood: float | None
    complete: bool = True

    @classmethod
    def of(cls, loss: GeneralizedLinear, count: int, sums: GoodnessSums, null_value: float) -> "GlmMetrics":
        """The metrics that the sums make; `null_value` is half of the null deviance."""
        deviance = 2.0 * max(sums.value, 0.0)  # of a perfect fit rounding leaves less than nothing
        likelihood = loss.family.log_likelihood(deviance, sums.saturated, sums.rows, sums.weight)
        finite = likelihood is not None and np.isfinite(likelihood)
        null = 2.0 * null_value if np.isfinite(null_value) else None
        return cls(count, sums.weight, deviance, null, sums.pearson, likelihood if finite else None)


@dataclass(frozen=True, eq=False)
class ScoredMeans:
    """The sums of rows with one feature, the predicted mean, and perhaps a second, the offset.

    `null` is sum s l of the model without features: of an intercept alone, or without one of the offset alone. In the
    first case two parts merge by the loss of each part's mean label under that of both, as squares in a variance do.

    Source: A. Banerjee and others, Clustering with Bregman Divergences (2005).
    """

    scorer: "ScoreMeans"
    moments: Statistics
    goodness: GoodnessSums
    null: float

    def merge(self, other: "ScoredMeans") -> "ScoredMeans":
        """The sums of both."""
        moments, null = self.moments.merge(other.moments), self.null + other.null
        if self.scorer.intercept and self.moments.weight and other.moments.weight:
            means = np.array([self.moments.mean[-1], other.moments.mean[-1]])
            losses = self.scorer.loss.value(means, self.scorer.loss.link(moments.mean[-1:]))
            null += float(losses @ [self.moments.weight, other.moments.weight])
        return ScoredMeans(self.scorer, moments, self.goodness.merge(other.goodness), null)


@dataclass(frozen=True)
class ScoreMeans:
    """Makes the sums of blocks, with the loss of the model; `intercept`, whether the null model is the mean label."""

    loss: GeneralizedLinear
    intercept: bool

    def of(self, block: Block) -> ScoredMeans:
        """The sums of a block."""
        X, y, s = np.asarray(block.features), block.label, block.weights
        moments = Statistics.of(block)
        offset = X[:, 1] if X.shape[1] > 1 else np.zeros(block.rows)
        null_margins = self.loss.link(moments.mean[-1:]) if self.intercept else offset[:, None]
        null = float(s @ np.where(s > 0.0, self.loss.value(y, null_margins), 0.0))
        return ScoredMeans(self, moments, GoodnessSums.of(self.loss, y, self.loss.link(X[:, 0]), s), null)


def glm_metrics(
    predictions: DataFrame,
    loss: GeneralizedLinear,
    intercept: bool,
    *,
    label: str,
    prediction: str,
    weight: str | None = None,
    offset: str | None = None,
    skip: bool = False,
) -> GlmMetrics:
    """The metrics of a DataFrame of predicted means, by one job; with offsets and an intercept, which the null model
    must be fitted to, by some more.

    Raises as `evaluation.regression_metrics` does, and DataError where a label is not of the family.
    """
    columns, fitted = [prediction, *([offset] if offset else [])], bool(intercept and offset)
    scored = total_of(ScoreMeans(loss, intercept and not offset), predictions, columns, label, weight, skip)
    check_labels(loss, scored.moments, label)
    null = scored.null
    if fitted:
        names: dict[str, Any] = {"labelCol": label, "weightCol": weight, "offsetCol": offset}
        invalid = "skip" if skip else "error"
        with pack(predictions, featuresCols=[prediction], handleInvalid=invalid, **names) as data:
            null = null_model(data, loss, data.statistics).loss * data.statistics.weight
    return GlmMetrics.of(loss, scored.moments.count, scored.goodness, null)


def check_labels(loss: GeneralizedLinear, statistics: Statistics, column: str) -> None:
    """Raise DataError where a label of positive weight is not of the family."""
    ends = np.array([statistics.low[-1], statistics.high[-1]])
    if not np.all(inside := loss.domain(ends)):
        count = int(statistics.ranges[~loss.domain(RANGES)].sum())
        raise DataError(
            f"column {column!r} has {count:,} label{'s' * (count > 1)} that no {loss.family.name} family has (such as "
            f"{ends[~inside][0]:g}): they must be {loss.family.labels}; leave out such rows, or take another family."
        )


RESIDUALS: dict[str, Callable[..., np.ndarray]] = {
    "deviance": lambda loss, y, z, s: np.sqrt(np.maximum(2.0 * s * loss.value(y, z), 0.0)),
    "pearson": lambda loss, y, z, s: np.sqrt(s) * np.abs(loss.gradient(y, z)[:, 0]) / np.sqrt(_fisher(loss, y, z)),
    "working": lambda loss, y, z, s: -loss.gradient(y, z)[:, 0] / _fisher(loss, y, z),
    "response": lambda loss, y, z, s: y - loss.inverse_link(z),
}
SIGNED = ("deviance", "pearson")  # those of which only the size follows from the loss


def _fisher(loss: GeneralizedLinear, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return loss.fisher(y, z)[:, 0, 0]


@dataclass(frozen=True)
class Residuals:
    """The function of `mapInArrow`: labels, means and weights to residuals of one kind, as pyspark.ml defines them.

    deviance: sign(y - mean) sqrt(2 s l); pearson: (y - mean) sqrt(s / V(mean)); working: (y - mean) / mean'(z);
    response: y - mean. They are null where the prediction is.
    """

    loss: GeneralizedLinear
    kind: str

    @property
    def schema(self) -> str:
        """That of the result."""
        return f"{self.kind}Residuals double"

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            y, mean, s = (column.to_numpy(zero_copy_only=False).astype(float) for column in batch.columns)
            with np.errstate(divide="ignore", invalid="ignore"):
                found = RESIDUALS[self.kind](self.loss, y, self.loss.link(mean), s)
                found = np.copysign(found, y - mean) if self.kind in SIGNED else found
            yield pa.RecordBatch.from_arrays([pa.array(found, from_pandas=True)], [f"{self.kind}Residuals"])


def residuals_of(
    predictions: DataFrame, loss: GeneralizedLinear, kind: str, label: str, prediction: str, weight: str | None
) -> DataFrame:
    """The residuals of each row in a column such as `devianceResiduals`, lazily; StatisticsError for another kind."""
    if kind not in RESIDUALS:
        raise StatisticsError(f"residuals({kind!r}): take {' or '.join(map(repr, RESIDUALS))}.")
    columns = {"y": quoted(label), "mean": quoted(prediction), "s": quoted(weight) if weight else F.lit(1.0)}
    # names of our own, since mapInArrow takes the dot of any other, such as 1.0, for that of a field
    numbers = predictions.select(*(column.cast("double").alias(name) for name, column in columns.items()))
    make = Residuals(loss, kind)
    return numbers.mapInArrow(make, make.schema)
