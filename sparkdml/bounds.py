"""The Params that bound coefficients and intercepts."""

import math
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.param import Param, Params

from sparkdml.errors import ParamError
from sparkdml.linalg import dense, matrix
from sparkdml.optim.bounds import Bounds


def _bound(name: str, dimensions: int, value: Any) -> Any:
    """A number, or a matrix (a vector, of one dimension); infinities may be text, as in JSON."""
    try:
        found = np.array(value.toArray() if hasattr(value, "toArray") else value, float)
    except ValueError as problem:
        raise TypeError(f"{name}={value!r} is neither a number nor numbers") from problem
    if found.ndim > dimensions or np.any(np.isnan(found)):
        kind = "a matrix, a row a class" if dimensions == 2 else "a vector, a number a class"
        raise ParamError(f"{name}={value!r}: it must be a number for all, such as 0, or {kind}, without NaN.")
    if not found.ndim:
        return float(found)
    return dense(found) if dimensions == 1 else matrix(np.atleast_2d(found))


def _bound_param(name: str, doc: str, dimensions: int) -> Param[Any]:
    return Param(Params._dummy(), name, f"{doc}, infinite for none.", partial(_bound, name, dimensions))


class HasBounds(Params):
    """The box of the coefficients and intercepts."""

    lowerBoundsOnCoefficients: Param[Any] = _bound_param(
        "lowerBoundsOnCoefficients", "a number that no coefficient is below, or a matrix, a row a class", 2
    )
    upperBoundsOnCoefficients: Param[Any] = _bound_param(
        "upperBoundsOnCoefficients", "a number that no coefficient is above, or a matrix, a row a class", 2
    )
    lowerBoundsOnIntercepts: Param[Any] = _bound_param(
        "lowerBoundsOnIntercepts", "a number that no intercept is below, or a vector, a number a class", 1
    )
    upperBoundsOnIntercepts: Param[Any] = _bound_param(
        "upperBoundsOnIntercepts", "a number that no intercept is above, or a vector, a number a class", 1
    )


def is_bounded(params: Params) -> bool:
    """Whether some bound is set."""
    return any(params.isDefined(param.name) for param in HasBounds().params)


def bounds_of(params: Params, scores: int, features: int) -> Bounds | None:
    """The box of so many rows of coefficients; ParamError where it has another shape, or nothing in it."""
    shapes = {"Coefficients": (scores, features), "Intercepts": (scores,)}
    sides = [_side(params, f"{side}BoundsOn{what}", shapes[what]) for what in shapes for side in ("lower", "upper")]
    for what, (low, high) in zip(shapes, (sides[:2], sides[2:]), strict=True):
        if np.any(crossed := low > high):
            at = tuple(np.argwhere(crossed)[0])
            raise ParamError(
                f"lowerBoundsOn{what}={low[at]:g} is above {high[at]:g}=upperBoundsOn{what}: exchange them."
            )
    bounds = Bounds(sides[0].T, sides[1].T, sides[2], sides[3])
    if bounds.on_intercepts and not params.getOrDefault("fitIntercept"):
        raise ParamError(
            "lowerBoundsOnIntercepts and upperBoundsOnIntercepts are for intercepts: set fitIntercept=True, or clear "
            "them."
        )
    return None if bounds.empty else bounds


def _side(params: Params, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One side of the box, of a shape."""
    nowhere = math.inf if name.startswith("upper") else -math.inf
    value = params.getOrDefault(name) if params.isDefined(name) else nowhere
    found = value.toArray() if hasattr(value, "toArray") else np.full(shape, value)
    if found.shape != shape:
        layout = "a row a class and a column a feature" if len(shape) == 2 else "a number a class"
        raise ParamError(f"{name} are {found.shape} numbers: they must be {shape}, {layout}.")
    if np.any(found == -nowhere):
        raise ParamError(f"{name} has {-nowhere:g}, within which there is no number: {nowhere:g} stands for no bound.")
    return found
