"""The Params that name the features and the offsets."""

from pyspark.ml.param import Param, Params, TypeConverters


class HasFeaturesCols(Params):
    """Numeric columns as features, without a vector column."""

    featuresCols: Param[list[str]] = Param(
        Params._dummy(),
        "featuresCols",
        "numeric columns to take as features, instead of featuresCol.",
        TypeConverters.toListString,
    )


class HasOffsetCol(Params):
    """What is added to the margins, with a coefficient of one."""

    offsetCol: Param[str] = Param(
        Params._dummy(), "offsetCol", "numeric column that is added to the margin.", TypeConverters.toString
    )


def offset_of(params: Params) -> str | None:
    """The column of the offsets, or None."""
    return params.getOrDefault("offsetCol") or None if params.isDefined("offsetCol") else None
