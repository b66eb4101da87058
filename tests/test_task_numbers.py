"""No result depends on the number of the task that computes it.

A pass over more partitions than four a core has fewer tasks than partitions. When an executor dies, such a task packs
the lost ones of its partitions again, and its own number is that of none of them.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import pack
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.means import SCHEMA, SumPresent, load_nodes
from sparkdml.blocks.schema import select_columns
from sparkdml.blocks.store import Handle
from sparkdml.engine import spark_data
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import DataError
from sparkdml.evaluation import regression_metrics

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

ROWS, PARTITIONS = 400, 9
NAMES = ["a", "b"]


def rows(spark: SparkSession) -> DataFrame:
    """Rows in nine partitions, the fifth of them empty, with some missing numbers."""
    df = spark.range(0, ROWS, 1, PARTITIONS).where("id < 178 OR id > 221")
    b = F.when(F.col("id") % 50 != 7, F.cos("id"))
    return df.select(F.sin("id").alias("a"), b.alias("b"), (F.col("id") % 3 == 0).cast("int").alias("label"))


@pytest.fixture(scope="module")
def table(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the rows as Parquet files."""
    path = str(tmp_path_factory.mktemp("numbers") / "table")
    rows(spark).write.parquet(path)
    return path


SOURCES: dict[str, Callable[[SparkSession, str], DataFrame]] = {
    "rows of Spark": lambda spark, _: rows(spark),
    "Parquet files": lambda spark, path: spark.read.parquet(path),
    "a union": lambda spark, _: rows(spark).union(rows(spark).coalesce(2)),
    "a shuffle": lambda spark, _: rows(spark).repartition(7, "a"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "skip": {"handleInvalid": "skip"},
    "validation": {"validationFraction": 0.3},
    "mean": {"handleInvalid": "mean"},
    "fewer tasks": {"numPartitions": 2},
    "more partitions": {"numPartitions": 13},
    "random": {"partitioning": "random"},
    "stratified": {"partitioning": "stratified", "numPartitions": 5},
    "oversampled": {"sampling": "oversample", "validationFraction": 0.2},
}
CASES = [(source, "validation") for source in SOURCES] + [
    (source, option) for source in list(SOURCES)[:2] for option in OPTIONS if option != "validation"
]


def stored(handles: list[Handle]) -> dict[int, tuple[Any, ...]]:
    """What there is of each partition: the rows that the handle states, and the bytes of every file."""
    return {
        each.partition: (
            *(each.layouts, each.digest, each.order),
            *(Path(each.directory, part).read_bytes() for part in each.parts),
        )
        for each in handles
    }


def packed(spark: SparkSession, table: str, source: str, option: str) -> SparkData:
    options = {"handleInvalid": "skip", "seed": 5, **OPTIONS[option]}
    return pack(SOURCES[source](spark, table), featuresCols=NAMES, **options)


@pytest.mark.thinned
@pytest.mark.parametrize(("source", "option"), CASES)
def test_partitions_are_packed_again_the_same_in_any_task(
    spark: SparkSession, table: str, source: str, option: str
) -> None:
    with packed(spark, table, source, option) as data:
        first = stored(data._handles.rdd.collect())
        assert sorted(first) == list(range(data.partitions))
        for tasks in (1, 3):
            again = data._packed.coalesce(tasks).collect()
            assert len(again) == data.partitions
            assert stored(again) == first


def test_the_sources_take_the_routes_that_they_are_named_for(
    spark: SparkSession, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes, numbered = [], spark_data.numbered
    monkeypatch.setattr(spark_data, "numbered", lambda rows: routes.append("Spark") or numbered(rows))
    for source in SOURCES:
        packed(spark, table, source, "skip").release()
        routes.append(source)
    assert routes == ["Spark", "rows of Spark", "Parquet files", "Spark", "a union", "Spark", "a shuffle"]


def test_sums_of_present_numbers_are_those_of_their_partition(spark: SparkSession) -> None:
    columns = Columns(tuple(NAMES), "scalars", tuple(NAMES), {"label": "label"})
    found = select_columns(rows(spark), columns).mapInArrow(SumPresent(columns, 2), SCHEMA).rdd
    nodes = found.mapPartitionsWithIndex(load_nodes)
    alone, together = ({key: each.sums for key, each in rdd.collect()} for rdd in (nodes, nodes.coalesce(2)))
    assert sorted(alone) == sorted(together) == [(0, p) for p in range(PARTITIONS)]
    for key, sums in alone.items():
        if sums is None:
            assert together[key] is None
        else:
            assert sums.total.tobytes() == together[key].total.tobytes()


def test_a_bad_value_is_in_the_partition_that_an_error_names(spark: SparkSession) -> None:
    df = spark.range(0, 40, 1, 4).select(
        F.col("id").cast("double").alias("label"), F.when(F.col("id") != 25, F.col("id") * 1.0).alias("prediction")
    )
    for refuse in (
        lambda: pack(df, featuresCols=["prediction"]),
        lambda: regression_metrics(df, "label", "prediction", None),
    ):
        with pytest.raises(DataError, match="row 5 of partition 2"):
            refuse()


def test_no_code_asks_for_the_number_of_its_task() -> None:
    asked = re.compile(r"partitionId|attemptNumber|taskAttemptId|stageId\(")
    files = sorted((Path(__file__).parents[1] / "sparkdml").rglob("*.py"))
    assert len(files) > 100
    assert [str(path) for path in files if asked.search(path.read_text())] == []


def test_local_rows_are_numbered_by_partition(spark: SparkSession) -> None:
    rows = pd.DataFrame({"x": np.arange(50.0), "label": np.arange(50.0) % 7.0})
    with pack(spark.createDataFrame(rows), featuresCols=["x"], validationFraction=0.3, seed=1) as data:
        assert data.partitions > 1
        assert sum(content.rows for content in data.contents) == data.statistics.count == 50
