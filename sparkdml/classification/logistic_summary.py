"""How well a logistic regression predicts, and how it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from pyspark.ml.linalg import DenseMatrix
from pyspark.sql import DataFrame, SparkSession

from sparkdml.evaluation import BinaryMetrics, MulticlassMetrics, binary_metrics, multiclass_metrics
from sparkdml.inference import Inferred
from sparkdml.model import matrix
from sparkdml.summary import Scoring, Summary, Training, TrainingSummary
from sparkdml.text import align

T = TypeVar("T", BinaryMetrics, MulticlassMetrics)

SLICES = 10  # of a calibration table: deciles
SHOWN = 12  # classes that have a column in the printed table


@dataclass(frozen=True, kw_only=True)
class ClassScoring(Scoring):
    """Adds the column of probabilities: vectors; of two classes also numbers, the probability of a 1."""

    probabilityCol: str


class LogisticRegressionSummary(Inferred, Summary[Any]):
    """Metrics of the predicted classes; as in pyspark.ml, every metric honours the weights.

    What pyspark.ml lacks: `logLoss`, `pseudoR2`, `confusionMatrix`, `calibration`.

    Lists are in the order of `labels`, those that rows of positive weight have. The weighted averages are over the
    labels, by their weight. Nothing is computed before it is asked for; one job then computes all metrics.
    """

    @property
    def weightCol(self) -> str | None:
        """The column of `predictions` with the weight of each row, or None where each row weighs one."""
        return self._scoring.weightCol

    @property
    def probabilityCol(self) -> str:
        """The column of `predictions` with the probability of each class."""
        return self._scoring.probabilityCol

    @property
    def labels(self) -> list[float]:
        """The labels, ascending."""
        return np.flatnonzero(self._confusion.any(axis=1)).astype(float).tolist()

    @property
    def truePositiveRateByLabel(self) -> list[float]:
        """The share of the rows of a label that are predicted to have it."""
        return self._by_label(self._recall)

    @property
    def falsePositiveRateByLabel(self) -> list[float]:
        """The share of the rows of other labels that are predicted to have it; NaN where there are none."""
        return self._by_label(self._false_positive_rate)

    @property
    def precisionByLabel(self) -> list[float]:
        """The share of the rows predicted to have a label that do; 0 where there are none."""
        return self._by_label(self._precision)

    @property
    def recallByLabel(self) -> list[float]:
        """The same as `truePositiveRateByLabel`."""
        return self._by_label(self._recall)

    def fMeasureByLabel(self, beta: float = 1.0) -> list[float]:
        """(1 + beta^2) precision recall / (beta^2 precision + recall) of each label."""
        return self._by_label(self._f_measure(beta))

    @property
    def accuracy(self) -> float:
        """The share of the rows whose label is predicted."""
        return float(np.trace(self._confusion) / self._confusion.sum())

    @property
    def weightedTruePositiveRate(self) -> float:
        """The average of `truePositiveRateByLabel`: the accuracy."""
        return self._averaged(self._recall)

    @property
    def weightedFalsePositiveRate(self) -> float:
        """The average of `falsePositiveRateByLabel`."""
        return self._averaged(self._false_positive_rate)

    @property
    def weightedRecall(self) -> float:
        """The average of `recallByLabel`: the accuracy."""
        return self._averaged(self._recall)

    @property
    def weightedPrecision(self) -> float:
        """The average of `precisionByLabel`."""
        return self._averaged(self._precision)

    def weightedFMeasure(self, beta: float = 1.0) -> float:
        """The average of `fMeasureByLabel`."""
        return self._averaged(self._f_measure(beta))

    @property
    def confusionMatrix(self) -> DenseMatrix:
        """The weight of the rows of each label (a row of the matrix) that are predicted each class (a column)."""
        return matrix(self._confusion)

    def calibration(self, slices: int = SLICES) -> DataFrame:
        """Columns probability, frequency and weight: whether what is predicted with a probability comes so often.

        A row is a slice of the probabilities, all slices of as equal weight as there can be. The probability is the
        mean one of a 1 and the frequency the share of the ones; of more than two classes, the probability of the
        predicted class, and how often it is the label.
        """
        weight, probability, frequency = self._complete().calibration(slices).T
        return _frame(np.column_stack([probability, frequency, weight]), "probability", "frequency", "weight")

    @property
    def logLoss(self) -> float:
        """- sum s log p_y / sum s for the probability p_y of the label; p_y is kept 2.2e-16 away from 0 and 1."""
        found = self._known_loss().log_loss
        assert found is not None
        return found

    @property
    def pseudoR2(self) -> float:
        """1 - logLoss / (that of a model without features): McFadden's."""
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

    @property
    def _confusion(self) -> np.ndarray:
        """The weight of each label (rows) and predicted class (columns)."""
        found = self._complete().confusion
        assert found is not None
        return found

    @property
    def _recall(self) -> np.ndarray:
        return _ratio(np.diag(self._confusion), self._confusion.sum(axis=1), 0.0)

    @property
    def _precision(self) -> np.ndarray:
        return _ratio(np.diag(self._confusion), self._confusion.sum(axis=0), 0.0)

    @property
    def _false_positive_rate(self) -> np.ndarray:
        wrong = self._confusion.sum(axis=0) - np.diag(self._confusion)
        return _ratio(wrong, self._confusion.sum() - self._confusion.sum(axis=1), np.nan)

    def _f_measure(self, beta: float) -> np.ndarray:
        precision, recall = self._precision, self._recall
        return _ratio((1.0 + beta**2) * precision * recall, beta**2 * precision + recall, 0.0)

    def _by_label(self, values: np.ndarray) -> list[float]:
        return values[np.array(self.labels, int)].tolist()

    def _averaged(self, values: np.ndarray) -> float:
        of_label = self._confusion.sum(axis=1)
        there = of_label > 0.0
        return float(of_label[there] @ values[there] / of_label.sum())

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


