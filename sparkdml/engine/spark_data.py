"""Packed partitions of a DataFrame: one job packs, each pass is a job over small handles."""

import logging
import math
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from typing import Any

from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame

from sparkdml.blocks.balance import Draw, draw
from sparkdml.blocks.contents import table_of, told_uneven
from sparkdml.blocks.pack import SCHEMA, Plan
from sparkdml.blocks.parquet_scan import packed_from_files
from sparkdml.blocks.partitioning import key_columns, moved, ordered
from sparkdml.blocks.report import Report
from sparkdml.blocks.sampling import Sampling
from sparkdml.blocks.schema import numbered, resolve_columns, select_columns
from sparkdml.blocks.stats import MOMENTS, Statistics
from sparkdml.blocks.store import DTYPES, Handle
from sparkdml.blocks.violations import HANDLE_INVALID
from sparkdml.engine import tasks
from sparkdml.engine.data import Data, Reading
from sparkdml.engine.failures import explained_failures
from sparkdml.engine.handles import Handles
from sparkdml.engine.interrupts import held, is_interrupted
from sparkdml.engine.means import feature_means
from sparkdml.engine.removal import remove_pack
from sparkdml.engine.report import EMPTY, check_report
from sparkdml.engine.sessions import require_running, require_table
from sparkdml.engine.tasks import Loss, Request, Rows, Task
from sparkdml.engine.tree import Node, combine, driver_bytes, gather, root
from sparkdml.errors import (
    DataError,
    InputMissingError,
    NonDeterministicSourceError,
    ParamError,
    ReleasedError,
    StorageError,
    UnreadableFileError,
)
from sparkdml.optim.queries import Answer, PerPartition, Query, share_read
from sparkdml.owners import owned

logger = logging.getLogger("sparkdml")

SHOWN = 5  # a warning gives the reason for at most so many partitions


