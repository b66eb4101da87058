"""What is wrong with a command line, a file or a machine is told by its cause, in one sentence, with its exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType

from sparkdml.errors import DataError, StorageError
from sparkdml.jobkit.failures import exit_code, sentence
from sparkdml.regression import LinearRegression

Run = Callable[..., Any]

FILES = {
    "good.csv": "x,label\n" + "\n".join(f"{i},{2 * i + i % 3}" for i in range(30)),
    "zero.libsvm": "\n".join(f"{i} 0:{i}.5 2:{i % 3}" for i in range(20)),
    "descending.libsvm": "\n".join(f"{i} 3:{i}.5 2:{i % 3}" for i in range(20)),
    "words.libsvm": "1 x:2\nhello\n",
    "header.csv": "x,label\n",
    "empty.csv": "",
    "semicolons.csv": "x;label\n1;2\n3;4\n",
    "tabs.csv": "x\tlabel\n1\t2\n",
    "bad.json": '{"x": 1, "label": 2}\nnot json\n{"x": 2, "label": 3}\n',
    "deep.toml": "x = " + "[" * 5000 + "]" * 5000 + "\n",
    "one.csv": "label\n1\n2\n",
}
GOOD = ["--input", "good.csv"]

# arguments of train_linreg, the exit code, and what the sentence says
CASES: dict[str, tuple[list[str], int, str]] = {
    "libsvm that counts from zero": (["--input", "zero.libsvm"], 65, "indices must ascend from 1"),
    "the same, where nothing is counted": (
        ["--input", "zero.libsvm", "--read-option", "numFeatures=3"],
        65,
        "indices must ascend from 1",
    ),
    "libsvm in descending order": (["--input", "descending.libsvm"], 65, "'0 3:0.5 2:0'"),
    "libsvm of words": (["--input", "words.libsvm"], 65, "a line is not libsvm: label index:value"),
    "a JDBC URL": (["--input", "jdbc:postgresql://h/db"], 64, "jobs read files, and tables of Spark's catalog"),
    "a JDBC URL for a table": (["--input", "jdbc:x://h", "--format", "table"], 64, "is not the name of a table"),
    "an unknown scheme": (["--input", "foo://bar/x.csv"], 64, "there is no file system foo://"),
    "a scheme of others": (["--input", "s3://bar/x.csv"], 64, "Hadoop's name for S3 is s3a"),
    "a scheme whose package lacks": (["--input", "s3a://bar/x.csv"], 78, "add the package that has it"),
    "a scheme without lists": (["--input", "https://127.0.0.1:9/x.csv"], 64, "cannot list the files of https://"),
    "an unknown scheme of the output": ([*GOOD, "--output", "foo://bar"], 64, "there is no file system foo://"),
    "an empty output": ([*GOOD, "--output", ""], 64, "argument --output: the path is empty"),
    "a blank output": ([*GOOD, "--output", " "], 64, "argument --output: the path is empty"),
    "an empty input": (["--input", ""], 64, "argument --input: the path is empty"),
    "an empty initial model": ([*GOOD, "--initial-model", ""], 64, "the path is empty"),
    "an initial model of an unknown scheme": ([*GOOD, "--initial-model", "foo://x"], 64, "no file system foo://"),
    "a quote of three characters": ([*GOOD, "--read-option", "quote=abc"], 64, "--read-option quote=abc: The value"),
    "a header that is neither": ([*GOOD, "--read-option", "header=perhaps"], 64, "header flag can be true or false"),
    "a mode that is none": ([*GOOD, "--read-option", "mode=SOMETIMES"], 64, "PERMISSIVE, DROPMALFORMED, FAILFAST"),
    "an encoding that is none": ([*GOOD, "--read-option", "encoding=klingon"], 64, "got klingon"),
    "a number that is none": ([*GOOD, "--read-option", "samplingRatio=abc"], 64, "--read-option samplingRatio=abc"),
    "a boolean that is none": ([*GOOD, "--read-option", "multiLine=x"], 64, "--read-option multiLine=x"),
    "a format of dates that is none": ([*GOOD, "--read-option", "timestampFormat=QQQ"], 64, "Illegal pattern"),
    "SQL that raises": ([*GOOD, "--where", "assert_true(x < 3) is null"], 65, "SQL of the table raised an error: '(x"),
    "SQL that divides by zero": ([*GOOD, "--with-column", "z=1 / (x - 3)"], 65, "bad value: Division by zero"),
    "SQL that casts a word": ([*GOOD, "--with-column", "z=cast('abc' as int)"], 65, "bad value: The value 'abc'"),
    "SQL of an aggregate": ([*GOOD, "--with-column", "z=sum(x)"], 64, "--with-column z=sum(x)"),
    "TOML that is deep": ([*GOOD, "--config", "deep.toml"], 78, "nested too deeply"),
    "a header alone": (["--input", "header.csv"], 65, "there are no rows, only a header: x, label"),
    "rows that are all left out": ([*GOOD, "--where", "x < 0"], 65, "no rows"),
    "an empty file": (["--input", "empty.csv"], 65, "there are no rows"),
    "semicolons": (["--input", "semicolons.csv"], 65, "--read-option 'sep=;'"),
    "tabs": (["--input", "tabs.csv"], 65, r"'x\tlabel'"),
    "lines that are no JSON": (["--input", "bad.json"], 65, "lines that are not JSON"),
    "a misspelt flag": ([*GOOD, "--reg-parm", "0.1"], 64, "did you mean --reg-param?"),
    "a misspelt flag with its value": ([*GOOD, "--max-itr=5"], 64, "did you mean --max-iter?"),
    "two misspelt flags": ([*GOOD, "--max-itr=5", "--lable=y"], 64, "did you mean --max-iter and --label?"),
    "a day that is none": ([*GOOD, "--logical-date", "2026-13-45"], 64, "'2026-13-45' is no day"),
    "a pattern that is none": (["--input", "[x"], 65, "Unclosed character class"),
    "a file that is not there": (["--input", "nothing.csv"], 66, "nothing.csv"),
    "no feature": (["--input", "one.csv"], 65, "no numeric column is left"),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("argv", "code", "said"), CASES.values(), ids=CASES)
def test_each_reason_has_its_sentence_and_its_code(
    run: Run, files: Path, argv: list[str], code: int, said: str
) -> None:
    ended = run(
        "train_linreg", *[str(files / each) if each in FILES else each for each in argv], "--log-format", "text"
    )
    assert ended.code == code, ended.result
    assert said in ended.result["error"]
    assert "\n" not in ended.result["error"]
    assert "Traceback" not in ended.err
    assert "bug" not in ended.result["error"]


def test_the_advice_for_semicolons_works(run: Run, files: Path) -> None:
    assert run("train_linreg", "--input", files / "semicolons.csv", "--read-option", "sep=;").code == 0
    assert run("train_linreg", "--input", files / "bad.json", "--read-option", "mode=DROPMALFORMED").code == 0


def test_an_option_that_the_reader_does_not_know_is_warned_of(run: Run, files: Path) -> None:
    argv = ("--input", files / "good.csv", "--log-format", "text", "--read-option")
    assert (
        "warning: Spark's reader of csv has no option 'sepp': did you mean sep?"
        in run("train_linreg", *argv, "sepp=;").err
    )
    known = ("SEP=,", "fs.some.setting=1", "recursiveFileLookup=true", "nullValue=NA")
    assert "warning" not in run("train_linreg", *argv, *known).err


FULL = "a disk is full where Spark or its workers write"
RAISING: dict[str, tuple[Callable[[Any], Any], type[Exception], int, str]] = {
    "a bad value": (lambda _: float("abc"), DataError, 65, "ValueError: could not convert string to float: 'abc'"),
    "a division": (lambda _: 1 / 0, DataError, 65, "ZeroDivisionError: division by zero"),
    "a full disk": (lambda _: Path("/dev/full").write_text("x" * 99_999), StorageError, 69, FULL),
    "a lost file": (lambda _: Path("/nowhere").read_text(), StorageError, 69, "/nowhere"),
}


@pytest.fixture(scope="module")
def numbers(spark: SparkSession) -> DataFrame:
    return spark.range(8).selectExpr("double(id) as x", "double(id) as label")


@pytest.mark.parametrize(("function", "kind", "code", "said"), RAISING.values(), ids=RAISING)
def test_what_a_python_worker_raised_is_unwrapped(
    numbers: DataFrame, function: Callable[[Any], Any], kind: type[Exception], code: int, said: str
) -> None:
    table = numbers.withColumn("z", F.udf(function, DoubleType())("x"))
    with pytest.raises(kind) as refusal:
        LinearRegression(featuresCols=["z"]).fit(table)
    assert said in str(refusal.value)
    with pytest.raises(PySparkException) as failure:
        table.collect()
    assert exit_code(failure.value) == code
    assert said in sentence(failure.value)


def test_of_a_chain_the_last_exception_is_told(numbers: DataFrame) -> None:
    def fail(_):  # type: ignore[no-untyped-def] # from hints Spark would infer what kind of function it is
        try:
            _ = 1 / 0
        except ZeroDivisionError as problem:
            raise KeyError("the last") from problem

    with pytest.raises(DataError, match="KeyError: 'the last'"):
        LinearRegression(featuresCols=["z"]).fit(numbers.withColumn("z", F.udf(fail, DoubleType())("x")))


def test_a_bug_of_ours_in_a_worker_is_a_bug() -> None:
    trace = (
        "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
        '  File "/x/pyspark/worker.py", line 1, in main\n    process()\n'
        '  File "/x/sparkdml/blocks/pack.py", line 48, in __call__\n    handle = self.pack()\n             ^^^^\n'
        "TypeError: no such thing\n"
    )
    assert exit_code(PySparkException(trace)) == 70
    assert sentence(PySparkException(trace)) == "a bug in sparkdml, in a Python worker: TypeError: no such thing"
