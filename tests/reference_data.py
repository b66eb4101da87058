"""The data of Spark's own suites: the same rows to the bit, made from what their generators are documented to draw."""

import tomllib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from java_random import JavaRandom, XorShiftRandom, draws
from problems import Rows

SEED = 42
CLASS_1 = (-0.57997, 0.912083, -0.371077, -0.819866, 2.688191)
CLASS_2 = (-0.16624, -0.84355, -0.048509, -0.301789, 4.170682)


def uniform(random: JavaRandom, means: Sequence[float], variances: Sequence[float]) -> list[float]:
    """One row of uniform features."""
    return [(random.double() - 0.5) * (12.0 * s) ** 0.5 + m for m, s in zip(means, variances, strict=True)]


def linear(
    count: int,
    intercept: float = 6.3,
    coefficients: Sequence[float] = (4.7, 7.2),
    variances: Sequence[float] = (0.7, 1.2),
) -> Rows:
    """What Spark's LinearDataGenerator makes: each row draws uniform features, then noise of deviation 0.1."""
    random = JavaRandom(SEED)
    rows = [(uniform(random, [0.9, -1.3], variances), random.gaussian()) for _ in range(count)]
    features, noise = (np.array(part) for part in zip(*rows, strict=True))
    return Rows(features, features @ coefficients + intercept + 0.1 * noise)


def with_outliers() -> Rows:
    """A tenth of the rows follow another line."""
    most, others = linear(900), linear(100, -2.1, (0.6, -1.2), (1.5, 0.8))
    return Rows(np.vstack([most.features, others.features]), np.concatenate([most.label, others.label]))


def classes(
    *weights: Sequence[float],
    count: int = 10_000,
    means: Sequence[float] = (5.843, 3.057, 3.758, 1.199),
    variances: Sequence[float] = (0.6856, 0.1899, 3.116, 0.581),
) -> Rows:
    """Normal features like those of iris, then labels by the softmax of margins: zero for class 0, else W x + b.

    The weights of the rows are the column rand(42) of a table of four partitions.
    """
    random = JavaRandom(SEED)
    X = draws(random.gaussian, count, len(means)) * np.sqrt(variances) + means
    W, b = np.array(weights)[:, :-1], np.array(weights)[:, -1]
    p = np.exp(np.column_stack([np.zeros(count), X @ W.T + b]))
    bounds = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    label = np.argmax(draws(random.double, count, 1) < bounds, axis=1).astype(float)
    weight = [draws(XorShiftRandom(SEED + partition).double, count // 4) for partition in range(4)]
    return Rows(X, label, np.concatenate(weight))


DATA: dict[str, Callable[[], Rows]] = {
    "linear": partial(linear, 10_000),
    "linear through the origin": partial(linear, 10_000, 0.0),
    "linear with outliers": with_outliers,
    "two classes": partial(classes, CLASS_1),
    "two classes, small variance": partial(
        classes, CLASS_1, means=(5.843, 3.057, 3.758, 10.199), variances=(0.6856, 0.1899, 3.116, 0.0001)
    ),
}


@cache
def made(name: str) -> Rows:
    """The rows of a recipe."""
    return DATA[name]()


def written(table: dict[str, Any]) -> Rows:
    """Rows that are written out."""
    return Rows(**{part: np.array(values, float) for part, values in table.items()})


def read(path: Path) -> list[dict[str, Any]]:
    """The cases of a file: what it says of all its cases is in each, and `rows` makes the data."""
    file = tomllib.loads(path.read_text())
    tables, cases = file.pop("data", {}), file.pop("cases")
    for case in cases:
        name = case["data"]
        case["rows"] = partial(written, tables[name]) if name in tables else partial(made, name)
    return [{**file, **case} for case in cases]
