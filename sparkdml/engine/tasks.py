"""What runs on the executors: functions from the handles of a task to nodes of the sum."""

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pyspark import Broadcast, Row, SparkContext

from sparkdml.blocks.block import Block
from sparkdml.blocks.decode import UNNUMBERED
from sparkdml.blocks.parquet import Unreadable
from sparkdml.blocks.reader import read_chunks
from sparkdml.blocks.report import Report, read_report
from sparkdml.blocks.stats import Statistics
from sparkdml.blocks.store import Handle, Missing
from sparkdml.blocks.worker import freeze_modules
from sparkdml.engine.data import Answers, answer
from sparkdml.engine.tree import Node, combine
from sparkdml.optim.queries import PerPartition, Query, Sample, array_bytes

Task = Callable[[Handle], Any]  # what a partition answers; raises `Missing` where its files cannot be used


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


@dataclass(frozen=True)
class Loss:
    """A partition whose files cannot be used, and why."""

    partition: int
    reason: str


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


def load_handles(partition: int, rows: Iterable[Row]) -> Iterator[Handle]:
    """Return what packing returned, under the number of the partition, which packing cannot know without a row."""
    for row in rows:
        handle: Handle = pickle.loads(row.handle)
        if handle.partition not in (partition, UNNUMBERED):
            raise RuntimeError(f"partition {partition} was packed as partition {handle.partition}")
        yield replace(handle, partition=partition)


def unchanged(handle: Handle) -> Handle:
    """The handle itself: of an RDD that is kept, while the one before it packs anew."""
    return handle


def report(handle: Handle) -> Report:
    """Return what packing found in a partition."""
    return read_report(handle)


def statistics(handle: Handle, columns: int) -> PerPartition[Statistics]:
    """Return the statistics of a partition."""
    return PerPartition((read_report(handle).statistics or Statistics.empty(columns),))


def answers(handle: Handle, request: Broadcast[Request] | Enclosed) -> Answers:
    """Return the answers of a partition."""
    asked = request.value
    return Answers(answer(asked.queries, asked.columns, handle.rows, partial(_chunks, handle, asked.chunk_bytes)))


def _chunks(handle: Handle, size: int, sample: Sample | None) -> Iterator[Block]:
    blocks = [layout.rows for layout in handle.layouts]
    return read_chunks(handle, size, None if sample is None else sample.windows(handle.partition, blocks))


def attempted(handles: Iterable[Handle], task: Task, moved: Mapping[int, Handle]) -> Iterator[Node | Loss]:
    """Run a task on each partition, on the new files of those that were packed again."""
    for handle in handles:
        current = moved.get(handle.partition, handle)
        try:
            value = _of_intact_rows(task, current)
        except Missing as missing:
            yield Loss(current.partition, str(missing))
        else:
            yield (0, current.partition), Part(value, (Rows.of(current),))


def _of_intact_rows(task: Task, handle: Handle) -> Any:
    """Run a task; raises `Missing` where it fails over damaged rows, which are compared after they were used."""
    try:
        return task(handle)
    except Missing:
        raise
    except Exception:
        for _ in read_chunks(handle):
            pass
        raise


def merged(handles: Iterable[Handle], task: Task, moved: Mapping[int, Handle], count: int) -> Iterator[Node]:
    """Run a task on each partition and merge siblings; one whose files cannot be used has no node."""
    nodes = combine((each for each in attempted(handles, task, moved) if not isinstance(each, Loss)), count)
    freeze_modules()
    return iter(nodes)


def with_handle(handles: Iterable[Handle], task: Task) -> Iterator[tuple[Handle, Node | Loss]]:
    """Run a task on each partition, just packed again, and return its handle too; raises `Unreadable`."""
    for handle in handles:
        with suppress(Missing):  # which is found again below
            if found := read_report(handle).violations.unreadable:
                raise Unreadable(*found)
        for node in attempted([handle], task, {}):
            yield handle, node
