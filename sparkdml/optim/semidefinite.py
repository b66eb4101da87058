"""Linear systems of a positive semidefinite matrix, whose columns may depend on each other."""

from functools import cached_property

import numpy as np
from scipy import linalg


class Semidefinite:
    """A symmetric positive semidefinite matrix A, factored: by Cholesky, or by eigenvalues where columns are dependent.

    Dependent columns are found by the condition number of the matrix scaled to a unit diagonal. A column whose diagonal
    is zero is zero.

    Parameters
    ----------
    A : (n, n), finite.

    Attributes
    ----------
    rank : of A.

    >>> Semidefinite(np.array([[2.0, 2.0], [2.0, 2.0]])).solve(np.array([4.0, 4.0]))
    array([1., 1.])
    """

    def __init__(self, A: np.ndarray) -> None:
        self.size = len(A)
        self.free = np.flatnonzero(np.diag(A) > 0)
        self.unit = 1.0 / np.sqrt(np.diag(A)[self.free])
        scaled = A[np.ix_(self.free, self.free)] * np.outer(self.unit, self.unit)
        self.factor: tuple[np.ndarray, bool] | None = None
        try:
            self.factor = _well_conditioned_factor(scaled)
            self.rank = len(self.free)
        except linalg.LinAlgError:
            self.eigenvalues, self.vectors = linalg.eigh(scaled)
            self.kept = self.eigenvalues > len(scaled) * np.finfo(float).eps * self.eigenvalues[-1] * 10
            self.rank = int(np.count_nonzero(self.kept))

    def solve(self, q: np.ndarray) -> np.ndarray:
        """The solution of A v = q of least norm, (n,); of least squares and least norm where there is none."""
        scaled = q[self.free] * self.unit
        v = np.zeros(self.size)
        if self.factor is not None:
            v[self.free] = self.unit * linalg.cho_solve(self.factor, scaled)
            return v
        vectors = self.vectors[:, self.kept]
        found = self.unit * (vectors @ ((vectors.T @ scaled) / self.eigenvalues[self.kept]))
        v[self.free] = found - self._kernel @ (self._kernel.T @ found)
        return v

    @cached_property
    def _kernel(self) -> np.ndarray:
        """An orthonormal basis of what A sends to zero, of the columns that are not zero themselves."""
        basis: np.ndarray = np.linalg.qr(self.vectors[:, ~self.kept] * self.unit[:, None])[0]
        return basis

    def inverse(self) -> np.ndarray | None:
        """The inverse, (n, n), zero for the columns that are zero; None where columns are dependent."""
        if self.factor is None:
            return None
        found = np.zeros((self.size, self.size))
        lower = linalg.lapack.dpotri(self.factor[0], lower=1)[0] if len(self.free) else self.factor[0]  # it takes none
        both = np.tril(lower) + np.tril(lower, -1).T
        found[np.ix_(self.free, self.free)] = both * np.outer(self.unit, self.unit)
        return found


class Contrasts(Semidefinite):
    """A symmetric positive semidefinite matrix A of numbers in groups, of which only the differences in a group count.

    A sends what is alike throughout a group to a multiple of itself, often to zero. It is factored with some curvature
    added there, which the inverse leaves out again.

    Parameters
    ----------
    A : (n, n), finite.
    groups : the places of the numbers of each group, (k, C).

    Attributes
    ----------
    rank : of A, for numbers that sum to zero in each group.

    >>> A = np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> Contrasts(A, np.array([[0, 1]])).inverse()
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """

    def __init__(self, A: np.ndarray, groups: np.ndarray) -> None:
        self.groups = groups
        curvature = np.diag(A)[groups].mean(axis=1)
        filled = A.copy()
        filled[groups[:, :, None], groups[:, None, :]] += curvature[:, None, None] / groups.shape[1]
        super().__init__(filled)
        self.rank -= int(np.count_nonzero(curvature))

    def inverse(self) -> np.ndarray | None:
        """The inverse for numbers that sum to zero in each group, (n, n); None where columns are dependent."""
        found = super().inverse()
        return None if found is None else self._centred(self._centred(found).T)

    def _centred(self, rows: np.ndarray) -> np.ndarray:
        """The rows less their mean in each group."""
        found = rows.copy()
        found[self.groups] -= rows[self.groups].mean(axis=1, keepdims=True)
        return found


def _well_conditioned_factor(A: np.ndarray) -> tuple[np.ndarray, bool]:
    """The Cholesky factor; raises `LinAlgError` where rounding would decide the solution."""
    factor = linalg.cho_factor(A, lower=True)
    if len(A):
        rcond, _ = linalg.lapack.dpocon(factor[0], np.linalg.norm(A, 1), uplo="L")
        if rcond < len(A) * np.finfo(float).eps:
            raise linalg.LinAlgError("the columns are numerically dependent")
    return factor
