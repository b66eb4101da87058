"""The Params of linear regression."""

import math
from dataclasses import fields, replace
from typing import Any

from pyspark.ml.param.shared import HasLoss, HasSolver

from sparkdml.optim.losses import REGRESSION_LOSSES, Loss
from sparkdml.optim.solvers import ALIASES, SOLVERS
from sparkdml.params import FitParams, HasStandardErrors, choice, number

SHAPES = {"epsilon": "huber", "quantile": "quantile"}  # the loss that each Param of a loss is for


class LinearRegressionParams(FitParams, HasSolver, HasLoss, HasStandardErrors):
    """The Params of the estimator and of its model."""

    solver = choice("solver", "the method of minimization.", ["auto", *SOLVERS, *ALIASES])
    loss = choice("loss", "the loss of a row.", list(REGRESSION_LOSSES))
    epsilon = number(
        "epsilon",
        "with loss='huber': how many scales a residual is squared up to, above 1.",
        1.0,
        open_low=True,
    )
    quantile = number(
        "quantile",
        "with loss='quantile': which quantile of the label to predict, above 0 and below 1.",
        0.0,
        math.nextafter(1.0, 0.0),
        open_low=True,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="auto", loss="squaredError", epsilon=1.35, quantile=0.5)
        self._setDefault(computeStatistics=False, standardErrors="classical")

    def _loss(self) -> Loss:
        """The loss, with its own Params."""
        loss = REGRESSION_LOSSES[self.getOrDefault("loss")]
        return replace(loss, **{f.name: self.getOrDefault(f.name) for f in fields(loss) if self.hasParam(f.name)})
