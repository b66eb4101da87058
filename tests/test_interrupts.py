"""Ctrl-C in a fit: only its own jobs end, what the user has set stays, and nothing is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import packed_files, persisted
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType

from sparkdml import pack
from sparkdml.engine.interrupts import cancellable, held
from sparkdml.regression import LinearRegression

CHECKOUT = Path(__file__).resolve().parents[1]


def soon(seconds: float, number: int = signal.SIGINT) -> threading.Timer:
    """Send a signal to this process, as a terminal does."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.start()
    return timer


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def theirs(spark: SparkSession) -> Iterator[dict[str, Any]]:
    """What the user has set: a group, a description and a tag; and a job of theirs that runs in another thread."""
    context, ended = spark.sparkContext, []

    def other() -> None:
        context.setJobGroup("another group", "")
        ended.append(context.parallelize([0], 1).map(lambda _: time.sleep(4.0)).count())

    context.setJobGroup("mine", "what I do")
    context.addJobTag("my tag")
    before = {name: context.getLocalProperty(name) for name in PROPERTIES}
    thread = threading.Thread(target=other)
    thread.start()
    yield before
    thread.join()
    assert ended == [1]
    assert {name: context.getLocalProperty(name) for name in PROPERTIES} == before
    assert set(context.getJobTags()) == {"my tag"}
    context.removeJobTag("my tag")
    for name in PROPERTIES:
        context.setLocalProperty(name, None)  # type: ignore[arg-type]


PROPERTIES = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel", "spark.job.tags")


def slow_table(spark: SparkSession) -> DataFrame:
    nap = F.udf(lambda x: time.sleep(0.05) or x, DoubleType(), useArrow=False)
    return spark.range(0, 4000, 1, 2).select(nap(F.col("id").cast("double")).alias("x"), F.lit(1.0).alias("label"))


def test_ctrl_c_while_rows_are_packed(spark: SparkSession, theirs: dict[str, Any], scratch: list[Path]) -> None:
    kept, handler = persisted(spark), signal.getsignal(signal.SIGINT)
    timer = soon(2.0)
    with pytest.raises(KeyboardInterrupt):
        LinearRegression(featuresCols=["x"]).fit(slow_table(spark))
    timer.join()
    assert signal.getsignal(signal.SIGINT) == handler
    assert spark.range(7).count() == 7
    wait_for(lambda: packed_files(scratch) == [] and persisted(spark) == kept)


def test_ctrl_c_between_passes(spark: SparkSession, theirs: dict[str, Any], scratch: list[Path]) -> None:
    table = spark.range(0, 20_000, 1, 2).selectExpr(*[f"rand({i}) as x{i}" for i in range(4)], "rand(9) as label")
    with pack(table, featuresCols=[f"x{i}" for i in range(4)]) as data:
        timer = soon(1.0)
        with pytest.raises(KeyboardInterrupt):
            LinearRegression(solver="gd", maxIter=100_000, tol=0.0).fit(data)
        timer.join()
        assert LinearRegression(solver="normal").fit(data).numFeatures == 4  # the data are as they were
    wait_for(lambda: packed_files(scratch) == [])


def test_handlers_of_the_user_stay(spark: SparkSession) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with cancellable():
            os.kill(os.getpid(), signal.SIGINT)
        assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_other_threads_and_inside_another_block_nothing_changes(spark: SparkSession) -> None:
    seen: list[Any] = []

    def inside() -> None:
        with cancellable():
            seen.append(signal.getsignal(signal.SIGINT))

    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [handler]
    with cancellable():
        outer = signal.getsignal(signal.SIGINT)
        assert outer != handler
        with cancellable():
            assert signal.getsignal(signal.SIGINT) == outer
        assert signal.getsignal(signal.SIGINT) == outer
    assert signal.getsignal(signal.SIGINT) == handler


def test_what_is_held_is_finished_first(spark: SparkSession) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt, match="it is written"), cancellable():
        with held("it is written"):
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")
        done.append("never")
    assert done == ["written"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("moment", ["the imports", "Java"])
@pytest.mark.parametrize("script", ["train_linreg", "make_data"])
@pytest.mark.extras
def test_a_signal_before_the_session_gets_its_line(number: int, moment: str, script: str, tmp_path: Path) -> None:
    argv = ["--rows", "10", "--features", "2", "--output", tmp_path / "out"] if script == "make_data" else []
    command = [sys.executable, CHECKOUT / "jobs" / f"{script}.py", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.4)
    if moment == "Java":
        wait_for(lambda: subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True).returncode == 0)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f'"code": {128 + number}' in out.splitlines()[-1]
    assert "Traceback" not in err
