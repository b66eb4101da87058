"""The job that makes tables: what it writes, that it writes all or nothing, and how it ends."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sparkdml.datasets import Recipe, make_table, truth
from sparkdml.jobkit import failures, making
from sparkdml.owners import STALE_SECONDS, owned
from sparkdml.storage import Storage

SCRIPT = Path(__file__).resolve().parents[1] / "jobs" / "make_data.py"
SMALL = ("--rows", "200", "--features", "3")
RECIPE = Recipe(rows=200, features=3)


Job = Callable[..., Any]


@pytest.fixture
def job(run: Callable[..., Any]) -> Job:
    """Runs the job in this process, on the session of the tests."""
    return partial(run, "make_data")


def contents(directory: Path) -> list[str]:
    """Every file and directory below, with the parts' names, which differ between two writes."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.suffix != ".crc")


def recipe_of(directory: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((directory / making.COEFFICIENTS).read_text())["recipe"]
    return recipe


def test_the_table_and_its_truth_are_written(job: Job, tmp_path: Path, spark: SparkSession) -> None:
    output = tmp_path / "a b" / "table"
    ended = job("--kind", "classification", *SMALL, "--positives", "0.3", "--partitions", 2, "--output", f"{output}/")
    recipe = Recipe(kind="classification", rows=200, features=3, positives=0.3, partitions=2)
    seconds = ended.result.pop("seconds")
    told = {"status": "published", "output": str(output), "rows": 200, "features": 3, "partitions": 2}
    assert (ended.code, ended.result) == (0, told)
    assert 0 < seconds < 60
    rows = spark.read.parquet(str(output)).toPandas().sort_values("x0")
    assert np.array_equal(rows, make_table(spark, recipe).toPandas().sort_values("x0"))
    assert (output / "_SUCCESS").exists()
    assert len(list(output.glob("part-*.parquet"))) == 2
    record = json.loads((output / "_coefficients.json").read_text())
    assert Recipe(**record["recipe"]) == recipe
    assert record["coefficients"] == truth(recipe).named
    assert record["intercept"] == truth(recipe).intercept
    assert [path.name for path in output.parent.iterdir()] == ["table"]
    assert f"share of positives{rows['label'].mean():>18.6g}" in ended.out
    assert "true x2" in ended.out
    assert "making 200 rows" in ended.err


@pytest.mark.parametrize("form", ["csv", "orc", "json"])
def test_other_formats_hold_the_same_rows(job: Job, tmp_path: Path, spark: SparkSession, form: str) -> None:
    argv = [*SMALL, "--missing", "0.2", "--format", form, "--output", tmp_path / "table"]
    assert job(*argv).code == 0
    expected = make_table(spark, Recipe(rows=200, features=3, missing=0.2))
    read = spark.read.schema(expected.schema).option("header", form == "csv").format(form).load(str(tmp_path / "table"))
    rows = (frame.toPandas().sort_values("label") for frame in (read, expected))
    assert np.array_equal(*rows, equal_nan=True)


def test_vectors_come_back_as_vectors(job: Job, tmp_path: Path, spark: SparkSession) -> None:
    argv = ["--rows", 50, "--features", 1000, "--density", 0.01, "--layout", "vector", "--output", tmp_path / "table"]
    ended = job(*argv)
    recipe = Recipe(rows=50, features=1000, density=0.01, layout="vector")
    assert spark.read.parquet(str(tmp_path / "table")).collect() == make_table(spark, recipe).collect()
    assert "and 990 more coefficients" in ended.out


def test_the_same_table_again_is_not_made_again(job: Job, tmp_path: Path) -> None:
    argv = [*SMALL, "--output", tmp_path / "table"]
    first = job(*argv)
    before = contents(tmp_path)
    again = job(*argv, "--partitions", 1)  # the default of this size, said aloud
    assert (again.code, again.result) == (0, {**first.result, "seconds": again.result["seconds"]})
    assert contents(tmp_path) == before
    assert "nothing was done again" in again.out


@pytest.mark.parametrize("other", [["--seed", "1"], ["--format", "json"]])
def test_another_table_is_only_replaced_on_demand(job: Job, tmp_path: Path, other: list[str]) -> None:
    argv = ["--output", tmp_path / "table", *SMALL]
    job(*argv)
    before = contents(tmp_path)
    refused = job(*argv, *other)
    assert refused.code == 64
    assert "--overwrite" in refused.result["error"]
    assert contents(tmp_path) == before
    assert job(*argv, *other, "--overwrite").code == 0
    assert not set(contents(tmp_path)) & {name for name in before if "part-" in name}
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def test_strange_files_are_never_replaced(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "table"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    (output / "_SUCCESS").touch()
    (output / "_coefficients.json").write_text("{")
    assert job(*SMALL, "--output", output).code == 64
    assert (output / "thesis.txt").exists()
    refused = job(*SMALL, "--output", output, "--overwrite")
    assert refused.code == 64
    assert "has no _sparkdml.json, and holds thesis.txt" in refused.result["error"]
    assert (output / "thesis.txt").exists()


def test_an_empty_directory_is_free(job: Job, tmp_path: Path) -> None:
    assert job(*SMALL, "--output", tmp_path / "new" / "..", "--dry-run").code == 64
    (tmp_path / "table").mkdir()
    assert job(*SMALL, "--output", tmp_path / "table").code == 0


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--density", "2", "--output", "table"], 64, "density is 2.0"),
        (["--partitions", "none", "--output", "table"], 64, "--partitions"),
        (["--layout", "vector", "--format", "csv", "--output", "table"], 64, "use parquet"),
        (["--layout", "vector", "--format", "orc", "--output", "table"], 64, "use parquet"),
        ([], 64, "--output"),
        (["--output", "/"], 64, "name one inside it"),
        (["--output", "s3a://bucket"], 64, "name one inside it"),
        (["--output", str(SCRIPT)], 64, "is a file"),
        (["--output", str(SCRIPT / "table")], 74, "cannot publish"),
        (["--output", "/proc/sparkdml"], 77, "Permission denied"),
    ],
)
def test_each_failure_has_its_exit_code_and_comes_before_the_work(
    job: Job, monkeypatch: pytest.MonkeyPatch, argv: list[str], code: int, said: str
) -> None:
    monkeypatch.setattr(making, "_write", None)
    ended = job(*SMALL, *argv, "--log-format", "text")
    assert (ended.code, ended.result["status"], ended.result["code"]) == (code, "failed", code)
    assert said in ended.result["error"]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("failure", "code"), [(PySparkException("a task"), 69), (KeyboardInterrupt(), 130), (failures.Terminated(), 143)]
)
def test_a_failure_leaves_what_was_there_and_nothing_more(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int
) -> None:
    job(*SMALL, "--output", tmp_path / "table")
    before = contents(tmp_path)
    write = making._write

    def write_then_fail(*arguments: Any) -> float:
        write(*arguments)
        raise failure

    monkeypatch.setattr(making, "_write", write_then_fail)
    for output in ("table", "other"):
        assert job(*SMALL, "--seed", 1, "--output", tmp_path / output, "--overwrite").code == code
        assert contents(tmp_path) == before


