"""Which columns a training job takes for features, and that none of them vanishes unseen."""

import argparse
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.mllib.linalg import VectorUDT as OldVectorUDT
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from sparkdml.errors import ColumnError, ColumnTypeError
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.features import Features, check_features, choose_features
from sparkdml.regression import LinearRegression

Job = Callable[..., Any]
DDL = "label double, age int, paid boolean, town string, day date, user_id long, many array<double>, price decimal(9,2)"
pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture
def job(run: Callable[..., Any]) -> Job:
    return partial(run, "train_linreg")


def chosen(schema: StructType | None = None, **given: Any) -> Features:
    names = ("features", "features_col", "categorical", "leave_out", "weight")
    options = argparse.Namespace(**{**dict.fromkeys(names), **given})
    return choose_features(LinearRegression(labelCol="label"), schema or StructType.fromDDL(DDL), options)


def test_numbers_and_booleans_are_features_and_the_rest_is_told() -> None:
    found = chosen()
    assert found.columns == ["age", "paid", "user_id", "price"]
    assert found.left_out == found.unsaid == ["town", "day", "many"]
    assert found.like_ids == ["user_id"]
    told = {"features": ["age", "paid", "price", "town"], "left_out": ["day", "user_id", "many"], "like_ids": []}
    assert chosen(categorical=["town"], leave_out=["user_id"]).told() == told
    assert chosen(categorical=["town"], leave_out=["user_id"]).unsaid == ["day", "many"]


def test_what_is_named_is_taken_and_nothing_is_said_of_the_rest() -> None:
    assert chosen(features=["age"]) == Features(["age"], [], [], [], [])
    assert chosen(features_col="many") == Features("many", [], [], [], [])
    with pytest.raises(UsageError, match="--leave-out goes with the default"):
        chosen(features=["age"], leave_out=["paid"])
    with pytest.raises(UsageError, match="not with --features-col"):
        chosen(features_col="many", categorical=["town"])


def test_the_only_vector_is_taken_where_there_is_no_number(spark: SparkSession) -> None:
    vectors = StructType.fromDDL("label double, x double, k string").add("f", VectorUDT())
    assert chosen(vectors).columns == ["x"]
    assert chosen(vectors, leave_out=["x"]).columns == "f"
    with pytest.raises(ColumnError, match=r"no numeric column is left.*k \(string\)"):
        table = spark.createDataFrame([(1.0, "a")], "label double, k string")
        check_features(chosen(table.schema), table, argparse.Namespace(with_column=None, format="table", input=["t"]))
    with pytest.raises(ColumnTypeError, match=r"MLUtils\.convertVectorColumnsToML"):
        chosen(StructType.fromDDL("label double").add("f", OldVectorUDT()))


def test_all_that_is_wrong_with_the_columns_is_said_at_once() -> None:
    with pytest.raises((ColumnError, ColumnTypeError)) as refusal:
        chosen(features=["agee", "town", "day", "paid"], weight="town", categorical=["price"])
    said = str(refusal.value)
    assert "\n" not in said
    for part in ("'agee': did you mean 'age'?", "weight column 'town'", "feature column 'town'", "'day'", "'price'"):
        assert part in said
    assert "'paid'" not in said
    assert "name it with --categorical" in said
    assert "StringIndexer" not in said
    many = StructType.fromDDL("label double, x string")
    with pytest.raises(ColumnError, match="and 11 more columns are wrong"):
        chosen(many, features=[f"x{i}" for i in range(20)] + ["x"])


def write(path: Path, cells: list[str], more: str = "") -> str:
    """A table whose label is twice x plus the row's parity; x is as `cells` have it."""
    lines = [f"{cell},{i % 7},{2 * i + i % 2}" for i, cell in enumerate(cells)]
    path.write_text("\n".join([f"x{more},z,label", *lines]) + "\n")
    return str(path)


NUMBERS = [str(i) for i in range(200)]


