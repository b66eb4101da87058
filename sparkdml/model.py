"""What the models share: features by name, scoring inside the JVM, persistence."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from pyspark.ml.base import PredictionModel
from pyspark.ml.linalg import DenseVector, Matrix, Vector
from pyspark.ml.wrapper import JavaWrapper
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkdml.array_model import ArrayModel
from sparkdml.assembly import OFFSET_COL, VECTOR_COL, augmented, feature_vectors
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.schema import quoted, require_numeric, resolve_features
from sparkdml.columns import offset_of
from sparkdml.engine.sessions import require_running
from sparkdml.errors import ColumnError, ParamError, StatisticsError
from sparkdml.linalg import compressed
from sparkdml.persistence import Persistable
from sparkdml.sklearn_twin import sklearn_twin
from sparkdml.summary import Scoring, Summary, TrainingSummary

SCORE_COL = "_sparkdml_score"
KNOWN_COL = "_sparkdml_known"


class LinearModel(Persistable, PredictionModel[Vector]):
    """Base of the fitted models, whose score of a row is coefficients . features + intercept (+ offset).

    A model of C scores has a matrix of coefficients, a row a score, and a vector of intercepts.

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
    _array_class: ClassVar[type[ArrayModel]]  # what scores arrays
    _pyspark_class: ClassVar[Any]  # the model of pyspark.ml, and the class that it wraps
    _java_class: ClassVar[str]
    _scoring_class: ClassVar[type[Scoring]] = Scoring
    _summary_class: ClassVar[type[Summary]]
    _training_summary_class: ClassVar[type[TrainingSummary]]
    _is_multinomial: bool = False  # whether each class has coefficients of its own

    def __init__(
        self,
        coefficients: Vector | Matrix | np.ndarray,
        intercept: float | DenseVector | np.ndarray,
        feature_names: tuple[str, ...],
        summary: Any = None,
        feature_means: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._weights = np.atleast_2d(_numbers(coefficients))  # (C, d)
        self._intercepts = np.atleast_1d(_numbers(intercept))  # (C,)
        self.featureNames = feature_names
        self.featureMeans = feature_means
        self._summary = summary

    @property
    def coefficients(self) -> Vector:
        """One a feature, per unit of the feature; sparse where most are zero."""
        return compressed(self._weights[0])

    @property
    def intercept(self) -> float:
        """Zero where none was fitted."""
        return float(self._intercepts[0])

    def to_pyspark(self) -> Any:
        """The model of `pyspark.ml` with the same coefficients and columns; it needs a running session.

        Raises ParamError where there is an offset that no such model adds.
        """
        if (offset := offset_of(self)) and not hasattr(self._pyspark_class, "offsetCol"):
            raise ParamError(
                f"offsetCol={offset!r}: {self._pyspark_class.__name__} of pyspark.ml adds no offset; score with "
                "`transform`, or clear offsetCol."
            )
        java_model = JavaWrapper._new_java_obj(self._java_class, self.uid, *self._java_arguments())
        model = self._pyspark_class(java_model)
        model._set(**self._twin_params())
        model._transfer_params_to_java()  # it does this itself in `transform`, but not in `predict` and `evaluate`
        return model

    @classmethod
    def from_pyspark(cls, model: Any, featureNames: Sequence[str] | None = None) -> Self:
        """A fitted model of `pyspark.ml` as one of ours, with its coefficients, columns and Params.

        Parameters
        ----------
        model : of the class that `to_pyspark` gives.
        featureNames : (d,); by default features[0], features[1], ..., after the features column.

        Raises
        ------
        TypeError : the model is of another class.
        ColumnError : there are more or fewer names than features.
        """
        if not isinstance(model, cls._pyspark_class):
            expected = cls._pyspark_class.__name__
            raise TypeError(
                f"from_pyspark needs a {expected} of pyspark.ml, not {type(model).__module__}.{type(model).__name__}."
            )
        names = tuple(featureNames or (f"{model.getFeaturesCol()}[{j}]" for j in range(model.numFeatures)))
        if len(names) != model.numFeatures:
            raise ColumnError(f"{len(names)} names for {model.numFeatures} features: featureNames needs one for each.")
        weights, intercepts = cls._of_twin(model)
        ours = cls(weights, intercepts, names)
        for param in model.params:
            if model.isSet(param) and ours.hasParam(param.name):
                ours._set(**{param.name: model.getOrDefault(param)})
        return ours._resetUid(model.uid)

    @classmethod
    def _of_twin(cls, model: Any) -> tuple[Any, Any]:
        """The coefficients and the intercept of a model of `pyspark.ml`."""
        return model.coefficients, model.intercept

    def to_arrays(self) -> ArrayModel:
        """The model as one that scores NumPy arrays in this process; what `sparkdml.load_model` loads."""
        params = {param.name: value for param, value in self.extractParamMap().items()}
        return self._array_class(self._weights, self._intercepts, self.featureNames, self.featureMeans, params)

    def predict(self, value: Vector) -> float:
        """The prediction for one vector of features, at the offset zero; NaN where a feature is NaN.

        `to_arrays` predicts many. Raises ColumnError where it is no vector of so many numbers.
        """
        return float(self.to_arrays().predict(self._row(value))[0])

    def _margins(self, value: Vector) -> np.ndarray:
        """The margins of one vector of features, at the offset zero, (1, C)."""
        return self.to_arrays().margins(self._row(value))

    def _row(self, value: Vector) -> np.ndarray:
        """One vector of features as a matrix of one row, (1, d)."""
        numbers, d = _numbers(value), len(self.featureNames)
        if numbers.shape != (d,):
            shape = f"the shape {numbers.shape}" if numbers.ndim != 1 else f"{len(numbers)} numbers"
            raise ColumnError(
                f"predict takes one vector of {d} numbers, and this has {shape}: of many rows, shape (n, {d}), "
                "model.to_arrays().predict(X) makes the predictions, and of a DataFrame model.transform(df)."
            )
        return numbers[None]

    def to_sklearn(self) -> Any:
        """The fitted estimator of scikit-learn that predicts the same; see `sparkdml.sklearn_twin`."""
        return sklearn_twin(self.to_arrays())

    def _java_arguments(self) -> tuple[Any, ...]:
        """What the model of `pyspark.ml` is made of."""
        return self.coefficients, self.intercept

    def _twin_params(self) -> dict[str, Any]:
        """The Params that the model of `pyspark.ml` needs to do the same."""
        names = ("featuresCol", "labelCol", "weightCol", *self._outputs)
        return {name: self.getOrDefault(name) for name in names if self.isDefined(name)}

    def evaluate(self, dataset: DataFrame) -> Any:
        """The summary of the model as it is now on a labelled table; its metrics are computed when they are asked for.

        A threshold set after the fit counts, where `pyspark.ml` keeps to the old one until it has transformed a table.
        """
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
        """Score in the JVM, lazily. A row whose features are missing gets nulls, unless means fill them.

        So does one without its offset.
        """
        require_running(dataset.sparkSession.sparkContext, "the DataFrame", "read it again")
        vectors = feature_vectors(dataset, self._input_columns(dataset), self.numFeatures, self.featureMeans)
        rows, model = dataset.withColumn(VECTOR_COL, vectors), self
        if offset := offset_of(self):
            rows, model = augmented(rows, offset, self.numFeatures), self._augmented()
        scorer, score = model.to_pyspark(), self.getOrDefault(self._score) or SCORE_COL
        scorer._set(featuresCol=VECTOR_COL, **{self._score: score})
        scored = scorer.transform(rows)
        # a column of its own, since Spark would test anew for each of the outputs
        scored = scored.withColumn(KNOWN_COL, ~F.isnan(self.number(self._score, quoted(score))))
        added = [name for output in self._outputs if (name := self._column(output))]
        described = {name: scored.schema[name].metadata for name in added}
        outputs = {name: F.when(F.col(KNOWN_COL), quoted(name)).alias(name, metadata=described[name]) for name in added}
        return scored.withColumns(outputs).drop(VECTOR_COL, SCORE_COL, KNOWN_COL)

    def _augmented(self) -> Self:
        """The model to which the offset is one more feature, the last, of coefficient one."""
        model = self.copy()
        model._weights = np.column_stack([self._weights, np.ones(len(self._weights))])
        model.featureNames = (*self.featureNames, OFFSET_COL)
        model.clear(model.getParam("offsetCol"))
        return model

    def _column(self, output: str) -> str:
        """What a column that `transform` adds is called; empty where it is not added."""
        return self.getOrDefault(output) if self.isDefined(output) else ""

    def number(self, output: str, column: Column) -> Column:
        """The one number that says it all of a column that `transform` adds; `output` is the Param that names it."""
        return column

    def _scoring(self, dataset: DataFrame | None) -> Scoring:
        """How to score a table with this model as it is now; columns that it does not add get their default names."""
        scorer = self.copy()
        scorer._set(**{name: name.removesuffix("Col") for name in self._outputs if not self._column(name)})
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
            predict=None if dataset is None else partial(_scored, scorer, dataset),
        )

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        values: dict[str, Any] = {"featureNames": list(self.featureNames), "summary": None}
        weights = self._weights if self._is_multinomial else self._weights[0]
        found = {"coefficients": weights, "intercept": self._intercepts}
        if self.featureMeans is not None:
            found["featureMeans"] = self.featureMeans
        if self._summary is not None:
            values["summary"], summary_arrays = self._summary._content()
            found.update({f"summary.{name}": array for name, array in summary_arrays.items()})
        return values, found

    def _check_loaded(self) -> None:
        self.to_arrays().check()

    def _bare(self) -> Self:
        """Return a copy without the summary and the means: what a fit starts from."""
        bare = self.copy()
        bare.featureMeans = bare._summary = None
        return bare

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        names = tuple(values["featureNames"])
        summary_arrays = {
            name.removeprefix("summary."): arrays.pop(name) for name in list(arrays) if name.startswith("summary.")
        }
        weights, intercepts, means = arrays["coefficients"], arrays["intercept"], arrays.get("featureMeans")
        model = cls._of_saved(weights, intercepts, names, means)
        if values["summary"] is not None:
            fitted = values["summary"].get("scoring", {}).get("fitIntercept", True)
            estimates = np.append(np.atleast_2d(weights).T.ravel(), intercepts if fitted else [])
            known = {"estimates": estimates, **summary_arrays}
            model._summary = model._training_summary_class._from_content(values["summary"], known, names)
        return model

    @classmethod
    def _of_saved(
        cls, weights: np.ndarray, intercepts: np.ndarray, names: tuple[str, ...], means: np.ndarray | None
    ) -> Self:
        """Return the model of saved arrays, without its Params and its summary."""
        return cls(weights, intercepts, names, None, means)

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
        if offset := offset_of(self):
            require_numeric(dataset.schema, offset, "the offset column")
        return columns


def _scored(model: LinearModel, table: DataFrame) -> DataFrame:
    """Return what a model predicts for the table of a summary; SessionError where the session of that has ended."""
    remedy = "read them again and take model.evaluate(df)"
    require_running(table.sparkSession.sparkContext, "the rows of this summary", remedy)
    return model.transform(table)


def _numbers(values: Any) -> np.ndarray:
    """A number, an array, or a vector or matrix of pyspark.ml as an array."""
    return np.asarray(values.toArray() if hasattr(values, "toArray") else values, float)
