"""Regression, with the import path of pyspark.ml: `from sparkdml.regression import LinearRegression`."""

from sparkdml.regression.linear_regression import LinearRegression, LinearRegressionModel
from sparkdml.regression.linear_summary import LinearRegressionSummary, LinearRegressionTrainingSummary

__all__ = [
    "LinearRegression",
    "LinearRegressionModel",
    "LinearRegressionSummary",
    "LinearRegressionTrainingSummary",
]
