"""What may be asked of the data in one pass, and the sums that come back.

Queries are values; they say nothing of where the data live or how a sum is computed. All arrays are float64.
`w` (d, C) and `b` (C,) are raw: they act on the features as they are, z = x.w + b + offset.
Where a query has a `fold`, the rows of that fold are left out; -1 leaves out none. Where it has a `sample`, no other
rows are looked at. Its `class_weights` multiply the weights of the rows with these labels; rows with other labels keep
theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, Self, TypeAlias, TypeVar

import numpy as np

from sparkdml.optim.losses import GeneralizedLinear, Loss


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows: two parts of the data merge by adding field to field."""

    def merge(self, other: Self) -> Self:
        """The sums over the rows of both."""
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Sample:
    """Ask a share of the rows only: a window of every block, so that the other rows are not even read.

    The rows of a block are stored in a random order, and the window begins anywhere and goes on at the block's start
    where it meets its end: every row is as likely as any other. Windows are a function of (seed, step, partition)
    alone, so a task that runs again reads the same rows. Their lengths are rounded at random, so that of small blocks
    too `fraction` of the rows are read in the long run; in all of one partition at least one row is.

    Attributes
    ----------
    fraction : the share of the rows, in (0, 1].
    seed, step : which of the samples of this share.
    """

    fraction: float
    seed: int
    step: int

    def windows(self, partition: int, blocks: Sequence[int]) -> list[list[slice]]:
        """Which rows to read of each block of a partition, given the blocks' row counts; one or two slices each.

        >>> Sample(0.5, 0, 0).windows(0, [4, 4])
        [[slice(1, 3, None)], [slice(0, 2, None)]]
        """
        key = np.random.SeedSequence([self.seed & _WORD, self.step & _WORD, partition & _WORD])
        generator = np.random.Generator(np.random.Philox(key))
        lengths = np.floor(np.multiply(self.fraction, blocks) + generator.random(len(blocks))).astype(int)
        if not lengths.any() and any(blocks):
            lengths[int(np.argmax(blocks))] = 1
        starts = (generator.random(len(blocks)) * np.asarray(blocks)).astype(int)
        return [_circular(int(start), int(n), rows) for start, n, rows in zip(starts, lengths, blocks, strict=True)]


_WORD = 0xFFFFFFFFFFFFFFFF


def _circular(start: int, count: int, rows: int) -> list[slice]:
    """`count` of `rows` rows from `start` on, around the end."""
    end = start + min(count, rows)
    return [slice(*each) for each in ((start, min(end, rows)), (0, end - rows)) if each[0] < each[1]]


@dataclass(frozen=True, eq=False)
class Gradient:
    """Ask for the loss and its gradient at (w, b)."""

    loss: Loss
    w: np.ndarray
    b: np.ndarray
    fold: int = -1
    sample: Sample | None = None
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return 8 * (self.w.size + self.b.size + 2)


@dataclass(frozen=True, eq=False)
class GradientSums(Sums):
    """sum_i s_i l_i, its derivatives by w (d, C) and b (C,), and sum_i s_i, for sample weights s."""

    value: float
    w: np.ndarray
    b: np.ndarray
    weight: float


@dataclass(frozen=True, eq=False)
class Line:
    """Ask for the loss and its slope at (w, b) + t (dw, db) for every step t of `steps` (T,)."""

    loss: Loss
    w: np.ndarray
    b: np.ndarray
    dw: np.ndarray
    db: np.ndarray
    steps: np.ndarray
    fold: int = -1
    sample: Sample | None = None
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return 8 * (2 * len(self.steps) + 1)


@dataclass(frozen=True, eq=False)
class LineSums(Sums):
    """sum_i s_i l_i at each step (T,), its derivative by the step (T,), and sum_i s_i."""

    values: np.ndarray
    slopes: np.ndarray
    weight: float


