"""The law of the two routes: whatever a table is like, tasks that read its files and Spark come to the same end.

A table is one entry of `ROUTES`: how it is made, who reads it, and what comes of it.
"""

import datetime
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from sparkdml import pack
from sparkdml.engine import spark_data
from sparkdml.errors import (
    ColumnError,
    ColumnTypeError,
    DataError,
    InputMissingError,
    SparkdmlError,
    UnreadableFileError,
)
from sparkdml.jobkit.failures import exit_code, sentence
from sparkdml.regression import LinearRegression, LinearRegressionModel

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

FILES, SPARK = "by tasks", "by Spark"  # who begins to read the rows
FROM_ELSEWHERE = Path(__file__).with_name("parquet")
N = 40
K = np.arange(N)
x, y = np.sin(K), np.cos(3 * K)
NAN, INF = float("nan"), float("inf")
Reader = Callable[[SparkSession, Path], DataFrame]


def columns(**parts: Any) -> pa.Table:
    return pa.table({"label": y, **parts})


def listed(spark: SparkSession, directory: Path) -> DataFrame:
    """The table with the schema that Spark infers, unless it is that of most: to infer it takes a job."""
    given = [pq.read_schema(path) for path in sorted(directory.glob("[0-9].parquet"))[:1]]
    usual = [schema.names for schema in given if schema.equals(GOOD.schema)]
    reader = spark.read.schema("label double, x double") if usual else spark.read
    return reader.parquet(str(directory))


def given(schema: str) -> Reader:
    return lambda spark, directory: spark.read.schema(schema).parquet(str(directory))


def option(**options: str) -> Reader:
    return lambda spark, directory: spark.read.options(**options).parquet(str(directory))


@dataclass(frozen=True)
class Table:
    """A table, and what is to come of a pack of it.

    Attributes
    ----------
    files : the tables that are written, or what writes files into a directory.
    readers : who is asked for the rows, one after the other; nobody where the schema says enough.
    expected : the features, (n, d); or the class of the error, its exit code and a part of its sentence.
    columns : the arguments of `pack`.
    read : what makes the DataFrame.
    meanwhile : what happens in the directory once the reading is planned.
    written : how pyarrow writes the files.
    conf : settings of Spark.
    """

    files: list[pa.Table] | Callable[[Path], Any]
    readers: list[str]
    expected: Any
    columns: dict[str, Any] = field(default_factory=lambda: {"featuresCols": ["x"]})
    read: Reader = listed
    meanwhile: Callable[[Path], Any] | None = None
    written: dict[str, Any] = field(default_factory=dict)
    conf: dict[str, str] = field(default_factory=dict)

    def make(self, spark: SparkSession, directory: Path) -> DataFrame:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        if callable(self.files):
            self.files(directory)
        else:
            for k, table in enumerate(self.files):
                pq.write_table(table, directory / f"{k}.parquet", **self.written)
        return self.read(spark, directory)


# What the files are like.

WHOLE: dict[str, pa.Array] = {
    "tinyint": pa.array(K - 20, pa.int8()),
    "smallint": pa.array(K * 1000 - 9000, pa.int16()),
    "int": pa.array(K * 50_000_000 - 2**31 + 1, pa.int32()),
    "bigint": pa.array([-(2**63), 2**63 - 1, 2**53 + 1, *(-(2**53) - K[3:] * 2 - 1).tolist()], pa.int64()),
}
NUMBERS = {**WHOLE, "float": pa.array(x, pa.float32()), "double": pa.array(x * 1e-300), "boolean": pa.array(K % 3 == 0)}
UNSIGNED = {f"uint{bits}": pa.array([2**bits - 1 - int(i) for i in K], f"uint{bits}") for bits in (8, 16, 32, 64)}
DECIMALS = {
    "small": pa.array([Decimal(int(i) - 20) / 4 for i in K], pa.decimal128(5, 2)),
    "large": pa.array([Decimal(-int(i)) * 10**17 + Decimal("0.125") for i in K], pa.decimal128(38, 18)),
}


def doubles(parts: dict[str, pa.Array]) -> np.ndarray:
    return np.column_stack([np.array([float(value) for value in part.to_pylist()]) for part in parts.values()])


