"""SIGTERM and Ctrl-C end a job in order: its Spark jobs are cancelled, then an exception unwinds the driver."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sparkdml.engine.interrupts import INTERRUPT, cancellable
from sparkdml.jobkit.failures import Terminated

_ENDS: dict[int, type[BaseException]] = {**INTERRUPT, signal.SIGTERM: Terminated}


@contextmanager
def orderly_end() -> Iterator[None]:
    """Inside the block SIGTERM raises Terminated and Ctrl-C KeyboardInterrupt; see `cancellable`."""
    with cancellable(_ENDS):
        yield


@contextmanager
def early_end() -> Iterator[None]:
    """Inside the block SIGTERM raises Terminated at once, and Ctrl-C KeyboardInterrupt: before there is a session."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise _ENDS[number]()

    before = {number: signal.signal(number, on_signal) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
