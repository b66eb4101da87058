"""Packing straight from Parquet files: the very rows that Spark would read, or else Spark reads them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import pack
from sparkdml.blocks.pack import Plan
from sparkdml.blocks.parquet_scan import CHANGING, packed_from_files
from sparkdml.blocks.schema import resolve_columns
from sparkdml.engine import spark_data
from sparkdml.regression import LinearRegression

ROWS = 3000
NUMBERS = ["d", "f", "b", "i", "s", "t", "flag"]


@pytest.fixture(scope="module")
def directory(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of every type that is read, in files of several row groups, some of them below a name with a space."""
    path = tmp_path_factory.mktemp("parquet") / "a table"
    i = F.col("id")
    numbers = [F.sin(i * (j + 1)) for j in range(4)]
    table = spark.range(ROWS).select(
        numbers[0].alias("d"),
        numbers[1].cast("float").alias("f"),
        (i * i).alias("b"),
        i.cast("int").alias("i"),
        (i % 1000).cast("smallint").alias("s"),
        (i % 100).cast("tinyint").alias("t"),
        (i % 2 == 0).alias("flag"),
        F.array(*numbers).alias("array"),
        array_to_vector(F.array(*numbers)).alias("vector"),
        F.when(i % 7 > 0, F.cos(i)).alias("holes"),
        F.cos(i * 3).alias("label"),
        (i % 3).alias("weight"),
        (i % 5).alias("part"),
        i.cast("decimal(12,2)").alias("decimal"),
        i.alias("a.dot"),
    )
    table.repartition(3, "id").write.option("parquet.block.size", 1 << 14).parquet(str(path))
    return path


def are_read(df: DataFrame, features: list[str], **columns: str) -> bool:
    """Whether files are read for these columns; no row is."""
    chosen = resolve_columns(df.schema, features, "label", **columns)
    return packed_from_files(df, chosen, Plan(chosen, chosen.size, False, 0, "none")) is not None


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any]]:
    """Packs from files, then by Spark, and tells what each packed."""

    def packed(df: DataFrame, **columns: Any) -> tuple[Any, Any]:
        def from_files(*arguments: Any) -> Any:
            found = packed_from_files(*arguments)
            assert found is not None
            return found

        told = []
        for route in (from_files, lambda *_: None):
            monkeypatch.setattr(spark_data, "packed_from_files", route)
            with pack(df, **columns) as data:
                told.append(content(data))
        return told[0], told[1]

    return packed


def content(data: Any) -> Any:
    """Everything that packing tells: rows with their order, by partition, names, statistics to the bit."""
    rows = sorted((row.partition, row.count, row.digest, row.order) for row in data._rows.values())
    s = data.statistics
    return rows, data.feature_names, data.skipped, s.mean.tobytes(), s.m2.tobytes(), s.labels


