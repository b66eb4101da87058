"""Statistics of the columns, merged pairwise.

Source: T. Chan, G. Golub, R. LeVeque, Algorithms for Computing the Sample Variance (1983).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sparkdml.blocks.block import Block

# Above so many distinct values a label is not counted, since it is no class; unless they are the numbers of classes.
MAX_LABELS, MAX_CLASSES = 256, 8192
RANGES = np.array([-1.0, 0.0, 1.0, 2.0])  # one label of each range that families tell apart; the third is (0, 1]
VAST = 1e150  # some digits below the largest number that has a square
NO_OFFSETS = np.array([np.inf, -np.inf])
MOMENTS = ("mean", "m2", "low", "high", "vast")  # those that each column has


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of the columns: the d features, then the label. Rows of weight zero count in `count` only.

    Attributes
    ----------
    count, weight : rows, and the sum of their weights.
    concentration : sum s^2 / (sum s)^2 of the weights s: 1 / n where they are equal, 1 where one row has all of it.
    mean, m2 : weighted means and sums of squared deviations from them, (d + 1,).
    low, high : the smallest and largest value, (d + 1,).
    vast : how many values are so large that their squares may overflow, (d + 1,).
    nonzeros : how many feature values are stored and not zero.
    ranges : how many labels are negative, zero, positive but at most one, and above one: those of `RANGES`, (4,).
    labels : rows and weight of each label; None above 256 labels, or above 8192 that are whole numbers from 0 on.
    net : those of label - offset, without features; None where there are no offsets.
    offsets : the smallest and the largest offset, (2,); infinite, and in reverse order, where there are none.
    """

    count: int
    weight: float
    concentration: float
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    vast: np.ndarray
    nonzeros: int
    ranges: np.ndarray
    labels: dict[float, tuple[int, float]] | None
    net: "Statistics | None" = None
    offsets: np.ndarray = field(default_factory=lambda: NO_OFFSETS)

    @classmethod
    def empty(cls, columns: int) -> "Statistics":
        """Statistics of no rows of `columns` features."""
        p = columns + 1
        low, vast, ranges = np.full(p, np.inf), np.zeros(p, int), np.zeros(len(RANGES), int)
        return cls(0, 0.0, 0.0, np.zeros(p), np.zeros(p), low, -low, vast, 0, ranges, {})

    @classmethod
    def of(cls, block: Block) -> "Statistics":
        """Statistics of one block: two looks at each chunk of dense rows, from the cache."""
        total = cls.empty(block.columns)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever fits refuses moments that are not finite
            for chunk in block.chunks() if isinstance(block.features, np.ndarray) else [block]:
                total = total.merge(_of_chunk(chunk))
        return total

    @property
    def center(self) -> np.ndarray:
        """The mean, exactly the value of a column that never changes, (d + 1,)."""
        return np.where(self.low < self.high, self.mean, self.low)

    @property
    def variance(self) -> np.ndarray:
        """m2 / weight, exactly zero for a column that never changes, (d + 1,)."""
        return np.where(self.low < self.high, self.m2 / max(self.weight, np.finfo(float).tiny), 0.0)

    @property
    def sample_variance(self) -> np.ndarray:
        """m2 / (sum s - sum s^2 / sum s), unbiased where weights say how reliable a row is; as `variance`, (d + 1,).

        Without weights the divisor is n - 1. pyspark.ml's Summarizer and the estimators that use it divide so.
        """
        free = 1.0 - self.concentration
        return self.variance / free if free > 0.0 else np.zeros_like(self.m2)

    @property
    def net_of_offset(self) -> "Statistics":
        """The statistics with label - offset as the label, which is all that a loss of y - z sees of both."""
        if self.net is None:
            return self
        moments: dict[str, Any] = {
            name: np.append(getattr(self, name)[:-1], getattr(self.net, name)) for name in MOMENTS
        }
        return replace(self, **moments, ranges=self.net.ranges, net=None)

    @property
    def mean_offset(self) -> float:
        """The weighted mean of the offsets; zero where there are none."""
        return 0.0 if self.net is None else float(self.center[-1] - self.net.center[-1])

    @property
    def density(self) -> float:
        """The share of feature values that are not zero."""
        return self.nonzeros / max(self.count * (len(self.mean) - 1), 1)

    def weight_of_classes(self, class_weights: Mapping[float, float]) -> float:
        """The sum of the weights, times those of the rows' classes where there are any."""
        if not class_weights:
            return self.weight
        return sum(class_weights.get(label, 1.0) * weight for label, (_, weight) in (self.labels or {}).items())

    def scaled(self, factor: float) -> "Statistics":
        """The statistics of the same rows with their weights times a factor of zero or more."""
        labels = self.labels and {label: (count, factor * weight) for label, (count, weight) in self.labels.items()}
        net = self.net and self.net.scaled(factor)
        if factor == 0.0:
            return replace(Statistics.empty(len(self.mean) - 1), count=self.count, labels=labels, net=net)
        return replace(self, weight=factor * self.weight, m2=factor * self.m2, labels=labels, net=net)

    def merge(self, other: "Statistics") -> "Statistics":
        """The statistics of the rows of both."""
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # whoever fits refuses moments that are not finite
            delta = other.mean - self.mean
            mean = self.mean + delta * share
            m2 = self.m2 + other.m2 + delta * delta * (self.weight * share)
        return Statistics(
            self.count + other.count,
            weight,
            self.concentration * (1.0 - share) ** 2 + other.concentration * share**2,
            mean,
            m2,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.vast + other.vast,
            self.nonzeros + other.nonzeros,
            self.ranges + other.ranges,
            _merge_labels(self.labels, other.labels),
            self.net.merge(other.net) if self.net and other.net else self.net or other.net,
            np.array([min(self.offsets[0], other.offsets[0]), max(self.offsets[1], other.offsets[1])]),
        )


