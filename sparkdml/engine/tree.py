"""Sums over partitions in a fixed order: Spark's treeAggregate, but with the same bits every time.

The partitions 0 .. count - 1 are the leaves of a binary tree: node (level, i) holds the partitions from
i * 2^level to (i + 1) * 2^level - 1, and siblings merge left to right. What a node is worth depends on the
partitions alone, never on which task merged it, at what depth, or after how many retries.
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from pyspark import RDD, SparkContext

Node = tuple[tuple[int, int], Any]  # ((level, index), value with a `merge`)

DIRECT_BYTES = 4 << 20  # nodes of less than this in all need no tree: a shuffle costs more than their transfer
DRIVER_SHARE = 4  # nodes may take one part in so many of what the driver can hold


def combine(nodes: Iterable[Node], count: int) -> list[Node]:
    """Merge all siblings that are both here; a node without a sibling in the tree is promoted."""
    found = dict(nodes)
    for level in range(height(count)):
        for index in sorted(i for lv, i in found if lv == level):
            if index % 2 or (level, index) not in found:
                continue
            right = (level, index + 1)
            if (index + 1) << level >= count:
                found[level + 1, index // 2] = found.pop((level, index))
            elif right in found:
                value = found.pop((level, index)).merge(found.pop(right))
                found[level + 1, index // 2] = value
    return sorted(found.items(), key=lambda node: node[0])


def height(count: int) -> int:
    """The level of the root of a tree of `count` leaves.

    >>> height(1), height(5), height(8)
    (0, 3, 3)
    """
    return max(count - 1, 0).bit_length()


def root(nodes: Iterable[Node], count: int) -> Any:
    """The value at the root of a tree of `count` partitions."""
    return dict(nodes)[height(count), 0]


def gather(nodes: RDD, count: int, depth: int, size: int) -> list[Node]:
    """Bring an RDD of nodes of about `size` bytes to the driver, not more of them than it can hold.

    They go through `depth` levels of merging, or none where they are small.
    """
    if size * count <= DIRECT_BYTES:
        depth = 1
    return tree_aggregate(nodes, count, depth, max(driver_bytes(nodes.context) // size, 1) if size else count)


def tree_aggregate(nodes: RDD, count: int, depth: int, at_most: int) -> list[Node]:
    """Bring an RDD of nodes over `count` partitions to the driver through `depth` levels of merging.

    A level is a shuffle in which each task merges an aligned range of partitions, a power of two wide. No more than
    `at_most` tasks send their nodes to the driver. The root comes alone unless partitions are missing.
    """
    for width in shuffle_widths(nodes.getNumPartitions(), count, depth, at_most):
        keyed = nodes.map(partial(_keyed, width=width))
        nodes = keyed.partitionBy(math.ceil(count / width), int).mapPartitions(partial(_merge, count=count))
    return combine(nodes.collect(), count)


def shuffle_widths(tasks: int, count: int, depth: int, at_most: int) -> list[int]:
    """How many partitions each task of each shuffle merges.

    As in Spark the fan is the depth-th root of the tasks, here rounded to a power of two, and a level that would
    not shrink the work is left out.

    >>> shuffle_widths(16, 16, 1, 100), shuffle_widths(16, 16, 2, 100), shuffle_widths(64, 64, 3, 100)
    ([], [4], [4, 16])
    >>> shuffle_widths(16, 16, 3, 100), shuffle_widths(16, 16, 1, 3)
    ([2, 4], [8])
    """
    fan = 1 << max(round(math.log2(max(tasks, 1)) / max(depth, 1)), 1)
    widths: list[int] = []
    left = tasks
    while len(widths) < depth - 1 and left > fan + math.ceil(left / fan):
        widths.append(fan ** (len(widths) + 1))
        left = math.ceil(count / widths[-1])
    if left > max(at_most, 1):
        widths.append(1 << math.ceil(math.log2(count / max(at_most, 1))))
    return widths


@lru_cache(maxsize=1)
def driver_bytes(context: SparkContext) -> int:
    """How many bytes of nodes the driver takes at once."""
    jvm: Any = context._jvm
    heap = jvm.java.lang.Runtime.getRuntime().maxMemory()
    conf: Any = context._jsc.sc().conf()
    return int(min(heap, conf.getSizeAsBytes("spark.driver.maxResultSize", "1g") or heap)) // DRIVER_SHARE


def _keyed(node: Node, width: int) -> tuple[int, Node]:
    (level, index), _ = node
    return (index << level) // width, node


def _merge(records: Iterator[tuple[int, Node]], count: int) -> Iterator[Node]:
    return iter(combine((node for _, node in records), count))
