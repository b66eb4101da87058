"""The faces of an L1 penalty: where the signs of the coefficients stay, the objective is smooth.

Source: G. Andrew, J. Gao, Scalable Training of L1-Regularized Log-Linear Models (2007), OWL-QN.
"""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers.quasi_newton import has_curvature


@dataclass(frozen=True, eq=False)
class Face:
    """The part of space around a point in which the signs of the coefficients stay, and the objective is smooth.

    Attributes
    ----------
    signs : of the penalized coefficients, (n,); zero where they stay zero, or where there is no L1 penalty.
    free : which coefficients move, (n,).
    gradient : of the objective within the face, (n,); zero where it is not free.
    """

    signs: np.ndarray
    free: np.ndarray
    gradient: np.ndarray

    @classmethod
    def at(cls, problem: Problem, theta: np.ndarray, gradient: np.ndarray) -> "Face":
        """The face at theta, where the smooth part has this gradient: zeros move where that lowers the objective."""
        l1 = problem.penalty.l1.strength
        leaving = np.where(np.abs(gradient) > l1, -np.sign(gradient), 0.0)
        signs = np.where(l1 > 0.0, np.where(theta != 0.0, np.sign(theta), leaving), 0.0)
        free = (l1 == 0.0) | (signs != 0.0)
        return cls(signs, free, np.where(free, gradient + l1 * signs, 0.0))

    @property
    def mask(self) -> np.ndarray | None:
        """What to tell the partitions of where they may walk."""
        return None if np.all(self.free) else self.free.astype(float)

    def pairs(self, S: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs within the face, those that still have curvature there."""
        S, Y = S * self.free, Y * self.free
        kept = has_curvature(S, Y)
        return S[kept], Y[kept]

    def project(self, theta: np.ndarray) -> np.ndarray:
        """theta with the coefficients that would change their sign at zero."""
        crossed = (self.signs != 0.0) & (theta * self.signs < 0.0)
        return np.where(crossed | ~self.free, 0.0, theta)