def _of_chunk(chunk: Block) -> Statistics:
    count = chunk.rows
    labels = _count_labels(chunk)
    net = None if chunk.offset is None else _of_chunk(_net(chunk))
    if chunk.weight is not None and not np.all(chunk.weight):
        chunk = chunk[np.flatnonzero(chunk.weight)]
    weight = float(chunk.weights.sum())
    if not chunk.rows:
        empty = Statistics.empty(chunk.columns)
        return replace(empty, count=count, labels=labels, net=net)
    moments = _dense_moments if isinstance(chunk.features, np.ndarray) else _sparse_moments
    columns = np.array(moments(chunk, weight))
    centred = chunk.label - (mean := float(chunk.weights @ chunk.label) / weight)
    label = [mean, float(chunk.weights @ centred**2), chunk.label.min(), chunk.label.max()]
    mean_, m2, low, high = np.column_stack([columns, label])
    concentration = float(np.square(chunk.weights / weight).sum())
    counts = _count_vast(chunk, low, high), int(_nonzeros(chunk)), _count_ranges(chunk.label)
    offsets = NO_OFFSETS if chunk.offset is None else np.array([chunk.offset.min(), chunk.offset.max()])
    return Statistics(count, weight, concentration, mean_, m2, low, high, *counts, labels, net, offsets)


def _net(chunk: Block) -> Block:
    """The rows without features, label - offset being their label."""
    return Block(np.empty((chunk.rows, 0)), chunk.net_label, chunk.weight)


def _dense_moments(chunk: Block, weight: float) -> tuple[np.ndarray, ...]:
    X = np.asarray(chunk.features)
    mean = chunk.weights @ X / weight
    return mean, chunk.weights @ np.square(X - mean), X.min(axis=0), X.max(axis=0)


def _sparse_moments(chunk: Block, weight: float) -> tuple[np.ndarray, ...]:
    """The zeros that are not stored count once, by their weight: nothing cancels."""
    X: csr_array = chunk.features
    d = chunk.columns
    row_weights = np.repeat(chunk.weights, np.diff(X.indptr))
    mean = np.bincount(X.indices, row_weights * X.data, d) / weight
    stored = np.bincount(X.indices, row_weights, d)
    m2 = np.bincount(X.indices, row_weights * np.square(X.data - mean[X.indices]), d)
    m2 = m2 + np.maximum(weight - stored, 0.0) * mean**2
    gaps = np.bincount(X.indices, minlength=d) < chunk.rows
    low, high = np.where(gaps, 0.0, np.inf), np.where(gaps, 0.0, -np.inf)
    np.minimum.at(low, X.indices, X.data)
    np.maximum.at(high, X.indices, X.data)
    return mean, m2, low, high


def _count_vast(chunk: Block, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How many values of each column, with ends `low` and `high`, and of the label are beyond `VAST`, (d + 1,)."""
    X, reach = chunk.features, np.maximum(np.abs(low), np.abs(high))
    if np.all(reach <= VAST):  # as in all tables but wrong ones
        return np.zeros(len(reach), int)
    if isinstance(X, np.ndarray):
        columns = np.count_nonzero(np.abs(X) > VAST, axis=0)
    else:
        columns = np.bincount(X.indices[np.abs(X.data) > VAST], minlength=chunk.columns)
    return np.append(columns, np.count_nonzero(np.abs(chunk.label) > VAST))


def _count_ranges(y: np.ndarray) -> np.ndarray:
    """How many labels are in each of the ranges, (4,)."""
    least, zero, positive, above = (int(np.count_nonzero(part)) for part in (y < 0.0, y == 0.0, y > 0.0, y > 1.0))
    return np.array([least, zero, positive - above, above])


def _nonzeros(chunk: Block) -> int:
    X = chunk.features
    return int(np.count_nonzero(X if isinstance(X, np.ndarray) else X.data))


def _count_labels(chunk: Block) -> dict[float, tuple[int, float]] | None:
    y = chunk.label
    if len(y) and np.all(y == y[0]):  # as of all rows of a class, which need no sorting; nor do those of a regression
        return {float(y[0]): (len(y), float(chunk.weights.sum()))}
    if not _are_counted(np.unique(y[: 2 * MAX_LABELS])):
        return None
    values, which, counts = np.unique(y, return_inverse=True, return_counts=True)
    if not _are_counted(values):
        return None
    weights = np.bincount(which, chunk.weights, len(values))
    return {float(v): (int(n), float(w)) for v, n, w in zip(values, counts, weights, strict=True)}


def _merge_labels(
    a: dict[float, tuple[int, float]] | None, b: dict[float, tuple[int, float]] | None
) -> dict[float, tuple[int, float]] | None:
    if a is None or b is None:
        return None
    merged = dict(a)
    for label, (count, weight) in b.items():
        seen, sum_ = merged.get(label, (0, 0.0))
        merged[label] = (seen + count, sum_ + weight)
    return merged if len(merged) <= MAX_LABELS or _are_counted(np.array(list(merged))) else None


def _are_counted(labels: np.ndarray) -> bool:
    """Whether so many distinct labels are still counted: a function of their set, in whatever order they came."""
    if len(labels) <= MAX_LABELS:
        return True
    return len(labels) <= MAX_CLASSES and bool(np.all((labels >= 0.0) & (np.floor(labels) == labels)))