def all_of(parts: dict[str, pa.Array], readers: list[str], **more: Any) -> Table:
    """A table whose columns are all features."""
    return Table([columns(**parts)], readers, doubles(parts), {"featuresCols": list(parts)}, **more)


def vectors(spark: SparkSession, directory: Path) -> DataFrame:
    made = [
        Vectors.dense(1.0, 2.0 + i, 0.5) if i % 3 else Vectors.sparse(3, [0, 2], [float(i), -1.0]) for i in range(N)
    ]
    schema = StructType().add("x", VectorUDT()).add("label", "double")
    rows = spark.createDataFrame(list(zip(made, y.tolist(), strict=True)), schema)
    rows.coalesce(1).write.mode("overwrite").parquet(str(directory))
    return spark.read.parquet(str(directory))


VECTORS = np.array([[1.0, 2.0 + i, 0.5] if i % 3 else [i, 0.0, -1.0] for i in range(N)])


def summed(path: Path) -> None:
    """Write the checksums that Hadoop would."""
    content = path.read_bytes()
    sums = [zlib.crc32(content[i : i + 512]) for i in range(0, len(content), 512)]
    path.with_name(f".{path.name}.crc").write_bytes(struct.pack(f">4sI{len(sums)}I", b"crc\0", 512, *sums))


def damaged(path: Path, place: int) -> None:
    """Flip a bit in the page of the feature."""
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + place % chunk.total_compressed_size] ^= 0x10
    path.write_bytes(content)


PLAIN = {"compression": "none", "use_dictionary": False}


def with_damage(place: int, sums: bool = False, **written: Any) -> Callable[[Path], None]:
    """A whole file and one with a damaged page."""

    def write(directory: Path) -> None:
        for name in ("0", "1"):
            pq.write_table(columns(x=x), directory / f"{name}.parquet", **written)
            if sums:
                summed(directory / f"{name}.parquet")
        damaged(directory / "1.parquet", place)

    return write


def groups(*tables: pa.Table) -> Callable[[Path], None]:
    """A file of a row group for each table."""

    def write(directory: Path) -> None:
        with pq.ParquetWriter(directory / "0.parquet", tables[0].schema) as file:
            for table in tables:
                file.write_table(table)

    return write


def beside(name: str, content: bytes) -> Callable[[Path], None]:
    """A good file, and one of other bytes."""

    def write(directory: Path) -> None:
        pq.write_table(columns(x=x), directory / "0.parquet")
        (directory / name).write_bytes(content)

    return write


def with_metadata(directory: Path) -> None:
    pq.write_table(GOOD, directory / "0.parquet")
    pq.write_metadata(GOOD.schema, directory / "_metadata")


def partitioned(directory: Path) -> None:
    for k in (1, 2):
        (directory / f"k={k}").mkdir()
        pq.write_table(columns(x=x), directory / f"k={k}" / "0.parquet")


