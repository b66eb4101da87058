"""How what the partitions tell becomes one: exactly, or so that a few corrupted partitions do not decide.

Source: D. Yin, Y. Chen, K. Ramchandran, P. Bartlett, Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates (2018).
"""

from collections.abc import Callable

import numpy as np

from sparkdml.errors import ParamError

WEIGHTED_MEAN = "weighted_mean"  # the exact one: of means by their weights it makes the mean of all rows
TRIM = 0.25  # the share of the partitions that a trimmed mean leaves out at each end: the interquartile mean


def aggregate(name: str, stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One array of the arrays of P partitions, coordinate by coordinate.

    A partition of weight zero is left out. Of the robust ways, "median" and "trimmed_mean", each other partition counts
    alike, but one with any number that is not finite is left out too; where none is left, the result is NaN.

    Parameters
    ----------
    name : one of `AGGREGATIONS`.
    stacked : (P, ...), means over the rows of each partition.
    weights : (P,), the sum of the weights of the rows of each.

    Returns
    -------
    (...); equal arrays give exactly that array, unless by "weighted_mean" or "mean", which round.

    Raises ParamError for any other name.

    >>> stacked = np.array([[1.0], [2.0], [3.0], [4.0], [1e9]])
    >>> [float(aggregate(name, stacked, np.ones(5))[0]) for name in ("median", "trimmed_mean")]
    [3.0, 3.0]
    """
    if name not in AGGREGATIONS:
        raise ParamError(f"aggregation={name!r} is not one of {', '.join(map(repr, AGGREGATIONS))}.")
    kept = weights > 0.0
    if name in ROBUST:
        kept &= np.isfinite(stacked).all(axis=tuple(range(1, stacked.ndim)))
    if not kept.any():
        return np.full(stacked.shape[1:], np.nan)
    return AGGREGATIONS[name](stacked[kept], weights[kept])


def _weighted_mean(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.tensordot(weights / weights.sum(), stacked, axes=1)


def _mean(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(stacked.mean(axis=0))


def _median(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.median(stacked, axis=0))


def _trimmed_mean(stacked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of those in the middle, about one of them, so that equal ones give exactly that."""
    count = len(stacked)
    cut = min(max(int(TRIM * count), 1), (count - 1) // 2)  # one at least, as long as one is left
    middle = np.sort(stacked, axis=0)[cut : count - cut]
    about = middle[len(middle) // 2]
    return np.asarray(about + (middle - about).mean(axis=0))


AGGREGATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    WEIGHTED_MEAN: _weighted_mean,
    "mean": _mean,
    "median": _median,
    "trimmed_mean": _trimmed_mean,
}
ROBUST = ("median", "trimmed_mean")
