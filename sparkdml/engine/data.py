"""The seam between the two halves of the library: data that answer queries, wherever their blocks are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sparkdml.blocks.arrays_in import checked_block
from sparkdml.blocks.block import CHUNK_BYTES, DENSE_FROM, Block
from sparkdml.blocks.cells import NO_FOLD, Cells
from sparkdml.blocks.sampling import Sampling
from sparkdml.blocks.stats import Statistics
from sparkdml.engine.kernels import Kernels
from sparkdml.engine.tree import combine, root
from sparkdml.engine.walks import walk
from sparkdml.optim.queries import Answer, Describe, EachPartition, LocalEpoch, PerPartition, Query, Sample, array_bytes


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of some partitions to the queries of one pass."""

    values: list[Answer]

    def merge(self, other: "Answers") -> "Answers":
        """The answers of both."""
        return Answers([a.merge(b) for a, b in zip(self.values, other.values, strict=True)])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reading:
    """How a pass is made, whatever it asks; none of it changes an answer by more than rounding.

    Attributes
    ----------
    depth : of the tree in which the partitions are summed, where their answers are many or large.
    chunk_bytes : rows are worked on in chunks of about this size.
    """

    depth: int = 2
    chunk_bytes: int = CHUNK_BYTES


DEFAULT_READING = Reading()


class Traffic(NamedTuple):
    """Bytes of the arrays that passes send.

    Attributes
    ----------
    down : the queries, once a task.
    up : the answers, once a task, since a task merges its partitions before it answers; those that are kept apart,
        once a partition.
    """

    down: int
    up: int


class Data(ABC):
    """Rows that were read once and can be asked many times.

    Attributes
    ----------
    cells : the statistics of the columns, of each fold and class as far as these are few; `statistics`, of all rows.
    validation : the share of the rows that packing drew to be fold 1, or None, and by which seed.
    feature_names : (d,).
    partitions : how many there are. `tasks` is how many tasks a pass has.
    passes : how many passes were made.
    bytes_down, bytes_up : what the passes sent, see `Traffic`.
    sampling : how two classes were balanced.
    class_rates : the weight of each label over its weight in the table that was sampled; empty without sampling.
    roles : which of label, weight, offset and fold the rows have.
    classes : how many classes the labels may be of, where that is known beside the labels themselves.
    partitioning : which rows share a partition, see `pack`.
    dtype : as what the values of the features are stored; what is summed is float64 in any case.
    """

    cells: Cells
    statistics: Statistics
    feature_names: tuple[str, ...]
    partitions: int
    validation: tuple[float | None, int] = (None, 0)
    passes: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    sampling: Sampling = Sampling()
    class_rates: Mapping[float, float] = MappingProxyType({})
    roles: frozenset[str]
    classes: int | None = None
    partitioning: str = "as-is"
    dtype: str = "float64"

    @property
    def has_offset(self) -> bool:
        """Whether the margins of the rows have offsets."""
        return "offset" in self.roles

    @property
    @abstractmethod
    def tasks(self) -> int:
        """How many tasks a pass has."""

    @property
    @abstractmethod
    def partition_statistics(self) -> tuple[Statistics, ...]:
        """The statistics of each partition, in order."""

    def tasks_for(self, queries: Sequence[Query]) -> int:
        """How many tasks a pass of these queries has: fewer, where it reads a sample only."""
        return self.tasks

    def run(self, queries: Sequence[Query], reading: Reading = DEFAULT_READING) -> list[Answer]:
        """Answer all queries in one pass."""
        self.passes += 1
        down, up = self.traffic(queries)
        self.bytes_down += down
        self.bytes_up += up
        return self._run(list(queries), reading)

    def traffic(self, queries: Sequence[Query]) -> Traffic:
        """What a pass of these queries sends."""
        tasks = self.tasks_for(queries)
        down = tasks * sum(array_bytes(query) for query in queries)
        senders = [self.partitions if isinstance(query, EachPartition) else tasks for query in queries]
        return Traffic(down, sum(query.size * count for query, count in zip(queries, senders, strict=True)))

    def statistics_for(self, fold: int = NO_FOLD, class_weights: Mapping[float, float] | None = None) -> Statistics:
        """The statistics of the rows outside a fold, their weights times those of their classes.

        Where packing kept these apart they are known; else the first use takes a pass.
        """
        weights = class_weights or {}
        if self.cells.tell(fold, bool(weights)):
            return self.cells.outside(fold).weighted(weights).total
        key = fold, frozenset(weights.items())
        if key not in self._described:
            (found,) = self.run([Describe(len(self.feature_names), fold, weights)])
            assert isinstance(found, Statistics)
            self._described[key] = found
        return self._described[key]

    @cached_property
    def _described(self) -> dict[Any, Statistics]:
        """The statistics that took a pass."""
        return {}

    @cached_property
    def null_models(self) -> dict[Any, Any]:
        """The models of an intercept alone that took passes, see `engine.null_model`."""
        return {}

    @abstractmethod
    def _run(self, queries: list[Query], reading: Reading) -> list[Answer]:
        """One pass."""

    def fits_driver(self, size: int) -> bool:
        """Whether the driver can take an answer of so many bytes."""
        return True


