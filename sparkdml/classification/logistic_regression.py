"""The estimator of logistic regression."""

from typing import Any, Self

import numpy as np
from pyspark import keyword_only
from pyspark.ml.classification import ProbabilisticClassifier

from sparkdml.blocks.block import DENSE_FROM
from sparkdml.blocks.sampling import Sampling
from sparkdml.blocks.stats import Statistics
from sparkdml.bounds import bounds_of
from sparkdml.checks import (
    column_of,
    every_label,
    settle_infinite,
    warn_constant_columns,
    warn_constant_label,
    warn_one_class,
)
from sparkdml.classification.logistic_model import LogisticRegressionModel, told_family
from sparkdml.classification.logistic_params import LogisticRegressionParams
from sparkdml.columns import offset_of
from sparkdml.diagnostics import warn_separated
from sparkdml.engine.data import Data
from sparkdml.engine.minimize import Fit
from sparkdml.errors import ParamError
from sparkdml.estimator import LinearEstimator
from sparkdml.evaluation import BinaryMetrics, MulticlassMetrics, count_classes, require_binary
from sparkdml.optim.losses import Logistic, Loss, Softmax
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import Lbfgs, Solver
from sparkdml.optim.solvers.auto import choose_smooth
from sparkdml.optim.solvers.subsampled_newton import sample_fraction
from sparkdml.params import accessors
from sparkdml.solver_choice import solver_name, stops_early, telling_rows


