"""How well a linear support vector machine predicts, and how it was trained."""

from dataclasses import dataclass
from typing import ClassVar, Self

from sparkdml.classification.class_summary import BinaryClassificationSummary
from sparkdml.evaluation import BinaryMetrics, binary_metrics
from sparkdml.summary import Scoring, Training, TrainingSummary


@dataclass(frozen=True, kw_only=True)
class MarginScoring(Scoring):
    """Adds the column of margins: vectors, of the classes 0 and 1, or numbers, that of class 1."""

    rawPredictionCol: str


class LinearSVCSummary(BinaryClassificationSummary):
    """Metrics of the predicted classes, and of all thresholds of the margin. There are no probabilities."""

    @property
    def scoreCol(self) -> str:
        """The column of `predictions` whose values are the thresholds of the curves: `rawPredictionCol`."""
        return self._scoring.rawPredictionCol

    def metrics(self) -> dict[str, float]:
        """The metrics by the names that the jobs give them; precision, recall and f1 are of label 1.

        None where the rows that were trained on are not at hand.
        """
        return self._of_one() if self._known().complete or self._scoring.predict is not None else {}

    def _measure(self) -> BinaryMetrics:
        s = self._scoring
        columns = (s.labelCol, s.predictionCol, s.rawPredictionCol, s.weightCol)
        return binary_metrics(self.predictions, *columns, skip=s.skip, margins=True)

    def __str__(self) -> str:
        known = self._known()
        told = f"Rows: {known.count:,}"
        return f"{told}   AUC: {self.areaUnderROC:.6f}   accuracy: {self.accuracy:.6f}" if known.complete else told


class LinearSVCTrainingSummary(TrainingSummary[BinaryMetrics], LinearSVCSummary):
    """How a linear support vector machine was trained and how well it fits; survives save and load.

    The fit knows `numInstances`. The rest is computed when it is asked for, from the rows that were trained on and with
    their own weights, and is then saved with the model. Rows drawn by `validationFraction` are marked in no table: then
    there is no rest. It may be called, since `summary` is a method of pyspark.ml's LinearSVCModel.
    """

    _parts: ClassVar = {"scoring": MarginScoring, "metrics": BinaryMetrics, "training": Training}
    _needed: ClassVar = "a likelihood, which the hinge is of no distribution: take LogisticRegression"

    def __call__(self) -> Self:
        """Itself."""
        return self

    def _inferred(self) -> None:
        """Nothing: the curvature of the hinge, squared or not, tells no standard errors."""
