"""Ctrl-C, and what else ends a process, in the middle of Spark's jobs: ours are cancelled, and no others.

pyspark's own handler cancels all jobs of the application, and raises in the middle of a call to the JVM. That leaves
the answer of that call unread, and each later call on the same connection gets the answer to the one before. So here a
signal that arrives inside such a call cancels the jobs with our tag, from a thread with a connection of its own, and
looks again shortly; the exception is raised between two calls.
"""

import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from pyspark import SparkContext

INTERRUPT: Mapping[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt}
_RETRY_SECONDS = 0.1


class _Watch:
    """The signals that a block waits for, and those that came."""

    def __init__(self, context: SparkContext, ends: Mapping[int, type[BaseException]]) -> None:
        self.context = context
        self.ends = ends
        self.tag = f"sparkdml-{uuid.uuid4().hex}"
        self.came: list[int] = []
        self.holds = 0
        self.open = True
        self.raised = False
        self._lock = threading.Lock()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler, which runs in the main thread."""
        if not self.open:
            return
        self.came.append(number)
        if self.holds:
            return
        if _inside_py4j(frame):
            threading.Thread(target=self._cancel, args=(number,), daemon=True).start()
        else:
            raise self.end()

    def end(self, done: str = "") -> BaseException:
        """The exception of the first signal that came; it says what was `done`."""
        self.raised = True
        return self.ends[self.came[0]](*filter(None, [done]))

    def close(self) -> None:
        """No signal is repeated from now on."""
        with self._lock:
            self.open = False

    def _cancel(self, number: int) -> None:
        """Cancel the jobs, and send the signal again, since the call may return or start another job meanwhile."""
        with suppress(Exception):  # the JVM may be gone already, which also ends the wait
            self.context.cancelJobsWithTag(self.tag)
        time.sleep(_RETRY_SECONDS)
        with self._lock:
            main = threading.main_thread().ident
            if self.open and not self.raised and main is not None:
                signal.pthread_kill(main, number)


_watch: _Watch | None = None  # of the main thread


@contextmanager
def cancellable(ends: Mapping[int, type[BaseException]] = INTERRUPT) -> Iterator[None]:
    """Inside the block a signal cancels the block's Spark jobs, and raises its exception between two calls to the JVM.

    The job group, the tags and the description that the caller has set stay, and so do handlers that are neither
    Python's nor pyspark's. Signals can only be handled in the main thread; elsewhere the block changes nothing, nor
    does it inside another one.

    Parameters
    ----------
    ends : the exception of each signal; by default KeyboardInterrupt of SIGINT.
    """
    global _watch
    context = SparkContext._active_spark_context
    if _watch is not None or context is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in ends if number != signal.SIGINT or _is_usual(signal.getsignal(number))]
    watch = _watch = _Watch(context, ends)
    context.addJobTag(watch.tag)
    before = {number: signal.signal(number, watch.on_signal) for number in numbers}
    try:
        yield
    except Exception as failure:
        if watch.came:  # the cancelled Spark job has failed before the second look
            raise watch.end() from failure
        raise
    finally:
        watch.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        _watch = None
        with suppress(Exception):  # the session may have ended
            context.removeJobTag(watch.tag)


@contextmanager
def held(done: str = "") -> Iterator[None]:
    """Inside the block signals wait for its end, where the exception that they raise says what was `done`.

    It is for a short step that must be finished once it is begun.
    """
    watch = _watch
    if watch is None:
        yield
        return
    watch.holds += 1
    try:
        yield
    finally:
        watch.holds -= 1
    if watch.came and not watch.holds:
        raise watch.end(done)


def is_interrupted(failure: BaseException | type[BaseException] | None) -> bool:
    """Whether a signal ends the block that this failure ends, be it the failure itself or what has cancelled a job."""
    kind = failure if isinstance(failure, type) else type(failure)
    return failure is not None and (not issubclass(kind, Exception) or (_watch is not None and bool(_watch.came)))


def _is_usual(handler: object) -> bool:
    """Whether a handler of SIGINT is that of Python or of pyspark."""
    usual = (signal.default_int_handler, signal.SIG_DFL)
    return handler in usual or getattr(handler, "__module__", "") == "pyspark.core.context"


def _inside_py4j(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("py4j."):
            return True
        frame = frame.f_back
    return False
