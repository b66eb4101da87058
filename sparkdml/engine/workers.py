"""What went wrong in the Python workers of Spark, in a sentence."""

import re

from pyspark import SparkContext

from sparkdml.errors import SessionError, SparkdmlError, WorkerError

_MODULE = re.compile(r"No module named '([\w.]+)'")
_DIED = re.compile(r"Python worker exited unexpectedly|^(Caused by: )?java\.io\.EOFException", re.MULTILINE)
_FULL = re.compile(r"^MemoryError\b", re.MULTILINE)
_REMEDY = (
    "give a task more memory (fewer cores a machine, or spark.executor.memoryOverhead) or fewer rows (numPartitions)"
)


def worker_error(failure: Exception) -> SparkdmlError | None:
    """Return the error that explains a failed job by its Python workers; None where it failed for another reason.

    SessionError : the workers' Python lacks a module.
    WorkerError : a worker died, or had no memory left.
    """
    text = str(failure)
    if missing := _MODULE.search(text):
        context = SparkContext._active_spark_context
        python = f", {context.pythonExec}," if context else ""
        return SessionError(
            f"the Python of Spark's workers{python} has no module {missing[1]!r}: install it there, or set "
            "PYSPARK_PYTHON to a Python that has it before the session starts."
        )
    if _FULL.search(text):
        return WorkerError(f"a Python worker of Spark had no memory left: {_REMEDY}.")
    if _DIED.search(text):
        return WorkerError(
            "a Python worker of Spark died. Most often the system killed it because memory ran short (its log names "
            f"the OOM killer then), or native code crashed in it: {_REMEDY}, or set "
            "spark.python.worker.faulthandler.enabled=true to see where it crashed."
        )
    return None
