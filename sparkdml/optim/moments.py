"""Second moments about another point than that about which they were summed."""

import numpy as np


def moved(weight: float, first: np.ndarray, second: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_i h_i (v_i - move), (p,), and sum_i h_i (v_i - move)(v_i - move)^T, (p, p), from the sums without the move.

    >>> moved(2.0, np.array([4.0]), np.array([[10.0]]), np.array([2.0]))
    (array([0.]), array([[2.]]))
    """
    if not np.any(move):
        return first, second
    cross = np.outer(first, move)
    return first - weight * move, second + weight * np.outer(move, move) - cross - cross.T
