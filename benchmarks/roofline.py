"""A gradient pass against what its arithmetic needs at least, and against the machine's memory.

    python benchmarks/roofline.py                     # 8,000,000 x 100, 6.4 GB: some minutes and 13 GB of memory
    python benchmarks/roofline.py --rows 1000000

The bare loop is NumPy alone: as many processes as tasks, each with its part of the same rows in memory, multiplying
them in chunks that fit the cache. The pass is a job of Spark over packed files. Medians; loop and passes in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers.machine import bandwidth, seconds_of
from pyspark.sql import functions as F
from scipy.special import expit

import sparkdml
from sparkdml.blocks.store import Handle
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient

CORES, REPEATS, CHUNK = 2, 9, 1 << 20


def bare(handles: list[Handle], w: np.ndarray) -> Callable[[int], Callable[[], Any]]:
    """For each process its loop over the rows of a partition: the loss and the gradient of logistic regression."""

    def setup(number: int) -> Callable[[], Any]:
        directory, d = Path(handles[number].directory), len(w)
        X, y = np.fromfile(directory / "dense").reshape(-1, d), np.fromfile(directory / "label")
        step = CHUNK // (8 * d)

        def loop() -> tuple[float, np.ndarray]:
            value, gradient = 0.0, np.zeros(d)
            for start in range(0, len(y), step):
                chunk, label = X[start : start + step], y[start : start + step]
                z = chunk @ w
                value += float(np.sum(np.logaddexp(0.0, z) - label * z))
                gradient += (expit(z) - label) @ chunk
            return value, gradient

        return loop

    return setup


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000_000)
    parser.add_argument("--columns", type=int, default=100)
    options = parser.parse_args()
    names = [f"x{j}" for j in range(options.columns)]
    quick = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}  # or the JVM compiles for the first 20 passes
    spark = get_spark("roofline", **{"spark.master": f"local[{CORES}]", "spark.driver.memory": "3g", **quick})
    spark.sparkContext.setLogLevel("ERROR")
    label = (F.rand(1000) < 0.5).cast("double").alias("label")
    rows = spark.range(0, options.rows, 1, CORES).select(
        label, *[F.randn(j).alias(name) for j, name in enumerate(names)]
    )
    w = np.full(options.columns, 0.01)
    query, nbytes = Gradient(LOSSES["logistic"], w[:, None], np.zeros(1)), 8.0 * options.rows * options.columns
    with sparkdml.pack(rows, featuresCols=names, numPartitions=CORES) as data:
        handles = sorted(data._handles.rdd.collect(), key=lambda handle: handle.partition)
        loops = [seconds_of(CORES, bare(handles, w))]
        passes = []
        for _ in range(REPEATS + 2):
            started = time.perf_counter()
            data.run([query])
            passes.append(time.perf_counter() - started)
        loops.append(seconds_of(CORES, bare(handles, w)))
    spark.stop()
    seconds, loop, speed = statistics.median(passes[2:]), statistics.median(loops), bandwidth(CORES)
    print(f"{options.rows:,} x {options.columns}, {nbytes / 1e9:.1f} GB, {CORES} processes")
    print(f"bare loop  {loop:6.3f} s  {nbytes / loop / 1e9:5.1f} GB/s")
    print(f"pass       {seconds:6.3f} s  {nbytes / seconds / 1e9:5.1f} GB/s  {seconds / loop:.2f} times the loop")
    share = nbytes / seconds / speed
    print(f"memory     {nbytes / speed:6.3f} s  {speed / 1e9:5.1f} GB/s  the pass has {share:.0%} of it")


if __name__ == "__main__":
    main()
