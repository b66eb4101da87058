"""Linear support vector machines: the estimator and its model."""

from typing import Any, Self

import numpy as np
from pyspark import keyword_only
from pyspark.ml.classification import ClassificationModel, Classifier
from pyspark.ml.classification import LinearSVCModel as PySparkLinearSVCModel
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import Column

from sparkdml.array_model import ArrayMargins
from sparkdml.blocks.schema import scores_of
from sparkdml.checks import column_of, every_label, warn_constant_columns, warn_constant_label, warn_one_class
from sparkdml.classification.svc_params import LinearSVCParams
from sparkdml.classification.svc_summary import LinearSVCSummary, LinearSVCTrainingSummary, MarginScoring
from sparkdml.engine.data import Data
from sparkdml.engine.minimize import Fit
from sparkdml.estimator import LinearEstimator
from sparkdml.evaluation import BinaryMetrics, require_binary
from sparkdml.linalg import dense
from sparkdml.model import LinearModel
from sparkdml.optim.losses import HINGE_LOSSES
from sparkdml.optim.losses.classes import class_margins
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import Solver
from sparkdml.optim.solvers.auto import choose
from sparkdml.params import accessors
from sparkdml.solver_choice import solver_name


@accessors
class LinearSVC(LinearEstimator["LinearSVCModel"], LinearSVCParams, Classifier):
    """A linear support vector machine for two classes, a drop-in for `pyspark.ml.classification.LinearSVC`.

    Minimizes, over coefficients w and an intercept b, with margins z_i = x_i.w + b, labels y_i of {0, 1} and
    m_i = (2 y_i - 1) z_i,

        sum_i s_i max(0, 1 - m_i) / sum_i s_i
          + regParam * (elasticNetParam * ||v||_1 + (1 - elasticNetParam) / 2 * ||v||^2)

    with v_j = std(x_j) w_j if `standardization`, else v = w; with loss="squaredHinge" max(0, 1 - m_i)^2 instead. As in
    pyspark.ml the variances are divided by sum s - sum s^2 / sum s, which is n - 1 without weights, and a column that
    never changes gets the coefficient zero. The hinge has a kink, at which pyspark.ml's solver may stop short of the
    minimum; here smooth losses above it are minimized, and a lower bound certifies the end.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults, and
    loss : "hinge" or "squaredHinge".
    offsetCol : a numeric column that is added to the margin with a coefficient of one, for example that of another
        model.
    elasticNetParam : share of L1 in the penalty; 0, as in pyspark.ml, is L2 alone.
    solver : "newton", "subsampled-newton", "l-bfgs", "gd" and, for loss="squaredHinge", "sgd" and "local-sgd", as in
        `sparkdml.regression.LinearRegression`, or "auto": of the hinge "newton" up to 1000 features, else "l-bfgs".
    tol : of the hinge, the certified relative distance of the objective to its minimum at which to stop; of the squared
        hinge as in `sparkdml.regression.LinearRegression`.
    maxIter : of the hinge, iterations for all smooth losses together; with many or correlated columns and a weak
        penalty "l-bfgs" needs some hundreds.
    classWeight : as in `sparkdml.classification.LogisticRegression`.
    featuresCols, optimizer, learningRate, stepSize, momentum, miniBatchFraction, batchSize, warmStartEpochs, seed,
    numPartitions, partitioning, dtype, handleInvalid, aggregation, initialModel, validationIndicatorCol,
    validationFraction, patience, lowerBoundsOnCoefficients, upperBoundsOnCoefficients, lowerBoundsOnIntercepts,
    upperBoundsOnIntercepts : as in `sparkdml.regression.LinearRegression`.

    Raises
    ------
    ParamError, SolverError, ColumnError, ColumnTypeError : before any pass over the rows.
    DataError : the rows cannot be fitted; the message counts and shows the bad values.

    Source: C. Cortes, V. Vapnik, Support-Vector Networks (1995).

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 0.0), (1.0, 0.0), (3.0, 1.0), (4.0, 1.0)], ["x", "y"])
    >>> model = LinearSVC(featuresCols=["x"], labelCol="y", regParam=0.01).fit(df)
    >>> round(float(model.coefficients[0]), 4), round(model.intercept, 4), model.summary.accuracy
    (1.0, -2.0, 1.0)
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
        tol: float = 1e-6,
        rawPredictionCol: str = "rawPrediction",
        fitIntercept: bool = True,
        standardization: bool = True,
        threshold: float = 0.0,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        offsetCol: str | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        loss: str = "hinge",
        elasticNetParam: float = 0.0,
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
        dtype: str = "float64",
        initialModel: "LinearSVCModel | None" = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
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
        tol: float = 1e-6,
        rawPredictionCol: str = "rawPrediction",
        fitIntercept: bool = True,
        standardization: bool = True,
        threshold: float = 0.0,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        offsetCol: str | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        loss: str = "hinge",
        elasticNetParam: float = 0.0,
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
        dtype: str = "float64",
        initialModel: "LinearSVCModel | None" = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
    ) -> Self:
        """Set the Params that are given."""
        return self._set(**self._input_kwargs)

    def _check_params(self) -> None:
        super()._check_params()
        self._check_class_aggregation()
        self._check_class_weight(2)

    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        require_binary(data.statistics.labels, column_of(self, data, "label"), data.classes)
        class_weights = self._class_weights(lambda: self._statistics(data))
        statistics = self._statistics(data, class_weights)
        loss = HINGE_LOSSES[self.getOrDefault("loss")]
        deviation = np.sqrt(statistics.sample_variance[:-1])
        problem = self._problem_of(data, loss, statistics, deviation, class_weights=class_weights)
        warn_constant_columns(statistics, problem)
        if statistics.variance[-1] == 0.0 and problem.fit_intercept:
            warn_constant_label(statistics, problem, "an intercept alone is a best model", every_label(self, data))
        elif statistics.variance[-1] == 0.0:
            warn_one_class(statistics, every_label(self, data))
        name = solver_name(self)
        if name == "auto":
            kinked = not loss.smooth and data.fits_driver(problem.gram_query().size)
            name = choose(len(problem.scale), quadratic=False, kinked=kinked)
        return problem, self._solver_for(name, statistics, problem)

    def _remedy(self, fit: Fit) -> str:
        found = super()._remedy(fit)
        return found if fit.problem.loss.smooth else f"{found}, or loss='squaredHinge', which has no kink"

    def _metrics(self, data: Data, fit: Fit, point: Point) -> BinaryMetrics:
        statistics = data.statistics_for(fit.problem.fold)
        return BinaryMetrics(statistics.count, statistics.weight, float(statistics.center[-1]), None)

    @property
    def _model_class(self) -> type["LinearSVCModel"]:
        return LinearSVCModel


@accessors
class LinearSVCModel(LinearModel, LinearSVCParams, ClassificationModel):
    """A fitted support vector machine: a 1 where coefficients . features + intercept (+ offset) is above `threshold`.

    Attributes
    ----------
    coefficients : one a feature, in margin per unit of the feature.
    intercept : in margin; zero where none was fitted.
    featureNames : the features' names, in the order of the coefficients.
    """

    _outputs = ("predictionCol", "rawPredictionCol")
    _score = "rawPredictionCol"
    numbers = ("predictionCol", "rawPredictionCol")
    _array_class = ArrayMargins
    _pyspark_class = PySparkLinearSVCModel
    _java_class = "org.apache.spark.ml.classification.LinearSVCModel"
    _scoring_class = MarginScoring
    _summary_class = LinearSVCSummary
    _training_summary_class = LinearSVCTrainingSummary

    @property
    def numClasses(self) -> int:
        """Two, also where the training rows had one class only."""
        return 2

    def predictRaw(self, value: Vector) -> DenseVector:
        """The margins of the classes 0 and 1, at the offset zero: -z and z."""
        return dense(class_margins(self._margins(value))[0])

    def _twin_params(self) -> dict[str, Any]:
        return super()._twin_params() | {"threshold": self.getOrDefault("threshold")}

    def number(self, output: str, column: Column) -> Column:
        return column if output == "predictionCol" else scores_of(column)[1]

    def __repr__(self) -> str:
        return f"LinearSVCModel: uid={self.uid}, numClasses={self.numClasses}, numFeatures={self.numFeatures}"
