"""Classification, with the import path of pyspark.ml: `from sparkdml.classification import LogisticRegression`."""

from sparkdml.classification.logistic_model import LogisticRegressionModel
from sparkdml.classification.logistic_regression import LogisticRegression
from sparkdml.classification.logistic_summary import (
    BinaryLogisticRegressionSummary,
    BinaryLogisticRegressionTrainingSummary,
    LogisticRegressionSummary,
    LogisticRegressionTrainingSummary,
)

__all__ = [
    "BinaryLogisticRegressionSummary",
    "BinaryLogisticRegressionTrainingSummary",
    "LogisticRegression",
    "LogisticRegressionModel",
    "LogisticRegressionSummary",
    "LogisticRegressionTrainingSummary",
]
