"""The exceptions of sparkdml: each also derives from the built-in class that a caller would expect.

A message is one sentence or two: what is wrong, where, an example, what to do.
"""

import sys
import warnings
from typing import Any

from sparkdml.text import printable


class SparkdmlError(Exception):
    """Base of every exception that sparkdml raises on purpose.

    What its message quotes of names and cells may hold anything: control characters stand in it as escapes.
    """

    def __init__(self, *told: Any) -> None:
        super().__init__(*(printable(each, "\n") if isinstance(each, str) else each for each in told))


class DataError(SparkdmlError, ValueError):
    """The rows are unusable: missing or infinite values, ragged vectors, bad weights, no rows."""


class UnreadableFileError(DataError):
    """A file of the table cannot be read: it is damaged, of another format, or compressed in a way Spark has not."""


class InputMissingError(SparkdmlError, FileNotFoundError):
    """No file is at the path that was to be read."""


class ColumnError(SparkdmlError, ValueError):
    """A named column does not exist, is named twice, or the names contradict the packed data."""


class ColumnTypeError(SparkdmlError, TypeError):
    """A column has a type that cannot be used, such as a string among the features."""


class ParamError(SparkdmlError, ValueError):
    """A Param is outside its range, or Params contradict each other."""


class SolverError(SparkdmlError, ValueError):
    """The solver cannot minimize this loss with this penalty; the message names one that can."""


class DivergenceError(SparkdmlError, ArithmeticError):
    """The objective became infinite or NaN, or exploded, although the data are finite.

    `weights` has the coefficients (d, C) and the intercepts (C,) of the last good point, or None where there is none.
    """

    def __init__(self, message: str, weights: Any = None) -> None:
        super().__init__(message)
        self.weights = weights


class NonDeterministicSourceError(SparkdmlError, RuntimeError):
    """A recomputed partition has other rows than before, so the fit cannot go on."""


class StorageError(SparkdmlError, OSError):
    """The files of packed rows are damaged right after they were written, so the fit cannot go on."""


class SessionError(SparkdmlError, RuntimeError):
    """The Spark session cannot do what is asked: it is one of Spark Connect, its workers lack a module, or it ended."""


class WorkerError(SparkdmlError, RuntimeError):
    """A Python worker of Spark died, or had no memory left."""


class ReleasedError(SparkdmlError, RuntimeError):
    """Packed data were used after their release."""


class StatisticsError(SparkdmlError, RuntimeError):
    """A statistic does not exist for this fit, such as a standard error under an L1 penalty."""


class FormatError(SparkdmlError, ValueError):
    """A saved model or solver state failed a check of its format, size or digest."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached its tolerance."""


class DataWarning(UserWarning):
    """The data can be fitted, but something about them is probably not what was meant."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller of this package: the nearest one that is neither in it nor in pyspark."""
    level, frame = 2, sys._getframe(1)
    ours = ("sparkdml", "pyspark", "contextlib")  # the last of decorators
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message, "\n"), category, stacklevel=level)
