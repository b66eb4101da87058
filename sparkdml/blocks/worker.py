"""The Python worker of Spark that runs a task."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark import TaskContext

# Of mallopt(3), and what they are set to: every array of a block comes from the heap, and the heap is not made smaller.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM, MMAP = 1 << 30, 1 << 25

_frozen_modules = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within a task, have the C library keep the memory of arrays that are freed for the next ones, until the end.

    Otherwise each large array is of pages that the system has to find and to clear: packing took 1.5 times as long.
    Where the C library is another than that of GNU, and outside of a task, nothing is changed.

    Source: mallopt(3) and malloc_trim(3) of the GNU C library.
    """
    libc = ctypes.CDLL(None) if TaskContext.get() is not None and sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, MMAP)
    libc.mallopt(M_TRIM_THRESHOLD, TRIM)
    try:
        yield
    finally:
        libc.malloc_trim(0)


def freeze_modules() -> None:
    """At the end of a task, put what the imported modules made out of the reach of the garbage collector.

    After each task Spark collects the garbage of the whole worker, and the next task waits for it: with NumPy, SciPy
    and Arrow loaded 35 ms, in a pass of many partitions most of the time. What is alive now is never collected, so
    this is done once, and again only when a task brought modules that were not there; outside of a task, not at all.

    Source: gc.freeze in Python's library reference.
    """
    global _frozen_modules
    if len(sys.modules) > _frozen_modules and TaskContext.get() is not None:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)