PLAIN: dict[str, Callable[[DataFrame], DataFrame]] = {
    "as it is": lambda df: df,
    "selected": lambda df: df.select("label", "weight", *NUMBERS),
    "reordered": lambda df: df.select(*reversed(df.drop("a.dot").columns)),
    "renamed": lambda df: df.withColumnRenamed("d", "swap").withColumnRenamed("f", "d").withColumnRenamed("swap", "f"),
    "aliased": lambda df: df.select(*[F.col(f"`{name}`").alias(name) for name in df.columns]).alias("rows"),
    "with a column nobody asks for": lambda df: df.withColumn("more", F.rand(0)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_columns_of_files_are_read_without_spark(name: str, routes: Any, spark: SparkSession, directory: Path) -> None:
    df = PLAIN[name](spark.read.parquet(str(directory)))
    found, by_spark = routes(df, featuresCols=NUMBERS, weightCol="weight")
    assert found == by_spark


FEATURES = {
    "array": {"featuresCol": "array"},
    "vector": {"featuresCol": "vector"},
    "holes": {"featuresCols": ["d", "holes"], "handleInvalid": "skip"},
    "filled": {"featuresCols": ["d", "holes"], "handleInvalid": "mean"},
    "folds": {"featuresCols": NUMBERS[:2], "foldCol": "part", "offsetCol": "s"},
    "validation": {"featuresCols": NUMBERS[:2], "validationFraction": 0.3},
    "as label": {"featuresCols": NUMBERS[:2], "labelCol": "flag"},
    "short": {"featuresCols": NUMBERS, "dtype": "float32"},
}


@pytest.mark.parametrize("name", FEATURES)
def test_every_kind_of_column_is_read(name: str, routes: Any, spark: SparkSession, directory: Path) -> None:
    found, by_spark = routes(spark.read.parquet(str(directory)), **FEATURES[name])
    assert found == by_spark


@pytest.fixture
def small_splits(spark: SparkSession) -> Iterator[None]:
    """Spark splits files into partitions, so that some have no row group's middle."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", "60000")
    yield
    spark.conf.unset("spark.sql.files.maxPartitionBytes")


@pytest.mark.usefixtures("small_splits")
def test_row_groups_are_where_spark_puts_them(routes: Any, spark: SparkSession, directory: Path) -> None:
    df = spark.read.parquet(str(directory))
    groups = sum(pq.read_metadata(file).num_row_groups for file in directory.glob("*.parquet"))
    found, by_spark = routes(df, featuresCols=NUMBERS)
    assert found == by_spark
    assert 3 < len(found[0]) != groups


LEFT_TO_SPARK: dict[str, Callable[[DataFrame], DataFrame]] = {
    "filter": lambda df: df.where("d > 0"),
    "limit": lambda df: df.limit(100),
    "sample": lambda df: df.sample(0.5, seed=0),
    "expression": lambda df: df.withColumn("d", F.col("d") + 1.0),
    "cast": lambda df: df.withColumn("i", F.col("i").cast("double")),
    "union": lambda df: df.union(df),
    "shuffle": lambda df: df.repartition(2, "i"),
    "decimal": lambda df: df.withColumnRenamed("d", "old").withColumnRenamed("decimal", "d"),
    "dot": lambda df: df.withColumnRenamed("d", "old").withColumnRenamed("a.dot", "d"),
}


@pytest.mark.parametrize("name", LEFT_TO_SPARK)
def test_everything_else_is_left_to_spark(name: str, spark: SparkSession, directory: Path) -> None:
    assert are_read(spark.read.parquet(str(directory)), NUMBERS)
    assert not are_read(LEFT_TO_SPARK[name](spark.read.parquet(str(directory))), NUMBERS)


def test_a_cached_table_is_read_from_its_cache(spark: SparkSession, directory: Path) -> None:
    df = spark.read.parquet(str(directory)).select("d", "label").cache()
    try:
        assert not are_read(df, ["d"])
    finally:
        df.unpersist()
    assert are_read(df, ["d"])


def test_files_that_differ_are_left_to_spark(spark: SparkSession, tmp_path: Path) -> None:
    x = np.arange(5.0)
    pq.write_table(pa.table({"x": x, "label": x, "more": x, "other": x}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": x, "label": x, "other": x.astype(np.float32)}), tmp_path / "2.parquet")
    df = spark.read.schema("x double, label double, more double, other double").parquet(str(tmp_path))
    assert are_read(df, ["x"])
    assert not are_read(df, ["x", "more"])
    assert not are_read(df, ["x", "other"])


@pytest.mark.parametrize("setting", CHANGING)
def test_settings_that_leave_out_files_are_for_spark(setting: str, spark: SparkSession, directory: Path) -> None:
    spark.conf.set(setting, "true")
    try:
        assert not are_read(spark.read.parquet(str(directory)), ["d"])
    finally:
        spark.conf.unset(setting)


def test_partition_columns_are_left_to_spark(spark: SparkSession, directory: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "partitioned")
    spark.read.parquet(str(directory)).select("d", "label", "part").write.partitionBy("part").parquet(path)
    assert not are_read(spark.read.parquet(path), ["d", "part"])
    assert not are_read(spark.read.parquet(path), ["d"])


def test_a_lost_partition_is_read_again(spark: SparkSession, directory: Path) -> None:
    with pack(spark.read.parquet(str(directory)), featuresCols=["d", "f"]) as data:
        estimator = LinearRegression(featuresCols=["d", "f"])
        before = estimator.fit(data)
        shutil.rmtree(data._handles.rdd.map(lambda handle: handle.directory).first())
        assert estimator.fit(data).coefficients == before.coefficients
        assert len(data._moved) == 1
