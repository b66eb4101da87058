"""The model of a logistic regression."""

from typing import Any, Self

import numpy as np
from pyspark.ml.classification import LogisticRegressionModel as PySparkLogisticRegressionModel
from pyspark.ml.classification import ProbabilisticClassificationModel
from pyspark.ml.linalg import DenseVector, Matrix, Vector
from pyspark.sql import Column
from pyspark.sql import functions as F

from sparkdml.array_model import ArrayClassifier, ArrayModel
from sparkdml.blocks.schema import scores_of
from sparkdml.classification.logistic_params import LogisticRegressionParams
from sparkdml.classification.logistic_summary import (
    BinaryLogisticRegressionSummary,
    BinaryLogisticRegressionTrainingSummary,
    ClassScoring,
    LogisticRegressionSummary,
    LogisticRegressionTrainingSummary,
)
from sparkdml.errors import ParamError
from sparkdml.linalg import compressed_matrix, dense
from sparkdml.model import LinearModel
from sparkdml.optim.losses.classes import class_margins, class_probabilities
from sparkdml.params import accessors


def told_family(classes: int | None) -> str:
    """Return what messages call a multinomial model of so many classes, or for None a binomial one."""
    if classes is None:
        return "a binomial model"
    return f"a multinomial model of {classes} class{'es' if classes > 1 else ''}"


@accessors
class LogisticRegressionModel(LinearModel, LogisticRegressionParams, ProbabilisticClassificationModel):
    """A fitted logistic regression: P(y = 1) = 1 / (1 + exp(-z)), z = coefficients . features + intercept (+ offset).

    A multinomial one has P(y = k) = exp(z_k) / sum_j exp(z_j) with z_k = coefficientMatrix[k] . features +
    interceptVector[k]; `coefficients` and `intercept` are then refused. A binomial one predicts a 1 where its
    probability is above the threshold, a multinomial one the class of the largest probability, or of the largest
    probability / threshold.

    Attributes
    ----------
    coefficientMatrix, interceptVector : in log odds per unit of the feature, and in log odds; a row and a number of a
        binomial model, of a multinomial one those of each class. Intercepts are zero where none were fitted.
    featureNames : the features' names, in the order of the coefficients.
    """

    _outputs = ("predictionCol", "probabilityCol", "rawPredictionCol")
    _score = "rawPredictionCol"
    numbers = ("predictionCol", "probabilityCol")
    _array_class = ArrayClassifier
    _pyspark_class = PySparkLogisticRegressionModel
    _java_class = "org.apache.spark.ml.classification.LogisticRegressionModel"
    _scoring_class = ClassScoring

    @property
    def _summary_class(self) -> type[LogisticRegressionSummary]:  # type: ignore[override]
        return BinaryLogisticRegressionSummary if self.numClasses == 2 else LogisticRegressionSummary

    @property
    def _training_summary_class(self) -> type[LogisticRegressionTrainingSummary]:  # type: ignore[override]
        return BinaryLogisticRegressionTrainingSummary if self.numClasses == 2 else LogisticRegressionTrainingSummary

    @property
    def _is_multinomial(self) -> bool:  # type: ignore[override]
        return len(self._intercepts) > 1 or self.getOrDefault("family") == "multinomial"

    @property
    def coefficients(self) -> Vector:
        """Of a binomial model, one a feature, in log odds per unit of the feature."""
        if self._is_multinomial:
            raise ParamError("a multinomial model has a matrix of coefficients: use coefficientMatrix.")
        return super().coefficients

    @property
    def intercept(self) -> float:
        """Of a binomial model, in log odds."""
        if self._is_multinomial:
            raise ParamError("a multinomial model has a vector of intercepts: use interceptVector.")
        return super().intercept

    @property
    def numClasses(self) -> int:
        """K; of a binomial model two, also where the training rows had one class only."""
        return len(self._intercepts) if self._is_multinomial else 2

    @property
    def coefficientMatrix(self) -> Matrix:
        """The coefficients, a row a class; one row of a binomial model. Sparse where most are zero."""
        return compressed_matrix(self._weights)

    @property
    def interceptVector(self) -> DenseVector:
        """The intercepts, one a class; one number of a binomial model."""
        return dense(self._intercepts)

    def predictRaw(self, value: Vector) -> DenseVector:
        """The margins of the classes, at the offset zero; -z and z of a binomial model."""
        z = self._margins(value)
        return dense(z[0] if self._is_multinomial else class_margins(z)[0])

    def predictProbability(self, value: Vector) -> DenseVector:
        """The probabilities of the classes, at the offset zero."""
        return dense(class_probabilities(self._margins(value), self._is_multinomial)[0])

    def to_arrays(self) -> ArrayModel:
        """As in `LinearModel`; ParamError where thresholds are not as many as the classes, or contradict threshold."""
        self._check_thresholds(self.numClasses)
        return super().to_arrays()

    @classmethod
    def _of_twin(cls, model: Any) -> tuple[Any, Any]:
        return model.coefficientMatrix, model.interceptVector

    @classmethod
    def _of_saved(
        cls, weights: np.ndarray, intercepts: np.ndarray, names: tuple[str, ...], means: np.ndarray | None
    ) -> Self:
        """As in `LinearModel`; a matrix of one row is of a multinomial model of one class."""
        model = super()._of_saved(weights, intercepts, names, means)
        return model._set(family="multinomial") if weights.ndim == 2 and len(weights) == 1 else model

    def _java_arguments(self) -> tuple[Any, ...]:
        return self.coefficientMatrix, self.interceptVector, self.numClasses, self._is_multinomial

    def _twin_params(self) -> dict[str, Any]:
        known = super()._twin_params()
        if not self._is_multinomial:
            return known | {"threshold": self.getThreshold()}
        return known | ({"thresholds": self.getThresholds()} if self.isSet("thresholds") else {})

    def number(self, output: str, column: Column) -> Column:
        """Of two classes the number of class 1; of more, that of the predicted class or the largest margin."""
        if output == "predictionCol":
            return column
        return scores_of(column)[1] if self.numClasses == 2 else F.array_max(scores_of(column))

    def __repr__(self) -> str:
        return f"LogisticRegressionModel: uid={self.uid}, numClasses={self.numClasses}, numFeatures={self.numFeatures}"
