"""A block: some thousand rows as arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array, vstack

from sparkdml.blocks.columns import ROLES

Features: TypeAlias = np.ndarray | csr_array

# Rows are worked on in chunks of this size, so that a second look at them comes from the cache, not from memory.
CHUNK_BYTES = 1 << 20
# Stored values a column that a chunk of sparse rows has at least: a sum over its rows is as long as the columns are
# many. With 1 a gradient of 262,144 hashed columns takes 1.4 times as long as with 8, measured.
VALUES_A_COLUMN = 8


def sparse_chunk(size: int, columns: int) -> int:
    """How many stored values a chunk of sparse rows has, given the bytes that one of dense rows has."""
    return max(size // 8, VALUES_A_COLUMN * columns)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows as arrays.

    Attributes
    ----------
    features : (rows, d) float64, dense row-major or CSR.
    label : (rows,) float64.
    weight : (rows,) float64, or None where every weight is one.
    offset : (rows,) float64, added to every margin, or None.
    fold : (rows,) int32, or None.
    """

    features: Features
    label: np.ndarray
    weight: np.ndarray | None = None
    offset: np.ndarray | None = None
    fold: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.label)

    @property
    def columns(self) -> int:
        """d, how many features."""
        return int(self.features.shape[1])

    @property
    def weights(self) -> np.ndarray:
        """The weight of each row, (rows,)."""
        return np.ones(self.rows) if self.weight is None else self.weight

    @property
    def net_label(self) -> np.ndarray:
        """label - offset: to a loss of y - z, an offset of the margin is one of the label, (rows,)."""
        return self.label if self.offset is None else self.label - self.offset

    @property
    def nbytes(self) -> int:
        """The size of the features."""
        X = self.features
        return X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes

    def __getitem__(self, rows: slice | np.ndarray) -> "Block":
        """The block of these rows, in this order."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {name: part if part is None else part[rows] for name, part in parts.items()}
        return Block(**chosen)

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator["Block"]:
        """The block in pieces of about `size` bytes, or more where it is sparse and wide."""
        X = self.features
        numbers, most = (X.size, size // 8) if isinstance(X, np.ndarray) else (X.nnz, sparse_chunk(size, self.columns))
        step = max(1, int(most / max(numbers / max(self.rows, 1), 1)))
        for start in range(0, self.rows, step):
            yield self[start : start + step]


def concatenate(blocks: Sequence[Block]) -> Block:
    """One block of the rows of several that have the same kind of features and the same parts."""
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]
    join = np.concatenate if isinstance(first.features, np.ndarray) else _stack
    rest = {
        name: np.concatenate([getattr(block, name) for block in blocks])
        for name in ROLES
        if getattr(first, name) is not None
    }
    return Block(join([block.features for block in blocks]), **rest)


def _stack(parts: Sequence[csr_array]) -> csr_array:
    return vstack(parts, format="csr")


DENSE_FROM = 0.2  # share of non-zeros from which a dense pass is the faster one, measured at 100 and 1000 columns


def settle(block: Block) -> Block:
    """The same block, dense or CSR, whichever its density makes faster to read."""
    X = block.features
    cells = max(X.shape[0] * X.shape[1], 1)
    if isinstance(X, np.ndarray):
        sparse = np.count_nonzero(X) < DENSE_FROM * cells
        return replace(block, features=csr_array(X)) if sparse else block
    return replace(block, features=X.toarray()) if X.nnz >= DENSE_FROM * cells else block
