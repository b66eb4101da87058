"""Which rows share a partition: every row is still there, in partitions as they were asked for, and again the same."""

import shutil
from typing import Any

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import chi2

from sparkdml import pack
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.contents import UNEVEN, Content, table_of, told_uneven
from sparkdml.blocks.partitioning import PARTITIONINGS, moved, ordered, stride, target_keys
from sparkdml.blocks.schema import select_columns
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import ColumnError, ColumnTypeError
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient

MOVING = [how for how in PARTITIONINGS if how != "as-is"]
COLUMNS = Columns(("x",), "scalars", ("x",), {"label": "label"})
# How many rows each source partition has.
SOURCES = {
    "one": [1000],
    "most rows in one": [20, 900, 0, 50, 30],
    "equal": [100] * 10,
    "twenty small ones": [3] * 20,
    "empty ones": [0, 0, 400, 0, 0, 7, 0],
}


def source(spark: SparkSession, sizes: list[int], backwards: bool = False) -> DataFrame:
    """Rows x in partitions of these sizes, in ascending or descending order; every third has the label 1."""
    most = max(sizes)
    first, size = (
        f"({most} * (id div {most}))",
        f"element_at(array({', '.join(map(str, sizes))}), int(id div {most}) + 1)",
    )
    place = f"id % {most}"
    df = spark.range(0, most * len(sizes), 1, len(sizes)).where(f"{place} < {size}")
    x = f"{first} + {size} - 1 - {place}" if backwards else "id"
    return df.selectExpr(f"1.0 * ({x}) AS x").selectExpr("x", "1.0 * (x % 3 = 0)::int AS label")


def dealt(df: DataFrame, how: str, count: int, seed: int = 0) -> list[list[tuple[float, float]]]:
    """The rows (x, label) of each partition, in their order there."""
    rows = ordered(select_columns(df, COLUMNS), seed, by_label=how == "stratified")
    found = moved(rows, how, count, seed).select(F.spark_partition_id(), F.col("features")[0], "label").collect()
    return [[(x, label) for p, x, label in found if p == partition] for partition in range(count)]


@pytest.mark.parametrize("how", MOVING)
def test_the_rows_are_dealt_out_as_was_asked_for(spark: SparkSession, how: str) -> None:
    for count, sizes in zip([7, 4, 7, 3, 1], SOURCES.values(), strict=True):
        df = source(spark, sizes)
        parts = dealt(df, how, count)
        assert sorted(row for part in parts for row in part) == sorted((x, label) for x, label in df.collect())
        counts = np.array([len(part) for part in parts])
        ones = np.array([sum(label for _, label in part) for part in parts])
        slack = 1 + len(sizes) // 4  # each source partition leaves a few rows over, whoever gets them
        if how == "random":
            expected = sum(sizes) / count
            assert np.sum((counts - expected) ** 2 / expected) < chi2.ppf(0.9999, max(count - 1, 1))
        else:
            assert np.ptp(counts) <= slack
        if how == "stratified":
            assert np.ptp(ones) <= 2 * slack


def test_a_pattern_of_the_source_does_not_survive(spark: SparkSession) -> None:
    """Labels 0, 1, 0, 1 dealt in that order would leave each of two partitions with one label."""
    df = spark.range(0, 400, 1, 2).selectExpr("1.0 * id AS x", "1.0 * (id % 2) AS label")
    shares = [np.mean([label for _, label in part]) for part in dealt(df, "uniform", 2)]
    np.testing.assert_allclose(shares, 0.5, atol=0.15)


def test_a_continuous_label_has_the_same_distribution_everywhere(spark: SparkSession) -> None:
    df = spark.range(0, 1000, 1, 3).selectExpr("1.0 * id AS x", "exp(id / 200) AS label")
    for part in dealt(df, "stratified", 4):
        quantiles = np.quantile([x for x, _ in part], [0.1, 0.5, 0.9])
        np.testing.assert_allclose(quantiles, [100.0, 500.0, 900.0], atol=15.0)


@pytest.mark.parametrize("how", MOVING)
def test_rows_that_come_in_another_order_go_to_the_same_places(spark: SparkSession, how: str) -> None:
    df, turned = source(spark, [60, 0, 200]), source(spark, [60, 0, 200], backwards=True)
    assert [row.x for row in df.collect()] != [row.x for row in turned.collect()]
    assert dealt(df, how, 3) == dealt(turned, how, 3)
    assert dealt(df, how, 3) != dealt(df, how, 3, seed=1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_keys_need_no_job_and_starts_meet_every_partition(spark: SparkSession, count: int) -> None:
    context = spark.sparkContext
    context.setJobGroup(f"keys {count}", "none is expected")
    try:
        assert len(set(target_keys(spark, count))) == count
        assert list(context.statusTracker().getJobIdsForGroup(f"keys {count}")) == []
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)
    assert {partition * stride(count) % count for partition in range(count)} == set(range(count))


def table(spark: SparkSession) -> DataFrame:
    return spark.range(0, 120, 1, 3).selectExpr(
        *(
            "1.0 * id AS x",
            "cast(id >= 60 AS double) AS label",
            "CASE WHEN id % 4 > 0 THEN concat('k', id % 4) END AS k",
        ),
        *("1.0 + id % 2 AS weight", "map(id, id) AS pairs"),
    )


