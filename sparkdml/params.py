"""Params that the estimators share, checked when they are set."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasAggregationDepth,
    HasElasticNetParam,
    HasFitIntercept,
    HasMaxBlockSizeInMB,
    HasMaxIter,
    HasRegParam,
    HasStandardization,
    HasTol,
    HasValidationIndicatorCol,
    HasWeightCol,
)

from sparkdml.blocks.sampling import SAMPLINGS
from sparkdml.blocks.store import DTYPES
from sparkdml.blocks.violations import HANDLE_INVALID
from sparkdml.bounds import HasBounds
from sparkdml.columns import HasFeaturesCols, HasOffsetCol
from sparkdml.errors import ParamError
from sparkdml.given import HasOptional
from sparkdml.inference import STANDARD_ERRORS
from sparkdml.model import LinearModel
from sparkdml.optim.aggregation import AGGREGATIONS, WEIGHTED_MEAN
from sparkdml.optim.solvers.rule_descent import LEARNING_RATES
from sparkdml.optim.updates import RULES

C = TypeVar("C")
P = TypeVar("P", bound=Params)


def number(name: str, doc: str, low: float, high: float = math.inf, *, open_low: bool = False) -> Param[float]:
    """A float Param of [low, high], or of (low, high] with `open_low`."""
    return Param(Params._dummy(), name, doc, partial(_within, name, TypeConverters.toFloat, low, high, open_low))


def integer(name: str, doc: str, low: int) -> Param[int]:
    """An integer Param of at least `low`."""
    return Param(Params._dummy(), name, doc, partial(_within, name, TypeConverters.toInt, low, math.inf, False))  # type: ignore[arg-type]


def choice(name: str, doc: str, options: Sequence[str]) -> Param[str]:
    """A string Param of which only some values are allowed, in upper or lower case, as in pyspark.ml."""
    spelled = {option.lower(): option for option in options}
    return Param(Params._dummy(), name, f"{doc} One of {', '.join(options)}.", partial(_spelled, name, spelled))


def flag(name: str, doc: str) -> Param[bool]:
    """A boolean Param."""
    return Param(Params._dummy(), name, doc, TypeConverters.toBoolean)


# The converters are functions of the module, in a `partial`, so that an estimator can be pickled.


def _spelled(name: str, options: Mapping[str, str], value: Any) -> str:
    """The option that the value names; `options` has them by their names in lower case."""
    text = TypeConverters.toString(value)
    if text.lower() not in options:
        raise ParamError(f"{name}={text!r} is not one of {', '.join(map(repr, options.values()))}.")
    return options[text.lower()]


def _within(name: str, convert: Callable[[Any], float], low: float, high: float, open_low: bool, value: Any) -> float:
    """The number, which must be in the range."""
    result = convert(value)
    if not (low < result if open_low else low <= result) or not result <= high or math.isinf(result):
        bounds = f"{'above' if open_low else 'at least'} {low:g}" if low > -math.inf else "finite"
        shown = float(f"{high:g}")  # 1 of the largest number below it
        bounds += f" and {'below' if shown > high else 'at most'} {shown:g}" if high < math.inf else ""
        bounds += " and finite" if low > -math.inf and math.isinf(result) else ""
        raise ParamError(f"{name}={result!r} is out of range: it must be {bounds}.")
    return result


def accessors(cls: type[C]) -> type[C]:
    """Class decorator: give every Param `p` of a class its `getP` and `setP`, where they are not written by hand."""
    for name in dir(cls):
        param = getattr(cls, name)
        if isinstance(param, Param):
            _add(cls, f"get{name[0].upper()}{name[1:]}", _getter(name), f"The value of {name}, or its default.")
            _add(cls, f"set{name[0].upper()}{name[1:]}", _setter(name), f"Set {name}: {param.doc}")
    return cls


def _add(cls: type, name: str, function: Any, doc: str) -> None:
    if not hasattr(cls, name):
        function.__name__, function.__qualname__, function.__doc__ = name, f"{cls.__name__}.{name}", doc
        setattr(cls, name, function)


def _getter(param: str) -> Callable[[Params], Any]:
    return lambda self: self.getOrDefault(param)


def _setter(param: str) -> Callable[[P, Any], P]:
    return lambda self, value: self._set(**{param: value})


class HasPacking(Params):
    """How rows are packed."""

    numPartitions: Param[int] = integer(
        "numPartitions", "number of tasks of a pass; by default as many as the DataFrame has, at most 1 to 4 a core.", 1
    )
    partitioning: Param[str] = Param(
        Params._dummy(),
        "partitioning",
        "which rows share a partition: as-is, random, uniform (as many rows each), stratified (and the same mix of "
        "labels), or a column, whose equal values come together.",
        TypeConverters.toString,
    )
    handleInvalid: Param[str] = choice(
        "handleInvalid",
        "rows with a null, a NaN or an infinity raise an error or are skipped; with mean, nulls and NaNs of features "
        "are replaced by the means of the training rows.",
        HANDLE_INVALID,
    )
    dtype: Param[str] = choice(
        "dtype",
        "as what features are stored: float32 takes half the bytes and rounds a value by up to 6e-8 of itself.",
        list(DTYPES),
    )


class HasSampling(Params):
    """How two classes are balanced before training."""

    sampling: Param[str] = choice(
        "sampling",
        "leave out rows of the frequent class, or repeat rows of the rare one; the intercept is corrected, so that "
        "probabilities remain those of the table.",
        SAMPLINGS,
    )
    samplingRatio: Param[float] = number(
        "samplingRatio",
        "weight of the rare class over that of the frequent one after sampling.",
        0.0,
        1.0,
        open_low=True,
    )


class HasInitialModel(Params):
    """Where a fit starts. Estimators have it and models do not: a model would drag all its ancestors along."""

    def _fitted(value: Any) -> LinearModel:
        if not isinstance(value, LinearModel):
            raise ParamError(
                f"initialModel must be a fitted model of sparkdml, not {type(value).__name__}; of a PipelineModel take "
                "the last of its stages."
            )
        return value

    initialModel: Param[LinearModel] = Param(
        Params._dummy(), "initialModel", "fitted model to start from; features are matched by name.", _fitted
    )


class HasDescent(Params):
    """How the solvers "gd", "sgd" and "local-sgd" take their steps, where the user chooses that."""

    optimizer: Param[str] = choice(
        "optimizer", "with solver='gd' or 'sgd': the update rule; auto finds its own steps.", ["auto", *RULES]
    )
    learningRate: Param[str] = choice(
        "learningRate", "with 'gd', 'sgd', 'local-sgd': how the step size goes on from stepSize.", LEARNING_RATES
    )
    stepSize: Param[float] = number(
        "stepSize",
        "with 'gd', 'sgd', 'local-sgd': the first step, above 0, for standardized features; of local-sgd, times the "
        "longest that the rows of a partition allow.",
        0.0,
        open_low=True,
    )
    momentum: Param[float] = number(
        "momentum", "of the optimizers momentum and nesterov, at least 0 and below 1.", 0.0, math.nextafter(1.0, 0.0)
    )


class HasMiniBatch(Params):
    """How many rows solver="sgd" reads in a pass."""

    miniBatchFraction: Param[float] = number(
        "miniBatchFraction",
        "with solver='sgd': share of the rows that a pass reads, above 0 and at most 1; by default 100 rows a "
        "coefficient.",
        0.0,
        1.0,
        open_low=True,
    )
    batchSize: Param[int] = integer("batchSize", "with solver='sgd': about how many rows a pass reads, instead.", 1)


class HasWarmStart(Params):
    """Epochs of local SGD before the solver begins."""

    warmStartEpochs: Param[int] = integer(
        "warmStartEpochs", "iterations of local-sgd whose end is where an iterative solver begins, at least 0.", 0
    )


class HasAggregation(Params):
    """How the partitions' gradients make one."""

    aggregation: Param[str] = choice(
        "aggregation",
        "how the partitions' gradients make one: exactly, or so that a corrupted partition is outvoted (solver='gd').",
        list(AGGREGATIONS),
    )