def pack(
    df: DataFrame,
    *,
    featuresCol: str = "features",
    labelCol: str = "label",
    weightCol: str | None = None,
    featuresCols: Sequence[str] | None = None,
    offsetCol: str | None = None,
    foldCol: str | None = None,
    numPartitions: int | None = None,
    handleInvalid: str = "error",
    seed: int = 0,
    partitioning: str = "as-is",
    sampling: str = "none",
    samplingRatio: float = 1.0,
    validationFraction: float | None = None,
    dtype: str = "float64",
) -> "SparkData":
    """Read a DataFrame once, into array files beside the executors, so that any number of fits can use them.

    Where the DataFrame is nothing but columns of plain Parquet files that every executor can open, the tasks read
    those themselves: the same rows in the same partitions, but none of them passes through the JVM. Where they cannot
    read a file, Spark reads the table. Both compare what they read with the checksums that Hadoop keeps beside a file;
    tasks compare pages with checksums in the file too, and Spark does so with parquet.page.verify-checksum.enabled.

    Parameters
    ----------
    df : the rows; it is evaluated once, by the job that packs.
    featuresCol : a column of vectors (dense, sparse, mixed) or of arrays of numbers.
    featuresCols : numeric columns, instead of `featuresCol`.
    labelCol, weightCol, offsetCol, foldCol : numeric columns; weights are zero or more.
    numPartitions : the number of tasks of a pass. By default as many as `df` has, but at most 4 a core, in local mode
        one for each 256 MB that a core reads, as long as a task reads no more than 512 MB.
    handleInvalid : "error"; "skip" to leave out rows with a null, a NaN or an infinity; "mean" to put the weighted mean
        of a feature in place of its nulls and NaNs, which takes one more job, before the one that packs.
    seed : of the order in which the rows of a block are stored, of which rows validate, and of whatever `partitioning`
        and `sampling` draw.
    partitioning : which rows share a partition. "as-is" keeps those of `df`. "random" draws a partition for each row;
        "uniform" makes the partitions equally large; "stratified" also gives each the same mix of labels, or of low
        and high ones. The name of a column brings rows of equal value together. All but "as-is" move the rows once
        through a shuffle, into `numPartitions`, by default as many as `df` has; to count those, Spark runs the
        shuffles that `df` itself has once more.
    sampling : "undersample" leaves out rows of the frequent one of two classes, "oversample" repeats rows of the rare
        one; one more job weighs the classes. What is counted and told of the data is then of the rows drawn.
    samplingRatio : the weight of the rare class over that of the frequent one that sampling shall bring about.
    validationFraction : the share of the rows, in (0, 1), that are drawn to be fold 1, on which a fit with early
        stopping validates; the others are fold 0. Instead of `foldCol`.
    dtype : as what the values of the features are stored. "float32" halves the bytes that lie on disk and that a pass
        reads. Take it where these are more than the page cache holds; below, a pass takes as long as with "float64".
        A value x becomes one within 2^-24 |x| = 6e-8 |x|, and a fit is that of a table with those values: coefficients
        change by some 1e-7 of the largest or less, but by more where columns are nearly collinear, or vary little about
        a mean far from zero, of which a `DataWarning` tells. Labels, weights, offsets and all sums are float64.

    Returns
    -------
    SparkData, to be used in a `with` statement or released with `release()`.

    Raises
    ------
    ColumnError, ColumnTypeError : before any job; `df` is no DataFrame of Spark, or a streaming one.
    SessionError : `df` is of Spark Connect, of a session that has ended or of one that encrypts what it keeps on disk;
        or the workers' Python lacks a module.
    WorkerError : a Python worker died, or had no memory left.
    DataError : the rows cannot be fitted; the message counts every kind of bad value and gives an example. With
        dtype="float32" numbers beyond its range, 3.4e38, are of that kind, whatever handleInvalid says. An
        UnreadableFileError names a file that is damaged, or of another format.
    InputMissingError : a file is gone since `df` was made.

    Examples
    --------
    >>> df = spark.createDataFrame([(1.0, 2.0), (3.0, 4.0)], ["x", "label"])
    >>> with pack(df, featuresCols=["x"]) as data:
    ...     data.statistics.count, data.feature_names
    (2, ('x',))
    """
    require_table(df)
    if handleInvalid not in HANDLE_INVALID:
        raise ParamError(f"handleInvalid={handleInvalid!r} is not one of {', '.join(map(repr, HANDLE_INVALID))}.")
    if dtype not in DTYPES:
        raise ParamError(f"dtype={dtype!r} is not one of {', '.join(map(repr, DTYPES))}.")
    if numPartitions is not None and numPartitions < 1:
        raise ParamError(f"numPartitions={numPartitions} must be at least 1.")
    if validationFraction is not None and not 0.0 < validationFraction < 1.0:
        raise ParamError(f"validationFraction={validationFraction} must be above 0 and below 1.")
    if validationFraction is not None and foldCol is not None:
        raise ParamError(f"validationFraction={validationFraction} and foldCol={foldCol!r} both make folds: take one.")
    features = featuresCol if featuresCols is None else featuresCols
    columns = resolve_columns(df.schema, features, labelCol, weightCol, offsetCol, foldCol)
    wanted, key = Sampling(sampling, samplingRatio), key_columns(df.schema, partitioning)
    skip = handleInvalid == "skip"
    selected = cache(partial(select_columns, df, columns))  # Spark analyses 100 columns in 0.2 s: not for plain files
    with explained_failures():
        means = feature_means(selected(), columns) if handleInvalid == "mean" else None
        drawn = draw(selected(), wanted, labelCol) if wanted else None
        name = owned("sparkdml")
        plan = Plan(columns, columns.size, skip, seed, name, means, validationFraction, dtype)
        packed = packed_from_files(df, columns, plan) if partitioning == "as-is" and not drawn else None
        if packed is not None and (numPartitions or 0) <= packed.getNumPartitions():
            logger.debug("packing straight from Parquet files")
            try:
                return SparkData(df, packed, plan, numPartitions)
            except (UnreadableFileError, InputMissingError) as failure:
                logger.info("%s Spark shall read the table.", failure)
        logger.debug("packing rows that Spark reads")
        rows = select_columns(df, columns, *key) if key else selected()
        packed = _packed(_dealt(rows, drawn, partitioning, numPartitions, seed), plan)
        return SparkData(df, packed, plan, numPartitions, partitioning, drawn)


def _dealt(rows: DataFrame, drawn: Draw | None, partitioning: str, count: int | None, seed: int) -> DataFrame:
    """The rows that are drawn, in the partitions that are wanted; "as-is" never makes fewer of them."""
    if drawn or partitioning != "as-is":
        rows = ordered(rows, seed, by_label=partitioning == "stratified")
    rows = drawn.rows(rows, seed) if drawn else rows
    if partitioning != "as-is":
        return moved(rows, partitioning, count or rows.rdd.getNumPartitions(), seed)
    return rows.repartition(count) if count and count > rows.rdd.getNumPartitions() else rows


def _packed(rows: DataFrame, plan: Plan) -> RDD:
    """The handles of the packed partitions; the one look at the partitions of `rows`."""
    return numbered(rows).mapInArrow(plan, SCHEMA).rdd.mapPartitionsWithIndex(tasks.load_handles)


