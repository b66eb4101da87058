"""From a DataFrame to packed data: every kind of column, every kind of bad value, recovery and release."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chispa import assert_df_equality
from leftovers import packed_files, persisted
from pyspark import SparkContext
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import SparseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    StructField,
    StructType,
)

from sparkdml import LocalData, pack
from sparkdml.engine import report, tasks
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import (
    DataError,
    DataWarning,
    NonDeterministicSourceError,
    ParamError,
    ReleasedError,
    SessionError,
)
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient, Gram, Query

NAN, INF = float("nan"), float("inf")
LOSS = LOSSES["squaredError"]
N, D = 120, 4


pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def arrays(sparse: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, weights."""
    rng = np.random.default_rng(0)
    X = rng.integers(-50, 50, (N, D)) * (rng.random((N, D)) < (0.15 if sparse else 0.9))
    return X.astype(float), X @ [1.0, -1.0, 2.0, 0.5] + rng.normal(size=N), rng.integers(0, 4, N).astype(float)


def table(spark: SparkSession, X: np.ndarray, y: np.ndarray, s: np.ndarray, slices: int = 3) -> DataFrame:
    """Columns x0, x1, ..., label, weight."""
    rows = np.column_stack([X, y, s]).tolist()
    names = [*(f"x{j}" for j in range(X.shape[1])), "label", "weight"]
    schema = ", ".join(f"{name} double" for name in names)  # to infer it would cost a Python worker
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, slices), schema)


def scalars(df: DataFrame) -> list[str]:
    return [name for name in df.columns if name not in ("label", "weight")]


def as_dense(df: DataFrame) -> DataFrame:
    return VectorAssembler(inputCols=scalars(df), outputCol="features").transform(df).drop(*scalars(df))


def sparse_vector(values: list[float]) -> SparseVector:
    return Vectors.sparse(len(values), [(j, v) for j, v in enumerate(values) if v])


def mixed_vector(values: list[float]) -> Any:
    return Vectors.dense(values) if values[0] > 0 else sparse_vector(values)


VECTORS = StructType().add("features", VectorUDT()).add("label", "double").add("weight", "double")


def vectors(make: Callable[[list[float]], Any]) -> Callable[[DataFrame], DataFrame]:
    """Turn the feature columns into one of vectors made on the driver, partition for partition."""

    def change(df: DataFrame) -> DataFrame:
        d = len(scalars(df))
        rows = [(make(list(row[:d])), *row[d:]) for row in df.collect()]
        spread = df.sparkSession.sparkContext.parallelize(rows, 3)
        return df.sparkSession.createDataFrame(spread, VECTORS)

    return change


def array(data_type: str) -> Callable[[DataFrame], DataFrame]:
    return lambda df: df.select(F.array(*scalars(df)).cast(data_type).alias("features"), "label", "weight")


KINDS: dict[str, Callable[[DataFrame], DataFrame]] = {
    "scalars": lambda df: df,
    "integer scalars": lambda df: df.select(*[F.col(c).cast("int").alias(c) for c in scalars(df)], "label", "weight"),
    "mixed scalars": lambda df: (
        df.withColumn("x0", F.col("x0").cast(DecimalType(9, 1)))
        .withColumn("x1", F.col("x1").cast("float"))
        .withColumn("x2", F.col("x2").cast("short"))
    ),
    "dense vectors": as_dense,
    "sparse vectors": vectors(sparse_vector),
    "mixed vectors": vectors(mixed_vector),
    "arrays of doubles": array("array<double>"),
    "arrays of integers": array("array<int>"),
    "arrays of floats": array("array<float>"),
}


def packed(df: DataFrame, **kwargs: Any) -> SparkData:
    names = {} if "features" in df.columns else {"featuresCols": scalars(df)}
    return pack(df, **{**names, **kwargs})


def queries(d: int = D) -> list[Query]:
    w = np.linspace(-1, 1, d)[:, None]
    return [Gradient(LOSS, w, np.array([0.5])), Gram(np.linspace(0, 2, d + 1))]


def bits(data: Any) -> tuple[bytes, ...]:
    """The answers of one pass, to the bit."""
    d = len(data.feature_names)
    gradient, gram = data.run(queries(d))
    return gradient.w.tobytes(), gradient.b.tobytes(), gram.second.tobytes(), np.float64(gradient.value).tobytes()


