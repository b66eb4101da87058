"""A directory that a job writes anew: as a whole, or not at all.

It is written beside its place, as ``_incomplete-<name>``, and renamed when it is done. What is replaced is moved to
``_replaced-<name>`` before that and deleted after it. The underscore hides both from Spark and Hadoop; what a killed
job leaves of them is cleared by the next one with the same output.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.publish import publishing
from sparkdml.storage import Storage


@contextmanager
def replaced_directory(storage: Storage, path: str, overwrite: bool) -> Iterator[str]:
    """Yields an empty directory to be filled; it is at `path` after the block, and gone if the block fails.

    Parameters
    ----------
    storage : Storage
        Where the directory is.
    path : str
        A directory in any file system that Hadoop knows. An empty one counts as free.
    overwrite : bool
        Whether to replace what is there; until the block has ended it stays as it is.

    Raises
    ------
    UsageError
        `path` is not free and `overwrite` is false, or it is a file or a root. Raised before the block.
    PublishError, PublishDeniedError
        The directory cannot be made, before the block, or not renamed, after it.
    """
    incomplete = _sibling(path, "incomplete")
    recover_directory(storage, path)
    check_free(storage, path, overwrite)
    with publishing(path):
        storage.delete(incomplete)
        storage.make_directory(incomplete)
    try:
        yield incomplete
        with publishing(path):
            _put(storage, incomplete, path, overwrite)
    except BaseException:
        with suppress(Exception):  # the failure that is on its way says more
            storage.delete(incomplete)
        raise


def check_free(storage: Storage, path: str, overwrite: bool) -> None:
    """Raise UsageError if the directory may not be written; changes nothing."""
    with publishing(path):
        if storage.exists(path) and not storage.is_directory(path):
            raise UsageError(f"{path} is a file: name a directory.")
        if not overwrite and not _is_empty(storage, path):
            raise UsageError(f"{path} is not empty: name another directory, or replace this one with --overwrite.")


def recover_directory(storage: Storage, path: str) -> None:
    """Bring back what was at `path` if a job was killed between its two renames. Raises as `replaced_directory`."""
    replaced = _sibling(path, "replaced")
    with publishing(path):
        if not storage.exists(replaced):
            return
        if storage.exists(path):
            storage.delete(replaced)
        else:
            storage.move(replaced, path)


def _put(storage: Storage, incomplete: str, path: str, overwrite: bool) -> None:
    """Rename, after what is at `path` has been moved away."""
    if overwrite and storage.exists(path):
        storage.move(path, _sibling(path, "replaced"))
    elif _is_empty(storage, path):
        storage.delete(path)
    try:
        storage.move(incomplete, path)
    finally:
        recover_directory(storage, path)


def _is_empty(storage: Storage, path: str) -> bool:
    """Whether there is nothing in the directory, or no such directory."""
    return not storage.exists(path) or not (storage.files(path) or storage.directories(path))


def _sibling(path: str, state: str) -> str:
    """``a/b`` -> ``a/_<state>-b``."""
    parent, slash, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", "..") or name.endswith(":") or parent.endswith(":/"):
        raise UsageError(f"{path!r} is no directory that can be written as a whole: name one inside it.")
    return f"{parent}{slash}_{state}-{name}"
