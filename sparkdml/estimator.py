"""What the estimators share: from a DataFrame, or packed data, and Params to fitted models."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np
from pyspark.ml.base import Predictor, Transformer, _FitMultipleIterator
from pyspark.sql import DataFrame

from sparkdml.arrays import require
from sparkdml.blocks.block import CHUNK_BYTES
from sparkdml.blocks.cells import NO_FOLD
from sparkdml.blocks.sampling import Sampling
from sparkdml.blocks.schema import quoted
from sparkdml.blocks.stats import Statistics
from sparkdml.checks import (
    VALIDATES,
    check_packed,
    check_validation,
    column_of,
    require_room,
    robust_statistics,
    training_statistics,
)
from sparkdml.diagnostics import measure_separation, warn_skewed, warn_unconverged
from sparkdml.engine.data import Data, Reading
from sparkdml.engine.interrupts import cancellable
from sparkdml.engine.minimize import Fit, Start, minimize_warm
from sparkdml.engine.null_model import known_null
from sparkdml.engine.robust import axes_query, exact_points, with_axes
from sparkdml.engine.spark_data import SparkData, pack
from sparkdml.errors import ColumnError, ParamError
from sparkdml.inference import CLASSICAL, check_errors, check_room, measure_covariances, wanted_errors
from sparkdml.optim.aggregation import ROBUST, WEIGHTED_MEAN
from sparkdml.optim.losses import Loss
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.solvers import EarlyStopping, Smoothing, Solver, check_admissible, check_aggregation
from sparkdml.params import HasInitialModel
from sparkdml.persistence import Persistable
from sparkdml.solver_choice import (
    check_descent,
    check_early_stopping,
    make_solver,
    solver_name,
    stops_early,
    telling_rows,
    warm_solver,
)
from sparkdml.summary import Metrics, Training
from sparkdml.training_problem import training_problem

M = TypeVar("M", bound=Transformer)
Dataset: TypeAlias = DataFrame | Data


class LinearEstimator(Persistable, Predictor[M], HasInitialModel, Generic[M]):
    """Base of the estimators. A family says how its Params make a problem, and how a fit makes a model.

    `fit` takes a DataFrame, which it packs and releases, or data that the caller packed. Several param maps, given to
    `fit` or `fitMultiple`, share the packing and every pass.
    """

    _data_params: ClassVar[tuple[str, ...]] = (
        "featuresCol",
        "featuresCols",
        "labelCol",
        "weightCol",
        "offsetCol",
        "numPartitions",
        "handleInvalid",
        "partitioning",
        "dtype",
        "validationFraction",
        "seed",
    )

    def _check_params(self) -> None:
        """Refuse Params that contradict each other, before the rows are read."""
        check_descent(self)
        check_errors(self)
        if self.getOrDefault("aggregation") != WEIGHTED_MEAN:
            check_aggregation(make_solver(self, solver_name(self), 0, 1), self.getOrDefault("aggregation"))
        model = self._initial_model()
        if not isinstance(model, self._model_class | None):
            raise ParamError(
                f"initialModel is a {type(model).__name__}: {type(self).__name__} can start from a "
                f"{self._model_class.__name__} only."
            )
        check_early_stopping(self)

    @property
    def _held_out(self) -> int:
        """The fold of the rows that do not train."""
        return VALIDATES if stops_early(self) else NO_FOLD

    def _solver_for(self, name: str, statistics: Statistics, problem: Problem) -> Solver:
        """The solver of a name, with the Params that it has."""
        solver = make_solver(self, name, statistics.count, len(problem.start), telling_rows(statistics, problem))
        if not problem.loss.smooth:
            solver = Smoothing(tol=solver.tol, max_iter=solver.max_iter, inner=solver)
        return EarlyStopping(inner=solver, patience=self.getOrDefault("patience")) if stops_early(self) else solver

    @abstractmethod
    def _prepare(self, data: Data) -> tuple[Problem, Solver]:
        """The problem that the Params make of the data, and the solver that they ask for."""

    @property
    @abstractmethod
    def _model_class(self) -> Any:
        """The class of the fitted models."""

    @abstractmethod
    def _metrics(self, data: Data, fit: Fit, point: Point) -> Metrics | None:
        """What the sums over all rows where the fit ended tell of how well the model predicts, or None."""

    def _intercept_shift(self, data: Data) -> float:
        """What the intercept of the model is above the one that fits the data."""
        return 0.0

    def _training(self, data: Data, fit: Fit) -> Training:
        """What a fit leaves to be told."""
        return Training(**self._told(data, fit))

    def _statistics(self, data: Data, class_weights: Mapping[float, float] | None = None) -> Statistics:
        """The statistics of the rows that train, which make the problem; DataError where they cannot be fitted."""
        label, weight = column_of(self, data, "label"), column_of(self, data, "weight")
        if stops_early(self):
            check_validation(self, data, class_weights or {})
        if (aggregation := self.getOrDefault("aggregation")) in ROBUST:
            return robust_statistics(data, aggregation, label, weight)
        return training_statistics(data, self._held_out, class_weights or {}, label, weight)

    def _problem_of(
        self, data: Data, loss: Loss, statistics: Statistics, deviation: np.ndarray, **more: Any
    ) -> Problem:
        """The problem of minimizing a loss, in units of the deviations of the columns, (d,)."""
        return training_problem(self, data, self._held_out, loss, statistics, deviation, **more)

    def _told(self, data: Data, fit: Fit) -> dict[str, Any]:
        """The fields that the `Training` of every family has."""
        problem, state = fit.problem, fit.state
        w, b = self._raw(data, fit)
        return {
            "solver": fit.solver.name,
            "stopReason": str(state.stop),
            "converged": state.stop.converged,
            "passes": fit.passes,
            "bytesDown": fit.bytes_down,
            "bytesUp": fit.bytes_up,
            "totalIterations": state.iterations,
            "numSkipped": getattr(data, "skipped", 0),
            "numFilled": getattr(data, "filled", 0),
            "objectiveHistory": state.history,
            "validationHistory": getattr(state, "validation", np.empty(0)),
            "estimates": np.append(w.T, b) if problem.fit_intercept else w.T.ravel(),
            "rank": fit.covariance.rank,
            "standardErrors": wanted_errors(self) or CLASSICAL,
            "covarianceDiagonal": fit.covariance.diagonal,
        }

    def _create_model(self, data: Data, fit: Fit, point: Point) -> M:
        """The model of a finished fit, with its summary; `point` has the sums over all rows where the fit ended."""
        training = self._training(data, fit)
        self._warn(data, data.statistics_for(fit.problem.fold, fit.problem.class_weights), fit, point)
        w, b = self._raw(data, fit)
        names, means = data.feature_names, getattr(data, "means", None)
        model = self._adopt(self._model_class(w, b, names, None, means))
        scoring = model._scoring(self._trained_rows(data))
        metrics = self._metrics(data, fit, point)
        model._summary = model._training_summary_class(scoring, metrics, training, names)
        return model

    def _raw(self, data: Data, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
        """The raw coefficients (C, d) and intercepts (C,) of the model of a fit, without the constants of the loss."""
        assert fit.state.point is not None
        w, b = fit.problem.solution(fit.state.point.theta)
        free = fit.problem.loss.margins - fit.problem.loss.constants
        return w[:, :free].T, b[:free] + self._intercept_shift(data)

    def _initial_model(self) -> Any:
        return self.getOrDefault("initialModel") if self.isDefined("initialModel") else None

    def _begun(self, data: Data) -> tuple[Problem, Solver]:
        """The problem and its solver; the problem starts where `initialModel` stands, if there is one.

        Its intercept says where the average row stands as long as all its features are there.
        """
        problem, solver = self._prepare(data)
        model = self._initial_model()
        if model is None:
            return problem, solver
        known = dict(zip(model.featureNames, model._weights.T, strict=True))
        if known.keys().isdisjoint(data.feature_names):
            names = (", ".join(each[:20]) for each in (model.featureNames, data.feature_names))
            raise ColumnError("initialModel has none of the features: it knows {}, and these are {}.".format(*names))
        new = np.zeros(len(model._intercepts))
        w = np.array([known.get(name, new) for name in data.feature_names])
        b = np.append(model._intercepts - self._intercept_shift(data), self._known_constants(model, problem))
        return problem.starting_from(w, b if known.keys() <= set(data.feature_names) else None), solver

    def _known_constants(self, model: Any, problem: Problem) -> np.ndarray:
        """What a model knows of the constants of the loss, (0,) if nothing."""
        return np.empty(0)

    def _trained_rows(self, data: Data) -> DataFrame | None:
        """The table of the rows that trained, where it is at hand: rows that packing drew are marked nowhere."""
        if not isinstance(data, SparkData) or self.isDefined("validationFraction"):
            return None
        if not stops_early(self):
            return data.frame
        return data.frame.where(quoted(self.getOrDefault("validationIndicatorCol")).cast("double") == 0.0)

    def _fit(self, dataset: Dataset) -> M:
        return self._fit_all(dataset, [self])[0]

    def fitMultiple(self, dataset: Dataset, paramMaps: Sequence[dict]) -> Iterator[tuple[int, M]]:
        """Fit a model for each param map, all in the same passes; a thread-safe iterator of (index, model)."""
        models = self._fit_all(dataset, [self.copy(extra) for extra in paramMaps])
        return _FitMultipleIterator(models.__getitem__, len(models))

    @cancellable()
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
            self._check_sampled(dataset.sampling)
            check_packed(self, dataset)
            return self._fit_data(dataset, estimators)
        with pack(dataset, **self._pack_arguments()) as data:
            return self._fit_data(data, estimators)

    def _fit_data(self, data: Data, estimators: Sequence["LinearEstimator[M]"]) -> list[M]:
        depth = max(estimator.getOrDefault("aggregationDepth") for estimator in estimators)
        chunk = max(estimator.getOrDefault("maxBlockSizeInMB") for estimator in estimators)
        reading = Reading(depth, int(chunk * 2**20) or CHUNK_BYTES)
        problems, solvers = zip(*(estimator._begun(data) for estimator in estimators), strict=True)
        kinds = [wanted_errors(estimator) for estimator in estimators]
        for problem, solver, kind in zip(problems, solvers, kinds, strict=True):
            check_admissible(solver, problem)
            require_room(data, problem, solver)
            check_room(data, problem, kind)
        warm = [warm_solver(estimator, problem) for estimator, problem in zip(estimators, problems, strict=True)]
        problems = with_axes(problems, data, reading)
        fits = self._minimize(list(zip(problems, solvers, warm, strict=True)), data, reading)
        for fit in fits:
            if (null := known_null(data, fit.problem)) is not None:
                fit.follow(null)
            if fit.problem.axes is not None:
                fit.count(data, [axes_query(fit.problem)])
        measure_covariances(fits, kinds, data, reading)
        measure_separation(fits, data, reading)
        ended = zip(estimators, fits, exact_points(fits, data, reading), strict=True)
        return [estimator._create_model(data, fit, point) for estimator, fit, point in ended]

    def _minimize(self, starts: Sequence[Start], data: Data, reading: Reading) -> list[Fit]:
        """The fits of this family, each from a problem, its solver and what runs before that."""
        return minimize_warm(starts, data, reading)

    def _adopt(self, model: Any) -> Any:
        """Give a new model the uid and the Params of its estimator, as pyspark.ml does."""
        model._resetUid(self.uid)
        return self._copyValues(model)

    def _warn(self, data: Data, statistics: Statistics, fit: Fit, point: Point) -> None:
        """Warn where the solver did not converge, and where partitions are skewed that it has to hold together."""
        warn_skewed(fit.state)
        if not fit.state.stop.converged:
            warn_unconverged(fit, self._remedy(fit))

    def _remedy(self, fit: Fit) -> str:
        """What else, beside more iterations, may help a fit that did not converge."""
        return f"tol={fit.solver.tol:g} if that is near enough" if fit.state.gap < 1.0 else "take another solver"

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

    def _check_sampled(self, sampling: Sampling) -> None:
        """Refuse packed data whose classes were balanced, unless the family knows how to undo that."""
        if sampling:
            raise ParamError(
                f"the data were packed with sampling={sampling.kind!r}, which {type(self).__name__} cannot undo: pack "
                "them without."
            )

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a fit starts from: of the initial model its coefficients by name."""
        model = self._initial_model()
        if model is None:
            return {}, {}
        values, found = model._bare()._content()
        return {"initialModel": values}, found

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        if not values:
            return super()._from_content(values, arrays)
        require(set(values) == {"initialModel"}, f"a {cls.__name__} has unknown content")
        estimator = cls()
        estimator._set(initialModel=estimator._model_class._from_content(values["initialModel"], arrays))
        return estimator
