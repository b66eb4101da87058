"""The tables of the shapes: Parquet files of one seed, their arrays, and the function that judges every contestant."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.linalg import VectorUDT
from pyspark.sql.types import DoubleType, StructField, StructType
from scipy.sparse import csr_array, vstack
from scipy.special import expit

from peers.shapes import Shape

FILE_ROWS, GROUP_ROWS = 250_000, 50_000
SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"


def write(shape: Shape, directory: Path) -> Path:
    """The table as Parquet files; those that are there already are left."""
    path = directory / f"{shape.name}-{shape.rows}"
    if (path / "_SUCCESS").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    for number in range(-(-shape.rows // FILE_ROWS)):
        table = _table(shape, *_part(shape, number))
        pq.write_table(table, path / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS, compression="snappy")
    (path / "_SUCCESS").touch()
    return path


def arrays(shape: Shape, path: Path) -> tuple[np.ndarray | csr_array, np.ndarray]:
    """All features and labels, read from the files."""
    parts = [_read(shape, file) for file in sorted(path.glob("*.parquet"))]
    stack = vstack if shape.sparse else np.concatenate
    return stack([X for X, _ in parts]), np.concatenate([y for _, y in parts])


def objective(shape: Shape, X: np.ndarray | csr_array, y: np.ndarray, w: np.ndarray, b: float) -> float:
    """F(w, b), by NumPy: the judge of all."""
    z = X @ w + b
    losses = np.logaddexp(0.0, z) - y * z if shape.logistic else np.square(z - y) / 2.0
    return float(losses.mean() + shape.regParam / 2.0 * (w @ w))


@cache
def _truth(shape: Shape) -> np.ndarray:
    """The coefficients behind the labels, (d,)."""
    w = np.random.default_rng(7).normal(size=shape.columns)
    if shape.sparse:
        return w / np.sqrt(shape.nonzeros)
    return w * 10.0 if shape.unit else w / np.sqrt(shape.columns)


def _part(shape: Shape, number: int) -> tuple[np.ndarray | csr_array, np.ndarray]:
    """Features and labels of one file."""
    n = min(FILE_ROWS, shape.rows - number * FILE_ROWS)
    rng = np.random.default_rng([11, number])
    X = _ones(shape, n, rng) if shape.sparse else _normal(shape, n, rng)
    z = X @ _truth(shape)
    if shape.logistic:
        return X, (rng.random(n) < expit(2.0 * z)).astype(float)
    return X, z + rng.normal(size=n)


def _normal(shape: Shape, n: int, rng: np.random.Generator) -> np.ndarray:
    common = rng.normal(size=(n, 1))
    X = np.sqrt(0.7) * rng.normal(size=(n, shape.columns)) + np.sqrt(0.3) * common
    return X / np.linalg.norm(X, axis=1, keepdims=True) if shape.unit else X


def _ones(shape: Shape, n: int, rng: np.random.Generator) -> csr_array:
    """A level of each column, frequent ones first; hashed levels share the columns, as hashing has them do."""
    if shape.levels:
        starts = np.cumsum((0, *shape.levels[:-1]))
        drawn = [
            start + (count ** rng.random(n)).astype(np.int64) - 1
            for start, count in zip(starts, shape.levels, strict=True)
        ]
    else:
        raw = (50_000 ** rng.random((shape.nonzeros, n))).astype(np.int64)
        drawn = list((raw + 1_000_003 * np.arange(shape.nonzeros)[:, None]) * 2_654_435_761 % shape.columns)
    places = np.sort(np.column_stack(drawn), axis=1)
    twice = np.concatenate([np.zeros((n, 1), bool), places[:, 1:] == places[:, :-1]], axis=1)
    counts = shape.nonzeros - twice.sum(axis=1)
    indices = places[~twice].astype(np.int32)
    return csr_array((np.ones(len(indices)), indices, np.append(0, np.cumsum(counts))), shape=(n, shape.columns))


def _table(shape: Shape, X: np.ndarray | csr_array, y: np.ndarray) -> pa.Table:
    if shape.sparse:
        return _vectors(X, y)
    if shape.data_columns == ["features"]:
        flat = pa.array(np.ascontiguousarray(X).ravel())
        lists = pa.ListArray.from_arrays(np.arange(0, X.size + 1, X.shape[1], dtype=np.int32), flat)
        return pa.table({"label": y, "features": lists})
    return pa.table({"label": y} | {f"x{j}": np.ascontiguousarray(X[:, j]) for j in range(X.shape[1])})


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


def _read(shape: Shape, file: Path) -> tuple[np.ndarray | csr_array, np.ndarray]:
    table = pq.read_table(file).combine_chunks()
    y = table["label"].to_numpy()
    if shape.data_columns != ["features"]:
        return np.column_stack([table[name].to_numpy() for name in shape.data_columns]), y
    column = table["features"].chunk(0)
    if not shape.sparse:
        return column.flatten().to_numpy().reshape(len(y), -1), y
    places, values = column.field("indices"), column.field("values")
    parts = values.flatten().to_numpy(), places.flatten().to_numpy(), places.offsets.to_numpy()
    return csr_array(parts, shape=(len(y), shape.columns)), y
