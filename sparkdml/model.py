"""What the models share: features by name, scoring inside the JVM, persistence."""

from abc import abstractmethod
from typing import Any

import numpy as np
from pyspark.ml.base import PredictionModel
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.schema import quoted, resolve_features
from sparkdml.errors import ColumnError, StatisticsError
from sparkdml.persistence import Persistable

VECTOR_COL = "_sparkdml_features"


class LinearModel(Persistable, PredictionModel[Vector]):
    """Base of the fitted models.

    Attributes
    ----------
    featureNames : the names of the features, in the order of the coefficients.
    """

    def __init__(self, feature_names: tuple[str, ...], summary: Any = None) -> None:
        super().__init__()
        self.featureNames = feature_names
        self._summary = summary

    @abstractmethod
    def to_pyspark(self) -> Any:
        """The model of pyspark.ml with the same coefficients and columns."""

    @property
    def numFeatures(self) -> int:
        """The number of features."""
        return len(self.featureNames)

    @property
    def hasSummary(self) -> bool:
        """Whether the model knows how it was trained."""
        return self._summary is not None

    @property
    def summary(self) -> Any:
        """The training summary; `StatisticsError` where there is none."""
        if self._summary is None:
            raise StatisticsError(f"this {type(self).__name__} has no training summary: it was not made by a fit.")
        return self._summary

    def _transform(self, dataset: DataFrame) -> DataFrame:
        """Score in the JVM, lazily. A row whose features are missing gets a null prediction."""
        columns = self._input_columns(dataset)
        scorer = self.to_pyspark()
        scorer.setFeaturesCol(VECTOR_COL)
        scored = scorer.transform(dataset.withColumn(VECTOR_COL, _as_vector(dataset, columns, self.numFeatures)))
        prediction = quoted(self.getPredictionCol())
        known = ~F.isnan(prediction) if columns.kind != "vector" else quoted(columns.features[0]).isNotNull()
        return scored.withColumn(self.getPredictionCol(), F.when(known, prediction)).drop(VECTOR_COL)

    def _features(self) -> str | list[str]:
        """The features column, or the columns that are features."""
        return self.getOrDefault("featuresCols") if self.isDefined("featuresCols") else self.getFeaturesCol()

    def _input_columns(self, dataset: DataFrame) -> Columns:
        columns = resolve_features(dataset.schema, self._features())
        if columns.size not in (None, self.numFeatures):
            raise ColumnError(
                f"the features have {columns.size} columns but the model was trained on {self.numFeatures}: "
                f"{', '.join(self.featureNames[:20])}."
            )
        return columns


def _as_vector(dataset: DataFrame, columns: Columns, size: int) -> Column:
    """The features as one vector column, NaN where a number or the whole vector is missing."""
    nan = F.lit(float("nan"))
    if columns.kind == "scalars":
        return array_to_vector(F.array(*[F.coalesce(quoted(name).cast("double"), nan) for name in columns.features]))
    column = quoted(columns.features[0])
    nowhere = F.array_repeat(nan, size)
    if columns.kind == "vector":
        return F.coalesce(column, array_to_vector(nowhere))
    array = column.cast("array<double>")
    data_type = dataset.schema[columns.features[0]].dataType
    if isinstance(data_type, ArrayType) and data_type.containsNull:
        array = F.transform(array, lambda value: F.coalesce(value, nan))
    return array_to_vector(F.coalesce(array, nowhere))


def dense(values: np.ndarray) -> DenseVector:
    """An array as a vector of pyspark.ml."""
    return DenseVector(np.asarray(values, float))
