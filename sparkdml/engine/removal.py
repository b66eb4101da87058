"""Removing what a pack has on the disks of the executors."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyspark import RDD, SparkContext

from sparkdml.blocks.store import Handle
from sparkdml.engine.stragglers import await_stragglers


def remove_pack(
    context: SparkContext, name: str, handles: RDD | None, moved: Mapping[int, Handle], group: str | None
) -> None:
    """Remove the files of a pack, those of lost attempts included; in local mode without a job.

    Parameters
    ----------
    name : of the pack, which is that of its directories.
    handles : of its partitions; None where packing has failed. Then tasks that write may still run, and the source of
        the rows would fail again.
    moved : the handles of partitions that were packed again.
    group : the job group of the thread that packed.
    """
    if handles is None:
        await_stragglers(context, group)
    if context._jsc.sc().isLocal():
        remove_directories(local_directories(context), name)
    elif handles is not None:
        handles.foreachPartition(partial(remove, moved=moved))
    else:
        everywhere = context.parallelize(range(2 * context.defaultParallelism))
        everywhere.foreachPartition(partial(remove_named, name=name))


def local_directories(context: SparkContext) -> list[str]:
    """The scratch directories of a driver that is its own executor, those of others on this machine among them."""
    jvm: Any = context._jvm
    roots = os.environ.get("SPARK_LOCAL_DIRS") or context.getConf().get("spark.local.dir")
    found = (roots or jvm.java.lang.System.getProperty("java.io.tmpdir")).split(",")
    return [str(each) for root in found for each in Path(root).glob("blockmgr-*")]


def remove_directories(roots: Iterable[str], name: str) -> None:
    """Remove what a pack has under some scratch directories, by its name."""
    for root in roots:
        shutil.rmtree(Path(root or tempfile.gettempdir()) / name, ignore_errors=True)


def remove_named(_: Iterable[int], name: str) -> None:
    """Remove what a pack has on this machine, by its name: for packs that were never finished."""
    remove_directories(os.environ.get("SPARK_LOCAL_DIRS", "").split(","), name)


def remove(handles: Iterable[Handle], moved: Mapping[int, Handle]) -> None:
    """Remove all that the pack has on the machines of some partitions, files of lost attempts included."""
    for handle in handles:
        for each in (handle, moved.get(handle.partition, handle)):
            shutil.rmtree(Path(each.directory).parent, ignore_errors=True)
