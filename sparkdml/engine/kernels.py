"""The sums that answer a query, one kernel a kind of query: the only code that touches every row.

A kernel is built once a partition from all queries of its kind, so that K models read the rows once: their
weights stand beside each other as columns of one matrix, margins have shape (rows, K, C).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from sparkdml.blocks.block import Block
from sparkdml.blocks.stats import Statistics
from sparkdml.engine.margins import margins, times, with_offset
from sparkdml.engine.moments import Moments
from sparkdml.engine.row_weights import RowWeights
from sparkdml.optim.queries import (
    Answer,
    Describe,
    Goodness,
    GoodnessSums,
    Gradient,
    GradientSums,
    Gram,
    GramSums,
    HeldOut,
    HeldOutSums,
    Hessian,
    HessianSums,
    Line,
    LineSums,
    ObservedHessian,
    Scores,
    SumsQuery,
)


class Kernel(Protocol):
    """Sums over rows for some queries of one kind."""

    def add(self, block: Block) -> None:
        """Add the rows of a block to the sums."""

    def answers(self) -> list[Answer]:
        """The sums, one answer a query."""


class Kernels:
    """The kernels that together answer a list of queries in one reading of the rows."""

    def __init__(self, queries: Sequence[SumsQuery], columns: int) -> None:
        groups: dict[Any, list[int]] = {}
        for i, query in enumerate(queries):
            groups.setdefault(_group(query), []).append(i)
        self.places = list(groups.values())
        self.kernels: list[Kernel] = [
            KERNELS[type(queries[places[0]])]([queries[i] for i in places], columns) for places in self.places
        ]

    def add(self, block: Block) -> None:
        """Add the rows of a block to every sum."""
        for kernel in self.kernels:
            kernel.add(block)

    def answers(self) -> list[Answer]:
        """One answer a query, in the order of the queries."""
        found: dict[int, Answer] = {}
        for places, kernel in zip(self.places, self.kernels, strict=True):
            found.update(zip(places, kernel.answers(), strict=True))
        return [found[i] for i in range(len(found))]


def _group(query: SumsQuery) -> Any:
    """What queries must share to be one kernel's."""
    if isinstance(query, Gram):
        return Gram, query.fold, tuple(sorted(query.class_weights.items())), query.shift.tobytes()
    shift = query.shift.tobytes() if isinstance(query, Hessian) else b""
    return type(query), getattr(query, "loss", None), len(query.steps) if isinstance(query, Line) else 0, shift


class GradientKernel:
    """Loss and gradient of K models: Z = X W, then X^T R with R the weighted derivatives by the margins."""

    def __init__(self, queries: Sequence[Gradient], columns: int) -> None:
        self.loss = queries[0].loss
        self.weights = RowWeights(queries)
        self.W = np.hstack([query.w for query in queries])
        self.b = np.stack([query.b for query in queries])
        K, C = self.b.shape
        self.value, self.weight = np.zeros(K), np.zeros(K)
        self.G, self.g = np.zeros((columns, K * C)), np.zeros((K, C))

    def add(self, block: Block) -> None:
        X, y = block.features, block.label[:, None]
        z = margins(block, self.loss, self.W, self.b)
        s = self.weights.outside(block)
        value, slope = self.loss.value_and_gradient(y, z)
        self.value += weighted(s, value)
        R = slope * s[..., None]
        self.G += X.T @ R.reshape(block.rows, -1)
        self.g += R.sum(axis=0)
        self.weight += s.sum(axis=0)

    def answers(self) -> list[Answer]:
        K, C = self.g.shape
        G = self.G.reshape(-1, K, C)
        return [GradientSums(float(self.value[k]), G[:, k].copy(), self.g[k], float(self.weight[k])) for k in range(K)]


class LineKernel:
    """The loss of K models at T steps along a line each: two products with X, whatever T is."""

    def __init__(self, queries: Sequence[Line], columns: int) -> None:
        self.loss = queries[0].loss
        self.weights = RowWeights(queries)
        self.steps = np.stack([query.steps for query in queries])
        self.W = np.hstack([query.w for query in queries] + [query.dw for query in queries])
        self.b = np.stack([query.b for query in queries])
        self.db = np.stack([query.db for query in queries])
        self.values, self.slopes = np.zeros(self.steps.shape), np.zeros(self.steps.shape)
        self.weight = np.zeros(len(queries))

    def add(self, block: Block) -> None:
        K = len(self.b)
        both = times(block.features, self.W).reshape(block.rows, 2 * K, -1)
        z, dz = with_offset(block, self.loss, both[:, :K] + self.b), both[:, K:] + self.db
        s = self.weights.outside(block)
        y = block.label[:, None]
        for t, steps in enumerate(self.steps.T):
            value, slope = self.loss.value_and_gradient(y, z + steps[:, None] * dz)
            self.values[:, t] += weighted(s, value)
            self.slopes[:, t] += np.einsum("nk,nkc,nkc->k", s, slope, dz)
        self.weight += s.sum(axis=0)

    def answers(self) -> list[Answer]:
        rows = zip(self.values, self.slopes, self.weight, strict=True)
        return [LineSums(values, slopes, float(weight)) for values, slopes, weight in rows]


