"""Regression, with the import path of pyspark.ml: `from sparkdml.regression import LinearRegression`."""

from sparkdml.regression.fixed_families import GammaRegression, PoissonRegression, TweedieRegression
from sparkdml.regression.generalized_linear_regression import (
    GeneralizedLinearRegression,
    GeneralizedLinearRegressionModel,
)
from sparkdml.regression.glm_summary import (
    GeneralizedLinearRegressionSummary,
    GeneralizedLinearRegressionTrainingSummary,
)
from sparkdml.regression.linear_regression import LinearRegression, LinearRegressionModel
from sparkdml.regression.linear_summary import LinearRegressionSummary, LinearRegressionTrainingSummary

__all__ = [
    "GammaRegression",
    "GeneralizedLinearRegression",
    "GeneralizedLinearRegressionModel",
    "GeneralizedLinearRegressionSummary",
    "GeneralizedLinearRegressionTrainingSummary",
    "LinearRegression",
    "LinearRegressionModel",
    "LinearRegressionSummary",
    "LinearRegressionTrainingSummary",
    "PoissonRegression",
    "TweedieRegression",
]
