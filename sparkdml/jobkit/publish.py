"""What a training run leaves behind: a directory per version that is complete or not there, and LATEST.

::

    OUTPUT/
      versions/<version>/      <logical date or UTC start>-<first 12 digits of the run key>
        model/                 what Model.save writes
        metrics.json  run.json
        manifest.json          every file above with its size and SHA-256; written last but one
        _SUCCESS               empty; written last
      LATEST                   the name of a version; replaced in one step, after the version was read back
      _ROLLBACK                where LATEST was set back: the version that was the newest then

A version is written below a name of its own process, ``versions/_incomplete-<key>-<process>``, read back and renamed.
The leading underscore hides it from Spark and Hadoop. What a killed run leaves of it is removed by the next run that
publishes here; what a live one writes never is, and no complete version either.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from sparkdml.engine.failures import explanation
from sparkdml.engine.interrupts import held
from sparkdml.engine.workers import raised_in_worker
from sparkdml.errors import FormatError, StorageError
from sparkdml.jobkit.failures import PublishDeniedError, PublishError, Terminated, path_problem, spark_message
from sparkdml.manifest import LATEST, MANIFEST, SUCCESS, check_digests, check_listed, dump_manifest, latest_version
from sparkdml.owners import is_abandoned, owned
from sparkdml.storage import Storage

ROLLBACK = "_ROLLBACK"
_DENIALS = ("AccessControlException", "AccessDenied", "Permission denied", "not permitted", "Read-only file system")


class Output:
    """The OUTPUT directory of a job.

    Parameters
    ----------
    storage : Storage
        Where the files are.
    root : str
        Path of OUTPUT, on any file system that Hadoop knows.
    """

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self.root = root.rstrip("/") or "/"

    def directory(self, version: str) -> str:
        """Path of a version's directory."""
        return f"{self.root}/versions/{version}"

    def check(self) -> None:
        """Raise PublishError or PublishDeniedError if `prepared` would; nothing is made."""
        with publishing(self.root):
            self._storage.require_writable(self.root)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Make the directory now, so that a path that cannot be written is found before the training.

        What is still empty after the block is removed again. Raises PublishError or PublishDeniedError.
        """
        with publishing(self.root):
            self._storage.make_directory(f"{self.root}/versions")
        try:
            yield
        finally:
            with suppress(Exception):
                self._storage.delete_empty(f"{self.root}/versions")
                self._storage.delete_empty(self.root)

    def find(self, key: str) -> str | None:
        """The version that a run with this `key` has published, verified; None if there is none.

        Raises FormatError if a complete version does not match its manifest.
        """
        for version in self._complete():
            if version.endswith(f"-{key}"):
                verify(self._storage, self.directory(version))
                return version
        return None

    def publish(self, version: str, write: Callable[[str], None], always: bool = False) -> bool:
        """Let `write` fill a directory; seal it, read it back, rename it to `version`, and let LATEST name it.

        Where an equal run was faster its version is verified and taken as this one. Returns whether LATEST names it
        now, see `point`. A signal that comes once the directory is complete waits until it is published.

        Parameters
        ----------
        version : str
            ``<time>-<key>``.
        write : callable
            Called with the path of an empty temporary directory.

        Raises
        ------
        PublishError, PublishDeniedError
            The files could not be written, or did not read back. Nothing of this version is left then.
        """
        incomplete = self.directory(owned(f"_incomplete-{version.rpartition('-')[2]}"))
        with publishing(self.root), self._removed_in_the_end(incomplete):
            self._clear()
            with _said_to_be_undone():
                self._storage.make_directory(incomplete)
                write(incomplete)
                self._seal(incomplete)
                verify(self._storage, incomplete)
            with held(f"{self.directory(version)} is published"):
                self._put(incomplete, version)
                return self.point(version, always)

    def point(self, version: str, always: bool = False, found: bool = False) -> bool:
        """Let LATEST name `version`, in one atomic step, unless a newer one is published; whether it names it now.

        The versions are looked at again afterwards, so that of two runs at once the newer stays named.

        Parameters
        ----------
        version : str
            A complete version.
        always : bool
            Name it although there are newer ones: a rollback, if there are. It holds until a newer run publishes.
        found : bool
            Whether an earlier run has published it, which may have been killed just before this.
        """
        with publishing(self.root):
            newest = self._newest(version)
            if always:
                self._remember(newest if newest != version else None)
                self._point(version)
                return True
            if newest != version or (found and self._is_rolled_back(version)):
                return False
            self._point(newest)
            self._remember(None)
            while (newer := self._newest(newest)) != newest:
                newest = newer
                self._point(newest)
        return newest == version

    def _remember(self, newest: str | None) -> None:
        """Keep the version that was the newest when LATEST was set back; None where it is not."""
        path = f"{self.root}/{ROLLBACK}"
        if newest is None:
            self._storage.delete(path)
        else:
            self._storage.replace(path, f"{newest}\n".encode(), owned(ROLLBACK))

    def _is_rolled_back(self, version: str) -> bool:
        """Whether LATEST was set back from this version, or from a newer one, and no run has published since."""
        path = f"{self.root}/{ROLLBACK}"
        if not self._storage.exists(path):
            return False
        return run_time(version) <= run_time(self._storage.read(path).decode(errors="replace").strip())

    def before(self, day: date | None) -> str | None:
        """The newest complete version of a day before `day`; without a day the one that LATEST names, else the newest.

        None if there is none.
        """
        complete = sorted(self._complete(), key=run_time)
        if day is not None:
            complete = [version for version in complete if run_time(version) < day.strftime("%Y%m%d")]
        elif self._storage.exists(f"{self.root}/{LATEST}"):
            named = self._storage.below(self.root).read(LATEST, 4096)
            with suppress(FormatError):
                return latest_version(named, f"{self.root}/{LATEST}")
        return complete[-1] if complete else None

    def _point(self, version: str) -> None:
        self._storage.replace(f"{self.root}/{LATEST}", f"{version}\n".encode(), owned("_LATEST"))

    def _newest(self, version: str) -> str:
        """This version, or the newest of those that stand for a later day or start."""
        return max([version, *self._complete()], key=lambda each: (run_time(each), each == version))

    def _complete(self) -> list[str]:
        """The complete versions."""
        names = self._storage.directories(f"{self.root}/versions")
        return [
            name
            for name in names
            if not name.startswith("_") and self._storage.exists(f"{self.directory(name)}/{SUCCESS}")
        ]

    def _put(self, incomplete: str, version: str) -> None:
        """Give the directory the name of its version; a complete one of that name is as good."""
        target = self.directory(version)
        for _ in range(3):
            if self._storage.exists(f"{target}/{SUCCESS}"):
                verify(self._storage, target)
                return
            if self._storage.exists(target):
                self._put_aside(target)
            with suppress(OSError):
                self._move(incomplete, target)
                return
        raise OSError(f"{incomplete} cannot be renamed to {target}")

    def _move(self, incomplete: str, target: str) -> None:
        """Rename; where that copies the files, read the copies back."""
        self._storage.move(incomplete, target)
        if not self._storage.renames_at_once(target):
            try:
                verify(self._storage, target)
            except FormatError:
                self._storage.delete(target)
                raise

    def _put_aside(self, target: str) -> None:
        """Remove an incomplete version; moved first, since an equal run may complete it at any time."""
        if not self._storage.renames_at_once(target):
            raise OSError(f"{target} is not complete: another run is writing it, or was killed; remove it then")
        aside = self.directory(owned("_incomplete-aside"))
        self._storage.move(target, aside)
        if self._storage.exists(f"{aside}/{SUCCESS}"):
            self._storage.move(aside, target)
        else:
            self._storage.delete(aside)

    def _clear(self) -> None:
        """Remove what runs have left here that are no more."""
        root = f"{self.root}/versions"
        for name in self._storage.directories(root):
            if name.startswith("_incomplete-") and is_abandoned(name, self._storage.modified(f"{root}/{name}")):
                self._storage.delete(f"{root}/{name}")

    def write(self, path: str, value: Any) -> None:
        """Write a JSON value; for the `write` of `publish`."""
        self._storage.write(path, json.dumps(value, indent=2, allow_nan=False).encode() + b"\n")

    def read(self, version: str, name: str) -> Any:
        """The content of a JSON file of a version."""
        return json.loads(self._storage.read(f"{self.directory(version)}/{name}"))

    def _seal(self, directory: str) -> None:
        for name in self._storage.files(directory):
            if name.endswith(".crc"):  # of Hadoop's local file system; the manifest has a better digest
                self._storage.delete(f"{directory}/{name}")
        self._storage.write(f"{directory}/{MANIFEST}", dump_manifest(self._storage.below(directory)))
        self._storage.write(f"{directory}/{SUCCESS}", b"")

    @contextmanager
    def _removed_in_the_end(self, directory: str) -> Iterator[None]:
        try:
            yield
        finally:
            with suppress(Exception):  # a failure that is on its way says more
                self._storage.delete(directory)


@contextmanager
def _said_to_be_undone() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Terminated) as end:
        raise type(end)("nothing was published") from end


def run_time(version: str) -> str:
    """What a version's name tells of its day and start, as digits that sort by time.

    >>> run_time("2026-11-21-0123456789ab") < run_time("20261121T040506Z-0123456789ab") < run_time("2026-11-22-ab")
    True
    """
    return re.sub("[^0-9]", "", version.rpartition("-")[0])


def verify(storage: Storage, directory: str) -> None:
    """Read a version's files again and compare them with its manifest.

    Raises FormatError naming the first file that is missing, not listed, or of another size or digest.
    """
    files = storage.below(directory)
    check_digests(files, check_listed(files))


@contextmanager
def publishing(root: str) -> Iterator[None]:
    """Turn what Hadoop, Spark and the check say while publishing into PublishError or PublishDeniedError.

    What failed the making of the rows, such as a worker that died, is none of the output's failures.
    """
    try:
        yield
    except (Py4JError, PySparkException, FormatError, OSError) as failure:
        problem = path_problem(failure) or explanation(failure)
        if problem and not (isinstance(problem, StorageError) and raised_in_worker(failure) is None):
            raise problem from failure  # a full disk of the JVM's is that of the output
        denied = isinstance(failure, PermissionError) or any(word in str(failure) for word in _DENIALS)
        kind = PublishDeniedError if denied else PublishError
        message = spark_message(failure) if isinstance(failure, Py4JJavaError) else str(failure)
        raise kind(f"cannot publish to {root}: {message}") from failure
