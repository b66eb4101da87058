"""The training job keeps the job contract: exit codes, the last line of stdout, the logs, the published version."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from py4j.protocol import Py4JNetworkError
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression as LeastSquares

from sparkdml import errors
from sparkdml.jobkit import failures, training
from sparkdml.jobkit.failures import exit_code, sentence
from sparkdml.regression import LinearRegression, LinearRegressionModel

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = CHECKOUT / "jobs" / "train_linreg.py"
DIABETES = str(CHECKOUT / "data" / "diabetes.csv")


Job = Callable[..., Any]


@pytest.fixture
def job(run: Callable[..., Any]) -> Job:
    """Runs the job in this process, on the session of the tests."""
    return partial(run, "train_linreg")


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A small csv with what a real one has: a missing number, a text column, and a label."""
    path = tmp_path / "rows.csv"
    lines = [f"{x},{'' if x == 7 else x * x % 5},{'abc'[x % 3]},{2 * x + x * x % 5 + x % 2}" for x in range(30)]
    path.write_text("\n".join(["age,income,town,price", *lines]) + "\n")
    return str(path)


def test_without_arguments_it_trains_on_the_sample(job: Job) -> None:
    ended = job()
    data = load_diabetes(scaled=False)
    exact = LeastSquares().fit(data.data, data.target)
    rmse = np.sqrt(np.mean((exact.predict(data.data) - data.target) ** 2))
    assert ended.code == 0
    assert ended.result["status"] == "trained"
    assert ended.result["metrics"]["r2"] == pytest.approx(exact.score(data.data, data.target), rel=1e-10)
    assert ended.result["metrics"]["rmse"] == pytest.approx(rmse, rel=1e-10)
    assert ended.result["rows"] == len(data.target)
    assert (ended.result["passes"], ended.result["model"], ended.result["version"]) == (1, None, None)
    assert ended.result["bytes"] == {"down": 8 * 11, "up": 8 * (1 + 11 + 66)}  # one task: a shift, and a Gram matrix
    assert all(name in ended.out for name in data.feature_names)


@pytest.mark.parametrize("solver", ["l-bfgs", "gd"])
def test_solvers_that_iterate_log_a_line_per_pass(job: Job, solver: str) -> None:
    ended = job("--solver", solver, "--max-iter", "10", "--log-format", "json")
    records = [json.loads(line) for line in ended.err.splitlines()]
    passes = [record for record in records if record["msg"].startswith("pass ")]
    assert ended.code == 0
    assert len(passes) >= 2
    assert all(record["logger"].startswith("sparkdml") and record["context"] for record in passes)
    assert ended.result["passes"] >= len(passes)


def test_a_published_version_is_complete_and_its_model_loads(job: Job, tmp_path: Path, spark: SparkSession) -> None:
    output = tmp_path / "a b" / "out"
    ended = job("--output", output, "--logical-date", "2026-11-21", "--reg-param", "0.1")
    version = ended.result["version"]
    directory = output / "versions" / version
    run = json.loads((directory / "run.json").read_text())
    assert ended.code == 0
    assert ended.result["status"] == "published"
    assert version == f"2026-11-21-{run['run_key'][:12]}"
    assert (output / "LATEST").read_text() == f"{version}\n"
    assert sorted(path.name for path in directory.iterdir()) == [
        "_SUCCESS",
        "manifest.json",
        "metrics.json",
        "model",
        "run.json",
    ]
    assert json.loads((directory / "metrics.json").read_text()) == ended.result["metrics"]
    assert run["configuration"]["params"]["regParam"] == 0.1
    assert [Path(file["path"]).name for file in run["input"]] == ["diabetes.csv"]
    model = LinearRegressionModel.load(ended.result["model"])
    rows = model.transform(spark.read.csv(DIABETES, header=True, inferSchema=True))
    assert rows.filter("prediction is null").count() == 0


