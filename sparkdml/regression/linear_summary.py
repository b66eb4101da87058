"""How well a linear regression predicts, and how it was trained."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from sparkdml.arrays import require
from sparkdml.blocks.schema import quoted
from sparkdml.errors import StatisticsError
from sparkdml.evaluation import RegressionMetrics, regression_metrics
from sparkdml.summary import Inference, coefficient_table


@dataclass(frozen=True)
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


class LinearRegressionSummary:
    """Metrics of a model on a table; as in pyspark.ml, but every metric honours the weights.

    Nothing is computed before it is asked for. One job then computes all metrics.
    """

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._metrics: RegressionMetrics | None = None

    @property
    def predictions(self) -> DataFrame:
        """The table with the column of predictions."""
        if self._scoring.predict is None:
            raise StatisticsError("the training table is not at hand: use model.evaluate(df).")
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
    def residuals(self) -> DataFrame:
        """label - prediction of each row, in a column `residuals`; lazy."""
        label, prediction = quoted(self.labelCol), quoted(self.predictionCol)
        return self.predictions.select((label - prediction).alias("residuals"))

    @property
    def explainedVariance(self) -> float:
        """sum s (p - mean label)^2 / sum s for predictions p and weights s."""
        return self._known().explained_variance

    @property
    def meanSquaredError(self) -> float:
        """sum s (y - p)^2 / sum s."""
        return self._known().mean_squared_error

    @property
    def rootMeanSquaredError(self) -> float:
        """sqrt(meanSquaredError), in units of the label."""
        return float(np.sqrt(self.meanSquaredError))

    @property
    def meanAbsoluteError(self) -> float:
        """sum s |y - p| / sum s; needs the predictions, so the first use runs a job."""
        metrics = self._complete()
        assert metrics.absolute_error is not None
        return metrics.absolute_error / metrics.weight

    @property
    def r2(self) -> float:
        """1 - sum s (y - p)^2 / sum s (y - mean label)^2; without an intercept the mean counts as zero."""
        return self._known().r2(through_origin=not self._scoring.fitIntercept)

    @property
    def r2adj(self) -> float:
        """1 - (1 - r2) (n - i) / (n - d - i) with i = 1 if there is an intercept, else 0."""
        count, d, i = self.numInstances, self._scoring.numFeatures, int(self._scoring.fitIntercept)
        left = count - d - i
        return 1.0 - (1.0 - self.r2) * (count - i) / left if left > 0 else float("nan")

    @property
    def numInstances(self) -> int:
        """How many rows there are; skipped ones do not count."""
        return self._known().count

    @property
    def degreesOfFreedom(self) -> int:
        """Rows less coefficients less one for an intercept."""
        return self.numInstances - self._scoring.numFeatures - int(self._scoring.fitIntercept)

    @property
    def devianceResiduals(self) -> list[float]:
        """The smallest and the largest sqrt(s) (y - p); needs the predictions."""
        metrics = self._complete()
        assert metrics.residual_range is not None
        return list(metrics.residual_range)

    @property
    def coefficientStandardErrors(self) -> list[float]:
        """Of each coefficient, then of the intercept; of a training summary only."""
        return self._inference().standard_errors.tolist()

    @property
    def tValues(self) -> list[float]:
        """coefficient / standard error, of each coefficient and then of the intercept."""
        return self._inference().t_values.tolist()

    @property
    def pValues(self) -> list[float]:
        """Two-sided p values of Student's t, of each coefficient and then of the intercept."""
        return self._inference().p_values.tolist()

    def metrics(self) -> dict[str, float]:
        """The metrics that are at hand, by the names that the jobs give them: those of a fit, or all of a table."""
        known = self._known()
        found = {
            "rmse": self.rootMeanSquaredError,
            "mse": self.meanSquaredError,
            "r2": self.r2,
            "r2adj": self.r2adj,
            "explained_variance": self.explainedVariance,
        }
        if known.absolute_error is not None:
            low, high = self.devianceResiduals
            found |= {"mae": self.meanAbsoluteError, "bias": float(known.bias or 0.0)}
            found |= {"deviance_residual_min": low, "deviance_residual_max": high}
        return found

    def _inference(self) -> Inference:
        raise StatisticsError("standard errors belong to the training table: use model.summary.")

    def _known(self) -> RegressionMetrics:
        """The metrics at hand, or those of a job."""
        return self._metrics or self._complete()

    def _complete(self) -> RegressionMetrics:
        """All metrics; the first use runs a job."""
        if self._metrics is None or self._metrics.absolute_error is None:
            s = self._scoring
            self._metrics = regression_metrics(self.predictions, s.labelCol, s.predictionCol, s.weightCol, s.skip)
        return self._metrics

    def __str__(self) -> str:
        return (
            f"Rows: {self.numInstances:,}   RMSE: {self.rootMeanSquaredError:.6g}   r2: {self.r2:.6f}   "
            f"adjusted r2: {self.r2adj:.6f}"
        )


