"""The sums that answer a query, one kernel a kind of query: the only code that touches every row.

A kernel is built once a partition from all queries of its kind, so that K models read the rows once: their
weights stand beside each other as columns of one matrix, margins have shape (rows, K, C).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from scipy.linalg import blas
from scipy.sparse import csr_array

from sparkdml.blocks.block import Block
from sparkdml.optim.queries import (
    Answer,
    Gradient,
    GradientSums,
    Gram,
    GramSums,
    HeldOut,
    HeldOutSums,
    Line,
    LineSums,
    LocalEpoch,
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
    return type(query), query.loss, len(query.steps) if isinstance(query, Line) else 0


class RowWeights:
    """The weight of each row for each of K models: its own, times that of its class."""

    def __init__(self, queries: Sequence[SumsQuery | LocalEpoch]) -> None:
        self.folds = np.array([query.fold for query in queries])
        labels = sorted({label for query in queries for label in query.class_weights})
        self.factors = {y: np.array([query.class_weights.get(y, 1.0) for query in queries]) for y in labels}

    def outside(self, block: Block) -> np.ndarray:
        """The weights, zero where the model leaves the row's fold out, (rows, K)."""
        if block.fold is None or np.all(self.folds < 0):
            return self._of(block)
        return np.where(self._held_out(block), 0.0, self._of(block))

    def inside(self, block: Block) -> np.ndarray:
        """The weights, zero where the model does not leave the row's fold out, (rows, K)."""
        return np.where(self._held_out(block), self._of(block), 0.0)

    def _held_out(self, block: Block) -> np.ndarray:
        if block.fold is None:
            return np.zeros((block.rows, len(self.folds)), bool)
        return (block.fold[:, None] == self.folds) & (self.folds >= 0)

    def _of(self, block: Block) -> np.ndarray:
        weights = np.broadcast_to(block.weights[:, None], (block.rows, len(self.folds)))
        for label, factors in self.factors.items():
            weights = np.where(block.label[:, None] == label, weights * factors, weights)
        return weights


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
        z = margins(block, self.W, self.b)
        s = self.weights.outside(block)
        self.value += np.einsum("nk,nk->k", s, self.loss.value(y, z))
        R = self.loss.gradient(y, z) * s[..., None]
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
        both = (block.features @ self.W).reshape(block.rows, 2 * K, -1)
        z, dz = both[:, :K] + self.b, both[:, K:] + self.db
        if block.offset is not None:
            z += block.offset[:, None, None]
        s = self.weights.outside(block)
        y = block.label[:, None]
        for t, steps in enumerate(self.steps.T):
            at = z + steps[:, None] * dz
            self.values[:, t] += np.einsum("nk,nk->k", s, self.loss.value(y, at))
            self.slopes[:, t] += np.einsum("nk,nkc,nkc->k", s, self.loss.gradient(y, at), dz)
        self.weight += s.sum(axis=0)

    def answers(self) -> list[Answer]:
        rows = zip(self.values, self.slopes, self.weight, strict=True)
        return [LineSums(values, slopes, float(weight)) for values, slopes, weight in rows]


GRAM_ROWS = 512  # rows a `syrk`: enough that the matrix it adds to is not what takes the time


class GramKernel:
    """Moments of (features, label) about the shift: `syrk` on dense rows, sparse products on CSR."""

    def __init__(self, queries: Sequence[Gram], columns: int) -> None:
        self.count = len(queries)
        self.shift, self.weights = queries[0].shift, RowWeights(queries[:1])
        p = columns + 1
        self.weight, self.first = 0.0, np.zeros(p)
        self.upper = np.zeros((p, p), order="F")  # what dense rows add
        self.full: np.ndarray | None = None  # what CSR rows add
        self.pending, self.filled = np.empty((0, p)), 0

    def add(self, block: Block) -> None:
        s = self.weights.outside(block)[:, 0]
        self.weight += float(s.sum())
        if block.offset is not None:  # to a squared loss, an offset of the margin is one of the label
            block = replace(block, label=block.label - block.offset, offset=None)
        if not isinstance(block.features, np.ndarray):
            self._add_sparse(block, s)
            return
        for start in range(0, block.rows, GRAM_ROWS):
            rows = slice(start, start + GRAM_ROWS)
            self._add_dense(block.features[rows], block.label[rows], s[rows])

    def _add_dense(self, X: np.ndarray, y: np.ndarray, s: np.ndarray) -> None:
        """Collect shifted rows times the square root of their weight, and add their products when there are enough."""
        if not len(self.pending):
            self.pending = np.empty((GRAM_ROWS, len(self.shift)))
        if self.filled + len(y) > GRAM_ROWS:
            self._flush()
        V = self.pending[self.filled : self.filled + len(y)]
        np.subtract(X, self.shift[:-1], out=V[:, :-1])
        np.subtract(y, self.shift[-1], out=V[:, -1])
        self.first += s @ V
        V *= np.sqrt(s)[:, None]
        self.filled += len(y)

    def _flush(self) -> None:
        V = self.pending[: self.filled]
        self.upper = blas.dsyrk(1.0, V.T, beta=1.0, c=self.upper, overwrite_c=1)
        self.filled = 0

    def _add_sparse(self, block: Block, s: np.ndarray) -> None:
        """Columns without a shift stay sparse, the others and the label become dense."""
        if self.full is None:
            self.full = np.zeros((len(self.shift),) * 2)
        X: csr_array = block.features
        near = np.flatnonzero(self.shift[:-1] == 0.0)
        far = np.append(np.flatnonzero(self.shift[:-1]), len(self.shift) - 1)
        D = np.column_stack([X[:, far[:-1]].toarray(), block.label]) - self.shift[far]
        S = X[:, near] if len(far) > 1 else X
        product = (S.T @ S.multiply(s[:, None]).tocsr()).tocoo()
        self.full[near[product.coords[0]], near[product.coords[1]]] += product.data
        cross = S.T @ (D * s[:, None])
        self.full[np.ix_(near, far)] += cross
        self.full[np.ix_(far, near)] += cross.T
        self.full[np.ix_(far, far)] += D.T @ (D * s[:, None])
        self.first[near] += S.T @ s
        self.first[far] += s @ D

    def answers(self) -> list[Answer]:
        if self.filled:
            self._flush()
        lower = np.tril_indices(len(self.shift))
        second = self.upper.T[lower]
        if self.full is not None:
            second = second + self.full[lower]
        return [GramSums(self.weight, self.first, second)] * self.count


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
        losses = self.loss.value(held_out.label[:, None], margins(held_out, self.W, self.b))
        self.value += np.einsum("nk,nk->k", s, losses)
        self.weight += s.sum(axis=0)

    def answers(self) -> list[Answer]:
        return [HeldOutSums(float(v), float(s)) for v, s in zip(self.value, self.weight, strict=True)]


def margins(block: Block, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """z = x.w + b + offset, (rows, K, C), for the weights W (d, K * C) and intercepts b (K, C)."""
    z = (block.features @ W).reshape(block.rows, *b.shape) + b
    return z if block.offset is None else z + block.offset[:, None, None]


KERNELS: dict[type, Any] = {Gradient: GradientKernel, Line: LineKernel, Gram: GramKernel, HeldOut: HeldOutKernel}
