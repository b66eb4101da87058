"""How well a logistic regression predicts, and how it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.classification.class_summary import BinaryClassificationSummary, ClassificationSummary, frame
from sparkdml.evaluation import BinaryMetrics, MulticlassMetrics, binary_metrics, multiclass_metrics
from sparkdml.inference import CLASSICAL, Inference, Inferred
from sparkdml.summary import Scoring, Training, TrainingSummary, coefficient_rows
from sparkdml.text import align, with_points_in_line

T = TypeVar("T", BinaryMetrics, MulticlassMetrics)

SLICES = 10  # of a calibration table: deciles
SHOWN = 12  # classes that have a column in the printed table


@dataclass(frozen=True, kw_only=True)
class ClassScoring(Scoring):
    """Adds the column of probabilities: vectors; of two classes also numbers, the probability of a 1."""

    probabilityCol: str


class LogisticRegressionSummary(Inferred, ClassificationSummary):
    """Metrics of the predicted classes and of their probabilities.

    What pyspark.ml lacks: `logLoss`, `pseudoR2`, `confusionMatrix`, `calibration`.
    """

    @property
    def probabilityCol(self) -> str:
        """The column of `predictions` with the probability of each class."""
        return self._scoring.probabilityCol

    def calibration(self, slices: int = SLICES) -> DataFrame:
        """Columns probability, frequency and weight: whether what is predicted with a probability comes so often.

        A row is a slice of the probabilities, all slices of as equal weight as there can be. The probability is the
        mean one of a 1 and the frequency the share of the ones; of more than two classes, the probability of the
        predicted class, and how often it is the label.
        """
        weight, probability, frequency = self._complete().calibration(slices).T
        return frame(np.column_stack([probability, frequency, weight]), "probability", "frequency", "weight")

    @property
    def logLoss(self) -> float:
        """- sum s log p_y / sum s for the probability p_y of the label; p_y is kept 2.2e-16 away from 0 and 1."""
        found = self._known_loss().log_loss
        assert found is not None
        return found

    @property
    def pseudoR2(self) -> float:
        """1 - logLoss / (that of the shares of the classes): McFadden's."""
        return self._known_loss().pseudo_r2

    def metrics(self) -> dict[str, float]:
        """The metrics by the names that the jobs give them; f1 is weighted by the labels, or of each alike (macro).

        Where the rows that were trained on are not at hand, those that the fit knows.
        """
        if not self._known().complete and self._scoring.predict is None:
            known = self._known()
            return {} if known.log_loss is None else {"log_loss": known.log_loss, "pseudo_r2": known.pseudo_r2}
        return self._all_metrics()

    def _all_metrics(self) -> dict[str, float]:
        return {
            "log_loss": self.logLoss,
            "accuracy": self.accuracy,
            "weighted_precision": self.weightedPrecision,
            "weighted_f1": self.weightedFMeasure(),
            "macro_f1": float(np.mean(self.fMeasureByLabel())),
            "pseudo_r2": self.pseudoR2,
        }

    def _known_loss(self) -> Any:
        """The metrics at hand where the log loss is among them, or those of a job."""
        known = self._known()
        return known if known.log_loss is not None else self._complete()

    def _measure(self) -> Any:
        s = self._scoring
        return multiclass_metrics(self.predictions, s.labelCol, s.predictionCol, s.probabilityCol, s.weightCol, s.skip)

    def __str__(self) -> str:
        known = self._known()
        told = f"Rows: {known.count:,}"
        if known.log_loss is not None:
            told += f"   log loss: {known.log_loss:.6g}   pseudo r2: {known.pseudo_r2:.6f}"
        return f"{told}   {self._told_of_all()}" if known.complete else told

    def _told_of_all(self) -> str:
        return f"accuracy: {self.accuracy:.6f}"


class BinaryLogisticRegressionSummary(BinaryClassificationSummary, LogisticRegressionSummary):
    """Metrics of a binomial model: of the predicted classes, of the probabilities, and of all thresholds."""

    @property
    def scoreCol(self) -> str:
        """The column of `predictions` whose values are the thresholds of the curves: `probabilityCol`."""
        return self.probabilityCol

    def _all_metrics(self) -> dict[str, float]:
        """Precision, recall and f1 are of label 1."""
        return {
            "log_loss": self.logLoss,
            **self._of_one(),
            "pseudo_r2": self.pseudoR2,
            "bias": float(self._complete().bias or 0.0),
        }

    def _measure(self) -> BinaryMetrics:
        s = self._scoring
        return binary_metrics(self.predictions, s.labelCol, s.predictionCol, s.probabilityCol, s.weightCol, s.skip)

    def _told_of_all(self) -> str:
        return f"AUC: {self.areaUnderROC:.6f}   {super()._told_of_all()}"


class LogisticRegressionTrainingSummary(TrainingSummary[Any], LogisticRegressionSummary):
    """How a logistic regression was trained and how well it fits; survives save and load.

    The fit knows `logLoss`, `pseudoR2` and `numInstances`, with `classWeight` only `numInstances`. The rest is computed
    when it is asked for, from the rows that were trained on and with their own weights, and is then saved with the
    model. Rows drawn by `validationFraction` are marked in no table: then there is no rest.
    """

    _parts: ClassVar = {"scoring": ClassScoring, "metrics": MulticlassMetrics, "training": Training}

    def _table(self, names: Sequence[str], estimates: np.ndarray, inference: Inference | None) -> str:
        if estimates.shape[1] == 1:
            return super()._table(names, estimates, inference)
        return class_table(names, estimates, inference, self._training.standardErrors)


class BinaryLogisticRegressionTrainingSummary(LogisticRegressionTrainingSummary, BinaryLogisticRegressionSummary):
    """As `LogisticRegressionTrainingSummary`, of two classes."""

    _parts: ClassVar = {"scoring": ClassScoring, "metrics": BinaryMetrics, "training": Training}


def class_table(
    names: Sequence[str], estimates: np.ndarray, inference: Inference | None = None, kind: str = CLASSICAL
) -> str:
    """The coefficients, (n, K), as a table: a line a name, a column a class; with standard errors a part a class.

    >>> print(class_table(["x", "(intercept)"], np.array([[1.0, -1.0], [0.5, -0.5]])))
    Feature      Class 0  Class 1
    x                1       -1
    (intercept)      0.5     -0.5
    """
    classes = estimates.shape[1]
    shown = range(min(classes, SHOWN))
    if inference is None:
        lines = [[name, *(f"{row[k]:.6g}" for k in shown)] for name, row in zip(names, estimates, strict=True)]
        table = align(with_points_in_line([["Feature", *(f"Class {k}" for k in shown)], *lines]))
    else:
        parts = [(k, inference.part(slice(k, None, classes))) for k in shown]
        tables = (coefficient_rows(names, part.estimates, part, kind, f"Class {k}") for k, part in parts)
        rows = [row for table in tables for row in ([""] * len(table[0]), *table)][1:]  # an empty line between classes
        table = f"{align(with_points_in_line(rows))}\n(each feature's coefficients sum to zero over the classes)"
    return f"{table}\n({classes - SHOWN} more classes)" if classes > SHOWN else table
