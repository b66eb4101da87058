"""Weighted second moments of rows about a shift: what Gram matrices and Hessians are made of."""

import numpy as np
from scipy.linalg import blas
from scipy.sparse import csr_array

ROWS = 512  # rows a `syrk`: enough that the matrix it adds to is not what takes the time


class Moments:
    """sum_i h_im v_i v_i^T for rows v = (features - shift, last) and M weights a row, which may be negative.

    `syrk` on dense rows; on CSR the products of each two numbers of a row, where columns without a shift stay sparse.
    """

    def __init__(self, shift: np.ndarray, count: int) -> None:
        p = len(shift) + 1
        self.shift = shift
        self.upper = [np.zeros((p, p), order="F") for _ in range(count)]  # what dense rows add
        self.lower: np.ndarray | None = None  # what CSR rows add; of the columns that stay sparse the lower triangle
        self.rows, self.weights, self.filled = np.empty((0, p)), np.empty((0, count)), 0

    def add(self, features: np.ndarray | csr_array, last: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Add rows with their weights h (rows, M), and return sum_i h_im v_i of these rows, (M, p)."""
        if not isinstance(features, np.ndarray):
            return self._add_sparse(features, last, h)
        first = np.zeros((h.shape[1], len(self.shift) + 1))
        for start in range(0, len(last), ROWS):
            rows = slice(start, start + ROWS)
            first += self._add_dense(features[rows], last[rows], h[rows])
        return first

    def triangles(self) -> np.ndarray:
        """The lower triangle of each sum, packed row by row, (M, p (p + 1) / 2)."""
        self._flush()
        lower = np.tril_indices(len(self.shift) + 1)
        found = np.stack([upper.T[lower] for upper in self.upper])
        return found if self.lower is None else found + self.lower[:, *lower]

    def _add_dense(self, X: np.ndarray, last: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Collect shifted rows, and add their products when there are enough."""
        if not len(self.rows):
            self.rows, self.weights = np.empty((ROWS, len(self.shift) + 1)), np.empty((ROWS, h.shape[1]))
        if self.filled + len(last) > ROWS:
            self._flush()
        place = slice(self.filled, self.filled + len(last))
        V = self.rows[place]
        np.subtract(X, self.shift, out=V[:, :-1])
        V[:, -1] = last
        self.weights[place] = h
        self.filled = place.stop
        first: np.ndarray = h.T @ V
        return first

    def _flush(self) -> None:
        """Add the products of the rows collected; `syrk` takes square roots of weights, so the signs go one by one."""
        V = self.rows[: self.filled]
        for m, h in enumerate(self.weights[: self.filled].T):
            for sign in (1.0, -1.0):
                rows = np.flatnonzero(sign * h > 0.0)
                if len(rows):
                    U = (V if len(rows) == len(V) else V[rows]) * np.sqrt(np.abs(h[rows]))[:, None]
                    self.upper[m] = blas.dsyrk(sign, U.T, beta=1.0, c=self.upper[m], overwrite_c=1)
        self.filled = 0

    def _add_sparse(self, X: csr_array, last: np.ndarray, h: np.ndarray) -> np.ndarray:
        p = len(self.shift) + 1
        if self.lower is None:
            self.lower = np.zeros((h.shape[1], p, p))
        near = np.flatnonzero(self.shift == 0.0)
        far = np.append(np.flatnonzero(self.shift), p - 1)
        D = np.column_stack([X[:, far[:-1]].toarray() - self.shift[far[:-1]], last])
        S = X[:, near] if len(far) > 1 else X
        first = np.empty((h.shape[1], p))
        first[:, near], first[:, far] = (S.T @ h).T, h.T @ D
        self._add_pairs(S, near, h)
        for lower, weights in zip(self.lower, h.T, strict=True):
            cross = S.T @ (D * weights[:, None])
            lower[np.ix_(near, far)] += cross
            lower[np.ix_(far, near)] += cross.T
            lower[np.ix_(far, far)] += D.T @ (D * weights[:, None])
        return first

    def _add_pairs(self, S: csr_array, columns: np.ndarray, h: np.ndarray) -> None:
        """Add h_im x_ij x_ik for each two stored numbers of a row, whose places are `columns` of the matrix.

        The numbers that stand t places after another of their row are all multiplied at once, for t = 0, 1, ...
        """
        assert self.lower is not None
        row = np.repeat(np.arange(len(h)), np.diff(S.indptr))
        place, column = np.arange(S.nnz) - S.indptr[row], columns[S.indices]
        later = np.arange(S.nnz)
        for apart in range(int(np.diff(S.indptr).max(initial=0))):
            later = later[place[later] >= apart]
            earlier = later - apart
            i, j = np.maximum(column[later], column[earlier]), np.minimum(column[later], column[earlier])
            products = S.data[later] * S.data[earlier]
            for lower, weights in zip(self.lower, h.T, strict=True):
                np.add.at(lower.reshape(-1), i * len(lower) + j, products * weights[row[later]])
