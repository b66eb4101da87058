"""What ``--overwrite`` replaces, and what it never does: inputs, models, where the job runs, what others wrote."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import sparkdml
from sparkdml.jobkit import replacing
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.replacing import check_free
from sparkdml.storage import Storage

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def place(run: Run, made: Path, tmp_path: Path, spark: SparkSession) -> Path:
    """A directory with a published model in `out` and a table in `data/rows`."""
    rows = made / "data" / "rows"
    if not rows.exists():
        table = spark.range(40).selectExpr("double(id) as x", "2.0 * id + id % 2 as label")
        table.coalesce(1).write.parquet(str(rows))
        assert run("train_linreg", "--input", rows, "--output", made / "out").code == 0
    return Path(shutil.copytree(made, tmp_path / "place"))


def listing(directory: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(directory)), path.stat().st_mtime_ns) for path in directory.rglob("*"))


OUTPUTS = {
    "the input itself": "data/rows",
    "what holds the input": "data",
    "what lies in the input": "data/rows/scored",
    "the input by another name": "link",
    "the input with dots": "data/../data/rows",
    "the model's OUTPUT": "out",
    "the model's version": "out/versions",
    "a directory in the model": "out/model",
    "all of it": ".",
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize("marked", [False, True], ids=["unmarked", "marked"])
def test_neither_input_nor_model_is_ever_replaced(place: Path, output: str, marked: bool, spark: SparkSession) -> None:
    (place / "link").symlink_to(place / "data" / "rows")
    target = place / output
    if not target.exists():
        target.mkdir()
        (target / "more").touch()
    if marked:
        (target / replacing.MARKER).write_bytes(replacing._WRITTEN)
    kept = (
        [f"{place}/data/rows", f"file:{place}/data/rows/part-0"],
        [str(place / "out"), f"{place}/out/versions/v/model"],
    )
    (place / "out" / "model").mkdir(exist_ok=True)
    before = listing(place)
    with pytest.raises(UsageError, match="--overwrite would replace"):
        check_free(Storage(spark), str(target), True, *kept)
    assert listing(place) == before


@pytest.mark.parametrize("name", ["predict", "evaluate"])
@pytest.mark.parametrize("output", ["data/rows", "out"])
def test_a_job_that_would_replace_what_it_reads_is_refused(run: Run, place: Path, output: str, name: str) -> None:
    before = listing(place)
    argv = ("--model", place / "out", "--input", place / "data" / "rows", "--output", place / output, "--overwrite")
    ended = run(name, *argv)
    assert ended.code == 64
    assert "--overwrite would replace" in ended.result["error"]
    assert listing(place) == before


def test_the_input_of_a_pattern_and_of_a_table_are_inputs(run: Run, place: Path, spark: SparkSession) -> None:
    predict = ("predict", "--model", place / "out", "--output", place / "data", "--overwrite")
    assert run(*predict, "--input", place / "data" / "*").code == 64
    spark.read.parquet(str(place / "data" / "rows")).createOrReplaceTempView("rows_to_score")
    assert run(*predict, "--format", "table", "--input", "rows_to_score").code == 64
    spark.catalog.dropTempView("rows_to_score")


@pytest.mark.parametrize("what", ["working directory", "package"])
def test_where_the_job_runs_is_never_replaced(
    run: Run, place: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "working directory":
        (place / "here" / "inside").mkdir(parents=True)
        (place / "here" / replacing.MARKER).write_bytes(replacing._WRITTEN)
        monkeypatch.chdir(place / "here" / "inside")
        target = place / "here"
    else:
        monkeypatch.chdir(place)
        target = Path(sparkdml.__file__).parents[1]
    ended = run("make_data", "--rows", 9, "--features", 2, "--output", target, "--overwrite")
    assert ended.code == 64
    assert what in ended.result["error"]
    assert Path(os.getcwd()).exists()


def test_what_no_job_of_ours_wrote_is_never_replaced(run: Run, tmp_path: Path, spark: SparkSession) -> None:
    argv = ("make_data", "--rows", 9, "--features", 2, "--overwrite", "--output", tmp_path / "there")
    strange = {
        "a file": lambda there: (there / "thesis.txt").write_text("years of work"),
        "a file beside a complete table": lambda there: [(there / n).touch() for n in ("_SUCCESS", "part-0", "x.csv")],
        "a table that is not complete": lambda there: (there / "part-00000.parquet").touch(),
        "a directory": lambda there: (there / "inner").mkdir(),
        "a partitioned table": lambda there: [(there / "_SUCCESS").touch(), (there / "day=1").mkdir()],
    }
    for make in strange.values():
        (tmp_path / "there").mkdir()
        make(tmp_path / "there")
        before = listing(tmp_path)
        ended = run(*argv)
        assert ended.code == 64
        assert "--overwrite replaces only what a job of sparkdml wrote" in ended.result["error"]
        assert listing(tmp_path) == before
        (tmp_path / "there").rename(tmp_path / f"aside-{len(before)}-{make.__code__.co_firstlineno}")


def test_what_a_job_wrote_is_replaced_and_readers_do_not_see_its_marker(
    run: Run, place: Path, spark: SparkSession
) -> None:
    predict = ("predict", "--model", place / "out", "--input", place / "data" / "rows", "--output", place / "scored")
    assert run(*predict).code == 0
    assert json.loads((place / "scored" / replacing.MARKER).read_text())["format"] == "sparkdml-output"
    assert spark.read.parquet(str(place / "scored")).count() == 40
    again = run(*predict, "--where", "x > 3", "--overwrite", "--log-format", "text")
    assert again.code == 0
    assert "warning" not in again.err
    assert spark.read.parquet(str(place / "scored")).count() == 36


@pytest.mark.parametrize("name", ["predict", "make_data", "evaluate"])
def test_directories_of_0_1_are_replaced_with_a_warning(run: Run, place: Path, name: str) -> None:
    there = place / "there"
    scoring = ("--model", place / "out", "--input", place / "data" / "rows")
    argv = ("--rows", 9, "--features", 2) if name == "make_data" else scoring
    assert run(name, *argv, "--output", there).code == 0
    (there / replacing.MARKER).unlink()
    other = ("--seed", 7) if name == "make_data" else ("--where", "x > 3")
    ended = run(name, *argv, *other, "--output", there, "--overwrite", "--log-format", "text")
    assert ended.code == 0
    assert f"warning: {there} has no {replacing.MARKER}, as sparkdml 0.1 wrote none" in ended.err
    assert (there / replacing.MARKER).exists()


def test_a_training_output_may_hold_its_initial_model(run: Run, place: Path) -> None:
    train = ("train_linreg", "--input", place / "data" / "rows", "--output", place / "out", "--solver", "l-bfgs")
    assert run(*train, "--initial-model", place / "out").code == 0


def test_paths_are_compared_as_the_file_system_has_them(spark: SparkSession, tmp_path: Path) -> None:
    storage = Storage(spark)
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    real = str((tmp_path / "a b").resolve())
    names = [tmp_path / "a b", f"{tmp_path}/a b/", f"file:{tmp_path}/link", f"{tmp_path}/link/../a b"]
    assert {storage.real(str(each)) for each in names} == {real}
