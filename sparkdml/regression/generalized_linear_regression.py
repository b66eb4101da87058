"""Generalized linear regression: the estimator and its model."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pyspark import keyword_only
from pyspark.ml.linalg import Vector
from pyspark.ml.regression import GeneralizedLinearRegressionModel as PySparkGeneralizedLinearRegressionModel
from pyspark.ml.regression import RegressionModel, Regressor

from sparkdml.array_model import ArrayGeneralizedLinear
from sparkdml.blocks.stats import Statistics
from sparkdml.checks import (
    column_of,
    every_label,
    settle_infinite,
    warn_constant_columns,
    warn_constant_label,
)
from sparkdml.diagnostics import warn_perfect, warn_separated
from sparkdml.engine.data import Data, Reading
from sparkdml.engine.minimize import Fit, Start
from sparkdml.errors import DataError
from sparkdml.estimator import LinearEstimator
from sparkdml.model import LinearModel
from sparkdml.optim.losses import GeneralizedLinear
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import Lbfgs, Newton, Normal, Solver
from sparkdml.optim.solvers.auto import MAX_NORMAL_FEATURES
from sparkdml.params import accessors
from sparkdml.regression.glm_evaluation import GlmMetrics, check_labels
from sparkdml.regression.glm_fit import GlmFit, minimize_glm
from sparkdml.regression.glm_params import GeneralizedLinearParams
from sparkdml.regression.glm_summary import (
    GeneralizedLinearRegressionSummary,
    GeneralizedLinearRegressionTrainingSummary,
    GlmScoring,
)
from sparkdml.solver_choice import solver_name, stops_early


@accessors
class GeneralizedLinearRegression(
    LinearEstimator["GeneralizedLinearRegressionModel"],
    Regressor["GeneralizedLinearRegressionModel"],
    GeneralizedLinearParams,
):
    """Generalized linear regression, a drop-in for `pyspark.ml.regression.GeneralizedLinearRegression`.

    A label y_i has the mean g^-1(z_i) at the margin z_i = x_i.w + b + offset_i, and the variance
    dispersion V(mean) / s_i. Minimizes, over coefficients w and an intercept b, with the unit deviance d of the family,

        sum_i s_i d(y_i, g^-1(z_i)) / (2 sum_i s_i)
          + regParam k (elasticNetParam ||v||_1 + (1 - elasticNetParam) / 2 ||v||^2)

    which without a penalty is maximum likelihood. family: V(mean), its links g, of which the first is the default:

        gaussian: 1, identity, log, inverse          binomial: mean (1 - mean), logit, probit, cloglog
        poisson: mean, log, identity, sqrt           gamma: mean^2, inverse, identity, log
        tweedie: mean^variancePower, mean^linkPower (log for 0, by default 1 - variancePower)
        negativeBinomial: mean + overdispersion mean^2, log, identity, sqrt

    The penalty is that of pyspark.ml, where k is the mean working weight sum_i s_i mean'(z_i)^2 / V(mean_i) / sum_i s_i
    at the minimum, and v = w; for the gaussian family with the identity link k = 1, v_j = std(x_j) w_j, and the L2 part
    is divided by the standard deviation of the label, less its offset. `standardization` chooses between the two v. A
    column that never changes gets the coefficient zero.

    Where all labels are the same and no finite intercept has them for its mean, as counts of zero and the logarithm,
    the coefficients are zero and the intercept is that of a mean within 2.2e-16 of the label; a warning tells.

    Parameters
    ----------
    Those of pyspark.ml, with its defaults, and
    family : "negativeBinomial" too, of a given `overdispersion` k: the variance is mean + k mean^2.
    solver : "irls" and "auto" are "normal" (one pass) where that solves the problem, else "newton", iteratively
        reweighted least squares, up to 4096 features, and "l-bfgs" above. "subsampled-newton" takes fewer passes over
        all rows, and brings no statistics. "gd", "sgd" and "local-sgd" need a loss of
        bounded curvature (gaussian with identity, binomial with logit or probit).
    elasticNetParam : share of L1 in the penalty.
    standardization : penalize std(x_j) w_j instead of w_j; by default as above.
    maxIter : by default 25, and 100 where "l-bfgs" or another solver of many cheap iterations is taken.
    computeStatistics : standard errors from solvers other than "normal" and "newton" too, by one more pass.
    standardErrors : "classical", from the expected Hessian and the dispersion; "HC0" or "HC1", by one more pass, the
        sandwich that holds whatever the variance of the label is, of the Hessian that the labels give, as statsmodels
        has it; R's package sandwich takes the expected one, which with a canonical link is the same.
    lowerBoundsOnCoefficients, upperBoundsOnCoefficients, lowerBoundsOnIntercepts, upperBoundsOnIntercepts : the box of
        the coefficients and the intercept; there are then no standard errors.
    tol, featuresCols, numPartitions, handleInvalid, maxBlockSizeInMB, optimizer, learningRate, stepSize, momentum,
    aggregation, miniBatchFraction, batchSize, warmStartEpochs, partitioning, dtype, initialModel,
    validationIndicatorCol, validationFraction, patience, seed : as in `sparkdml.regression.LinearRegression`. With
        early stopping k is that of the model without features.

    Raises
    ------
    ParamError, SolverError, ColumnError, ColumnTypeError : before any pass over the rows.
    DataError : the rows cannot be fitted; the message counts and shows the bad values.
    DivergenceError : the loss is infinite where the fit starts, since the link gives some rows no mean there.

    Source: J. Nelder, R. Wedderburn, Generalized Linear Models (1972).

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 1), (1.0, 2), (2.0, 4), (3.0, 9)], ["x", "claims"])
    >>> model = GeneralizedLinearRegression(family="poisson", featuresCols=["x"], labelCol="claims").fit(df)
    >>> round(float(model.coefficients[0]), 4), round(model.intercept, 4), round(model.summary.deviance, 4)
    (0.7478, -0.0605, 0.0152)
    """

    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        labelCol: str = "label",
        featuresCol: str = "features",
        predictionCol: str = "prediction",
        family: str = "gaussian",
        link: str | None = None,
        fitIntercept: bool = True,
        maxIter: int = 25,
        tol: float = 1e-6,
        regParam: float = 0.0,
        weightCol: str | None = None,
        solver: str = "irls",
        linkPredictionCol: str | None = None,
        variancePower: float = 0.0,
        linkPower: float | None = None,
        offsetCol: str | None = None,
        aggregationDepth: int = 2,
        overdispersion: float = 1.0,
        elasticNetParam: float = 0.0,
        standardization: bool | None = None,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
        standardErrors: str = "classical",
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
        initialModel: "GeneralizedLinearRegressionModel | None" = None,
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
        labelCol: str = "label",
        featuresCol: str = "features",
        predictionCol: str = "prediction",
        family: str = "gaussian",
        link: str | None = None,
        fitIntercept: bool = True,
        maxIter: int = 25,
        tol: float = 1e-6,
        regParam: float = 0.0,
        weightCol: str | None = None,
        solver: str = "irls",
        linkPredictionCol: str | None = None,
        variancePower: float = 0.0,
        linkPower: float | None = None,
        offsetCol: str | None = None,
        aggregationDepth: int = 2,
        overdispersion: float = 1.0,
        elasticNetParam: float = 0.0,
        standardization: bool | None = None,
        maxBlockSizeInMB: float = 0.0,
        featuresCols: list[str] | None = None,
        numPartitions: int | None = None,
        handleInvalid: str = "error",
        computeStatistics: bool = False,
        standardErrors: str = "classical",
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
        initialModel: "GeneralizedLinearRegressionModel | None" = None,
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
        self._loss()

    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        loss, statistics = self._loss(), self._statistics(data)
        check_labels(loss, statistics, column_of(self, data, "label"))
        label = every_label(self, data)
        problem = self._problem(data, loss, statistics.net_of_offset if loss.quadratic else statistics, label)
        warn_constant_columns(statistics, problem)
        if statistics.variance[-1] == 0.0 and problem.fit_intercept:
            problem = _of_one_label(loss, statistics, problem, label)
        name = self._solver_name(data, problem)
        quick = self.isSet("maxIter") or name in (Normal.name, Newton.name)
        patient = self if quick else self.copy({self.maxIter: MAX_ITERATIONS})
        return problem, patient._solver_for(name, statistics, problem)

    def _problem(self, data: Data, loss: GeneralizedLinear, statistics: Statistics, label: str) -> Problem:
        deviation = np.sqrt(statistics.variance)
        standardize = self._optional("standardization")
        problem = self._problem_of(
            data,
            loss,
            statistics,
            deviation[:-1],
            standardization=loss.quadratic if standardize is None else standardize,
            l2_divisor=(float(deviation[-1]) or 1.0) if loss.quadratic else 1.0,
            **({} if loss.anywhere else {"offset_mean": 0.0}),  # beside the mean offset a row may have no mean
        )
        return problem if loss.anywhere else _off_zero(problem, statistics, label)

    def _solver_name(self, data: Data, problem: Problem) -> str:
        name = solver_name(self)
        if name != "auto" and self.getOrDefault("solver") != "irls":
            return name
        small = len(problem.scale) <= MAX_NORMAL_FEATURES
        if not small or not data.fits_driver(problem.hessian_query(problem.start).size):
            return Lbfgs.name
        return Normal.name if problem.loss.quadratic and not stops_early(self) else Newton.name

    def _minimize(self, starts: Sequence[Start], data: Data, reading: Reading) -> list[Fit]:
        return list(minimize_glm(starts, data, reading, self.getOrDefault("tol")))

    def _metrics(self, data: Data, fit: Fit, point: Point) -> GlmMetrics:
        assert isinstance(fit, GlmFit)
        assert isinstance(fit.problem.loss, GeneralizedLinear)
        return GlmMetrics.of(
            fit.problem.loss, data.statistics_for(fit.problem.fold).count, fit.goodness, fit.null.value
        )

    def _warn(self, data: Data, statistics: Statistics, fit: Fit, point: Point) -> None:
        super()._warn(data, statistics, fit, point)
        loss = point.loss if self.getOrDefault("family") == "binomial" else None
        warn_separated(statistics, fit, data.feature_names, loss)
        if statistics.variance[-1] > 0.0:
            assert isinstance(fit, GlmFit) and isinstance(fit.problem.loss, GeneralizedLinear)
            mean = np.array([statistics.center[-1]])
            warn_perfect(
                fit.goodness.value / fit.goodness.weight, float(fit.problem.loss.family.relative_square(mean)[0])
            )

    @property
    def _model_class(self) -> type["GeneralizedLinearRegressionModel"]:
        return GeneralizedLinearRegressionModel


MAX_ITERATIONS = 100  # of solvers whose iterations are cheaper than those of pyspark.ml's 25


def _off_zero(problem: Problem, statistics: Statistics, label: str) -> Problem:
    """Without an intercept, the problem to be begun where the average row has the mean label: zero has no mean.

    Offsets may give every row one.

    DataError where all labels are zero, to which coefficients may come as near as they like.
    """
    if problem.fit_intercept or _has_means(problem, statistics):
        return problem
    if statistics.variance[-1] == 0.0 == statistics.center[-1]:
        raise DataError(
            f"{label} is 0, a mean that no coefficients have with this link and without an intercept: set "
            "fitIntercept=True, or take link='log'."
        )
    way = statistics.center[:-1] * problem.inverse_scale
    margin = float(problem.loss.link(statistics.center[-1:])[0, 0])
    return problem.starting_at(way * margin / (float(way @ way) or 1.0))


def _has_means(problem: Problem, statistics: Statistics) -> bool:
    """Whether the offsets alone give every row a mean."""
    return statistics.net is not None and bool(np.all(problem.loss.valid(statistics.offsets[:, None])))


def _of_one_label(loss: GeneralizedLinear, statistics: Statistics, problem: Problem, label: str) -> Problem:
    """The problem where all labels are the same, of which it warns; it is settled where no finite intercept is best.

    With offsets that differ there is something to find as long as the label has a finite margin.
    """
    if not loss.has_margin(statistics.center[-1]):
        return settle_infinite(statistics, problem, label)
    if statistics.net is None:
        warn_constant_label(statistics, problem, "all coefficients are zero", label)
    return problem


@accessors
class GeneralizedLinearRegressionModel(LinearModel, RegressionModel[Vector], GeneralizedLinearParams):
    """A fitted generalized linear regression: prediction = g^-1(coefficients . features + intercept (+ offset)).

    Attributes
    ----------
    coefficients : one a feature, in units of the margin per unit of the feature.
    intercept : in units of the margin; zero where none was fitted.
    featureNames : the features' names, in the order of the coefficients.
    """

    _outputs = ("predictionCol", "linkPredictionCol")
    _array_class = ArrayGeneralizedLinear
    _pyspark_class = PySparkGeneralizedLinearRegressionModel
    _java_class = "org.apache.spark.ml.regression.GeneralizedLinearRegressionModel"
    _scoring_class = GlmScoring
    _summary_class = GeneralizedLinearRegressionSummary
    _training_summary_class = GeneralizedLinearRegressionTrainingSummary

    def _twin_params(self) -> dict[str, Any]:
        """A negative binomial mean is that of a Poisson family with the same link, which pyspark.ml has."""
        names = ("family", "offsetCol", "fitIntercept")
        found = super()._twin_params() | {name: self.getOrDefault(name) for name in names if self.isDefined(name)}
        link = self._loss().link_function
        if found["family"] == "tweedie":
            return found | {"variancePower": self.getVariancePower(), "linkPower": link.power}  # type: ignore[attr-defined]
        family = "poisson" if found["family"] == "negativeBinomial" else found["family"]
        return found | {"family": family, "link": link.name}

    def __repr__(self) -> str:
        loss = self._loss()
        return (
            f"GeneralizedLinearRegressionModel: uid={self.uid}, family={loss.family.name}, "
            f"link={loss.link_function.name}, numFeatures={self.numFeatures}"
        )
