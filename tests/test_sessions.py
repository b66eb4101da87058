"""Sessions that end and workers that die are named in a sentence, in fits, scores, summaries and jobs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from estimators import ESTIMATORS, TELLING, N, X
from pyspark import RDD
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import LocalData, pack
from sparkdml.engine import spark_data, tree
from sparkdml.errors import WorkerError

HERE = Path(__file__).resolve().parent
ENDED = "the Spark session 'restarted' of {} has ended: "
NEEDS_THE_TABLE = {"linear": 3, "poisson": 2, "binomial": 20, "multinomial": 14, "svc": 20}  # at least so many values


# Sessions.


@pytest.fixture(scope="module")
def restarted() -> dict[str, Any]:
    """What session_script.py saw."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, str(HERE / "session_script.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.extras
@pytest.mark.parametrize("state", ["without a session", "in a new session"])
def test_summaries_of_an_ended_session_say_so(restarted: dict[str, Any], state: str) -> None:
    for part in ("summaries", "evaluated"):
        for name, shown in restarted[state][part].items():
            kinds = {kind for kind, _ in shown.values()}
            assert kinds <= {"value", "StatisticsError", "SessionError"}, (name, shown)
            ended = [text for kind, text in shown.values() if kind == "SessionError"]
            assert len(ended) >= NEEDS_THE_TABLE[name]
            assert all(text.startswith(ENDED.format("the rows of this summary")) for text in ended)
            assert all("model.evaluate(df)" in text for text in ended)
            assert shown["predictions"][0] == "SessionError"
    for name, shown in restarted[state]["summaries"].items():
        assert shown["str"][0] == shown["objectiveHistory"][0] == "value", name


@pytest.mark.extras
def test_what_was_measured_before_the_end_stays_known(restarted: dict[str, Any]) -> None:
    alone, again = (restarted[state]["complete"] for state in ("without a session", "in a new session"))
    assert {name for name, (kind, _) in again.items() if kind != "value"} == {"predictions"}
    frames = {name: text for name, (kind, text) in alone.items() if kind != "value" and name != "predictions"}
    assert "roc" in frames and alone["areaUnderROC"][0] == "value"
    assert set(frames.values()) == {"no Spark session runs, which a DataFrame needs: start one."}


@pytest.mark.extras
@pytest.mark.parametrize("state", ["without a session", "in a new session"])
@pytest.mark.parametrize(
    ("what", "owned"), [("scored", "the DataFrame"), ("fitted", "the DataFrame"), ("packed", "these packed data")]
)
def test_tables_of_an_ended_session_are_refused(restarted: dict[str, Any], state: str, what: str, owned: str) -> None:
    kind, text = restarted[state][what]
    assert (kind, text.startswith(ENDED.format(owned))) == ("SessionError", True), text


@pytest.mark.extras
def test_a_table_of_the_new_session_is_evaluated(restarted: dict[str, Any]) -> None:
    for name, shown in restarted["anew"].items():
        assert {kind for kind, _ in shown.values()} <= {"value", "StatisticsError"}, name
        assert shown["predictions"] == ["value", "40"]


# Workers.


def ending(end: str) -> Callable[..., Any]:
    """A function that ends the worker that runs it; workers do not know the modules of the tests."""

    def die(value):  # type: ignore[no-untyped-def]
        if end == "full":
            raise MemoryError
        if end == "crashed":
            __import__("ctypes").string_at(0)
        __import__("os").kill(__import__("os").getpid(), 9)
        return value

    return die


ENDS = {
    "killed": "a Python worker of Spark died. Most often the system killed it because memory ran short",
    "crashed": "a Python worker of Spark died",
    "full": "a Python worker of Spark had no memory left: give a task more memory",
}


def deadly(end: str, column: str) -> Column:
    """A column whose values end the worker that computes them."""
    return F.udf(ending(end), "double")(F.col(column))


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    labels = [ESTIMATORS[name].labels for name in TELLING]
    rows = [[float(x), *(float(label[i]) for label in labels)] for i, x in enumerate(X[:, 0])]
    schema = ", ".join(f"{name} double" for name in ("x", *TELLING))
    return spark.createDataFrame(rows, schema).coalesce(1)


@pytest.mark.thinned
@pytest.mark.parametrize("end", ENDS)
def test_a_fit_whose_worker_dies_says_why(table: DataFrame, end: str, nothing_is_left_behind: None) -> None:
    estimator = ESTIMATORS["linear"].make(featuresCols=["x"], labelCol="linear")
    with pytest.raises(WorkerError, match=ENDS[end]) as told:
        estimator.fit(table.withColumn("x", deadly(end, "x")))
    assert told.value.__cause__ is not None
    with pytest.raises(WorkerError, match=r"died|memory"):
        estimator.setHandleInvalid("mean").fit(table.withColumn("x", deadly(end, "x")))
    with pytest.raises(WorkerError, match=r"died|memory"):
        pack(table.withColumn("x", deadly(end, "x")), featuresCols=["x"], labelCol="linear")


@pytest.mark.thinned
@pytest.mark.parametrize("name", TELLING)
def test_a_pass_whose_worker_dies_says_why(
    table: DataFrame, name: str, monkeypatch: pytest.MonkeyPatch, nothing_is_left_behind: None
) -> None:
    def gather(nodes: RDD, *rest: Any) -> Any:
        return tree.gather(nodes.map(ending("killed")), *rest)

    estimator = ESTIMATORS[name].make(featuresCols=["x"], labelCol=name, solver="l-bfgs", regParam=0.1)
    with pack(table, featuresCols=["x"], labelCol=name) as data:
        with monkeypatch.context() as patch, pytest.raises(WorkerError, match=ENDS["killed"]):
            patch.setattr(spark_data, "gather", gather)
            estimator.fit(data)
        assert estimator.fit(data).summary.numInstances == N  # the data outlive a worker


@pytest.mark.parametrize("name", TELLING)
def test_an_evaluation_whose_worker_dies_says_why(table: DataFrame, name: str) -> None:
    model = (
        ESTIMATORS[name]
        .make(featuresCols=["x"], labelCol=name)
        .fit(LocalData(X[:, :1], ESTIMATORS[name].labels, feature_names=["x"]))
    )
    with pytest.raises(WorkerError, match=ENDS["killed"]):
        model.evaluate(table.withColumn(name, deadly("killed", name))).metrics()


@pytest.mark.parametrize("job", ["train", "evaluate", "predict"])
def test_a_job_whose_worker_dies_may_be_tried_again(
    table: DataFrame, run: Callable[..., Any], job: str, tmp_path: Path
) -> None:
    table.write.parquet(str(tmp_path / "rows"))
    table.sparkSession.udf.register("deadly", ending("killed"), "double")
    rows = ["--input", tmp_path / "rows"]
    if job == "train":
        ended = run("train_linreg", *rows, "--label", "linear", "--features", "x", "--with-column", "x=deadly(x)")
    else:
        model = ESTIMATORS["linear"].make(featuresCols=["x"], labelCol="linear").fit(table)
        model.save(str(tmp_path / "model"))
        more = ["--output", tmp_path / "scored"] if job == "predict" else []
        ended = run(job, "--model", tmp_path / "model", *rows, *more, "--with-column", "x=deadly(x)")
    assert ended.code == 69
    assert "a Python worker of Spark died" in ended.result["error"]
