"""The intercept-only model of rows with offsets: the constant that minimizes the loss when the offsets are added."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkdml.blocks.stats import Statistics
from sparkdml.engine.data import Data
from sparkdml.optim.line_minimum import LineMinimum
from sparkdml.optim.losses import Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Line, LineSums

POINTS = 12  # of the first pass: far enough from each other to reach from end to end, and to show where F is lowest
NEAR = 1e-6  # share of the domain, next to an end at which no mean exists, that the first pass leaves out


@dataclass(frozen=True)
class NullModel:
    """The best constant c in the margins c + offset, of a loss of one margin.

    Attributes
    ----------
    margin : c.
    loss : the mean weighted loss there.
    curvature : its second derivative by c.
    passes, bytes_down, bytes_up : what the search took.
    """

    margin: float
    loss: float
    curvature: float
    passes: int = 0
    bytes_down: int = 0
    bytes_up: int = 0


def null_model(
    data: Data, loss: Loss, statistics: Statistics, fold: int = -1, class_weights: Mapping[float, float] | None = None
) -> NullModel:
    """Find the best constant by four to six passes, the first time that these rows are asked for it.

    Parameters
    ----------
    statistics : of the rows outside the fold, with the weights of their classes.
    """
    weights = class_weights or {}
    key = _key(loss, fold, weights)
    if key not in data.null_models:
        data.null_models[key] = _found(data, loss, statistics, fold, weights)
    return data.null_models[key]


def known_null(data: Data, problem: Problem) -> NullModel | None:
    """Return the model that the problem starts from or is compared with, if it took passes."""
    if problem.null is None:
        return None
    return data.null_models.get(_key(problem.loss, problem.fold, problem.class_weights))


def _key(loss: Loss, fold: int, class_weights: Mapping[float, float]) -> tuple[Any, ...]:
    return loss, fold, frozenset(class_weights.items())


def _found(
    data: Data, loss: Loss, statistics: Statistics, fold: int, class_weights: Mapping[float, float]
) -> NullModel:
    nothing, one = np.zeros((len(data.feature_names), 1)), np.ones(1)
    search, before = _begun(loss, statistics), (data.passes, data.bytes_down, data.bytes_up)
    while not search.done:
        query = Line(loss, nothing, 0.0 * one, nothing, one, search.points, fold, class_weights=class_weights)
        (sums,) = data.run([query])
        assert isinstance(sums, LineSums)
        search = search.narrowed(sums.values / sums.weight, sums.slopes / sums.weight)
    spent = np.subtract((data.passes, data.bytes_down, data.bytes_up), before).tolist()
    return NullModel(search.minimum, search.value, search.curvature, *spent)


def _begun(loss: Loss, statistics: Statistics) -> LineMinimum:
    """The search, between the constants that would be best for the most extreme rows alone.

    Where a margin below zero has no mean, the domain ends at minus the smallest offset.
    """
    lowest, highest = statistics.offsets
    margins = np.sort(loss.link(np.array([statistics.low[-1], statistics.high[-1]]))[:, 0])
    if not loss.anywhere:
        away = np.geomspace(NEAR, 1.0, POINTS) * np.abs(margins).max()
        if not np.any(loss.valid(np.full((1, 1), -1.0))):
            return LineMinimum(away - lowest, low=-lowest)
        return LineMinimum(np.sort(np.concatenate([away - lowest, -away - highest])))
    return LineMinimum(np.linspace(margins[0] - highest, margins[1] - lowest, POINTS))