class HasEarlyStopping(HasValidationIndicatorCol):
    """Which rows validate instead of training, and when they end a fit."""

    validationIndicatorCol: Param[str] = Param(
        Params._dummy(),
        "validationIndicatorCol",
        "boolean or 0/1 column: the true rows do not train, they tell when to stop (early stopping).",
        TypeConverters.toString,
    )
    validationFraction: Param[float] = number(
        "validationFraction",
        "share of the rows, above 0 and below 1, drawn to validate instead of validationIndicatorCol.",
        0.0,
        math.nextafter(1.0, 0.0),
        open_low=True,
    )
    patience: Param[int] = integer(
        "patience", "with early stopping: iterations without a lower validation loss that end the fit, at least 1.", 1
    )


class HasSeed(Params):
    """What random draws follow from."""

    seed: Param[int] = Param(
        Params._dummy(),
        "seed",
        "of the rows that validate, of mini-batches, of samples, and of the order of the rows in packing.",
        TypeConverters.toInt,
    )


class HasStandardErrors(Params):
    """Which standard errors, and whether they are worth a pass."""

    computeStatistics: Param[bool] = flag("computeStatistics", "standard errors even where they take one more pass.")
    standardErrors: Param[str] = choice("standardErrors", "of the Hessian, or the sandwich HC0, HC1.", STANDARD_ERRORS)


class FitParams(
    HasRegParam,
    HasElasticNetParam,
    HasMaxIter,
    HasTol,
    HasFitIntercept,
    HasStandardization,
    HasWeightCol,
    HasAggregationDepth,
    HasMaxBlockSizeInMB,
    HasFeaturesCols,
    HasOffsetCol,
    HasPacking,
    HasDescent,
    HasMiniBatch,
    HasWarmStart,
    HasAggregation,
    HasEarlyStopping,
    HasSeed,
    HasBounds,
    HasOptional,
):
    """The Params that every family has, with pyspark.ml's defaults."""

    regParam = number("regParam", "strength of the penalty, at least 0.", 0.0)
    elasticNetParam = number("elasticNetParam", "share of L1 in the penalty: 0 is ridge, 1 is lasso.", 0.0, 1.0)
    maxIter = integer("maxIter", "largest number of iterations, at least 0.", 0)
    tol = number("tol", "estimated relative distance to the minimum at which to stop, at least 0.", 0.0)
    aggregationDepth = integer("aggregationDepth", "depth of the tree in which partitions are summed.", 1)
    maxBlockSizeInMB = number("maxBlockSizeInMB", "size in MB of the chunks of rows to work on; 0 is automatic.", 0.0)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            maxIter=100,
            regParam=0.0,
            elasticNetParam=0.0,
            tol=1e-6,
            fitIntercept=True,
            standardization=True,
            aggregationDepth=2,
            maxBlockSizeInMB=0.0,
            handleInvalid="error",
            optimizer="auto",
            warmStartEpochs=0,
            aggregation=WEIGHTED_MEAN,
            partitioning="as-is",
            dtype="float64",
            patience=5,
            seed=0,
        )