def contents(data: SparkData) -> list[tuple[int, float]]:
    return [(each.rows, each.label_mean) for each in data.contents]


def test_packing_moves_the_rows_and_loses_none(spark: SparkSession) -> None:
    df = table(spark)
    with pack(df, featuresCols=["x"]) as data:
        assert [rows for rows, _ in contents(data)] == [40, 40, 40]
        mean = data.statistics.mean
    for how, wanted in (("stratified", 4), ("k", None)):
        with pack(df, featuresCols=["x"], partitioning=how, numPartitions=wanted) as data:
            assert (data.partitions, data.statistics.count) == (wanted or 3, 120)
            np.testing.assert_allclose(data.statistics.mean, mean, rtol=1e-12)
            if how == "stratified":
                np.testing.assert_allclose([share for _, share in contents(data)], 0.5, atol=0.05)
            if how == "k":  # the null of every fourth row stays in the company of its equals
                assert sorted(rows for rows, _ in contents(data) if rows)[0] >= 30
                assert all(rows % 30 == 0 for rows, _ in contents(data))


def test_vectors_and_weights_move_too(spark: SparkSession) -> None:
    rows = [(Vectors.sparse(3, [i % 3], [float(i)]) if i % 2 else Vectors.dense(i, 1, 2), i % 2, i) for i in range(40)]
    df = spark.createDataFrame(rows, ["features", "label", "weight"]).coalesce(2)
    with pack(df, weightCol="weight") as still, pack(df, weightCol="weight", partitioning="uniform") as data:
        for name in ("mean", "m2", "weight"):
            np.testing.assert_allclose(getattr(data.statistics, name), getattr(still.statistics, name), rtol=1e-12)


def test_lost_files_come_back_to_the_same_bits(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    query = Gradient(LOSSES["squaredError"], np.ones((1, 1)), np.zeros(1))
    wanted: dict[str, Any] = {"featuresCols": ["x"], "partitioning": "random"}
    with pack(table(spark), **wanted) as data, pack(table(spark), **wanted) as again:
        (before,), handles = data.run([query]), data._handles.rdd.collect()
        assert [(each.digest, each.order) for each in again._handles.rdd.collect()] == [
            (each.digest, each.order) for each in handles
        ]
        shutil.rmtree(handles[1].directory)
        (after,) = data.run([query])
        assert (after.value, after.w) == (before.value, before.w)  # type: ignore[attr-defined]
        assert "packing 1 of 3 partitions again" in caplog.text
        assert "another order" not in caplog.text


def test_a_partitioning_that_is_none_is_refused(spark: SparkSession) -> None:
    for how, told in (("unifrom", "is none of .*as-is"), ("kk", "no column 'kk'"), ("Label", "did you mean 'label'")):
        with pytest.raises(ColumnError, match=told):
            pack(table(spark), featuresCols=["x"], partitioning=how)
    with pytest.raises(ColumnTypeError, match="type map"):
        pack(table(spark), featuresCols=["x"], partitioning="pairs")


# The table of what is in the partitions.


def content(partition: int, rows: int, label: float = 0.0) -> Content:
    return Content(partition, rows, 2.0 * rows, {label: (rows, 2.0 * rows)} if rows else {}, label, 1 << 20)


def test_many_partitions_are_cut_to_the_largest_and_the_smallest() -> None:
    lines = table_of([content(p, 10 * (p % 500), p % 2) for p in range(1000)]).splitlines()
    assert len(lines) == 1 + 10 + 1 + 10 + 1
    assert lines[11] == "... 980 more"
    assert [line.split()[0] for line in lines[1:3]] == ["499", "999"]
    assert [line.split()[1] for line in lines[-2:]] == ["0", "2,495,000"]
    assert len(table_of([content(p, 5) for p in range(1000)], limit=3).splitlines()) == 1 + 4 + 1


@pytest.mark.parametrize("uncounted", [False, True])
def test_many_labels_have_a_mean_instead(uncounted: bool) -> None:
    parts = [Content(p, 10, 10.0, None if uncounted else {float(p): (10, 10.0)}, float(p), 0) for p in range(9)]
    lines = table_of([*parts, Content(9, 0, 0.0, {}, float("nan"), 0)]).splitlines()
    assert lines[0].split()[-2:] == ["Mean", "label"]
    assert [line.split()[-1] for line in lines[1:]] == [*map(str, range(9)), "-", "4"]


def test_an_uneven_table_is_told_once(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    assert told_uneven([content(p, 10) for p in range(20)]) is None
    even = [content(p, 10) for p in range(20)]
    assert told_uneven([*even, content(20, int(10 * UNEVEN * 1.1))]) is None
    assert "partition 20 of 21 has 67% of the rows" in str(told_uneven([*even, content(20, 400)]))
    with caplog.at_level("INFO", "sparkdml"), pack(source(spark, [5, 90, 0, 1]), featuresCols=["x"]):
        assert caplog.text.count("partitioning='uniform' gives each as many") == 1
