"""How the seconds of a pass grow with rows, tasks, cores and coefficients. Prints the tables of docs/scaling.md.

    python benchmarks/scaling.py            # 4,000,000 x 50, some minutes
    python benchmarks/scaling.py --quick    # a tenth of the rows

A pass is a gradient of the logistic loss over packed rows; beside passes over few rows stands the emptiest job of
Python tasks that the same session runs. Its medians on 1 and 2 cores, each number of cores in a
process and a session of its own, are fitted by

    seconds = job + rounds * task + bytes / (cores * bandwidth),      rounds = tasks / cores, rounded up,

and those over few rows of many columns by seconds = fixed + bytes sent / rate. What the model says of a cluster follows
from these numbers and from those of `CLUSTER`, which are assumed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

CORES, TASKS, WIDTHS = (1, 2), (1, 2, 4, 8, 16, 64), (1_000, 100_000, 1_000_000)
COLUMNS, REPEATS = 50, 9


@dataclass(frozen=True)
class Cluster:
    """What is assumed of a cluster: of an executor its cores and bytes a second of its network, of the driver the same.

    `job` and `task` are seconds of Spark's: a task is started by one message of the driver, which sends so many a
    second whatever the number of executors.
    """

    cores: int = 4
    network: float = 1.25e9
    launches: float = 1_000.0


CLUSTER = Cluster()
TABLES = {"10^9 x 10^3, dense": (8e12, 1e3), "10^10 x 10^6, 39 non-zeros": (1e10 * 39 * 12, 1e6)}


def measure(cores: int, rows: int) -> dict[str, Any]:
    """Median seconds of a pass: of every number of tasks over all rows and over few, and of every width."""
    import sparkdml
    from sparkdml.jobkit.session import get_spark

    spark = get_spark("scaling", **{"spark.master": f"local[{cores}]", "spark.driver.memory": "4g"})
    spark.sparkContext.setLogLevel("ERROR")
    found: dict[str, Any] = {"cores": cores, "rows": rows, "passes": [], "widths": []}
    for tasks in TASKS:
        for count in (rows, 64 * 100):
            with sparkdml.pack(_dense(spark, count, tasks), featuresCols=_names(), numPartitions=tasks) as data:
                nbytes = count * 8 * (COLUMNS + 1)
                seconds, empty = _seconds(data, COLUMNS, _emptiest(spark, data.tasks))
                found["passes"].append({"tasks": data.tasks, "bytes": nbytes, "seconds": seconds, "empty": empty})
    for width in WIDTHS:
        with sparkdml.pack(_wide(spark, width), numPartitions=cores) as data:
            found["widths"].append({"width": width, "seconds": _seconds(data, width)[0]})
    spark.stop()
    return found


def _names() -> list[str]:
    return [f"x{j}" for j in range(COLUMNS)]


def _dense(spark: Any, rows: int, partitions: int) -> Any:
    from pyspark.sql import functions as F

    label = (F.rand(1000) < 0.5).cast("double").alias("label")
    return spark.range(0, rows, 1, partitions).select(label, *[F.randn(j).alias(f"x{j}") for j in range(COLUMNS)])


def _wide(spark: Any, width: int) -> Any:
    """Few sparse rows, so that the vectors that are sent are what takes the time."""
    from pyspark.ml.linalg import Vectors

    rng = np.random.default_rng(0)
    rows = [(float(i % 2), Vectors.sparse(width, sorted(rng.choice(width, 30, False)), [1.0] * 30)) for i in range(64)]
    return spark.createDataFrame(rows, ["label", "features"]).repartition(2)


def _emptiest(spark: Any, tasks: int) -> Callable[[], Any]:
    """A job of Python tasks that do nothing."""
    numbers = spark.sparkContext.parallelize(range(tasks), tasks)
    return lambda: numbers.mapPartitions(list).collect()


def _seconds(data: Any, width: int, other: Callable[[], Any] | None = None) -> tuple[float, float]:
    """Medians of a pass, and of another job in turn with it."""
    from sparkdml.optim.losses import LOSSES
    from sparkdml.optim.queries import Gradient

    query = Gradient(LOSSES["logistic"], np.full((width, 1), 1e-3), np.zeros(1))
    jobs = (lambda: data.run([query])), other or (lambda: None)
    times: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for job, taken in zip(jobs, times, strict=True):
            started = time.perf_counter()
            job()
            taken.append(time.perf_counter() - started)
    passes, others = (statistics.median(taken[2:]) for taken in times)
    return passes, others


@dataclass(frozen=True)
class Model:
    """seconds = job + rounds * task + bytes / (cores * bandwidth) + bytes sent * message."""

    job: float
    task: float
    bandwidth: float
    message: float

    @classmethod
    def of(cls, found: list[dict[str, Any]]) -> "Model":
        """The model of least squares, relative to the seconds, whose numbers are not negative."""
        rows, seconds = [], []
        for part in found:
            for each in part["passes"]:
                rounds = -(-each["tasks"] // part["cores"])
                rows.append([1.0, rounds, each["bytes"] / min(part["cores"], each["tasks"])])
                seconds.append(each["seconds"])
        A, y = np.array(rows), np.array(seconds)
        (job, task, byte), _ = nnls(A / y[:, None], np.ones(len(y)))
        first, *_, last = found[-1]["widths"]
        sent = 16.0 * (last["width"] - first["width"])  # weights down and sums up, once
        return cls(job, task, 1.0 / byte, (last["seconds"] - first["seconds"]) / sent)

    def seconds(self, tasks: int, cores: int, nbytes: float) -> float:
        """Of a pass on this machine."""
        return self.job + -(-tasks // cores) * self.task + nbytes / (min(cores, tasks) * self.bandwidth)

    def on_cluster(self, executors: int, nbytes: float, width: float) -> dict[str, float]:
        """Of a pass with as many tasks as cores: where the time goes.

        The weights go from executor to executor as Spark's torrent does, so that every executor receives them once
        while others send; the sums go up a tree of two levels, whose root receives the square root of the tasks' sums.
        """
        tasks = executors * CLUSTER.cores
        received = max(np.sqrt(tasks), 1.0) * 8.0 * width
        return {
            "fixed": self.job + self.task + tasks / CLUSTER.launches,
            "rows": nbytes / (tasks * self.bandwidth),
            "weights": 8.0 * width * (2.0 / CLUSTER.network + self.message),
            "sums": received * (2.0 / CLUSTER.network + self.message),
        }


def report(found: list[dict[str, Any]]) -> str:
    """The tables."""
    from sparkdml.text import align

    model = Model.of(found)
    lines = [["cores", "tasks", "MB", "seconds", "of the model"]]
    for part in found:
        for each in part["passes"]:
            told = model.seconds(each["tasks"], part["cores"], each["bytes"])
            numbers = (
                part["cores"],
                each["tasks"],
                f"{each['bytes'] / 1e6:,.0f}",
                f"{each['seconds']:.3f}",
                f"{told:.3f}",
            )
            lines.append([str(number) for number in numbers])
    fixed = [["cores", "tasks", "pass", "emptiest job", "ratio"]]
    for part in found:
        for each in part["passes"][1::2]:
            ratio = each["seconds"] / each["empty"]
            numbers = (part["cores"], each["tasks"], f"{each['seconds']:.3f}", f"{each['empty']:.3f}", f"{ratio:.2f}")
            fixed.append([str(number) for number in numbers])
    texts = [align(lines), align(fixed)]
    texts.append(
        f"job {1e3 * model.job:.0f} ms, task {1e3 * model.task:.1f} ms, bandwidth of a core "
        f"{model.bandwidth / 1e9:.1f} GB/s"
    )
    widths = [["cores", "columns", "seconds"]]
    widths += [[str(p["cores"]), f"{e['width']:,}", f"{e['seconds']:.3f}"] for p in found for e in p["widths"]]
    texts += [align(widths), f"a MB of weights down and sums up {1e9 * model.message:.2f} ms"]
    cluster = [["table", "executors", "fixed", "rows", "weights", "sums", "seconds of a pass"]]
    for name, (nbytes, width) in TABLES.items():
        for executors in (10, 100, 1000):
            parts = model.on_cluster(executors, nbytes, width)
            cells = [f"{part:.2f}" for part in parts.values()]
            cluster.append([name, str(executors), *cells, f"{sum(parts.values()):.1f}"])
    return "\n\n".join([*texts, align(cluster)])


def main() -> None:
    """Measure in a process for each number of cores, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = 400_000 if options.quick else 4_000_000
    if options.cores:
        print(json.dumps(measure(options.cores, rows)))
        return
    found = []
    for cores in CORES:
        command = [sys.executable, __file__, "--cores", str(cores), *(["--quick"] if options.quick else [])]
        environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "OPENBLAS_NUM_THREADS": "1"}
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
        found.append(json.loads(answer.stdout.splitlines()[-1]))
    print(report(found))


if __name__ == "__main__":
    main()
