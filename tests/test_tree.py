"""The sum over partitions has one order, whoever merges what and when."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from sparkdml.engine.tree import Node, combine, height, shuffle_widths, tree_aggregate

COUNTS = [1, 2, 3, 5, 7, 16, 17, 33, 64, 100]


@dataclass(frozen=True)
class Value:
    """A float and how it was added up: neither is associative."""

    number: float
    how: str

    def merge(self, other: "Value") -> "Value":
        return Value(self.number + other.number, f"({self.how}{other.how})")


def leaves(count: int) -> list[Node]:
    rng = random.Random(count)
    return [((0, p), Value(rng.gauss(0, 1) * 10.0 ** rng.randint(-8, 8), f"{p} ")) for p in range(count)]


def total(count: int) -> Value:
    ((place, value),) = combine(leaves(count), count)
    assert place == (height(count), 0)
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize("count", COUNTS)
def test_the_order_of_the_root_is_that_of_the_partitions(count: int) -> None:
    how = total(count).how
    assert how.replace("(", "").replace(")", "").split() == [str(p) for p in range(count)]
    deepest = max(how[:i].count("(") - how[:i].count(")") for i in range(len(how)))
    assert deepest == height(count) == math.ceil(math.log2(count))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("seed", range(5))
def test_any_grouping_in_any_order_gives_the_same_bits(count: int, seed: int) -> None:
    rng = random.Random(seed)
    nodes = leaves(count)
    while len(nodes) > 1:
        rng.shuffle(nodes)
        cut = sorted(rng.sample(range(len(nodes) + 1), min(3, len(nodes))))
        parts = [nodes[a:b] for a, b in zip([0, *cut], [*cut, len(nodes)], strict=True)]
        merged = [node for part in parts for node in combine(part, count)]
        nodes = combine(merged, count) if len(merged) == len(nodes) else merged
    assert nodes == [((height(count), 0), total(count))]


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("seed", range(5))
def test_missing_partitions_leave_nodes_that_later_ones_complete(count: int, seed: int) -> None:
    rng = random.Random(seed)
    late = set(rng.sample(range(count), rng.randint(1, count)))
    first = combine([node for node in leaves(count) if node[0][1] not in late], count)
    assert all(place != (height(count), 0) for place, _ in first)
    seen = sorted(int(p) for _, value in first for p in value.how.replace("(", " ").replace(")", " ").split())
    assert seen == sorted(set(range(count)) - late)
    rest = [node for node in leaves(count) if node[0][1] in late]
    assert combine([*first, *rest], count) == [((height(count), 0), total(count))]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("at_most", [1, 3, 1000])
def test_shuffles_merge_aligned_ranges_ever_wider(count: int, depth: int, at_most: int) -> None:
    for tasks in {count, math.ceil(count / 3)}:
        widths = shuffle_widths(tasks, count, depth, at_most)
        assert all(width & (width - 1) == 0 for width in widths)
        assert all(wide % narrow == 0 and wide > narrow for narrow, wide in pairwise(widths))
        assert len(widths) <= depth
        sent = math.ceil(count / widths[-1]) if widths else tasks
        assert sent <= at_most


class LocalRDD:
    """As much of an RDD as the tree needs, with the records of a shuffle in no particular order."""

    def __init__(self, parts: list[list[Any]]) -> None:
        self.parts = parts

    def getNumPartitions(self) -> int:
        return len(self.parts)

    def map(self, function: Callable[[Any], Any]) -> "LocalRDD":
        return LocalRDD([[function(each) for each in part] for part in self.parts])

    def partitionBy(self, count: int, function: Callable[[Any], int]) -> "LocalRDD":
        parts: list[list[Any]] = [[] for _ in range(count)]
        for key, value in (record for part in self.parts for record in part):
            parts[function(key) % count].append((key, value))
        for part in parts:
            random.shuffle(part)
        return LocalRDD(parts)

    def mapPartitions(self, function: Callable[[Iterator[Any]], Iterator[Any]]) -> "LocalRDD":
        return LocalRDD([list(function(iter(part))) for part in self.parts])

    def collect(self) -> list[Any]:
        return [each for part in self.parts for each in part]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("at_most", [1, 5, 1000])
def test_the_same_bits_at_every_depth(count: int, depth: int, at_most: int) -> None:
    for tasks in {count, math.ceil(count / 3), 1}:
        size = math.ceil(count / tasks)
        nodes = leaves(count)
        rdd = LocalRDD([combine(nodes[i : i + size], count) for i in range(0, count, size)])
        assert tree_aggregate(rdd, count, depth, at_most) == [((height(count), 0), total(count))]  # type: ignore[arg-type]