def test_what_is_replaced_comes_back_if_the_rename_fails(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(*SMALL, "--output", tmp_path / "table")
    before = contents(tmp_path)
    move = Storage.move

    def refuse(storage: Storage, source: str, target: str) -> None:
        if "_incomplete-" in source:
            raise OSError("the disk is on fire")
        move(storage, source, target)

    monkeypatch.setattr(Storage, "move", refuse)
    ended = job(*SMALL, "--seed", 1, "--output", tmp_path / "table", "--overwrite")
    assert ended.code == 74
    assert "on fire" in ended.result["error"]
    assert contents(tmp_path) == before


def test_a_run_that_was_killed_between_its_renames_is_cleared_up(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "table"
    job(*SMALL, "--output", output)
    before = contents(tmp_path)
    output.rename(tmp_path / "_replaced-table")
    assert job(*SMALL, "--output", output).code == 0
    assert contents(tmp_path) == before
    dead = owned("").rpartition(".")[0] + ".1"
    for left in ("_replaced-table", f"_replaced-table{dead}", f"_incomplete-table{dead}", "_incomplete-table"):
        shutil.copytree(output, tmp_path / left)
    yesterday = time.time() - STALE_SECONDS - 60
    for path in [*(tmp_path / "_incomplete-table").rglob("*"), tmp_path / "_incomplete-table"]:
        os.utime(path, (yesterday, yesterday))
    assert job(*SMALL, "--seed", 1, "--output", output, "--overwrite").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["table"]
    assert recipe_of(output)["seed"] == 1


def test_a_dry_run_writes_nothing(job: Job, tmp_path: Path) -> None:
    ended = job(*SMALL, "--output", tmp_path / "table", "--dry-run")
    assert (ended.code, ended.result["status"], ended.result["partitions"]) == (0, "checked", 1)
    assert contents(tmp_path) == []


def test_every_field_of_the_recipe_is_a_flag(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        job("--help")
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in fields(Recipe):
        assert f" --{option.name.replace('_', '-')} " in text
    assert "(default: classification)" not in text
    assert "in [1e-9, 1] (default: 1.0)" in text
