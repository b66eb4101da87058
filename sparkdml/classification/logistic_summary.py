"""How well a logistic regression predicts, and how it was trained."""

from dataclasses import dataclass
from typing import ClassVar

from sparkdml.classification.class_summary import BinaryClassificationSummary, ClassificationSummary
from sparkdml.evaluation import BinaryMetrics, binary_metrics
from sparkdml.inference import Inferred
from sparkdml.summary import Scoring, Training, TrainingSummary


@dataclass(frozen=True, kw_only=True)
class ClassScoring(Scoring):
    """Adds the column of probabilities: vectors, or numbers, the probability of a 1."""

    probabilityCol: str


class LogisticRegressionSummary(Inferred, ClassificationSummary):
    """Metrics of the predicted classes and of their probabilities."""

    @property
    def probabilityCol(self) -> str:
        """The column of `predictions` with the probability of each class."""
        return self._scoring.probabilityCol

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


class BinaryLogisticRegressionSummary(BinaryClassificationSummary, LogisticRegressionSummary):
    """Metrics of a binomial model: of the predicted classes, of the probabilities, and of all thresholds."""

    @property
    def scoreCol(self) -> str:
        """The column of `predictions` whose values are the thresholds of the curves: `probabilityCol`."""
        return self.probabilityCol

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
            **self._of_one(),
            "pseudo_r2": self.pseudoR2,
            "bias": float(known.bias or 0.0),
        }

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
