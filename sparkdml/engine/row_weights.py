"""How much each row counts for each model that shares a pass."""

from collections.abc import Sequence

import numpy as np

from sparkdml.blocks.block import Block
from sparkdml.optim.queries import LocalEpoch, SumsQuery


class RowWeights:
    """The weight of each row for each of K models: its own, times that of its class."""

    def __init__(self, queries: Sequence[SumsQuery | LocalEpoch]) -> None:
        self.folds = np.array([query.fold for query in queries])
        self.leaves_out = bool(np.any(self.folds >= 0))
        self.labels = np.array(sorted({label for query in queries for label in query.class_weights}))
        factors = [[query.class_weights.get(y, 1.0) for query in queries] for y in self.labels]
        self.factors = np.array([*factors, np.ones(len(queries))])  # (labels + 1, K), the last of all other labels
        self.ones = np.ones((0, len(queries)))  # as many as the longest block has rows: most rows weigh one

    def outside(self, block: Block) -> np.ndarray:
        """The weights, zero where the model leaves the row's fold out, (rows, K)."""
        if block.fold is None or not self.leaves_out:
            return self._of(block)
        return np.where(self._held_out(block), 0.0, self._of(block))

    def inside(self, block: Block) -> np.ndarray:
        """The weights, zero where the model does not leave the row's fold out, (rows, K)."""
        return np.where(self._held_out(block), self._of(block), 0.0)

    def _held_out(self, block: Block) -> np.ndarray:
        if block.fold is None:
            return np.zeros((block.rows, len(self.folds)), bool)
        return (block.fold[:, None] == self.folds) & (self.folds >= 0)

    def _of(self, block: Block) -> np.ndarray:
        if not len(self.labels):
            return self._own(block)
        places = np.searchsorted(self.labels[:-1], block.label)  # of a label that is among them, its place
        return self._own(block) * self.factors[np.where(self.labels[places] == block.label, places, -1)]

    def _own(self, block: Block) -> np.ndarray:
        """The weights that the rows have of their own, not to be written to."""
        if block.weight is not None:
            return np.broadcast_to(block.weight[:, None], (block.rows, len(self.folds)))
        if len(self.ones) < block.rows:
            self.ones = np.ones((block.rows, len(self.folds)))
        return self.ones[: block.rows]
