"""Whether hundreds of passes leave anything behind: memory of the driver and of the workers, temporary files.

    python benchmarks/steady.py                   # 500 passes over 1,000,000 x 20

Prints, every so many passes, megabytes of the JVM's heap after a collection, of the driver's Python process, of the
Python workers together, and of Spark's scratch directories, with the files there; and the seconds of a pass. It ends
with what the second half of the passes added. Nothing but rounding should: a worker's memory counts the pages of the
packed files that it maps, which the system takes back when it needs them.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import sparkdml
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient
from sparkdml.text import align

COLUMNS, LOOKS = 20, 10
HEAD = ("passes", "heap MB", "driver MB", "workers MB", "files MB", "files", "broadcasts", "pass s")


def look(spark: SparkSession, scratch: Path) -> list[float]:
    """What there is now."""
    runtime = spark.sparkContext._jvm.java.lang.Runtime.getRuntime()  # type: ignore[union-attr]
    runtime.gc()
    heap = (runtime.totalMemory() - runtime.freeMemory()) / 1e6
    files = [path for path in scratch.rglob("*") if path.is_file()]
    broadcasts = sum("broadcast" in path.name for path in files)
    size = sum(path.stat().st_size for path in files) / 1e6
    return [heap, resident("self"), sum(map(resident, workers())), size, len(files), broadcasts]


def resident(process: str) -> float:
    """Megabytes of a process that are its own, not mapped from files; zero where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def workers() -> list[str]:
    """The processes of Spark's Python workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"pyspark.daemon" in path.read_bytes() or b"sparkdml.jobkit.daemon" in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        spark = get_spark("steady", **{"spark.local.dir": scratch})
        spark.sparkContext.setLogLevel("ERROR")
        label = (F.rand(1000) < 0.5).cast("double").alias("label")
        df = spark.range(options.rows).select(label, *[F.randn(j).alias(f"x{j}") for j in range(COLUMNS)])
        query = Gradient(LOSSES["logistic"], np.full((COLUMNS, 1), 0.1), np.zeros(1))
        looks: list[list[float]] = []
        with sparkdml.pack(df, featuresCols=[f"x{j}" for j in range(COLUMNS)]) as data:
            data.run([query])
            for i in range(LOOKS + 1):
                times = []
                for _ in range(options.passes // LOOKS if i else 0):
                    started = time.perf_counter()
                    data.run([query])
                    times.append(time.perf_counter() - started)
                numbers = look(spark, Path(scratch))
                looks.append([i * (options.passes // LOOKS), *numbers, statistics.median(times or [0.0])])
        spark.stop()
    rows = [
        [f"{row[0]:.0f}", *(f"{x:.1f}" for x in row[1:5]), *(f"{x:.0f}" for x in row[5:7]), f"{row[7]:.3f}"]
        for row in looks
    ]
    print(align([list(HEAD), *rows]))
    added = [late - early for late, early in zip(looks[-1], looks[LOOKS // 2], strict=True)]
    print(
        "added by the second half: "
        + ", ".join(f"{name} {x:+.1f}" for name, x in zip(HEAD[1:7], added[1:7], strict=True))
    )


if __name__ == "__main__":
    main()
