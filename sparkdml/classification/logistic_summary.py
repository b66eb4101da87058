"""How well a logistic regression predicts, and how it was trained."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from sparkdml.evaluation import BinaryMetrics, binary_metrics
from sparkdml.inference import Inferred
from sparkdml.summary import Scoring, Summary, Training, TrainingSummary


@dataclass(frozen=True, kw_only=True)
class ClassScoring(Scoring):
    """Adds the column of probabilities: vectors, or numbers, the probability of a 1."""

    probabilityCol: str


class LogisticRegressionSummary(Inferred, Summary[BinaryMetrics]):
    """Metrics of the predicted classes; as in pyspark.ml, every metric honours the weights.

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
    def logLoss(self) -> float:
        """- sum s (y log p + (1 - y) log(1 - p)) / sum s; p is kept 2.2e-16 away from 0 and 1, as scikit-learn does."""
        found = self._known_loss().log_loss
        assert found is not None
        return found

    @property
    def pseudoR2(self) -> float:
        """1 - logLoss / (that of a model without features): McFadden's."""
        return self._known_loss().pseudo_r2

    def _known_loss(self) -> BinaryMetrics:
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

    def metrics(self) -> dict[str, float]:
        """The metrics by the names that the jobs give them; precision, recall and f1 are of label 1.

        Where the rows that were trained on are not at hand, those that the fit knows.
        """
        if not self._known().complete and self._scoring.predict is None:
            known = self._known()
            return {} if known.log_loss is None else {"log_loss": known.log_loss, "pseudo_r2": known.pseudo_r2}
        known = self._complete()
        return {
            "log_loss": self.logLoss,
            "auc": self.areaUnderROC,
            "auc_pr": self.areaUnderPR,
            "accuracy": self.accuracy,
            "precision": float(self._precision[1]),
            "recall": float(self._recall[1]),
            "f1": float(self._f_measure(1.0)[1]),
            "pseudo_r2": self.pseudoR2,
            "bias": float(known.bias or 0.0),
        }

    def _by_threshold(self, values: np.ndarray, name: str) -> DataFrame:
        thresholds = self._complete().thresholds
        assert thresholds is not None
        return _frame(np.column_stack([thresholds, values]), "threshold", name)

    def _measure(self) -> BinaryMetrics:
        s = self._scoring
        return binary_metrics(self.predictions, s.labelCol, s.predictionCol, s.probabilityCol, s.weightCol, s.skip)

    def __str__(self) -> str:
        known = self._known()
        told = f"Rows: {known.count:,}"
        if known.log_loss is not None:
            told += f"   log loss: {known.log_loss:.6g}   pseudo r2: {known.pseudo_r2:.6f}"
        if known.complete:
            told += f"   AUC: {self.areaUnderROC:.6f}   accuracy: {self.accuracy:.6f}"
        return told


class BinaryLogisticRegressionTrainingSummary(TrainingSummary[BinaryMetrics], BinaryLogisticRegressionSummary):
    """How a binomial logistic regression was trained and how well it fits; survives save and load.

    The fit knows `logLoss`, `pseudoR2` and `numInstances`, with `classWeight` only `numInstances`. The rest is computed
    when it is asked for, from the rows that were trained on and with their own weights, and is then saved with the
    model. Rows drawn by `validationFraction` are marked in no table: then there is no rest.
    """

    _parts: ClassVar = {"scoring": ClassScoring, "metrics": BinaryMetrics, "training": Training}


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    """part / whole, and `otherwise` where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=whole > 0.0)


def _frame(points: np.ndarray, *names: str) -> DataFrame:
    """The points of a curve as a DataFrame of the active session."""
    return SparkSession.active().createDataFrame(points.tolist(), list(names))
