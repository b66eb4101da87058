"""The data sets: Parquet files of one seed, the arrays of them, and the one function that judges every contestant."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.linalg import VectorUDT
from pyspark.sql.types import DoubleType, StructField, StructType
from scipy.sparse import csr_array, vstack
from scipy.special import expit

FILE_ROWS, GROUP_ROWS = 250_000, 50_000
SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"


@dataclass(frozen=True)
class Shape:
    """A problem: minimize mean loss + regParam / 2 ||w||^2 over w (d,) and an intercept, which is not penalized.

    Attributes
    ----------
    rows, columns : how many.
    nonzeros : of a row, whose values are all one; 0 for dense rows of correlated normal columns of variance one.
    levels : of each categorical column that the ones of a row stand for; empty for hashed ones.
    unit : whether dense rows have length one.
    logistic : whether the label is a class, else a number.
    """

    name: str
    rows: int
    columns: int
    regParam: float
    nonzeros: int = 0
    levels: tuple[int, ...] = ()
    unit: bool = False
    logistic: bool = True

    @property
    def sparse(self) -> bool:
        """Whether rows are stored by their non-zeros."""
        return self.nonzeros > 0

    @property
    def numbers(self) -> int:
        """Stored numbers of all rows."""
        return self.rows * (self.nonzeros or self.columns)

    @property
    def nbytes(self) -> int:
        """What one pass reads: float64 values, and of sparse rows their int32 places."""
        return self.numbers * (12 if self.sparse else 8)

    @property
    def data_columns(self) -> list[str]:
        """The columns of the features in the files."""
        return ["features"] if self.sparse or self.columns > 1000 else [f"x{j}" for j in range(self.columns)]

    @cached_property
    def truth(self) -> np.ndarray:
        """The coefficients behind the labels, (d,)."""
        w = np.random.default_rng(7).normal(size=self.columns)
        if self.sparse:
            return w / np.sqrt(self.nonzeros)
        return w * 10.0 if self.unit else w / np.sqrt(self.columns)

    def part(self, number: int) -> tuple[np.ndarray | csr_array, np.ndarray]:
        """Features and labels of one file."""
        n = min(FILE_ROWS, self.rows - number * FILE_ROWS)
        rng = np.random.default_rng([11, number])
        X = self._ones(n, rng) if self.sparse else self._normal(n, rng)
        z = X @ self.truth
        if self.logistic:
            return X, (rng.random(n) < expit(2.0 * z)).astype(float)
        return X, z + rng.normal(size=n)

    def _normal(self, n: int, rng: np.random.Generator) -> np.ndarray:
        common = rng.normal(size=(n, 1))
        X = np.sqrt(0.7) * rng.normal(size=(n, self.columns)) + np.sqrt(0.3) * common
        return X / np.linalg.norm(X, axis=1, keepdims=True) if self.unit else X

    def _ones(self, n: int, rng: np.random.Generator) -> csr_array:
        """A level of each column, frequent ones first; hashed levels share the columns, as hashing has them do."""
        if self.levels:
            starts = np.cumsum((0, *self.levels[:-1]))
            drawn = [
                start + (count ** rng.random(n)).astype(np.int64) - 1
                for start, count in zip(starts, self.levels, strict=True)
            ]
        else:
            raw = (50_000 ** rng.random((self.nonzeros, n))).astype(np.int64)
            drawn = list((raw + 1_000_003 * np.arange(self.nonzeros)[:, None]) * 2_654_435_761 % self.columns)
        places = np.sort(np.column_stack(drawn), axis=1)
        twice = np.concatenate([np.zeros((n, 1), bool), places[:, 1:] == places[:, :-1]], axis=1)
        counts = self.nonzeros - twice.sum(axis=1)
        indices = places[~twice].astype(np.int32)
        return csr_array((np.ones(len(indices)), indices, np.append(0, np.cumsum(counts))), shape=(n, self.columns))

    def write(self, directory: Path) -> Path:
        """The table as Parquet files; those that are there already are left."""
        path = directory / f"{self.name}-{self.rows}"
        if (path / "_SUCCESS").exists():
            return path
        path.mkdir(parents=True, exist_ok=True)
        for number in range(-(-self.rows // FILE_ROWS)):
            X, y = self.part(number)
            table = self._table(X, y)
            pq.write_table(table, path / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS, compression="snappy")
        (path / "_SUCCESS").touch()
        return path

    def _table(self, X: np.ndarray | csr_array, y: np.ndarray) -> pa.Table:
        if self.sparse:
            return _vectors(X, y)
        if self.data_columns == ["features"]:
            flat = pa.array(np.ascontiguousarray(X).ravel())
            lists = pa.ListArray.from_arrays(np.arange(0, X.size + 1, X.shape[1], dtype=np.int32), flat)
            return pa.table({"label": y, "features": lists})
        return pa.table({"label": y} | {f"x{j}": np.ascontiguousarray(X[:, j]) for j in range(X.shape[1])})

    def arrays(self, path: Path) -> tuple[np.ndarray | csr_array, np.ndarray]:
        """All features and labels, read from the files."""
        parts = [self._read(file) for file in sorted(path.glob("*.parquet"))]
        stack = vstack if self.sparse else np.concatenate
        return stack([X for X, _ in parts]), np.concatenate([y for _, y in parts])

    def _read(self, file: Path) -> tuple[np.ndarray | csr_array, np.ndarray]:
        table = pq.read_table(file).combine_chunks()
        y = table["label"].to_numpy()
        if self.data_columns != ["features"]:
            return np.column_stack([table[name].to_numpy() for name in self.data_columns]), y
        column = table["features"].chunk(0)
        if not self.sparse:
            return column.flatten().to_numpy().reshape(len(y), -1), y
        places, values = column.field("indices"), column.field("values")
        parts = values.flatten().to_numpy(), places.flatten().to_numpy(), places.offsets.to_numpy()
        return csr_array(parts, shape=(len(y), self.columns)), y

    def objective(self, X: np.ndarray | csr_array, y: np.ndarray, w: np.ndarray, b: float) -> float:
        """F(w, b), by NumPy: the judge of all."""
        z = X @ w + b
        losses = np.logaddexp(0.0, z) - y * z if self.logistic else np.square(z - y) / 2.0
        return float(losses.mean() + self.regParam / 2.0 * (w @ w))


def _vectors(X: csr_array, y: np.ndarray) -> pa.Table:
    """A table with a column of sparse vectors, as Spark writes it."""
    n = X.shape[0]
    offsets = X.indptr.astype(np.int32)
    column = pa.StructArray.from_arrays(
        [
            pa.array(np.zeros(n, np.int8)),
            pa.array(np.full(n, X.shape[1], np.int32)),
            pa.ListArray.from_arrays(offsets, pa.array(X.indices.astype(np.int32))),
            pa.ListArray.from_arrays(offsets, pa.array(X.data)),
        ],
        names=["type", "size", "indices", "values"],
    )
    schema = StructType([StructField("label", DoubleType()), StructField("features", VectorUDT())])
    table = pa.table({"label": y, "features": column})
    return table.replace_schema_metadata({SPARK_SCHEMA: json.dumps(schema.jsonValue())})


AIRLINE = (12, 31, 7, 24, 20, 300, 300, 306)

FULL = {
    shape.name: shape
    for shape in (
        Shape("dense", 1_000_000, 100, 1e-5),
        Shape("tall", 4_000_000, 50, 1e-5),
        Shape("epsilon", 100_000, 2_000, 1e-5, unit=True),
        Shape("airline", 1_000_000, 1_000, 1e-5, nonzeros=8, levels=AIRLINE),
        Shape("criteo", 2_000_000, 262_144, 1e-5, nonzeros=39),
        Shape("linear", 500_000, 500, 1e-5, logistic=False),
    )
}
QUICK = {
    shape.name: shape
    for shape in (
        Shape("dense", 100_000, 50, 1e-5),
        Shape("airline", 100_000, 1_000, 1e-5, nonzeros=8, levels=AIRLINE),
        Shape("linear", 50_000, 100, 1e-5, logistic=False),
    )
}
