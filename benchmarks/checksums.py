"""What it costs to compare packed rows with their checksums: the first pass over a pack, which does so, and later ones.

    python benchmarks/checksums.py                         # 1,000,000 x 100 dense and 400,000 x 1,000 sparse rows
    python benchmarks/checksums.py --before ../checkout    # later passes beside those of another checkout, in turn

Seconds are of one gradient of the logistic loss. Every round makes the pack look as it was right after packing, then
makes three passes. With --before, each round has as many passes of the other checkout, in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sparkdml
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient

CORES, FILES = 2, 4
DENSE, SPARSE = "dense", "sparse"
ROWS, COLUMNS, DENSITY = {DENSE: 1_000_000, SPARSE: 400_000}, {DENSE: 100, SPARSE: 1000}, {DENSE: 1.0, SPARSE: 0.05}


def write(directory: Path, kind: str, rows: int) -> None:
    """Write the rows as Parquet files, an array column of features and a label."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        count = rows // FILES
        X = rng.normal(size=(count, COLUMNS[kind])) * (rng.random((count, COLUMNS[kind])) < DENSITY[kind])
        flat = pa.array(X.ravel())
        features = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * COLUMNS[kind]), flat)
        table = pa.table({"features": features, "label": (rng.random(count) < 0.5).astype(float)})
        pq.write_table(table, directory / f"{number}.parquet")


def serve(table: Path) -> None:
    """Pack, then make a pass for each line of stdin and print its seconds; "first" makes the pack look new before."""
    quick = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}  # or the JVM compiles for the first 20 passes
    spark = get_spark("checksums", **{"spark.master": f"local[{CORES}]", "spark.driver.memory": "2g", **quick})
    spark.sparkContext.setLogLevel("ERROR")
    with sparkdml.pack(spark.read.parquet(str(table))) as data:
        columns = len(data.feature_names)
        query = Gradient(LOSSES["logistic"], np.full((columns, 1), 0.01), np.zeros(1))
        directories = [Path(handle.directory) for handle in data._handles.rdd.collect()]
        for line in chain(["first", *["later"] * 4], map(str.strip, sys.stdin)):
            if line == "first":
                for directory in directories:
                    (directory / "checked").unlink(missing_ok=True)
            started = time.perf_counter()
            data.run([query])
            print(f"seconds {time.perf_counter() - started}", flush=True)


class Server:
    """A process that makes passes, with the code of a checkout."""

    def __init__(self, checkout: Path, table: Path) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(table)]
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OPENBLAS_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, cwd=checkout, **pipes)  # type: ignore[call-overload]
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
    found: list[list[float]] = []
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory), kind, rows)
        ours = Server(Path(__file__).resolve().parents[1], Path(directory))
        theirs = Server(before, Path(directory)) if before else None
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
    print(f"  least: first {first.min():.3f}, second {second.min():.3f}, third {third.min():.3f}")
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
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    for kind in (DENSE, SPARSE):
        if options.only in (None, kind):
            compare(kind, options.rows or ROWS[kind], options.rounds, options.before)


if __name__ == "__main__":
    main()
