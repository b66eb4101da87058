"""Matrices of second derivatives, from steps of a walk and the changes of the gradient that they brought.

Source: J. Nocedal, S. Wright, Numerical Optimization (2006), chapter 7.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sparkdml.optim.penalties import L1

EXACT = 1e-10  # the relative error of a model's minimizer
NEWTON_STEPS = 40  # it takes three to ten
HALVES = 0.5 ** np.arange(12)
GRADIENT_STEPS = 2000
# Of the cosines between rows, the square of the condition of these: up to the first, one Cholesky factor leaves columns
# orthonormal to 2e-11, up to the second a second one mends what the first has left.
INDEPENDENT, DEPENDENT = 1e5, 1e12
CURVATURE_FLOOR = 1e-10  # a pair with a smaller s.y / (||s|| ||y||) is rounding, not curvature


def has_curvature(S: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Whether the change of the gradient y along a step s tells more than rounding; of one pair or of many.

    A step whose square underflows tells nothing either.
    """
    lengths = np.linalg.norm(S, axis=-1)
    products = np.einsum("...j,...j->...", S, Y)
    return (products > CURVATURE_FLOOR * lengths * np.linalg.norm(Y, axis=-1)) & (lengths > 0.0)


def with_pair(S: np.ndarray, Y: np.ndarray, s: np.ndarray, y: np.ndarray, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (m, n), oldest first, and one more; the last `memory` of them."""
    return np.vstack([S, s])[-memory:], np.vstack([Y, y])[-memory:]


def inverse_times(S: np.ndarray, Y: np.ndarray, g: np.ndarray, initial: float) -> np.ndarray:
    """H g by the two-loop recursion; H = initial * I without pairs."""
    q, alpha = first_loop(S, Y, g)
    return second_loop(S, Y, alpha, q * (float(S[-1] @ Y[-1]) / float(Y[-1] @ Y[-1]) if len(S) else initial))


def first_loop(S: np.ndarray, Y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first half of the recursion: q, to be multiplied by the initial H, and what the second half needs, (m,)."""
    q = g.copy()
    alpha = np.empty(len(S))
    for i in reversed(range(len(S))):
        alpha[i] = (S[i] @ q) / (S[i] @ Y[i])
        q -= alpha[i] * Y[i]
    return q, alpha


def second_loop(S: np.ndarray, Y: np.ndarray, alpha: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The second half: H g, from r, the initial H times q."""
    for i in range(len(S)):
        r = r + (alpha[i] - (Y[i] @ r) / (S[i] @ Y[i])) * S[i]
    return r


def corrected(B: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The matrix (n, n) that sends the step s to y and else differs little from B: the BFGS update.

    >>> corrected(np.eye(2), np.array([1.0, 0.0]), np.array([3.0, 0.0]))
    array([[3., 0.],
           [0., 1.]])
    """
    if not has_curvature(s, y):
        return B
    Bs = B @ s
    known = np.outer(Bs, Bs) / (s @ Bs) if s @ Bs > 0.0 else 0.0
    return B - known + np.outer(y, y) / (s @ y)


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal columns Q (n, r), r far below n, as Q = rows.T @ turn with rows (m, n) and turn (m, r).

    They are not multiplied out where that would be no more exact: n x r numbers less to write.
    """

    rows: np.ndarray
    turn: np.ndarray

    def along(self, v: np.ndarray) -> np.ndarray:
        """Q.T v, (r,)."""
        return (self.rows @ v) @ self.turn

    def combined(self, p: np.ndarray) -> np.ndarray:
        """Q p, (n,)."""
        return (self.turn @ p) @ self.rows

    def gram(self, chosen: np.ndarray) -> np.ndarray:
        """Q.T diag(chosen) Q, (r, r), for `chosen` (n,) of bool; from the others where these are fewer."""
        fewer = 2 * np.count_nonzero(chosen) <= len(chosen)
        part = self.rows[:, np.flatnonzero(chosen if fewer else ~chosen)]
        found = self.turn.T @ (part @ part.T) @ self.turn
        return found if fewer else np.eye(len(found)) - found


def orthonormal(rows: np.ndarray) -> tuple[Basis, np.ndarray]:
    """Q with orthonormal columns (n, r) and R (r, m) such that rows.T = Q R, for n far above m.

    By the Cholesky factor of the rows' products, a tenth of the time of Householder's reflections, where the rows are
    so independent that it is exact; twice, where only that is.
    Source: Y. Yamamoto et al., Roundoff Error Analysis of the CholeskyQR2 Algorithm (2015).

    >>> Q, R = orthonormal(np.array([[3.0, 4.0, 0.0], [0.0, 5.0, 12.0]]))
    >>> bool(np.allclose(Q.gram(np.ones(3, bool)), np.eye(2))), Q.combined(R @ [1.0, 0.0]).round(6)
    (True, array([3., 4., 0.]))
    """
    products = rows @ rows.T
    lengths = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows of zeros, whose angles are none
        cosines = products / np.outer(lengths, lengths)
    condition = np.linalg.cond(cosines) if np.all(np.isfinite(cosines)) else np.inf
    if condition > DEPENDENT:
        Q, R = np.linalg.qr(rows.T)
        return Basis(Q.T, np.eye(Q.shape[1])), R
    first = np.linalg.cholesky(cosines).T * lengths
    turn = np.linalg.inv(first)
    if condition <= INDEPENDENT:
        return Basis(rows, turn), first
    Q = turn.T @ rows
    second = np.linalg.cholesky(Q @ Q.T).T
    return Basis(Q, np.linalg.inv(second)), second @ first


@dataclass(frozen=True, eq=False)
class Model:
    """The L-BFGS matrix B = sigma I + basis @ core @ basis.T, with an orthonormal basis (n, r)."""

    sigma: float
    basis: Basis
    core: np.ndarray

    @classmethod
    def of(cls, S: np.ndarray, Y: np.ndarray, initial: float) -> "Model":
        """The compact form: Nocedal and Wright, equation 7.24."""
        if not len(S):
            return cls(initial, Basis(S, np.empty((0, 0))), np.empty((0, 0)))
        SY = S @ Y.T
        sigma = float(Y[-1] @ Y[-1]) / SY[-1, -1]
        middle = np.block([[sigma * (S @ S.T), np.tril(SY, -1)], [np.tril(SY, -1).T, -np.diag(np.diag(SY))]])
        basis, triangle = orthonormal(np.vstack([S, Y]))
        triangle = triangle * np.repeat([sigma, 1.0], len(S))
        core = -triangle @ np.linalg.lstsq(middle, triangle.T, rcond=None)[0]
        values, vectors = np.linalg.eigh((core + core.T) / 2)
        values = np.maximum(values, (CURVATURE_FLOOR - 1.0) * sigma)  # B is positive definite, but for rounding
        return cls(sigma, basis, (vectors * values) @ vectors.T)

    def times(self, v: np.ndarray) -> np.ndarray:
        """B v."""
        return self.sigma * v + self.basis.combined(self.core @ self.basis.along(v))

    def decrease(self, theta: np.ndarray, g: np.ndarray, l1: L1) -> float:
        """How much lower than at theta the model is at its minimum."""
        v = self.minimize(theta, g, l1)
        s = v - theta
        return -float(g @ s + s @ self.times(s) / 2.0 + l1.change(theta, v))

    def minimize(self, theta: np.ndarray, g: np.ndarray, l1: L1) -> np.ndarray:
        """argmin_v g.(v - theta) + (v - theta).B (v - theta) / 2 + l1(v); touches no data."""
        v, found = self._root(theta, g, l1)
        return v if found else self._descend(theta, g, l1, v)

    @cached_property
    def _largest(self) -> float:
        """The largest eigenvalue of B."""
        return self.sigma + max(float(np.linalg.eigvalsh(self.core).max(initial=0.0)), 0.0)

    def _root(self, theta: np.ndarray, g: np.ndarray, l1: L1) -> tuple[np.ndarray, bool]:
        """The minimizer by Newton's method for its r coordinates in the basis, and whether it was found.

        With p = basis.T (v - theta) known, v(p) = prox(theta - (g + basis core p) / sigma, 1 / sigma). What is left is
        the root of F(p) = p - basis.T (v(p) - theta), which has one: F is linear in pieces, and since B is positive
        definite every piece is invertible and keeps orientation. A Newton step costs two products with the basis, and
        one with its rows that the prox holds or does not hold, whichever are fewer. F need not be exactly zero: core F
        is how far v is from the optimality condition.

        Source: S. Becker, J. Fadili, P. Ochs, On Quasi-Newton Forward-Backward Splitting (2019).
        """

        def at(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            v = l1.prox(theta - (g + self.basis.combined(self.core @ p)) / self.sigma, 1.0 / self.sigma)
            return v, p - self.basis.along(v - theta)

        p = np.zeros(len(self.core))
        v, F = at(p)
        for _ in range(NEWTON_STEPS):
            error = float(np.linalg.norm(self.core @ F))
            if error <= EXACT * self._largest * float(np.linalg.norm(v - theta)):
                return v, True
            step = np.linalg.solve(np.eye(len(p)) + self.basis.gram(l1.is_smooth_at(v)) @ self.core / self.sigma, -F)
            for t in HALVES:
                tried = at(p + t * step)
                if np.linalg.norm(self.core @ tried[1]) <= (1.0 - 1e-4 * t) * error:
                    break
            else:
                return v, False
            p, (v, F) = p + t * step, tried
        return v, False

    def _descend(self, theta: np.ndarray, g: np.ndarray, l1: L1, start: np.ndarray) -> np.ndarray:
        """The minimizer by accelerated proximal gradient with the momentum of the known condition number.

        Source: Y. Nesterov, Introductory Lectures on Convex Optimization (2004), section 2.2.
        """
        largest = self._largest
        smallest = self.sigma + min(float(np.linalg.eigvalsh(self.core).min(initial=0.0)), 0.0)
        ratio = np.sqrt(max(smallest, 0.0) / largest)
        momentum = (1.0 - ratio) / (1.0 + ratio)
        v = ahead = start
        for _ in range(GRADIENT_STEPS):
            new = l1.prox(ahead - (g + self.times(ahead - theta)) / largest, 1.0 / largest)
            if np.linalg.norm(new - ahead) <= EXACT * np.linalg.norm(new - theta):
                return new
            v, ahead = new, new + momentum * (new - v)
        return v
