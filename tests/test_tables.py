"""Every input that a job takes, and what the command line makes of it before the rows are read."""

import argparse
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.ml.linalg import SparseVector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml.errors import DataError
from sparkdml.jobkit.cli import JobParser
from sparkdml.jobkit.config import resolve
from sparkdml.jobkit.failures import InputMissingError, UsageError, exit_code
from sparkdml.jobkit.tables import add_table_flags, chosen_rows, decisive_options, read_files

Read = Callable[..., DataFrame]


def parsed(*argv: object) -> argparse.Namespace:
    parser = JobParser()
    add_table_flags(parser)
    return resolve(parser, [str(each) for each in argv], {})[0]


@pytest.fixture
def read(spark: SparkSession) -> Read:
    return lambda *argv: chosen_rows(read_files(spark, parsed(*argv)), parsed(*argv))


@pytest.fixture(scope="module")
def numbers(spark: SparkSession) -> DataFrame:
    return spark.range(20).select("id", (F.col("id") * 0.5).alias("x"), (F.col("id") % 3).cast("string").alias("k"))


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "orc"])
def test_files_of_every_format_give_the_rows(numbers: DataFrame, read: Read, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    numbers.write.format(form).options(**({"header": "true"} if form == "csv" else {})).save(str(path))
    assert read("--input", path).agg(F.sum("x"), F.count("*")).first()[:] == (95.0, 20)
    assert read("--input", path, "--format", form).count() == 20


def test_a_table_is_read_by_its_name(spark: SparkSession, numbers: DataFrame, read: Read) -> None:
    numbers.createOrReplaceTempView("numbers")
    assert read("--input", "numbers", "--format", "table").count() == 20
    with pytest.raises(InputMissingError, match="nmbers"):
        read("--input", "nmbers", "--format", "table")
    with pytest.raises(UsageError, match="reads one table"):
        read("--input", "numbers", "others", "--format", "table")
    spark.catalog.dropTempView("numbers")


def test_libsvm_is_vectors(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "rows.libsvm"
    path.write_text("1.5 1:2.0 3:1.0\n-1 2:4.0\n")
    table = read("--input", path, "--read-option", "numFeatures=5")
    assert [row.features for row in table.orderBy("label").collect()] == [
        SparseVector(5, {1: 4.0}),
        SparseVector(5, {0: 2.0, 2: 1.0}),
    ]


def test_several_paths_patterns_and_dates(read: Read, tmp_path: Path) -> None:
    for day in ("2026-11-20", "2026-11-21"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.csv").write_text(f"x,day\n1,{day}\n2,{day}\n")
    assert read("--input", tmp_path / "2026-11-20" / "a.csv", tmp_path / "2026-11-21" / "a.csv").count() == 4
    assert read("--input", tmp_path / "*" / "*.csv").count() == 4
    dated = read("--input", tmp_path / "{date}" / "a.csv", "--logical-date", "2026-11-21")
    assert {str(row.day) for row in dated.collect()} == {"2026-11-21"}
    with pytest.raises(UsageError, match="--logical-date"):
        read("--input", tmp_path / "{date}" / "a.csv")


def test_options_of_the_reader(read: Read, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1;2\n3;4\n")
    table = read("--input", tmp_path / "rows.csv", "--read-option", "sep=;", "header=false")
    assert (table.columns, table.count()) == (["_c0", "_c1"], 2)


def test_columns_are_computed_and_rows_chosen_in_order(numbers: DataFrame, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    numbers.union(numbers).write.parquet(str(path))
    table = read(
        *("--input", path, "--with-column", "y=x * 2", "--with-column", "z=y + 1", "--where", "z > 5", "--deduplicate")
    )
    assert table.columns == ["id", "x", "k", "y", "z"]
    assert sorted(row.z for row in table.collect()) == [float(z) for z in range(6, 21)]


def test_a_sample_is_a_share_and_always_the_same(spark: SparkSession, read: Read, tmp_path: Path) -> None:
    path = str(tmp_path / "many")
    spark.range(0, 20_000, 1, 4).write.parquet(path)
    found = [read("--input", path, "--sample", "0.1", "--seed", seed).count() for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert abs(found[0] - 2000) < 5 * (20_000 * 0.09) ** 0.5


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--with-column", "y=agge + 1"], "agge"),
        (["--with-column", "y=1 +"], "--with-column y=1 +"),
        (["--with-column", "y"], "'y' is not NAME=VALUE"),
        (["--where", "x >"], "--where x >"),
        (["--where", "nothing > 1"], "nothing"),
        (["--sample", "0"], "above 0"),
        (["--sample", "some"], "'some' is not a fraction"),
    ],
)
def test_wrong_expressions_are_a_wrong_command_line(numbers: DataFrame, read: Read, tmp_path: Path, argv, told) -> None:
    path = str(tmp_path / "rows")
    numbers.write.parquet(path)
    with pytest.raises(UsageError) as refusal:
        read("--input", path, *argv)
    assert told in str(refusal.value)


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "orc"])
def test_a_directory_without_data_is_missing_input(read: Read, tmp_path: Path, form: str) -> None:
    with pytest.raises(InputMissingError, match=str(tmp_path)):
        read("--input", tmp_path, "--format", form)
    with pytest.raises(InputMissingError, match="nowhere"):
        read("--input", "/nowhere", "--format", form)


def test_a_file_of_another_format_cannot_be_read(read: Read, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        read("--input", tmp_path / "rows.parquet")


WHEN = pa.array([0, 1])
ILLEGAL: dict[str, tuple[pa.Array, str]] = {
    "nanoseconds": (WHEN.cast(pa.timestamp("ns")), "TIMESTAMP(NANOS,false)"),
    "a time": (WHEN.cast(pa.time64("us")), "TIME"),
    "half precision": (pa.array([np.float16(1.0)] * 2), "FLOAT16"),
    "a decimal of 50 digits": (pa.array([Decimal(1)] * 2, pa.decimal256(50, 2)), "precision 50"),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_what_spark_has_no_type_for_is_refused(read: Read, tmp_path: Path, case: str) -> None:
    column, told = ILLEGAL[case]
    pq.write_table(pa.table({"x": column}), tmp_path / "rows.parquet")
    with pytest.raises(DataError) as refusal:
        read("--input", tmp_path / "rows.parquet")
    assert told in str(refusal.value)
    assert exit_code(refusal.value) == 65


def test_columns_that_differ_in_capitals_are_refused(read: Read, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0], "X": [1.0]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="cannot be read: The column `x` already exists"):
        read("--input", tmp_path / "rows.parquet")


def test_everything_that_chooses_rows_is_part_of_a_runs_identity() -> None:
    parser = JobParser()
    add_table_flags(parser)
    chosen = {action.dest for action in parser._actions} - {"help", "input", "logical_date"}
    assert set(decisive_options(parsed("--input", "x"))) == chosen
