"""What the models share: features by name, scoring inside the JVM, persistence."""

from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from pyspark.ml.base import PredictionModel
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.ml.wrapper import JavaWrapper
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from sparkdml.arrays import require
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.schema import numbers_of, quoted, resolve_features
from sparkdml.errors import ColumnError, StatisticsError
from sparkdml.persistence import Persistable
from sparkdml.summary import Scoring, Summary, TrainingSummary

VECTOR_COL = "_sparkdml_features"
SCORE_COL = "_sparkdml_score"


class LinearModel(Persistable, PredictionModel[Vector]):
    """Base of the fitted models, whose score of a row is coefficients . features + intercept.

    Attributes
    ----------
    coefficients : one a feature, per unit of the feature.
    intercept : zero where none was fitted.
    featureNames : the names of the features, in the order of the coefficients.
    featureMeans : of the training rows, what a missing feature is replaced by; None without handleInvalid="mean".
    """

    _outputs: ClassVar[tuple[str, ...]] = ("predictionCol",)  # the Params that name the columns `transform` adds
    _score: ClassVar[str] = "predictionCol"  # the one that is NaN where a row cannot be scored
    numbers: ClassVar[tuple[str, ...]] = ("predictionCol",)  # those of which `number` makes all that a job writes
    _pyspark_class: ClassVar[Any]  # the model of pyspark.ml, and the class that it wraps
    _java_class: ClassVar[str]
    _scoring_class: ClassVar[type[Scoring]] = Scoring
    _summary_class: ClassVar[type[Summary]]
    _training_summary_class: ClassVar[type[TrainingSummary]]

    def __init__(
        self,
        coefficients: DenseVector,
        intercept: float,
        feature_names: tuple[str, ...],
        summary: Any = None,
        feature_means: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.coefficients = coefficients
        self.intercept = intercept
        self.featureNames = feature_names
        self.featureMeans = feature_means
        self._summary = summary

    def to_pyspark(self) -> Any:
        """The model of `pyspark.ml` with the same coefficients and columns; it needs a running session."""
        java_model = JavaWrapper._new_java_obj(self._java_class, self.uid, *self._twin_arguments())
        model = self._pyspark_class(java_model)
        model._set(**self._twin_params())
        model._transfer_params_to_java()  # it does this itself in `transform`, but not in `predict` and `evaluate`
        return model

    def _twin_arguments(self) -> tuple[Any, ...]:
        """What makes the model of `pyspark.ml`, after its uid."""
        return self.coefficients, float(self.intercept)

    def _twin_params(self) -> dict[str, Any]:
        """The Params that the model of `pyspark.ml` needs to do the same."""
        names = ("featuresCol", "labelCol", "weightCol", *self._outputs)
        return {name: self.getOrDefault(name) for name in names if self.isDefined(name)}

    def evaluate(self, dataset: DataFrame) -> Any:
        """The summary of the model on a labelled table; its metrics are computed when they are asked for."""
        if not isinstance(dataset, DataFrame):
            raise TypeError(f"dataset must be a DataFrame but got {type(dataset)}.")
        return self._summary_class(self._scoring(dataset))

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
        """Score in the JVM, lazily. A row whose features are missing gets nulls, unless means fill them."""
        columns = self._input_columns(dataset)
        scorer, score = self.to_pyspark(), self.getOrDefault(self._score) or SCORE_COL
        scorer._set(featuresCol=VECTOR_COL, **{self._score: score})
        means = None if self.featureMeans is None else self.featureMeans.tolist()
        vector = _as_vector(dataset, columns, self.numFeatures, means)
        scored = scorer.transform(dataset.withColumn(VECTOR_COL, vector))
        known = ~F.isnan(self.number(self._score, quoted(score)))
        added = [name for output in self._outputs if (name := self.getOrDefault(output))]
        return scored.withColumns({name: F.when(known, quoted(name)) for name in added}).drop(VECTOR_COL, SCORE_COL)

    def number(self, output: str, column: Column) -> Column:
        """The one number that says it all of a column that `transform` adds; `output` is the Param that names it."""
        return column

    def _score_one(self, value: Vector) -> float:
        """coefficients . features + intercept of one vector; a missing feature is its mean if there are means."""
        if self.featureMeans is not None:
            value = dense(np.where(np.isnan(value.toArray()), self.featureMeans, value.toArray()))
        return float(self.coefficients.dot(value)) + self.intercept  # type: ignore[arg-type]

    def _scoring(self, dataset: DataFrame | None) -> Scoring:
        """How to score a table with this model as it is now; columns that it does not add get their default names."""
        scorer = self.copy()
        scorer._set(**{name: name.removesuffix("Col") for name in self._outputs if not self.getOrDefault(name)})
        params = [f.name for f in fields(self._scoring_class) if self.hasParam(f.name) and f.name != "featuresCol"]
        features = self._features()
        chosen: dict[str, Any] = {
            name: scorer.getOrDefault(name) if scorer.isDefined(name) else None for name in params
        }
        return self._scoring_class(
            **chosen,
            featuresCol=features if isinstance(features, str) else ",".join(features),
            numFeatures=self.numFeatures,
            skip=self.getOrDefault("handleInvalid") == "skip",
            predict=None if dataset is None else lambda: scorer.transform(dataset),
        )

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values: dict[str, Any] = {"featureNames": list(self.featureNames), "summary": None}
        found = {"coefficients": self.coefficients.toArray(), "intercept": np.array([self.intercept])}
        if self.featureMeans is not None:
            found["featureMeans"] = self.featureMeans
        if self._summary is not None:
            values["summary"], summary_arrays = self._summary._content()
            found.update({f"summary.{name}": array for name, array in summary_arrays.items()})
        return values, found

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        require(set(values) == {"featureNames", "summary"}, "the model has unknown or missing fields")
        names = tuple(values["featureNames"])
        summary_arrays = {
            name.removeprefix("summary."): arrays.pop(name) for name in list(arrays) if name.startswith("summary.")
        }
        means = arrays.pop("featureMeans", None)
        require(set(arrays) == {"coefficients", "intercept"}, "the model has unknown or missing arrays")
        shapes = (arrays["coefficients"].shape, arrays["intercept"].shape)
        require(shapes == ((len(names),), (1,)), "the coefficients do not match the features' names")
        require(means is None or means.shape == (len(names),), "the means do not match the features' names")
        summary = None
        if values["summary"] is not None:
            summary = cls._training_summary_class._from_content(values["summary"], summary_arrays, names)
        return cls(dense(arrays["coefficients"]), float(arrays["intercept"][0]), names, summary, means)

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
    array = numbers_of(column) if columns.kind == "vector" else column.cast("array<double>")
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
