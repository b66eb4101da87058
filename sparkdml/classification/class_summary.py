"""How well the predicted classes of a table are, whatever predicts them."""

from abc import abstractmethod
from typing import Any

import numpy as np
from pyspark.ml.linalg import DenseMatrix
from pyspark.sql import DataFrame

from sparkdml.engine.sessions import running_session
from sparkdml.linalg import matrix
from sparkdml.summary import Summary


class ClassificationSummary(Summary[Any]):
    """Metrics of the predicted classes; as in pyspark.ml, every metric honours the weights.

    What pyspark.ml lacks: `confusionMatrix`.

    Lists are in the order of `labels`, those that rows of positive weight have. The weighted averages are over the
    labels, by their weight. Nothing is computed before it is asked for; one job then computes all metrics.
    """

    @property
    def weightCol(self) -> str | None:
        """The column of `predictions` with the weight of each row, or None where each row weighs one."""
        return self._scoring.weightCol

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


class BinaryClassificationSummary(ClassificationSummary):
    """Metrics of a model of two classes: those of the predicted classes, and those of all thresholds.

    The curves have a point for each distinct score, up to 8192 of them. Above, neighbouring scores
    share a point: each point is still that of its threshold, and `areaUnderROCError` bounds what the area loses.
    """

    @property
    @abstractmethod
    def scoreCol(self) -> str:
        """The column of `predictions` whose values are the thresholds of the curves."""

    @property
    def roc(self) -> DataFrame:
        """False and true positive rate, columns FPR and TPR, from (0, 0) to (1, 1)."""
        return frame(self._complete().roc, "FPR", "TPR")

    @property
    def areaUnderROC(self) -> float:
        """The share of the pairs of a one and a zero in which the one has the higher score; ties count half.

        NaN where all labels are the same, as it is then of no pairs.
        """
        return self._complete().area_under_roc

    @property
    def areaUnderROCError(self) -> float:
        """The most by which `areaUnderROC` is off; zero up to 8192 distinct scores."""
        return self._complete().area_error

    @property
    def areaUnderPR(self) -> float:
        """The area under the precision-recall curve, by the trapezoidal rule."""
        return self._complete().area_under_pr

    @property
    def pr(self) -> DataFrame:
        """Recall and precision, columns of these names, by ascending recall, from recall zero."""
        return frame(self._complete().pr, "recall", "precision")

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

    def _of_one(self) -> dict[str, float]:
        """The areas, and how well label 1 is predicted, by the names that the jobs give them."""
        return {
            "auc": self.areaUnderROC,
            "auc_pr": self.areaUnderPR,
            "accuracy": self.accuracy,
            "precision": float(self._precision[1]),
            "recall": float(self._recall[1]),
            "f1": float(self._f_measure(1.0)[1]),
        }

    def _by_threshold(self, values: np.ndarray, name: str) -> DataFrame:
        thresholds = self._complete().thresholds
        assert thresholds is not None
        return frame(np.column_stack([thresholds, values]), "threshold", name)


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    """part / whole, and `otherwise` where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), otherwise), where=whole > 0.0)


def frame(points: np.ndarray, *names: str) -> DataFrame:
    """The points of a curve as a DataFrame of the active session."""
    return running_session().createDataFrame(points.tolist(), list(names))
