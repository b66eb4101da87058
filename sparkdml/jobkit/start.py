"""The start of a script in ``jobs/``, before anything large is imported: it needs nothing but Python.

A scheduler that ends a job in these seconds gets a last line of JSON too, and so does one on whose machine a package is
missing.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SAID = {signal.SIGTERM: "ended by SIGTERM", signal.SIGINT: "interrupted"}


@contextmanager
def starting(name: str) -> Iterator[None]:
    """Around the imports of a script, whose `__name__` this is; ends the process with code 78 where one fails."""
    if name == "__main__":
        for number in _SAID:
            signal.signal(number, _end)
    try:
        yield
    except ModuleNotFoundError as missing:
        sentence = f"{missing}: `make setup` installs what sparkdml needs."
        print(sentence, file=sys.stderr)
        print(_line(os.EX_CONFIG, sentence))
        sys.exit(os.EX_CONFIG)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.stdout.write(_line(128 + number, _SAID[signal.Signals(number)]) + "\n")
    sys.stdout.flush()
    os._exit(128 + number)  # an exception would be told as a traceback of whatever was imported


def _line(code: int, error: str) -> str:
    return json.dumps({"status": "failed", "code": code, "error": error})