class LocalData(Data):
    """Arrays in this process, as rows of one or more partitions.

    `classes` is what the metadata of a label column are to a DataFrame: how many classes a classifier has, which labels
    alone tell only as far as there are rows of the last class.

    Raises
    ------
    ColumnTypeError, ColumnError, DataError : arrays that packing would refuse as columns, see `checked_block`.

    >>> data = LocalData(np.array([[1.0], [2.0]]), np.array([3.0, 5.0]))
    >>> data.statistics.mean
    array([1.5, 4. ])
    """

    def __init__(
        self,
        features: np.ndarray | csr_array,
        label: np.ndarray,
        weight: np.ndarray | None = None,
        offset: np.ndarray | None = None,
        fold: np.ndarray | None = None,
        feature_names: Sequence[str] | None = None,
        partitions: int = 1,
        classes: int | None = None,
    ) -> None:
        self.classes = classes
        names = tuple(feature_names or (f"x{j}" for j in range(np.shape(features)[-1])))
        roles = {"label": label, "weight": weight, "offset": offset, "fold": fold}
        block = checked_block(features, names, roles)
        self.roles = frozenset(role for role, array in roles.items() if array is not None)
        self.blocks = [block[rows] for rows in np.array_split(np.arange(block.rows), partitions)]
        self.partitions = partitions
        self._parts = [Cells.of(part) for part in self.blocks]
        self.cells = root(combine([((0, p), part) for p, part in enumerate(self._parts)], partitions), partitions)
        self.statistics = self.cells.total
        self.feature_names = names

    @property
    def tasks(self) -> int:
        return self.partitions

    @property
    def partition_statistics(self) -> tuple[Statistics, ...]:
        return tuple(part.total for part in self._parts)

    def _run(self, queries: list[Query], reading: Reading) -> list[Answer]:
        nodes = []
        for p, block in enumerate(self.blocks):
            read = partial(self._chunks, p, size=reading.chunk_bytes)
            nodes.append(((0, p), Answers(answer(queries, block.columns, block.rows, read))))
        answers: Answers = root(combine(nodes, len(nodes)), len(nodes))
        return answers.values

    def _chunks(self, partition: int, sample: Sample | None, size: int) -> Iterator[Block]:
        block = self.blocks[partition]
        if sample is not None:
            order = np.random.default_rng(partition).permutation(block.rows)  # as packing would have stored the rows
            (windows,) = sample.windows(partition, [block.rows])
            block = block[np.concatenate([order[rows] for rows in windows] or [order[:0]])]
        yield from block.chunks(size)


def answer(
    queries: Sequence[Query], columns: int, rows: int, read: Callable[[Sample | None], Iterable[Block]]
) -> list[Answer]:
    """The answers of one partition of so many rows.

    Queries of the same sample share one reading of its rows, `read(sample)`; a walk reads for itself.
    """
    asked: list[Any] = [query.query if isinstance(query, EachPartition) else query for query in queries]
    groups: dict[Sample | None, list[int]] = {}
    found: dict[int, Any] = {}
    for i, query in enumerate(asked):
        if isinstance(query, LocalEpoch):
            with np.errstate(over="ignore", invalid="ignore"):
                found[i] = walk(query, rows, partial(read, None))
        else:
            groups.setdefault(getattr(query, "sample", None), []).append(i)
    for sample, places in groups.items():
        kernels = Kernels([asked[i] for i in places], columns)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever asked looks whether the sums are finite
            for chunk in read(sample):
                kernels.add(chunk)
            found.update(zip(places, kernels.answers(), strict=True))
    return [
        PerPartition((found[i],)) if isinstance(query, EachPartition) else found[i] for i, query in enumerate(queries)
    ]


FAR_FROM_ZERO = 10.0  # standard deviations from zero at which a mean would cost a Gram matrix two of its digits


def gram_shift(statistics: Statistics) -> np.ndarray:
    """Where to centre a Gram matrix: at the means, but of sparse rows only the columns that need it, (d + 1,)."""
    center = statistics.center
    if statistics.density >= DENSE_FROM:
        return center
    far = np.abs(center) > FAR_FROM_ZERO * np.sqrt(statistics.variance)
    far[-1] = True  # the label is dense in any case
    return np.where(far, center, 0.0)
