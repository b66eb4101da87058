"""What predictions and labels add up to: the sums behind the metrics, one record a partition."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array
from scipy.special import xlog1py, xlogy

from sparkdml.blocks.block import Block
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import Decoder, numbered_batches
from sparkdml.blocks.scores import Scores
from sparkdml.blocks.stats import Statistics
from sparkdml.blocks.worker import freeze_modules

SCHEMA = "scored binary"
EPS = float(np.finfo(float).eps)


class Scored(Protocol):
    """What rows of predictions add up to; merges pairwise."""

    @property
    def moments(self) -> Statistics:
        """Of the predictions, then the label."""

    def merge(self, other: Self) -> Self:
        """The sums of both."""


@dataclass(frozen=True, eq=False)
class ScoredNumbers:
    """The sums of rows with one feature, the predicted number p of a label y and a weight s."""

    moments: Statistics
    residuals: Statistics  # of |y - p|, then y - p
    low: float
    high: float  # the extremes of sqrt(s) (y - p)

    @classmethod
    def of(cls, block: Block) -> "ScoredNumbers":
        """The sums of a block."""
        residual = block.label - np.asarray(block.features)[:, 0]
        errors = Block(np.abs(residual)[:, None], residual, block.weight)
        scaled = np.sqrt(block.weights) * residual
        low, high = (float(scaled.min()), float(scaled.max())) if block.rows else (np.inf, -np.inf)
        return cls(Statistics.of(block), Statistics.of(errors), low, high)

    def merge(self, other: "ScoredNumbers") -> "ScoredNumbers":
        """The sums of both."""
        return ScoredNumbers(
            self.moments.merge(other.moments),
            self.residuals.merge(other.residuals),
            min(self.low, other.low),
            max(self.high, other.high),
        )


@dataclass(frozen=True, eq=False)
class ScoredClasses:
    """The sums of rows with two features, the probability p of a 1 and the predicted class; the label is 0 or 1."""

    moments: Statistics
    scores: Scores
    log_loss: float  # - sum s (y log p + (1 - y) log(1 - p)), p at least 2.2e-16 away from 0 and 1
    confusion: Any  # sum s of each label (rows) and predicted class (columns), (2, 2)

    @classmethod
    def of(cls, block: Block) -> Self:
        """The sums of a block."""
        score, predicted = np.asarray(block.features).T
        y, s = block.label, block.weights
        of_class = [y == 0.0, y == 1.0]
        confusion = [[s @ (rows & (predicted == k)) for k in (0.0, 1.0)] for rows in of_class]
        return cls(Statistics.of(block), Scores.of(score, y, s), cls._log_loss(score, y, s), np.array(confusion))

    @staticmethod
    def _log_loss(p: np.ndarray, y: np.ndarray, s: np.ndarray) -> float:
        inside = np.clip(p, EPS, 1.0 - EPS)
        return -float(s @ (xlogy(y, inside) + xlog1py(1.0 - y, -inside)))

    def merge(self, other: Self) -> Self:
        """The sums of both."""
        return type(self)(
            self.moments.merge(other.moments),
            self.scores.merge(other.scores),
            self.log_loss + other.log_loss,
            self.confusion + other.confusion,
        )


class ScoredMargins(ScoredClasses):
    """The same of rows whose score is no probability but a margin, of which there is no log loss: it is zero."""

    @staticmethod
    def _log_loss(p: np.ndarray, y: np.ndarray, s: np.ndarray) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class ScoredManyClasses(ScoredClasses):
    """The sums of rows with K + 1 features, the probability of each class and the predicted class.

    `log_loss` is - sum s log p_y, p_y at least 2.2e-16. `scores` are of the probability p_c of the predicted class c,
    with the weights of the rows that have another label, and of those that have this. `confusion` is (K, K), CSR.
    """

    @classmethod
    def of(cls, block: Block) -> "ScoredManyClasses":
        """The sums of a block; labels that are no class count for none, which whoever asked refuses."""
        p, s, K = np.asarray(block.features)[:, :-1], block.weights, block.columns - 1
        predicted, rows = np.asarray(block.features)[:, -1].astype(int), np.arange(block.rows)
        known = (block.label >= 0.0) & (block.label < K)
        label = np.where(known, block.label, 0.0).astype(int)
        log_loss = -float(s @ np.log(np.maximum(p[rows, label], EPS)))
        confusion = csr_array((s * known, (label, predicted)), shape=(K, K))
        right = (label == predicted).astype(float)
        return cls(Statistics.of(block), Scores.of(p[rows, predicted], right, s), log_loss, confusion)


R = TypeVar("R", covariant=True)


class Scorer(Protocol[R]):
    """What makes the sums of a block: their class, or a value that knows more than the block."""

    def of(self, block: Block) -> R:
        """The sums of a block whose features are the predictions."""


@dataclass(frozen=True)
class Score:
    """The function of `mapInArrow`: one record, the sums and bad values of a partition of `schema.numbered` rows."""

    columns: Columns
    kind: Scorer[Scored]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        partition, batches = numbered_batches(batches)
        decoder = Decoder(self.columns, partition)
        total: Scored | None = None
        for batch in batches:
            part = self.kind.of(decoder.decode(batch))
            total = total.merge(part) if total else part
        if total is not None:
            record = pickle.dumps((total, decoder.violations))
            yield pa.RecordBatch.from_pydict({"scored": pa.array([record], pa.binary())})
        freeze_modules()
