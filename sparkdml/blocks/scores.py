"""How much weight of either class lies at each score: all that ROC and precision-recall curves need."""

from dataclasses import dataclass

import numpy as np

MAX_SCORES = 8192  # distinct scores that are kept apart: 200 kB a partition


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores, such as probabilities or margins, with the weights of their rows; merges pairwise.

    A score is kept as its bits, which have the order of the numbers where those of negative ones are flipped. Above
    8192 distinct scores the lowest bit is dropped from all of them, and so on, until no more are left: what is kept is
    a function of the set of scores, not of how the rows were cut or in which order they were merged. A kept score is
    the lowest of its bin, so that every point of a curve over the bins lies on the curve over the rows; there are only
    fewer of them.

    Attributes
    ----------
    bits : of each distinct score, shifted to the right by `dropped`; ascending, (k,) int64.
    weights : of the rows with label 0 and with label 1 at each, (k, 2).
    """

    bits: np.ndarray
    weights: np.ndarray
    dropped: int

    @classmethod
    def of(cls, score: np.ndarray, label: np.ndarray, weight: np.ndarray) -> "Scores":
        """The scores of some rows, (n,) each; a label is 0 or 1."""
        by_label = np.where(label[:, None] == [0.0, 1.0], weight[:, None], 0.0)
        return _bounded(_ordered((score + 0.0).view(np.int64)), by_label, 0)  # + 0.0 makes -0.0 positive

    @property
    def values(self) -> np.ndarray:
        """The lowest score of each bin, ascending, (k,)."""
        return _ordered(self.bits << self.dropped).view(np.float64)

    def merge(self, other: "Scores") -> "Scores":
        """The scores of the rows of both."""
        dropped = max(self.dropped, other.dropped)
        bits = [each.bits >> (dropped - each.dropped) for each in (self, other)]
        return _bounded(np.concatenate(bits), np.concatenate([self.weights, other.weights]), dropped)


def _ordered(bits: np.ndarray) -> np.ndarray:
    """All bits but the sign of negative numbers flipped, which is its own inverse, (k,) int64."""
    return np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)


def _bounded(bits: np.ndarray, weights: np.ndarray, dropped: int) -> Scores:
    """Equal bits summed, and as few dropped as leave no more than MAX_SCORES."""
    bits, which = np.unique(bits, return_inverse=True)
    while len(bits) > MAX_SCORES:
        bits, coarser = np.unique(bits >> 1, return_inverse=True)
        which, dropped = coarser[which], dropped + 1
    return Scores(bits, np.column_stack([np.bincount(which, column, len(bits)) for column in weights.T]), dropped)
