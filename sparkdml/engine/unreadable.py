"""Files of a table that cannot be read, named in a sentence that is the same whoever reads them: a task, or Spark."""

import re
from typing import Any
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError

from sparkdml.blocks.parquet import BAD_PAGE, GONE
from sparkdml.errors import DataError, InputMissingError, SparkdmlError, UnreadableFileError

_BY_TASK = re.compile(r"sparkdml\.blocks\.parquet\.Unreadable: file (.+?) cannot be read: (.*)")
_BY_SPARK = re.compile(r"FAILED_READ_FILE\.(\w+)\][^\n]*?\bfile (\S+?)\.?\s(.*?)(?:SQLSTATE|$)", re.DOTALL)
_CLASSES = re.compile(r"^(?:[\w.$]+(?:Exception|Error): )+")
_NETWORK = ("java.net.", "Timeout", "Connection")  # the file may be whole, but not the way to it


def unreadable_file(failure: BaseException) -> SparkdmlError | None:
    """The error for a failure to read a file, with its name and the reason; None where Spark failed otherwise."""
    text = str(failure)
    if found := _BY_TASK.search(text):
        return unreadable_error(found[1], found[2])
    found = _BY_SPARK.search(text)
    if found is None or any(word in " ".join(causes(failure)[-1]) for word in _NETWORK):
        return None
    reason = GONE if found[1] == "FILE_NOT_EXIST" else found[3].strip() or _reason(failure)
    return unreadable_error(_local(found[2]), reason)


def unreadable_error(path: str, reason: str) -> SparkdmlError:
    """The error for a file: `InputMissingError` where it is gone, and `DataError` where it is damaged.

    The latter is an `UnreadableFileError`, unless a checksum in the file proves the damage.
    """
    if reason == GONE:
        return InputMissingError(
            f"file {path} is gone since the table was listed: restore it, or read the table again."
        )
    proven = BAD_PAGE in reason
    why = BAD_PAGE if proven else reason.replace(f"file:{path}", "it").replace(path, "it").rstrip(". ")
    sentence = f"file {path} cannot be read ({why}): restore it, or leave it out of the table."
    return DataError(sentence) if proven else UnreadableFileError(sentence)


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
    """The first line of what the outermost cause says that says more than the name of a class."""
    lines = [_CLASSES.sub("", text.strip().partition("\n")[0]) for _, text in causes(failure)[1:]]
    if any(BAD_PAGE in line for line in lines):
        return BAD_PAGE
    return next((line for line in lines if " " in line), "its content is damaged")


def _local(uri: str) -> str:
    """The path of a file of this machine; other URIs as they are."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file:///") else uri
