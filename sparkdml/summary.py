"""What the summaries of all families share: where predictions come from, how a fit went, the printed table."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from types import UnionType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args, get_origin

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.arrays import require
from sparkdml.engine.data import Traffic
from sparkdml.engine.failures import explained_failures
from sparkdml.errors import StatisticsError
from sparkdml.inference import CLASSICAL, Inference, Inferred
from sparkdml.text import align, with_points_in_line


class Metrics(Protocol):
    """Metrics of a table: some are known from a fit, the complete ones from a job."""

    @property
    def count(self) -> int:
        """Rows."""

    @property
    def complete(self) -> bool:
        """Whether everything is known."""


T = TypeVar("T", bound=Metrics)
ALL_SHOWN = 200  # lines of features in the printed table, at most, of which each class may have its own
MOST_SHOWN = 50  # about as many where there would be more
FEW_SHOWN = 5  # features at least, of each of many classes
LARGE_T = 1e5  # of which three decimals would be more digits than rounding leaves


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Where predictions come from and how they are read; `predict` gives the DataFrame of predictions, lazily."""

    labelCol: str
    featuresCol: str
    predictionCol: str
    weightCol: str | None
    numFeatures: int
    fitIntercept: bool
    skip: bool
    predict: Callable[[], DataFrame] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """What a fit leaves to be told.

    Attributes
    ----------
    solver, stopReason : their names; `converged`, whether the minimum was reached.
    passes : over the data, after packing.
    bytesDown, bytesUp : of the arrays that the passes sent to the tasks, and that came back.
    totalIterations : steps of the solver.
    numSkipped : rows left out by handleInvalid="skip".
    numFilled : missing numbers that handleInvalid="mean" put a mean in the place of.
    objectiveHistory : the objective at the start and after each iteration.
    validationHistory : the loss of the rows that validate at the same points; empty without early stopping.
    estimates : the coefficients, of each feature those of all classes, then the intercepts if they were fitted.
    rank : of the second derivatives of the objective where the fit ended, or -1 where it is not known.
    standardErrors : of what kind they are, see `sparkdml.inference`.
    covarianceDiagonal : the variances of the estimates, classical ones per unit of dispersion; empty where not known.
    """

    solver: str
    stopReason: str
    converged: bool
    passes: int
    bytesDown: int
    bytesUp: int
    totalIterations: int
    numSkipped: int
    numFilled: int
    objectiveHistory: np.ndarray
    validationHistory: np.ndarray
    estimates: np.ndarray
    rank: int
    standardErrors: str
    covarianceDiagonal: np.ndarray


class Summary(ABC, Generic[T]):
    """Metrics of a model on a table; every one honours the weights.

    Nothing is computed before it is asked for. One job then computes all metrics.
    """

    _scoring: Any

    def __init__(self, scoring: Any) -> None:
        self._scoring = scoring
        self._metrics: T | None = None

    @abstractmethod
    def _measure(self) -> T:
        """All metrics, by one job over `predictions`."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The metrics by the names that the jobs give them."""

    @property
    def predictions(self) -> DataFrame:
        """The table with the columns that the model adds; SessionError where its Spark session has ended."""
        if self._scoring.predict is None:
            raise StatisticsError("the rows of the fit are not at hand: use model.evaluate(df).")
        return self._scoring.predict()

    @property
    def predictionCol(self) -> str:
        """The column of `predictions` with the predicted label."""
        return self._scoring.predictionCol

    @property
    def labelCol(self) -> str:
        """The column of `predictions` with the label."""
        return self._scoring.labelCol

    @property
    def featuresCol(self) -> str:
        """The column of `predictions` with the features."""
        return self._scoring.featuresCol

    @property
    def numInstances(self) -> int:
        """How many rows there are; skipped ones do not count."""
        return self._known().count

    def _known(self) -> T:
        """The metrics at hand, or those of a job."""
        return self._metrics or self._complete()

    def _complete(self) -> T:
        """All metrics; the first use runs a job."""
        if self._metrics is None or not self._metrics.complete:
            with explained_failures():
                self._metrics = self._measure()
        return self._metrics