def assert_same_answers(data: Any, expected: Any) -> None:
    for found, wanted in zip(data.run(queries()), expected.run(queries()), strict=True):
        for name, value in vars(wanted).items():
            np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("sparse", [False, True], ids=["full", "few numbers"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column_packs_the_same_numbers(spark: SparkSession, kind: str, sparse: bool) -> None:
    X, y, s = arrays(sparse)
    local = LocalData(X, y, s)
    with packed(KINDS[kind](table(spark, X, y, s)), weightCol="weight") as data:
        assert data.feature_names == tuple(
            f"x{j}" if "scalars" in kind or kind == "dense vectors" else f"features[{j}]" for j in range(D)
        )
        assert_same_answers(data, local)
        found, wanted = data.statistics, local.statistics
        assert (found.count, found.weight, found.nonzeros) == (wanted.count, wanted.weight, wanted.nonzeros)
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12)
        np.testing.assert_allclose(found.m2, wanted.m2, rtol=1e-12)
        np.testing.assert_array_equal(found.low, wanted.low)
        np.testing.assert_array_equal(found.high, wanted.high)


def test_offset_and_fold_are_packed(spark: SparkSession) -> None:
    X, y, s = arrays()
    fold = np.arange(N, dtype=np.int32) % 3
    df = table(spark, np.column_stack([X, s / 7, fold]), y, s).withColumnsRenamed({"x4": "offset", "x5": "fold"})
    names = {"offsetCol": "offset", "foldCol": "fold", "weightCol": "weight"}
    with pack(df, featuresCols=["x0", "x1", "x2", "x3"], **names) as data:  # type: ignore[arg-type]
        local = LocalData(X, y, s, s / 7, fold)
        asked = [Gradient(LOSS, np.ones((D, 1)), np.zeros(1), k) for k in (-1, 0, 2)]
        for found, wanted in zip(data.run(asked), local.run(asked), strict=True):
            np.testing.assert_allclose(found.w, wanted.w, rtol=1e-12)
            assert (found.value, found.weight) == pytest.approx((wanted.value, wanted.weight), rel=1e-12)


@pytest.mark.parametrize(("slices", "wanted"), [(1, None), (7, None), (24, None), (24, 3), (3, 9), (2, 1)])
def test_answers_do_not_depend_on_the_partitions(spark: SparkSession, slices: int, wanted: int | None) -> None:
    X, y, s = arrays()
    with packed(table(spark, X, y, s, slices), numPartitions=wanted) as data:
        assert data.tasks == (wanted or min(slices, 2))  # of so few rows, one a core
        assert_same_answers(data, LocalData(X, y))
        assert bits(data) == bits(data)
        assert data.statistics.count == N


def test_empty_partitions_and_the_input_are_no_trouble(spark: SparkSession) -> None:
    X, y, s = arrays()
    df = table(spark, X, y, s, 4).filter("label > 20 or label < -20").repartition(16, "x0").cache()
    before = df.toPandas()
    kept = np.abs(y) > 20
    with packed(df) as data:
        assert_same_answers(data, LocalData(X[kept], y[kept]))
    assert_df_equality(df, spark.createDataFrame(before), ignore_row_order=True, ignore_nullable=True)
    assert df.columns == [*(f"x{j}" for j in range(D)), "label", "weight"]
    df.unpersist(blocking=True)


# Bad values.

SCHEMA = StructType(
    [
        StructField("a", DoubleType()),
        StructField("b", FloatType()),
        StructField("label", DoubleType()),
        StructField("weight", DoubleType()),
        StructField("vector", VectorUDT()),
        StructField("array", ArrayType(DoubleType())),
        StructField("ints", ArrayType(IntegerType())),
    ]
)
GOOD = (1.0, 2.0, 3.0, 1.0, Vectors.dense(1.0, 2.0), [1.0, 2.0], [1, 2])
PLACES = {name: i for i, name in enumerate(SCHEMA.names)}
FEATURES: dict[str, dict[str, Any]] = {
    "a": {"featuresCols": ["a", "b"]},
    "b": {"featuresCols": ["a", "b"]},
    "label": {"featuresCols": ["a", "b"]},
    "weight": {"featuresCols": ["a", "b"]},
    "vector": {"featuresCol": "vector"},
    "array": {"featuresCol": "array"},
    "ints": {"featuresCol": "ints"},
}
BAD: dict[str, list[tuple[Any, str]]] = {
    **{
        name: [(None, "missing value"), (NAN, "NaN value"), (INF, "infinite value")]
        for name in ("a", "b", "label", "weight")
    },
    "vector": [
        (None, "missing value"),
        (Vectors.dense(NAN, 1.0), "NaN value"),
        (Vectors.sparse(2, [1], [-INF]), "infinite value"),
    ],
    "array": [([1.0, None], "missing value"), ([NAN, 1.0], "NaN value"), ([1.0, -INF], "infinite value")],
    "ints": [([None, 2], "missing value")],
}
ALONE: list[tuple[str, Any, str]] = [
    ("label", -INF, "infinite value"),
    ("vector", Vectors.dense(1.0, INF), "infinite value"),
    ("vector", Vectors.sparse(2, [0], [NAN]), "NaN value"),
    ("array", None, "missing value"),
    ("ints", None, "missing value"),
]
NEVER_SKIPPED: list[tuple[str, Any, str]] = [
    ("weight", -1.5, "negative weight"),
    ("vector", Vectors.dense(1.0, 2.0, 3.0), "vector of another size"),
    ("vector", Vectors.sparse(3, [], []), "vector of another size"),
    ("array", [1.0], "vector of another size"),
    ("ints", [1, 2, 3], "vector of another size"),
]


def good_and_bad(spark: SparkSession, column: str, values: list[Any]) -> DataFrame:
    """Nine good rows in three partitions, and three of each bad value in one column, spread among them."""
    rows = []
    for i in range(3):
        for j, bad in enumerate([None, None, None, *values]):
            row = list(GOOD)
            row[0] = row[2] = 1.0 + i + j
            if j >= 3:
                row[PLACES[column]] = bad
            rows.append(row)
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, 3), SCHEMA)


