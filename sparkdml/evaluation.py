"""Metrics of predictions, weighted, in one job over a DataFrame and without a shuffle."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias, TypeVar

import numpy as np
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkdml.blocks.schema import find_type, numbered, numbers_of, quoted, resolve_columns, select_columns
from sparkdml.blocks.scored import (
    SCHEMA,
    Score,
    Scored,
    ScoredClasses,
    ScoredManyClasses,
    ScoredMargins,
    ScoredNumbers,
    Scorer,
)
from sparkdml.blocks.stats import MAX_CLASSES
from sparkdml.blocks.violations import Violations
from sparkdml.engine.failures import explained_failures
from sparkdml.errors import DataError

S = TypeVar("S", bound=Scored)


@dataclass(frozen=True)
class RegressionMetrics:
    """Sums over the rows of labels y, predictions p and weights s, and the metrics that follow from them.

    Attributes
    ----------
    count, weight : rows, and sum s.
    label_mean : sum s y / sum s.
    label_m2 : sum s (y - label_mean)^2.
    squared_error : sum s (y - p)^2.
    prediction_m2 : sum s (p - label_mean)^2, or None where it is not known.
    absolute_error : sum s |y - p|, or None where it is not known.
    residual_range : the extremes of sqrt(s) (y - p), or None where they are not known.
    bias : sum s (p - y) / sum s, or None where it is not known.
    """

    count: int
    weight: float
    label_mean: float
    label_m2: float
    squared_error: float
    prediction_m2: float | None = None
    absolute_error: float | None = None
    residual_range: tuple[float, float] | None = None
    bias: float | None = None

    @property
    def complete(self) -> bool:
        """Whether everything is known, not only what a fit tells."""
        return self.absolute_error is not None

    @property
    def mean_squared_error(self) -> float:
        """squared_error / weight."""
        return self.squared_error / self.weight

    @property
    def explained_variance(self) -> float:
        """prediction_m2 / weight: the variance of the predictions about the mean label, as in pyspark.ml."""
        assert self.prediction_m2 is not None
        return self.prediction_m2 / self.weight

    def r2(self, through_origin: bool) -> float:
        """1 - squared_error / sum s (y - mean)^2; of a model without an intercept the mean is taken as zero."""
        total = self.label_m2 + (self.weight * self.label_mean**2 if through_origin else 0.0)
        return 1.0 - self.squared_error / total if total > 0.0 else float("nan")


class ClassMetrics:
    """What follows from the sums of any number of classes K."""

    log_loss: float | None
    confusion: np.ndarray | None
    thresholds: np.ndarray | None
    bins: np.ndarray | None
    shares: np.ndarray

    @property
    def complete(self) -> bool:
        """Whether everything is known, not only what a fit tells."""
        return self.confusion is not None

    @property
    def pseudo_r2(self) -> float:
        """1 - log_loss / (log loss of the shares): D. McFadden (1974); NaN where there is one class."""
        assert self.log_loss is not None
        shares = self.shares
        null = -float(shares @ np.log(np.where(shares > 0.0, shares, 1.0)))
        return 1.0 - self.log_loss / null if null > 0.0 else float("nan")

    def calibration(self, slices: int) -> np.ndarray:
        """Weight, mean probability and frequency in slices of the probabilities, by ascending probability, (m, 3).

        There are at most so many slices, with as equal weights as there can be. The probability is that of a 1 and the
        frequency that of ones; of more than two classes, that of the predicted class, and how often it is the label.
        """
        assert self.bins is not None and self.thresholds is not None
        weight, p = self.bins.sum(axis=1)[::-1], self.thresholds[::-1]
        middle = np.cumsum(weight) - weight / 2
        which = np.minimum((middle / weight.sum() * slices).astype(int), slices - 1)
        columns = (weight, weight * p, self.bins[::-1, 1])
        sums = np.array([np.bincount(which, column, slices) for column in columns])
        total, probability, hits = sums[:, sums[0] > 0.0]
        return np.column_stack([total, probability / total, hits / total])


@dataclass(frozen=True, eq=False)
class BinaryMetrics(ClassMetrics):
    """Sums over the rows of labels y of {0, 1}, probabilities p of a 1, predicted classes and weights s.

    In place of the probabilities there may be margins, of which log_loss and bias are not known.

    Attributes
    ----------
    count, weight : rows, and sum s.
    label_mean : the share of the ones, sum s y / sum s.
    log_loss : - sum s (y log p + (1 - y) log(1 - p)) / sum s, or None where it is not known.
    bias : sum s (p - y) / sum s, or None where it is not known; so are the following.
    confusion : sum s of each label (rows) and predicted class (columns), (2, 2).
    thresholds : the distinct probabilities, descending, (k,); above 8192 the lowest of each bin, see `blocks.scores`.
    bins : sum s of the zeros and of the ones in each bin, (k, 2).
    exact : whether every bin is one probability.
    """

    count: int
    weight: float
    label_mean: float
    log_loss: float | None
    bias: float | None = None
    confusion: np.ndarray | None = None
    thresholds: np.ndarray | None = None
    bins: np.ndarray | None = None
    exact: bool = True

    @property
    def shares(self) -> np.ndarray:  # type: ignore[override]
        """The shares of the zeros and of the ones."""
        return np.array([1.0 - self.label_mean, self.label_mean])

    @property
    def cumulative(self) -> np.ndarray:
        """The weight of the zeros and of the ones with p >= threshold, for each threshold, (k, 2)."""
        assert self.bins is not None
        return np.cumsum(self.bins, axis=0)

    @property
    def rates(self) -> np.ndarray:
        """False and true positive rate at each threshold, (k, 2); NaN of a class that no row has."""
        found = self.cumulative
        with np.errstate(invalid="ignore"):
            return found / found[-1]

    @property
    def precision(self) -> np.ndarray:
        """The share of the ones among the rows with p >= threshold, (k,)."""
        found = self.cumulative
        total = found.sum(axis=1)
        return np.divide(found[:, 1], total, out=np.ones(len(found)), where=total > 0.0)

    @property
    def roc(self) -> np.ndarray:
        """The points of the ROC curve, false and true positive rate, from (0, 0) to (1, 1), (k + 2, 2)."""
        return np.vstack([[0.0, 0.0], self.rates, [1.0, 1.0]])

    @property
    def pr(self) -> np.ndarray:
        """The points of the precision-recall curve, recall and precision, from recall zero, (k + 1, 2)."""
        points = np.column_stack([self.rates[:, 1], self.precision])
        return np.vstack([[0.0, points[0, 1]], points])

    @property
    def area_under_roc(self) -> float:
        """By the trapezoidal rule, in which ties count half; NaN where there is one class."""
        return float(np.trapezoid(self.roc[:, 1], self.roc[:, 0]))

    @property
    def area_error(self) -> float:
        """The most by which `area_under_roc` can differ from that of the distinct probabilities: half of the pairs of
        a zero and a one in the same bin; zero where every bin is one probability."""
        if self.exact:
            return 0.0
        assert self.bins is not None
        return float(0.5 * np.sum(np.prod(self.bins, axis=1)) / np.prod(self.bins.sum(axis=0)))

    @property
    def area_under_pr(self) -> float:
        """By the trapezoidal rule, as in pyspark.ml."""
        return float(np.trapezoid(self.pr[:, 1], self.pr[:, 0]))


@dataclass(frozen=True, eq=False)
class MulticlassMetrics(ClassMetrics):
    """Sums over the rows of labels y of {0, ..., K - 1}, probabilities p of each class, predicted classes c, weights s.

    Attributes
    ----------
    count, weight : rows, and sum s.
    shares : of the classes among the labels, (K,).
    log_loss : - sum s log p_y / sum s, or None where it is not known.
    confusion : sum s of each label (rows) and predicted class (columns), (K, K), or None where it is not known; so are
        the following.
    thresholds : the distinct p_c, descending, (k,); above 8192 the lowest of each bin, see `blocks.scores`.
    bins : sum s of the rows in each bin whose label is not c, and of those whose label is, (k, 2).
    """

    count: int
    weight: float
    shares: np.ndarray
    log_loss: float | None
    confusion: np.ndarray | None = None
    thresholds: np.ndarray | None = None
    bins: np.ndarray | None = None


def regression_metrics(
    predictions: DataFrame, label: str, prediction: str, weight: str | None = None, skip: bool = False
) -> RegressionMetrics:
    """The metrics of a DataFrame of predictions, by one job.

    Raises
    ------
    ColumnError, ColumnTypeError : a column does not exist or is not numeric.
    DataError : a value is missing or infinite (with `skip`, such rows are left out), or there are no rows.
    """
    scored = total_of(ScoredNumbers, predictions, [prediction], label, weight, skip)
    weight_sum = scored.moments.weight
    (prediction_mean, label_mean), (prediction_m2, label_m2) = scored.moments.mean, scored.moments.m2
    (absolute, residual_mean), (_, residual_m2) = scored.residuals.mean, scored.residuals.m2
    return RegressionMetrics(
        scored.moments.count,
        weight_sum,
        float(label_mean),
        float(label_m2),
        float(residual_m2 + weight_sum * residual_mean**2),
        float(prediction_m2 + weight_sum * (prediction_mean - label_mean) ** 2),
        float(weight_sum * absolute),
        (scored.low, scored.high),
        float(prediction_mean - label_mean),
    )


def binary_metrics(
    predictions: DataFrame,
    label: str,
    prediction: str,
    score: str,
    weight: str | None = None,
    skip: bool = False,
    margins: bool = False,
) -> BinaryMetrics:
    """The metrics of a DataFrame of predicted classes and scores, by one job.

    Parameters
    ----------
    score : a column of vectors, whose second number is the probability of a 1, or of this number alone.
    margins : the scores are margins, any real numbers, instead of probabilities.

    Raises as `regression_metrics` does, and DataError where a label is neither 0 nor 1.
    """
    if isinstance(find_type(predictions.schema, score), VectorUDT):
        of_one = numbers_of(quoted(score))[1].alias(score)
        predictions = predictions.select(*map(quoted, filter(None, (label, prediction, weight))), of_one)
    kind = ScoredMargins if margins else ScoredClasses
    scored = total_of(kind, predictions, [score, prediction], label, weight, skip)
    require_binary(scored.moments.labels, label)
    p, _, y = scored.moments.mean
    return BinaryMetrics(
        scored.moments.count,
        scored.moments.weight,
        float(y),
        None if margins else scored.log_loss / scored.moments.weight,
        None if margins else float(p - y),
        scored.confusion,
        scored.scores.values[::-1].copy(),
        scored.scores.weights[::-1].copy(),
        scored.scores.dropped == 0,
    )


def multiclass_metrics(
    predictions: DataFrame, label: str, prediction: str, probability: str, weight: str | None = None, skip: bool = False
) -> MulticlassMetrics:
    """The metrics of a DataFrame of predicted classes and vectors of probabilities, by one job.

    Raises as `regression_metrics` does, and DataError where a label is not the number of a class.
    """
    found = F.array_append(numbers_of(quoted(probability)), quoted(prediction).cast("double")).alias(probability)
    rows = predictions.select(*map(quoted, filter(None, (label, weight))), found)
    scored = total_of(ScoredManyClasses, rows, probability, label, weight, skip)
    K, total, labels = scored.confusion.shape[0], scored.moments.weight, scored.moments.labels
    if count_classes(labels, label) > K:
        assert labels is not None
        raise DataError(f"column {label!r} has the label {max(labels):g}: the model knows the classes 0 to {K - 1}.")
    return MulticlassMetrics(
        scored.moments.count,
        total,
        scored.confusion.sum(axis=1) / total,
        scored.log_loss / total,
        scored.confusion.toarray(),
        scored.scores.values[::-1].copy(),
        scored.scores.weights[::-1].copy(),
    )


Labels: TypeAlias = dict[float, tuple[int, float]] | None  # rows and weight of each label, None if too many


_NUMBERED = "Number other classes so (StringIndexer does, or --with-column of a job)"


def require_binary(labels: Labels, column: str, named: int | None = None) -> None:
    """Raise `DataError` where a label is neither 0 nor 1, or the column has the metadata of other classes."""
    advice = (
        f"a model of two classes needs 0 and 1. {_NUMBERED}, or for more than two of them take LogisticRegression with "
        "family='multinomial'."
    )
    _require_labels(labels, {0.0, 1.0}, "other than 0 and 1", column, advice)
    if count_classes(labels, column, named) > 2:
        raise DataError(f"column {column!r} has the metadata of {named} classes: {advice}")


def count_classes(labels: Labels, column: str, named: int | None = None) -> int:
    """Return how many classes labels are the numbers of: one more than the largest, or as many as are `named`.

    Raises `DataError` where a label is no such number.
    """
    advice = f"classes are numbered 0, 1, 2, ... up to {MAX_CLASSES - 1}. {_NUMBERED}."
    whole = {label for label in labels or () if 0.0 <= label < MAX_CLASSES and label == int(label)}
    _require_labels(labels, whole, "that no class can have", column, advice)
    if named is None:
        return int(max(whole, default=0.0)) + 1
    if named > MAX_CLASSES:
        raise DataError(f"column {column!r} has the metadata of {named:,} classes: {advice}")
    known = {label for label in whole if label < named}
    advice = "index the column anew (StringIndexer does), or clear its metadata with df.withMetadata(column, {})."
    classes = f"the {named} classes" if named > 1 else "the one class"
    _require_labels(labels, known, f"beyond {classes} of its metadata", column, advice)
    return named


def _require_labels(labels: Labels, allowed: set[float], what: str, column: str, advice: str) -> None:
    if labels is None:
        raise DataError(f"column {column!r} has more distinct labels than there can be classes: {advice}")
    if other := sorted(set(labels) - allowed):
        count = sum(labels[value][0] for value in other)
        raise DataError(
            f"column {column!r} has {count:,} label{'s' * (count > 1)} {what} (such as {other[-1]:g}): {advice}"
        )


@explained_failures()
def total_of(
    kind: Scorer[S], predictions: DataFrame, features: str | Sequence[str], label: str, weight: str | None, skip: bool
) -> S:
    """The sums of all partitions, by one job; raises as `regression_metrics` says."""
    columns = resolve_columns(predictions.schema, features, label, weight)
    rows = numbered(select_columns(predictions, columns)).mapInArrow(Score(columns, kind), SCHEMA).collect()
    records = [pickle.loads(row.scored) for row in rows]
    violations = reduce(Violations.merge, (found for _, found in records), Violations())
    if bad := violations.fatal(skip):
        raise DataError(bad.sentence())
    total: S | None = reduce(lambda a, b: a.merge(b), (part for part, _ in records)) if records else None
    if total is None or total.moments.weight == 0.0:
        raise DataError("there are no rows of positive weight to evaluate.")
    return total
