"""Files on any path that Spark can write: local, ``hdfs://``, ``s3a://``, through Hadoop's FileSystem."""

import os
import time
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from sparkdml.files import Files, LocalFiles, require_size

# Stores where a rename is a copy, but where writing a file replaces the old one as a whole when it is closed.
_OBJECT_STORES = ("s3a", "s3", "gs")
_WRITE_BYTES = 1 << 22  # bytes travel to the JVM as text, so a piece at a time


class Storage:
    """A few calls of Hadoop's FileSystem; its exceptions come through as ``Py4JJavaError``.

    Local files are written without the ``.crc`` files that Hadoop puts beside them: what is published has
    digests of its own, and a checksum in a second file cannot be replaced in one step with the first.
    """

    def __init__(self, spark: SparkSession) -> None:
        context: Any = spark.sparkContext
        self._gateway: Any = context._gateway
        self._jvm: Any = self._gateway.jvm
        self._configuration: Any = context._jsc.hadoopConfiguration()
        self._hadoop: Any = self._jvm.org.apache.hadoop.fs

    def exists(self, path: str) -> bool:
        """Whether there is a file or a directory at `path`."""
        return bool(self._system(path).exists(self._path(path)))

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return self.exists(path) and bool(self._system(path).getFileStatus(self._path(path)).isDirectory())

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents; raises where Hadoop only returns false."""
        system = self._system(path)
        if not system.mkdirs(self._path(path)):
            self.require_writable(path)
            if _is_local(system):
                _make_local_directory(self._path(path).toUri().getPath())
            raise OSError(f"no directory can be made at {path}")

    def require_writable(self, path: str) -> None:
        """Raise Hadoop's refusal if this user may not write the directory at `path`, or the nearest above it."""
        system, nearest = self._system(path), self._path(path)
        while not system.exists(nearest):
            nearest = nearest.getParent()
        if not system.getFileStatus(nearest).isDirectory():
            raise OSError(f"{nearest} is a file, not a directory")
        if not _is_local(system):
            system.access(nearest, self._hadoop.permission.FsAction.WRITE)
        elif not os.access(nearest.toUri().getPath() or ".", os.W_OK):
            raise PermissionError(f"{nearest} may not be written to: Permission denied")

    def directories(self, path: str) -> list[str]:
        """Names of the directories in `path`, in order; none if it does not exist."""
        if not self.exists(path):
            return []
        entries = self._system(path).listStatus(self._path(path))
        return sorted(entry.getPath().getName() for entry in entries if entry.isDirectory())

    def files(self, path: str, deep: bool = True) -> dict[str, int]:
        """Path below `path` -> size in bytes, in order; none if it does not exist.

        Of every file at any depth, or with `deep` off of those in the directory itself.
        """
        if not self.exists(path):
            return {}
        root = self._qualified(path)
        entries = self._system(path).listFiles(self._path(path), deep)
        sizes = {}
        while entries.hasNext():
            entry = entries.next()
            sizes[entry.getPath().toString().removeprefix(root).lstrip("/")] = entry.getLen()
        return dict(sorted(sizes.items()))

    def below(self, path: str) -> Files:
        """The files of a directory that nobody vouches for, see `sparkdml.files`."""
        system = self._system(path)
        if _is_local(system):
            return LocalFiles(self._local(path), path)
        return _StoredFiles(self, path)

    def size(self, path: str) -> int | None:
        """The size of a file in bytes, or None where there is none."""
        if not self.exists(path):
            return None
        status = self._system(path).getFileStatus(self._path(path))
        return int(status.getLen()) if status.isFile() else None

    def fingerprint(self, uri: str) -> dict[str, Any]:
        """Path, length in bytes and modification time (ms since 1970) of a file named by a Spark URI."""
        path = self._hadoop.Path(self._jvm.java.net.URI(uri))
        status = path.getFileSystem(self._configuration).getFileStatus(path)
        return {"path": uri, "length": status.getLen(), "modified": status.getModificationTime()}

    def read(self, path: str) -> bytes:
        """The content of a file."""
        stream = self._system(path).open(self._path(path))
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def sha256(self, path: str) -> str:
        """SHA-256 of a file in hexadecimal; computed in the JVM, so the bytes do not travel to Python."""
        stream = self._system(path).open(self._path(path))
        try:
            return str(self._jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream))
        finally:
            stream.close()

    def write(self, path: str, content: bytes) -> None:
        """Write a file, replacing what is there; parent directories are made."""
        stream = self._system(path).create(self._path(path), True)
        try:
            for start in range(0, len(content), _WRITE_BYTES):
                stream.write(content[start : start + _WRITE_BYTES])
        finally:
            stream.close()

    def delete(self, path: str) -> None:
        """Delete a file, or a directory with all it holds; nothing happens if there is none."""
        self._system(path).delete(self._path(path), True)

    def delete_empty(self, path: str) -> None:
        """Delete a directory if there is nothing in it."""
        if self.is_directory(path) and not self._system(path).listStatus(self._path(path)):
            self._system(path).delete(self._path(path), False)

    def modified(self, path: str) -> float:
        """When a file, or anything in a directory, changed last, in seconds since 1970.

        Now, where it vanishes or changes its name meanwhile.
        """
        system, latest, pending = self._system(path), 0, [self._path(path)]
        try:
            while pending:
                status = system.getFileStatus(pending.pop())
                latest = max(latest, status.getModificationTime())
                if status.isDirectory():
                    pending += [each.getPath() for each in system.listStatus(status.getPath())]
        except Py4JJavaError as failure:
            if "FileNotFoundException" in str(failure.java_exception):
                return time.time()
            raise
        return float(latest) / 1000.0

    def move(self, source: str, target: str) -> None:
        """Rename to a name that must be free; FileExistsError where it is taken, by whomever and whenever.

        Hadoop's own rename would move a directory *into* the one that is there.
        """
        system = self._system(source)
        if _is_local(system):
            os.rename(self._local(source), self._local(target))  # refuses a directory that is not empty
        elif system.getUri().getScheme() in _OBJECT_STORES:
            if self.exists(target):
                raise FileExistsError(f"{target} is there already")
            if not system.rename(self._path(source), self._path(target)):
                raise OSError(f"{source} cannot be renamed to {target}")
        else:
            self._rename(source, target, "NONE")

    def replace(self, path: str, content: bytes, written: str) -> None:
        """Write a small file so that a reader sees the old content or the new, never a part and never none.

        `written` is the name of the file that takes its place, beside it. Raises OSError where it cannot, as where
        there is a directory.
        """
        system = self._system(path)
        if self.is_directory(path):
            raise IsADirectoryError(f"{path} is a directory")
        if system.getUri().getScheme() in _OBJECT_STORES:
            self.write(path, content)
        else:
            source = f"{path.rpartition('/')[0]}/{written}"
            try:
                self.write(source, content)
                if _is_local(system):
                    os.replace(self._local(source), self._local(path))
                else:
                    self._rename(source, path, "OVERWRITE")
            finally:
                self.delete(source)
        if self.read(path) != content:
            raise OSError(f"{path} does not say what was written to it")

    def renames_at_once(self, path: str) -> bool:
        """Whether a rename here is one step, so that what it makes is there as a whole."""
        return self._system(path).getUri().getScheme() not in _OBJECT_STORES

    def _rename(self, source: str, target: str, option: str) -> None:
        rename = self._hadoop.Options.Rename
        options = self._gateway.new_array(rename, 1)
        options[0] = getattr(rename, option)
        uri = self._system(target).getUri()
        context = self._hadoop.FileContext.getFileContext(uri, self._configuration)
        try:
            context.rename(self._path(source), self._path(target), options)
        except Py4JJavaError as failure:
            if "FileAlreadyExistsException" in str(failure.java_exception):
                raise FileExistsError(f"{target} is there already") from failure
            raise

    def _local(self, path: str) -> str:
        """The path of a file of this machine as the operating system knows it."""
        return str(self._system(path).makeQualified(self._path(path)).toUri().getPath())

    def real(self, path: str) -> str:
        """A path without links, dots or a missing scheme, by which two can be compared."""
        system = self._system(path)
        return os.path.realpath(self._local(path)) if _is_local(system) else self._qualified(path)

    def _path(self, path: str) -> Any:
        return self._hadoop.Path(path)

    def _system(self, path: str) -> Any:
        """The FileSystem of a path; for local paths the raw one, which writes no ``.crc`` files."""
        system = self._path(path).getFileSystem(self._configuration)
        if _is_local(system):
            return self._hadoop.FileSystem.getLocal(self._configuration).getRawFileSystem()
        return system

    def _qualified(self, path: str) -> str:
        return str(self._system(path).makeQualified(self._path(path)).toString())


class _StoredFiles:
    """`Files` of another file system than the local one: it has regular files only."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self.root = root.rstrip("/") or "/"

    def sizes(self, below: str = "") -> dict[str, int]:
        return self._storage.files(f"{self.root}/{below}".rstrip("/"))

    def size(self, name: str) -> int | None:
        return self._storage.size(f"{self.root}/{name}")

    def read(self, name: str, most: int) -> bytes:
        require_size(self.root, name, self.size(name) or 0, most)
        return self._storage.read(f"{self.root}/{name}")

    def sha256(self, name: str) -> str:
        return self._storage.sha256(f"{self.root}/{name}")


def _make_local_directory(path: str) -> None:
    """What Hadoop could not make; the operating system says why."""
    try:
        os.makedirs(path)
    except FileNotFoundError as failure:  # of a file system that takes no new names, such as /proc
        raise PermissionError(f"{path}: Permission denied") from failure


def _is_local(system: Any) -> bool:
    """Whether a FileSystem is of this machine; the raw one knows its scheme by its URI only."""
    return bool(system.getUri().getScheme() == "file")