CASES = [*((name, BAD[name]) for name in BAD), *((name, [(value, kind)]) for name, value, kind in ALONE)]


@pytest.mark.parametrize(("column", "values"), CASES, ids=str)
def test_bad_values_are_counted_over_all_partitions_and_named_or_skipped(
    spark: SparkSession, column: str, values: list[tuple[Any, str]]
) -> None:
    df = good_and_bad(spark, column, [value for value, _ in values])
    with pytest.raises(DataError) as caught:
        pack(df, weightCol="weight", **FEATURES[column])
    assert isinstance(caught.value, ValueError)
    for _, kind in values:
        assert re.search(
            f"column '{column}' has 3 {kind}s .first: [^)]*row [0-9]+ of partition [0-2]", str(caught.value)
        )
    assert "set handleInvalid" in str(caught.value)
    with pack(df, weightCol="weight", handleInvalid="skip", **FEATURES[column]) as data:
        assert (data.statistics.count, data.skipped) == (9, 3 * len(values))
        assert data.statistics.mean[-1] == pytest.approx(3.0)
        assert data.run(queries(2))[0].weight == 9.0


@pytest.mark.parametrize(("column", "value", "kind"), NEVER_SKIPPED, ids=str)
def test_what_cannot_be_skipped_is_an_error_still(spark: SparkSession, column: str, value: Any, kind: str) -> None:
    df = good_and_bad(spark, column, [value])
    for handle in ("error", "skip"):
        with pytest.raises(DataError, match=f"column '{column}' has 3 {kind.replace('vector', 'vectors?')}"):
            pack(df, weightCol="weight", handleInvalid=handle, **FEATURES[column])


@pytest.mark.parametrize("column", ["vector", "array", "ints"])
@pytest.mark.parametrize("handle", ["error", "skip"])
def test_a_partition_of_nothing_but_null_vectors(spark: SparkSession, column: str, handle: str) -> None:
    rows = [list(GOOD) for _ in range(6)]
    for row in rows[:3]:
        row[PLACES[column]] = None
    df = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), SCHEMA)
    if handle == "error":
        with pytest.raises(DataError, match="3 missing values"):
            pack(df, **FEATURES[column])
        return
    with pack(df, handleInvalid=handle, **FEATURES[column]) as data:
        assert (data.statistics.count, data.skipped) == (3, 3)


