"""Linear regression: the estimator and its model."""

from typing import Any, Self

import numpy as np
from pyspark import SparkContext, keyword_only
from pyspark.ml.common import _py2java
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.ml.regression import LinearRegressionModel as PySparkLinearRegressionModel
from pyspark.ml.regression import RegressionModel, Regressor
from pyspark.sql import DataFrame

from sparkdml.arrays import require
from sparkdml.blocks.stats import Statistics
from sparkdml.engine.data import Data, gram_shift
from sparkdml.engine.minimize import Fit
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import DataError
from sparkdml.estimator import LinearEstimator, warn_data
from sparkdml.evaluation import RegressionMetrics
from sparkdml.model import LinearModel, dense
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import Normal, Solver
from sparkdml.optim.solvers.auto import choose
from sparkdml.optim.standardize import standardized_problem
from sparkdml.params import accessors
from sparkdml.regression.linear_params import LinearRegressionParams
from sparkdml.regression.linear_summary import (
    LinearRegressionSummary,
    LinearRegressionTrainingSummary,
    Scoring,
    Training,
)


@accessors
class LinearRegression(
    LinearEstimator["LinearRegressionModel"], Regressor["LinearRegressionModel"], LinearRegressionParams
):
    """Linear regression, a drop-in for `pyspark.ml.regression.LinearRegression`.

    Minimizes, over coefficients w and an intercept b,

        sum_i s_i (x_i.w + b - y_i)^2 / (2 sum_i s_i)
          + regParam * (elasticNetParam * ||v||_1 + (1 - elasticNetParam) / (2 std(y)) * ||v||^2)

    with v_j = std(x_j) w_j if `standardization`, else v = w. Standard deviations are weighted population ones. As in
    pyspark.ml and glmnet the L2 part is divided by the standard deviation of the label. A column that never changes
    gets the coefficient zero.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults (loss="huber" is not there yet), and
    featuresCols : numeric columns as features, instead of a vector column; `featuresCol` may also be an array.
    solver : "normal" (one pass), "l-bfgs", "gd" (gradient descent that finds its own step), or "auto": "normal" up to
        4096 features, else "l-bfgs".
    optimizer, learningRate, stepSize, momentum : with solver="gd", the update rule ("plain", "momentum", "nesterov",
        "adagrad", "rmsprop", "adam", "adamw"), how its step size goes on ("constant", "inverseScaling", "inverseTime",
        "exponential", "step", "cosine", "plateau", "boldDriver", "barzilaiBorwein"), the first step size, for
        standardized features, and the momentum. Each has a default that fits the data; with none of them set the
        solver finds its own steps, which takes the fewest passes.
    tol : the estimated relative distance to the minimum, in standardized coefficients, at which "l-bfgs" and "gd" stop.
    numPartitions : tasks of a pass.
    handleInvalid : "error"; "skip" to leave out rows with a null, a NaN or an infinity; "mean" to put the weighted mean
        of a feature in place of its nulls and NaNs, in training and (the same mean) in scoring.
    computeStatistics : standard errors from "l-bfgs" and "gd" too, by one more pass; "normal" always has them.
    maxBlockSizeInMB : size of the chunks of rows to work on; 0 takes chunks that fit the processor's cache.
    aggregationDepth : depth of the tree in which partitions are summed, where their sums are large.

    Raises
    ------
    ParamError, SolverError, ColumnError, ColumnTypeError : before any pass over the rows.
    DataError : the rows cannot be fitted; the message counts and shows the bad values.

    Source: R. Tibshirani, Regression Shrinkage and Selection via the Lasso (1996); H. Zou and T. Hastie (2005).

    Examples
    --------
    >>> df = spark.createDataFrame([(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)], ["x", "y"])
    >>> model = LinearRegression(featuresCols=["x"], labelCol="y").fit(df)
    >>> round(float(model.coefficients[0]), 6), round(model.intercept, 6), model.summary.passes
    (2.0, 1.0, 1)
    """

    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        maxIter: int = 100,
        regParam: float = 0.0,
        elasticNetParam: float = 0.0,
        tol: float = 1e-6,
        fitIntercept: bool = True,
        standardization: bool = True,
        solver: str = "auto",
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        loss: str = "squaredError",
        epsilon: float = 1.35,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
        optimizer: str = "auto",
        learningRate: str | None = None,
        stepSize: float | None = None,
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        self.setParams(**self._input_kwargs)

    @keyword_only
    def setParams(
        self,
        *,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        maxIter: int = 100,
        regParam: float = 0.0,
        elasticNetParam: float = 0.0,
        tol: float = 1e-6,
        fitIntercept: bool = True,
        standardization: bool = True,
        solver: str = "auto",
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        loss: str = "squaredError",
        epsilon: float = 1.35,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
        optimizer: str = "auto",
        learningRate: str | None = None,
        stepSize: float | None = None,
        momentum: float | None = None,
    ) -> Self:
        """Set the Params that are given."""
        return self._set(**self._input_kwargs)

    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        statistics = data.statistics
        problem = self._problem(statistics)
        self._check(statistics, problem)
        name = self.getOrDefault("solver")
        if name == "auto":
            admissible = data.fits_driver(problem.gram_query().size)
            name = choose(len(problem.scale), problem.loss.quadratic and admissible)
        if name == Normal.name:
            self._require_gram(data, problem, "solver='normal'")
        return problem, self._make_solver(name)

    def _problem(self, statistics: Statistics) -> Problem:
        deviation = np.sqrt(statistics.variance)
        params = ("regParam", "elasticNetParam", "fitIntercept", "standardization")
        return standardized_problem(
            LOSSES[self.getOrDefault("loss")],
            mean=statistics.center[:-1],
            deviation=deviation[:-1],
            label_mean=float(statistics.center[-1]),
            shift=gram_shift(statistics),
            l2_divisor=float(deviation[-1]) or 1.0,
            **{name: self.getOrDefault(name) for name in params},
        )

    def _check(self, statistics: Statistics, problem: Problem) -> None:
        """Warn of, or refuse, what the statistics show to be degenerate."""
        constant = np.flatnonzero(problem.scale == 0.0)
        if len(constant) and not problem.fit_intercept and np.any(statistics.center[constant]):
            warn_data(f"without an intercept {len(constant)} constant non-zero columns still get the coefficient zero.")
        if statistics.variance[-1] > 0.0:
            return
        if problem.fit_intercept or statistics.center[-1] == 0.0:
            warn_data(f"every label is {statistics.center[-1]:g}: all coefficients are zero.")
        elif self.getOrDefault("regParam") > 0.0:
            raise DataError(
                f"every label is {statistics.center[-1]:g}, so its standard deviation is zero: without an intercept "
                "the model cannot be regularized; set regParam=0 or fitIntercept=True."
            )

    def _create_model(self, data: Data, fit: Fit) -> "LinearRegressionModel":
        problem, state = fit.problem, fit.state
        assert state.point is not None
        w, b = problem.raw(state.point.theta)
        rank, inverse = self._infer(data, fit)
        training = Training(
            solver=fit.solver.name,
            stopReason=str(state.stop),
            converged=state.stop.converged,
            passes=fit.passes,
            totalIterations=state.iterations,
            numSkipped=getattr(data, "skipped", 0),
            numFilled=getattr(data, "filled", 0),
            rank=rank,
            objectiveHistory=state.history,
            estimates=np.append(w[:, 0], b) if problem.fit_intercept else w[:, 0],
            inverseDiagonal=inverse,
        )
        self._warn(fit, rank)
        model: LinearRegressionModel = self._adopt(
            LinearRegressionModel(dense(w[:, 0]), float(b[0]), data.feature_names, None, getattr(data, "means", None))
        )
        scoring = model._scoring(data.frame if isinstance(data, SparkData) else None)
        metrics = _training_metrics(data.statistics, fit)
        model._summary = LinearRegressionTrainingSummary(scoring, metrics, training, data.feature_names)
        return model


