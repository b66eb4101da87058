"""What predictions and labels add up to: the sums behind the metrics, one record a partition."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import TaskContext

from sparkdml.blocks.block import Block
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import Decoder
from sparkdml.blocks.stats import Statistics
from sparkdml.blocks.violations import Violations

SCHEMA = "scored binary"


@dataclass(frozen=True, eq=False)
class Scored:
    """What one partition of predictions adds up to; merges pairwise."""

    moments: Statistics  # of the prediction, then the label
    residuals: Statistics  # of |y - p|, then y - p
    low: float
    high: float
    violations: Violations

    @classmethod
    def of(cls, block: Block, violations: Violations) -> "Scored":
        """The sums of a block whose one feature is the prediction."""
        residual = block.label - np.asarray(block.features)[:, 0]
        errors = Block(np.abs(residual)[:, None], residual, block.weight)
        scaled = np.sqrt(block.weights) * residual
        low, high = (float(scaled.min()), float(scaled.max())) if block.rows else (np.inf, -np.inf)
        return cls(Statistics.of(block), Statistics.of(errors), low, high, violations)

    def merge(self, other: "Scored") -> "Scored":
        """The sums of both."""
        return Scored(
            self.moments.merge(other.moments),
            self.residuals.merge(other.residuals),
            min(self.low, other.low),
            max(self.high, other.high),
            self.violations.merge(other.violations),
        )


@dataclass(frozen=True)
class Score:
    """The function of `mapInArrow`: one record a partition."""

    columns: Columns

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        decoder = Decoder(self.columns, context.partitionId() if context else 0)
        total: Scored | None = None
        for batch in batches:
            part = Scored.of(decoder.decode(batch), Violations())
            total = total.merge(part) if total else part
        if total is not None:
            total.violations.found.update(decoder.violations.found)
            yield pa.RecordBatch.from_pydict({"scored": pa.array([pickle.dumps(total)], pa.binary())})
