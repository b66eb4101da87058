"""What a job says on stderr: lines for a person, or JSON lines in pyspark's ``SPARK_LOG_SCHEMA``."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.logger.logger import JSONFormatter, PySparkLogger

from sparkdml.errors import ConvergenceWarning, DataWarning
from sparkdml.jobkit.secrets import hidden
from sparkdml.text import printable

LOG_FORMATS = ("auto", "text", "json")
# pyspark's own, for failures that the job tells in its way.
_PYSPARKS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
log = logging.getLogger("sparkdml")


@contextmanager
def job_logging() -> Iterator[logging.Handler]:
    """Inside the block sparkdml's records and warnings go to stderr; yields the handler, for `set_format`."""
    handler = logging.StreamHandler(sys.stderr)
    set_format(handler, "auto")
    level, propagate = log.level, log.propagate
    loggers = {PySparkLogger.getLogger(name): PySparkLogger.getLogger(name).disabled for name in _PYSPARKS}
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    for each in loggers:
        each.disabled = True
    log.propagate = False  # a root handler of the surrounding program would print each line twice
    try:
        with _warnings_logged():
            yield handler
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        for each, before in loggers.items():
            each.disabled = before
        log.propagate = propagate


def set_format(handler: logging.Handler, name: str) -> None:
    """Lines for a person (``text``), JSON lines (``json``), or by whether stderr is a terminal (``auto``)."""
    text = name == "text" or (name == "auto" and sys.stderr.isatty())
    handler.setFormatter(_LineFormatter() if text else _JSONFormatter())


def say(text: str) -> None:
    """Print a result for a person: without secrets, control characters as escapes."""
    print(printable(hidden(text), "\n"))


class _LineFormatter(logging.Formatter):
    """The message alone, as `say` has it; ``warning:`` or ``error:`` before what is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(hidden(super().format(record)), "\n\t")
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


class _JSONFormatter(JSONFormatter):
    """JSON lines without secrets; JSON escapes control characters itself."""

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))


@contextmanager
def _warnings_logged() -> Iterator[None]:
    """Inside the block the library's warnings become log records, each time they occur."""
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, DataWarning):
            warnings.simplefilter("always", category)
        shown = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
            if issubclass(category, ConvergenceWarning | DataWarning):
                log.warning("%s", message, extra={"context": {"category": category.__name__}})
            else:
                shown(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