@accessors
class LinearRegressionModel(LinearModel, RegressionModel[Vector], LinearRegressionParams):
    """A fitted linear regression: prediction = coefficients . features + intercept.

    Attributes
    ----------
    coefficients : one a feature, in units of the label per unit of the feature.
    intercept : in units of the label; zero where none was fitted.
    scale : 1.0; only the huber loss has another.
    featureNames : the features' names, in the order of the coefficients.
    """

    def __init__(
        self,
        coefficients: DenseVector,
        intercept: float,
        feature_names: tuple[str, ...],
        summary: LinearRegressionTrainingSummary | None = None,
        feature_means: np.ndarray | None = None,
    ) -> None:
        super().__init__(feature_names, summary, feature_means)
        self.coefficients = coefficients
        self.intercept = intercept
        self.scale = 1.0

    def predict(self, value: Vector) -> float:
        """The prediction for one vector of features."""
        if self.featureMeans is not None:
            value = dense(np.where(np.isnan(value.toArray()), self.featureMeans, value.toArray()))
        return float(self.coefficients.dot(value)) + self.intercept  # type: ignore[arg-type]

    def evaluate(self, dataset: DataFrame) -> LinearRegressionSummary:
        """The metrics of the model on a labelled table, computed when they are asked for."""
        if not isinstance(dataset, DataFrame):
            raise TypeError(f"dataset must be a DataFrame but got {type(dataset)}.")
        return LinearRegressionSummary(self._scoring(dataset))

    def to_pyspark(self) -> PySparkLinearRegressionModel:
        """The `pyspark.ml` model with the same coefficients and columns; it needs a running session."""
        context = SparkContext._active_spark_context
        assert context is not None and context._jvm is not None
        java_class = context._jvm.org.apache.spark.ml.regression.LinearRegressionModel
        java_model = java_class(self.uid, _py2java(context, self.coefficients), float(self.intercept))
        model = PySparkLinearRegressionModel(java_model)
        return model.setFeaturesCol(self.getFeaturesCol()).setPredictionCol(self.getPredictionCol())

    def _scoring(self, dataset: DataFrame | None) -> Scoring:
        """How to score a table with this model as it is now."""
        features = self._features()
        scorer = self.copy()
        return Scoring(
            self.getLabelCol(),
            features if isinstance(features, str) else ",".join(features),
            self.getPredictionCol(),
            self.getOrDefault("weightCol") if self.isDefined("weightCol") else None,
            self.numFeatures,
            self.getOrDefault("fitIntercept"),
            self.getOrDefault("handleInvalid") == "skip",
            None if dataset is None else lambda: scorer.transform(dataset),
        )

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values: dict[str, Any] = {"featureNames": list(self.featureNames), "summary": None}
        found = {"coefficients": self.coefficients.toArray(), "intercept": np.array([self.intercept])}
        if self.featureMeans is not None:
            found["featureMeans"] = self.featureMeans
        if self._summary is not None:
            values["summary"], summary_arrays = self._summary._content()
            found.update({f"summary.{name}": array for name, array in summary_arrays.items()})
        return values, found

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        require(set(values) == {"featureNames", "summary"}, "the model has unknown or missing fields")
        names = tuple(values["featureNames"])
        summary_arrays = {
            name.removeprefix("summary."): arrays.pop(name) for name in list(arrays) if name.startswith("summary.")
        }
        means = arrays.pop("featureMeans", None)
        require(set(arrays) == {"coefficients", "intercept"}, "the model has unknown or missing arrays")
        shapes = (arrays["coefficients"].shape, arrays["intercept"].shape)
        require(shapes == ((len(names),), (1,)), "the coefficients do not match the features' names")
        require(means is None or means.shape == (len(names),), "the means do not match the features' names")
        summary = None
        if values["summary"] is not None:
            summary = LinearRegressionTrainingSummary._from_content(values["summary"], summary_arrays, names)
        return cls(dense(arrays["coefficients"]), float(arrays["intercept"][0]), names, summary, means)

    def __repr__(self) -> str:
        return f"LinearRegressionModel: uid={self.uid}, numFeatures={self.numFeatures}"


def _training_metrics(statistics: Statistics, fit: Fit) -> RegressionMetrics:
    """The metrics that the last answer of a fit implies, without looking at the rows again.

    With r = p - y: sum s r^2 = 2 loss, and sum s r p = gradient . theta since p is linear in theta; so
    sum s (p - m)^2 = sum s (y - m)^2 + sum s r^2 + 2 sum s r (y - m) about the mean label m.
    """
    point = fit.state.point
    assert point is not None
    mean, m2, weight = float(statistics.mean[-1]), float(statistics.m2[-1]), statistics.weight
    squared = 2.0 * point.loss
    r_y = float(point.gradient @ point.theta) - squared - mean * float(point.slope[0])
    prediction_m2 = max(m2 + weight * (squared + 2.0 * r_y), 0.0)
    return RegressionMetrics(statistics.count, weight, mean, m2, prediction_m2, weight * squared)
