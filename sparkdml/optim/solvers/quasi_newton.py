"""Matrices of second derivatives, from steps of a walk and the changes of the gradient that they brought.

Source: J. Nocedal, S. Wright, Numerical Optimization (2006), chapter 7.
"""

from dataclasses import dataclass

import numpy as np

from sparkdml.optim.penalties import L1

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
class Model:
    """The L-BFGS matrix B = sigma I + basis @ core @ basis.T, with an orthonormal basis (n, r)."""

    sigma: float
    basis: np.ndarray
    core: np.ndarray

    @classmethod
    def of(cls, S: np.ndarray, Y: np.ndarray, initial: float) -> "Model":
        """The compact form: Nocedal and Wright, equation 7.24."""
        if not len(S):
            return cls(initial, np.empty((S.shape[1], 0)), np.empty((0, 0)))
        SY = S @ Y.T
        sigma = float(Y[-1] @ Y[-1]) / SY[-1, -1]
        middle = np.block([[sigma * (S @ S.T), np.tril(SY, -1)], [np.tril(SY, -1).T, -np.diag(np.diag(SY))]])
        basis, triangle = np.linalg.qr(np.hstack([sigma * S.T, Y.T]))
        core = -triangle @ np.linalg.lstsq(middle, triangle.T, rcond=None)[0]
        values, vectors = np.linalg.eigh((core + core.T) / 2)
        values = np.maximum(values, (CURVATURE_FLOOR - 1.0) * sigma)  # B is positive definite, but for rounding
        return cls(sigma, basis, (vectors * values) @ vectors.T)

    def times(self, v: np.ndarray) -> np.ndarray:
        """B v."""
        return self.sigma * v + self.basis @ (self.core @ (self.basis.T @ v))

    def decrease(self, theta: np.ndarray, g: np.ndarray, l1: L1) -> float:
        """How much lower than at theta the model is at its minimum."""
        v = self.minimize(theta, g, l1)
        s = v - theta
        return -float(g @ s + s @ self.times(s) / 2.0 + l1.change(theta, v))

    def minimize(
        self, theta: np.ndarray, g: np.ndarray, l1: L1, tol: float = 1e-10, max_steps: int = 2000
    ) -> np.ndarray:
        """argmin_v g.(v - theta) + (v - theta).B (v - theta) / 2 + l1(v).

        Accelerated proximal gradient with the momentum of the known condition number; touches no data.
        Source: Y. Nesterov, Introductory Lectures on Convex Optimization (2004), section 2.2.
        """
        spectrum = np.append(self.sigma + np.linalg.eigvalsh(self.core), self.sigma)
        largest, smallest = float(spectrum.max()), max(float(spectrum.min()), 0.0)
        ratio = np.sqrt(smallest / largest)
        momentum = (1.0 - ratio) / (1.0 + ratio)
        v = ahead = theta
        for _ in range(max_steps):
            new = l1.prox(ahead - (g + self.times(ahead - theta)) / largest, 1.0 / largest)
            if np.linalg.norm(new - ahead) <= tol * np.linalg.norm(new - theta):
                return new
            v, ahead = new, new + momentum * (new - v)
        return v
