"""Scratch directories that are named after the driver that uses them; what a killed one left, the next one removes."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sparkdml.owners import is_dead, owned

PREFIX = "sparkdml"
_LONGEST = 60  # of a directory of sockets, whose paths may have some 100 characters


def scratch_directory() -> Path:
    """A new directory of this process, which nobody else may read, until the process ends."""
    directory = Path(tempfile.gettempdir(), owned(PREFIX))
    directory.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def scratch_settings() -> dict[str, str]:
    """Settings of Spark that keep the files of a local session, and the sockets to its workers, in such a directory."""
    directory = str(scratch_directory())
    sockets = {"spark.python.unix.domain.socket.dir": directory} if len(directory) <= _LONGEST else {}
    return {"spark.local.dir": directory, **sockets}


def clear(local_directories: Iterable[str]) -> None:
    """Remove what drivers of this host and this user left that are dead: here, and where Spark keeps its blocks."""
    found = list(Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"))
    for root in local_directories:
        found += [each.parent for each in Path(root).glob(f"blockmgr-*/{PREFIX}-*") if is_dead(each.name)]
    for each in found:
        try:
            mine = each.stat().st_uid == os.getuid()
        except OSError:  # another run was faster
            continue
        if mine and (is_dead(each.name) or each.name.startswith("blockmgr-")):
            shutil.rmtree(each, ignore_errors=True)
