"""Tables of text."""

import re
from collections.abc import Sequence

NUMBER = re.compile(r"-?\d+(?P<rest>(\.\d+)?(e[+-]\d+)?)")


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right.

    >>> print(align([["Feature", "Coefficient"], ["x", "2"]]))
    Feature  Coefficient
    x                  2
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def with_points_in_line(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The same cells, the numbers of a column padded so that, once to the right, their decimal points are in line.

    The first column has names, which stay as they are, and so do cells with more than a number.

    >>> print(align(with_points_in_line([["Feature", "Coefficient"], ["x", "2"], ["y", "-0.25"]])))
    Feature  Coefficient
    x               2
    y              -0.25
    """
    names, *columns = zip(*rows, strict=True)
    return [list(cells) for cells in zip(names, *map(_padded, columns), strict=True)]


def _padded(cells: Sequence[str]) -> list[str]:
    found = [NUMBER.fullmatch(cell) for cell in cells]
    rests = [len(match["rest"]) if match else 0 for match in found]
    return [
        cell + " " * (max(rests) - rest if match else 0) for cell, match, rest in zip(cells, found, rests, strict=True)
    ]
