"""What runs on the executors: functions from the handles of a task to nodes of the sum."""

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyspark import Broadcast, Row, SparkContext

from sparkdml.blocks.block import Block
from sparkdml.blocks.pack import read_report
from sparkdml.blocks.parquet import Unreadable
from sparkdml.blocks.stats import Statistics
from sparkdml.blocks.store import Handle, Missing, read_chunks
from sparkdml.blocks.worker import freeze_modules
from sparkdml.engine.data import Answers, answer
from sparkdml.engine.tree import Node, combine
from sparkdml.optim.queries import PerPartition, Query, Sample, array_bytes

Task = Callable[[Iterable[Handle]], Iterator[Node]]


@dataclass(frozen=True)
class Rows:
    """Which rows a partition had when it was read. Equal digests mean equal rows; equal orders, in equal order."""

    partition: int
    count: int
    digest: int
    order: int

    @classmethod
    def of(cls, handle: Handle) -> "Rows":
        """The rows of a handle."""
        return cls(handle.partition, handle.rows, handle.digest, handle.order)


@dataclass(frozen=True, eq=False)
class Part:
    """What some partitions answered, and the rows that each of them read."""

    value: Any
    rows: tuple[Rows, ...]

    def merge(self, other: "Part") -> "Part":
        """The answers of both."""
        return Part(self.value.merge(other.value), self.rows + other.rows)


@dataclass(frozen=True, eq=False)
class Request:
    """What the driver broadcasts for a pass: the queries, the number of features, the size of a chunk."""

    queries: list[Query]
    columns: int
    chunk_bytes: int


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A request inside the task, which Spark broadcasts in any case; used like a broadcast."""

    value: Request


ENCLOSED_BYTES = 1 << 16  # a broadcast of its own takes 7 ms of the driver, measured, whatever its size


@contextmanager
def broadcast(context: SparkContext, request: Request) -> Iterator[Broadcast[Request] | Enclosed]:
    """The request for the tasks of a pass: small ones go with the task, a large one is a broadcast of its own."""
    if sum(map(array_bytes, request.queries)) <= ENCLOSED_BYTES:
        yield Enclosed(request)
        return
    sent = context.broadcast(request)
    try:
        yield sent
    finally:
        sent.destroy()


def load_handle(row: Row) -> Handle:
    """The handle that a packing task returned."""
    handle: Handle = pickle.loads(row.handle)
    return handle


def unchanged(handle: Handle) -> Handle:
    """The handle itself: of an RDD that is kept, while the one before it packs anew."""
    return handle


def report(handles: Iterable[Handle]) -> Iterator[Node]:
    """What packing had to tell of each partition. A partition whose files are missing answers nothing."""
    for handle in handles:
        try:
            yield (0, handle.partition), Part(read_report(handle), (Rows.of(handle),))
        except FileNotFoundError:
            continue


def statistics(handles: Iterable[Handle], columns: int) -> Iterator[Node]:
    """The statistics of each partition. A partition whose files are missing answers nothing."""
    for place, part in report(handles):
        found = part.value.statistics or Statistics.empty(columns)
        yield place, Part(PerPartition((found,)), part.rows)


def answers(handles: Iterable[Handle], request: Broadcast[Request] | Enclosed) -> Iterator[Node]:
    """The answers of each partition. A partition whose files are missing answers nothing."""
    asked = request.value
    for handle in handles:
        try:
            found = answer(asked.queries, asked.columns, handle.rows, partial(_chunks, handle, asked.chunk_bytes))
        except Missing:
            continue
        yield (0, handle.partition), Part(Answers(found), (Rows.of(handle),))


def _chunks(handle: Handle, size: int, sample: Sample | None) -> Iterator[Block]:
    blocks = [layout.rows for layout in handle.layouts]
    return read_chunks(handle, size, None if sample is None else sample.windows(handle.partition, blocks))


def redirected(handles: Iterable[Handle], task: Task, moved: Mapping[int, Handle]) -> Iterator[Node]:
    """The task on the handles, those of partitions that were packed again replaced."""
    return task(moved.get(handle.partition, handle) for handle in handles)


def merged(handles: Iterable[Handle], task: Task, count: int) -> Iterator[Node]:
    """The nodes of a task, siblings merged."""
    nodes = combine(task(handles), count)
    freeze_modules()
    return iter(nodes)


def with_handle(handles: Iterable[Handle], task: Task) -> Iterator[tuple[Handle, Node]]:
    """The nodes of a task, each with the handle that it came from, just packed again; raises `Unreadable`."""
    for handle in handles:
        if found := read_report(handle).violations.unreadable:
            raise Unreadable(*found)
        for node in task([handle]):
            yield handle, node


def remove_named(_: Iterable[int], name: str) -> None:
    """Remove what a pack has on this machine, by its name: for packs that were never finished."""
    for root in os.environ.get("SPARK_LOCAL_DIRS", "").split(","):
        shutil.rmtree(Path(root or tempfile.gettempdir()) / name, ignore_errors=True)


def remove(handles: Iterable[Handle], moved: Mapping[int, Handle]) -> None:
    """Remove all that the pack has on the machines of some partitions, files of lost attempts included."""
    for handle in handles:
        for each in (handle, moved.get(handle.partition, handle)):
            shutil.rmtree(Path(each.directory).parent, ignore_errors=True)
