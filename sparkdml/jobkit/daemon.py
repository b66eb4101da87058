"""Spark's daemon of Python workers, silent about workers whose task has ended.

When a task fails inside the JVM, over a corrupt file for instance, its Python worker finds nobody to talk to any more.
Spark's daemon prints a stack trace of each such worker, between the lines of a job that tells the failure itself.
"""

import sys
import traceback
from typing import Any

from pyspark import daemon

_print_exc = traceback.print_exc


def print_unless_abandoned(*settings: Any, **named: Any) -> None:
    """`traceback.print_exc`, but for a BrokenPipeError."""
    if not isinstance(sys.exc_info()[1], BrokenPipeError):
        _print_exc(*settings, **named)


if __name__ == "__main__":
    traceback.print_exc = print_unless_abandoned
    daemon.manager()