class GramKernel:
    """Moments of (features, label) about the shift."""

    def __init__(self, queries: Sequence[Gram], columns: int) -> None:
        self.count = len(queries)
        self.shift, self.weights = queries[0].shift, RowWeights(queries[:1])
        self.weight, self.first = 0.0, np.zeros(columns + 1)
        self.moments = Moments(self.shift[:-1], 1)

    def add(self, block: Block) -> None:
        s = self.weights.outside(block)
        self.weight += float(s.sum())
        self.first += self.moments.add(block.features, block.net_label - self.shift[-1], s)[0]

    def answers(self) -> list[Answer]:
        return [GramSums(self.weight, self.first, self.moments.triangles()[0])] * self.count


class HessianKernel:
    """The second derivatives of K models: moments of (features, 1), with a weight of each row for each two margins."""

    def __init__(self, queries: Sequence[Hessian], columns: int) -> None:
        self.loss = queries[0].loss
        self.weights = RowWeights(queries)
        self.W = np.hstack([query.w for query in queries])
        self.b = np.stack([query.b for query in queries])
        self.weight = np.zeros(len(queries))
        self.pairs = np.tril_indices(self.b.shape[1])
        self.moments = Moments(queries[0].shift, len(queries) * len(self.pairs[0]))

    def add(self, block: Block) -> None:
        s = self.weights.outside(block)
        self.weight += s.sum(axis=0)
        h = self._weights(block.label[:, None], margins(block, self.loss, self.W, self.b), s)
        self.moments.add(block.features, np.ones(block.rows), h[..., *self.pairs].reshape(block.rows, -1))

    def _weights(self, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        """The weight of each row for each two margins, (rows, K, C, C)."""
        return self.loss.fisher(y, z) * s[..., None, None]

    def answers(self) -> list[Answer]:
        parts = np.split(self.moments.triangles(), len(self.weight))
        return [HessianSums(float(weight), part) for weight, part in zip(self.weight, parts, strict=True)]


class ObservedHessianKernel(HessianKernel):
    """The second derivatives that the labels give K models."""

    def _weights(self, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        return self.loss.hessian(y, z) * s[..., None, None]


class ScoresKernel(HessianKernel):
    """The products of the rows' gradients of K models."""

    def _weights(self, y: np.ndarray, z: np.ndarray, s: np.ndarray) -> np.ndarray:
        slopes = self.loss.gradient(y, z) * s[..., None]
        return slopes[..., :, None] * slopes[..., None, :]


class HeldOutKernel:
    """The loss of K models on the rows that they leave out: only these are multiplied."""

    def __init__(self, queries: Sequence[HeldOut], columns: int) -> None:
        self.loss = queries[0].loss
        self.weights = RowWeights(queries)
        self.W = np.hstack([query.w for query in queries])
        self.b = np.stack([query.b for query in queries])
        self.value, self.weight = np.zeros(len(queries)), np.zeros(len(queries))

    def add(self, block: Block) -> None:
        s = self.weights.inside(block)
        rows = np.flatnonzero(s.any(axis=1))
        if not len(rows):
            return
        held_out, s = block[rows], s[rows]
        losses = self.loss.value(held_out.label[:, None], margins(held_out, self.loss, self.W, self.b))
        self.value += weighted(s, losses)
        self.weight += s.sum(axis=0)

    def answers(self) -> list[Answer]:
        return [HeldOutSums(float(v), float(s)) for v, s in zip(self.value, self.weight, strict=True)]


class GoodnessKernel:
    """How well K generalized linear models fit."""

    def __init__(self, queries: Sequence[Goodness], columns: int) -> None:
        self.loss = queries[0].loss
        self.weights = RowWeights(queries)
        self.W = np.hstack([query.w for query in queries])
        self.b = np.stack([query.b for query in queries])
        self.sums = [GoodnessSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)] * len(queries)

    def add(self, block: Block) -> None:
        z, s = margins(block, self.loss, self.W, self.b), self.weights.outside(block)
        found = [GoodnessSums.of(self.loss, block.label, z[:, k], s[:, k]) for k in range(len(self.sums))]
        self.sums = [before.merge(each) for before, each in zip(self.sums, found, strict=True)]

    def answers(self) -> list[Answer]:
        return list(self.sums)


class DescribeKernel:
    """The statistics of the columns under K folds that are left out and weights of classes."""

    def __init__(self, queries: Sequence[Describe], columns: int) -> None:
        self.weights = [(query.fold, RowWeights([query])) for query in queries]
        self.found = [Statistics.empty(columns) for _ in queries]

    def add(self, block: Block) -> None:
        for k, (fold, weights) in enumerate(self.weights):
            kept = block if block.fold is None or fold < 0 else block[np.flatnonzero(block.fold != fold)]
            described = Statistics.of(replace(kept, weight=weights.outside(kept)[:, 0]))
            self.found[k] = self.found[k].merge(described)

    def answers(self) -> list[Any]:
        return list(self.found)


def weighted(s: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """sum_i s_i l_i, (rows, K) each to (K,); a row of weight zero does not count, where its loss is infinite either."""
    found: np.ndarray = np.einsum("nk,nk->k", s, losses)
    if np.isfinite(found).all():
        return found
    return np.einsum("nk,nk->k", s, np.where(s > 0.0, losses, 0.0))


KERNELS: dict[type, Any] = {
    Gradient: GradientKernel,
    Line: LineKernel,
    Gram: GramKernel,
    Hessian: HessianKernel,
    ObservedHessian: ObservedHessianKernel,
    Scores: ScoresKernel,
    HeldOut: HeldOutKernel,
    Goodness: GoodnessKernel,
    Describe: DescribeKernel,
}
