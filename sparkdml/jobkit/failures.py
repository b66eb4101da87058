"""What can go wrong in a job, and the exit code each failure ends with (sysexits(3); 80 to 84 are our own).

| code | meaning | a retry helps |
|---|---|---|
| 0 | published, or this very run was already published | |
| 64 / 78 | bad command line / bad configuration or environment | no |
| 65 / 66 | data refused by validation / input missing | no / yes |
| 69 | Spark or storage failed after Spark's own retries | yes |
| 70 | a bug of ours; the only failure that logs a traceback | no |
| 74 / 77 | could not publish: I/O / permission | yes / no |
| 80 / 81 | diverged / not converged, with ``--require-convergence`` | no |
| 84 | a published version failed its digest or its format | no |
| 130 / 143 | ended by Ctrl-C / by SIGTERM | yes |
"""

import os
import re

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from sparkdml.engine.failures import explanation
from sparkdml.engine.unreadable import causes
from sparkdml.engine.workers import raised_in_worker
from sparkdml.errors import (
    ColumnError,
    ColumnTypeError,
    DataError,
    DivergenceError,
    FormatError,
    InputMissingError,
    NonDeterministicSourceError,
    ParamError,
    SessionError,
    SolverError,
    SparkdmlError,
    StorageError,
    WorkerError,
)


class UsageError(SparkdmlError, ValueError):
    """The command line is wrong."""


class EnvironmentProblem(SparkdmlError, RuntimeError):
    """Something that every job needs is missing on this machine, such as Java."""


class ConfigError(SparkdmlError, ValueError):
    """The configuration file or an environment variable is wrong."""


class PublishError(SparkdmlError, OSError):
    """The output could not be written or did not read back as it was written."""


class PublishDeniedError(PublishError, PermissionError):
    """The output may not be written by this user."""