def test_the_same_run_again_does_nothing_and_another_run_is_another_version(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = iter(datetime(2026, 11, 21, 4, second, tzinfo=UTC) for second in range(9))
    monkeypatch.setattr(training, "utc_now", lambda: next(starts))
    first = job("--output", tmp_path)
    other = job("--output", tmp_path, "--no-fit-intercept")
    latest = tmp_path / "LATEST"
    assert latest.read_text() == f"{other.result['version']}\n"
    monkeypatch.setattr(training, "fit", None)
    again = job("--output", tmp_path, "--log-format", "text")
    assert (again.code, again.result) == (0, {**first.result, "latest": False})
    assert f"warning: LATEST does not name {first.result['version']}, since" in again.err
    assert latest.read_text() == f"{other.result['version']}\n"
    assert job("--output", tmp_path, "--make-latest").result == first.result
    assert latest.read_text() == f"{first.result['version']}\n"
    assert len(list((tmp_path / "versions").iterdir())) == 2


def test_a_published_version_that_was_damaged_is_refused(job: Job, tmp_path: Path) -> None:
    version = job("--output", tmp_path).result["version"]
    (tmp_path / "versions" / version / "metrics.json").write_text("{}")
    ended = job("--output", tmp_path)
    assert ended.code == 84
    assert "metrics.json is not as the manifest has it" in ended.result["error"]


def test_parquet_and_csv_give_the_same_model(job: Job, tmp_path: Path, spark: SparkSession) -> None:
    path = str(tmp_path / "diabetes.parquet")
    spark.read.csv(DIABETES, header=True, inferSchema=True).write.parquet(path)
    from_parquet = job("--input", path, "--label", "target")
    assert from_parquet.result["metrics"] == pytest.approx(job().result["metrics"], rel=1e-12)
    explicit = job("--input", path, "--format", "parquet", "--label", "target", "--features", "bmi, bp")
    assert "bmi" in explicit.out
    assert "s5" not in explicit.out


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--reg-parm", "1"], 64, "unrecognized arguments: --reg-parm"),
        (["--max-iter", "many"], 64, "'many' is not a value of maxIter"),
        (["--reg-param", "-1"], 64, "regParam"),
        (["--solver", "magic"], 64, "magic"),
        (["--features", "age", "--features-col", "features"], 64, "not allowed with"),
        (["--logical-date", "yesterday"], 64, "--logical-date"),
        (["--input", "a.csv", "b.parquet"], 64, "mixes formats"),
        (["--input", "/no/such/rows.csv"], 66, "/no/such/rows.csv"),
        (["--input", str(SCRIPT), "--format", "parquet"], 65, "cannot be read"),
        (["--label", "targt"], 65, "target"),
        (["--features", "age,bmj"], 65, "bmi"),
        (["--weight", "wait"], 65, "wait"),
        (["--output", "/proc/sparkdml"], 77, "Permission denied"),
        (["--output", str(SCRIPT)], 74, "cannot publish"),
        (["--solver", "gd", "--max-iter", "1", "--require-convergence"], 81, "without converging"),
    ],
)
def test_each_failure_has_its_exit_code_and_one_sentence(job: Job, argv: list[str], code: int, said: str) -> None:
    ended = job(*argv, "--log-format", "text")
    assert (ended.code, ended.result["status"], ended.result["code"]) == (code, "failed", code)
    assert said in ended.result["error"]
    assert ended.result["error"] in ended.err
    assert "Traceback" not in ended.err
    assert "\n" not in ended.result["error"]


def test_missing_values_are_refused_or_skipped(job: Job, table: str) -> None:
    argv = ["--input", table, "--label", "price", "--features", "age,income"]
    refused = job(*argv)
    assert refused.code == 65
    assert "income" in refused.result["error"]
    skipped = job(*argv, "--handle-invalid", "skip")
    assert (skipped.code, skipped.result["rows"], skipped.result["rows_skipped"]) == (0, 29, 1)