class BinaryLogisticRegressionSummary(LogisticRegressionSummary):
    """Metrics of a binomial model: those of the predicted classes, and those of all thresholds.

    The curves have a point for each distinct probability, up to 8192 of them. Above, neighbouring probabilities
    share a point: each point is still that of its threshold, and `areaUnderROCError` bounds what the area loses.
    """

    @property
    def scoreCol(self) -> str:
        """The column of `predictions` whose values are the thresholds of the curves: `probabilityCol`."""
        return self.probabilityCol

    @property
    def roc(self) -> DataFrame:
        """False and true positive rate, columns FPR and TPR, from (0, 0) to (1, 1)."""
        return _frame(self._complete().roc, "FPR", "TPR")

    @property
    def areaUnderROC(self) -> float:
        """The share of the pairs of a one and a zero in which the one has the higher probability; ties count half.

        NaN where all labels are the same, as it is then of no pairs.
        """
        return self._complete().area_under_roc

    @property
    def areaUnderROCError(self) -> float:
        """The most by which `areaUnderROC` is off; zero up to 8192 distinct probabilities."""
        return self._complete().area_error

    @property
    def areaUnderPR(self) -> float:
        """The area under the precision-recall curve, by the trapezoidal rule."""
        return self._complete().area_under_pr

    @property
    def pr(self) -> DataFrame:
        """Recall and precision, columns of these names, by ascending recall, from recall zero."""
        return _frame(self._complete().pr, "recall", "precision")

    @property
    def fMeasureByThreshold(self) -> DataFrame:
        """Columns threshold and F-Measure, of beta 1, by descending threshold."""
        known = self._complete()
        precision, recall = known.precision, known.rates[:, 1]
        return self._by_threshold(_ratio(2.0 * precision * recall, precision + recall, 0.0), "F-Measure")

    @property
    def precisionByThreshold(self) -> DataFrame:
        """Columns threshold and precision, by descending threshold."""
        return self._by_threshold(self._complete().precision, "precision")

    @property
    def recallByThreshold(self) -> DataFrame:
        """Columns threshold and recall, by descending threshold."""
        return self._by_threshold(self._complete().rates[:, 1], "recall")

    def _all_metrics(self) -> dict[str, float]:
        """Precision, recall and f1 are of label 1."""
        return {
            "log_loss": self.logLoss,
            "auc": self.areaUnderROC,
            "auc_pr": self.areaUnderPR,
            "accuracy": self.accuracy,
            "precision": float(self._precision[1]),
            "recall": float(self._recall[1]),
            "f1": float(self._f_measure(1.0)[1]),
            "pseudo_r2": self.pseudoR2,
            "bias": float(self._complete().bias or 0.0),
        }

    def _by_threshold(self, values: np.ndarray, name: str) -> DataFrame:
        thresholds = self._complete().thresholds
        assert thresholds is not None
        return _frame(np.column_stack([thresholds, values]), "threshold", name)

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

    def _table(self, names: Sequence[str]) -> str:
        estimates = self._training.estimates.reshape(len(names), -1)
        return super()._table(names) if estimates.shape[1] == 1 else class_table(names, estimates)


class BinaryLogisticRegressionTrainingSummary(LogisticRegressionTrainingSummary, BinaryLogisticRegressionSummary):
    """As `LogisticRegressionTrainingSummary`, of two classes."""

    _parts: ClassVar = {"scoring": ClassScoring, "metrics": BinaryMetrics, "training": Training}


def class_table(names: Sequence[str], estimates: np.ndarray) -> str:
    """The coefficients, (n, K), as a table: a line a name, a column a class.

    >>> print(class_table(["x", "(intercept)"], np.array([[1.0, -1.0], [0.5, -0.5]])))
    Feature      Class 0  Class 1
    x                  1       -1
    (intercept)      0.5     -0.5
    """
    shown, more = estimates[:, :SHOWN], estimates.shape[1] - SHOWN
    header = ["Feature", *(f"Class {k}" for k in range(shown.shape[1]))]
    lines = [[name, *(f"{value:.6g}" for value in row)] for name, row in zip(names, shown, strict=True)]
    table = align([header, *lines])
    return f"{table}\n({more} more classes)" if more > 0 else table


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    """part / whole, and `otherwise` where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=whole > 0.0)


def _frame(points: np.ndarray, *names: str) -> DataFrame:
    """The points of a curve as a DataFrame of the active session."""
    return SparkSession.active().createDataFrame(points.tolist(), list(names))
