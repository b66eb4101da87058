"""The data of Spark's own suites: the same rows to the bit, made from what their generators are documented to draw."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from java_random import JavaRandom, XorShiftRandom, draws
from problems import Rows
from pyspark.sql import SparkSession

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


def signs(count: int = 10_000, coefficients: Sequence[float] = (1.0, 2.0, 3.0, 4.0), intercept: float = 1.0) -> Rows:
    """Uniform features in [-1, 1], and as label the sign of a margin with noise of deviation 0.01."""
    random = JavaRandom(SEED)
    X = draws(random.double, count, len(coefficients)) * 2.0 - 1.0
    return Rows(X, (X @ coefficients + intercept + 0.01 * draws(random.gaussian, count) > 0.0).astype(float))


def generalized(
    noise: str, inverse_link: Callable[[np.ndarray], np.ndarray], intercept: float, *coefficients: float
) -> Rows:
    """Uniform features, and labels that are off their means by 0.01 of what a generator of Spark draws."""
    random = JavaRandom(SEED)
    X = np.array([uniform(random, (2.9, 10.5), (0.7, 1.2)) for _ in range(10_000)])
    return Rows(X, inverse_link(X @ coefficients + intercept) + 0.01 * generated(noise))


@cache
def generated(noise: str) -> np.ndarray:
    """10,000 standard normal numbers, or Poisson or gamma ones of mean one less that mean."""
    if noise == "gaussian":
        return draws(XorShiftRandom(SEED).gaussian, 10_000)
    generators = SparkSession.active()._jvm.org.apache.spark.mllib.random
    generator = generators.PoissonGenerator(1.0) if noise == "poisson" else generators.GammaGenerator(1.0, 1.0)
    generator.setSeed(SEED)
    return draws(generator.nextValue, 10_000) - 1.0


STEEP, FLAT = (2.5, 2.2, 0.6), (0.25, 0.22, 0.06)  # intercept and coefficients; the flat ones are for the link log
DATA: dict[str, Callable[[], Rows]] = {
    "gaussian, identity": partial(generalized, "gaussian", np.positive, *STEEP),
    "gaussian, log": partial(generalized, "gaussian", np.exp, *FLAT),
    "gaussian, inverse": partial(generalized, "gaussian", np.reciprocal, *STEEP),
    "poisson, log": partial(generalized, "poisson", np.exp, *FLAT),
    "poisson, identity": partial(generalized, "poisson", np.positive, *STEEP),
    "poisson, sqrt": partial(generalized, "poisson", np.square, *STEEP),
    "gamma, inverse": partial(generalized, "gamma", np.reciprocal, *STEEP),
    "gamma, identity": partial(generalized, "gamma", np.positive, *STEEP),
    "gamma, log": partial(generalized, "gamma", np.exp, *FLAT),
    "two classes, unweighted": lambda: replace(made("two classes"), weight=None),
    "three classes": partial(classes, CLASS_1, CLASS_2),
    "three classes, zero variance": lambda: replace(
        classes(CLASS_1[:3], CLASS_2[:3], count=100, means=(5.843, 3.0), variances=(0.6856, 0.0)), weight=None
    ),
    "three classes, small variance": partial(
        classes,
        CLASS_1,
        CLASS_2,
        count=50_000,
        means=(5.843, 3.057, 3.758, 10.199),
        variances=(0.6856, 0.1899, 3.116, 0.001),
    ),
    "separable": signs,
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
    tables = file.pop("data", {}) if isinstance(file.get("data"), dict) else {}
    cases = [{**file, **case} for case in file.pop("cases")]
    for case in cases:
        name = case["data"]
        case["rows"] = partial(written, tables[name]) if name in tables else partial(made, name)
    return cases
