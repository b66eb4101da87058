"""The report of packing: what it found in the rows, and the two files in which a partition keeps it."""

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from sparkdml.blocks.cells import Cells
from sparkdml.blocks.contents import Content
from sparkdml.blocks.stats import MOMENTS, Statistics
from sparkdml.blocks.store import Handle, read_file
from sparkdml.blocks.violations import Violations

REPORT, REPORT_MOMENTS = "report.json", "report.moments"


@dataclass(frozen=True)
class Report:
    """Counts, bad values and statistics that packing found; merged over the partitions they decide if rows can be used.

    `sizes` has how many vectors there are of each size, and the first partition with one. `handles` are those of the
    partitions, which whoever reads the report adds.
    """

    cells: Cells | None
    violations: Violations
    rows_seen: int
    sizes: dict[int, tuple[int, int]]
    contents: tuple[Content, ...]
    handles: tuple[Handle, ...] = ()

    @property
    def statistics(self) -> Statistics | None:
        """The statistics of all rows, or None where there are none."""
        return self.cells.total if self.cells else None

    def merge(self, other: "Report") -> "Report":
        """The report of the rows of both."""
        cells = self.cells or other.cells
        sizes = dict(self.sizes)
        for size, (rows, partition) in other.sizes.items():
            seen, first = sizes.get(size, (0, partition))
            sizes[size] = (seen + rows, first)
        if self.cells and other.cells:
            alike = self.cells.columns == other.cells.columns
            cells = self.cells.merge(other.cells) if alike else self.cells
        return Report(
            cells,
            self.violations.merge(other.violations),
            self.rows_seen + other.rows_seen,
            sizes,
            self.contents + other.contents,
            self.handles + other.handles,
        )


def report_files(cells: Cells | None, violations: Violations, rows: int, sizes: dict[int, int]) -> dict[str, bytes]:
    """Return the files in which a partition keeps its report: text, and the moments of its columns as float64."""
    parts = list(cells.parts.items()) if cells else []
    text = {
        "rows": rows,
        "sizes": list(sizes.items()),
        "violations": [[*key, *found] for key, found in violations.found.items()],
        "columns": cells.columns if cells else None,
        "cells": [[*cell, _as_text(statistics)] for cell, statistics in parts],
    }
    moments = b"".join(_moments(statistics) for _, statistics in parts)
    return {REPORT: json.dumps(text).encode(), REPORT_MOMENTS: moments}


def read_report(handle: Handle) -> Report:
    """Return the report of one partition; raises `Missing` where its files are gone or damaged."""
    text, moments = json.loads(read_file(handle, REPORT)), BytesIO(read_file(handle, REPORT_MOMENTS))
    parts = {(fold, label): _from_text(part, text["columns"], moments) for fold, label, part in text["cells"]}
    cells = None if text["columns"] is None else Cells(text["columns"], parts)
    violations = Violations({(column, kind): (count, example) for column, kind, count, example in text["violations"]})
    sizes = {size: (count, handle.partition) for size, count in text["sizes"]}
    return Report(cells, violations, text["rows"], sizes, (_content(handle, cells),), (handle,))


def _content(handle: Handle, cells: Cells | None) -> Content:
    total = (cells or Cells(handle.columns, {})).total
    label_mean = float(total.mean[-1]) if total.weight else float("nan")
    return Content(handle.partition, total.count, total.weight, total.labels, label_mean, handle.nbytes)


def _as_text(statistics: Statistics) -> dict[str, Any]:
    """Return what is no moment of the columns."""
    found = {name: getattr(statistics, name) for name in ("count", "weight", "concentration", "nonzeros")}
    labels, net = statistics.labels, statistics.net
    found["ranges"] = statistics.ranges.tolist()
    found["labels"] = None if labels is None else [[label, *seen] for label, seen in labels.items()]
    if net is None:
        return {**found, "net": None}
    return {**found, "net": _as_text(net), "offsets": statistics.offsets.tolist()}


def _moments(statistics: Statistics) -> bytes:
    moments = np.array([getattr(statistics, name) for name in MOMENTS], "<f8").tobytes()
    return moments + (b"" if statistics.net is None else _moments(statistics.net))


def _from_text(text: dict[str, Any], columns: int, moments: BinaryIO) -> Statistics:
    """Return the statistics of so many columns, whose moments are next in a file."""
    numbers = np.frombuffer(moments.read(8 * len(MOMENTS) * (columns + 1)), "<f8").reshape(len(MOMENTS), -1)
    found = dict(zip(MOMENTS, numbers, strict=True))
    found["vast"] = found["vast"].astype(int)
    labels = None if text["labels"] is None else {label: (count, weight) for label, count, weight in text["labels"]}
    net = None if text["net"] is None else _from_text(text["net"], 0, moments)
    found |= {name: np.array(text[name]) for name in ("ranges", "offsets") if name in text}
    return Statistics(**{**text, **found, "labels": labels, "net": net})