@pytest.mark.thinned
@pytest.mark.parametrize("bad", ["NA", "N/A", '"1,234.50"', "-", "n.a.", "1 000", "12 EUR", "#DIV/0!"])
def test_one_bad_cell_does_not_make_a_feature_vanish(job: Job, tmp_path: Path, bad: str) -> None:
    path = write(tmp_path / "rows.csv", [*NUMBERS[:57], bad, *NUMBERS[58:]])
    ended = job("--input", path, "--output", tmp_path / "out")
    assert ended.code == 65
    said = ended.result["error"]
    assert "column 'x' is text, though 199 of its 200 cells are numbers" in said
    assert bad.strip('"') in said
    assert "--leave-out x" in said
    assert not (tmp_path / "out" / "LATEST").exists()
    without = job("--input", path, "--leave-out", "x")
    assert (without.code, without.result["features"], without.result["left_out"]) == (0, ["z"], ["x"])


def test_the_advice_of_a_bad_cell_works(job: Job, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [*NUMBERS[:57], "NA", *NUMBERS[58:], "NA"])
    assert "--read-option nullValue=NA" in job("--input", path).result["error"]
    ended = job("--input", path, "--read-option", "nullValue=NA", "--handle-invalid", "skip")
    assert (ended.code, ended.result["features"], ended.result["rows_skipped"]) == (0, ["x", "z"], 2)
    assert ended.result["metrics"]["r2"] > 0.99


def test_only_what_nearly_all_is_numbers_is_refused(job: Job, tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(1, 12)]
    enough = write(tmp_path / "enough.csv", [*NUMBERS[:190], *names[:10]])
    fewer = write(tmp_path / "fewer.csv", [*NUMBERS[:189], *names])
    assert "190 of its 200 cells are numbers: " in job("--input", enough).result["error"]
    ended = job("--input", fewer, "--log-format", "text")
    assert (ended.code, ended.result["features"], ended.result["left_out"]) == (0, ["z"], ["x"])
    assert "warning: left out, since they are not numeric: x (string)." in ended.err


def test_json_is_guessed_too_and_booleans_vanish_as_numbers_do(job: Job, tmp_path: Path) -> None:
    rows = [{"x": float(i), "b": i % 3 == 0, "label": i} for i in range(100)]
    rows[7]["x"], rows[11]["b"] = "none", "yes"
    (tmp_path / "rows.json").write_text("\n".join(map(json.dumps, rows)))
    said = job("--input", tmp_path / "rows.json").result["error"]
    assert "'x' is text, though 99 of its 100" in said
    assert "'b' is text, though 99 of its 100" in said


