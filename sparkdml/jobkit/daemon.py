"""Spark's daemon of Python workers, for sessions of our own: quick to start, and silent about abandoned workers.

Workers are forks of the daemon. Spark's imports hardly anything before it forks, so that each worker imports anew all
that its tasks need, and PySpark from a zip, which Python compiles every time: two seconds of a processor for each. Here
it is imported once, from where PySpark is unpacked.

When a task fails inside the JVM, over a corrupt file for instance, its Python worker finds nobody to talk to any more.
Spark's daemon prints a stack trace of each such worker, between the lines of a job that tells the failure itself.
"""

import gc
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

NEEDED = ("pyspark.worker", "pyspark.sql.pandas.serializers", "sparkdml.engine.tasks")
ZIP = Path("python", "lib", "pyspark.zip")  # below Spark's home

_print_exc = traceback.print_exc


def print_unless_abandoned(*settings: Any, **named: Any) -> None:
    """`traceback.print_exc`, but for a BrokenPipeError."""
    if not isinstance(sys.exc_info()[1], BrokenPipeError):
        _print_exc(*settings, **named)


def unzipped(path: list[str]) -> list[str]:
    """The places to import from, without PySpark's zip if the same PySpark is unpacked in one of the others.

    So it is where pip installed it, since Spark's home is then the package itself.
    """
    found = []
    for entry in path:
        home = Path(entry).parents[2] if Path(entry).parts[-3:] == ZIP.parts else None
        if home is None or not (home / "version.py").is_file() or str(home.parent) not in path:
            found.append(entry)
    return found


if __name__ == "__main__":
    sys.path[:] = unzipped(sys.path)
    for name in NEEDED:
        import_module(name)
    gc.freeze()  # what is not collected is not copied either, from the daemon's memory to the worker's
    traceback.print_exc = print_unless_abandoned
    import_module("pyspark.daemon").manager()
