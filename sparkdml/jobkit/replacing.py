"""A directory that a job writes anew: as a whole, or not at all.

It is written beside its place, as ``_incomplete-<name>-<process>``, and renamed when it is done. What is replaced is
moved to ``_replaced-<name>-<process>`` before that and deleted after it. The underscore hides both from Spark and
Hadoop; what a killed job leaves of them is cleared by the next one with the same output.

Only a directory that one of these jobs wrote is replaced, which its marker file tells, and never one that a run reads
from or runs in.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import sparkdml
from sparkdml.errors import FormatError
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.progress import log
from sparkdml.jobkit.publish import publishing
from sparkdml.manifest import SUCCESS
from sparkdml.owners import OWNER, is_abandoned, is_dead, owned
from sparkdml.saved import SMALL, parse
from sparkdml.storage import Storage

MARKER = "_sparkdml.json"
_WRITTEN = json.dumps({"format": "sparkdml-output", "formatVersion": 1}).encode() + b"\n"
# What a directory of 0.1, which has no marker, may hold.
_FORMER = re.compile(
    r"_SUCCESS|_run\.json|_coefficients\.json|part-[\w-]+(\.[a-z0-9]+)*\.(parquet|csv|orc|json)(\.[a-z0-9]+)*"
)


@contextmanager
def replaced_directory(
    storage: Storage, path: str, overwrite: bool, reads: Sequence[str] = (), models: Sequence[str] = ()
) -> Iterator[str]:
    """Yields an empty directory to be filled; it is at `path` after the block, and gone if the block fails.

    Parameters
    ----------
    storage : Storage
        Where the directory is.
    path : str
        A directory in any file system that Hadoop knows. An empty one counts as free.
    overwrite : bool
        Whether to replace what is there; until the block has ended it stays as it is.
    reads, models : sequences of str
        Paths of what the run reads, which is never replaced.

    Raises
    ------
    UsageError
        `path` is not free and may not be replaced, or it is a file or a root. Raised before the block.
    PublishError, PublishDeniedError
        The directory cannot be made, before the block, or not renamed, after it.
    """
    incomplete = owned(_sibling(path, "incomplete"))
    recover_directory(storage, path)
    check_free(storage, path, overwrite, reads, models)
    with publishing(path):
        storage.make_directory(incomplete)
    try:
        yield incomplete
        with publishing(path):
            storage.write(f"{incomplete}/{MARKER}", _WRITTEN)
            _put(storage, incomplete, path, overwrite)
    except BaseException:
        with suppress(Exception):  # the failure that is on its way says more
            storage.delete(incomplete)
        raise


def check_free(
    storage: Storage, path: str, overwrite: bool, reads: Sequence[str] = (), models: Sequence[str] = ()
) -> None:
    """Raise UsageError if the directory may not be written; changes nothing."""
    with publishing(path):
        if storage.exists(path) and not storage.is_directory(path):
            raise UsageError(f"{path} is a file: name a directory.")
        if _is_empty(storage, path):
            return
        if not overwrite:
            raise UsageError(f"{path} is not empty: name another directory, or replace this one with --overwrite.")
        _check_untouched(storage, path, reads, models)
        _check_ours(storage, path)


def _check_untouched(storage: Storage, path: str, reads: Sequence[str], models: Sequence[str]) -> None:
    """Refuse to replace a directory that the run reads from, or runs in."""
    target = storage.real(path)
    kept = [("input", each) for each in reads] + [("model", each) for each in models]
    for what, each in kept:
        place = storage.real(each)
        if _contains(target, place) or _contains(place, target):
            raise UsageError(
                f"--overwrite would replace {path}, which is, holds or lies in the {what} {each}: name another one."
            )
    for what, each in (("working directory", os.getcwd()), ("package", str(Path(sparkdml.__file__).parent))):
        if _contains(target, storage.real(each)):
            raise UsageError(f"--overwrite would replace {path}, which is or holds the {what}: name another one.")


def _check_ours(storage: Storage, path: str) -> None:
    """Refuse to replace a directory that none of these jobs wrote."""
    names = list(storage.files(path, deep=False))
    if MARKER in names:
        return
    strange = [name for name in names if not (_FORMER.fullmatch(name) or name.endswith(".crc"))]
    strange += storage.directories(path)
    if (strange or SUCCESS not in names) and not _is_evaluation(storage, path, names):
        held = f", and holds {strange[0]}" if strange else ""
        raise UsageError(
            f"--overwrite replaces only what a job of sparkdml wrote: {path} has no {MARKER}{held}; name another "
            "directory, or remove this one yourself."
        )
    log.warning("%s has no %s, as sparkdml 0.1 wrote none: it is replaced.", path, MARKER)


def _is_evaluation(storage: Storage, path: str, names: Sequence[str]) -> bool:
    """Whether a directory is one of metrics and pictures, as 0.1 wrote it."""
    if "metrics.json" not in names or not all(each == "metrics.json" or each.endswith(".png") for each in names):
        return False
    with suppress(FormatError):
        found = parse(storage.below(path).read("metrics.json", SMALL), path)
        return isinstance(found, dict) and {"model", "metrics", "rows"} <= set(found)
    return False


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def recover_directory(storage: Storage, path: str) -> None:
    """Bring back what was at `path` if a job was killed between its two renames. Raises as `replaced_directory`.

    What killed jobs left beside it is removed; what a live one is writing stays.
    """
    parent, name = _place(path)
    with publishing(path):
        for each in storage.directories(parent or "."):
            left = f"{parent}/{each}" if parent else each
            if _is_of(each, f"_replaced-{name}") and (is_dead(each) or each == f"_replaced-{name}"):
                if storage.exists(path):
                    storage.delete(left)
                else:
                    storage.move(left, path)
            elif _is_of(each, f"_incomplete-{name}") and is_abandoned(each, storage.modified(left)):
                storage.delete(left)


def _is_of(name: str, stem: str) -> bool:
    """Whether a name is the stem with an owner, or the stem alone, as 0.1 wrote it."""
    return name == stem or re.fullmatch(re.escape(stem) + OWNER, name) is not None


def _put(storage: Storage, incomplete: str, path: str, overwrite: bool) -> None:
    """Rename, after what is at `path` has been moved away."""
    replaced = owned(_sibling(path, "replaced"))
    if overwrite and storage.exists(path):
        storage.move(path, replaced)
    elif _is_empty(storage, path):
        storage.delete_empty(path)
    try:
        storage.move(incomplete, path)
    finally:
        if storage.exists(replaced):
            if storage.exists(path):
                storage.delete(replaced)
            else:
                storage.move(replaced, path)


def _is_empty(storage: Storage, path: str) -> bool:
    """Whether there is nothing in the directory, or no such directory."""
    return not storage.exists(path) or not (storage.files(path, deep=False) or storage.directories(path))


def _sibling(path: str, state: str) -> str:
    """``a/b`` -> ``a/_<state>-b``."""
    parent, name = _place(path)
    return f"{parent}/_{state}-{name}" if parent or path.startswith("/") else f"_{state}-{name}"


def _place(path: str) -> tuple[str, str]:
    """The directory that a path lies in, and its name; UsageError for a root."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", "..") or name.endswith(":") or parent.endswith(":/"):
        raise UsageError(f"{path!r} is no directory that can be written as a whole: name one inside it.")
    return parent, name
