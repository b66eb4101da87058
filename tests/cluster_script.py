"""Faults on a cluster of separate executor processes; prints one line of JSON with what was observed.

Run by test_cluster.py in a process of its own: one cluster, all three experiments.
"""

import json
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from sparkdml import pack
from sparkdml.engine import tree
from sparkdml.engine.data import Reading
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import ConvergenceWarning
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient
from sparkdml.regression import LinearRegression

PARTITIONS, FEATURES = 16, 12
ITERATIONS = {"l-bfgs": 5, "sgd": 1, "local-sgd": 2}  # of each solver, enough for some passes


class AfterPass(logging.Handler):
    """Does something once, after the third pass of a fit; keeps what is logged."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self.action, self.done, self.messages = action, False, []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        self.messages.append(message)
        if message.startswith("pass 3:") and not self.done:
            self.done = True
            self.action()


def executors() -> list[int]:
    """The executors that are descendants of this process."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            parents[int(entry.name)] = int(parent)
            if b"CoarseGrainedExecutorBackend" in command and state != "Z":
                found.append(int(entry.name))

    def ours(pid: int) -> bool:
        while pid > 1:
            if pid == os.getpid():
                return True
            pid = parents.get(pid, 0)
        return False

    return sorted(pid for pid in found if ours(pid))


def home_of_most(pids: list[int], directories: Iterable[str]) -> int:
    """The executor that holds most of some directories."""
    homes = {}
    for pid in pids:
        variables = (Path("/proc") / str(pid) / "environ").read_bytes().decode().split("\0")
        (homes[pid],) = (each.partition("=")[2] for each in variables if each.startswith("SPARK_EXECUTOR_DIRS="))
    return max(pids, key=lambda pid: sum(directory.startswith(homes[pid]) for directory in directories))


def say(what: str) -> None:
    """Progress, for whoever has to find out where a run hangs."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def fit(
    data: SparkData, solver: str = "l-bfgs", depth: int = 2, action: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """One fit: its bits, and what was logged."""
    say(f"a fit by {solver} at depth {depth}")
    logger, handler = logging.getLogger("sparkdml"), AfterPass(action)
    logger.addHandler(handler)
    warnings.simplefilter("ignore", ConvergenceWarning)  # a few iterations say all that is to be said
    try:
        estimator = LinearRegression(solver=solver, tol=0.0, maxIter=ITERATIONS[solver], aggregationDepth=depth)
        model = estimator.fit(data)
    finally:
        logger.removeHandler(handler)
    numbers = [*model.coefficients, model.intercept, *model.summary.objectiveHistory]
    return {"bits": np.array(numbers).tobytes().hex(), "log": handler.messages, "acted": handler.done}


def gradient_bits(data: SparkData, depth: int) -> str:
    w = np.linspace(-1, 1, FEATURES)[:, None]
    (answer,) = data.run([Gradient(LOSSES["squaredError"], w, np.zeros(1))], Reading(depth))
    return (np.append(answer.w, [answer.value, answer.weight]).tobytes() + answer.b.tobytes()).hex()


def directories(data: SparkData) -> dict[int, str]:
    """Where the files of each partition are."""
    handles = data._handles.rdd.map(lambda handle: (handle.partition, handle.directory)).collect()
    return {p: data._moved[p].directory if p in data._moved else directory for p, directory in handles}


def stages(spark: SparkSession, group: str) -> int:
    """How many stages the jobs of a group had."""
    tracker = spark.sparkContext.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    return sum(len(job.stageIds) for job in jobs if job)


def depths(spark: SparkSession, data: SparkData) -> dict[str, Any]:
    """The bits of an answer and its stages at each depth, and of fits at the ends."""
    answers, counts = [], []
    for depth in (1, 2, 3, 4):
        spark.sparkContext.setJobGroup(f"depth {depth}", "")
        answers.append(gradient_bits(data, depth))
        counts.append(stages(spark, f"depth {depth}"))
    spark.sparkContext.setJobGroup("", "")
    return {"answers": answers, "stages": counts, "fits": [fit(data, depth=depth)["bits"] for depth in (1, 4)]}


def kill_an_executor(data: SparkData, solver: str) -> dict[str, Any]:
    undisturbed = fit(data, solver)["bits"]
    before, running, dead = directories(data), executors(), []
    victim = home_of_most(running, list(before.values()))

    def kill() -> None:
        dead.append(victim)
        os.kill(victim, signal.SIGKILL)
        until = time.time() + 20
        while victim in executors() and time.time() < until:
            time.sleep(0.05)
        if victim in executors():
            dead.clear()

    result = fit(data, solver, action=kill)
    after = directories(data)
    moved = sum(before[p] != after[p] for p in before)
    return {**result, "undisturbed": undisturbed, "before": len(running), "dead": dead, "moved": moved}


def unlink_two(data: SparkData) -> dict[str, Any]:
    before = directories(data)

    def unlink() -> None:
        for p in (2, 11):
            shutil.rmtree(before[p])

    result = fit(data, action=unlink)
    after = directories(data)
    return {**result, "moved": sorted(p for p in before if before[p] != after[p])}


def main() -> None:
    tree.DIRECT_BYTES = 0  # small answers go through the tree too
    logging.getLogger("sparkdml").setLevel(logging.INFO)
    quick_start = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    settings = {"spark.master": "local-cluster[2,1,1024]", "spark.default.parallelism": "4"}
    settings |= {f"spark.{who}.extraJavaOptions": quick_start for who in ("driver", "executor")}
    spark = get_spark("faults", **settings, **{"spark.ui.enabled": "false"})
    names = [f"x{j}" for j in range(FEATURES)]
    features = [f"sin(id * {j + 1.3}) + {j} * cos(id / {j + 1.0}) AS {name}" for j, name in enumerate(names)]
    df = spark.range(0, 2000, 1, PARTITIONS).selectExpr(*features, "10 * sin(id / 3) + cos(id * id) AS label")
    say("packing")
    with pack(df, featuresCols=names, partitioning="stratified") as data:  # a shuffle comes before what is lost
        undisturbed = fit(data)
        found = {
            "partitions": data.partitions,
            "undisturbed": undisturbed["bits"],
            "log": undisturbed["log"],
            "depths": depths(spark, data),
            "unlinked": unlink_two(data),
            "killed": {solver: kill_an_executor(data, solver) for solver in ITERATIONS},
            "again": fit(data)["bits"],
        }
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main()
