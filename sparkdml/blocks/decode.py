"""From an Arrow batch to a block, bad rows counted and left out."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from sparkdml.blocks.block import Block, Features
from sparkdml.blocks.columns import PARTITION, ROLES, Columns
from sparkdml.blocks.violations import FILLED, FLATTENED, Violations

MAX_OFFSET = 1e150  # beyond it squares overflow
MAX_FOLD = np.iinfo(np.int32).max
UNNUMBERED = -1  # the number of a partition without rows, which nothing says

# What the values of a role may not be, beside null, NaN and infinite.
FORBIDDEN: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "weight": ("negative", lambda weights: weights < 0.0),
    "offset": ("too large", lambda offsets: np.abs(offsets) > MAX_OFFSET),
    "fold": ("no fold", lambda folds: (folds != np.rint(folds)) | (np.abs(folds) > MAX_FOLD)),
}


def numbered_batches(batches: Iterator[pa.RecordBatch]) -> tuple[int, Iterator[pa.RecordBatch]]:
    """Return the number of the partition that batches of `schema.numbered` rows come from, and the batches."""
    first = next((batch for batch in batches if batch.num_rows), None)
    if first is None:
        return UNNUMBERED, batches
    return first.column(PARTITION)[0].as_py(), chain([first], batches)


@dataclass
class Decoder:
    """Decodes the batches of one partition, one after the other.

    `size` is the number of features: known from the columns, or taken from the first vector met. `fill`, one number or
    one a feature, takes the place of the nulls and NaNs among the features, which are bad without it. With `dtype`
    "float32" features are rounded to its values; those beyond its range are bad too, and come out infinite. `sizes` has
    how many vectors there were of each size.
    """

    columns: Columns
    partition: int
    size: int | None = None
    fill: float | np.ndarray | None = None
    dtype: str = "float64"
    first: np.ndarray | None = None  # row of dense features, as it was before rounding
    seen: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    violations: Violations = field(default_factory=Violations)

    def decode(self, batch: pa.RecordBatch) -> Block:
        """The good rows of a batch as a block; every bad value of the others is counted in `violations`."""
        bad = np.zeros(batch.num_rows, bool)
        for role, name in self.columns.roles.items():
            bad |= self._bad_numbers(batch.column(role), name)
            if role in FORBIDDEN:
                bad |= self._bad_values(batch.column(role), role)
        read = self._vectors if self.columns.kind == "vector" else self._arrays
        X, rows = read(batch.column("features"), bad)
        if bad.any():
            X, rows = X[np.flatnonzero(~bad[rows])], rows[~bad[rows]]
        if self.dtype == "float32":
            X = self._rounded(X, rows)
        self.seen += batch.num_rows
        return _block(batch, X, rows)

    def _vectors(self, column: pa.StructArray, bad: np.ndarray) -> tuple[Features, np.ndarray]:
        """The features, and which rows of the batch they are; what is wrong with the others is counted."""
        column, rows = self._present(column, bad)
        kind, size, _, values = column.flatten()
        dense = kind.to_numpy() == 1
        sizes = np.where(dense, pc.list_value_length(values), pc.fill_null(size, 0))
        whole = self._of_one_size(sizes, rows, bad)
        _, _, indices, values = _only(column, whole).flatten()
        X = _vector_features(dense[whole], indices, values, self.size or 0)
        return self._checked(X, rows[whole], bad), rows[whole]

    def _arrays(self, column: pa.ListArray, bad: np.ndarray) -> tuple[Features, np.ndarray]:
        """As `_vectors`, of arrays; numeric columns come as one array too."""
        column, rows = self._present(column, bad)
        whole = self._of_one_size(pc.list_value_length(column).to_numpy(), rows, bad)
        flat = _only(column, whole).flatten()
        shape = (int(whole.sum()), self.size or 0)
        X = flat.to_numpy(zero_copy_only=False).reshape(shape)
        nulls = flat.is_null().to_numpy(zero_copy_only=False).reshape(shape)
        return self._checked(X, rows[whole], bad, nulls), rows[whole]

    def _present(self, column: pa.Array, bad: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        """The vectors that are there, and their row numbers; null ones are counted."""
        null = column.is_null().to_numpy(zero_copy_only=False)
        self._count(null, self.columns.features[0], "null")
        bad |= null
        return _only(column, ~null), np.flatnonzero(~null)

    def _of_one_size(self, sizes: np.ndarray, rows: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """Which vectors have the size of the first; the others are counted."""
        if self.size is None and len(sizes):
            self.size = int(sizes[0])
        ragged = sizes != self.size
        self.sizes[self.size or 0] += len(sizes) - int(ragged.sum())
        if ragged.any():
            self.sizes.update(sizes[ragged].tolist())
            i = int(np.argmax(ragged))
            example = f"size {sizes[i]} instead of {self.size} in {self._place(rows[i])}"
            self.violations.add(self.columns.features[0], "ragged", int(ragged.sum()), example)
            bad[rows[ragged]] = True
        return ~ragged

    def _checked(self, X: Features, rows: np.ndarray, bad: np.ndarray, nulls: np.ndarray | None = None) -> Features:
        """The features, filled; what stays null, NaN or infinite is counted, of each feature where it has a name."""
        if np.isfinite(X if isinstance(X, np.ndarray) else X.data).all():
            return X
        where, which, values = not_finite(X)
        null = np.zeros(len(where), bool) if nulls is None else nulls[where, which]
        nan = np.isnan(values) & ~null
        kinds = {"null": null, "NaN": nan, "infinite": np.isinf(values)}
        if self.fill is not None:
            X = _filled(X, self.fill)
            kinds = {FILLED: null | nan, "infinite": kinds["infinite"]}
        for kind, match in kinds.items():
            if kind != FILLED:
                bad[rows[where[match]]] = True
            self._count_features(match, kind, X.shape[1], rows[where], which)
        return X

    def _rounded(self, X: Features, rows: np.ndarray) -> Features:
        """The features of good rows as the numbers of float32 next to them; those beyond its range are counted."""
        values = X if isinstance(X, np.ndarray) else X.data
        with np.errstate(over="ignore"):
            rounded = _with_stored(X, values.astype(np.float32).astype(float))
        where, which, _ = not_finite(rounded)
        if len(where):
            self._count_features(np.ones(len(where), bool), "beyond float32", X.shape[1], rows[where], which)
        elif isinstance(X, np.ndarray) and len(X):
            self._count_flattened(X, rounded)
        return rounded

    def _count_flattened(self, X: np.ndarray, rounded: np.ndarray) -> None:
        """Count the values of columns that differ from that of the first row, but are rounded to the same."""
        if self.first is None:
            self.first = X[0].copy()
        same = np.flatnonzero((rounded == self.first.astype(np.float32)).all(axis=0))
        for j in same[(X[:, same] != self.first[same]).any(axis=0)]:
            name = self.columns.feature_names(X.shape[1])[j]
            self.violations.add(name, FLATTENED, len(X), f"{self.first[j]:g}")

    def _count_features(self, match: np.ndarray, kind: str, size: int, rows: np.ndarray, which: np.ndarray) -> None:
        """Count values of features, given the row and the feature of each: of each feature where it has a name."""
        names = self.columns.names or ()
        if len(names) != size:
            self._count_cells(match, kind, self.columns.features[0], rows, which)
            return
        for j in np.unique(which[match]):
            self._count_cells(match & (which == j), kind, names[j], rows)

    def _count_cells(
        self, match: np.ndarray, kind: str, name: str, rows: np.ndarray, which: np.ndarray | None = None
    ) -> None:
        if match.any():
            i = int(np.argmax(match))
            cell = "" if which is None else f"{name}[{which[i]}] in "
            self.violations.add(name, kind, int(match.sum()), cell + self._place(rows[i]))

    def _bad_numbers(self, column: pa.Array, name: str) -> np.ndarray:
        """Which values of a numeric column are null, NaN or infinite; each kind is counted."""
        values = column.to_numpy(zero_copy_only=False)
        bad = ~np.isfinite(values)
        if bad.any():
            null = column.is_null().to_numpy(zero_copy_only=False)
            self._count(null, name, "null")
            self._count(np.isnan(values) & ~null, name, "NaN")
            self._count(np.isinf(values), name, "infinite")
        return bad

    def _bad_values(self, column: pa.Array, role: str) -> np.ndarray:
        """Which finite values of a numeric column its role forbids; they are counted."""
        kind, is_bad = FORBIDDEN[role]
        values = column.to_numpy(zero_copy_only=False)
        bad = is_bad(values) & np.isfinite(values)
        if bad.any():
            self._count(bad, self.columns.roles[role], kind, f"{values[np.argmax(bad)]:g} in ")
        return bad

    def _count(self, bad: np.ndarray, name: str, kind: str, value: str = "") -> None:
        if bad.any():
            self.violations.add(name, kind, int(bad.sum()), value + self._place(int(np.argmax(bad))))

    def _place(self, row: int) -> str:
        return f"row {self.seen + row} of partition {self.partition}"


def _only(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """The rows that are true; the column itself where all are, since a filter copies."""
    return column if rows.all() else column.filter(pa.array(rows))


def _vector_features(dense: np.ndarray, indices: pa.ListArray, values: pa.ListArray, size: int) -> Features:
    """The features of vectors of one size: dense where all vectors are, else CSR."""
    data = values.flatten().to_numpy()
    if dense.all():
        return data.reshape(len(dense), size)
    lengths = pc.list_value_length(values).to_numpy()
    columns = np.empty(len(data), np.int32)
    from_dense = np.repeat(dense, lengths)
    columns[from_dense] = np.tile(np.arange(size, dtype=np.int32), int(dense.sum()))
    columns[~from_dense] = indices.flatten().to_numpy()
    return csr_array((data, columns, np.append(0, np.cumsum(lengths))), shape=(len(dense), size))


def not_finite(X: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and value of each number that is not finite."""
    if isinstance(X, np.ndarray):
        where, which = np.nonzero(~np.isfinite(X))
        return where, which, X[where, which]
    at = np.flatnonzero(~np.isfinite(X.data))
    return np.searchsorted(X.indptr, at, side="right") - 1, X.indices[at], X.data[at]


def _filled(X: Features, fill: float | np.ndarray) -> Features:
    """The features with `fill` for each NaN; a copy, since Arrow's memory may not be written to."""
    values = X if isinstance(X, np.ndarray) else X.data
    columns = np.broadcast_to(np.arange(X.shape[1]), X.shape) if isinstance(X, np.ndarray) else X.indices
    return _with_stored(X, np.where(np.isnan(values), np.broadcast_to(fill, X.shape[1:])[columns], values))


def _with_stored(X: Features, values: np.ndarray) -> Features:
    """Features that have other values where X has values."""
    return values if isinstance(X, np.ndarray) else csr_array((values, X.indices, X.indptr), shape=X.shape)


def _block(batch: pa.RecordBatch, X: Features, rows: np.ndarray) -> Block:
    """The block of the rows of a batch whose features are X."""
    roles = [role for role in ROLES if role in batch.schema.names]
    parts = {role: batch.column(role).to_numpy(zero_copy_only=False)[rows] for role in roles}
    if "fold" in parts:
        parts["fold"] = parts["fold"].astype(np.int32)
    return Block(X, **parts)
