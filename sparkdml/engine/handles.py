"""The handles of a pack, as an RDD of as many tasks as a job shall have."""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
from pyspark import RDD, SparkContext, StorageLevel

from sparkdml.blocks.store import Handle
from sparkdml.engine import tasks

TASKS_PER_CORE = 4  # a pass over more partitions than this has fewer tasks than partitions
TASK_BYTES = 256 << 20  # in local mode, where no task has to go to its rows: what one reads, if a core has but one,
MAX_TASK_BYTES = 512 << 20  # and anywhere what it reads at most, if partitions are not larger


class Handles:
    """The handles of the partitions, in the order of these.

    Spark keeps them, and so knows which executor has the files of which, and packs those of a lost one again. But in
    local mode the driver is the only executor, and once the handles are known it has them: an RDD that Spark keeps
    takes a pass a sixth longer, measured, to look up where it is and to send each task what made it.

    Attributes
    ----------
    rdd : one handle a partition.
    """

    def __init__(self, packed: RDD) -> None:
        self.rdd = packed.map(tasks.unchanged).persist(StorageLevel.MEMORY_AND_DISK)
        self._at_driver: list[Handle] | None = None
        self._divided: dict[int, RDD] = {}

    def know(self, handles: Sequence[Handle]) -> None:
        """Take over the handles that packing made."""
        context: SparkContext = self.rdd.context
        if context._jsc.sc().isLocal():
            self.unpersist()
            self._at_driver = sorted(handles, key=lambda handle: handle.partition)
            self.rdd = context.parallelize(self._at_driver, len(self._at_driver))

    def tasks_for(self, nbytes: int) -> int:
        """How many tasks a pass over all rows has, unless it is told: one a core at least, if partitions allow it."""
        cores, most = self.rdd.context.defaultParallelism, TASKS_PER_CORE
        if self._at_driver is not None:  # the cores wait some 8 ms, measured, between a task and the next
            most = min(max(math.ceil(nbytes / (cores * TASK_BYTES)), 1), most)
        return min(max(most * cores, math.ceil(nbytes / MAX_TASK_BYTES)), self.rdd.getNumPartitions())

    def divided(self, count: int) -> RDD:
        """The handles in so many partitions, or as many as there are if these are fewer; no data move."""
        if count >= self.rdd.getNumPartitions():
            return self.rdd
        if count not in self._divided:
            self._divided[count] = self._in_parts(count)
        return self._divided[count]

    def unpersist(self) -> None:
        """Have Spark keep them no longer."""
        self.rdd.unpersist()

    def _in_parts(self, count: int) -> RDD:
        if self._at_driver is None:
            return self.rdd.coalesce(count)
        parts = even_parts([handle.nbytes for handle in self._at_driver], count)
        shares = [self._at_driver[part] for part in parts]
        return self.rdd.context.parallelize(shares, count).mapPartitions(chain.from_iterable)


def even_parts(sizes: Sequence[int], count: int) -> list[slice]:
    """A sequence of at least `count` things in so many parts, none of them empty, whose sums are about the same.

    >>> even_parts([1, 1, 1, 1, 4, 4], 3)
    [slice(0, 4, None), slice(4, 5, None), slice(5, 6, None)]
    """
    ends = np.cumsum(sizes, dtype=float)
    middles = ends - np.asarray(sizes) / 2.0
    numbers = np.arange(1, count)
    cuts = np.searchsorted(middles, ends[-1] * numbers / count)
    cuts = np.maximum.accumulate(np.maximum(cuts, 1) - numbers) + numbers  # each beyond the one before
    cuts = np.minimum(cuts, len(sizes) - count + numbers)
    return [slice(int(start), int(stop)) for start, stop in zip((0, *cuts), (*cuts, len(sizes)), strict=True)]
