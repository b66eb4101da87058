"""Losses by name. A new loss is one class in a file of its own and one entry here."""

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.generalized_linear import FAMILY_LINKS, GeneralizedLinear, generalized_linear
from sparkdml.optim.losses.logistic import Logistic
from sparkdml.optim.losses.softmax import Softmax
from sparkdml.optim.losses.squared_error import SquaredError

# Those that a linear regression may take, and all.
REGRESSION_LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SquaredError(),)}
LOSSES: dict[str, Loss] = {**REGRESSION_LOSSES, **{loss.name: loss for loss in (Logistic(),)}}

__all__ = [
    "FAMILY_LINKS",
    "LOSSES",
    "REGRESSION_LOSSES",
    "GeneralizedLinear",
    "Logistic",
    "Loss",
    "Softmax",
    "SquaredError",
    "generalized_linear",
]
