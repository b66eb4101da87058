"""Files of a table that cannot be read, named in a sentence that is the same whoever reads them: a task, or Spark."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from sparkdml.blocks.parquet import BAD_PAGE
from sparkdml.errors import DataError, InputMissingError, SparkdmlError, UnreadableFileError

_BY_TASK = re.compile(r"sparkdml\.blocks\.parquet\.(\w+): file (.+?) cannot be read: (.*)")
_BY_SPARK = re.compile(r"FAILED_READ_FILE\.(\w+)\][^\n]*?\bfile (\S+?)\.?\s(.*?)(?:SQLSTATE|$)", re.DOTALL)
_NETWORK = ("java.net.", "Timeout", "Connection")  # the file may be whole, but not the way to it


@contextmanager
def told_unreadable_files() -> Iterator[None]:
    """Raise the error of `unreadable_file` where a job fails because it cannot read a file."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as failure:
        error = unreadable_file(failure)
        if error is None:
            raise
        raise error from failure


def unreadable_file(failure: BaseException) -> SparkdmlError | None:
    """The error for a failure to read a file, with its name and the reason; None where Spark failed otherwise.

    `InputMissingError` where the file is gone. `DataError` where it is damaged, and `UnreadableFileError` of this kind
    unless a checksum in the file proves it.
    """
    text = str(failure)
    if found := _BY_TASK.search(text):
        kind, path, reason = found.groups()
    elif found := _BY_SPARK.search(text):
        kind, path, reason = found[1], _local(found[2]), found[3].strip() or _reason(failure)
        if any(word in " ".join(causes(failure)[-1]) for word in _NETWORK):
            return None
    else:
        return None
    if kind in ("Gone", "FILE_NOT_EXIST"):
        return InputMissingError(
            f"file {path} is gone since the table was listed: restore it, or read the table again."
        )
    advice = "restore it, or leave it out of the table"
    if BAD_PAGE in reason:
        return DataError(f"file {path} cannot be read: a page differs from its checksum. Damaged: {advice}.")
    reason = reason.replace(f"file:{path}", "it").replace(path, "it").rstrip(". ")
    return UnreadableFileError(f"file {path} cannot be read ({reason}): {advice}.")


def causes(failure: BaseException) -> list[tuple[str, str]]:
    """Class and message of an exception, of the one that caused it, and so on, as far as Spark lets one see them."""
    java: Any = failure.java_exception if isinstance(failure, Py4JJavaError) else getattr(failure, "_origin", None)
    if java is None:
        return [(type(failure).__name__, str(failure))]
    found = []
    while java is not None:
        found.append((java.getClass().getName(), java.getMessage() or ""))
        java = java.getCause()
    return found


def _reason(failure: BaseException) -> str:
    """The first line of what the innermost cause says that says more than a name."""
    lines = [text.strip().partition("\n")[0] for _, text in reversed(causes(failure)[1:])]
    return next((line for line in lines if " " in line), "its content is damaged")


def _local(uri: str) -> str:
    """The path of a file of this machine; other URIs as they are."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