def truncated(directory: Path) -> None:
    content = (directory / "1.parquet").read_bytes()
    (directory / "1.parquet").write_bytes(content[: len(content) // 2])


def replaced(table: pa.Table, **written: Any) -> Callable[[Path], None]:
    return lambda directory: pq.write_table(table, directory / "1.parquet", **written)


GOOD = columns(x=x)
HALF = np.array([None if i % 2 else float(i) for i in K])
WHEN = [datetime.datetime(1890, 1, 1) + datetime.timedelta(days=int(i) * 999) for i in K]
UNREADABLE = "/1.parquet cannot be read ("
SAME = x[:, None]
TWICE = np.vstack([SAME, SAME])

NAMES = ["a`b", "a b", "ä", "a,b", "a=b", " x ", "a'b", 'a"b']

rows = {  # of the files in `tests/parquet`
    "d": x,
    "f": np.cos(K).astype(np.float32),
    "b": 2**53 + K * K * 2 + 1,
    "i": K * 7 - 100,
    "s": K * 5 - 90,
    "t": K - 20,
    "flag": K % 3 == 0,
    "same": np.full(N, 1.5),
}
ELSEWHERE = sorted(path.stem for path in FROM_ELSEWHERE.glob("*.parquet"))


def elsewhere(name: str) -> Callable[[Path], None]:
    return lambda directory: shutil.copy(FROM_ELSEWHERE / f"{name}.parquet", directory)


ENCODINGS = {
    "use_dictionary": ["boolean"],
    "column_encoding": {
        **dict.fromkeys(("int", "bigint"), "DELTA_BINARY_PACKED"),
        **dict.fromkeys(("float", "double"), "BYTE_STREAM_SPLIT"),
    },
}
CODECS = dict(zip(NUMBERS, ("snappy", "gzip", "zstd", "lz4", "none", "snappy", "gzip"), strict=True))
ARRAYS = [[2**53 + 1 + int(i), -1] for i in K]

ROUTES: dict[str, Table] = {
    # types
    "numbers": all_of(NUMBERS, [FILES]),
    "a label beyond 2^53": Table(
        [pa.table({"x": x, "label": 2**53 + K, "weight": 2**53 + K, "offset": -(2**53) - K})],
        [FILES],
        SAME,
        {"featuresCols": ["x"], "weightCol": "weight", "offsetCol": "offset"},
    ),
    "dictionaries": all_of({name: part.dictionary_encode() for name, part in WHOLE.items()}, [FILES]),
    "unsigned": all_of(UNSIGNED, [SPARK]),
    "decimals": all_of(DECIMALS, [SPARK]),
    "durations": Table([columns(x=pa.array(K, pa.duration("us")))], [SPARK], K[:, None]),
    "arrays of bigint": Table([columns(x=pa.array(ARRAYS))], [FILES], np.array(ARRAYS, float), {"featuresCol": "x"}),
    "large arrays": Table(
        [columns(x=pa.array(ARRAYS, pa.large_list(pa.int64())))],
        [SPARK],
        np.array(ARRAYS, float),
        {"featuresCol": "x"},
    ),
    "arrays of fixed size": Table(
        [columns(x=pa.array(ARRAYS, pa.list_(pa.int64(), 2)))], [SPARK], np.array(ARRAYS, float), {"featuresCol": "x"}
    ),
    "arrays of unsigned": Table(
        [columns(x=pa.array([[255, 1]] * N, pa.list_(pa.uint8())))],
        [SPARK],
        np.array([[255.0, 1.0]] * N),
        {"featuresCol": "x"},
    ),
    "vectors": Table([], [FILES], VECTORS, {"featuresCol": "x"}, vectors),
    "a field": Table(
        [columns(a=pa.array([{"x": value} for value in x]))],
        [SPARK],
        SAME,
        read=lambda spark, directory: listed(spark, directory).select("a.x", "label"),
    ),
    "times beside": Table(
        [GOOD.append_column("when", pa.array(WHEN, pa.timestamp("us")))],
        [FILES],
        SAME,
        read=option(int96RebaseMode="CORRECTED", datetimeRebaseMode="LEGACY"),
        written={"use_deprecated_int96_timestamps": True},
    ),
    "rebase modes": all_of(
        {"x": pa.array(x)},
        [FILES],
        conf={
            "spark.sql.parquet.int96RebaseModeInRead": "LEGACY",
            "spark.sql.parquet.datetimeRebaseModeInRead": "EXCEPTION",
        },
    ),
    **{
        f"a {name}": Table([columns(x=part)], [], (ColumnTypeError, 65, f"'x' is of type {said}"))
        for name, part, said in (
            ("text", pa.array(["a"] * N), "string"),
            ("large text", pa.array(["a"] * N, pa.large_string()), "string"),
            ("dictionary of text", pa.array(["a"] * N).dictionary_encode(), "string"),
            ("binary", pa.array([b"a"] * N), "binary"),
            ("date", pa.array([each.date() for each in WHEN]), "date"),
            ("time in milliseconds", pa.array(WHEN, pa.timestamp("ms")), "timestamp_ntz"),
            ("time in microseconds", pa.array(WHEN, pa.timestamp("us", "UTC")), "timestamp"),
            ("struct", pa.array([{"x": 1.0}] * N), "struct<x:double>"),
            ("array among columns", pa.array(ARRAYS), "array<bigint>"),
        )
    },
    # values
    "bad numbers": Table(
        [columns(x=pa.array([NAN, INF, None, *x[3:]]), z=pa.array([-INF, *x[1:]], pa.float32()))],
        [FILES],
        (DataError, 65, "column 'x' has 1 missing value (first: row 2 of partition 0), column 'x' has 1 NaN value"),
        {"featuresCols": ["x", "z"]},
    ),
    "skipped": Table(
        [columns(x=pa.array([NAN, INF, None, *x[3:]]))],
        [FILES],
        SAME[3:],
        {"featuresCols": ["x"], "handleInvalid": "skip"},
    ),
    "filled": Table(
        [columns(x=pa.array(HALF))],
        [FILES],
        np.where(K % 2, 19.0, K)[:, None],
        {"featuresCols": ["x"], "handleInvalid": "mean"},
    ),
    "nulls alone": Table([columns(x=pa.nulls(N, pa.float64()))], [FILES], (DataError, 65, "'x' has 40 missing values")),
    "nulls of no type": Table([columns(x=pa.nulls(N))], [SPARK], (DataError, 65, "'x' has 40 missing values")),
    "null pages": Table(
        [columns(x=pa.array([None] * 30 + x[30:].tolist()))],
        [FILES],
        SAME[30:],
        {"featuresCols": ["x"], "handleInvalid": "skip"},
        written={"data_page_size": 1, "write_batch_size": 8, "write_page_index": True},
    ),
    "null arrays": Table(
        [columns(x=pa.array([None, *([value, 1.0] for value in x[1:])]))],
        [FILES],
        (DataError, 65, "column 'x' has 1 missing value (first: row 0"),
        {"featuresCol": "x"},
    ),
    "nulls in arrays": Table(
        [columns(x=pa.array([[None, 1.0], *([value, 1.0] for value in x[1:])]))],
        [FILES],
        (DataError, 65, "column 'x' has 1 missing value (first: x[0] in row 0"),
        {"featuresCol": "x"},
    ),
    "ragged arrays": Table(
        [columns(x=pa.array([[1.0] * (1 + i % 2) for i in range(N)]))],
        [FILES],
        (DataError, 65, "column 'x' has 20 vectors of another size"),
        {"featuresCol": "x"},
    ),
    # files
    "encodings": all_of(NUMBERS, [FILES], written=ENCODINGS),
    "encodings in pages v2": all_of(NUMBERS, [FILES], written={**ENCODINGS, "data_page_version": "2.0"}),
    "codecs": all_of(NUMBERS, [FILES], written={"compression": CODECS}),
    "brotli": Table(
        [GOOD], [FILES, SPARK], (UnreadableFileError, 65, "BrotliCodec"), written={"compression": "brotli"}
    ),
    **{
        f"{name}": Table(elsewhere(name), [FILES], doubles({k: pa.array(v) for k, v in rows.items()}), columns)
        for columns in [{"featuresCols": list(rows)}]
        for name in ELSEWHERE
    },
    "a list of Polars": Table(elsewhere("polars"), [SPARK], np.column_stack([x, K]), {"featuresCol": "array"}),
    "an array of Polars": Table(elsewhere("polars-array"), [SPARK], np.column_stack([x, K]), {"featuresCol": "array"}),
    "a decimal of DuckDB": Table(elsewhere("duckdb"), [SPARK], (K[:, None] - 20) / 4, {"featuresCols": ["decimal"]}),
    "no rows": Table([GOOD[:0]], [FILES], (DataError, 65, "there are no rows to fit")),
    "a file without rows": Table([GOOD[:0], GOOD], [FILES], SAME),
    "row groups without rows": Table(groups(GOOD[:20], GOOD[:0], GOOD[20:], GOOD[:0]), [FILES], SAME),
    "an empty file": Table(beside("1.parquet", b""), [FILES], SAME),
    "hidden files": Table(beside("_1.parquet", b"no"), [FILES], SAME),
    "a file of metadata": Table(with_metadata, [FILES], SAME),
    "other bytes": Table(
        beside("1.parquet", b"no" * 99), [SPARK], (UnreadableFileError, 65, "it is not a Parquet file")
    ),
    "a directory in hive's way": Table(
        partitioned, [SPARK], np.column_stack([TWICE, np.repeat([1, 2], N)]), {"featuresCols": ["x", "k"]}
    ),
    # schemas
    "a column is missing": Table([GOOD, GOOD.drop(["x"])], [SPARK], (DataError, 65, "'x' has 40 missing values")),
    "columns of their own": Table([GOOD.append_column("z", GOOD["x"]), GOOD.select(["x", "label"])], [FILES], TWICE),
    "int and bigint": Table(
        [columns(x=pa.array(K, pa.int64())), columns(x=pa.array(K, pa.int32()))],
        [SPARK],
        np.concatenate([K, K])[:, None],
        read=given("label double, x bigint"),
    ),
    "bigint and int": Table(
        [columns(x=pa.array(K, pa.int64()))],
        [SPARK],
        (UnreadableFileError, 65, "Expected Spark type int, actual Parquet type INT64"),
        read=given("label double, x int"),
    ),
    "float and double": Table(
        [GOOD, columns(x=pa.array(K, pa.float32()))],
        [SPARK],
        np.concatenate([x, K])[:, None],
        read=given("label double, x double"),
    ),
    "text in one file": Table(
        [GOOD, columns(x=pa.array(["a"] * N))],
        [SPARK],
        (UnreadableFileError, 65, "Expected Spark type double, actual Parquet type BINARY"),
        read=given("label double, x double"),
    ),
    "merged": Table([GOOD, GOOD], [FILES], TWICE, read=option(mergeSchema="true")),
    "merged and missing": Table(
        [GOOD, GOOD.drop(["x"])], [SPARK], (DataError, 65, "'x' has 40 missing"), read=option(mergeSchema="true")
    ),
    "names": all_of(dict.fromkeys(NAMES, pa.array(x)), [FILES]),
    "a name with a dot": all_of({"a.b": pa.array(x)}, [SPARK]),
    "capitals in a file": Table(
        [GOOD, GOOD.append_column("X", GOOD["x"])],
        [SPARK],
        (UnreadableFileError, 65, 'Found duplicate field(s) "x": [x, X]'),
        read=given("label double, x double"),
    ),
    "other capitals in a file": Table([GOOD, GOOD.rename_columns(["label", "X"])], [SPARK], TWICE),
    "capitals that count": all_of(
        {"x": pa.array(x), "X": pa.array(K)}, [FILES], conf={"spark.sql.caseSensitive": "true"}
    ),
    "capitals that do not": Table([GOOD], [], (ColumnError, 65, "no column 'X'"), {"featuresCols": ["X"]}),
    # damage
    "whole, with sums": Table([GOOD], [FILES], SAME, meanwhile=lambda directory: summed(directory / "0.parquet")),
    "a flipped bit, with sums": Table(
        with_damage(150, sums=True, **PLAIN), [FILES, SPARK], (UnreadableFileError, 65, "Checksum error")
    ),
    "stale sums": Table(
        [GOOD, GOOD],
        [FILES, SPARK],
        (UnreadableFileError, 65, "Checksum error"),
        meanwhile=lambda directory: (summed(directory / "1.parquet"), replaced(columns(x=K))(directory)),
    ),
    "sums that are none": Table(
        beside(".0.parquet.crc", b"no"), [FILES, SPARK], (UnreadableFileError, 65, "/0.parquet cannot be read (")
    ),
    "a flipped bit, with page sums": Table(
        with_damage(150, write_page_checksum=True, **PLAIN),
        [FILES],
        (DataError, 65, "CRC checksum verification failed"),
    ),
    "a damaged page": Table(
        with_damage(3, use_dictionary=False), [FILES, SPARK], (UnreadableFileError, 65, UNREADABLE)
    ),
    "a damaged header": Table(with_damage(8, **PLAIN), [FILES, SPARK], (UnreadableFileError, 65, UNREADABLE)),
    # files that change
    "truncated": Table([GOOD, GOOD], [FILES, SPARK], (UnreadableFileError, 65, UNREADABLE), meanwhile=truncated),
    "gone": Table(
        [GOOD, GOOD],
        [FILES, SPARK],
        (InputMissingError, 66, "/1.parquet is gone since the table was listed"),
        meanwhile=lambda directory: (directory / "1.parquet").unlink(),
    ),
    "gone before": Table(
        [GOOD, GOOD],
        [SPARK],
        (InputMissingError, 66, "/1.parquet is gone since the table was listed"),
        read=lambda spark, directory: (listed(spark, directory), (directory / "1.parquet").unlink())[0],
    ),
    "other rows": Table(
        [GOOD, GOOD], [FILES], np.concatenate([x, x + 1])[:, None], meanwhile=replaced(columns(x=x + 1))
    ),
    "other row groups": Table([GOOD, GOOD], [FILES], TWICE, meanwhile=replaced(GOOD, row_group_size=7, **PLAIN)),
    "another type": Table(
        [GOOD, GOOD],
        [FILES, SPARK],
        (UnreadableFileError, 65, "Expected Spark type double, actual Parquet type INT64"),
        meanwhile=replaced(columns(x=K)),
    ),
    "without its column": Table(
        [GOOD, GOOD], [FILES, SPARK], (DataError, 65, "'x' has 40 missing"), meanwhile=replaced(GOOD.drop(["x"]))
    ),
    "corrupt files ignored": Table(
        [GOOD, GOOD], [SPARK], SAME, meanwhile=truncated, conf={"spark.sql.files.ignoreCorruptFiles": "true"}
    ),
    "missing files ignored": Table(
        [GOOD, GOOD],
        [SPARK],
        SAME,
        meanwhile=lambda directory: (directory / "1.parquet").unlink(),
        read=option(ignoreMissingFiles="true"),
    ),
}


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Watches who is asked for the rows: ``readers(files=False)`` asks nobody but Spark."""
    plan, by_spark = spark_data.packed_from_files, spark_data._packed

    def watch(files: bool = True, meanwhile: Callable[[], Any] = lambda: None) -> list[str]:
        asked: list[str] = []

        def planned(*arguments: Any) -> Any:
            found = plan(*arguments) if files else None
            asked.extend([FILES] * (found is not None))
            meanwhile()
            return found

        def packed(*arguments: Any) -> Any:
            asked.append(SPARK)
            return by_spark(*arguments)

        monkeypatch.setattr(spark_data, "packed_from_files", planned)
        monkeypatch.setattr(spark_data, "_packed", packed)
        return asked

    return watch


@pytest.fixture
def settings(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[None]:
    conf = ROUTES[request.getfixturevalue("name")].conf
    before = {key: spark.conf.get(key, None) for key in conf}
    for key, value in conf.items():
        spark.conf.set(key, value)
    yield
    for key, value in before.items():
        spark.conf.unset(key) if value is None else spark.conf.set(key, value)


def outcome(df: DataFrame, **columns: Any) -> Any:
    """What a pack comes to: all that it says of the rows, to the bit; or the error and how a job would end."""
    try:
        with pack(df, **columns) as data:
            rows = sorted((row.partition, row.count, row.digest, row.order) for row in data._rows.values())
            s = data.statistics
            return rows, data.feature_names, data.skipped, data.filled, s.mean.tobytes(), s.m2.tobytes(), s.labels, s
    except SparkdmlError as error:
        return type(error), exit_code(error), sentence(error)


def check(found: Any, expected: Any) -> None:
    """Compare an outcome with the truth: an error with its class, code and sentence; statistics with those of rows."""
    if isinstance(expected, tuple):
        assert found[:2] == expected[:2]
        assert expected[2] in found[2]
        return
    X, s = np.asarray(expected, float), found[-1]
    assert s.count == len(X)
    np.testing.assert_allclose(s.mean[:-1], X.mean(axis=0), rtol=1e-12, atol=1e-12 * np.abs(X).max())
    np.testing.assert_array_equal([s.low[:-1], s.high[:-1]], [X.min(axis=0), X.max(axis=0)])


@pytest.mark.thinned
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("name", ROUTES)
def test_both_routes_come_to_the_same_end(spark: SparkSession, readers: Any, tmp_path: Path, name: str) -> None:
    table, directory = ROUTES[name], tmp_path / "a table"
    found = []
    for files in (True, False) if FILES in table.readers else (True,):
        df = table.make(spark, directory)
        asked = readers(files, lambda: table.meanwhile and table.meanwhile(directory))
        found.append(outcome(df, **table.columns))
        assert asked == (table.readers if files else [SPARK])
        check(found[-1], table.expected)
    assert len({repr(each[:-1] if isinstance(table.expected, np.ndarray) else each) for each in found}) == 1


def test_a_fit_has_the_same_bits_on_both_routes(spark: SparkSession, readers: Any, tmp_path: Path) -> None:
    df = ROUTES["numbers"].make(spark, tmp_path / "numbers").drop("bigint", "double")
    estimator = LinearRegression(featuresCols=[name for name in df.columns if name != "label"], regParam=0.1)
    fits = []
    for files in (True, False):
        asked = readers(files)
        fits.append(estimator.fit(df))
        assert asked == [FILES if files else SPARK]
    assert fits[0].coefficients == fits[1].coefficients
    assert fits[0].intercept == fits[1].intercept


def scorer(table: Table, size: int) -> LinearRegressionModel:
    model = LinearRegressionModel(1.0 / np.arange(1, size + 1), 0.5, tuple(f"f{j}" for j in range(size)))
    names = {key: value for key, value in table.columns.items() if key.startswith("featuresCol")}
    return model._set(**names)


@pytest.mark.parametrize("name", ["numbers", "unsigned", "decimals", "arrays of bigint", "vectors", "int and bigint"])
def test_models_score_the_numbers_that_fits_see(spark: SparkSession, tmp_path: Path, name: str) -> None:
    table = ROUTES[name]
    df, X = table.make(spark, tmp_path / "a table"), np.asarray(table.expected, float)
    model = scorer(table, X.shape[1])
    found = np.sort([row.prediction for row in model.transform(df).collect()])
    expected = X @ model.coefficients.toArray() + 0.5
    np.testing.assert_allclose(found, np.sort(expected), rtol=1e-12, atol=1e-12)
    label = np.tile(y, len(X) // N)
    error = np.sqrt(np.mean((expected - label) ** 2))
    assert model.evaluate(df).rootMeanSquaredError == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("name", ["a flipped bit, with sums", "a damaged header", "gone before", "bigint and int"])
def test_an_evaluation_names_the_file_too(spark: SparkSession, tmp_path: Path, name: str) -> None:
    table = ROUTES[name]
    model = scorer(table, 1)
    with pytest.raises(table.expected[0]) as caught:
        assert model.evaluate(table.make(spark, tmp_path / "a table")).rootMeanSquaredError
    assert table.expected[2] in str(caught.value)


JOBS = (
    "numbers",
    "decimals",
    "bad numbers",
    "brotli",
    "a flipped bit, with page sums",
    "other bytes",
    "gone",
    "a text",
)


@pytest.mark.extras
@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_alike_on_both_routes(
    run: Any, spark: SparkSession, readers: Any, tmp_path: Path, name: str
) -> None:
    table, directory = ROUTES[name], tmp_path / "a table"
    names = [each for each in table.columns["featuresCols"] if each != "double"]  # whose squares underflow
    flags = ("--input", directory, "--label", "label", "--features", ",".join(names))
    ends = []
    for files in (True, False):
        table.make(spark, directory)
        asked = readers(files, lambda: table.meanwhile and table.meanwhile(directory))
        ends.append(run("train_linreg", *flags))
        assert asked == (table.readers if files else [SPARK] * bool(table.readers)) or "Could not read" in ends[-1].out
    results = [{**ended.result, "seconds": 0} for ended in ends]
    assert (ends[0].code, results[0]) == (ends[1].code, results[1])
    assert ends[0].code == (table.expected[1] if isinstance(table.expected, tuple) else 0)
    if ends[0].code:
        assert table.expected[2] in results[0]["error"] or "Could not read footer" in results[0]["error"]
