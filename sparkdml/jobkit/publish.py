"""What a training run leaves behind: a directory per version that is complete or not there, and LATEST.

::

    OUTPUT/
      versions/<version>/      <logical date or UTC start>-<first 12 digits of the run key>
        model/                 what Model.save writes
        metrics.json  run.json
        manifest.json          every file above with its size and SHA-256; written last but one
        _SUCCESS               empty; written last
      LATEST                   the name of a version; replaced in one step, after the version was read back

A version is written as ``versions/_incomplete-<key>`` and renamed. The leading underscore hides it from Spark
and Hadoop; what a killed run leaves of it is removed by the next run with the same key.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException

from sparkdml.engine.workers import worker_error
from sparkdml.errors import FormatError
from sparkdml.jobkit.failures import PublishDeniedError, PublishError, spark_message
from sparkdml.manifest import LATEST, MANIFEST, SUCCESS, check_digests, check_listed, dump_manifest
from sparkdml.storage import Storage

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
        for version in self._storage.directories(f"{self.root}/versions"):
            if version.endswith(f"-{key}") and self._storage.exists(f"{self.directory(version)}/{SUCCESS}"):
                verify(self._storage, self.directory(version))
                return version
        return None

    def publish(self, version: str, write: Callable[[str], None]) -> None:
        """Let `write` fill a directory; seal it, rename it to `version`, read it back, let LATEST name it.

        Parameters
        ----------
        version : str
            ``<time>-<key>``; a complete version of this name must not exist.
        write : callable
            Called with the path of an empty temporary directory.

        Raises
        ------
        PublishError, PublishDeniedError
            The files could not be written, or did not read back. Nothing of this version is left then.
        """
        incomplete = self.directory(f"_incomplete-{version.rpartition('-')[2]}")
        with publishing(self.root), self._removed_on_failure(incomplete):
            self._storage.delete(incomplete)
            self._storage.make_directory(incomplete)
            write(incomplete)
            self._seal(incomplete)
            self._storage.delete(self.directory(version))  # without _SUCCESS, or `find` had found it
            self._storage.move(incomplete, self.directory(version))
        with publishing(self.root), self._removed_on_failure(self.directory(version)):
            verify(self._storage, self.directory(version))
        self.point(version)

    def point(self, version: str) -> None:
        """Let LATEST name `version`, in one atomic step."""
        with publishing(self.root):
            self._storage.replace(f"{self.root}/{LATEST}", f"{version}\n".encode())

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
    def _removed_on_failure(self, directory: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the failure that is on its way says more
                self._storage.delete(directory)
            raise


def verify(storage: Storage, directory: str) -> None:
    """Read a version's files again and compare them with its manifest.

    Raises FormatError naming the first file that is missing, not listed, or of another size or digest.
    """
    files = storage.below(directory)
    check_digests(files, check_listed(files))


@contextmanager
def publishing(root: str) -> Iterator[None]:
    """Turn what Hadoop, Spark and the check say while publishing into PublishError or PublishDeniedError.

    A worker that died while it made the rows is none of the output's failures.
    """
    try:
        yield
    except (Py4JError, PySparkException, FormatError, OSError) as failure:
        if worker := worker_error(failure):
            raise worker from failure
        denied = isinstance(failure, PermissionError) or any(word in str(failure) for word in _DENIALS)
        kind = PublishDeniedError if denied else PublishError
        message = spark_message(failure) if isinstance(failure, Py4JJavaError) else str(failure)
        raise kind(f"cannot publish to {root}: {message}") from failure
