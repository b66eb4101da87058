"""Losses by name. A new loss is one class in a file of its own and one entry here."""

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.generalized_linear import FAMILY_LINKS, GeneralizedLinear, generalized_linear
from sparkdml.optim.losses.hinge import Hinge, SquaredHinge
from sparkdml.optim.losses.huber import Huber
from sparkdml.optim.losses.kinked import Kinked
from sparkdml.optim.losses.logistic import Logistic
from sparkdml.optim.losses.quantile import Quantile
from sparkdml.optim.losses.softmax import Softmax
from sparkdml.optim.losses.squared_error import SquaredError

# Those that a linear regression may take, those of a support vector machine, and all.
REGRESSION_LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SquaredError(), Huber(), Quantile())}
HINGE_LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Hinge(), SquaredHinge())}
LOSSES: dict[str, Loss] = {**REGRESSION_LOSSES, **HINGE_LOSSES, **{loss.name: loss for loss in (Logistic(),)}}

__all__ = [
    "FAMILY_LINKS",
    "HINGE_LOSSES",
    "LOSSES",
    "REGRESSION_LOSSES",
    "GeneralizedLinear",
    "Hinge",
    "Huber",
    "Kinked",
    "Logistic",
    "Loss",
    "Quantile",
    "Softmax",
    "SquaredError",
    "SquaredHinge",
    "generalized_linear",
]
