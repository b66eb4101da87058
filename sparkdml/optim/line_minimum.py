"""The minimum of a function of one variable, from its values and slopes at several points a pass."""

from dataclasses import dataclass, field, replace

import numpy as np

# Points of a pass. With the middle of the interval and those about the estimate each pass shortens the interval at
# least by half, and a smooth function is done in four to six passes.
ABOUT = np.array([-16.0, -4.0, -1.0, 0.0, 1.0, 4.0, 16.0])
NEIGHBOURS = 6  # points through which the slope is interpolated
LONGEST = 60  # passes; an interval of 1e300 takes 50
APART = 1e-7  # share of the range looked at: slopes of points nearer to each other differ by little but rounding
PRECISE = 1e-14  # share of the value that is left to gain at the end


@dataclass(frozen=True, eq=False)
class LineMinimum:
    """A search for the minimum: ask for values and slopes at `points`, give them to `narrowed`, until it is `done`.

    The minimum is kept between two points. The next points are the middles of this interval, and some about the root of
    the slope, by inverse interpolation through the nearest points. A function with several minima ends at the one next
    to the lowest of the first points.

    Parameters
    ----------
    points : where to look first, ascending, (T,).
    low, high : the ends of the domain, exclusive; infinite where there are none.

    Attributes
    ----------
    at, values, slopes : what is known, at ascending points where the value is finite, (m,) each.
    passes : how often the search was narrowed.

    Source: R. Brent, Algorithms for Minimization without Derivatives (1973).

    >>> search = LineMinimum(np.array([0.0, 1.0, 5.0]))
    >>> while not search.done:
    ...     search = search.narrowed(np.cosh(search.points - 2.0), np.sinh(search.points - 2.0))
    >>> round(search.minimum, 7)
    2.0
    """

    points: np.ndarray
    low: float = -np.inf
    high: float = np.inf
    at: np.ndarray = field(default_factory=lambda: np.empty(0))
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    slopes: np.ndarray = field(default_factory=lambda: np.empty(0))
    passes: int = 0

    @property
    def minimum(self) -> float:
        """The best point so far."""
        return float(self.at[self._best])

    @property
    def value(self) -> float:
        """The value there."""
        return float(self.values[self._best])

    @property
    def _best(self) -> int:
        """Return the index of the lowest value; among values equal up to rounding, that of the smallest slope."""
        lowest = self.values.min()
        level = self.values <= lowest + 4.0 * np.finfo(float).eps * abs(lowest)
        return int(np.argmin(np.where(level, np.abs(self.slopes), np.inf)))

    @property
    def _interval(self) -> tuple[float, float]:
        """The points on both sides of the best one, as far as its slope leaves them open; else an end of the domain."""
        k = self._best
        left = self.at[k - 1] if k > 0 else self.low
        right = self.at[k + 1] if k + 1 < len(self.at) else self.high
        return (self.at[k], right) if self.slopes[k] < 0.0 else (left, self.at[k])

    @property
    def curvature(self) -> float:
        """The change of the slope between points around the minimum, as near as rounding lets them be."""
        apart = APART * (self.at[-1] - self.at[0])
        below, above = self.at <= self.minimum - apart, self.at >= self.minimum + apart
        i = int(np.flatnonzero(below)[-1]) if below.any() else self._best
        j = int(np.flatnonzero(above)[0]) if above.any() else self._best
        return float((self.slopes[j] - self.slopes[i]) / (self.at[j] - self.at[i])) if i < j else 0.0

    @property
    def done(self) -> bool:
        """Whether the slope times the interval, a bound of what is left to gain, is lost in rounding."""
        if not len(self.at):
            return self.passes >= LONGEST
        k, (left, right) = self._best, self._interval
        if self.slopes[k] == 0.0 or self.passes >= LONGEST:
            return True
        width = right - left
        return bool(width <= 4.0 * np.spacing(abs(self.at[k])) or abs(self.slopes[k]) * width <= PRECISE * self.value)

    def narrowed(self, values: np.ndarray, slopes: np.ndarray) -> "LineMinimum":
        """The search that knows the values and slopes at `points` too, and has chosen the next points."""
        finite = np.isfinite(values) & np.isfinite(slopes)
        at, first = np.unique(np.append(self.at, self.points[finite]), return_index=True)
        known = replace(
            self,
            at=at,
            values=np.append(self.values, values[finite])[first],
            slopes=np.append(self.slopes, slopes[finite])[first],
            passes=self.passes + 1,
        )
        return replace(known, points=known._next())

    def _next(self) -> np.ndarray:
        if not len(self.at):  # nowhere finite: look nearer to the ends of the domain, and farther out
            middle = float(np.mean(self.points))
            return np.unique(np.append(_between(self.low, middle), _between(middle, self.high)))
        left, right = self._interval
        inside = _between(left, right)
        if np.isfinite(left) and np.isfinite(right):
            root, error = self._root()
            near = root + max(error, np.spacing(abs(root))) * ABOUT
            inside = np.append(inside, near[(near > left) & (near < right)])
        return np.unique(inside)

    def _root(self) -> tuple[float, float]:
        """Where the slope is expected to be zero, by Neville's interpolation of the inverse, and how sure that is."""
        nearest = np.argsort(np.abs(self.at - self.minimum))[:NEIGHBOURS]
        x, y = self.at[nearest], self.slopes[nearest]
        keep = np.unique(y, return_index=True)[1]
        p, y = x[np.sort(keep)].copy(), y[np.sort(keep)]
        before = p[0]
        for m in range(1, len(p)):
            before = p[0]
            p = (y[m:] * p[:-1] - y[: len(y) - m] * p[1:]) / (y[m:] - y[: len(y) - m])
        return float(p[0]), float(abs(p[0] - before))


def _between(left: float, right: float) -> np.ndarray:
    """Points inside of an interval; towards an infinite end ever farther away."""
    if np.isfinite(left) and np.isfinite(right):
        return left + (right - left) * np.array([0.001, 0.25, 0.5, 0.75, 0.999])
    away = np.geomspace(1.0, 1e6, 7)
    if np.isfinite(left):
        return left + away * max(abs(left), 1.0) * 0.25
    return right - away * max(abs(right), 1.0) * 0.25 if np.isfinite(right) else np.append(-away, away)
