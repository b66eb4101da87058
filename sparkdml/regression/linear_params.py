"""The Params of linear regression."""

from typing import Any

from pyspark.ml.param.shared import HasLoss, HasSolver

from sparkdml.bounds import HasBounds
from sparkdml.optim.losses import REGRESSION_LOSSES
from sparkdml.optim.solvers import ALIASES, SOLVERS
from sparkdml.params import FitParams, HasStandardErrors, choice, number


class LinearRegressionParams(FitParams, HasSolver, HasLoss, HasStandardErrors, HasBounds):
    """The Params of the estimator and of its model."""

    solver = choice("solver", "the method of minimization.", ["auto", *SOLVERS, *ALIASES])
    loss = choice("loss", "the loss of a row.", list(REGRESSION_LOSSES))
    epsilon = number(
        "epsilon", "shape of the huber loss, above 1; other losses have no use for it.", 1.0, open_low=True
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="auto", loss="squaredError", epsilon=1.35)
        self._setDefault(computeStatistics=False, standardErrors="classical")
