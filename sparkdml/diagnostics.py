"""What is found out about a fit after its end, and the warnings of what a user should know."""

from collections.abc import Sequence

import numpy as np

from sparkdml.blocks.stats import Statistics
from sparkdml.checks import warn_data
from sparkdml.engine.data import DEFAULT_READING, Data, Reading
from sparkdml.engine.minimize import Fit
from sparkdml.errors import ConvergenceWarning, warn
from sparkdml.optim.problem import Problem
from sparkdml.optim.separation import (
    Direction,
    Separation,
    holds,
    line,
    may_be_separated,
    separating_columns,
    suspected,
)
from sparkdml.optim.solvers import State, StopReason
from sparkdml.optim.solvers.local_descent import SKEWED
from sparkdml.optim.solvers.newton import MatrixState

ROUNDING = 8 * np.finfo(float).eps  # residuals of this share of the labels are of their rounding
MOST_NAMES = 5  # columns that a warning names


def measure_separation(fits: Sequence[Fit], data: Data, reading: Reading = DEFAULT_READING) -> None:
    """Note in each fit what separates its labels: from the statistics, and by one pass for what is suspected beyond."""
    asked: dict[int, list[Direction]] = {}
    for i, fit in enumerate(fits):
        statistics = data.statistics_for(fit.problem.fold, fit.problem.class_weights)
        early = fit.state.stop is StopReason.VALIDATION
        if early or not may_be_separated(fit.problem, statistics.low[-1], statistics.high[-1]):
            continue
        known = data.cells.tell(fit.problem.fold, by_class=True)
        fit.separated = _separating_columns(fit, data) if known else []
        if not fit.separated and (found := _suspected(fit, statistics, not known)):
            asked[i] = found
    if not asked:
        return
    queries = {i: [line(fits[i].problem, _theta(fits[i]), each) for each in found] for i, found in asked.items()}
    answers = iter(data.run([query for each in queries.values() for query in each], reading))
    for i, found in asked.items():
        fits[i].count(data, queries[i])
        judged = [(each.separation, holds(each, next(answers))) for each in found]  # type: ignore[arg-type]
        fits[i].separated = [separation for separation, true in judged if true]


def _separating_columns(fit: Fit, data: Data) -> list[Separation]:
    parts = data.cells.outside(fit.problem.fold).weighted(fit.problem.class_weights).parts.items()
    by_label: dict[float, Statistics] = {}
    for (_, label), part in parts:
        if part.weight > 0.0:
            by_label[float(label)] = by_label[label].merge(part) if label in by_label else part  # type: ignore
    ends = ({label: getattr(part, end)[:-1] for label, part in by_label.items()} for end in ("low", "high"))
    return separating_columns(fit.problem, *ends)


def _suspected(fit: Fit, statistics: Statistics, singles: bool) -> list[Direction]:
    step = fit.state.direction if isinstance(fit.state, MatrixState) else np.empty(0)
    ends = statistics.low[:-1], statistics.high[:-1]
    return suspected(fit.problem, _theta(fit), *ends, singles, step, fit.state.iterations)


def _theta(fit: Fit) -> np.ndarray:
    assert fit.state.point is not None
    return fit.state.point.theta


def warn_unconverged(fit: Fit, remedy: str) -> None:
    """Warn that the solver did not converge, and say what may help."""
    state, solver = fit.state, getattr(fit.solver, "inner", fit.solver)
    gap = f", with an objective at most {state.gap:.2g} times itself above its minimum" if state.gap < 1.0 else ""
    if fit.separated:
        advice = "more iterations do not help, since the labels are separated: set regParam above 0"
    elif getattr(state, "inner", state).stop is StopReason.STUCK or state.stop is StopReason.STUCK:
        advice = f"no step lowers the objective any more: rescale the columns, raise regParam, or {remedy}"
    else:
        advice = f"raise maxIter={solver.max_iter}, or {remedy}"
    warn(
        f"solver={fit.solver.name!r} stopped after {state.iterations} iterations before it converged{gap}: {advice}.",
        ConvergenceWarning,
    )


def warn_separated(statistics: Statistics, fit: Fit, names: Sequence[str], loss: float | None = None) -> None:
    """Warn of labels that are separated, which no finite coefficients fit best.

    Parameters
    ----------
    names : of the features, (d,).
    loss : the mean log loss of a classifier. Where it is below log 2 / n no row is on the wrong side of the plane; with
        offsets it need not be a plane that separates, and labels between 0 and 1 may be fitted as well as that.
    """
    complete = loss is not None and _is_complete(statistics, fit.problem, loss)
    if not (complete or fit.separated):
        return
    columns = list(dict.fromkeys(names[j] for each in fit.separated for j in each.columns))
    what = "a combination of columns predicts some labels perfectly"
    if columns:
        more = f" and {len(columns) - MOST_NAMES} more" * (len(columns) > MOST_NAMES)
        listed = ", ".join(map(repr, columns[:MOST_NAMES])) + more
        what = f"column{'s' * (len(columns) > 1)} {listed}: {_rows_of(fit.separated)}"
    if complete:
        what = "a plane separates the classes" + f" ({what})" * bool(columns)
    warn_data(
        f"separation: {what}, so that no finite coefficients are best: without a penalty they grow with every "
        "iteration, and they and their standard errors mean nothing; set regParam above 0, leave the columns out, or "
        "merge the levels with others."
    )


def _rows_of(separated: Sequence[Separation]) -> str:
    """Which rows have which label."""
    first = separated[0]
    if first.base is None:
        return "together they leave rows, such as a level without a column of its own, that all have the same label"
    sides = [("above", first.above), ("below", first.below)]
    known = [f"{side} {first.base:g} have the label {label:g}" for side, label in sides if label is not None]
    if len(separated) > 1 or not known:
        return "all rows beyond one value have the same label"
    return "all rows " + " and all ".join(known)


def _is_complete(statistics: Statistics, problem: Problem, loss: float) -> bool:
    free = not problem.penalty.has_l1 and not np.any(problem.penalty.l2.strength)
    whole = all(label == int(label) for label in statistics.labels or [0.5])
    mixed = statistics.net is None and statistics.variance[-1] > 0.0
    return free and whole and mixed and loss * statistics.count < np.log(2.0)


def warn_perfect(loss: float, label: float) -> None:
    """Warn of residuals that are the rounding of the labels: what is estimated from them is noise.

    Parameters
    ----------
    loss : half of the mean squared residual, in some unit.
    label : the mean squared label in this unit.
    """
    if 0.0 <= 2.0 * loss <= ROUNDING**2 * label:
        warn_data(
            "an essentially perfect fit: the residuals are not above the rounding of the labels, so that standard "
            "errors, t and p values mean nothing; check whether a feature is computed from the label."
        )


def warn_skewed(state: State) -> None:
    """Warn where walks of the partitions had to be steered far from where their own rows lead."""
    cosine = getattr(getattr(state, "inner", state), "cosine", 1.0)
    if cosine < SKEWED:
        warn_data(
            "the partitions are skewed: the smallest cosine between a partition's gradient and the mean is "
            f"{cosine:.2f}; solver='local-sgd' corrects for it in more passes, which partitioning='random' or "
            "'stratified' saves."
        )
