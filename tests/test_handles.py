"""The handles of a pack, in as many tasks as a job shall have."""

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import sparkdml
from sparkdml.engine import handles
from sparkdml.engine.handles import even_parts
from sparkdml.engine.spark_data import SparkData
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient

SIZES = {
    "equal": [5] * 16,
    "rising": list(range(1, 20)),
    "one vast": [1, 1, 1, 1000, 1, 1],
    "the first": [1000, 1, 1, 1],
    "the last": [1, 1, 1, 1000],
    "none": [0] * 7,
    "drawn": np.random.default_rng(0).integers(0, 100, 40).tolist(),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_parts_are_all_of_it_in_order_none_empty_and_none_much_above_its_share(sizes: list[int]) -> None:
    for count in range(1, len(sizes) + 1):
        parts = even_parts(sizes, count)
        assert len(parts) == count
        assert [i for part in parts for i in range(len(sizes))[part]] == list(range(len(sizes)))
        assert all(part.stop > part.start for part in parts)
    halves = [sum(sizes[part]) for part in even_parts(sizes, 2)]
    assert max(halves) <= sum(sizes) / 2 + max(sizes)


def skewed(spark: SparkSession) -> SparkData:
    """Six partitions, of which the last has half of the rows."""
    df = spark.range(0, 1200, 1, 6).withColumn("copies", F.when(F.col("id") < 1000, 1).otherwise(5))
    rows = df.select(F.explode(F.array_repeat("id", "copies")).alias("id"))
    return sparkdml.pack(rows.selectExpr("sin(id) AS x", "id % 2 AS label"), featuresCols=["x"])


def test_tasks_have_about_the_same_bytes_whatever_the_partitions_have(spark: SparkSession) -> None:
    with skewed(spark) as data:
        assert [content.rows for content in data.contents] == [200] * 5 + [1000]
        tasks = data._handles.divided(2).glom().collect()
        assert [[handle.partition for handle in task] for task in tasks] == [[0, 1, 2, 3, 4], [5]]


def test_every_division_has_the_same_bits(spark: SparkSession) -> None:
    query = Gradient(LOSSES["logistic"], np.array([[0.3]]), np.array([0.1]))
    with skewed(spark) as data:
        found = set()
        for data._tasks in range(1, 7):
            (answer,) = data.run([query])
            found.add((answer.value, answer.w.tobytes(), answer.b.tobytes()))
        assert len(found) == 1


def test_a_core_has_more_tasks_the_more_there_is_to_read(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    df = spark.range(0, 1600, 1, 16).selectExpr("1.0 * id AS x", "id AS label")
    cores = spark.sparkContext.defaultParallelism
    for nbytes, tasks in ((1 << 20, 1), (10_000, 2), (5_000, 3), (1_000, 4)):
        monkeypatch.setattr(handles, "TASK_BYTES", nbytes)
        with sparkdml.pack(df, featuresCols=["x"]) as data:
            assert data.tasks == tasks * cores