@accessors
class LogisticRegression(
    LinearEstimator[LogisticRegressionModel],
    LogisticRegressionParams,
    ProbabilisticClassifier,
):
    """Logistic regression, a drop-in for `pyspark.ml.classification.LogisticRegression`.

    The binomial one minimizes, over coefficients w and an intercept b, with margins z_i = x_i.w + b and labels y_i of
    {0, 1},

        sum_i s_i (log(1 + exp(z_i)) - y_i z_i) / sum_i s_i
          + regParam * (elasticNetParam * ||v||_1 + (1 - elasticNetParam) / 2 * ||v||^2)

    The multinomial one has w_k and b_k, hence z_ik, for each class k of {0, ..., K - 1}, and the mean of
    log(sum_k exp(z_ik)) - z_iy for y = y_i. As a constant in all z_ik says nothing, intercepts sum to zero, and so do,
    without a penalty, the coefficients of each feature. As in pyspark.ml, K is the number of classes in the metadata of
    the label column, which StringIndexer writes, and without metadata one more than the largest label. With an
    intercept, a class without rows gets probabilities of about 2.2e-16.

    Here v_j = std(x_j) w_j if `standardization`, else v = w. As in pyspark.ml the variances are divided by
    sum s - sum s^2 / sum s, which is n - 1 without weights. A column that never changes gets the coefficient zero.

    Where all labels are the same and there is an intercept, no finite one is best. Unless bounds exclude it, the
    coefficients are then zero and the intercept is the +-36.04 that comes within 2.2e-16 of the probability 0 or 1
    (pyspark.ml's is infinite); a warning tells. Without a penalty, classes that a plane separates have no best
    coefficients either: they grow with every iteration, and a warning tells.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults, and
    featuresCols : numeric columns as features, instead of a vector column; `featuresCol` may also be an array. The
        OneVsRest of pyspark.ml reads one column of features, its own featuresCol, which replaces these.
    offsetCol : of a binomial model, a numeric column that is added to the margin with a coefficient of one, for example
        the log odds of another model. To all classes of a multinomial one it would be the same, and change nothing.
    family : "binomial", "multinomial", or "auto": binomial for one or two classes, else multinomial.
    thresholds : a positive number for each class; the class of the largest probability / threshold is predicted.
    solver : "newton" or "irls" (the same), "subsampled-newton", "l-bfgs", "gd", "sgd", "local-sgd", as in
        `sparkdml.regression.LinearRegression`, or "auto": for two classes and up to 1000 columns the one of the first
        three that is expected to take the least time: of few rows "newton", of many "subsampled-newton".
    classWeight : multiplies the weights of the rows of each class: a dictionary {label: weight}, in which a label that
        is not there has weight 1, or "balanced", sum s / (K sum of s in the class), as in scikit-learn. Coefficients
        are those of `weightCol` with these weights; metrics are of the rows' own weights. Of more than 32 classes the
        weighted means of the columns take a pass before the fit.
    computeStatistics, standardErrors : as in `sparkdml.regression.LinearRegression`, compared with the normal
        distribution; "newton" always has the classical ones. The weights of classes count as weights of rows. Those of
        a multinomial model are of the coefficients that sum to zero over the classes.
    tol, optimizer, learningRate, stepSize, momentum, miniBatchFraction, batchSize, warmStartEpochs, seed,
    numPartitions, partitioning, dtype, handleInvalid, maxBlockSizeInMB, aggregationDepth, aggregation,
    initialModel : as in `sparkdml.regression.LinearRegression`.
    sampling, samplingRatio : for two classes: "undersample" leaves out rows of the frequent one, "oversample" repeats
        rows of the rare one, until the weight of the rare one is `samplingRatio` times that of the other. With r_k the
        share of the weight of class k that was taken, log(r_0 / r_1) is added to the intercept: the probabilities, and
        the summary's metrics, are those of the whole table. The objective history is that of the rows taken.
    validationIndicatorCol, validationFraction, patience : early stopping, as in
        `sparkdml.regression.LinearRegression`. Rows that validate have the weights of their classes too.
    lowerBoundsOnCoefficients, upperBoundsOnCoefficients, lowerBoundsOnIntercepts, upperBoundsOnIntercepts : the box
        of the coefficients (K, d), or (1, d) of a binomial model, and of the intercepts (K,) or (1,); a number is for
        all of them, and an infinite one is no bound. They go with any penalty, and with every solver but "local-sgd".
        Sums over the classes, where they would be zero, are then as near to zero as the box lets them. A column that
        never changes still gets the coefficient zero.

    Raises
    ------
    ParamError, SolverError, ColumnError, ColumnTypeError : before any pass over the rows.
    DataError : the rows cannot be fitted; the message counts and shows the bad values.

    Source: D. R. Cox, The Regression Analysis of Binary Sequences (1958); J. Friedman, T. Hastie, R. Tibshirani,
    Regularization Paths for GLMs via Coordinate Descent (2010), for the sums of zero; G. King, L. Zeng,
    Logistic Regression in Rare Events Data (2001), prior correction.

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
        offsetCol: str | None = None,
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
        dtype: str = "float64",
        sampling: str = "none",
        samplingRatio: float = 1.0,
        initialModel: LogisticRegressionModel | None = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        computeStatistics: bool = False,
        standardErrors: str = "classical",
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
        offsetCol: str | None = None,
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
        dtype: str = "float64",
        sampling: str = "none",
        samplingRatio: float = 1.0,
        initialModel: LogisticRegressionModel | None = None,
        classWeight: str | dict[float, float] | None = None,
        validationIndicatorCol: str | None = None,
        validationFraction: float | None = None,
        patience: int = 5,
        seed: int = 0,
        computeStatistics: bool = False,
        standardErrors: str = "classical",
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
    ) -> Self:
        """Set the Params that are given; raises ParamError where threshold and thresholds contradict each other."""
        self._set(**self._input_kwargs)
        self._check_thresholds()
        return self

    def _check_params(self) -> None:
        super()._check_params()
        self._check_thresholds(multinomial=self.getOrDefault("family") == "multinomial")
        if self.getOrDefault("family") == "multinomial" and offset_of(self):
            raise ParamError(NO_OFFSET)
        self._require_intercept(self._sampling())
        self._check_class_aggregation()

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
        loss, classes = self._loss(data)
        self._check_class_weight(classes)
        self._check_thresholds(classes, isinstance(loss, Softmax))
        self._check_initial_model(loss)
        if data.sampling and (bounds := bounds_of(self, 1, len(data.feature_names))) and bounds.on_intercepts:
            raise ParamError(f"{data.sampling} moves the intercept, which has a bound: clear the bound, or sampling.")
        class_weights = self._class_weights(lambda: self._statistics(data))
        statistics = self._statistics(data, class_weights)
        deviation = np.sqrt(statistics.sample_variance[:-1])
        more = {"label_mean": _shares(statistics, classes)} if isinstance(loss, Softmax) else {}
        problem = self._problem_of(data, loss, statistics, deviation, class_weights=class_weights, **more)
        warn_constant_columns(statistics, problem)
        if statistics.variance[-1] == 0.0:
            problem = self._of_one_class(statistics, problem, every_label(self, data))
        name = solver_name(self)
        return problem, self._solver_for(self._choose(data, problem) if name == "auto" else name, statistics, problem)

    def _of_one_class(self, statistics: Statistics, problem: Problem, label: str) -> Problem:
        """The problem where all rows have the same label, of which it warns; of one class there is nothing to find."""
        if problem.fit_intercept:
            return settle_infinite(statistics, problem, label)
        if isinstance(problem.loss, Softmax) and problem.loss.classes == 1:
            warn_constant_label(statistics, problem, "a model of this one class has coefficients of zero", label)
            return problem if problem.confined else problem.settle()
        warn_one_class(statistics, label)
        return problem

    def _choose(self, data: Data, problem: Problem) -> str:
        """What "auto" stands for; early stopping needs small steps."""
        matrix = problem.hessian_query(problem.start)
        if stops_early(self) or not data.fits_driver(matrix.size):
            return Lbfgs.name
        statistics = data.statistics
        sparse = statistics.density < DENSE_FROM
        fraction = sample_fraction(telling_rows(statistics, problem), len(problem.start))
        strength = problem.split(problem.penalty.l2.strength)[0][problem.scale > 0.0]
        convex = bool(np.all(strength > 0.0))
        coefficients = problem.loss.margins * len(problem.scale)
        return choose_smooth(
            statistics.count, coefficients, data.tasks, fraction, statistics.density, sparse=sparse, convex=convex
        )

    def _loss(self, data: Data) -> tuple[Loss, int]:
        """The loss of the family, and how many classes there are; DataError where the labels are none."""
        column = column_of(self, data, "label")
        labels, family = data.statistics.labels, self.getOrDefault("family")
        if family == "binomial":
            require_binary(labels, column, data.classes)
            return Logistic(), 2
        classes = count_classes(labels, column, data.classes)
        if family == "auto" and classes <= 2:
            return Logistic(), 2
        if data.sampling:
            raise ParamError(f"{data.sampling} balances two classes for a binomial model, not {classes}: clear it.")
        if data.has_offset:
            raise ParamError(NO_OFFSET)
        return Softmax(classes), classes

    def _check_initial_model(self, loss: Loss) -> None:
        """Refuse a start that has other classes."""
        model, family = self._initial_model(), self.getOrDefault("family")
        wanted = told_family(loss.margins if isinstance(loss, Softmax) else None)
        if model is not None and (known := told_family(model.numClasses if model._is_multinomial else None)) != wanted:
            raise ParamError(
                f"initialModel is {known}, and these labels with family={family!r} make {wanted}: it must be of the "
                "same family and classes."
            )

    def _raw(self, data: Data, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
        """The raw coefficients and intercepts: of those that mean the same, the ones that sum to zero over classes.

        Where bounds do not let these, their sum is as near to zero as it can be.
        """
        W, b = super()._raw(data, fit)
        if fit.problem.loss.margins == 1:
            return W, b
        penalty, bounds = fit.problem.penalty, fit.problem.bounds
        if not penalty.has_l1 and not np.any(penalty.l2.strength):
            W = W - W.mean(axis=0) if bounds is None else bounds.centred_weights(W, fit.problem.scale)
        return W, b - b.mean() if bounds is None else bounds.centred(b)

    def _metrics(self, data: Data, fit: Fit, point: Point) -> BinaryMetrics | MulticlassMetrics | None:
        """What the fit tells; with weights of classes the loss that it knows is another than that of the rows."""
        if data.sampling:
            return None
        statistics = data.statistics_for(fit.problem.fold)
        loss = None if fit.problem.class_weights else float(point.loss)
        if isinstance(softmax := fit.problem.loss, Softmax) and softmax.classes != 2:
            return MulticlassMetrics(statistics.count, statistics.weight, _shares(statistics, softmax.classes), loss)
        return BinaryMetrics(statistics.count, statistics.weight, float(statistics.center[-1]), loss)

    def _warn(self, data: Data, statistics: Statistics, fit: Fit, point: Point) -> None:
        super()._warn(data, statistics, fit, point)
        warn_separated(statistics, fit, data.feature_names, point.loss)

    @property
    def _model_class(self) -> type[LogisticRegressionModel]:
        return LogisticRegressionModel


NO_OFFSET = (
    "offsetCol adds the same to the margins of all classes of a multinomial model, which changes nothing: clear it, or "
    "for the labels 0 and 1 take family='binomial'."
)


def _shares(statistics: Statistics, classes: int) -> np.ndarray:
    """The share of each class in the weight of the rows, (K,)."""
    labels = statistics.labels or {}
    weights = np.array([labels.get(float(k), (0, 0.0))[1] for k in range(classes)])
    return weights / weights.sum()
