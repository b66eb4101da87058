"""Losses by name. A new loss is one class in a file of its own and one entry here."""

from sparkdml.optim.losses.base import Loss
from sparkdml.optim.losses.squared_error import SquaredError

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SquaredError(),)}

__all__ = ["LOSSES", "Loss", "SquaredError"]
