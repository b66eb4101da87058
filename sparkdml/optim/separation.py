"""Separation: directions in which the labels get likelier forever, so that no finite coefficients are the best.

Where all rows of a group have the label 1, its coefficient grows with every iteration; so it falls where a group has
counts of zero only. A single column that separates shows in its smallest and largest values of each label. Of several
columns a fit cannot know from its own steps, which only get smaller, but from a look far ahead along a suspected
direction: one row that speaks against it costs there more than all others gain.

Source: A. Albert, J. Anderson, On the Existence of Maximum Likelihood Estimates in Logistic Regression Models (1984).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.losses import Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Line, LineSums

TAIL = 3e-4  # of a mean: a fit of a separated group to 1e-6 goes at least so far into the tail of its link
MOST = 4  # columns that are looked along, those that change margins most
LONG = 15  # iterations; Newton's method needs fewer where there is a minimum
AHEAD = np.array([0.0, 1.0, 32.0, 1e3, 1e6])  # how far to look, in margins
ROUNDING = 1e-10  # share of the loss by which sums over all rows may differ


@dataclass(frozen=True)
class Separation:
    """What separates the labels.

    Attributes
    ----------
    columns : the features, by number; none where they are not known.
    base : the value of the only column beyond which all rows have one label, or None.
    above, below : the label of the rows above and below the base; None where there are none, or the label is not known.
    """

    columns: tuple[int, ...] = ()
    base: float | None = None
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, eq=False)
class Direction:
    """A change of the raw coefficients (d, C) and intercepts (C,), and what it would separate.

    `exact` : rows that it does not separate keep their margins to the last digits.
    """

    w: np.ndarray
    b: np.ndarray
    separation: Separation
    exact: bool = True


def may_be_separated(problem: Problem, low: float, high: float) -> bool:
    """Return whether a label between these has no finite margin, and neither a penalty nor a bound holds the fit."""
    free = not problem.penalty.has_kinks and not np.any(problem.penalty.l2.strength)
    infinite = not (problem.loss.has_margin(low) and problem.loss.has_margin(high))
    return free and infinite and problem.aggregation == WEIGHTED_MEAN and not problem.settled


def separating_columns(
    problem: Problem, low: Mapping[float, np.ndarray], high: Mapping[float, np.ndarray]
) -> list[Separation]:
    """Return the single columns that separate the labels.

    With some c, rows of labels without an upper margin, such as 1, lie at or above c, rows of labels without a lower
    one, such as 0, at or below it, and all others exactly there; or the other way round. Without an intercept c is 0.

    Parameters
    ----------
    low, high : the smallest and largest value of each feature, (d,), by label.
    """
    found: dict[int, Separation] = {}
    for up, down in _sides(problem.loss, list(low)):
        rest = [label for label in low if label not in up and label not in down]
        for first, second in ((up, down), (down, up)):
            floor = _extreme(np.minimum, low, [*first, *rest], np.inf)
            ceiling = _extreme(np.maximum, high, [*second, *rest], -np.inf)
            apart = ceiling <= floor
            if not problem.fit_intercept:
                apart &= (ceiling <= 0.0) & (floor >= 0.0)
            for j in np.flatnonzero(apart & (problem.scale > 0.0)).tolist():
                base = float(ceiling[j]) if np.isfinite(ceiling[j]) else float(floor[j])
                above = first[0] if len(first) == 1 and high[first[0]][j] > base else None
                below = second[0] if len(second) == 1 and low[second[0]][j] < base else None
                found.setdefault(j, Separation((j,), base, above, below))
    return [found[j] for j in sorted(found)]


def _sides(loss: Loss, labels: Sequence[float]) -> list[tuple[list[float], list[float]]]:
    """The labels whose best margin is infinite above, and those below; of several classes, each against the others."""
    if loss.relative:
        return [([k], [label for label in labels if label != k]) for k in labels]
    infinite = [label for label in labels if not loss.has_margin(label)]
    return [([label for label in infinite if label > 0.0], [label for label in infinite if label <= 0.0])]


def _extreme(best: np.ufunc, ends: Mapping[float, np.ndarray], labels: Sequence[float], none: float) -> np.ndarray:
    """The smallest or largest of the ends of some labels, (d,)."""
    any_end = next(iter(ends.values()))
    return best.reduce([ends[label] for label in labels], axis=0) if labels else np.full(len(any_end), none)


def suspected(
    problem: Problem,
    theta: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    singles: bool,
    step: np.ndarray,
    iterations: int,
) -> list[Direction]:
    """Return the directions along which a fit that ended at theta may be separated; none for most fits.

    Parameters
    ----------
    low, high : of the features, (d,).
    singles : whether single columns are among them, since `separating_columns` could not be asked.
    step, iterations : the last step of a method that knows the matrix of second derivatives, (n,), which points to
        infinity where the fit is separated, or empty; and how many steps it took.
    """
    w, b = problem.raw(theta)
    if problem.loss.relative:
        w = w - w.mean(axis=1, keepdims=True)
    reach, far = high - low, _far(problem.loss)
    change = np.abs(w) * reach[:, None]
    found: list[Direction] = []
    if singles:
        places = [divmod(int(place), w.shape[1]) for place in np.argsort(-change, axis=None)[:MOST]]
        found += [each for j, k in places if change[j, k] >= far for each in _along(w, j, k, low, high)]
    if len(b) == 1 and abs(b[0]) >= far:
        found += _against_intercept(w, float(b[0]), (change >= far) & (np.sign(w) == -np.sign(b)), reach, low)
    if len(step) and iterations >= LONG and change.max(initial=0.0) >= far:
        found += _last_step(problem, step, reach)
    return found


def line(problem: Problem, theta: np.ndarray, direction: Direction) -> Line:
    """Return the query whose answer `holds` judges."""
    w, b = problem.raw(theta)
    return Line(problem.loss, w, b, direction.w, direction.b, AHEAD, problem.fold, class_weights=problem.class_weights)


def holds(direction: Direction, sums: LineSums) -> bool:
    """Return whether the loss never rises ahead; of an inexact direction, as far as it can be trusted."""
    values = sums.values if direction.exact else sums.values[:-1]
    return bool(np.all(values <= values[0] + ROUNDING * abs(values[0])))


def _far(loss: Loss) -> float:
    """The change of a margin that leads from the middle of the means into a tail."""
    if loss.relative:
        return float(-np.log(TAIL))
    tails = [TAIL] if loss.has_margin(1.0) else [TAIL, 1.0 - TAIL]
    return float(np.min(np.abs(loss.link(np.array(tails)) - loss.link(np.array([0.5])))))


def _along(w: np.ndarray, j: int, k: int, low: np.ndarray, high: np.ndarray) -> list[Direction]:
    """Along one coefficient, such that the rows at one end of its column keep their margins."""
    found = []
    for base in (low[j], high[j]):
        dw, db = np.zeros_like(w), np.zeros(w.shape[1])
        dw[j, k] = np.sign(w[j, k]) / (high[j] - low[j])
        db[k] = -dw[j, k] * base
        found.append(Direction(dw, db, Separation((j,), float(base))))
    return found


def _against_intercept(
    w: np.ndarray, b: float, chosen: np.ndarray, reach: np.ndarray, low: np.ndarray
) -> list[Direction]:
    """Along several coefficients against the intercept: the levels of a category and the one that has no column."""
    columns = tuple(np.flatnonzero(chosen[:, 0]).tolist())
    if len(columns) < 2:
        return []
    dw = np.where(chosen, np.sign(w) / np.where(reach > 0.0, reach, 1.0)[:, None], 0.0)
    return [Direction(dw, np.sign(b) - low @ dw, Separation(columns))]


def _last_step(problem: Problem, step: np.ndarray, reach: np.ndarray) -> list[Direction]:
    """Along the last step, in which all that is not separated has come to rest."""
    if not np.any(step) or not np.all(np.isfinite(step)):
        return []
    dw, db = problem.raw(step)
    size = float(np.max(np.abs(dw) * reach[:, None], initial=0.0))
    return [Direction(dw / size, db / size, Separation(), exact=False)] if size > 0.0 else []
