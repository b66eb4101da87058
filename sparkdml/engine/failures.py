"""Failed Spark jobs explained: by a file that cannot be read, or by the Python workers."""

from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from sparkdml.engine.interrupts import cancellable
from sparkdml.engine.unreadable import unreadable_file
from sparkdml.engine.workers import worker_error
from sparkdml.errors import SparkdmlError


@contextmanager
def explained_failures() -> Iterator[None]:
    """Raise the error that explains why a job fails, see `explanation`; other failures pass unchanged.

    Ctrl-C cancels the jobs of the block, see `cancellable`.
    """
    with cancellable():
        try:
            yield
        except (Py4JJavaError, PySparkException) as failure:
            if error := explanation(failure):
                raise error from failure
            raise


def explanation(failure: Exception) -> SparkdmlError | None:
    """Return the error that explains a failed job, see `unreadable_file` and `worker_error`; None if neither does."""
    return unreadable_file(failure) or worker_error(failure)
