"""From a caller's arrays to a block, with the checks that packing makes of the columns of a DataFrame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from sparkdml.blocks.block import Block, Features
from sparkdml.blocks.decode import FORBIDDEN, not_finite
from sparkdml.blocks.violations import Violations
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
    for role, part in parts.items():
        if len(part) != X.shape[0]:
            raise DataError(
                f"the {role} has {len(part):,} rows but the features have {X.shape[0]:,}: give each its own."
            )
    violations = Violations()
    for role, part in parts.items():
        _count_column(violations, role, part)
    _count_features(violations, X, names)
    if violations:
        raise DataError(violations.sentence(of_arrays=True))
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


def _count_column(violations: Violations, role: str, part: np.ndarray) -> None:
    """Count the bad values of a role."""
    _count_not_finite(violations, role, part, np.arange(len(part)))
    if role in FORBIDDEN:
        kind, is_bad = FORBIDDEN[role]
        bad = np.flatnonzero(is_bad(part) & np.isfinite(part))
        if len(bad):
            violations.add(role, kind, len(bad), f"{part[bad[0]]:g} in row {bad[0]}")


def _count_features(violations: Violations, X: Features, names: Sequence[str]) -> None:
    """Count the values that are not finite of each feature."""
    if np.isfinite(X if isinstance(X, np.ndarray) else X.data).all():
        return
    where, which, values = not_finite(X)
    for j in np.unique(which):
        _count_not_finite(violations, names[j], values[which == j], where[which == j])


def _count_not_finite(violations: Violations, name: str, values: np.ndarray, rows: np.ndarray) -> None:
    for kind, bad in (("NaN", np.isnan(values)), ("infinite", np.isinf(values))):
        if bad.any():
            violations.add(name, kind, int(bad.sum()), f"row {rows[np.argmax(bad)]}")
