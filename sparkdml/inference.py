"""How sure the coefficients of a fit are: standard errors, test statistics, p values, confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pyspark.ml.param import Params
from scipy.special import stdtr, stdtrit

from sparkdml.bounds import is_bounded
from sparkdml.checks import require_matrix, warn_data
from sparkdml.engine.data import DEFAULT_READING, Data, Reading
from sparkdml.engine.minimize import Fit
from sparkdml.errors import ParamError, StatisticsError
from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Query
from sparkdml.optim.solvers.covariance import Covariance, CovarianceState, estimable_matrix

CLASSICAL = "classical"
STANDARD_ERRORS = (CLASSICAL, "HC0", "HC1")


@dataclass(frozen=True, eq=False)
class Inference:
    """Standard errors, test statistics, p values and confidence intervals of coefficients, in their order.

    Attributes
    ----------
    estimates : the coefficients, then the intercept if there is one, (n,).
    variances : of the estimates, (n,); zero for a coefficient that was not estimated.
    degrees_of_freedom : of Student's distribution; infinite for the normal one.

    >>> known = Inference(np.array([2.0]), np.array([1.0]), np.inf)
    >>> known.confidence_intervals(0.95).round(2)
    array([[0.04, 3.96]])
    """

    estimates: np.ndarray
    variances: np.ndarray
    degrees_of_freedom: float

    def part(self, places: Any) -> "Inference":
        """The same of some of the coefficients."""
        return replace(self, estimates=self.estimates[places], variances=self.variances[places])

    @property
    def letter(self) -> str:
        """The usual name of a value of the distribution: t, or z of the normal one."""
        return "z" if np.isinf(self.degrees_of_freedom) else "t"

    @property
    def standard_errors(self) -> np.ndarray:
        """sqrt(variance), NaN where there is none."""
        return np.sqrt(np.where(self.variances > 0.0, self.variances, np.nan))

    @property
    def t_values(self) -> np.ndarray:
        """estimate / standard error."""
        return self.estimates / self.standard_errors

    @property
    def p_values(self) -> np.ndarray:
        """P(|T| > |t|) for T of the distribution; NaN without degrees of freedom."""
        if self.degrees_of_freedom <= 0:
            return np.full(len(self.estimates), np.nan)
        return 2.0 * stdtr(self.degrees_of_freedom, -np.abs(self.t_values))

    def confidence_intervals(self, level: float) -> np.ndarray:
        """estimate -+ the quantile of (1 + level) / 2 times the standard error, (n, 2); NaN as the p values are."""
        freedom = self.degrees_of_freedom if self.degrees_of_freedom > 0 else np.nan
        half = stdtrit(freedom, (1.0 + level) / 2.0) * self.standard_errors
        return np.column_stack([self.estimates - half, self.estimates + half])


class Inferred:
    """The part of a summary that tells how sure the coefficients are; of a training summary only.

    Lists have a number for each coefficient and then for the intercept; of a multinomial model for each class of the
    first feature, of the second and so on, and then for the intercepts. Its coefficients are those that sum to zero
    over the classes.
    """

    @property
    def coefficientStandardErrors(self) -> list[float]:
        """Of each coefficient, then of the intercept."""
        return self._inference().standard_errors.tolist()

    @property
    def tValues(self) -> list[float]:
        """coefficient / standard error, of each coefficient and then of the intercept; pyspark.ml's name of z too."""
        return self._inference().t_values.tolist()

    @property
    def pValues(self) -> list[float]:
        """Two-sided p values of a coefficient of zero, of each coefficient and then of the intercept."""
        return self._inference().p_values.tolist()

    def confidenceIntervals(self, level: float = 0.95) -> list[list[float]]:
        """The lower and the upper end for each coefficient and then for the intercept; `level` is within (0, 1)."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} is out of range: it must be above 0 and below 1, such as 0.95.")
        return self._inference().confidence_intervals(level).tolist()

    _needed: ClassVar[str] = (
        "linearly independent columns, no L1 penalty and no bounds, exact sums "
        "(aggregation='weighted_mean') and no repeated rows (sampling='oversample'), and with solvers other than "
        "'normal' and 'newton' computeStatistics=True"
    )

    def _inferred(self) -> Inference | None:
        """What is known, or None."""
        raise StatisticsError("standard errors belong to the training table: use model.summary.")

    def _inference(self) -> Inference:
        found = self._inferred()
        if found is None:
            raise StatisticsError(f"there are no standard errors: they need {self._needed}.")
        return found


def wanted_errors(params: Params) -> str | None:
    """The standard errors that are worth a pass, one of STANDARD_ERRORS; None where the solver's will do, if any."""
    if not params.hasParam("standardErrors"):
        return None
    kind: str = params.getOrDefault("standardErrors")
    return kind if kind != CLASSICAL or params.getOrDefault("computeStatistics") else None


