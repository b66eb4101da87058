"""The Params that name the features and the offsets."""

from collections.abc import Mapping
from typing import Any, Self

from pyspark.ml.param import Param, Params, TypeConverters


class HasFeaturesCols(Params):
    """Numeric columns as features, without a vector column."""

    featuresCols: Param[list[str]] = Param(
        Params._dummy(),
        "featuresCols",
        "numeric columns to take as features, instead of featuresCol.",
        TypeConverters.toListString,
    )

    def copy(self, extra: Mapping[Any, Any] | None = None) -> Self:
        """As in pyspark.ml; of `featuresCol` and `featuresCols`, one in `extra` takes the place of the other.

        So the classifier of a OneVsRest, which hands its own featuresCol on, may have been given featuresCols.
        """
        copied: Self = super().copy(dict(extra or {}))
        given = {param.name for param in extra or {} if param.parent == self.uid}
        for name, other in (("featuresCol", "featuresCols"), ("featuresCols", "featuresCol")):
            if name in given and other not in given:
                copied.clear(copied.getParam(other))
        return copied


class HasOffsetCol(Params):
    """What is added to the margins, with a coefficient of one."""

    offsetCol: Param[str] = Param(
        Params._dummy(), "offsetCol", "numeric column that is added to the margin.", TypeConverters.toString
    )


def offset_of(params: Params) -> str | None:
    """The column of the offsets, or None."""
    return params.getOrDefault("offsetCol") or None if params.isDefined("offsetCol") else None
