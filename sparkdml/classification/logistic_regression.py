"""Logistic regression: the estimator and its model."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
from pyspark import keyword_only
from pyspark.ml.classification import LogisticRegressionModel as PySparkLogisticRegressionModel
from pyspark.ml.classification import ProbabilisticClassificationModel, ProbabilisticClassifier
from pyspark.ml.linalg import DenseMatrix, DenseVector, Vector
from pyspark.sql import Column
from scipy.special import expit

from sparkdml.blocks.block import DENSE_FROM
from sparkdml.blocks.sampling import Sampling
from sparkdml.blocks.schema import numbers_of
from sparkdml.blocks.stats import Statistics
from sparkdml.checks import warn_constant_columns, warn_data
from sparkdml.classification.logistic_params import LogisticRegressionParams
from sparkdml.classification.logistic_summary import (
    BinaryLogisticRegressionSummary,
    BinaryLogisticRegressionTrainingSummary,
    ClassScoring,
)
from sparkdml.engine.data import Data
from sparkdml.engine.minimize import Fit
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import ParamError
from sparkdml.estimator import LinearEstimator
from sparkdml.evaluation import BinaryMetrics, require_binary
from sparkdml.model import LinearModel, dense
from sparkdml.optim.losses import Logistic
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import Lbfgs, Solver
from sparkdml.optim.solvers.auto import choose_smooth
from sparkdml.params import accessors
from sparkdml.solver_choice import solver_name


@accessors
class LogisticRegression(
    LinearEstimator["LogisticRegressionModel"],
    LogisticRegressionParams,
    ProbabilisticClassifier,
):
    """Binomial logistic regression, a drop-in for `pyspark.ml.classification.LogisticRegression`.

    Minimizes, over coefficients w and an intercept b, with margins z_i = x_i.w + b and labels y_i of {0, 1},

        sum_i s_i (log(1 + exp(z_i)) - y_i z_i) / sum_i s_i
          + regParam * (elasticNetParam * ||v||_1 + (1 - elasticNetParam) / 2 * ||v||^2)

    with v_j = std(x_j) w_j if `standardization`, else v = w. As in pyspark.ml the variances are divided by
    sum s - sum s^2 / sum s, which is n - 1 without weights. A column that never changes gets the coefficient zero.

    Where all labels are the same and there is an intercept, no finite one is best. The coefficients are then zero and
    the intercept is the +-36.04 that comes within 2.2e-16 of the probability 0 or 1 (pyspark.ml's is infinite); a
    warning tells. Without a penalty, classes that a plane separates have no best coefficients either: they grow with
    every iteration, and a warning tells.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults, but for the bounds on coefficients and intercepts, and
    featuresCols : numeric columns as features, instead of a vector column; `featuresCol` may also be an array.
    family : "auto" and "binomial" are the same; "multinomial" is not there yet.
    solver : "newton" or "irls" (the same), "l-bfgs", "gd", "sgd", "local-sgd", as in
        `sparkdml.regression.LinearRegression`, or "auto": "newton" where its few passes, each with a Hessian, are
        expected to take less time than those of "l-bfgs": up to 1000 columns and some ten million numbers a task.
    classWeight : multiplies the weights of the rows of each class: a dictionary {label: weight}, in which a label that
        is not there has weight 1, or "balanced", sum s / (2 sum of s in the class), as in scikit-learn. Coefficients
        are those of `weightCol` with these weights; metrics are of the rows' own weights.
    computeStatistics, standardErrors : as in `sparkdml.regression.LinearRegression`, compared with the normal
        distribution; "newton" always has the classical ones. The weights of classes count as weights of rows.
    tol, optimizer, learningRate, stepSize, momentum, miniBatchFraction, batchSize, warmStartEpochs, seed,
    numPartitions, partitioning, handleInvalid, maxBlockSizeInMB, aggregationDepth, aggregation,
    initialModel : as in `sparkdml.regression.LinearRegression`.
    sampling, samplingRatio : "undersample" leaves out rows of the frequent class, "oversample" repeats rows of the
        rare one, until the weight of the rare class is `samplingRatio` times that of the other. With r_k the share of
        the weight of class k that was taken, log(r_0 / r_1) is added to the intercept: the probabilities, and the
        summary's metrics, are those of the whole table. The objective history is that of the rows taken.
    validationIndicatorCol, validationFraction, patience : early stopping, as in
        `sparkdml.regression.LinearRegression`. Rows that validate have the weights of their classes too.

    Raises
    ------
    ParamError, SolverError, ColumnError, ColumnTypeError : before any pass over the rows.
    DataError : the rows cannot be fitted; the message counts and shows the bad values.

    Source: D. R. Cox, The Regression Analysis of Binary Sequences (1958); G. King, L. Zeng, Logistic Regression in Rare
    Events Data (2001), prior correction.

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 1.0)], ["x", "y"])
    >>> model = LogisticRegression(featuresCols=["x"], labelCol="y").fit(df)
    >>> round(float(model.coefficients[0]), 4), round(model.intercept, 4), round(model.summary.areaUnderROC, 4)
    (0.9082, -1.3623, 0.75)
    """

    _data_params = (*LinearEstimator._data_params, "sampling", "samplingRatio")
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
        threshold: float = 0.5,
        thresholds: list[float] | None = None,
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
        standardization: bool = True,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        family: str = "auto",
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        solver: str = "auto",
        optimizer: str = "auto",
        learningRate: str | None = None,
        stepSize: float | None = None,
        momentum: float | None = None,
        aggregation: str = "weighted_mean",
        miniBatchFraction: float | None = None,
        batchSize: int | None = None,
        warmStartEpochs: int = 0,
        partitioning: str = "as-is",
        sampling: str = "none",
        samplingRatio: float = 1.0,
        initialModel: "LogisticRegressionModel | None" = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        computeStatistics: bool = False,
        standardErrors: str = "classical",
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
        threshold: float = 0.5,
        thresholds: list[float] | None = None,
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
        standardization: bool = True,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        family: str = "auto",
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        solver: str = "auto",
        optimizer: str = "auto",
        learningRate: str | None = None,
        stepSize: float | None = None,
        momentum: float | None = None,
        aggregation: str = "weighted_mean",
        miniBatchFraction: float | None = None,
        batchSize: int | None = None,
        warmStartEpochs: int = 0,
        partitioning: str = "as-is",
        sampling: str = "none",
        samplingRatio: float = 1.0,
        initialModel: "LogisticRegressionModel | None" = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        computeStatistics: bool = False,
        standardErrors: str = "classical",
    ) -> Self:
        """Set the Params that are given; raises ParamError where threshold and thresholds contradict each other."""
        self._set(**self._input_kwargs)
        self._check_thresholds()
        return self

    def _check_params(self) -> None:
        super()._check_params()
        self._check_thresholds()
        self._require_intercept(self._sampling())
        self._check_class_weight()
        if self.getOrDefault("family") == "multinomial":
            raise ParamError(
                "family='multinomial' is not there yet: take 'binomial' for two classes, or OneVsRest around it for "
                "more."
            )

    def _sampling(self) -> Sampling:
        return Sampling(self.getOrDefault("sampling"), self.getOrDefault("samplingRatio"))

    def _check_sampled(self, sampling: Sampling) -> None:
        if (self.isSet("sampling") or self.isSet("samplingRatio")) and self._sampling() != sampling:
            raise ParamError(
                f"{self._sampling()} but the data were packed with {sampling}: give both to `sparkdml.pack`, or clear "
                "them here."
            )

    def _require_intercept(self, sampling: Sampling) -> None:
        if sampling and not self.getOrDefault("fitIntercept"):
            raise ParamError(
                f"sampling={sampling.kind!r} needs an intercept, which takes up the changed share of the classes: set "
                "fitIntercept=True or sampling='none'."
            )

    def _intercept_shift(self, data: Data) -> float:
        rates = data.class_rates
        return float(np.log(rates[0.0] / rates[1.0])) if rates else 0.0

    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        self._require_intercept(data.sampling)
        require_binary(
            data.statistics.labels, data.columns.roles["label"] if isinstance(data, SparkData) else self.getLabelCol()
        )
        class_weights = self._class_weights(lambda: self._statistics(data))
        statistics = self._statistics(data, class_weights)
        deviation = np.sqrt(statistics.sample_variance[:-1])
        if statistics.variance[-1] == 0.0:
            label = f"every label is {statistics.center[-1]:g}"
            if self.getOrDefault("fitIntercept"):
                warn_data(f"{label}: all coefficients are zero, and the intercept stands for an infinite one.")
                deviation = np.zeros_like(deviation)  # which keeps the coefficients at zero
            else:
                warn_data(f"{label}: without an intercept the coefficients say only on which side the rows lie.")
        problem = replace(self._problem_of(Logistic(), statistics, deviation), class_weights=class_weights)
        warn_constant_columns(statistics, problem)
        name = solver_name(self)
        return problem, self._solver_for(self._choose(data, problem) if name == "auto" else name, statistics, problem)

    def _choose(self, data: Data, problem: Problem) -> str:
        """What "auto" stands for; early stopping needs small steps."""
        matrix = problem.hessian_query(problem.start)
        if self._stops_early() or not data.fits_driver(matrix.size):
            return Lbfgs.name
        statistics = data.statistics
        sparse = statistics.density < DENSE_FROM
        return choose_smooth(statistics.count, len(problem.scale), data.tasks, statistics.density, sparse)

    def _metrics(self, data: Data, problem: Problem, point: Point) -> BinaryMetrics | None:
        """What the fit tells; with weights of classes the loss that it knows is another than that of the rows."""
        if data.sampling:
            return None
        statistics = data.statistics_for(problem.fold)
        loss = None if problem.class_weights else float(point.loss)
        return BinaryMetrics(statistics.count, statistics.weight, float(statistics.center[-1]), loss)

    def _warn(self, statistics: Statistics, fit: Fit, point: Point) -> None:
        super()._warn(statistics, fit, point)
        penalty, two_classes = fit.problem.penalty, statistics.variance[-1] > 0.0
        free = not penalty.has_l1 and not np.any(penalty.l2.strength)
        # a row on the wrong side of the plane alone costs log 2
        if free and two_classes and point.loss * statistics.count < np.log(2.0):
            warn_data(
                "a plane separates the classes, so that without a penalty the coefficients grow with every iteration: "
                "they tell the side of a row, but no probabilities; set regParam above 0."
            )

    @property
    def _model_class(self) -> type["LogisticRegressionModel"]:
        return LogisticRegressionModel


@accessors
class LogisticRegressionModel(LinearModel, LogisticRegressionParams, ProbabilisticClassificationModel):
    """A fitted binomial logistic regression: P(y = 1) = 1 / (1 + exp(-(coefficients . features + intercept))).

    Attributes
    ----------
    coefficients : one a feature, in log odds per unit of the feature.
    intercept : in log odds; zero where none was fitted.
    featureNames : the features' names, in the order of the coefficients.
    """

    _outputs = ("predictionCol", "probabilityCol", "rawPredictionCol")
    _score = "rawPredictionCol"
    numbers = ("predictionCol", "probabilityCol")
    _pyspark_class = PySparkLogisticRegressionModel
    _java_class = "org.apache.spark.ml.classification.LogisticRegressionModel"
    _scoring_class = ClassScoring
    _summary_class = BinaryLogisticRegressionSummary
    _training_summary_class = BinaryLogisticRegressionTrainingSummary

    @property
    def numClasses(self) -> int:
        """Two, also where the training rows had one class only."""
        return 2

    @property
    def coefficientMatrix(self) -> DenseMatrix:
        """The coefficients as a matrix of one row."""
        return DenseMatrix(1, self.numFeatures, self.coefficients.toArray(), True)

    @property
    def interceptVector(self) -> DenseVector:
        """The intercept as a vector of one number."""
        return dense(np.array([self.intercept]))

    def predict(self, value: Vector) -> float:
        """The class of one vector of features: 1.0 where the probability of a 1 is above the threshold."""
        return float(expit(self._score_one(value)) > self.getThreshold())

    def predictRaw(self, value: Vector) -> DenseVector:
        """The margins of the classes 0 and 1: -z and z."""
        z = self._score_one(value)
        return dense(np.array([-z, z]))

    def predictProbability(self, value: Vector) -> DenseVector:
        """The probabilities of the classes 0 and 1."""
        return dense(expit(self.predictRaw(value).toArray()))

    def _twin_params(self) -> dict[str, Any]:
        return super()._twin_params() | {"threshold": self.getThreshold()}

    def number(self, output: str, column: Column) -> Column:
        return column if output == "predictionCol" else numbers_of(column)[1]

    def __repr__(self) -> str:
        return f"LogisticRegressionModel: uid={self.uid}, numClasses={self.numClasses}, numFeatures={self.numFeatures}"
