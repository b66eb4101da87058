"""What is looked at in packed data before a fit: what is refused, and what is warned of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.ml.param import Params

from sparkdml.blocks.stats import Statistics
from sparkdml.columns import offset_of
from sparkdml.engine.data import Data
from sparkdml.engine.robust import aggregate_statistics
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import ColumnError, DataError, DataWarning, ParamError, SolverError, warn
from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import Solver

SMALLEST = float(np.finfo(float).tiny)  # below it a float64 has fewer digits
LOST = 8 * np.finfo(float).eps  # standard deviations of less than this share of the mean are some steps of float64
BLURRED = 50  # steps of float32: rounding, by half a step, is more than 1 % of a smaller standard deviation
ROLE_PARAMS = {"weight": "weightCol", "offset": "offsetCol", "fold": "validationIndicatorCol"}
VALIDATES = 1  # the fold of the rows that do not train; the others are of fold 0


def column_of(params: Params, data: Data, role: str) -> Any:
    """The column of a role, for messages, or None; arrays have none, so that they are named by their roles."""
    if isinstance(data, SparkData):
        return data.columns.roles.get(role)
    return params.getOrDefault(f"{role}Col") if params.isDefined(f"{role}Col") else role


def training_statistics(
    data: Data, fold: int, class_weights: Mapping[float, float], label: str, weight: str | None
) -> Statistics:
    """The statistics of the rows outside a fold, with the weights of their classes.

    `label` and `weight`, None where there is none, are columns for messages. Raises DataError where no row trains, or
    where a sum of weights or of squares leaves the range of float64.
    """
    found = data.statistics_for(fold, class_weights)
    if not found.weight:
        raise DataError(
            f"of {data.statistics.count:,} rows none of positive weight is left to train: look at weightCol, at "
            "classWeight, and at how many rows validate."
        )
    columns = [*data.feature_names, label]
    _require_range(found, columns, weight)
    if found.concentration == 1.0 and np.any(found.low < found.high):
        warn_data("one row has all of the weight, so that the others are lost in rounding: look at weightCol.")
    _warn_rounding(found, columns)
    _warn_blurred(data, found, columns)
    if found.net is not None:
        _warn_rounding(found.net, _net_of(columns))
    return found


def robust_statistics(data: Data, aggregation: str, label: str, weight: str | None) -> Statistics:
    """As `training_statistics`, but such that a few partitions do not decide; DataError where most tell too little."""
    columns = [*data.feature_names, label]
    found = aggregate_statistics(data.statistics, data.partition_statistics, aggregation)
    _check_votes(data, found, aggregation, columns)
    _require_range(found, columns, weight)
    _warn_blurred(data, found, columns)
    return found


def _require_range(found: Statistics, columns: Sequence[str], weight: str | None) -> None:
    """Refuse weights and columns whose sums, or sums of squares, float64 does not hold with all digits."""
    if not SMALLEST <= found.weight < np.inf:
        whose = f"column {weight!r}" if weight else "classWeight"
        raise DataError(f"{whose} gives {found.count:,} rows weights that sum to {found.weight:g}: rescale them.")
    if not np.all(np.isfinite(found.m2)):
        raise DataError(_told_overflow(found, columns, int(np.argmin(np.isfinite(found.m2)))))
    lost = (found.low < found.high) & (np.minimum(found.m2, found.variance) < SMALLEST)
    if lost.any():
        j = int(np.argmax(lost))
        raise DataError(
            f"column {columns[j]!r} varies, between {found.low[j]:g} and {found.high[j]:g}, so little that its squares "
            "underflow: rescale the column, or leave it out."
        )
    if found.net is not None:
        _require_range(found.net, _net_of(columns), weight)


def _told_overflow(found: Statistics, columns: Sequence[str], j: int) -> str:
    """What is to be said of a column whose sum of squares is infinite: its values are too large, or its weights."""
    extreme = found.high[j] if found.high[j] >= -found.low[j] else found.low[j]
    if not found.vast[j]:
        return (
            f"column {columns[j]!r} reaches {extreme:g}, whose square times the weights, {found.weight:g} in all, "
            "overflows: rescale weightCol."
        )
    values, their = ("value", "its square overflows") if found.vast[j] == 1 else ("values", "their squares overflow")
    return (
        f"column {columns[j]!r} has {found.vast[j]:,} {values} too large to be fitted (such as {extreme:g}), since "
        f"{their}: correct or leave out such rows, or rescale the column."
    )


def _warn_rounding(found: Statistics, columns: Sequence[str]) -> None:
    """Warn of columns that can be computed with but say more of rounding than of the data."""
    _warn_narrow(found, columns, LOST * np.abs(found.center), "which is mostly rounding", "leave it out")


def _warn_blurred(data: Data, found: Statistics, columns: Sequence[str]) -> None:
    """Warn of features that are stored as float32 and vary by a few steps of it."""
    if data.dtype == "float32":
        steps = np.spacing(np.abs(found.center[:-1]).astype(np.float32))
        smallest = np.append(BLURRED * steps.astype(float), 0.0)
        _warn_narrow(found, columns, smallest, "of which float32 keeps few digits", "set dtype='float64'")


def _warn_narrow(found: Statistics, columns: Sequence[str], smallest: np.ndarray, why: str, remedy: str) -> None:
    """Warn of the first column that varies, but with a standard deviation below the smallest good one, (d + 1,)."""
    deviation = np.sqrt(found.variance)
    if (lost := (deviation > 0.0) & (deviation < smallest)).any():
        j = int(np.argmax(lost))
        warn_data(
            f"column {columns[j]!r} varies by {deviation[j]:.1g} about {found.center[j]:g}, {why}: subtract a constant "
            f"from it where it is made, or {remedy}."
        )


def _net_of(columns: Sequence[str]) -> list[str]:
    """What the statistics net of offsets are of."""
    return [f"{columns[-1]} - offset"]


def check_packed(params: Params, data: Data) -> None:
    """Raise where the Params ask for other columns, rows that validate, partitions or storage than were packed."""
    if params.isDefined("validationFraction"):
        wanted = params.getOrDefault("validationFraction"), params.getOrDefault("seed")
        if wanted != data.validation:
            share, seed = data.validation
            raise ParamError(
                f"validationFraction={wanted[0]} with seed={wanted[1]}, but the data were packed with "
                f"validationFraction={share} and seed={seed}: pack them with those of the fit."
            )
    if params.isSet("dtype") and params.getOrDefault("dtype") != data.dtype:
        raise ParamError(
            f"dtype={params.getOrDefault('dtype')!r} but the data are {data.dtype}: give it to `pack`, or clear it."
        )
    if params.isSet("numPartitions") and params.getOrDefault("numPartitions") != data.tasks:
        raise ParamError(
            f"numPartitions={params.getOrDefault('numPartitions')} but a pass over the data has {data.tasks} tasks: "
            "give it to `pack`, or clear it."
        )
    if params.isSet("partitioning") and params.getOrDefault("partitioning") != data.partitioning:
        raise ParamError(
            f"partitioning={params.getOrDefault('partitioning')!r} but the data were packed with "
            f"{data.partitioning!r}: give it to `pack`, or clear it."
        )
    if isinstance(data, SparkData):
        _check_columns(params, data)
    else:
        _check_arrays(params, data)


def _check_arrays(params: Params, data: Data) -> None:
    """Raise where the Params ask for what arrays have not; of a column that they have, the name does not matter."""
    for role, name in ROLE_PARAMS.items():
        if params.isSet(name) and params.getOrDefault(name) and role not in data.roles:
            raise ColumnError(
                f"{name}={params.getOrDefault(name)!r} but the data have no {role}: give it to `LocalData`, or clear "
                f"{name}."
            )
    known = len(data.feature_names)
    named = len(params.getOrDefault("featuresCols")) if params.isSet("featuresCols") else known
    if named != known:
        raise ColumnError(
            f"featuresCols names {named} columns but the data have {known}: give `LocalData` those columns, or clear "
            "featuresCols."
        )


def _check_columns(params: Params, data: SparkData) -> None:
    """Raise where the Params ask for other columns than were packed."""
    if (offset := offset_of(params)) != (added := data.columns.roles.get("offset")):
        raise ColumnError(
            f"offsetCol={offset!r} but the data were packed with {added!r}: pack them with the same column."
        )
    packed = {"labelCol": data.columns.roles["label"], "weightCol": data.columns.roles.get("weight")}
    packed |= {"featuresCol": data.columns.features[0], "validationIndicatorCol": data.columns.roles.get("fold")}
    for name, column in packed.items():
        if params.isSet(name) and params.getOrDefault(name) != column:
            raise ColumnError(
                f"{name}={params.getOrDefault(name)!r} but the data were packed with {column!r}: pack them with the "
                f"same columns, or clear {name}."
            )
    if params.isSet("featuresCols") and tuple(params.getOrDefault("featuresCols")) != data.columns.features:
        raise ColumnError("featuresCols are not the columns that were packed: pack them with the same columns.")


def check_validation(params: Params, data: Data, class_weights: Mapping[float, float]) -> None:
    """Refuse an indicator that has other values than true and false, and one that is never true."""
    column = params.getOrDefault("validationIndicatorCol") if params.isDefined("validationIndicatorCol") else None
    parts = data.cells.parts.items() if "fold" in data.roles else ()
    if others := [(fold, part.count) for (fold, _), part in parts if fold not in (0, VALIDATES)]:
        fold, count = others[0][0], sum(count for _, count in others)
        found = "many values" if fold is None else f"{count:,} value{'s' * (count > 1)}, such as {fold},"
        raise DataError(
            f"column {column!r} has {found} other than 0 and 1: it must be boolean, or 1 in the rows that validate and "
            "0 in those that train."
        )
    if not data.cells.inside(VALIDATES).total.weight_of_classes(class_weights):
        mark = f"set column {column!r} to 1 in some" if column else "name a column that marks some"
        remedy = f"{mark} (validationIndicatorCol), or take a larger validationFraction"
        raise DataError(f"of {data.statistics.count:,} rows none of positive weight validates: {remedy}.")


def _check_votes(data: Data, found: Statistics, aggregation: str, columns: Sequence[str]) -> None:
    """Refuse, or warn of, partitions too few or too different for the most of them to be right."""
    if data.partitions < 3:
        warn_data(
            f"aggregation={aggregation!r} over {data.partitions} partitions outvotes none: set numPartitions to 3 or "
            "more."
        )
    lost = np.flatnonzero((found.variance == 0.0) & (data.statistics.variance != 0.0))
    if len(columns) - 1 in lost:
        raise DataError(
            f"column {columns[-1]!r} is {found.center[-1]:g} throughout most partitions, so that "
            f"aggregation={aggregation!r} sees no other label: spread the rows by df.repartition({data.partitions})."
        )
    if len(lost):
        warn_data(
            f"{len(lost)} columns, such as {columns[lost[0]]!r}, never change within most partitions, so that with "
            f"aggregation={aggregation!r} they get the coefficient zero."
        )


def require_coefficients(params: Params, statistics: Statistics) -> None:
    """Refuse a model with neither a feature nor an intercept."""
    if len(statistics.mean) == 1 and not params.getOrDefault("fitIntercept"):
        raise DataError(
            f"column {params.getOrDefault('featuresCol')!r} has {statistics.count:,} vectors of no number: with "
            "fitIntercept=False there is nothing to fit; give it a feature."
        )


def require_room(data: Data, problem: Problem, solver: Solver) -> None:
    """Refuse to bring more to the driver than it can hold, instead of ending it."""
    size = sum(query.size for query in solver.largest_queries(problem))
    if problem.aggregation == WEIGHTED_MEAN:
        require_matrix(data, size, f"solver={solver.name!r}")
        return
    size *= data.partitions
    if not data.fits_driver(size):
        raise SolverError(
            f"aggregation={problem.aggregation!r} brings {data.partitions} gradients of {size >> 20:,} MB in all to "
            "the driver, more than a quarter of what it can receive: raise spark.driver.memory and "
            "spark.driver.maxResultSize, or pack fewer partitions (df.coalesce)."
        )


def require_matrix(data: Data, size: int, what: str) -> None:
    """Refuse matrices of so many bytes that the driver cannot hold, instead of ending the driver with them."""
    if not data.fits_driver(size):
        raise SolverError(
            f"{what} needs sums of {size >> 20:,} MB, more than a quarter of what the driver can receive: raise "
            "spark.driver.memory and spark.driver.maxResultSize, or take solver='l-bfgs' without standard errors."
        )


def warn_constant_columns(statistics: Statistics, problem: Problem) -> None:
    """Warn of columns that are kept at zero although they could stand in for the intercept that is not there."""
    constant = np.flatnonzero(problem.scale == 0.0)
    if len(constant) and not problem.fit_intercept and np.any(statistics.center[constant]):
        warn_data(f"without an intercept {len(constant)} constant non-zero columns still get the coefficient zero.")


def every_label(params: Params, data: Data) -> str:
    """What messages call labels that are all the same."""
    return f"in column {column_of(params, data, 'label')!r} every label"


def warn_constant_label(statistics: Statistics, problem: Problem, so: str, label: str) -> None:
    """Warn of labels that are all the same, whatever `label` calls them, and say what comes of it.

    That is `so`, unless bounds keep the model from the constant that the labels are.
    """
    if problem.confined:
        so = "only the bounds keep the coefficients from zero"
    warn_data(f"{label} is {statistics.center[-1]:g}: {so}.")


def warn_one_class(statistics: Statistics, label: str) -> None:
    """Warn of labels of one class where there is no intercept that could say so."""
    warn_data(
        f"{label} is {statistics.center[-1]:g}: without an intercept the coefficients say only on which side the rows "
        "lie."
    )


def settle_infinite(statistics: Statistics, problem: Problem, label: str) -> Problem:
    """The problem of labels that are all the same and that no finite intercept predicts, of which it warns.

    There is nothing to find, unless bounds keep the model from that constant.
    """
    so = "all coefficients are zero, and the intercept stands for an infinite one"
    warn_constant_label(statistics, problem, so, label)
    return problem if problem.confined else problem.settle()


def warn_data(message: str) -> None:
    """Warn of data that can be fitted but are probably not what was meant."""
    warn(message, DataWarning)
