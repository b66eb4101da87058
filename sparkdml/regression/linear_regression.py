"""Linear regression: the estimator and its model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import Vector
from pyspark.ml.regression import LinearRegressionModel as PySparkLinearRegressionModel
from pyspark.ml.regression import RegressionModel, Regressor

from sparkdml.array_model import ArrayModel
from sparkdml.arrays import require
from sparkdml.blocks.stats import Statistics
from sparkdml.checks import every_label, warn_constant_columns, warn_constant_label
from sparkdml.diagnostics import warn_perfect
from sparkdml.engine.data import Data
from sparkdml.engine.minimize import Fit
from sparkdml.errors import DataError, ParamError
from sparkdml.estimator import LinearEstimator
from sparkdml.evaluation import RegressionMetrics
from sparkdml.given import check_owned
from sparkdml.inference import asked_for, wanted_errors
from sparkdml.model import LinearModel
from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.losses import SquaredError
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import Solver
from sparkdml.optim.solvers.auto import choose
from sparkdml.params import accessors
from sparkdml.regression.linear_params import SHAPES, LinearRegressionParams
from sparkdml.regression.linear_summary import (
    LinearRegressionSummary,
    LinearRegressionTrainingSummary,
)
from sparkdml.solver_choice import begins_warm, solver_name, stops_early

COLLAPSED = 1e-3  # the share of the label's standard deviation below which Huber's scale tells of interpolation


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

    With loss="huber" the loss of a row is (sigma + sigma h((y_i - x_i.w - b) / sigma)) / 2, h(t) being t^2 for
    |t| <= epsilon and 2 epsilon |t| - epsilon^2 beyond: outliers count by their size, not by its square. The scale
    sigma > 0 is estimated with the coefficients (`model.scale`). With loss="quantile" it is q r for r = y_i - x_i.w - b
    of at least zero, and (q - 1) r below, with q = `quantile`: the model predicts that quantile, 0.5 being the median;
    its tol is the relative distance of the objective to its minimum, which a lower bound certifies. With both the L2
    part is not divided by the standard deviation of the label; with "huber", as in pyspark.ml, the variances of the
    columns are divided by sum s - sum s^2 / sum s.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults; `setLoss` works. loss may also be "quantile", which may have an L1 penalty,
    unlike "huber". Further
    quantile : with loss="quantile", which one, above 0 and below 1.
    featuresCols : numeric columns as features, instead of a vector column; `featuresCol` may also be an array.
    offsetCol : a numeric column that is added to the prediction with a coefficient of one, for example that of another
        model. The fit, its penalty and its standard errors are those of the label less the offset.
    solver : "normal" (one pass), "newton" or "irls" (the same; a pass brings a Hessian), "subsampled-newton" (which
        takes the Hessian from a sample of the rows, and begins at the minimum of that), "l-bfgs", "gd" (gradient
        descent that finds its own step), "sgd" (mini-batches: a pass reads `miniBatchFraction` of the rows and nothing
        else, every twentieth all of them), "local-sgd" (mini-batch epochs in every partition, merged), or "auto":
        "normal" up to 4096 features, else "l-bfgs"; for loss="quantile" "newton" up to 1000 features.
    optimizer, learningRate, stepSize, momentum : with solver="gd" or "sgd", the update rule ("plain", "momentum",
        "nesterov", "adagrad", "rmsprop", "adam", "adamw"), how its step size goes on ("constant", "inverseScaling",
        "inverseTime", "exponential", "step", "cosine", and for "gd" "plateau", "boldDriver", "barzilaiBorwein",
        "lineSearch"), the first step size, for standardized features, and the momentum. Each has a default that fits
        the data; with none of them set the solver finds its own steps, which takes the fewest passes. "local-sgd" takes
        a schedule, and a stepSize of which 1 is the longest that the rows of a partition allow.
    miniBatchFraction, batchSize : of solver="sgd", in two ways; by default 100 rows a coefficient.
    warmStartEpochs : iterations of "local-sgd" before the solver, which begins where they end; "auto" is then "l-bfgs"
        where it would be "normal", which begins nowhere.
    tol : the estimated relative distance to the minimum, in standardized coefficients, at which iterative solvers stop;
        "l-bfgs" also where the objective is as low as everywhere within that distance. Of "sgd", the estimated share of
        the objective that is still to be gained.
    numPartitions : tasks of a pass.
    partitioning : which rows share a partition: "as-is", "random", "uniform", "stratified" or a column; see
        `sparkdml.pack`.
    dtype : "float64"; "float32" to store features in half the bytes, for tables larger than the page cache. Each value
        is rounded by up to 6e-8 of itself, which changes coefficients by about 1e-7; see `sparkdml.pack`.
    initialModel : a fitted model to start from. Features are matched by name: new ones begin at zero, those that are
        gone are left out. "normal", which is exact wherever it starts, gives the same result without.
    handleInvalid : "error"; "skip" to leave out rows with a null, a NaN or an infinity; "mean" to put the weighted mean
        of a feature in place of its nulls and NaNs, in training and (the same mean) in scoring.
    computeStatistics : standard errors from "l-bfgs" and "gd" too, by one more pass; "normal" and "newton" always have
        them. With an L2 penalty they are those of the biased estimates, from the inverse of the penalized Hessian.
    standardErrors : "classical"; or, by one more pass, "HC0", White's sandwich, which allows for variances that differ
        from row to row, or "HC1", HC0 times n / (n - coefficients); the names are those of statsmodels. A weight
        multiplies the gradient of its row there, as in weighted least squares. All are compared with Student's t.
    validationIndicatorCol, validationFraction : early stopping: the true rows of a boolean or 0/1 column, or a share
        of the rows that is drawn at random, do not train. The model is that of the iteration at which their mean loss,
        `summary.validationHistory`, was lowest. All else in the summary is of the rows that train. "normal" has no
        iterations to stop, so that "auto" is "l-bfgs". The means of handleInvalid="mean" are those of all rows.
    patience : with early stopping, how many iterations in a row without a lower loss end the fit.
    seed : of the rows that are drawn to validate, of the mini-batches, of the order of the rows in packing.
    maxBlockSizeInMB : size of the chunks of rows to work on; 0 takes chunks that fit the processor's cache.
    aggregationDepth : depth of the tree in which partitions are summed, where their sums are large.
    aggregation : how the partitions' gradients make one, with solver="gd", "sgd", "local-sgd", or "auto", which is "gd"
        then: "weighted_mean", exactly; "mean", each partition alike; "median" or "trimmed_mean" (without a quarter of
        the partitions at each end), coordinate by coordinate along the principal axes of up to 256 columns, so that a
        few corrupted partitions are outvoted, in the means and deviations that standardize too. Rows should be spread
        over the partitions at random, many to each: what differs between partitions is taken for noise. The metrics are
        those of all rows.
    lowerBoundsOnCoefficients, upperBoundsOnCoefficients, lowerBoundsOnIntercepts, upperBoundsOnIntercepts : the box
        of the coefficients, a number for all (0 as a lower one: no coefficient is negative) or a matrix (1, d), and
        of the intercept. An infinite number is no bound. They go with any penalty, and with every solver but
        "local-sgd"; there are then no standard errors. A column that never changes still gets the coefficient zero.

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
    (2.0, 1.0, 2)
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
        offsetCol: str | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
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
        initialModel: "LinearRegressionModel | None" = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        standardErrors: str = "classical",
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
        quantile: float = 0.5,
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
        offsetCol: str | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
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
        initialModel: "LinearRegressionModel | None" = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        standardErrors: str = "classical",
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
        quantile: float = 0.5,
    ) -> Self:
        """Set the Params that are given."""
        return self._set(**self._input_kwargs)

    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        statistics = self._statistics(data).net_of_offset
        problem = self._problem(data, statistics)
        self._check(statistics, problem, every_label(self, data) + " less its offset" * data.has_offset)
        name = solver_name(self)
        if name == "auto":
            admissible = data.fits_driver(problem.gram_query().size)
            direct = problem.loss.quadratic and admissible and not (stops_early(self) or begins_warm(self))
            name = choose(len(problem.scale), direct, kinked=not problem.loss.smooth and admissible)
        return problem, self._solver_for(name, statistics, problem)

    def _check_params(self) -> None:
        super()._check_params()
        check_owned(self, "loss", SHAPES)
        loss = self._loss()
        if not loss.quadratic and (kind := wanted_errors(self)):
            raise ParamError(f"{asked_for(kind)}: there are no standard errors with loss={loss.name!r}; leave it out.")
        if loss.constants and self.getOrDefault("regParam") * self.getOrDefault("elasticNetParam") > 0.0:
            raise ParamError(
                f"loss={loss.name!r} with regParam={self.getOrDefault('regParam'):g} and elasticNetParam="
                f"{self.getOrDefault('elasticNetParam'):g}: it can only have an L2 penalty; set elasticNetParam=0."
            )

    def _problem(self, data: Data, statistics: Statistics) -> Problem:
        loss, spread = self._loss(), float(np.sqrt(statistics.variance[-1])) or 1.0
        variance = statistics.sample_variance if loss.constants else statistics.variance
        divisor = spread if loss.quadratic else 1.0
        deviation = np.sqrt(variance[:-1])
        return self._problem_of(data, loss, statistics, deviation, l2_divisor=divisor, label_deviation=spread)

    def _remedy(self, fit: Fit) -> str:
        """Where columns can fit most rows exactly, the least objective of Huber's loss has no scale or hardly any."""
        found, point = super()._remedy(fit), fit.state.point
        if not fit.problem.loss.constants or point is None:
            return found
        origin = fit.problem.start if fit.problem.origin is None else fit.problem.origin
        scale, spread = float(point.theta[-1]), float(origin[-1])
        if scale > COLLAPSED * spread:
            return found
        fallen = f"the scale has fallen from {spread:.2g} to {scale:.2g}"
        return f"raise regParam, since columns fit most rows exactly: {fallen}"

    def _check(self, statistics: Statistics, problem: Problem, label: str) -> None:
        """Warn of, or refuse, what the statistics show to be degenerate; `label` is what they are of, in words."""
        warn_constant_columns(statistics, problem)
        if statistics.variance[-1] > 0.0:
            return
        if problem.loss.constants:
            raise DataError(
                f"{label} is {statistics.center[-1]:g}, so that loss={problem.loss.name!r} has no scale to "
                "estimate: take loss='squaredError'."
            )
        if problem.fit_intercept or statistics.center[-1] == 0.0:
            warn_constant_label(statistics, problem, "all coefficients are zero", label)
        elif self.getOrDefault("regParam") > 0.0:
            raise DataError(
                f"{label} is {statistics.center[-1]:g}, so its standard deviation is zero: without an intercept "
                "the model cannot be regularized; set regParam=0 or fitIntercept=True."
            )

    def _warn(self, data: Data, statistics: Statistics, fit: Fit, point: Point) -> None:
        super()._warn(data, statistics, fit, point)
        spread = float(statistics.net_of_offset.variance[-1])
        if spread > 0.0:
            warn_perfect(point.loss, float(statistics.center[-1] ** 2) + spread)

    def _known_constants(self, model: Any, problem: Problem) -> np.ndarray:
        return np.array([model.scale] * (problem.loss.constants if model._loss().constants else 0))

    def _create_model(self, data: Data, fit: Fit, point: Point) -> "LinearRegressionModel":
        assert fit.state.point is not None
        _, constants = fit.problem.raw(fit.state.point.theta)
        if not fit.problem.loss.quadratic:
            point = self._squared_errors(data, fit)
        model = super()._create_model(data, fit, point)
        if fit.problem.loss.constants:
            model.scale = float(constants[-1])
        return model

    def _squared_errors(self, data: Data, fit: Fit) -> Point:
        """The point of the squared loss where a fit of another loss ended, which the metrics are of, by one more pass.

        The rows have the same margins in the same variables, but for the constants of the loss.
        """
        assert fit.state.point is not None
        squared = replace(fit.problem, loss=SquaredError(), aggregation=WEIGHTED_MEAN)
        u, c = fit.problem.split(fit.state.point.theta)
        theta = squared.join(u[:, :1], c[:1])
        query = squared.gradient_query(theta)
        (answer,) = data.run([query])
        fit.count(data, [query])
        return squared.point(theta, answer)  # type: ignore[arg-type]

    def _metrics(self, data: Data, fit: Fit, point: Point) -> RegressionMetrics:
        """The metrics that the sums over all rows at the end of a fit imply, without looking at the rows again.

        With r = p - y: sum s r^2 = 2 loss, and sum s r p = gradient . theta since p is linear in theta; so
        sum s (p - m)^2 = sum s (y - m)^2 + sum s r^2 + 2 sum s r (y - m) about the mean label m. With offsets p is not,
        and no sum of the fit tells the offsets from the labels.
        """
        statistics = data.statistics_for(fit.problem.fold)
        mean, m2, weight = float(statistics.mean[-1]), float(statistics.m2[-1]), statistics.weight
        squared = 2.0 * max(point.loss, 0.0)  # of a perfect fit rounding leaves less than nothing
        r_y = float(point.gradient @ point.theta) - squared - mean * float(point.slope[0])
        prediction_m2 = max(m2 + weight * (squared + 2.0 * r_y), 0.0)
        # a sum that overflows, as wild values that were outvoted make it, stays a number, for it is saved
        sums = np.nan_to_num([mean, m2, weight * squared, prediction_m2], nan=np.finfo(float).max).tolist()
        return RegressionMetrics(statistics.count, weight, *(sums[:-1] if data.has_offset else sums))

    @property
    def _model_class(self) -> type["LinearRegressionModel"]:
        return LinearRegressionModel