@dataclass(frozen=True, eq=False)
class Training:
    """What a fit leaves to be told.

    Attributes
    ----------
    solver, stopReason : their names; `converged`, whether the minimum was reached.
    passes : over the data, after packing.
    totalIterations : steps of the solver.
    numSkipped : rows left out by handleInvalid="skip".
    numFilled : missing numbers that handleInvalid="mean" put a mean in the place of.
    rank : of the columns and the intercept, or -1 where it is not known.
    objectiveHistory : the objective at the start and after each iteration.
    estimates : the coefficients, then the intercept if one was fitted.
    inverseDiagonal : the diagonal of (X'SX + penalty)^-1 in the same order; empty where there is none.
    """

    solver: str
    stopReason: str
    converged: bool
    passes: int
    totalIterations: int
    numSkipped: int
    numFilled: int
    rank: int
    objectiveHistory: np.ndarray
    estimates: np.ndarray
    inverseDiagonal: np.ndarray


class LinearRegressionTrainingSummary(LinearRegressionSummary):
    """How a linear regression was trained and how well it fits; survives save and load.

    The metrics that the fit knows cost nothing. What needs the predictions (`meanAbsoluteError`, `devianceResiduals`,
    `residuals`) is computed when it is asked for, from the training table.
    """

    def __init__(
        self, scoring: Scoring, metrics: RegressionMetrics, training: Training, names: tuple[str, ...]
    ) -> None:
        super().__init__(scoring)
        self._metrics = metrics
        self._training = training
        self._names = names

    @property
    def objectiveHistory(self) -> list[float]:
        """The objective, mean weighted loss plus penalty, at the start and after each iteration."""
        return self._training.objectiveHistory.tolist()

    @property
    def totalIterations(self) -> int:
        """Steps of the solver."""
        return self._training.totalIterations

    @property
    def passes(self) -> int:
        """Passes over the packed data; packing, which reads the table, is not counted."""
        return self._training.passes

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

    def _inference(self) -> Inference:
        if not len(self._training.inverseDiagonal):
            raise StatisticsError(
                "there are no standard errors: they need linearly independent columns and no L1 penalty, and with "
                "solvers other than 'normal' computeStatistics=True."
            )
        freedom = self.degreesOfFreedom
        variance = self._known().squared_error / freedom if freedom > 0 else np.nan
        return Inference(self._training.estimates, self._training.inverseDiagonal * variance, freedom)

    def __str__(self) -> str:
        inference = self._inference() if len(self._training.inverseDiagonal) else None
        names = [*self._names, *(["(intercept)"] if self._scoring.fitIntercept else [])]
        table = coefficient_table(names, self._training.estimates, inference)
        t = self._training
        skipped = f"   skipped: {t.numSkipped:,}" if t.numSkipped else ""
        skipped += f"   filled with means: {t.numFilled:,}" if t.numFilled else ""
        passes = f"{t.passes} pass{'es' if t.passes != 1 else ''}"
        solver = f"Solver: {t.solver}, {passes} over the packed data, {t.stopReason}"
        return f"{table}\n\n{super().__str__()}{skipped}\n{solver}"

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What is saved, as JSON values and arrays."""
        parts = {
            "scoring": {f.name: getattr(self._scoring, f.name) for f in fields(Scoring) if f.name != "predict"},
            "metrics": asdict(self._known()),
            "training": {f.name: getattr(self._training, f.name) for f in fields(Training)},
        }
        found = {k: v for k, v in parts["training"].items() if isinstance(v, np.ndarray)}
        parts["training"] = {k: v for k, v in parts["training"].items() if k not in found}
        return parts, found

    @classmethod
    def _from_content(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], names: tuple[str, ...]
    ) -> "LinearRegressionTrainingSummary":
        require(set(values) == {"scoring", "metrics", "training"}, "the summary has unknown or missing parts")
        merged = {**values, "training": {**values["training"], **arrays}}
        expected = {"scoring": Scoring, "metrics": RegressionMetrics, "training": Training}
        for part, kind in expected.items():
            known = {f.name for f in fields(kind)} - {"predict"}
            require(set(merged[part]) == known, f"the {part} of the summary has unknown or missing fields")
        limits = merged["metrics"]["residual_range"]
        metrics = {**merged["metrics"], "residual_range": limits and tuple(limits)}
        return cls(Scoring(**merged["scoring"]), RegressionMetrics(**metrics), Training(**merged["training"]), names)
