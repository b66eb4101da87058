"""The Params of linear support vector machines."""

import math
from typing import Any

from pyspark.ml.param.shared import HasLoss, HasRawPredictionCol, HasSolver, HasThreshold

from sparkdml.classification.class_weight import HasClassWeight
from sparkdml.optim.losses import HINGE_LOSSES
from sparkdml.params import FitParams, choice, number

SOLVERS = ("auto", "newton", "subsampled-newton", "l-bfgs", "gd", "sgd", "local-sgd")


class LinearSVCParams(FitParams, HasSolver, HasLoss, HasThreshold, HasRawPredictionCol, HasClassWeight):
    """The Params of the estimator and of its model."""

    solver = choice("solver", "the method of minimization; sgd and local-sgd are for squaredHinge.", SOLVERS)
    loss = choice("loss", "the loss of a row.", list(HINGE_LOSSES))
    threshold = number("threshold", "a row whose margin is above this is predicted a 1; any number.", -math.inf)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="auto", loss="hinge", threshold=0.0)
