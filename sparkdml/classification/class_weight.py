"""Weights of classes: the Param, and the weights that it makes."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyspark.ml.param import Param, Params

from sparkdml.blocks.stats import Statistics
from sparkdml.errors import ParamError
from sparkdml.optim.aggregation import ROBUST


def class_weight(value: Any) -> str | dict[float, float]:
    """The value of classWeight: "balanced", or the weight of each class, also as text; what is wrong is refused.

    >>> class_weight({1: 5}), class_weight("0=0.5,1=2"), class_weight("{0: 0.5, 1: 2}")
    ({1.0: 5.0}, {0.0: 0.5, 1.0: 2.0}, {0.0: 0.5, 1.0: 2.0})
    """
    if not isinstance(value, str | Mapping):
        raise TypeError(f"classWeight={value!r} is neither text nor a dictionary")
    if value == "balanced":
        return "balanced"
    try:
        found = {float(label): float(weight) for label, weight in _pairs(value)}
    except (TypeError, ValueError):
        raise ParamError(
            f"classWeight={value!r} is neither 'balanced' nor weights of labels, such as {{0: 1, 1: 5}} or '0=1,1=5'."
        ) from None
    for label, weight in found.items():
        if not 0.0 <= weight < math.inf:
            raise ParamError(f"classWeight has the weight {weight:g} for label {label:g}: it must be zero or more.")
    return found


def _pairs(value: str | Mapping) -> Iterable[Any]:
    """The labels and weights of a dictionary, or of text, which may be that of a dictionary."""
    if isinstance(value, Mapping):
        return value.items()
    return [each.replace(":", "=").split("=") for each in value.strip().removeprefix("{").removesuffix("}").split(",")]


def told_classes(classes: int | None) -> str:
    """The labels of so many classes, as messages tell them.

    >>> told_classes(1), told_classes(2), told_classes(5)
    ('0 alone', '0 and 1', '0 to 4')
    """
    return {1: "0 alone", 2: "0 and 1"}.get(classes or 1, f"0 to {(classes or 1) - 1}")


class HasClassWeight(Params):
    """What the weights of the rows of each class are multiplied by."""

    classWeight: Param[Any] = Param(
        Params._dummy(),
        "classWeight",
        "what weights are multiplied by: balanced, or a number for each label, 0=1,1=5 in text.",
        class_weight,
    )

    def _check_class_aggregation(self) -> None:
        """Refuse an aggregation that knows no weights of classes."""
        if self.isDefined("classWeight") and self.getOrDefault("aggregation") in ROBUST:
            raise ParamError(
                f"aggregation={self.getOrDefault('aggregation')!r} knows no weights of classes: take "
                "'weighted_mean', or put the weights into weightCol."
            )

    def _check_class_weight(self, classes: int) -> None:
        """Refuse weights of classes that there are not, and no weight at all."""
        weights = self.getOrDefault("classWeight") if self.isDefined("classWeight") else {}
        if weights == "balanced":
            return
        if other := sorted(set(weights) - set(range(classes))):
            raise ParamError(f"classWeight names the label {other[0]:g}: the labels are {told_classes(classes)}.")
        if not any(weights.get(label, 1.0) for label in range(classes)):
            raise ParamError("classWeight is zero for all labels, so that no row counts: one must be positive.")

    def _class_weights(self, statistics: Callable[[], Statistics]) -> dict[float, float]:
        """What the weights of the rows of each class are multiplied by; "balanced" is of the rows that train."""
        chosen = self.getOrDefault("classWeight") if self.isDefined("classWeight") else {}
        if chosen != "balanced":
            return dict(chosen)
        labels = statistics().labels or {}
        weights = {label: weight for label, (_, weight) in labels.items() if weight > 0.0}
        return {label: sum(weights.values()) / (len(weights) * weight) for label, weight in weights.items()}