class SparkData(Data):
    """A DataFrame packed into array files beside the executors; made by `pack`.

    Attributes
    ----------
    frame : the DataFrame; packing keeps it only so that a summary can score it when asked to.
    columns : which columns were packed.
    contents : of each partition its rows, weight, label mix and bytes, in order.
    partitions : how many partitions were packed.
    skipped : how many rows were left out by handleInvalid="skip".
    means, filled : what handleInvalid="mean" put in place of missing numbers, (d,) or None, and of how many.
    partitioning : which rows share a partition.
    dtype : as what the values of the features are stored.
    """

    def __init__(
        self,
        frame: DataFrame,
        packed: RDD,
        plan: Plan,
        tasks_a_pass: int | None,
        partitioning: str = "as-is",
        drawn: Draw | None = None,
    ) -> None:
        self.frame = frame
        self.partitioning = partitioning
        self.sampling = drawn.sampling if drawn else Sampling()
        self.columns = plan.columns
        self.roles = frozenset(plan.columns.roles)
        self.classes = plan.columns.classes
        self.means = plan.fill
        self.dtype = plan.dtype
        self.validation = plan.validation, plan.seed
        self._name = plan.name
        self._packed_once = False
        self.partitions = packed.getNumPartitions()
        if not self.partitions:
            raise DataError(EMPTY)
        self._context: SparkContext = packed.context
        self._packed = packed
        self._handles = Handles(packed)
        self._tasks = self.partitions
        self._released = False
        self._moved: dict[int, Handle] = {}
        self._rows: dict[int, Rows] = {}
        started = time.perf_counter()
        try:
            report: Report = self._gather(tasks.report, 0, 2)
            self._packed_once = True
            check_report(report, plan.columns, plan.skip)
            assert report.cells is not None
            self.cells, self.statistics = report.cells, report.cells.total
            self.skipped = report.rows_seen - self.statistics.count
            self.filled = report.violations.filled
            self.class_rates = drawn.realized(self.statistics.labels or {}, self.skipped) if drawn else {}
            self.feature_names = plan.columns.feature_names(report.cells.columns)
            self.contents = tuple(sorted(report.contents, key=lambda content: content.partition))
            nbytes = sum(content.nbytes for content in report.contents)
            self._handles.know(report.handles)
            self._tasks = min(tasks_a_pass or self._handles.tasks_for(nbytes), self.partitions)
            self._log(nbytes, time.perf_counter() - started)
        except BaseException as failure:
            self._release(failure)
            raise

    def __enter__(self) -> "SparkData":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._release(kind)

    @cached_property
    def partition_statistics(self) -> tuple[Statistics, ...]:
        """The statistics of each partition, in order; the first use runs a job over what packing left of them."""
        size = 8 * len(MOMENTS) * (len(self.feature_names) + 1)
        columns = len(self.feature_names)
        found: PerPartition[Statistics] = self._gather(partial(tasks.statistics, columns=columns), size, 1)
        return found.parts

    @property
    def tasks(self) -> int:
        self._require_usable()
        return self._tasks

    def _require_usable(self) -> None:
        """Raise ReleasedError after the release, and SessionError after the end of the session."""
        if self._released:
            raise ReleasedError("these packed data were released: pack the DataFrame again.")
        require_running(self._context, "these packed data", "pack the DataFrame again")

    def tasks_for(self, queries: Sequence[Query]) -> int:
        wanted = math.ceil(share_read(queries) * self.tasks)
        return self.tasks if wanted >= self.tasks else min(self.tasks, max(wanted, self._context.defaultParallelism))

    def partition_table(self, limit: int = 20) -> str:
        """The packed partitions as a table: rows, weight, MB and label mix of each, of at most `limit` of them.

        >>> df = spark.range(0, 90, 1, 3).selectExpr("1.0 * id AS x", "cast(id >= 60 AS int) AS label")
        >>> with pack(df, featuresCols=["x"]) as data:
        ...     print(data.partition_table())
        Partition  Rows  Weight   MB  Label 0  Label 1
        0            30      30  0.0   100.0%     0.0%
        1            30      30  0.0   100.0%     0.0%
        2            30      30  0.0     0.0%   100.0%
        all          90      90  0.0    66.7%    33.3%
        """
        return table_of(self.contents, limit)

    def release(self) -> None:
        """Remove the files and the handles. May be called twice; the data cannot be used afterwards."""
        self._release(None)

    def _release(self, failure: BaseException | type[BaseException] | None) -> None:
        """Release the data after a failure, or after none. Who presses Ctrl-C does not wait for killed tasks to end."""
        if self._released:
            return
        with held():
            self._released = True
            remove = partial(self._remove, self._context.getLocalProperty("spark.jobGroup.id"))
            if is_interrupted(failure):
                threading.Thread(target=remove, daemon=True).start()
            else:
                remove()

    def _remove(self, group: str | None) -> None:
        try:
            packed = self._handles.rdd if self._packed_once else None
            remove_pack(self._context, self._name, packed, self._moved, group)
        except Exception as error:  # the session may be gone, and its files with it
            logger.debug("packed files could not be released: %s", error)
        with suppress(Exception):
            self._handles.unpersist()

    def fits_driver(self, size: int) -> bool:
        self._require_usable()
        return size <= driver_bytes(self._context)

    def _run(self, queries: list[Query], reading: Reading) -> list[Answer]:
        size, count = sum(query.size for query in queries), self.tasks_for(queries)
        asked = Request(queries, len(self.feature_names), reading.chunk_bytes)
        with tasks.broadcast(self._context, asked) as request:
            task = partial(tasks.answers, request=request)
            found: list[Answer] = self._gather(task, size, reading.depth, count).values
        return found

    @explained_failures()
    def _gather(self, task: Task, size: int, depth: int, count: int | None = None) -> Any:
        """Run a task on every handle and merge what comes back; `size` is about the bytes of one answer.

        The job has as many tasks as a pass over all rows, or `count`.
        """
        moved = dict(self._moved)
        handles = self._handles.divided(count or self.tasks)
        nodes = handles.mapPartitions(partial(tasks.merged, task=task, moved=moved, count=self.partitions))
        found = self._recover(gather(nodes, self.partitions, depth, size), task)
        part = root(found, self.partitions)
        self._check_rows(part.rows)
        return part.value

    def _recover(self, nodes: list[Node], task: Task) -> list[Node]:
        """Ask again where files could not be used: first at the handles' homes, then by packing those partitions anew.

        Raises `StorageError` where files that were just written cannot be used either.
        """
        if not (missing := self._missing(nodes)):
            return nodes
        logger.warning("files of %d of %d partitions cannot be used: trying again", len(missing), self.partitions)
        again = partial(tasks.attempted, task=task, moved=dict(self._moved))
        found: list[Any] = self._context.runJob(self._handles.rdd, again, missing)
        nodes = self._joined(nodes, found)
        if losses := [each for each in found if isinstance(each, Loss)]:
            shown = "; ".join(f"partition {loss.partition}: {loss.reason}" for loss in losses[:SHOWN])
            logger.warning("packing %d of %d partitions again: %s", len(losses), self.partitions, shown)
            anew, lost = partial(tasks.with_handle, task=task), [loss.partition for loss in losses]
            packed: list[Any] = self._context.runJob(self._packed, anew, lost)
            self._moved.update({handle.partition: handle for handle, _ in packed})
            nodes = self._joined(nodes, [each for _, each in packed])
            if again_lost := [each for _, each in packed if isinstance(each, Loss)]:
                raise StorageError(
                    f"partition {again_lost[0].partition} was packed again, and its new files cannot be used either: "
                    f"{again_lost[0].reason}; check the disks of spark.local.dir on the executors."
                )
        return nodes

    def _joined(self, nodes: list[Node], found: list[Node | Loss]) -> list[Node]:
        return combine([*nodes, *(each for each in found if not isinstance(each, Loss))], self.partitions)

    def _missing(self, nodes: list[Node]) -> list[int]:
        seen = {rows.partition for _, part in nodes for rows in part.rows}
        return sorted(set(range(self.partitions)) - seen)

    def _check_rows(self, seen: Sequence[Rows]) -> None:
        """A partition that was computed again must have the rows it had."""
        for now in seen:
            before = self._rows.setdefault(now.partition, now)
            if (before.count, before.digest) != (now.count, now.digest):
                raise NonDeterministicSourceError(
                    f"partition {now.partition} was computed again and has other rows ({now.count:,}, before "
                    f"{before.count:,}): the source is not deterministic; write it to a table and fit that."
                )
            if before.order != now.order:
                if self.validation[0] is not None:
                    raise NonDeterministicSourceError(
                        f"partition {now.partition} was computed again and came back in another order, so that other "
                        "rows would validate: write the source to a table, or mark the rows in a column."
                    )
                logger.warning("partition %d came back in another order: sums agree to 1e-12 only", now.partition)
                self._rows[now.partition] = now

    def _log(self, nbytes: int, seconds: float) -> None:
        megabytes = nbytes / 2**20
        context = {"rows": str(self.statistics.count), "megabytes": f"{megabytes:.1f}", "seconds": f"{seconds:.3f}"}
        message = "packed %s rows x %d features into %.1f MB in %d partitions, %.2f s"
        shape = (f"{self.statistics.count:,}", len(self.feature_names), megabytes, self.partitions, seconds)
        logger.info(message, *shape, extra={"context": context})
        if uneven := told_uneven(self.contents):
            logger.info(uneven)
