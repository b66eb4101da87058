"""The rows, made on the executors: a batch at a time, from random numbers keyed by (seed, partition, batch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sparkdml.datasets.recipe import LABEL, VECTOR, Recipe, partition_rows, row_bytes
from sparkdml.datasets.signal import ROWS, Signal, drift_of, generator_of, logistic, nonzeros

BATCH_BYTES = 1 << 23
BATCH_ROWS = 1 << 16


def make_partitions(recipe: Recipe, intercept: float, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of the partitions whose numbers come in: the function of `mapInArrow`."""
    source = Source(recipe, Signal.of(recipe), intercept)
    for batch in batches:
        for partition in batch.column(0).to_pylist():
            yield from source.partition(partition)


@dataclass(frozen=True)
class Source:
    """Makes rows. Features are (d, n) arrays, or what is not zero of them: row numbers, columns and values."""

    recipe: Recipe
    signal: Signal
    intercept: float

    def partition(self, number: int) -> Iterator[pa.RecordBatch]:
        """The rows of a partition, in batches."""
        rows = int(partition_rows(self.recipe)[number])
        size = int(np.clip(BATCH_BYTES // row_bytes(self.recipe), 1, BATCH_ROWS))
        for batch, start in enumerate(range(0, rows, size)):
            yield self.batch(number, batch, min(size, rows - start))

    def batch(self, partition: int, number: int, rows: int) -> pa.RecordBatch:
        """One batch: rows that differ, and copies of them among them."""
        recipe = self.recipe
        generator = generator_of(recipe.seed, ROWS, partition, number)
        n = max(1, rows - generator.binomial(rows, recipe.duplicates))
        make = self._all_cells if recipe.density == 1 else self._some_cells
        features, margins = make(generator, n, drift_of(recipe, partition))
        columns = [*features, pa.array(self._labels(generator, margins + self.intercept))]
        names = [VECTOR] if recipe.layout == "vector" else recipe.feature_names
        batch = pa.RecordBatch.from_arrays(columns, names=[*names, LABEL])
        if n == rows:
            return batch
        source = np.concatenate([np.arange(n), generator.integers(0, n, rows - n)])
        return batch.take(pa.array(generator.permutation(source)))

    def _all_cells(self, generator: np.random.Generator, n: int, drift: float) -> tuple[list[pa.Array], np.ndarray]:
        """The features of n rows without zeros, and x.w."""
        signal, correlation = self.signal, self.recipe.correlation
        common = np.sqrt(correlation) * generator.standard_normal(n)
        X = generator.standard_normal((self.recipe.features, n))
        X *= np.sqrt(1 - correlation)
        X += common
        X += (drift * signal.signs)[:, None]
        margins = (X * signal.effects[:, None]).sum(axis=0)
        X *= signal.scales[:, None]
        return self._dense(generator, X), margins

    def _some_cells(self, generator: np.random.Generator, n: int, drift: float) -> tuple[list[pa.Array], np.ndarray]:
        """The features of n rows, most of them perhaps zero, and x.w."""
        recipe, signal = self.recipe, self.signal
        common = np.sqrt(recipe.correlation) * generator.standard_normal(n)
        rows, columns = nonzeros(generator, n, recipe.features, recipe.density)
        values = generator.standard_normal(len(rows))
        values *= np.sqrt(1 - recipe.correlation)
        values += common[rows]
        values += drift * signal.signs[columns]
        margins = np.bincount(rows, values * signal.effects[columns], n)
        values *= signal.scales[columns]
        if recipe.is_sparse:
            starts = np.searchsorted(rows, np.arange(n + 1))
            return [_vectors(starts, values, columns, recipe.features)], margins
        X = np.zeros((recipe.features, n))
        X[columns, rows] = values
        return self._dense(generator, X), margins

    def _dense(self, generator: np.random.Generator, X: np.ndarray) -> list[pa.Array]:
        """The columns of dense features."""
        d, n = X.shape
        if self.recipe.layout == "vector":
            return [_vectors(d * np.arange(n + 1), X.T.ravel())]
        if self.recipe.missing == 0:
            return [pa.array(column) for column in X]
        return [pa.array(column, mask=generator.random(n) < self.recipe.missing) for column in X]

    def _labels(self, generator: np.random.Generator, margins: np.ndarray) -> np.ndarray:
        noise = self.recipe.noise
        if self.recipe.kind == "regression":
            return margins + noise * generator.standard_normal(len(margins))
        positive = generator.random(len(margins)) < logistic(margins)
        return (positive ^ (generator.random(len(margins)) < noise)).astype(np.float64)


def _vectors(starts: np.ndarray, values: np.ndarray, columns: np.ndarray | None = None, size: int = 0) -> pa.Array:
    """Vectors as Spark has them in Arrow: row i has values[starts[i]:starts[i + 1]]; dense ones without `columns`."""
    n = len(starts) - 1
    places = pa.array(starts, pa.int32())
    numbers = pa.ListArray.from_arrays(places, pa.array(values))
    if columns is None:
        kinds, sizes, indices = np.ones(n), pa.nulls(n, pa.int32()), pa.nulls(n, pa.list_(pa.int32()))
    else:
        kinds, sizes = np.zeros(n), pa.array(np.full(n, size), pa.int32())
        indices = pa.ListArray.from_arrays(places, pa.array(columns, pa.int32()))
    arrays = [pa.array(kinds.astype(np.int8)), sizes, indices, numbers]
    return pa.StructArray.from_arrays(arrays, names=["type", "size", "indices", "values"])
