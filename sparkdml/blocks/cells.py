"""Statistics of the rows of each fold and class, so that those of some of them, or weighted anew, need no pass."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from sparkdml.blocks.block import Block
from sparkdml.blocks.stats import Statistics

Cell: TypeAlias = tuple[int | None, float | None]  # fold and label; None where they are not kept apart

NO_FOLD = -1  # of rows without a fold
MAX_CELLS = 32  # ten folds of three classes
MAX_NUMBERS = 1 << 20  # columns times cells: the statistics of a partition take some 40 MB, or those of all its rows


@dataclass(frozen=True, eq=False)
class Cells:
    """The statistics of rows, apart by fold and class; by fold alone, or not at all, where these would be too many.

    How far they are kept apart follows from the rows alone, not from how they are cut or merged.

    Attributes
    ----------
    columns : d, how many features.
    parts : the statistics of each cell, (fold, label), that has rows. A label is None where classes are not kept
        apart, a fold is None where folds are not either, and -1 of rows without a fold.

    >>> block = Block(np.array([[1.0], [2.0], [6.0]]), np.array([0.0, 1.0, 1.0]))
    >>> cells = Cells.of(block)
    >>> list(cells.parts), cells.weighted({1.0: 3.0}).total.mean
    ([(-1, 0.0), (-1, 1.0)], array([3.57142857, 0.85714286]))
    """

    columns: int
    parts: dict[Cell, Statistics]

    @classmethod
    def of(cls, block: Block) -> "Cells":
        """The cells of one block."""
        found = _rows_of_cells(block, _most(block.columns)).items()
        parts = {cell: block if rows.all() else block[np.flatnonzero(rows)] for cell, rows in found}
        return cls(block.columns, {cell: Statistics.of(part) for cell, part in parts.items()})

    @property
    def total(self) -> Statistics:
        """The statistics of all rows."""
        parts = (self.parts[cell] for cell in sorted(self.parts))
        return reduce(Statistics.merge, parts, Statistics.empty(self.columns))

    def merge(self, other: "Cells") -> "Cells":
        """The cells of the rows of both."""
        coarse = max(self._coarseness, other._coarseness)
        merged = self
        for keep in COARSER[coarse:]:
            merged = Cells(self.columns, _merged([*self._renamed(keep), *other._renamed(keep)]))
            if len(merged.parts) <= _most(self.columns):
                break
        return merged

    def tell(self, fold: int, by_class: bool) -> bool:
        """Whether a fold, unless it is -1, is kept apart from the others, and classes if they are asked for.

        `inside`, `outside` and `weighted` are for what is kept apart.
        """
        return self._coarseness == 0 or not (by_class or (fold >= 0 and self._coarseness > 1))

    def inside(self, fold: int) -> "Cells":
        """The cells of the rows of a fold; of none for -1."""
        return self._where(fold, inside=True) if fold >= 0 else Cells(self.columns, {})

    def outside(self, fold: int) -> "Cells":
        """The cells of the rows that are not of a fold; all for -1."""
        return self._where(fold, inside=False) if fold >= 0 else self

    def weighted(self, class_weights: Mapping[float, float]) -> "Cells":
        """The cells of rows whose weights are multiplied by those of their classes; others keep theirs."""
        factors = {cell: class_weights.get(cell[1], 1.0) for cell in self.parts}  # type: ignore[arg-type]
        return Cells(self.columns, {cell: part.scaled(factors[cell]) for cell, part in self.parts.items()})

    def _where(self, fold: int, inside: bool) -> "Cells":
        return Cells(self.columns, {cell: part for cell, part in self.parts.items() if (cell[0] == fold) == inside})

    @property
    def _coarseness(self) -> int:
        """How little is kept apart: the place in `COARSER`."""
        return max(((label is None) + (fold is None) for fold, label in self.parts), default=0)

    def _renamed(self, keep: Callable[[Cell], Cell]) -> Iterator[tuple[Cell, Statistics]]:
        return ((keep(cell), part) for cell, part in self.parts.items())


COARSER: tuple[Callable[[Cell], Cell], ...] = (lambda cell: cell, lambda cell: (cell[0], None), lambda _: (None, None))


def _most(columns: int) -> int:
    """How many cells are kept apart.

    The driver takes those of several partitions at once, and its JVM holds each several times while it does: three
    classes of a million columns were more than a heap of 1 GB.
    """
    return min(MAX_CELLS, max(1, MAX_NUMBERS // (columns + 1)))


def _merged(parts: list[tuple[Cell, Statistics]]) -> dict[Cell, Statistics]:
    found: dict[Cell, Statistics] = {}
    for cell, part in parts:
        found[cell] = found[cell].merge(part) if cell in found else part
    return found


def _rows_of_cells(block: Block, most: int) -> dict[Cell, np.ndarray]:
    """Which rows are in each cell, (rows,) of bool."""
    every = np.ones(block.rows, bool)
    by_fold = {NO_FOLD: every} if block.fold is None else _rows_by_value(block.fold, most)
    by_label = _rows_by_value(block.label, most)
    if by_fold is None:
        return {(None, None): every}
    if by_label is not None:
        pairs = {(fold, label): a & b for fold, a in by_fold.items() for label, b in by_label.items()}
        found = {cell: rows for cell, rows in pairs.items() if rows.any()}
        if len(found) <= most:
            return found
    return {(fold, None): rows for fold, rows in by_fold.items()}


def _rows_by_value(column: np.ndarray, most: int) -> dict[Any, np.ndarray] | None:
    """Which rows have each value, or None where there are more than `most` values; the first rows often tell all."""
    for part in (column[: 4 * most], column):
        values = np.unique(part).tolist()
        if len(values) > most:
            return None
        found = {value: column == value for value in values}
        if sum(np.count_nonzero(rows) for rows in found.values()) == len(column):
            break
    return found