def asked_for(kind: str) -> str:
    """The Param that asks for standard errors of this kind, with its value."""
    return "computeStatistics=True" if kind == CLASSICAL else f"standardErrors={kind!r}"


def check_errors(params: Params) -> None:
    """Refuse standard errors where the Params leave none."""
    kind = wanted_errors(params)
    if kind is None:
        return
    asked = asked_for(kind)
    if params.getOrDefault("regParam") * params.getOrDefault("elasticNetParam") > 0.0:
        raise ParamError(f"{asked}: an L1 penalty has no standard errors; set elasticNetParam=0.")
    if is_bounded(params):
        raise ParamError(f"{asked}: with bounds there are no standard errors; clear one of them.")
    if (aggregation := params.getOrDefault("aggregation")) != WEIGHTED_MEAN:
        raise ParamError(f"{asked}: there are no standard errors with aggregation={aggregation!r}.")
    if params.hasParam("sampling") and params.getOrDefault("sampling") == "oversample":
        raise ParamError(
            f"{asked}: rows that sampling='oversample' repeats are not independent; take 'undersample' or 'none'."
        )


def check_room(data: Data, problem: Problem, kind: str | None) -> None:
    """Refuse standard errors whose matrices the driver cannot hold."""
    if kind is not None:
        require_matrix(data, sum(query.size for query in _queries(problem, problem.start, kind)), asked_for(kind))


def measure_covariances(
    fits: Sequence[Fit], kinds: Sequence[str | None], data: Data, reading: Reading = DEFAULT_READING
) -> None:
    """Note in each fit the covariance of its coefficients: that of its solver, else by one pass for all that want it.

    A solver that has the Hessian may have stopped where it did not ask for it: then that is wanted in any case. `kinds`
    are those of `wanted_errors`. "HC0" is White's sandwich, "HC1" times n / (n - coefficients), as R's package
    sandwich names them, and statsmodels for linear models. With repeated rows, an L1 penalty or a box nothing is known.
    """
    asked: dict[int, tuple[str, list[Query]]] = {}
    for i, (fit, wanted) in enumerate(zip(fits, kinds, strict=True)):
        state = fit.state
        kind = wanted or (CLASSICAL if isinstance(state, CovarianceState) else None)
        if data.sampling.kind == "oversample" or fit.problem.penalty.has_kinks:
            continue
        if isinstance(state, CovarianceState) and state.rank >= 0 and kind == CLASSICAL:
            fit.covariance = Covariance(state.rank, state.covariance)
        elif kind is not None:
            assert state.point is not None
            asked[i] = kind, _queries(fit.problem, state.point.theta, kind)
    if asked:
        answers = iter(data.run([query for _, queries in asked.values() for query in queries], reading))
        for i, (kind, queries) in asked.items():
            fits[i].count(data, queries)
            fits[i].covariance = _covariance(data, fits[i].problem, kind, [next(answers) for _ in queries])
    for fit in fits:
        _warn_dependent(fit)


def _queries(problem: Problem, theta: np.ndarray, kind: str) -> list[Query]:
    """What a covariance needs."""
    if kind == CLASSICAL:
        return [problem.hessian_query(theta)]
    return [problem.observed_query(theta), problem.scores_query(theta)]


def _covariance(data: Data, problem: Problem, kind: str, answers: Sequence[Any]) -> Covariance:
    if kind == CLASSICAL:
        (hessian,) = answers
        return Covariance.of(problem, estimable_matrix(problem, problem.hessian(hessian)), hessian.weight)
    found = Covariance.robust(problem, *answers)
    if kind == "HC0":
        return found
    rows = data.statistics_for(problem.fold, problem.class_weights).count
    left = rows - found.rank
    return replace(found, diagonal=found.diagonal * (rows / left if left > 0 else np.nan))


def _warn_dependent(fit: Fit) -> None:
    """Warn of columns that depend on each other; of other losses the matrix may be singular for other reasons."""
    columns = np.count_nonzero(fit.problem.scale) + int(fit.problem.fit_intercept)
    rank = fit.covariance.rank
    if fit.problem.loss.quadratic and 0 <= rank < columns:
        warn_data(
            f"the columns are linearly dependent (rank {rank} of {columns}): the coefficients are those of least "
            "norm in standardized units, and there are no standard errors."
        )
