"""Standardization as a change of variables: from the moments of the columns to a problem of equal scales."""

import numpy as np

from sparkdml.optim.bounds import Bounds
from sparkdml.optim.losses import Loss
from sparkdml.optim.penalties import elastic_net
from sparkdml.optim.problem import Problem


def standardized_problem(
    loss: Loss,
    *,
    mean: np.ndarray,
    deviation: np.ndarray,
    label_mean: float | np.ndarray,
    offset_mean: float = 0.0,
    regParam: float,
    elasticNetParam: float,
    fitIntercept: bool,
    standardization: bool,
    shift: np.ndarray,
    l2_divisor: float = 1.0,
    label_deviation: float = 1.0,
    bounds: Bounds | None = None,
) -> Problem:
    """The problem whose variables are u_j = scale_j w_j and the margin of the average row.

    With an intercept scale_j is the standard deviation of column j, and the columns are centred; without one it is
    the root mean square, about zero. A column that never changes has scale zero and keeps the coefficient zero.

    Parameters
    ----------
    loss : the pointwise loss.
    mean, deviation : of each column, weighted, (d,).
    label_mean, offset_mean : the start is the best constant prediction, link(label_mean), at the mean offset; of
        classes, `label_mean` is the share of each.
    regParam, elasticNetParam : of the penalty regParam (a ||v||_1 + (1 - a) / (2 l2_divisor) ||v||^2), where v_j is
        deviation_j w_j with `standardization`, else w_j.
    fitIntercept, standardization : as in pyspark.ml.
    label_deviation : where the constants of the loss start.
    shift : where a Gram matrix is centred, (d + 1,).
    bounds : of w and the intercepts, or None. Where an intercept has one, columns are not centred, since the bound
        would otherwise couple it with the coefficients.
    """
    centred = fitIntercept and not (bounds is not None and bounds.on_intercepts)
    center = mean if centred else np.zeros_like(mean)
    scale = deviation if centred else np.where(deviation > 0.0, np.hypot(deviation, mean), 0.0)
    unit = deviation if standardization else np.ones_like(deviation)
    factor = np.divide(unit, scale, out=np.zeros_like(scale), where=scale > 0.0)
    strengths = np.repeat(factor, loss.margins - loss.constants)
    best = loss.link(np.asarray(label_mean))[: loss.margins - loss.constants] - offset_mean
    average = best if fitIntercept else np.empty(0)
    average = np.append(average, np.full(loss.constants, label_deviation))
    start = np.append(np.zeros(len(strengths)), average)
    strengths = np.append(strengths, np.zeros(len(average)))
    penalty = elastic_net(regParam, elasticNetParam, l1_units=strengths, l2_units=strengths**2 / l2_divisor)
    if bounds is not None:
        penalty = penalty.within(*bounds.scaled(scale, len(start)))
    inside = penalty.l1.clip(start)
    return Problem(
        loss,
        penalty,
        center,
        scale,
        fitIntercept,
        inside,
        shift,
        bounds=bounds,
        offset_mean=offset_mean,
        confined=not np.array_equal(inside, start),
    )