def test_text_columns_are_left_out_by_default_and_refused_by_name(job: Job, table: str) -> None:
    argv = ["--input", table, "--label", "price", "--handle-invalid", "skip"]
    assert job(*argv).code == 0
    refused = job(*argv, "--features", "age,town")
    assert refused.code == 65
    assert "town" in refused.result["error"]
    assert "name it with --categorical" in refused.result["error"]


def test_a_weight_column_is_no_feature(job: Job, table: str) -> None:
    ended = job("--input", table, "--label", "price", "--weight", "age", "--handle-invalid", "skip")
    assert ended.code == 0
    assert "income" in ended.out
    assert "age" not in ended.out


def test_a_bug_is_logged_with_its_traceback(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "read_files", lambda *_: 1 / 0)
    text = job("--log-format", "text")
    assert text.code == 70
    assert "ZeroDivisionError" in text.result["error"]
    assert "Traceback" in text.err
    record = json.loads(job("--log-format", "json").err.splitlines()[-1])
    assert record["exception"]["class"] == "ZeroDivisionError"


@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt(), 130), (failures.Terminated(), 143)])
def test_an_interrupted_publication_leaves_nothing(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int
) -> None:
    save = LinearRegressionModel.save

    def save_then_stop(model: LinearRegressionModel, path: str) -> None:
        save(model, path)
        raise failure

    monkeypatch.setattr(LinearRegressionModel, "save", save_then_stop)
    ended = job("--output", tmp_path)
    assert (ended.code, ended.result["code"]) == (code, code)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_every_param_is_a_flag_with_its_default(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        job("--help")
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for param in LinearRegression().params:
        flag = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in param.name)
        if param.name not in (*training._OWN_FLAGS, "maxBlockSizeInMB"):
            assert f"--{flag} " in text or f"--{flag}, " in text
    assert "--max-block-size-in-mb" in text
    assert "(default: 100)" in text


def test_every_exception_of_the_package_has_an_exit_code_that_was_chosen() -> None:
    """A new exception joins the table, or this list of those that only a bug of ours can raise in a job."""
    ours = [each for module in (errors, failures) for each in vars(module).values() if isinstance(each, type)]
    unknown = {
        each.__name__
        for each in ours
        if issubclass(each, errors.SparkdmlError) and exit_code(each("text")) == failures.BUG
    }
    assert unknown == {"SparkdmlError", "ReleasedError", "StatisticsError"}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Py4JNetworkError("the JVM is gone"), 69),
        (AnalysisException("a query"), 69),
        (errors.DivergenceError("the objective is NaN"), 80),
        (OSError("no space left"), 70),
    ],
)
def test_other_failures_are_told_in_one_line(failure: Exception, code: int) -> None:
    assert exit_code(failure) == code
    assert str(failure) in sentence(failure)


def bare_checkout(path: Path) -> Path:
    """A copy of what a clone holds, without an installation."""
    for name in ("sparkdml", "jobs", "data"):
        shutil.copytree(CHECKOUT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return path / "jobs" / "train_linreg.py"


def start(script: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script as a process of its own, from another directory."""
    return subprocess.run(
        [sys.executable, str(script), *argv],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=script.parents[2],
        timeout=180,
        check=False,
    )


@pytest.mark.extras
def test_plain_python_runs_it_from_a_bare_checkout(tmp_path: Path) -> None:
    script = bare_checkout(tmp_path / "with a space")
    done = start(script, "--output", "out")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (tmp_path / result["model"]).is_dir()
    logs = [line for line in done.stderr.splitlines() if "incubator" not in line]
    assert all(json.loads(line)["logger"].startswith("sparkdml") for line in logs)


def test_no_java_is_one_sentence_and_exit_78(tmp_path: Path) -> None:
    done = start(bare_checkout(tmp_path / "clone"), JAVA_HOME=str(tmp_path))
    assert done.returncode == 78
    result = json.loads(done.stdout)
    assert result["code"] == 78
    assert "install Java 17" in result["error"]
    assert "Traceback" not in done.stderr
