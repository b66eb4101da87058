"""The table of a recipe as a DataFrame."""

from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType

from sparkdml.datasets.recipe import LABEL, VECTOR, Recipe, partition_rows
from sparkdml.datasets.rows import make_partitions
from sparkdml.datasets.signal import truth


def make_table(spark: SparkSession, recipe: Recipe) -> DataFrame:
    """The table of a recipe, lazily: a double column ``label`` after the features.

    Each task makes one partition, in batches of some 8 MB; nothing is held on the driver. Vectors are sparse where
    `density` is below 2/3.

    Examples
    --------
    >>> recipe = Recipe(rows=1000, features=2, density=0.5, layout="vector", seed=7)
    >>> table = make_table(spark, recipe)
    >>> table
    DataFrame[features: vector, label: double]
    >>> table.count()
    1000
    """
    partitions = len(partition_rows(recipe))
    make = partial(make_partitions, recipe, truth(recipe).intercept)
    return spark.range(0, partitions, 1, partitions).mapInArrow(make, _schema(recipe))


def _schema(recipe: Recipe) -> StructType:
    label = StructField(LABEL, DoubleType(), nullable=False)
    if recipe.layout == "vector":
        from pyspark.ml.linalg import VectorUDT  # here, so that workers that make columns never load pyspark.ml

        return StructType([StructField(VECTOR, VectorUDT(), nullable=False), label])
    nullable = recipe.missing > 0
    return StructType([*(StructField(name, DoubleType(), nullable) for name in recipe.feature_names), label])