@pytest.mark.parametrize("form", ["parquet", "orc"])
def test_in_typed_formats_text_is_deliberate_and_costs_no_job(
    job: Job, tmp_path: Path, spark: SparkSession, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = spark.range(100).select(
        F.col("id").cast("double").alias("label"), "id", F.col("id").cast("string").alias("code")
    )
    rows.withColumn("code", F.when(F.col("id") == 3, "x").otherwise(F.col("code"))).write.format(form).save(
        str(tmp_path / "rows")
    )
    monkeypatch.setattr("sparkdml.jobkit.features._is_number", None)
    ended = job("--input", tmp_path / "rows", "--format", form, "--log-format", "text")
    assert (ended.code, ended.result["left_out"], ended.result["like_ids"]) == (0, ["code"], ["id"])
    assert "warning: among the features are id, which are called like identifiers" in ended.err


def test_bad_cells_of_random_tables_are_always_found(job: Job, tmp_path: Path) -> None:
    """A law: whatever single column gets a bad cell, a fit by default ends with it or with an error, never without."""
    draw = random.Random(7)
    for round_number in range(6):
        width, rows = draw.randint(2, 5), draw.randint(40, 120)
        table = [[f"{draw.gauss(0, 10):.3f}" for _ in range(width)] for _ in range(rows)]
        j = draw.randrange(width)
        table[draw.randrange(rows)][j] = draw.choice(["NA", "null", "?", "1.2.3", "nil", "NULL", "x"])
        head = ",".join([*(f"c{i}" for i in range(width)), "label"])
        path = tmp_path / f"{round_number}.csv"
        path.write_text("\n".join([head, *(",".join([*row, f"{draw.random():.3f}"]) for row in table)]))
        ended = job("--input", path, "--dry-run")
        assert ended.code == 65
        assert f"'c{j}'" in ended.result["error"]


def test_a_table_without_features_of_the_version_before_is_refused(job: Job, tmp_path: Path) -> None:
    both, one = tmp_path / "both.csv", tmp_path / "one.csv"
    both.write_text("a,b,label\n" + "\n".join(f"{i},{i * i % 7},{3 * i}" for i in range(30)))
    one.write_text("a,label\n" + "\n".join(f"{i},{3 * i}" for i in range(30)))
    output = ("--output", tmp_path / "out")
    assert job("--input", one, *output, "--logical-date", "2026-11-01").code == 0
    assert job("--input", both, *output, "--logical-date", "2026-11-20").code == 0
    for flags in (["--logical-date", "2026-11-21"], [], ["--dry-run"]):
        ended = job("--input", one, *output, *flags)
        assert ended.code == 65
        assert "2026-11-20-" in ended.result["error"]
        assert "has features that this table lacks: b;" in ended.result["error"]
    # a backfill is compared with what was before it, and more features are welcome
    assert job("--input", one, *output, "--logical-date", "2026-11-05").code == 0
    assert job("--input", both, *output, "--logical-date", "2026-11-06").code == 0
    allowed = job("--input", one, *output, "--logical-date", "2026-11-21", "--allow-feature-change")
    assert (allowed.code, allowed.result["features"], allowed.result["latest"]) == (0, ["a"], True)
    assert job("--input", one, *output, "--logical-date", "2026-11-22").code == 0


def test_categories_and_names_in_vectors_are_features_of_a_version_too(
    job: Job, tmp_path: Path, spark: SparkSession
) -> None:
    (tmp_path / "a.csv").write_text("k,b,label\n" + "\n".join(f"{'uvw'[i % 3]},{i % 2 > 0},{i}" for i in range(30)))
    (tmp_path / "b.csv").write_text("b,label\n" + "\n".join(f"{i % 2 > 0},{i}" for i in range(30)))
    output = ("--output", tmp_path / "out")
    first = job("--input", tmp_path / "a.csv", "--categorical", "k", *output)
    assert (first.code, first.result["features"]) == (0, ["b", "k"])
    assert "lacks: k;" in job("--input", tmp_path / "b.csv", *output).result["error"]

    rows = spark.createDataFrame([(Vectors.dense(i, i % 5), float(i)) for i in range(20)], ["v", "label"])
    for path, names in (("p", ["left", "right"]), ("q", ["left", "other"])):
        attributes = {"ml_attr": {"attrs": {"numeric": [{"idx": j, "name": n} for j, n in enumerate(names)]}}}
        rows.withMetadata("v", attributes).write.parquet(str(tmp_path / path))
    output = ("--output", tmp_path / "vectors")
    assert job("--input", tmp_path / "p", *output).code == 0
    assert "lacks: right;" in job("--input", tmp_path / "q", *output).result["error"]


def test_boolean_categories_are_encoded(job: Job, run: Callable[..., Any], tmp_path: Path, spark: SparkSession) -> None:
    path, scored = tmp_path / "rows.csv", tmp_path / "scored"
    path.write_text("k,x,label\n" + "\n".join(f"{i % 3 == 0},{i % 5},{5 * (i % 3 == 0) + i % 5}" for i in range(60)))
    ended = job("--input", path, "--categorical", "k", "--output", tmp_path / "out")
    assert ended.code == 0
    assert "k=true" in ended.out or "k=false" in ended.out
    assert run("predict", "--model", tmp_path / "out", "--input", path, "--output", scored).code == 0
    worst = spark.read.parquet(str(scored)).agg(F.max(F.abs(F.col("prediction") - F.col("label")))).first()
    assert worst is not None
    assert worst[0] < 1e-8
