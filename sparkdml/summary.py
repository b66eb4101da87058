"""What the summaries of all families share: inference on the coefficients, and the printed table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr


@dataclass(frozen=True, eq=False)
class Inference:
    """Standard errors, t and p values of coefficients, in their order.

    Attributes
    ----------
    estimates : the coefficients, then the intercept if there is one, (n,).
    variances : of the estimates, (n,); zero for a coefficient that was not estimated.
    degrees_of_freedom : of Student's distribution.
    """

    estimates: np.ndarray
    variances: np.ndarray
    degrees_of_freedom: int

    @property
    def standard_errors(self) -> np.ndarray:
        """sqrt(variance), NaN where there is none."""
        return np.sqrt(np.where(self.variances > 0.0, self.variances, np.nan))

    @property
    def t_values(self) -> np.ndarray:
        """estimate / standard error."""
        return self.estimates / self.standard_errors

    @property
    def p_values(self) -> np.ndarray:
        """P(|T| > |t|) for T of Student's distribution; NaN without degrees of freedom."""
        if self.degrees_of_freedom <= 0:
            return np.full(len(self.estimates), np.nan)
        return 2.0 * stdtr(self.degrees_of_freedom, -np.abs(self.t_values))


def coefficient_table(names: Sequence[str], estimates: np.ndarray, inference: Inference | None) -> str:
    """The coefficients as an R-like table, one line each.

    >>> print(coefficient_table(["x"], np.array([2.0]), None))
    Feature  Coefficient
    x                  2
    """
    header = ["Feature", "Coefficient"]
    rows = [[name, f"{value:.6g}"] for name, value in zip(names, estimates, strict=True)]
    if inference is not None:
        header += ["Std. error", "t value", "Pr(>|t|)"]
        columns = (inference.standard_errors, inference.t_values, inference.p_values)
        for row, error, t, p in zip(rows, *columns, strict=True):
            row += ["-", "-", "-"] if np.isnan(error) else [f"{error:.4g}", f"{t:.3f}", format_p(p)]
    return align([header, *rows])


def format_p(p: float) -> str:
    """A p value as R prints it, with its stars.

    >>> format_p(0.03), format_p(1e-20)
    ('0.0300 *', '<2e-16 ***')
    """
    if np.isnan(p):
        return "-"
    stars = "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""
    text = "<2e-16" if p < 2e-16 else f"{p:.2e}" if p < 1e-4 else f"{p:.4f}"
    return f"{text} {stars}".rstrip()


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)
