"""What a job is told in confidence stands nowhere that others read, and no name of a column plays with a terminal."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sparkdml.errors import DataError, SparkdmlError
from sparkdml.jobkit import training
from sparkdml.jobkit.progress import say, set_format
from sparkdml.jobkit.secrets import _known, hidden, is_secret, learn, masked
from sparkdml.text import align, printable

Run = Callable[..., Any]
SECRET = 'hunter"2\\x'


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    _known.clear()


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text("x,label\n" + "\n".join(f"{i},{2 * i + i % 3}" for i in range(30)))
    return str(path)


def everything(ended: Any, directory: Path) -> str:
    """All that a job said or wrote."""
    written = [path.read_text() for path in directory.rglob("*") if path.is_file() and path.suffix == ".json"]
    return "\n".join([ended.out, ended.err, *written])


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("where", ["a flag", "the environment", "a file"])
def test_passwords_of_a_reader_are_nowhere(
    run: Run, rows: str, tmp_path: Path, form: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--input", rows, "--output", tmp_path / "out", "--log-format", form]
    if where == "a flag":
        argv += ["--read-option", f"password={SECRET}", f"url=jdbc:postgresql://me:{'pw12'}@db/x?password=sesame"]
    elif where == "the environment":
        escaped = SECRET.replace("\\", "\\\\").replace('"', '\\"')
        monkeypatch.setenv("SPARKDML_READ_OPTION", f'"password={escaped}"')
    else:
        (tmp_path / "job.toml").write_text(f"read-option = ['password={SECRET}']\n")
        argv += ["--config", tmp_path / "job.toml"]
    configured = run("train_linreg", *argv, "--print-config")
    ended = run("train_linreg", *argv)
    assert ended.code == 0
    run_json = next((tmp_path / "out").rglob("run.json"))
    assert ["password", "***"] in json.loads(run_json.read_text())["configuration"]["read_option"]
    for text in (everything(ended, tmp_path / "out"), everything(configured, tmp_path / "out")):
        for secret in (SECRET, json.dumps(SECRET)[1:-1], "pw12", "sesame"):
            assert secret not in text


def test_a_new_password_makes_no_new_run(run: Run, rows: str, tmp_path: Path) -> None:
    argv = ["--input", rows, "--output", tmp_path / "out", "--read-option"]
    assert (
        run("train_linreg", *argv, "password=one1").result["version"]
        == run("train_linreg", *argv, "password=two2").result["version"]
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_errors_and_tracebacks_have_no_secrets(run: Run, rows: str, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "tok-0123456789")
    told = f"no connection to db://me:open@host with {SECRET}, token=other1 and tok-0123456789"

    def fail(*_: Any) -> None:
        raise RuntimeError(told)

    monkeypatch.setattr(training, "read_files", fail)
    ended = run("train_linreg", "--input", rows, "--read-option", f"password={SECRET}", "--log-format", form)
    assert ended.code == 70
    assert ("Traceback" if form == "text" else "test_secrets.py") in ended.err
    for secret in (SECRET, json.dumps(SECRET)[1:-1], "open@", "other1", "tok-0123456789"):
        assert secret not in ended.out + ended.err
    assert "db://me:***@host" in ended.result["error"]


def test_what_is_called_like_a_secret_is_one_and_sql_stays() -> None:
    secret = ["password", "PASSWD", "sslPassword", "fs.s3a.secret.key", "fs.azure.account.key.x", "apiKey", "sig"]
    assert [name for name in secret if not is_secret(name)] == []
    plain = ["sep", "header", "numFeatures", "dbtable", "user", "monkey", "primaryKey", "signal", "sasquatch"]
    assert [name for name in plain if is_secret(name)] == []
    assert masked(["token=5", {"where": "pwd_length > 3", "x": 1}]) == ["token=5", {"where": "pwd_length > 3", "x": 1}]
    learn([("password", "abc")], {"PWD": "/home/someone/work", "TOKEN": "short"})
    assert hidden("abc in /home/someone/work is short") == "abc in /home/someone/work is short"


NASTY = "a\x1b[2J\r\n\x07\u202eb\x9b\x7f"


def test_names_of_columns_and_levels_are_escaped_wherever_they_are_printed(
    run: Run, tmp_path: Path, spark: SparkSession
) -> None:
    level = "l\x1b]0;owned\x07"
    table = [(float(i), i % 7, level if i % 3 else f"{level}2", 2.0 * i + i % 5) for i in range(40)]
    spark.createDataFrame(table, [NASTY, "x", "cut", "label"]).write.parquet(str(tmp_path / "rows"))
    argv = ["--input", tmp_path / "rows", "--log-format", "text"]
    ended = run("train_linreg", *argv, "--categorical", "cut", "--output", tmp_path / "out")
    assert ended.code == 0
    assert ended.result["features"] == [NASTY, "x", "cut"]
    assert r"a\x1b[2J\r\n\x07\u202eb\x9b\x7f" in ended.out
    wrong = run("train_linreg", *argv, "--features", "y")
    assert wrong.code == 65
    left = run("train_linreg", *argv, "--features", "x", "--categorical", f"{NASTY}")
    described = run("predict", "--model", tmp_path / "out", "--input", tmp_path / "rows", "--output", tmp_path / "s")
    for each in (ended, wrong, left, described):
        assert not set(each.out + each.err) & set("\x1b\r\x07\u202e\x9b\x7f")


@pytest.mark.parametrize("text", [NASTY, *(chr(code) for code in [*range(32), 127, *range(128, 160), 0x2028, 0x202A])])
def test_no_control_character_is_printed(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A law over every control character and every way by which text leaves."""
    handler = logging.StreamHandler()
    set_format(handler, "text")
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (f"name {text}",), None)
    say(f"name {text}")
    said = capsys.readouterr().out.rstrip("\n")
    for each in (printable(text), align([[text, "x"]]), str(DataError(text)), handler.format(record), said):
        assert all(letter in "\n\t" or letter.isprintable() for letter in each)
    assert "\n" not in align([[text, "x"]])


def test_errors_keep_what_they_are_made_of() -> None:
    assert SparkdmlError().args == ()
    assert SparkdmlError("a", 3).args == ("a", 3)
