"""What went wrong in the Python workers of Spark, told in a sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException

from sparkdml.errors import SessionError

_MODULE = re.compile(r"No module named '([\w.]+)'")


@contextmanager
def told_missing_modules() -> Iterator[None]:
    """Raise `SessionError` where a job fails because the workers' Python has not got a module."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as failure:
        missing = _MODULE.search(str(failure))
        if missing is None:
            raise
        context = SparkContext._active_spark_context
        python = f", {context.pythonExec}," if context else ""
        raise SessionError(
            f"the Python of Spark's workers{python} has no module {missing[1]!r}: install it there, or set "
            "PYSPARK_PYTHON to a Python that has it before the session starts."
        ) from failure