@accessors
class LinearRegressionModel(LinearModel, RegressionModel[Vector], LinearRegressionParams):
    """A fitted linear regression: prediction = coefficients . features + intercept (+ offset).

    Attributes
    ----------
    coefficients : one a feature, in units of the label per unit of the feature.
    intercept : in units of the label; zero where none was fitted.
    scale : sigma of loss="huber", in units of the label; 1.0 with other losses.
    featureNames : the features' names, in the order of the coefficients.
    """

    scale: float = 1.0
    _array_class = ArrayModel
    _pyspark_class = PySparkLinearRegressionModel
    _java_class = "org.apache.spark.ml.regression.LinearRegressionModel"
    _summary_class = LinearRegressionSummary
    _training_summary_class = LinearRegressionTrainingSummary

    @classmethod
    def from_pyspark(cls, model: Any, featureNames: Sequence[str] | None = None) -> Self:
        """A fitted model of `pyspark.ml` as one of ours, with its scale; as in `LinearModel`."""
        ours = super().from_pyspark(model, featureNames)
        ours.scale = float(model.scale)
        return ours

    def _java_arguments(self) -> tuple[Any, ...]:
        return *super()._java_arguments(), self.scale

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values, found = super()._content()
        return values, found if self.scale == 1.0 else {**found, "scale": np.array([self.scale])}

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        scale = arrays.pop("scale", np.ones(1))
        require(scale.shape == (1,) and scale[0] > 0.0, "the scale is no positive number")
        model = super()._from_content(values, arrays)
        model.scale = float(scale[0])
        return model

    def __repr__(self) -> str:
        return f"LinearRegressionModel: uid={self.uid}, numFeatures={self.numFeatures}"
