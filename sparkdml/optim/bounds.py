"""Boxes that coefficients and intercepts stay in."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Bounds:
    """low <= w <= high for raw coefficients w (d, C), and intercept_low <= b <= intercept_high for intercepts b (C,).

    An infinite number is no bound.
    """

    low: np.ndarray
    high: np.ndarray
    intercept_low: np.ndarray
    intercept_high: np.ndarray

    @property
    def on_intercepts(self) -> bool:
        """Whether some intercept has a bound."""
        return bool(np.any(np.isfinite([self.intercept_low, self.intercept_high])))

    @property
    def empty(self) -> bool:
        """Whether nothing has a bound."""
        return not (self.on_intercepts or np.any(np.isfinite([self.low, self.high])))

    def scaled(self, scale: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of theta = (scale w, b), (size,) each; a coefficient that is kept at zero has none.

        >>> one = np.array([np.inf])
        >>> Bounds(np.zeros((2, 1)), np.ones((2, 1)), -one, one).scaled(np.array([0.0, 3.0]), 3)
        (array([-inf,   0., -inf]), array([inf,  3., inf]))
        """
        low, high = np.full(size, -np.inf), np.full(size, np.inf)
        moves = np.repeat(scale > 0.0, self.low.shape[1])
        for found, w, b in ((low, self.low, self.intercept_low), (high, self.high, self.intercept_high)):
            with np.errstate(invalid="ignore"):  # an infinite bound of a coefficient that is kept at zero
                found[: w.size] = np.where(moves, (w * scale[:, None]).ravel(), found[: w.size])
            found[w.size : w.size + b.size] = b[: size - w.size]
        return low, high

    def clip(self, w: np.ndarray, b: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw coefficients and intercepts without what rounding put outside."""
        inside, C = w.copy(), self.low.shape[1]
        moves = scale > 0.0
        inside[moves, :C] = np.clip(w[moves, :C], self.low[moves], self.high[moves])
        return inside, np.append(np.clip(b[:C], self.intercept_low, self.intercept_high), b[C:])

    def centred_weights(self, w: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """As `centred`, each column of raw coefficients w (C, d); those that are kept at zero stay there."""
        return _centred(w, self.low.T, self.high.T) * (scale > 0.0)

    def centred(self, b: np.ndarray) -> np.ndarray:
        """Intercepts (C,) that differ from b by one number, so that their mean is as near to zero as the box lets it.

        >>> free = np.full((1, 2), np.inf)
        >>> Bounds(-free, free, np.array([1.0, -np.inf]), free[0]).centred(np.array([4.0, 6.0]))
        array([1., 3.])
        """
        return _centred(b, self.intercept_low, self.intercept_high)


def _centred(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Values of C classes less one number each, so that their means are as near to zero as low <= values <= high lets.

    All are (C,) or (C, d), of d means.
    """
    shift = np.clip(values.mean(axis=0), (values - high).max(axis=0), (values - low).min(axis=0))
    return np.clip(values - shift, low, high)
