"""SIGTERM and Ctrl-C end a job in order: Spark's jobs are cancelled, then an exception unwinds the driver.

An exception raised in the middle of a call to the JVM leaves the answer of that call unread, and each later
call on the same connection gets the answer to the one before. (pyspark's own Ctrl-C handler has this flaw.) So a
signal that arrives inside such a call cancels what the call waits for, from a thread with a connection of its
own, and looks again shortly.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pyspark.sql import SparkSession

from sparkdml.jobkit.failures import Terminated

_FAILURES: dict[int, type[BaseException]] = {signal.SIGTERM: Terminated, signal.SIGINT: KeyboardInterrupt}
_RETRY_SECONDS = 0.1
_holding: list[bool] = []  # the blocks of `held` that the main thread is in
_waiting: list[int] = []  # the signals that came meanwhile


@contextmanager
def held(done: str) -> Iterator[None]:
    """Inside the block signals wait for its end, where the exception that they raise says what was `done`.

    It is for a short step that must be finished once it is begun.
    """
    _holding.append(True)
    try:
        yield
    finally:
        _holding.pop()
    if _waiting and not _holding:
        raise _FAILURES[_waiting[0]](done)


@contextmanager
def orderly_end(spark: SparkSession) -> Iterator[None]:
    """Inside the block SIGTERM raises Terminated and Ctrl-C KeyboardInterrupt, between two calls to the JVM.

    Signals can only be handled in the main thread; elsewhere the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM:
            pending.append(number)
        if _holding:
            _waiting.append(pending[0])
        elif _inside_py4j(frame):
            threading.Thread(target=_cancel_jobs, args=(spark,), daemon=True).start()
            signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
        else:
            raise _FAILURES[pending[0]]()

    before = {number: signal.signal(number, on_signal) for number in (*_FAILURES, signal.SIGALRM)}
    try:
        yield
    except Exception as failure:
        if pending:  # the cancelled Spark job has failed before the second look
            raise _FAILURES[pending[0]]() from failure
        raise
    finally:
        _waiting.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _inside_py4j(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("py4j."):
            return True
        frame = frame.f_back
    return False


def _cancel_jobs(spark: SparkSession) -> None:
    with suppress(Exception):  # the JVM may be gone already, which also ends the wait
        spark.sparkContext.cancelAllJobs()
