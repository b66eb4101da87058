"""What went wrong in the Python workers of Spark, in a sentence."""

import errno
import re
from typing import NamedTuple

from pyspark import SparkContext

from sparkdml.errors import DataError, SessionError, SparkdmlError, StorageError, WorkerError

_MODULE = re.compile(r"No module named '([\w.]+)'")
_NO_PROGRAM = re.compile(r'Cannot run program "([^"]*)"')
_DIED = re.compile(r"Python worker exited unexpectedly|^(Caused by: )?java\.io\.EOFException", re.MULTILINE)
_FULL = re.compile(r"^MemoryError\b", re.MULTILINE)
# The last of the tracebacks that a message has; what it has before is what that one came of.
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\):\n((?:[ \t]+.*\n)+)([\w.]+)(?:: (.*))?$(?![\s\S]*Traceback \(most)",
    re.MULTILINE,
)
_FRAME = re.compile(r'^  File "([^"]*)", line \d+', re.MULTILINE)
_NO_ROOM = {f"[Errno {number}]" for number in (errno.ENOSPC, errno.EDQUOT)}
_NO_ROOM_IN_JAVA = re.compile(r"java\.io\.IOException: (No space left on device|Disk quota exceeded)")
_FILES = {"OSError", "PermissionError", "FileNotFoundError", "BlockingIOError", "InterruptedError", "TimeoutError"}
_REMEDY = (
    "give a task more memory (fewer cores a machine, or spark.executor.memoryOverhead) or fewer rows (numPartitions)"
)


def worker_error(failure: Exception) -> SparkdmlError | None:
    """Return the error that explains a failed job by its Python workers; None where it failed for another reason.

    SessionError : there is no Python for the workers, or it lacks a module.
    WorkerError : a worker died, or had no memory left.
    StorageError : a disk is full, or refuses a file.
    DataError : Python code of the table raised an exception, as a function of the user's may.
    """
    text = str(failure)
    if missing := _MODULE.search(text):
        context = SparkContext._active_spark_context
        python = f", {context.pythonExec}," if context else ""
        return SessionError(
            f"the Python of Spark's workers{python} has no module {missing[1]!r}: install it there, or set "
            "PYSPARK_PYTHON to a Python that has it before the session starts."
        )
    if program := _NO_PROGRAM.search(text):
        return SessionError(f"there is no Python {program[1]} to run Spark's workers: set PYSPARK_PYTHON to one.")
    if _FULL.search(text):
        return WorkerError(f"a Python worker of Spark had no memory left: {_REMEDY}.")
    if _DIED.search(text):
        return WorkerError(
            "a Python worker of Spark died. Most often the system killed it because memory ran short (its log names "
            f"the OOM killer then), or native code crashed in it: {_REMEDY}, or set "
            "spark.python.worker.faulthandler.enabled=true to see where it crashed."
        )
    raised = raised_in_worker(failure)
    if _NO_ROOM_IN_JAVA.search(text) or (raised and any(each in raised.message for each in _NO_ROOM)):
        return StorageError(
            "a disk is full where Spark or its workers write: free space there; what they keep for themselves goes to "
            "spark.local.dir."
        )
    if raised and raised.kind.rpartition(".")[2] in _FILES:
        return StorageError(f"a Python worker of Spark cannot use a file: {raised.message}.")
    if raised and not raised.is_ours:
        return DataError(f"Python code that makes the table failed: {raised.kind}: {raised.message}.")
    return None


class Raised(NamedTuple):
    """An exception in a Python worker: its class, its message, and whether code of this package raised it."""

    kind: str
    message: str
    is_ours: bool


def raised_in_worker(failure: Exception) -> Raised | None:
    """Return what a Python worker raised that failed a job; None where it failed for another reason."""
    found = _TRACEBACK.search(str(failure))
    if found is None:
        return None
    frames = _FRAME.findall(found[1])
    return Raised(found[2], (found[3] or "").strip().rstrip("."), bool(frames) and "/sparkdml/" in frames[-1])
