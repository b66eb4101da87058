"""Tables of text, and text that may hold anything."""

import re
from collections.abc import Sequence

# What moves the cursor, changes a terminal, or shows text in another order than it is read.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NUMBER = re.compile(r"-?\d+(?P<rest>(\.\d+)?(e[+-]\d+)?)")


def printable(text: str, keep: str = "") -> str:
    r"""The text with its control characters, but those to `keep`, as escapes: safe to print on a terminal.

    >>> print(printable("\x1b[2Jage\n"))
    \x1b[2Jage\n
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right; control characters as escapes.

    >>> print(align([["Feature", "Coefficient"], ["x", "2"]]))
    Feature  Coefficient
    x                  2
    """
    rows = [[printable(cell) for cell in row] for row in rows]
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
