"""The walk of one partition: mini-batch descent through its rows, steered by the gradient of all rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from sparkdml.blocks.block import Block
from sparkdml.engine.margins import margins
from sparkdml.engine.row_weights import RowWeights
from sparkdml.optim.losses import Loss
from sparkdml.optim.queries import LocalEpoch, LocalEpochSums, Units

SAMPLE_ROWS, SAMPLE_BYTES = 256, 1 << 23  # as many rows tell the curvature, as long as they are not too large
POWER_ITERATIONS = 8
MIN_STEPS, MAX_STEPS = 200, 2000  # of a walk: fewer lead nowhere, more cost more than they bring
SMALL, MAX_EPOCHS = 1 << 22, 20  # numbers in a partition up to which it is gone through again for a walk of MIN_STEPS
VECTOR_COST = 4.0  # a step may cost so many times the work of its rows where these are sparse and it is wide
NOISE = 4.0  # a partition's gradient this many times as far from that of all, squared, as chance explains, is skewed
AVERAGED = 0.5  # the share of the walk, its last, whose average is its result


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows in the units of the solver: features (X - center) * inverse_scale, CSR ones without the center.

    Attributes
    ----------
    features : (rows, d), dense or CSR.
    center : what is still to be subtracted from every row, (d,), or None.
    label, weight, start : (rows,), (rows,), and the margins where the walk begins, (rows, C).
    slope : the derivative of the loss there, (rows, C).
    """

    features: np.ndarray | csr_array
    center: np.ndarray | None
    label: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    slope: np.ndarray

    @classmethod
    def of(cls, block: Block, query: LocalEpoch) -> "Chunk":
        """The rows of a block; the block is left as it is."""
        z = margins(block, query.loss, query.w, query.b[None])[:, 0]
        weight = RowWeights([query]).outside(block)[:, 0]
        features, center = _scaled(block.features, query.units)
        return cls(features, center, block.label, weight, z, query.loss.gradient(block.label, z))

    def __getitem__(self, rows: slice) -> "Chunk":
        """The chunk of these rows."""
        parts = (part[rows] for part in (self.label, self.weight, self.start, self.slope))
        return Chunk(self.features[rows], self.center, *parts)

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.label)

    def margins(self, u: np.ndarray, c: np.ndarray) -> np.ndarray:
        """The margins that (u, c) adds, (rows, C)."""
        z = self.features @ u + c
        return z if self.center is None else z - self.center @ u

    def gradient(self, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_i x_i R_i and sum_i R_i for weighted slopes R (rows, C)."""
        total = R.sum(axis=0)
        product = self.features.T @ R
        return (product if self.center is None else product - np.outer(self.center, total)), total

    def norms(self) -> np.ndarray:
        """The squared length of each row with its one for the intercept, times its weight, (rows,)."""
        X, center = self.features, self.center
        if isinstance(X, np.ndarray):
            return self.weight * (np.einsum("ij,ij->i", X, X) + 1.0)
        squares = np.bincount(np.repeat(np.arange(self.rows), np.diff(X.indptr)), X.data**2, self.rows)
        if center is not None:
            squares += center @ center - 2.0 * (X @ center)
        return self.weight * (np.maximum(squares, 0.0) + 1.0)


def _scaled(X: np.ndarray | csr_array, units: Units) -> tuple[np.ndarray | csr_array, np.ndarray | None]:
    if isinstance(X, np.ndarray):
        centred = np.subtract(X, units.center)
        centred *= units.inverse_scale
        return centred, None
    scaled = csr_array((X.data * units.inverse_scale[X.indices], X.indices, X.indptr), shape=X.shape)
    return scaled, units.center * units.inverse_scale


@dataclass(frozen=True)
class Pace:
    """How a partition walks.

    Attributes
    ----------
    batch, epochs : rows of a mini-batch, and how often the rows are gone through.
    weight : the mean weight of a row.
    curvature : of the mean loss of the partition; a mini-batch adds that of its longest row.
    """

    batch: int
    epochs: int
    weight: float
    curvature: float

    @classmethod
    def of(cls, sample: list[Chunk], rows: int, loss: Loss) -> "Pace":
        """The pace for a partition of so many rows, from some of them.

        The mini-batch is where the longest row of a sample adds as much curvature as all rows have on average: smaller
        ones would need shorter steps, larger ones would make fewer steps of the same length.
        """
        count = sum(chunk.rows for chunk in sample)
        weight = sum(float(chunk.weight.sum()) for chunk in sample) / count or 1.0
        curvature = loss.curvature * max(_largest_eigenvalue(sample) / (weight * count), np.finfo(float).tiny)
        longest = loss.curvature * max(float(chunk.norms().max()) for chunk in sample) / weight
        cells = sum(chunk.features.size for chunk in sample) / count  # stored numbers of a row
        steps = min(MAX_STEPS, VECTOR_COST * rows * cells / sample[0].features.shape[1] + 1.0)
        batch = int(np.clip(max(longest / curvature, rows / steps), 1, max(rows // 8, 1)))
        again = min(MIN_STEPS * batch / rows, MAX_EPOCHS) if rows * cells <= SMALL else 1.0
        return cls(batch, max(int(np.ceil(again)), 1), weight, curvature)


def _largest_eigenvalue(sample: list[Chunk]) -> float:
    """Of sum_i s_i x_i x_i^T with x_i = (features, 1), by the power method; a little less than it is."""
    u, c = np.ones((sample[0].features.shape[1], 1)), np.ones(1)
    value = 0.0
    for _ in range(POWER_ITERATIONS):
        length = np.sqrt(float(np.vdot(u, u) + c @ c)) or 1.0
        parts = [chunk.gradient(chunk.weight[:, None] * chunk.margins(u / length, c / length)) for chunk in sample]
        u, c = np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)
        value = np.sqrt(float(np.vdot(u, u) + c @ c))
    return value


@dataclass(eq=False)
class Walk:
    """A walk on its way.

    Attributes
    ----------
    u, c : how far it is from its start, (d, C) and (C,).
    steps, planned : made and to be made; `kept` of them are in the sums `u_sum`, `c_sum` of the result.
    rows, G, g, longest : the mini-batch so far: rows, gradient sums, weighted squared length of its longest row.
    """

    query: LocalEpoch
    pace: Pace
    planned: float
    u: np.ndarray = field(init=False)
    c: np.ndarray = field(init=False)
    steps: int = 0
    kept: int = 0
    rows: int = 0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.u, self.c = np.zeros_like(self.query.w), np.zeros_like(self.query.b)
        self.G, self.g = np.zeros_like(self.u), np.zeros_like(self.c)
        self.u_sum, self.c_sum = np.zeros_like(self.u), np.zeros_like(self.c)
        self.control = _split(self.query.control, self.u.shape, self.query.units)
        self.ridge = _split(self.query.units.ridge, self.u.shape, self.query.units)[0]
        self.curvature = self.pace.curvature + float(self.ridge.max(initial=0.0))
        free = np.ones(self.query.control.shape) if self.query.free is None else self.query.free
        self.free = _split(free, self.u.shape, self.query.units)

    def add(self, chunk: Chunk) -> None:
        """Go through the rows of a chunk."""
        norms = chunk.norms()
        start = 0
        while start < chunk.rows:
            rows = slice(start, min(start + self.pace.batch - self.rows, chunk.rows))
            self._look(chunk[rows], float(norms[rows].max()))
            if self.rows == self.pace.batch:
                self.take_step()
            start = rows.stop

    def _look(self, part: Chunk, longest: float) -> None:
        z = part.start + part.margins(self.u, self.c)
        R = (self.query.loss.gradient(part.label, z) - part.slope) * part.weight[:, None]
        G, g = part.gradient(R)
        self.G, self.g = self.G + G, self.g + g
        self.longest = max(self.longest, longest)
        self.rows += part.rows

    def take_step(self) -> None:
        """One step by the rows looked at since the last one."""
        if not self.rows:
            return
        weight = self.pace.weight * self.rows
        added = self.query.loss.curvature * self.longest / weight
        step = self.query.step / (self.curvature + added)
        self.u = self.u - step * self.free[0] * (self.G / weight + self.ridge * self.u + self.control[0])
        self.c = self.c - step * self.free[1] * (self.g / weight + self.control[1])
        self.rows, self.longest = 0, 0.0
        self.G, self.g = np.zeros_like(self.G), np.zeros_like(self.g)
        self.steps += 1
        if self.steps > AVERAGED * self.planned:
            self.u_sum, self.c_sum, self.kept = self.u_sum + self.u, self.c_sum + self.c, self.kept + 1

    def result(self) -> np.ndarray:
        """Where it led, (n,), from the start on: the average of the later part of the walk."""
        u, c = (self.u_sum, self.c_sum) if self.kept else (self.u, self.c)
        joined = np.append(u.ravel(), c) if self.query.units.fit_intercept else u.ravel()
        return joined / max(self.kept, 1)


def _split(theta: np.ndarray, shape: tuple[int, ...], units: Units) -> tuple[np.ndarray, np.ndarray]:
    """theta (n,) as u (d, C) and c (C,), zero without an intercept."""
    d, C = shape
    return theta[: d * C].reshape(d, C), theta[d * C :] if units.fit_intercept else np.zeros(C)


def walk(query: LocalEpoch, rows: int, read: Callable[[], Iterable[Block]]) -> LocalEpochSums:
    """The walk of a partition of so many rows, which `read` reads, as often as it is called."""
    nowhere = LocalEpochSums(np.zeros_like(query.control), 0.0, 1.0)
    sample = _take_sample(_chunks(query, read)) if rows else []
    if not any(np.any(chunk.weight) for chunk in sample):
        return nowhere
    pace = Pace.of(sample, rows, query.loss)
    walking, skew = Walk(query, pace, pace.epochs * np.ceil(rows / pace.batch)), Skew.of(query)
    weight = 0.0
    kept: list[Chunk] = []  # of a partition that is gone through again, which is small
    for chunk in _chunks(query, read):
        weight += float(chunk.weight.sum())
        if query.measured:
            skew.add(chunk)
        if pace.epochs > 1:
            kept.append(chunk)
        walking.add(chunk)
    walking.take_step()
    for _ in range(pace.epochs - 1):
        for chunk in kept:
            walking.add(chunk)
        walking.take_step()
    led = walking.result()
    if not np.all(np.isfinite(led)):
        return nowhere
    return LocalEpochSums(weight * led, weight, skew.cosine(query, weight) if query.measured else 1.0)


@dataclass(eq=False)
class Skew:
    """How a partition's gradient differs from that of all: its sums G, g, and the squared lengths of its rows'."""

    G: np.ndarray
    g: np.ndarray
    squares: float = 0.0

    @classmethod
    def of(cls, query: LocalEpoch) -> "Skew":
        """Of no rows."""
        return cls(np.zeros_like(query.w), np.zeros_like(query.b))

    def add(self, chunk: Chunk) -> None:
        """Add the rows of a chunk."""
        G, g = chunk.gradient(chunk.slope * chunk.weight[:, None])
        self.G, self.g = self.G + G, self.g + g
        self.squares += float(chunk.norms() @ (chunk.weight * np.square(chunk.slope).sum(axis=1)))

    def cosine(self, query: LocalEpoch, weight: float) -> float:
        """Between the two gradients; one where they differ by no more than a random choice of rows explains."""
        own = np.append(self.G.ravel(), self.g) if query.units.fit_intercept else self.G.ravel()
        apart = float(np.sum(np.square(own / weight - query.control)))
        lengths = float(np.linalg.norm(own) * np.linalg.norm(query.control))
        if apart <= NOISE * self.squares / weight**2 or not lengths:
            return 1.0
        return float(own @ query.control) / lengths


def _chunks(query: LocalEpoch, read: Callable[[], Iterable[Block]]) -> Iterator[Chunk]:
    """All rows; each chunk is a copy, which stays as it is when the next block is read."""
    return (Chunk.of(block, query) for block in read())


def _take_sample(chunks: Iterator[Chunk]) -> list[Chunk]:
    """The first rows, which are as good as any."""
    taken: list[Chunk] = []
    count, size = 0, 0
    for chunk in chunks:
        taken.append(chunk[slice(0, SAMPLE_ROWS - count)])
        count, size = count + taken[-1].rows, size + 8 * taken[-1].features.size
        if count >= SAMPLE_ROWS or size >= SAMPLE_BYTES:
            break
    return taken