class NotConvergedError(SparkdmlError, RuntimeError):
    """The solver stopped before its tolerance, and ``--require-convergence`` was given."""


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt no Exception, so that nothing on the way swallows it."""


BUG = os.EX_SOFTWARE
# Of class 22, such as a division by zero or a cast of "abc" to a number, and of lines that are no csv.
_DATA_EXCEPTION = re.compile(r"SQLSTATE: 22|MALFORMED_CSV_RECORD|MALFORMED_RECORD")
_NO_SYSTEM = re.compile(r'No FileSystem for scheme "([^"]+)"')
_NO_CLASS = re.compile(r"ClassNotFoundException: (?:Class )?(org\.apache\.hadoop\.fs\.[\w.]+)")
_NOT_A_PATH = re.compile(r"URISyntaxException: Relative path in absolute URI: (\S+)")
_LIBSVM = re.compile(r'indices should be one-based and in ascending order;.*?line="([^"]*)')
_NOT_LIBSVM = re.compile(r"NumberFormatException: (.*)[\s\S]*parseLibSVMRecord")
_RAISED = re.compile(r"\[USER_RAISED_EXCEPTION\] (.*?)[.!]? SQLSTATE", re.DOTALL)
_NO_LISTING = re.compile(r"file (\w+)://\S+ The file system \S+ hasn't implemented")

# The first class that fits decides, so a subclass stands before its base.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (UsageError, os.EX_USAGE),
    (ParamError, os.EX_USAGE),
    (SolverError, os.EX_USAGE),
    (EnvironmentProblem, os.EX_CONFIG),
    (ConfigError, os.EX_CONFIG),
    (SessionError, os.EX_CONFIG),
    (WorkerError, os.EX_UNAVAILABLE),
    (DataError, os.EX_DATAERR),
    (ColumnError, os.EX_DATAERR),
    (ColumnTypeError, os.EX_DATAERR),
    (InputMissingError, os.EX_NOINPUT),
    (NonDeterministicSourceError, os.EX_UNAVAILABLE),
    (StorageError, os.EX_UNAVAILABLE),
    (PublishDeniedError, os.EX_NOPERM),
    (PublishError, os.EX_IOERR),
    (DivergenceError, 80),
    (NotConvergedError, 81),
    (FormatError, 84),
    (Py4JError, os.EX_UNAVAILABLE),
    (PySparkException, os.EX_UNAVAILABLE),
    (KeyboardInterrupt, 130),
    (Terminated, 143),
)


def exit_code(failure: BaseException) -> int:
    """The exit code of a failure; 70, a bug, for whatever the table does not know.

    >>> exit_code(DataError("column 'age' has 3 missing values"))
    65
    """
    if isinstance(failure, Py4JError | PySparkException):
        failure = _explained(failure)
    if isinstance(failure, Py4JError | PySparkException) and raised_in_worker(failure):
        return BUG
    if isinstance(failure, Py4JError | PySparkException) and _DATA_EXCEPTION.search(str(failure)):
        return os.EX_DATAERR
    return next((code for kind, code in EXIT_CODES if isinstance(failure, kind)), BUG)


def sentence(failure: BaseException) -> str:
    """A failure in one line, without class names and stack traces where the message says enough.

    >>> sentence(Terminated())
    'ended by SIGTERM'
    """
    match failure:
        case Terminated() | KeyboardInterrupt():
            text = "ended by SIGTERM" if isinstance(failure, Terminated) else "interrupted"
            text += f": {failure}" * bool(str(failure))
        case SparkdmlError():
            text = " ".join(str(failure).split())
        case Py4JError() | PySparkException():
            text = _spark_sentence(failure)
        case _:
            text = f"a bug in sparkdml: {type(failure).__name__}: {failure}"
    return text


def _spark_sentence(failure: Exception) -> str:
    """What is said of a failure that Spark reports."""
    known = _explained(failure)
    if known is not failure:
        return str(known)
    if raised := raised_in_worker(failure):
        return f"a bug in sparkdml, in a Python worker: {raised.kind}: {raised.message}"
    told = spark_condition(failure)
    return f"the table has a bad value: {told}" if _DATA_EXCEPTION.search(str(failure)) else f"Spark failed: {told}"


def _explained(failure: Exception) -> Exception:
    """The error of ours that explains what Spark reports, or the failure itself."""
    return path_problem(failure) or explanation(failure) or bad_rows(failure) or failure


def path_problem(failure: BaseException) -> SparkdmlError | None:
    """The error for a path that Hadoop has no file system for; None where there is another reason."""
    text = str(failure)
    if unknown := _NO_SYSTEM.search(text):
        hint = "; Hadoop's name for S3 is s3a" if unknown[1] in ("s3", "s3n") else ""
        return UsageError(f"there is no file system {unknown[1]}:// : correct the path{hint}.")
    if lacking := _NO_CLASS.search(text):
        return EnvironmentProblem(
            f"Spark has no class {lacking[1]}: add the package that has it, such as --packages "
            "org.apache.hadoop:hadoop-aws:<version of Hadoop> for s3a, to spark-submit."
        )
    if found := _NO_LISTING.search(text):
        return UsageError(f"Spark cannot list the files of {found[1]}:// : download them first.")
    if relative := _NOT_A_PATH.search(text):
        return UsageError(
            f"{relative[1]} is not a path: jobs read files, and tables of Spark's catalog (--format table)."
        )
    return None


def bad_rows(failure: BaseException) -> SparkdmlError | None:
    """The error for rows that are wrong in a way that only Spark's reader knows."""
    if found := _LIBSVM.search(str(failure)):
        return DataError(f"a line is not libsvm: its indices must ascend from 1, and in {found[1]!r:.80} they do not.")
    if found := _NOT_LIBSVM.search(str(failure)):
        return DataError(f"a line is not libsvm: label index:value index:value ..., and {found[1]:.80} is no number.")
    if found := _RAISED.search(str(failure)):
        return DataError(f"SQL of the table raised an error: {found[1]}.")
    return None


def spark_condition(failure: Exception) -> str:
    """Spark's sentence without its tags: ``[CONDITION] sentence SQLSTATE: 42K03`` -> ``sentence``."""
    return spark_message(failure).partition("] ")[2].partition(" SQLSTATE")[0] or spark_message(failure)


def spark_message(failure: Exception) -> str:
    """The first line of what Spark or Hadoop says, taken from the exception that caused all others."""
    kind, text = causes(failure)[-1]
    line = next(iter(text.strip().splitlines()), "")
    return line if " " in line else f"{kind.rpartition('.')[2]}: {line}".rstrip(": ")  # such as the name of a host
