"""From Params and statistics to the problem that a fit minimizes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.ml.param import Params

from sparkdml.blocks.stats import Statistics
from sparkdml.bounds import bounds_of
from sparkdml.checks import require_coefficients
from sparkdml.engine.data import Data, gram_shift
from sparkdml.engine.null_model import null_model
from sparkdml.optim.losses import Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.standardize import standardized_problem


def training_problem(
    params: Params,
    data: Data,
    fold: int,
    loss: Loss,
    statistics: Statistics,
    deviation: np.ndarray,
    class_weights: Mapping[float, float] | None = None,
    **more: Any,
) -> Problem:
    """Return the problem of minimizing a loss over the rows outside a fold.

    With offsets and an intercept the best constant is found first, by some passes, unless it is infinite.

    Parameters
    ----------
    statistics : of these rows, with the weights of their classes.
    deviation : the units of the columns, (d,).
    more : arguments of `standardized_problem` other than those that the Params and the statistics give.
    """
    require_coefficients(params, statistics)
    weights = class_weights or {}
    decided = statistics.variance[-1] > 0.0 or loss.has_margin(statistics.center[-1])
    if statistics.net is not None and params.getOrDefault("fitIntercept") and decided:
        null = null_model(data, loss, statistics, fold, weights)
        more["null"] = null.margin, null.curvature
    names = ("regParam", "elasticNetParam", "fitIntercept", "standardization")
    chosen: dict[str, Any] = {name: params.getOrDefault(name) for name in names if name not in more}
    problem = standardized_problem(
        loss,
        mean=statistics.center[:-1],
        deviation=deviation,
        shift=gram_shift(statistics),
        bounds=bounds_of(params, loss.margins - loss.constants, len(deviation)),
        **{"label_mean": float(statistics.center[-1]), "offset_mean": statistics.mean_offset, **chosen, **more},
    )
    return replace(problem, fold=fold, aggregation=params.getOrDefault("aggregation"), class_weights=weights)
