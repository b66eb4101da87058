"""Columns that training computed by SQL: named where scoring lacks them, and run from a file only on demand."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkdml.files import LocalFiles
from sparkdml.jobkit import tables
from sparkdml.manifest import dump_manifest

Run = Callable[..., Any]
FLAGS = ["double_x=2 * x", "it's=double_x + length('a\"b')", "y=3 * x + z % 5", "w=1 + z % 2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def trained(run: Run, made: Path) -> Path:
    """A directory with a table and a model of it, whose features, label and weight are computed."""
    if not (made / "out").exists():
        (made / "rows.csv").write_text("x,z\n" + "\n".join(f"{i},{i * i % 11}" for i in range(40)))
        roles = ("--features", "it's,z", "--label", "y", "--weight", "w")
        argv = ("--input", made / "rows.csv", "--output", made / "out", "--with-column", *FLAGS)
        assert run("train_linreg", *argv, *roles).code == 0
    return made


def flags_in(error: str) -> list[str]:
    """The flag that an error tells to pass, as a shell reads it."""
    found = re.search(r"(--with-column .*?): pass that flag", error)
    assert found
    return shlex.split(found[1])


def test_a_lacking_column_is_told_with_the_flag_that_makes_it(run: Run, trained: Path, tmp_path: Path) -> None:
    argv = ("predict", "--model", trained / "out", "--input", trained / "rows.csv", "--output", tmp_path / "scored")
    refused = run(*argv)
    assert refused.code == 65
    assert 'there is no column "it\'s", which the training run computed by' in refused.result["error"]
    assert "SQL from the model's directory" in refused.result["error"]
    told = flags_in(refused.result["error"])
    assert told == ["--with-column", *FLAGS[:2]]
    assert run(*argv, *told).code == 0


def test_label_and_weight_are_told_where_they_are_needed(run: Run, trained: Path) -> None:
    argv = ("evaluate", "--model", trained / "out", "--input", trained / "rows.csv")
    refused = run(*argv)
    assert "'y', 'w'" in refused.result["error"]
    told = flags_in(refused.result["error"])
    assert told == ["--with-column", *FLAGS]
    by_hand, by_run = run(*argv, *told), run(*argv, "--columns-from-run")
    assert by_hand.code == by_run.code == 0
    assert by_hand.result["metrics"] == by_run.result["metrics"]


def test_columns_from_run_are_those_of_training(run: Run, trained: Path, tmp_path: Path, spark: SparkSession) -> None:
    argv = ("predict", "--model", trained / "out", "--input", trained / "rows.csv")
    assert run(*argv, "--output", tmp_path / "a", "--with-column", *FLAGS[:2]).code == 0
    assert run(*argv, "--output", tmp_path / "b", "--columns-from-run").code == 0
    a, b = (spark.read.parquet(str(tmp_path / name)).orderBy("x").toPandas() for name in "ab")
    assert list(a.columns) == list(b.columns) == ["x", "z", "double_x", "it's", "prediction"]
    assert a.equals(b)


def test_nothing_of_a_file_is_run_unasked(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expressions: list[str] = []
    monkeypatch.setattr(tables.F, "expr", lambda sql: expressions.append(sql) or F.lit(1.0))
    argv = ("--model", trained / "out", "--input", trained / "rows.csv")
    run("predict", *argv, "--output", tmp_path / "a")
    run("evaluate", *argv)
    assert expressions == []


def test_a_column_that_training_computed_anew_is_warned_of(run: Run, trained: Path, tmp_path: Path) -> None:
    train = ("--input", trained / "rows.csv", "--features", "x", "--label", "z", "--with-column", "x=ln(x + 1)")
    assert run("train_linreg", *train, "--output", tmp_path / "out").code == 0
    argv = ("--model", tmp_path / "out", "--input", trained / "rows.csv", "--log-format", "text")
    ended = run("evaluate", *argv)
    assert ended.code == 0
    assert "warning: the training run computed 'x' by --with-column" in ended.err
    assert "warning" not in run("evaluate", *argv, "--columns-from-run").err
    assert "warning" not in run("evaluate", *argv, "--with-column", "x=ln(x + 1)").err


def test_a_model_without_a_run_has_no_columns(run: Run, trained: Path) -> None:
    model = next((trained / "out" / "versions").iterdir()) / "model"
    ended = run("evaluate", "--model", model, "--input", trained / "rows.csv", "--columns-from-run")
    assert ended.code == 64
    assert "has no run.json" in ended.result["error"]
    assert "there is no column" in run("evaluate", "--model", model, "--input", trained / "rows.csv").result["error"]


@pytest.mark.parametrize("strange", ["sql", [["a"]], [["a", 1]], {"a": "b"}, [["a", "b", "c"]], 7])
def test_a_strange_run_is_refused(run: Run, trained: Path, tmp_path: Path, strange: Any) -> None:
    out = Path(shutil.copytree(trained / "out", tmp_path / "out"))
    version = next((out / "versions").iterdir())
    record = json.loads((version / "run.json").read_text())
    record["configuration"]["with_column"] = strange
    (version / "run.json").write_text(json.dumps(record))
    (version / "manifest.json").write_bytes(dump_manifest(LocalFiles(str(version))))
    ended = run("evaluate", "--model", out, "--input", trained / "rows.csv")
    assert ended.code == 84
    assert "with_column is no list of names and SQL" in ended.result["error"]


def test_control_characters_in_the_sql_are_escaped(run: Run, trained: Path, tmp_path: Path) -> None:
    train = ("--input", trained / "rows.csv", "--features", "v", "--label", "z")
    sql = "v=x + length('\x1b[2J')"
    assert run("train_linreg", *train, "--with-column", sql, "--output", tmp_path / "out").code == 0
    said = run("evaluate", "--model", tmp_path / "out", "--input", trained / "rows.csv").result["error"]
    assert flags_in(said) == ["--with-column", r"v=x + length('\x1b[2J')"]
    assert "\x1b" not in said
