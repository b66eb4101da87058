"""What the models share: features by name, scoring inside the JVM, persistence."""

from abc import abstractmethod
from typing import Any

import numpy as np
from pyspark.ml.base import PredictionModel
from pyspark.ml.functions import array_to_vector, vector_to_array
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
    featureMeans : of the training rows, what a missing feature is replaced by; None without handleInvalid="mean".
    """

    def __init__(
        self, feature_names: tuple[str, ...], summary: Any = None, feature_means: np.ndarray | None = None
    ) -> None:
        super().__init__()
        self.featureNames = feature_names
        self.featureMeans = feature_means
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
        """Score in the JVM, lazily. A row whose features are missing gets a null prediction, unless means fill them."""
        columns = self._input_columns(dataset)
        scorer = self.to_pyspark()
        scorer.setFeaturesCol(VECTOR_COL)
        means = None if self.featureMeans is None else self.featureMeans.tolist()
        vector = _as_vector(dataset, columns, self.numFeatures, means)
        scored = scorer.transform(dataset.withColumn(VECTOR_COL, vector))
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


def _as_vector(dataset: DataFrame, columns: Columns, size: int, means: list[float] | None) -> Column:
    """The features as one vector column; a missing number is its mean if there are means, else NaN; no row is null."""
    nan = F.lit(float("nan"))
    if columns.kind == "scalars":
        numbers = [quoted(name).cast("double") for name in columns.features]
        return array_to_vector(F.array(*map(_present_or, numbers, map(F.lit, means or [float("nan")] * size))))
    column = quoted(columns.features[0])
    nowhere = F.array_repeat(nan, size)
    if columns.kind == "vector" and means is None:
        return F.coalesce(column, array_to_vector(nowhere))
    array = vector_to_array(column) if columns.kind == "vector" else column.cast("array<double>")
    data_type = dataset.schema[columns.features[0]].dataType
    if means is not None:
        array = F.zip_with(array, F.lit(means), _present_or)
    elif isinstance(data_type, ArrayType) and data_type.containsNull:
        array = F.transform(array, lambda value: F.coalesce(value, nan))
    return array_to_vector(F.coalesce(array, nowhere))


def _present_or(number: Column, otherwise: Column) -> Column:
    """The number, or what stands for it where it is null or NaN."""
    return F.coalesce(F.nanvl(number, F.lit(None).cast("double")), otherwise)


def dense(values: np.ndarray) -> DenseVector:
    """An array as a vector of pyspark.ml."""
    return DenseVector(np.asarray(values, float))