@pytest.mark.parametrize("column", ["vector", "array"])
def test_partitions_of_different_vector_sizes(spark: SparkSession, column: str) -> None:
    other = {"vector": Vectors.dense(1.0), "array": [1.0]}[column]
    rows = [list(GOOD) for _ in range(8)]
    for row in rows[4:]:
        row[PLACES[column]] = other
    df = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), SCHEMA)
    for handle in ("error", "skip"):
        with pytest.raises(DataError, match=f"column '{column}' has 4 vectors of another size than "):
            pack(df, handleInvalid=handle, **FEATURES[column])


def test_all_zero_sparse_vectors_are_rows_too(spark: SparkSession) -> None:
    rows = [(Vectors.sparse(3, [], []), 1.0), (Vectors.sparse(3, [], []), 3.0)]
    with pack(spark.createDataFrame(rows, ["features", "label"]).coalesce(1)) as data:
        np.testing.assert_array_equal(data.statistics.mean, [0.0, 0.0, 0.0, 2.0])
        np.testing.assert_array_equal(data.statistics.variance, [0.0, 0.0, 0.0, 1.0])


# Columns.


@pytest.mark.parametrize("wrong", [{"handleInvalid": "keep"}, {"numPartitions": 0}, {"dtype": "float16"}], ids=str)
def test_arguments_out_of_range_are_refused(spark: SparkSession, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match="{}={!r}".format(*next(iter(wrong.items())))):
        pack(spark.range(1), featuresCols=["id"], **wrong)


@pytest.mark.parametrize("name", ["a.b", "with space", "tick`s", "naïve", "x0", "label "])
def test_columns_may_have_any_name(spark: SparkSession, name: str) -> None:
    df = spark.createDataFrame([(1.0, 2.0, 5.0), (2.0, 1.0, 6.0)], [name, "other.one", "the label"])
    with pack(df, featuresCols=["other.one", name], labelCol="the label") as data:
        assert data.feature_names == ("other.one", name)
        np.testing.assert_array_equal(data.statistics.mean, [1.5, 1.5, 5.5])


def test_a_large_partition_is_warned_of_where_it_was_packed(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "WARN_PARTITION_BYTES", 100)
    with pytest.warns(DataWarning, match="the largest partition takes") as caught:
        pack(spark.range(99).selectExpr("1.0 * id AS x", "id AS label"), featuresCols=["x"]).release()
    assert [warning.filename for warning in caught] == [__file__]


# Life and death.


def test_release_removes_everything_and_ends_the_use(spark: SparkSession, scratch: list[Path]) -> None:
    X, y, s = arrays()
    before = persisted(spark)
    data = packed(table(spark, X, y, s))
    assert persisted(spark) == before  # in local mode the driver has the handles
    assert len(packed_files(scratch)) >= 1
    data.release()
    data.release()
    assert persisted(spark) == before
    assert packed_files(scratch) == []
    for use in (lambda: data.run(queries()), lambda: data.tasks, lambda: data.__enter__().run(queries())):
        with pytest.raises(ReleasedError, match="released") as caught:
            use()
        assert isinstance(caught.value, RuntimeError)


