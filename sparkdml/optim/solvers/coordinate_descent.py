"""Coordinate descent for a quadratic with an elastic net, finished by a direct solve on the active set."""

import numpy as np
from scipy import linalg

from sparkdml.optim.penalties import L1

SWEEPS_BETWEEN_SOLVES = 5
# Rounding in a matrix of sums over rows is worth some eps: coordinate descent cannot promise more.
COORDINATE_TOL = 1e-13


def minimize_quadratic(
    Q: np.ndarray,
    q: np.ndarray,
    l1: np.ndarray,
    l2: np.ndarray,
    tol: float,
    start: np.ndarray | None = None,
    max_sweeps: int = 10_000,
    low: np.ndarray | float = -np.inf,
    high: np.ndarray | float = np.inf,
) -> tuple[np.ndarray, int, bool]:
    """Minimize v.Q v / 2 - q.v + sum_j l1_j |v_j| + l2_j v_j^2 / 2 where low <= v <= high, from `start` or zero on.

    The sweeps find which coordinates are zero or at a bound and the signs of the others; given those, the minimum is
    the solution of a linear system. Every few sweeps it is gone to, as far as the signs and the bounds allow, so that
    columns which are nearly dependent do not take thousands of sweeps.

    Returns the minimizer (n,), the sweeps taken, and whether the KKT residual is at most tol * max|q|.
    Source: J. Friedman, T. Hastie, R. Tibshirani, Regularization Paths for GLMs via Coordinate Descent (2010).
    """
    A = Q + np.diag(l2)
    penalty = L1(l1, np.broadcast_to(low, q.shape), np.broadcast_to(high, q.shape))
    v = penalty.clip(np.zeros(len(q)) if start is None else start)
    gradient = A @ v - q
    limit = tol * max(float(np.max(np.abs(q), initial=0.0)), np.finfo(float).tiny)
    for sweep in range(1, max_sweeps + 1):
        _sweep(A, penalty, v, gradient)
        if sweep % SWEEPS_BETWEEN_SOLVES == 0:
            solved = _solve_active(A, q, penalty, v)
            if kkt_residual(A @ solved - q, solved, penalty) <= limit:
                return solved, sweep, True
            if _value(A, q, penalty, solved) < _value(A, q, penalty, v):  # else the matrix is singular but for rounding
                v = solved
            gradient = A @ v - q  # rounding must not pile up over thousands of updates
        if kkt_residual(gradient, v, penalty) <= limit:
            return v, sweep, True
    return v, max_sweeps, False


def kkt_residual(gradient: np.ndarray, v: np.ndarray, penalty: L1) -> float:
    """The largest distance of -gradient from the subdifferential of the penalty."""
    least, largest = penalty.subdifferential(v)
    return float(np.max(np.maximum(least + gradient, -gradient - largest), initial=0.0))


def _sweep(A: np.ndarray, penalty: L1, v: np.ndarray, gradient: np.ndarray) -> None:
    """Minimize over one coordinate after the other, in place."""
    l1, low, high = (np.asarray(part) for part in (penalty.strength, penalty.low, penalty.high))
    for j in np.flatnonzero((v != 0.0) | (np.abs(gradient) > l1)):
        curvature = A[j, j]
        if curvature <= 0.0:
            continue
        free = v[j] - gradient[j] / curvature
        new = min(max(np.copysign(max(abs(free) - l1[j] / curvature, 0.0), free), low[j]), high[j])
        if new != v[j]:
            gradient += A[j] * (new - v[j])
            v[j] = new


def _value(A: np.ndarray, q: np.ndarray, penalty: L1, v: np.ndarray) -> float:
    """The objective, l2 being part of A (n, n)."""
    return float(v @ (A @ v / 2.0 - q)) + penalty.value(v)


def _solve_active(A: np.ndarray, q: np.ndarray, penalty: L1, v: np.ndarray) -> np.ndarray:
    """The minimum over the coordinates that are neither zero nor at a bound, or the way there until the first is."""
    active = np.flatnonzero((v != 0.0) & penalty.is_smooth_at(v))
    moved, at = v.copy(), v[active]
    moved[active] = 0.0
    try:
        factor = linalg.cho_factor(A[np.ix_(active, active)])
    except linalg.LinAlgError:
        return v
    signs, l1 = np.sign(at), penalty.strength[active]
    values = linalg.cho_solve(factor, (q - A @ moved)[active] - l1 * signs)
    moved[active] = values
    ends = penalty.clip(moved)[active]
    ends = np.where((ends * signs < 0.0) & (l1 > 0.0), 0.0, ends)
    shares = np.divide(ends - at, values - at, out=np.ones(len(at)), where=ends != values)
    share = float(np.min(shares, initial=1.0))
    moved[active] = np.where(shares > share, at + share * (values - at), ends)
    return moved