class TrainingSummary(Inferred, Summary[T]):
    """How a model was trained and how well it fits; survives save and load. What the fit knows costs nothing.

    All of it is of the rows that were trained on: those that validate, with early stopping, are in `validationHistory`
    alone.
    """

    _parts: ClassVar[dict[str, type]]  # the classes of its scoring, metrics and training

    def __init__(self, scoring: Any, metrics: T | None, training: Any, names: tuple[str, ...]) -> None:
        super().__init__(scoring)
        self._metrics = metrics
        self._training = training
        self._names = names

    @property
    def objectiveHistory(self) -> list[float]:
        """The objective, mean weighted loss plus penalty, at the start and after each iteration (sgd: stage)."""
        return self._training.objectiveHistory.tolist()

    @property
    def validationHistory(self) -> list[float]:
        """The mean weighted loss of the rows that validate, at the start and after each iteration; empty without.

        The model is that of the lowest.
        """
        return self._training.validationHistory.tolist()

    @property
    def totalIterations(self) -> int:
        """Steps of the solver."""
        return self._training.totalIterations

    @property
    def passes(self) -> int:
        """Passes over the packed data; packing, which reads the table, is not counted."""
        return self._training.passes

    @property
    def bytes(self) -> Traffic:
        """Bytes of the arrays that the passes sent, `down` to the tasks and `up` from them; packing is not counted."""
        return Traffic(self._training.bytesDown, self._training.bytesUp)

    @property
    def solver(self) -> str:
        """The solver that was used."""
        return self._training.solver

    @property
    def stopReason(self) -> str:
        """Why the solver stopped."""
        return self._training.stopReason

    @property
    def converged(self) -> bool:
        """Whether the minimum was reached."""
        return self._training.converged

    @property
    def numSkipped(self) -> int:
        """Rows of the table that handleInvalid="skip" left out."""
        return self._training.numSkipped

    @property
    def numFilled(self) -> int:
        """Missing numbers of the features that handleInvalid="mean" put a mean in the place of."""
        return self._training.numFilled

    @property
    def _freedom(self) -> float:
        """The degrees of freedom of the test statistics: infinite, for the normal distribution."""
        return float("inf")

    @property
    def _dispersion(self) -> float:
        """What the variance of a label is times the one that its distribution says."""
        return 1.0

    def _inferred(self) -> Inference | None:
        """How sure the estimates are, where that is known."""
        told = self._training
        if not len(told.covarianceDiagonal):
            return None
        factor = self._dispersion if told.standardErrors == CLASSICAL else 1.0
        return Inference(told.estimates, told.covarianceDiagonal * factor, self._freedom)

    def _table(self, names: Sequence[str], estimates: np.ndarray, inference: Inference | None) -> str:
        """Estimates (n, C), with how sure they are, as a table: a line a name."""
        rows = coefficient_rows(names, estimates[:, 0], inference, self._training.standardErrors)
        return align(with_points_in_line(rows))

    def _coefficients(self) -> str:
        """The table of all estimates, or of many features that of the most telling, and how many there are."""
        names = [*self._names, *(["(intercept)"] if self._scoring.fitIntercept else [])]
        estimates, inference = self._training.estimates.reshape(len(names), -1), self._inferred()
        d, tables = len(self._names), 1 if inference is None else estimates.shape[1]
        shown = max(MOST_SHOWN // tables, FEW_SHOWN)
        if d * tables <= ALL_SHOWN or d <= shown:
            return self._table(names, estimates, inference)
        telling = estimates if inference is None else inference.t_values.reshape(estimates.shape)
        places = [*largest_rows(telling[:d], shown), *range(d, len(names))]
        each = np.arange(estimates.size).reshape(estimates.shape)[places].ravel()
        table = self._table(
            [names[j] for j in places], estimates[places], None if inference is None else inference.part(each)
        )
        by = "coefficient" if inference is None else f"{inference.letter} value"
        used = np.count_nonzero(np.any(estimates[:d], axis=1))
        return f"{table}\n({shown} of {d:,} features, those of the largest {by}; {used:,} are not zero)"

    def __str__(self) -> str:
        table = self._coefficients()
        if self._training.rank >= 0 and self._inferred() is None:
            table += "\n(no standard errors: the rows do not tell the coefficients from each other)"
        skipped = f"   skipped: {self.numSkipped:,}" if self.numSkipped else ""
        skipped += f"   filled with means: {self.numFilled:,}" if self.numFilled else ""
        passes = f"{self.passes} pass{'es' if self.passes != 1 else ''}"
        sent = f"{human_bytes(self.bytes.down)} down, {human_bytes(self.bytes.up)} up"
        solver = f"Solver: {self.solver}, {passes} over the packed data ({sent}), {self.stopReason}"
        return f"{table}\n\n{super().__str__()}{skipped}\n{solver}"

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What is saved, as JSON values and arrays."""
        owners = {"scoring": self._scoring, "metrics": self._known(), "training": self._training}
        values: dict[str, Any] = {}
        found: dict[str, np.ndarray] = {}
        for part, owner in owners.items():
            content = {f.name: getattr(owner, f.name) for f in fields(owner) if f.name != "predict"}
            found |= {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
            values[part] = {name: value for name, value in content.items() if name not in found}
        return values, found

    @classmethod
    def _from_content(cls, values: dict[str, Any], arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> Self:
        require(set(values) <= set(cls._parts), "the summary has unknown parts")
        parts = {}
        for part, kind in cls._parts.items():
            known = {f.name: f for f in fields(kind) if f.name != "predict"}
            content = {**values.get(part, {}), **{name: arrays.pop(name) for name in set(known) & set(arrays)}}
            require(set(content) <= set(known), f"the {part} of the summary has unknown fields")
            absent = {name: _unwritten(f) for name, f in known.items() if name not in content}
            for name, value in content.items():
                require(_is_of(value, known[name].type), f"{name!r} of the summary is no {known[name].type}")
            parts[part] = kind(**content, **absent)
        require(not arrays, "the summary has unknown arrays")
        return cls(**parts, names=names)


def _unwritten(field: Field[Any]) -> Any:
    """What a field is taken for that an older version did not write: its default, or what says that it is not known."""
    if field.default is not MISSING:
        return field.default
    unknown: dict[Any, Any] = {str: "unknown", bool: False, int: 0, float: float("nan")}
    return np.empty(0) if field.type is np.ndarray else unknown.get(field.type)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value of JSON, or an array, is of the type of a field; whole numbers are numbers, and lists tuples."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    known = {get_origin(each) or each for each in kinds}
    also = {int: float, list: tuple}
    return type(value) in known or also.get(type(value)) in known


def largest_rows(values: np.ndarray, most: int) -> list[int]:
    """The places of the rows, (n, C), with the largest absolute values, in order of place; NaN is less than any.

    >>> largest_rows(np.array([[0.0, -3.0], [1.0, 2.0], [np.nan, 0.5], [-9.0, 0.0]]), 2)
    [0, 3]
    """
    size = np.nan_to_num(np.abs(values), nan=-1.0).max(axis=1)
    return sorted(np.argsort(-size, kind="stable")[:most].tolist())


def coefficient_rows(
    names: Sequence[str],
    estimates: np.ndarray,
    inference: Inference | None,
    kind: str = CLASSICAL,
    heading: str = "Feature",
) -> list[list[str]]:
    """The cells of an R-like table of coefficients, a line each; `kind` is that of the standard errors.

    >>> coefficient_rows(["x"], np.array([2.0]), None)
    [['Feature', 'Coefficient'], ['x', '2']]
    """
    header = [heading, "Coefficient"]
    rows = [[name, f"{value:.6g}"] for name, value in zip(names, estimates, strict=True)]
    if inference is not None:
        z = inference.letter
        error_heading = "Std. error" if kind == CLASSICAL else f"Std. error ({kind})"
        header += [error_heading, f"{z} value", _with_stars(f"Pr(>|{z}|)")]
        columns = (inference.standard_errors, inference.t_values, inference.p_values)
        for row, error, t, p in zip(rows, *columns, strict=True):
            told = ["-", "-"] if np.isnan(error) else [f"{error:.4g}", format_t(t)]
            row += [*told, format_p(p)]
    return [header, *rows]


def format_t(t: float) -> str:
    """A t or z value to three decimals, or to four digits where decimals would say nothing.

    >>> format_t(-131.32), format_t(-1e-9), format_t(1851148704.7)
    ('-131.320', '0.000', '1.851e+09')
    """
    return f"{t:z.3f}" if abs(t) < LARGE_T else f"{t:.4g}"


def format_p(p: float) -> str:
    """A p value as R prints it, with its stars; as wide after the number with none, so that numbers stand in line.

    >>> format_p(0.03), format_p(0.3), format_p(1e-20)
    ('0.0300 *  ', '0.3000    ', '<2e-16 ***')
    """
    if np.isnan(p):
        return _with_stars("-")
    stars = "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""
    return _with_stars("<2e-16" if p < 2e-16 else f"{p:.2e}" if p < 1e-4 else f"{p:.4f}", stars)


def _with_stars(text: str, stars: str = "") -> str:
    return f"{text} {stars:<3}"


def human_bytes(count: int) -> str:
    """Bytes in the largest unit of which there is one, in powers of 1024, as in all messages.

    >>> human_bytes(640), human_bytes(10_240), human_bytes(3 << 40)
    ('640 B', '10.0 KB', '3,072.0 GB')
    """
    power = min(max(count.bit_length() - 1, 0) // 10, 3)
    return f"{count / 1024**power:,.1f} {('B', 'KB', 'MB', 'GB')[power]}" if power else f"{count} B"
