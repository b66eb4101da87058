"""Classification, with the import path of pyspark.ml: `from sparkdml.classification import LogisticRegression`."""

from sparkdml.classification.linear_svc import LinearSVC, LinearSVCModel
from sparkdml.classification.logistic_model import LogisticRegressionModel
from sparkdml.classification.logistic_regression import LogisticRegression
from sparkdml.classification.logistic_summary import (
    BinaryLogisticRegressionSummary,
    BinaryLogisticRegressionTrainingSummary,
    LogisticRegressionSummary,
    LogisticRegressionTrainingSummary,
)
from sparkdml.classification.svc_summary import LinearSVCSummary, LinearSVCTrainingSummary

__all__ = [
    "BinaryLogisticRegressionSummary",
    "BinaryLogisticRegressionTrainingSummary",
    "LinearSVC",
    "LinearSVCModel",
    "LinearSVCSummary",
    "LinearSVCTrainingSummary",
    "LogisticRegression",
    "LogisticRegressionModel",
    "LogisticRegressionSummary",
    "LogisticRegressionTrainingSummary",
]