def test_small_and_large_requests_are_answered_alike_and_leave_no_file(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, sent, broadcast = Path(spark.sparkContext._temp_dir), [], SparkContext.broadcast
    monkeypatch.setattr(SparkContext, "broadcast", lambda *given: sent.append(given) or broadcast(*given))
    with packed(table(spark, *arrays())) as data:
        before, small = sorted(directory.iterdir()), bits(data)
        assert not sent
        monkeypatch.setattr(tasks, "ENCLOSED_BYTES", 0)
        assert bits(data) == small
        assert len(sent) == 1
        assert sorted(directory.iterdir()) == before


def test_a_source_that_fails_in_one_partition_leaves_nothing(spark: SparkSession) -> None:
    def value(row):  # type: ignore[no-untyped-def]  # hints would make it an Arrow function
        if row == 20:
            time.sleep(4)  # the other partitions are packed by then: what a task still running leaves, Spark removes
        return 1 / (row - 27)

    df = spark.range(0, 30, 1, 3).select(F.udf(value, DoubleType())("id").alias("x"), F.col("id").alias("label"))
    with pytest.raises(Exception, match="ZeroDivisionError"):
        pack(df, featuresCols=["x"])


def test_a_module_that_the_workers_lack_is_told_in_a_sentence(spark: SparkSession) -> None:
    value = F.udf(lambda row: __import__("not_installed").value(row), DoubleType())
    df = spark.range(3).select(value("id").alias("x"), F.col("id").alias("label"))
    for how in ("error", "mean"):
        with pytest.raises(SessionError, match=r"workers, .*python.*, has no module 'not_installed': install"):
            pack(df, featuresCols=["x"], handleInvalid=how)


def directories(data: SparkData) -> dict[int, str]:
    """Where the files of each partition are, as the driver knows it."""
    handles = data._handles.rdd.collect()
    return {handle.partition: data._moved.get(handle.partition, handle).directory for handle in handles}


@pytest.mark.parametrize("lost", ["directories", "one file"])
def test_lost_files_are_packed_again_to_the_same_bits(
    spark: SparkSession, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    X, y, s = arrays()
    with packed(table(spark, X, y, s, 16)) as data:
        expected = bits(data)
        before = directories(data)
        for p in (3, 12):
            shutil.rmtree(before[p]) if lost == "directories" else Path(before[p], "label").unlink()
        assert bits(data) == expected
        assert "packing 2 of 16 partitions again" in caplog.text
        after = directories(data)
        assert {p for p in before if before[p] != after[p]} == {3, 12}
        caplog.clear()
        assert bits(data) == expected
        assert caplog.text == ""
        shutil.rmtree(after[3])  # and once more
        shutil.rmtree(after[5])
        assert bits(data) == expected
        assert "packing 2 of 16 partitions again" in caplog.text


def test_a_source_that_changes_is_found_out(spark: SparkSession) -> None:
    changing = F.udf(lambda v: v + np.random.default_rng().normal(), DoubleType()).asNondeterministic()
    df = spark.range(0, 100, 1, 4).select(changing(F.col("id").cast("double")).alias("x"), F.col("id").alias("label"))
    with packed(df, featuresCols=["x"]) as data:
        data.run(queries(1))
        shutil.rmtree(directories(data)[2])
        with pytest.raises(NonDeterministicSourceError, match=r"partition 2.*not deterministic") as caught:
            data.run(queries(1))
        assert isinstance(caught.value, RuntimeError)


def test_rows_that_come_back_in_another_order_are_the_same_rows(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The digest does not depend on the order; the log says that the bits may differ."""
    marker = tmp_path / "seen"

    def rows(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            yield batch.iloc[::-1] if marker.exists() else batch

    df = spark.range(0, 60, 1, 3).selectExpr("cast(id as double) x", "cast(id * id as double) label")
    with packed(df.mapInPandas(rows, df.schema)) as data:
        before = data.run(queries(1))
        marker.touch()
        shutil.rmtree(directories(data)[1])
        for a, b in zip(data.run(queries(1)), before, strict=True):
            for name, value in vars(b).items():
                np.testing.assert_allclose(getattr(a, name), value, rtol=1e-12)
        assert "partition 1 came back in another order" in caplog.text


def test_packing_tells_what_is_in_each_partition(spark: SparkSession) -> None:
    """Rows sorted by label and then split: each partition has one label, and an empty one has none."""
    columns = ("id * 1.0 AS x", "cast(id >= 60 AS double) AS label", "cast(id % 2 AS double) AS weight")
    df = spark.range(0, 120, 1, 4).selectExpr(*columns)
    with pack(df.where("label = 0 OR x < 90"), featuresCols=["x"], weightCol="weight") as data:
        found = [(each.partition, each.rows, each.weight, each.labels) for each in data.contents]
        assert found == [
            (0, 30, 15.0, {0.0: (30, 15.0)}),
            (1, 30, 15.0, {0.0: (30, 15.0)}),
            (2, 30, 15.0, {1.0: (30, 15.0)}),
            (3, 0, 0.0, {}),
        ]
        assert sum(each.rows for each in data.contents) == data.statistics.count
        assert all((each.nbytes > 0) == (each.rows > 0) for each in data.contents)
