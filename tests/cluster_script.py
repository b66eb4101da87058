"""Faults on a cluster of separate executor processes; prints one line of JSON with what was observed.

Run by test_cluster.py in a process of its own: one cluster, all experiments. With the argument "soak" it kills
executors only, thirty times, at any moment of a fit, over many numbers of partitions.
"""

import json
import logging
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from sparkdml import pack
from sparkdml.engine import tree
from sparkdml.engine.data import Reading
from sparkdml.engine.handles import TASKS_PER_CORE
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import ConvergenceWarning
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient
from sparkdml.regression import LinearRegression

PARTITIONS, FEATURES = 16, 12
ITERATIONS = {"l-bfgs": 5, "sgd": 1, "local-sgd": 2, "gd": 6}  # of each solver, enough for some passes
ALONE = ("l-bfgs", "sgd", "local-sgd")  # with as many tasks as partitions
NAMES = [f"x{j}" for j in range(FEATURES)]
COALESCED = {"numPartitions": 4, "validationFraction": 0.2}
KILLS = 30  # of a soak


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


def kill_an_executor(data: SparkData, solver: str, delay: float | None = None) -> dict[str, Any]:
    """A fit of which an executor is killed after the third pass, or so many seconds later, while the fit goes on."""
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

    if delay is None:
        result = fit(data, solver, action=kill)
    else:
        killer = Timer(delay, kill)
        result = fit(data, solver, action=killer.start)
        killer.join()
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


def rows(spark: SparkSession, partitions: int, count: int = 2000) -> DataFrame:
    features = [f"sin(id * {j + 1.3}) + {j} * cos(id / {j + 1.0}) AS {name}" for j, name in enumerate(NAMES)]
    return spark.range(0, count, 1, partitions).selectExpr(*features, "10 * sin(id / 3) + cos(id * id) AS label")


def scanned(spark: SparkSession, partitions: int, route: str, count: int = 2000) -> DataFrame:
    """A Parquet table read as so many partitions, by the workers ("direct") or by Spark."""
    path = Path.cwd() / f"table-{partitions}-{count}"
    if not path.exists():
        rows(spark, partitions, count).write.parquet(str(path))
    df = spark.read.parquet(str(path))
    return df if route == "direct" else df.where("label IS NOT NULL")


def kill_in_coalesced_tasks(spark: SparkSession) -> dict[str, Any]:
    """Kills while each task has several partitions, by both routes, with and without numPartitions; a soak has more."""
    found = {}
    for route, partitions, options in (("direct", 32, {}), ("by Spark", 16, COALESCED)):
        with pack(scanned(spark, partitions, route), featuresCols=NAMES, **options) as data:
            found[route] = {**kill_an_executor(data, "gd"), "partitions": data.partitions, "tasks": data.tasks}
    return found


def soak(spark: SparkSession) -> list[dict[str, Any]]:
    """Kills at any moment: partitions 1, 4 and 16 times the tasks, both routes, with and without numPartitions."""
    draw, found = random.Random(0), []
    cases = [(route, times, tasks) for route in ("direct", "by Spark") for times in (1, 4, 16) for tasks in (None, 3)]
    while len(found) < KILLS:
        route, times, tasks = cases[len(found) % len(cases)]
        partitions = times * (tasks or TASKS_PER_CORE * spark.sparkContext.defaultParallelism)
        options = {"numPartitions": tasks, "validationFraction": draw.choice([None, 0.2])}
        solver = draw.choice(list(ITERATIONS))
        say(f"kill {len(found) + 1}: {partitions} partitions {route}, {options}, {solver}")
        with pack(scanned(spark, partitions, route, 200_000), featuresCols=NAMES, **options) as data:
            killed = kill_an_executor(data, solver, draw.uniform(0.0, 1.0))
            of = {"route": route, "partitions": data.partitions, "tasks": data.tasks, "solver": solver, **options}
            found.append({**of, **{name: value for name, value in killed.items() if name != "log"}})
        outcome = "the same bits" if killed["bits"] == killed["undisturbed"] else "OTHER BITS"
        say(f"{outcome}, {killed['moved']} partitions moved")
        while spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() < 3:  # the driver, and two
            time.sleep(0.1)
    return found


def main() -> None:
    tree.DIRECT_BYTES = 0  # small answers go through the tree too
    logging.getLogger("sparkdml").setLevel(logging.INFO)
    quick_start = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    settings = {"spark.master": "local-cluster[2,1,1024]", "spark.default.parallelism": "4"}
    settings |= {f"spark.{who}.extraJavaOptions": quick_start for who in ("driver", "executor")}
    settings |= {"spark.sql.files.openCostInBytes": "128m"}  # a partition for each file
    spark = get_spark("faults", **settings, **{"spark.ui.enabled": "false"})
    if sys.argv[1:] == ["soak"]:
        print(json.dumps(soak(spark)))
        spark.stop()
        return
    say("packing")
    with pack(rows(spark, PARTITIONS), featuresCols=NAMES, partitioning="stratified") as data:  # lost after a shuffle
        undisturbed = fit(data)
        found = {
            "partitions": data.partitions,
            "undisturbed": undisturbed["bits"],
            "log": undisturbed["log"],
            "depths": depths(spark, data),
            "unlinked": unlink_two(data),
            "killed": {solver: kill_an_executor(data, solver) for solver in ALONE},
            "again": fit(data)["bits"],
        }
    found["coalesced"] = kill_in_coalesced_tasks(spark)
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main()
