"""What it costs to compare packed rows with their checksums: the first pass over a pack, which does so, and later ones.

    python benchmarks/checksums.py                         # 1,000,000 x 100 dense and 500,000 x 10,000 sparse rows
    python benchmarks/checksums.py --before ../checkout    # later passes beside those of another checkout, in turn

Seconds are of one gradient of the logistic loss. Every round makes the pack look as it was right after packing, then
makes three passes. With --before, each round has as many passes of the other checkout, in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import sparkdml
from sparkdml.datasets import Recipe, make_table
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient

CORES, DENSE, SPARSE = 2, "dense", "sparse"
ROWS = {DENSE: 1_000_000, SPARSE: 500_000}
COLUMNS, WIDE, NONZEROS = 100, 10_000, 40


def recipe(kind: str, rows: int) -> Recipe:
    """The rows; the vector column is named as that of the estimators."""
    shape = {"features": COLUMNS} if kind == DENSE else {"features": WIDE, "density": NONZEROS / WIDE}
    return Recipe(kind="classification", rows=rows, layout="vector", partitions=2 * CORES, **shape)


def serve(kind: str, rows: int) -> None:
    """Pack, then make a pass for each line of stdin and print its seconds; "first" makes the pack look new before."""
    quick = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}  # or the JVM compiles for the first 20 passes
    spark = get_spark("checksums", **{"spark.master": f"local[{CORES}]", "spark.driver.memory": "2g", **quick})
    spark.sparkContext.setLogLevel("ERROR")
    with sparkdml.pack(make_table(spark, recipe(kind, rows))) as data:
        columns = len(data.feature_names)
        query = Gradient(LOSSES["logistic"], np.full((columns, 1), 0.01), np.zeros(1))
        directories = [Path(handle.directory) for handle in data._handles.rdd.collect()]
        for line in ["first", *["later"] * 4, *_lines()]:
            if line == "first":
                for directory in directories:
                    (directory / "checked").unlink(missing_ok=True)
            started = time.perf_counter()
            data.run([query])
            print(f"seconds {time.perf_counter() - started}", flush=True)


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        yield line.strip()


class Server:
    """A process that makes passes, with the code of a checkout."""

    def __init__(self, checkout: Path, kind: str, rows: int) -> None:
        command = [sys.executable, __file__, "--serve", kind, "--rows", str(rows)]
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OPENBLAS_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload]
        self._warm = [self._read() for _ in range(5)]

    def ask(self, which: str) -> float:
        """The seconds of a pass."""
        self.process.stdin.write(f"{which}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> float:
        for line in self.process.stdout:
            if line.startswith("seconds"):
                return float(line.split()[1])
        raise SystemExit("the process that makes the passes has ended")

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()


def compare(kind: str, rows: int, rounds: int, before: Path | None) -> None:
    """Print medians of one kind of rows."""
    ours = Server(Path(__file__).resolve().parents[1], kind, rows)
    theirs = Server(before, kind, rows) if before else None
    found: list[list[float]] = []
    for _ in range(rounds):
        times = []
        for which in ("first", "later", "later"):
            times.append(ours.ask(which))
            times.append(theirs.ask("later") if theirs else np.nan)
        found.append(times)
    ours.close()
    if theirs:
        theirs.close()
    first, _, second, other, third, another = (np.array(column) for column in zip(*found, strict=True))
    print(f"{kind}, {rows:,} rows, {rounds} rounds: median seconds, and of ratios median and quartiles")
    print(f"  first {np.median(first):.3f}   second {np.median(second):.3f}   third {np.median(third):.3f}")
    print(f"  first / second   {_told(first / second)}")
    print(f"  third / second   {_told(third / second)}   (noise)")
    if theirs:
        print(f"  later / before   {_told(np.concatenate([second / other, third / another]))}")


def _told(ratios: np.ndarray) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print both tables, or serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--only", choices=(DENSE, SPARSE))
    parser.add_argument("--rows", type=int, help="rows of each table")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", choices=(DENSE, SPARSE), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.rows)
        return
    for kind in (DENSE, SPARSE):
        if options.only in (None, kind):
            compare(kind, options.rows or ROWS[kind], options.rounds, options.before)


if __name__ == "__main__":
    main()
