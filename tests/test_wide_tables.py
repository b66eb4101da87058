"""What grows with the columns of a table grows with their number, and not with its square."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from py4j.clientserver import JavaClient
from py4j.java_gateway import GatewayClient
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from sparkdml.blocks.schema import Fields, resolve_columns
from sparkdml.errors import ColumnError, ColumnTypeError
from sparkdml.jobkit.categories import check_categories
from sparkdml.jobkit.scoring import _check_names
from sparkdml.regression import LinearRegressionModel

MANY = 8_000
NAMES = [f"x{j}" for j in range(MANY)]


def schema(names: list[str], kind: Any = None) -> StructType:
    return StructType([StructField(name, kind or DoubleType()) for name in (*names, "label")])


def reordered() -> None:
    with pytest.raises(ColumnError, match="in another order than in training: at place 0 is 'x7999'"):
        _check_names(NAMES[::-1], NAMES, "features")


LOOKS: dict[str, Callable[[], Any]] = {
    "columns": lambda: resolve_columns(schema(NAMES), NAMES, "label"),
    "categories": lambda: check_categories(schema(NAMES, StringType()), NAMES, ["label"]),
    "names of a vector": reordered,
}


@pytest.mark.parametrize("what", LOOKS)
def test_many_columns_are_found_at_once(what: str) -> None:
    LOOKS[what]()
    started = time.process_time()
    LOOKS[what]()
    assert time.process_time() - started < 1.0  # 0.04 s, and with a look at all columns for each of them 8 s


def test_columns_are_found_as_before() -> None:
    fields = Fields(StructType([*schema(["a", "A", "b", "b"]), StructField("s", schema(["c"]))]))
    assert fields.type_of("label") == DoubleType()
    for name, message in {
        "b": "there are 2 columns 'b'",
        "lable": "did you mean 'label'",
        "s.c": "but a struct 's'",
        "q": "the columns are a, A, b",
    }.items():
        with pytest.raises(ColumnError, match=message):
            fields.type_of(name)
    with pytest.raises(ColumnError, match="featuresCols names the column 'a' twice"):
        resolve_columns(schema(["a"]), ["a", "a"], "label")
    with pytest.raises(ColumnTypeError, match="the feature column 's' is of type struct"):
        resolve_columns(StructType([*schema(["a"]), StructField("s", schema(["c"]))]), ["a", "s"], "label")


@pytest.fixture
def calls(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that Python sends to Java."""
    sent: list[str] = []
    for client in (GatewayClient, JavaClient):
        send = client.send_command
        monkeypatch.setattr(
            client, "send_command", lambda self, command, *rest, send=send, **more: (
                sent.append(command), send(self, command, *rest, **more)
            )[1],
        )  # fmt: skip
    return sent


@pytest.mark.parametrize("means", [False, True])
def test_a_transform_asks_java_as_often_for_many_columns_as_for_few(
    spark: SparkSession, calls: list[str], means: bool
) -> None:
    def count(d: int) -> int:
        names = [f"a`b {j}" for j in range(d)]
        table: DataFrame = spark.createDataFrame([tuple([1.0] * (d + 1))], schema(names))
        model = LinearRegressionModel(np.ones(d), 0.5, tuple(names), None, np.full(d, 2.5) if means else None)
        model._set(featuresCols=names)
        del calls[:]
        model.transform(table)
        return sum(not command.startswith("m\n") for command in calls)  # those release objects whenever Python likes

    count(5)  # the first of a session asks more
    few, many = count(5), count(1000)
    assert few > 0
    assert many < few + 100


@pytest.mark.parametrize("mean", [1e-300, -2.5, 1.0 / 3.0, 1.7976931348623157e308, 0.0, 123456789.123456789])
def test_means_keep_all_their_digits(spark: SparkSession, mean: float) -> None:
    table = spark.createDataFrame([(None,), (float("nan"),), (1.0,)], "x double")
    model = LinearRegressionModel(np.ones(1), 0.0, ("x",), None, np.array([mean]))
    model._set(featuresCols=["x"])
    assert [row.prediction for row in model.transform(table).collect()] == [mean, mean, 1.0]
