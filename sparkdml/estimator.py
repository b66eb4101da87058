"""What the estimators share: from a DataFrame, or packed data, and Params to fitted models."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from pyspark.ml.base import Predictor, Transformer, _FitMultipleIterator
from pyspark.sql import DataFrame

from sparkdml.blocks.block import CHUNK_BYTES
from sparkdml.blocks.cells import NO_FOLD
from sparkdml.blocks.schema import quoted
from sparkdml.blocks.stats import Statistics
from sparkdml.engine.data import Data, Reading, gram_shift
from sparkdml.engine.minimize import Fit, minimize
from sparkdml.engine.spark_data import SparkData, pack
from sparkdml.errors import ColumnError, ColumnTypeError, ConvergenceWarning, DataError, DataWarning, ParamError
from sparkdml.model import dense
from sparkdml.optim.losses import Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import SOLVERS, EarlyStopping, GradientDescent, Solver
from sparkdml.optim.solvers.rule_descent import RuleDescent
from sparkdml.optim.standardize import standardized_problem
from sparkdml.persistence import Persistable
from sparkdml.summary import Metrics, Training

M = TypeVar("M", bound=Transformer)
Dataset: TypeAlias = DataFrame | Data

VALIDATES = 1  # the fold of the rows that do not train; the others are of fold 0


class LinearEstimator(Persistable, Predictor[M], Generic[M]):
    """Base of the estimators. A family says how its Params make a problem, and how a fit makes a model.

    `fit` takes a DataFrame, which it packs and releases, or data that the caller packed. Several param maps, given to
    `fit` or `fitMultiple`, share the packing and every pass.
    """

    _data_params: ClassVar[tuple[str, ...]] = (
        "featuresCol",
        "featuresCols",
        "labelCol",
        "weightCol",
        "numPartitions",
        "handleInvalid",
        "validationFraction",
        "seed",
    )

    def _check_params(self) -> None:
        """Refuse Params that contradict each other, before the rows are read."""
        chosen = {name: value for name, value in self._descent().items() if value is not None}
        if chosen and self.getOrDefault("solver") != GradientDescent.name:
            name, value = next(iter(chosen.items()))
            raise ParamError(f"{name}={value!r} is for solver='gd', not {self.getOrDefault('solver')!r}.")
        if "momentum" in chosen and chosen.get("optimizer") not in ("momentum", "nesterov"):
            raise ParamError(f"momentum={chosen['momentum']!r} is for optimizer='momentum' or 'nesterov'.")
        if self.isDefined("validationIndicatorCol") and self.isDefined("validationFraction"):
            raise ParamError(
                f"validationIndicatorCol={self.getOrDefault('validationIndicatorCol')!r} and validationFraction="
                f"{self.getOrDefault('validationFraction')} both choose the rows that validate: set one of them."
            )
        if self.isSet("patience") and not self._stops_early():
            raise ParamError("patience is for early stopping: set validationIndicatorCol or validationFraction too.")

    def _stops_early(self) -> bool:
        """Whether some rows validate instead of training."""
        return self.isDefined("validationIndicatorCol") or self.isDefined("validationFraction")

    @property
    def _held_out(self) -> int:
        """The fold of the rows that do not train."""
        return VALIDATES if self._stops_early() else NO_FOLD

    def _descent(self) -> dict[str, Any]:
        """What the user chose of how to descend; None where that is left to the solver."""
        optimizer = self.getOrDefault("optimizer")
        found = {"optimizer": None if optimizer == "auto" else optimizer}
        names = ("learningRate", "stepSize", "momentum")
        return found | {name: self.getOrDefault(name) if self.isDefined(name) else None for name in names}

    def _make_solver(self, name: str) -> Solver:
        """The solver of a name, with the Params that it has."""
        limits: dict[str, Any] = {"tol": self.getOrDefault("tol"), "max_iter": self.getOrDefault("maxIter")}
        words = {"optimizer": "optimizer", "learningRate": "learning_rate", "stepSize": "step_size"}
        chosen = {words.get(param, param): value for param, value in self._descent().items() if value is not None}
        solver = RuleDescent(**limits, **chosen) if chosen else SOLVERS[name](**limits)
        return EarlyStopping(inner=solver, patience=self.getOrDefault("patience")) if self._stops_early() else solver

    def _statistics(self, data: Data, class_weights: Mapping[float, float] | None = None) -> Statistics:
        """The statistics of the rows that train; DataError where none does, or none validates that should."""
        if self._stops_early():
            self._check_validation(data, class_weights or {})
        found = data.statistics_for(self._held_out, class_weights)
        if not found.weight:
            raise DataError(
                f"of {data.statistics.count:,} rows none of positive weight is left to train: look at weightCol, at "
                "classWeight, and at how many rows validate."
            )
        return found

    def _check_validation(self, data: Data, class_weights: Mapping[float, float]) -> None:
        """Refuse an indicator that has other values than true and false, and one that is never true."""
        folds = {fold for fold, _ in data.cells.parts}
        if folds != {NO_FOLD} and not folds <= {0, VALIDATES}:
            raise DataError(
                "validationIndicatorCol has values other than 0 and 1: it must be boolean, or 1 in the rows that "
                "validate and 0 in those that train."
            )
        if not data.cells.inside(VALIDATES).weighted(class_weights).total.weight:
            raise DataError(
                f"of {data.statistics.count:,} rows none of positive weight validates: mark some in "
                "validationIndicatorCol, or take a larger validationFraction."
            )

    @abstractmethod
    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        """The problem that the Params make of the data, and the solver that they ask for."""

    @abstractmethod
    def _new_model(self, *parts: Any) -> M:
        """The model of these coefficients, intercept, feature names, summary and feature means."""

    @abstractmethod
    def _metrics(self, statistics: Statistics, fit: Fit) -> Metrics:
        """What a fit tells of how well the model predicts."""

    def _training(self, data: Data, fit: Fit) -> Training:
        """What a fit leaves to be told."""
        return Training(**self._told(data, fit))

    def _problem_of(self, loss: Loss, statistics: Statistics, deviation: np.ndarray, **more: Any) -> Problem:
        """The problem of minimizing a loss, in units of the deviations of the columns, (d,)."""
        params = ("regParam", "elasticNetParam", "fitIntercept", "standardization")
        chosen: dict[str, Any] = {name: self.getOrDefault(name) for name in params}
        problem = standardized_problem(
            loss,
            mean=statistics.center[:-1],
            deviation=deviation,
            label_mean=float(statistics.center[-1]),
            shift=gram_shift(statistics),
            **chosen,
            **more,
        )
        return replace(problem, fold=self._held_out)

    def _told(self, data: Data, fit: Fit) -> dict[str, Any]:
        """The fields that the `Training` of every family has."""
        problem, state = fit.problem, fit.state
        w, b = _raw(fit)
        return {
            "solver": fit.solver.name,
            "stopReason": str(state.stop),
            "converged": state.stop.converged,
            "passes": fit.passes,
            "totalIterations": state.iterations,
            "numSkipped": getattr(data, "skipped", 0),
            "numFilled": getattr(data, "filled", 0),
            "objectiveHistory": state.history,
            "validationHistory": getattr(state, "validation", np.empty(0)),
            "estimates": np.append(w, b) if problem.fit_intercept else w,
        }

    def _create_model(self, data: Data, fit: Fit) -> M:
        """The model of a finished fit, with its summary."""
        training = self._training(data, fit)
        self._warn(data.statistics_for(fit.problem.fold, fit.problem.class_weights), fit)
        w, b = _raw(fit)
        names, means = data.feature_names, getattr(data, "means", None)
        model = self._adopt(self._new_model(dense(w), b, names, None, means))
        scoring = model._scoring(self._trained_rows(data))
        metrics = self._metrics(data.statistics_for(fit.problem.fold), fit)
        model._summary = model._training_summary_class(scoring, metrics, training, names)
        return model

    def _trained_rows(self, data: Data) -> DataFrame | None:
        """The table of the rows that trained, where it is at hand: rows that packing drew are marked nowhere."""
        if not isinstance(data, SparkData) or self.isDefined("validationFraction"):
            return None
        if not self._stops_early():
            return data.frame
        return data.frame.where(quoted(self.getOrDefault("validationIndicatorCol")).cast("double") == 0.0)

    def _fit(self, dataset: Dataset) -> M:
        return self._fit_all(dataset, [self])[0]

    def fitMultiple(self, dataset: Dataset, paramMaps: Sequence[dict]) -> Iterator[tuple[int, M]]:
        """Fit a model for each param map, all in the same passes; a thread-safe iterator of (index, model)."""
        models = self._fit_all(dataset, [self.copy(extra) for extra in paramMaps])
        return _FitMultipleIterator(models.__getitem__, len(models))

    def _fit_all(self, dataset: Dataset, estimators: Sequence["LinearEstimator[M]"]) -> list[M]:
        """One model an estimator; those that read the same columns share the data."""
        groups: dict[str, list[int]] = {}
        for i, estimator in enumerate(estimators):
            estimator._check_params()
            groups.setdefault(repr(estimator._pack_arguments()), []).append(i)
        models: dict[int, M] = {}
        for places in groups.values():
            group = [estimators[i] for i in places]
            models.update(zip(places, group[0]._fit_group(dataset, group), strict=True))
        return [models[i] for i in range(len(estimators))]

    def _fit_group(self, dataset: Dataset, estimators: Sequence["LinearEstimator[M]"]) -> list[M]:
        if isinstance(dataset, Data):
            self._check_packed(dataset)
            return self._fit_data(dataset, estimators)
        if not isinstance(dataset, DataFrame):
            raise ColumnTypeError(f"fit needs a DataFrame or packed data, not {type(dataset).__name__}.")
        with pack(dataset, **self._pack_arguments()) as data:
            return self._fit_data(data, estimators)

    def _fit_data(self, data: Data, estimators: Sequence["LinearEstimator[M]"]) -> list[M]:
        depth = max(estimator.getOrDefault("aggregationDepth") for estimator in estimators)
        chunk = max(estimator.getOrDefault("maxBlockSizeInMB") for estimator in estimators)
        reading = Reading(depth, int(chunk * 2**20) or CHUNK_BYTES)
        fits = minimize([estimator._prepare(data) for estimator in estimators], data, reading)
        return [estimator._create_model(data, fit) for estimator, fit in zip(estimators, fits, strict=True)]

    def _adopt(self, model: Any) -> Any:
        """Give a new model the uid and the Params of its estimator, as pyspark.ml does."""
        model._resetUid(self.uid)
        return self._copyValues(model)

    def _warn(self, statistics: Statistics, fit: Fit) -> None:
        """Warn where the solver did not converge."""
        if not fit.state.stop.converged:
            warnings.warn(
                f"solver={fit.solver.name!r} stopped after {fit.state.iterations} iterations before it converged: "
                f"raise maxIter={self.getOrDefault('maxIter')}, or take another solver.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _pack_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `pack` that the Params make."""
        chosen = {name: self.getOrDefault(name) for name in self._data_params if self.isDefined(name)}
        if "featuresCols" in chosen:
            if self.isSet("featuresCol"):
                raise ColumnError("featuresCol and featuresCols are both set: clear one of them.")
            del chosen["featuresCol"]
        if self.isDefined("validationIndicatorCol"):
            chosen["foldCol"] = self.getOrDefault("validationIndicatorCol")
        return chosen

    def _check_packed(self, data: Data) -> None:
        """The columns that the user set must be those that were packed, and the rows that validate too."""
        if self.isDefined("validationFraction"):
            wanted = self.getOrDefault("validationFraction"), self.getOrDefault("seed")
            if wanted != data.validation:
                share, seed = data.validation
                raise ParamError(
                    f"validationFraction={wanted[0]} with seed={wanted[1]}, but the data were packed with "
                    f"validationFraction={share} and seed={seed}: pack them with those of the fit."
                )
        if not isinstance(data, SparkData):
            return
        packed = {"labelCol": data.columns.roles["label"], "weightCol": data.columns.roles.get("weight")}
        packed |= {"featuresCol": data.columns.features[0], "validationIndicatorCol": data.columns.roles.get("fold")}
        for name, column in packed.items():
            if self.isSet(name) and self.getOrDefault(name) != column:
                raise ColumnError(
                    f"{name}={self.getOrDefault(name)!r} but the data were packed with {column!r}: pack them with the "
                    f"same columns, or clear {name}."
                )
        if self.isSet("featuresCols") and tuple(self.getOrDefault("featuresCols")) != data.columns.features:
            raise ColumnError("featuresCols are not the columns that were packed: pack them with the same columns.")


def _raw(fit: Fit) -> tuple[np.ndarray, float]:
    """The raw coefficients (d,) and the intercept of a fit of one margin."""
    assert fit.state.point is not None
    w, b = fit.problem.raw(fit.state.point.theta)
    return w[:, 0], float(b[0])


def warn_constant_columns(statistics: Statistics, problem: Problem) -> None:
    """Warn of columns that are kept at zero although they could stand in for the intercept that is not there."""
    constant = np.flatnonzero(problem.scale == 0.0)
    if len(constant) and not problem.fit_intercept and np.any(statistics.center[constant]):
        warn_data(f"without an intercept {len(constant)} constant non-zero columns still get the coefficient zero.")


def warn_data(message: str) -> None:
    """Warn of data that can be fitted but are probably not what was meant."""
    warnings.warn(message, DataWarning, stacklevel=3)