@dataclass(frozen=True, eq=False)
class Gram:
    """Ask for the moments of the rows v = (features, label - offset) about `shift` (d + 1,).

    A shift near the means keeps a column with a large mean and a small spread exact. On sparse rows each
    column with a non-zero shift is made dense, so let it be zero where the spread is not small.
    """

    shift: np.ndarray
    fold: int = -1
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        p = len(self.shift)
        return 8 * (p + 1 + p * (p + 1) // 2)


@dataclass(frozen=True, eq=False)
class GramSums(Sums):
    """sum_i s_i, sum_i s_i (v_i - shift) (p,), and the lower triangle of sum_i s_i (v_i - shift)(v_i - shift)^T.

    The triangle is packed row by row: entry (i, j <= i) stands at i (i + 1) / 2 + j.
    """

    weight: float
    first: np.ndarray
    second: np.ndarray

    def matrix(self) -> np.ndarray:
        """The second moments as a full symmetric matrix (p, p)."""
        return unpacked(self.second)


def unpacked(triangle: np.ndarray) -> np.ndarray:
    """A symmetric matrix (p, p) from its lower triangle, packed row by row, (p (p + 1) / 2,).

    >>> unpacked(np.array([1.0, 2.0, 3.0]))
    array([[1., 2.],
           [2., 3.]])
    """
    p = int(np.sqrt(2 * len(triangle)))
    full = np.empty((p, p))
    lower = np.tril_indices(p)
    full[lower] = triangle
    full.T[lower] = triangle
    return full


@dataclass(frozen=True, eq=False)
class Hessian:
    """Ask for the expected second derivatives of the loss at (w, b), in the moments of rows v = (features - shift, 1).

    They are those of `Loss.fisher`, never indefinite; for the shift (d,) the same holds as for that of `Gram`.
    """

    loss: Loss
    w: np.ndarray
    b: np.ndarray
    shift: np.ndarray
    fold: int = -1
    sample: Sample | None = None
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        p, C = len(self.shift) + 1, len(self.b)
        return 8 * (1 + p * (p + 1) // 2 * (C * (C + 1) // 2))


class ObservedHessian(Hessian):
    """Ask for the second derivatives that the labels give the loss, those of `Loss.hessian`, in the same moments.

    Of a link that is not canonical they are those of `Hessian` on average alone, and may be indefinite.
    """


class Scores(Hessian):
    """Ask for the products of the rows' own gradients, in the same moments: what sandwich estimators have inside.

    The weight of a row is not how often it is there: it multiplies the row's gradient, and counts twice in the product.
    """


@dataclass(frozen=True, eq=False)
class HessianSums(Sums):
    """sum_i s_i, and sum_i h_iab v_i v_i^T, packed like a Gram matrix, for each pair of margins a >= b in turn.

    The weight h_iab is s_i times a second derivative of the loss by the margins a and b, of `Scores` s_i^2 times the
    product of the first derivatives. `second` has shape (C (C + 1) / 2, p (p + 1) / 2), p = d + 1.
    """

    weight: float
    second: np.ndarray


@dataclass(frozen=True, eq=False)
class Units:
    """The variables of a solver, theta = (u, c) with u = w / inverse_scale and c = b + center . w, as data need them.

    The same in every pass of a fit, so that they travel once. `ridge` is the strength of the L2 penalty, (n,).
    """

    center: np.ndarray
    inverse_scale: np.ndarray
    ridge: np.ndarray
    fit_intercept: bool


@dataclass(frozen=True, eq=False)
class LocalEpoch:
    """Ask every partition for a walk of its own: mini-batch descent through all of its rows, beginning at (w, b).

    A partition p walks by theta <- theta - step (g_B(theta) - g_B(start) + ridge (theta - start) + control) where g_B
    is the gradient of the mean loss on the mini-batch B. `control` (n,) is the same everywhere: with the gradient
    of the whole objective at the start, the walk of a partition whose rows differ from the others' is steered by all
    rows, and there is no noise at the minimum.

    Attributes
    ----------
    step : of a step that is as long as the curvature of the rows allows.
    free : (n,), where the walk may move, or None for everywhere.
    measured : whether `control` is the gradient of the loss, against which each partition compares its own.
    """

    loss: Loss
    w: np.ndarray
    b: np.ndarray
    units: Units
    control: np.ndarray
    step: float = 1.0
    free: np.ndarray | None = None
    measured: bool = False
    fold: int = -1
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return 8 * (self.control.size + 2)


@dataclass(frozen=True, eq=False)
class LocalEpochSums(Sums):
    """sum_p s_p (theta_p - start), (n,), of the partitions' walks, s_p being the weight of their rows, and sum_p s_p.

    `cosine` is the smallest between the gradient of a partition and `control`; one where it was not measured.
    """

    walk: np.ndarray
    weight: float
    cosine: float

    def merge(self, other: Self) -> Self:
        return replace(super().merge(other), cosine=min(self.cosine, other.cosine))


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Ask for the loss alone at (w, b), of the rows that other queries of this `fold` leave out; of none for -1."""

    loss: Loss
    w: np.ndarray
    b: np.ndarray
    fold: int
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return 16


@dataclass(frozen=True, eq=False)
class HeldOutSums(Sums):
    """sum_i s_i l_i and sum_i s_i."""

    value: float
    weight: float


@dataclass(frozen=True, eq=False)
class Goodness:
    """Ask how well a generalized linear model fits at (w, b)."""

    loss: GeneralizedLinear
    w: np.ndarray
    b: np.ndarray
    fold: int = -1
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return 8 * 6


@dataclass(frozen=True, eq=False)
class GoodnessSums(Sums):
    """What the deviance, the dispersion and the log likelihood are made of; rows of weight zero do not count.

    Attributes
    ----------
    rows, weight : rows, and sum_i s_i.
    value : sum_i s_i l_i, half of the deviance.
    pearson : sum_i s_i (y_i - mean_i)^2 / V(mean_i), V being the variance function of the family.
    information : sum_i s_i mean'(z_i)^2 / V(mean_i), of the loss's `fisher`.
    saturated : the sum of the family's `saturated`.
    """

    rows: int
    weight: float
    value: float
    pearson: float
    information: float
    saturated: float

    @classmethod
    def of(cls, loss: GeneralizedLinear, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> Self:
        """The sums over rows of labels (n,), margins (n, 1) and weights (n,).

        The gradient by the margin is (mean - y) mean' / V, so that its square over `fisher` is Pearson's residual.
        """
        counted = s > 0.0
        y, z, s = y[counted], z[counted], s[counted]
        gradient, fisher = loss.gradient(y, z)[:, 0], loss.fisher(y, z)[:, 0, 0]
        pearson = np.divide(np.square(gradient), fisher, out=np.zeros_like(fisher), where=fisher > 0.0)
        found = (loss.value(y, z), pearson, fisher, loss.family.saturated(y, s) / s)
        value, chi_squared, information, saturated = (float(s @ each) for each in found)
        return cls(len(y), float(s.sum()), value, chi_squared, information, saturated)


@dataclass(frozen=True, eq=False)
class Describe:
    """Ask for the statistics of the columns, so many features and the label, where packing did not keep them.

    The answer is a value of whoever reads the rows, which merges as sums do.
    """

    columns: int
    fold: int = -1
    class_weights: Mapping[float, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the answer: five numbers of each column, a label, its rows and their weight of each class."""
        return 8 * (5 * (self.columns + 1) + 3 * len(self.class_weights))


@dataclass(frozen=True, eq=False)
class EachPartition:
    """Ask another query, and have the partitions' answers kept apart."""

    query: Gradient | Line | Gram | LocalEpoch

    @property
    def size(self) -> int:
        """Bytes of the answer of one partition."""
        return self.query.size


A = TypeVar("A")


@dataclass(frozen=True, eq=False)
class PerPartition(Generic[A]):
    """What each partition answered, in their order: two parts of the data merge by standing side by side.

    >>> PerPartition((1, 2)).merge(PerPartition((3,))).parts
    (1, 2, 3)
    """

    parts: tuple[A, ...]

    def merge(self, other: "PerPartition[A]") -> "PerPartition[A]":
        """The answers of the partitions of both."""
        return PerPartition(self.parts + other.parts)


def share_read(queries: Sequence[Any]) -> float:
    """The largest share of the rows that one of the queries looks at.

    >>> share_read([Gram(np.zeros(2))])
    1.0
    """
    asked = [query.query if isinstance(query, EachPartition) else query for query in queries]
    samples = [getattr(query, "sample", None) for query in asked]
    return max((sample.fraction if sample else 1.0 for sample in samples), default=1.0)


def array_bytes(query: Any) -> int:
    """Bytes of the arrays of a query: what is sent of it, but for some hundred bytes of names and numbers.

    >>> array_bytes(Gram(np.zeros(5)))
    40
    """
    parts = [getattr(query, f.name) for f in fields(query)] if is_dataclass(query) else []
    return sum(part.nbytes if isinstance(part, np.ndarray) else array_bytes(part) for part in parts)


SumsQuery: TypeAlias = Gradient | Line | Gram | Hessian | HeldOut | Goodness | Describe  # those that a kernel answers
Query: TypeAlias = SumsQuery | LocalEpoch | EachPartition
RowSums: TypeAlias = GradientSums | LineSums | GramSums | HessianSums | HeldOutSums | GoodnessSums
Answer: TypeAlias = RowSums | LocalEpochSums | PerPartition[Any]
