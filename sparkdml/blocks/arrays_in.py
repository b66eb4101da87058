"""From a caller's arrays to a block, with the checks that packing makes of the columns of a DataFrame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from sparkdml.blocks.block import Block, Features
from sparkdml.blocks.decode import FORBIDDEN, not_finite
from sparkdml.blocks.violations import ADVICE
from sparkdml.errors import ColumnError, ColumnTypeError, DataError


def checked_block(features: Any, names: Sequence[str], roles: dict[str, Any]) -> Block:
    """The block of features (n, d), with names (d,), and of label, weight, offset and fold (n,); None is left out.

    Raises
    ------
    ColumnTypeError : an array is not one of numbers, or has another number of axes.
    ColumnError : a feature has no name, or that of another one.
    DataError : arrays differ in length, there are no rows, or a value is one that packing would refuse.
    """
    X = _numbers("features", features, axes=2)
    parts = {role: _numbers(role, array, axes=1) for role, array in roles.items() if array is not None}
    if not X.shape[0]:
        raise DataError("there are no rows: give at least one.")
    if len(names) != X.shape[1] or len(set(names)) != len(names):
        raise ColumnError(f"{len(set(names))} different feature names for {X.shape[1]} columns: give each its own.")
    _check_features(X, names)
    for role, part in parts.items():
        if len(part) != X.shape[0]:
            raise DataError(
                f"the {role} has {len(part):,} rows but the features have {X.shape[0]:,}: give each its own."
            )
        _check(f"the {role}", "not finite", ~np.isfinite(part), part, "fill or drop them")
        if role in FORBIDDEN:
            kind, is_bad = FORBIDDEN[role]
            _check(f"the {role}", kind, is_bad(part), part, ADVICE[kind])
    if "fold" in parts:
        parts["fold"] = parts["fold"].astype(np.int32)
    return Block(X, **parts)


def _numbers(what: str, array: Any, axes: int) -> Any:
    """The array as float64, row-major or CSR."""
    given = array if issparse(array) else np.asarray(array)
    if given.dtype.kind not in "biuf" or given.ndim != axes:
        raise ColumnTypeError(
            f"the {what} must be an array of numbers with {axes} axes, not one of {given.dtype} with {given.ndim}."
        )
    if not issparse(given):
        return np.ascontiguousarray(given, float)
    rows = csr_array(given, dtype=float)
    if not rows.has_canonical_format:  # a place that is stored twice holds the sum
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def _check_features(X: Features, names: Sequence[str]) -> None:
    if np.isfinite(X if isinstance(X, np.ndarray) else X.data).all():
        return
    where, which, values = not_finite(X)
    j = which[0]
    bad = np.zeros(X.shape[0], bool)
    bad[where[which == j]] = True
    column = np.zeros(X.shape[0])
    column[where[which == j]] = values[which == j]
    _check(f"column {names[j]!r}", "not finite", bad, column, "fill or drop them")


def _check(what: str, kind: str, bad: np.ndarray, values: np.ndarray, advice: str) -> None:
    """Raise `DataError` where a value is bad."""
    if bad.any():
        i, count = int(np.argmax(bad)), int(bad.sum())
        raise DataError(f"{what} has {count:,} bad values ({kind}, first {values[i]:g} in row {i}): {advice}.")
