"""What unit deviances are made of: functions of how far a mean is from its label, exact also next to zero.

Written as differences of what a mean and a label have, deviances cancel: of a count of 1e10 and its mean nothing is
left but rounding. As functions of r = log(mean / label), or of the difference of log odds, they keep all digits.
"""

import numpy as np

LARGEST_EXPONENT = 300.0  # exp of more is taken as exp of this, whose square is still finite
POWER_TERMS, POWER_SMALL = 9, 0.05  # of a series that is exact to 1e-15 up to so large an |r|
LOG_SMALL = 0.01  # up to here a series of five terms is as exact as the difference is above


def power_excess(power: float, r: np.ndarray) -> np.ndarray:
    """Return (exp((2 - p) r) - 1) / (2 - p) - (exp((1 - p) r) - 1) / (1 - p), where an exponent of 0 stands for r.

    It is half of the unit deviance of a label 1 and a mean exp(r) if the variance is mean^p; r^2 / 2 near zero.

    >>> power_excess(1.0, np.array([0.0, 1e-9, 1.0]))
    array([0.00000000e+00, 5.00000000e-19, 7.18281828e-01])
    """
    a, b = 2.0 - power, 1.0 - power
    largest = LARGEST_EXPONENT / max(abs(a), abs(b), 1.0)  # of both exponents at once, or the smaller could outgrow
    r = np.clip(r, -largest, largest)
    found = np.asarray(_growth(a, r) - _growth(b, r))
    near = np.abs(r) < POWER_SMALL / max(abs(a), abs(b), 1.0)
    found[near] = _power_series(a, b, r[near])
    return found


def _growth(a: float, r: np.ndarray) -> np.ndarray:
    """(exp(a r) - 1) / a, and its limit r for a = 0."""
    return np.expm1(a * r) / a if a else r


def _power_series(a: float, b: float, r: np.ndarray) -> np.ndarray:
    """sum of (a^(k-1) - b^(k-1)) r^k / k! over k = 2, 3, ..."""
    total = np.zeros_like(r)
    for k in range(POWER_TERMS + 1, 1, -1):
        total = a ** (k - 1) - b ** (k - 1) + total * r / (k + 1)
    return total * r * r / 2.0


def log_excess(share: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return log(1 - u + u exp(r)) / u - r for shares 0 < u <= 1/2; (1 - u) r^2 / 2 near zero.

    u times it is half of the unit deviance of a share u of successes and a mean whose log odds are r away.

    >>> log_excess(np.array([0.5, 0.5]), np.array([1e-9, 1.0]))
    array([2.50000000e-19, 2.40229014e-01])
    """
    u, r = np.broadcast_arrays(np.asarray(share, float), np.asarray(r, float))
    inside = np.minimum(r, LARGEST_EXPONENT)
    found = np.asarray((np.log1p(u * np.expm1(inside)) + (r - inside)) / u - r)
    near = np.abs(r) < LOG_SMALL
    found[near] = _log_series(u[near], r[near])
    return found


def _log_series(u: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The sum of the cumulants of a Bernoulli variable over u times r^k / k!, from the second to the sixth."""
    odd, v = 1.0 - 2.0 * u, u * (1.0 - u)
    cumulants = (1.0, odd, 1.0 - 6.0 * v, odd * (1.0 - 12.0 * v), 1.0 - 30.0 * v + 120.0 * v * v)
    total = np.zeros_like(r)
    for cumulant, k in zip(reversed(cumulants), range(len(cumulants) + 2, 2, -1), strict=True):
        total = cumulant + total * r / k
    return (1.0 - u) * total * r * r / 2.0
