"""sparkdml against pyspark.ml, pyspark.mllib, scikit-learn and Vowpal Wabbit: one run, the same data, cores and judge.

    make bench                                            # all shapes; hours
    make bench ARGS="--quick"                             # small shapes, fits of ready data only: some minutes
    make bench ARGS="--shapes dense,airline --repeats 3"

For each shape every contestant is tried with several tolerances, to find the loosest with which its objective, computed
by one NumPy function, is within 1e-6 of the lowest known, relative to it (1e-4 for the stochastic methods). Then
all make their fits in turn, so that a slow minute of the machine is everyone's. "ready" is a fit where the data are as
the contestant wants them (packed, cached, arrays, cache file); "from files" is a fresh process that reads Parquet. The
results are written as JSON, a table and a plot.
"""

import argparse
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers.contestants import CONTESTANTS, CORES, Contestant
from peers.machine import described
from peers.report import write_report
from peers.shapes import FULL, QUICK, Shape

from sparkdml.jobkit.class_archive import archive_path, make_archive

HERE = Path(__file__).resolve().parent
FROM_FILES = ("sparkdml", "pyspark.ml", "pyspark.ml, OpenBLAS", "scikit-learn lbfgs", "scikit-learn ridge")
SLOW = ("pyspark.ml, OpenBLAS", "pyspark.mllib SGD", "vowpal wabbit bfgs")  # to make ready, or to come near
QUICK_CONTESTANTS = [name for name in CONTESTANTS if name not in SLOW]
REFERENCE = "sparkdml"  # whose tightest setting gives the first optimum


class TooSlow(Exception):
    """A contestant did not answer in time."""


class Runner:
    """A contestant in a process of its own."""

    def __init__(self, name: str, shape: Shape, path: Path, limit: float) -> None:
        self.name, self.limit = name, limit
        self.contestant: type[Contestant] = CONTESTANTS[name]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.contestants", name, json.dumps(asdict(shape)), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE,
        )
        self.lines = selectors.DefaultSelector()
        self.lines.register(self.process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ready(self) -> None:
        """Wait until its data are ready."""
        self._answer()

    def ask(self, setting: Any) -> dict[str, Any]:
        """A fit, with its coefficients as `w` and `b`."""
        self.send(setting)
        found = self._answer()
        joined = np.load(found.pop("model"))
        return {**found, "setting": setting, "w": joined[:-1], "b": float(joined[-1])}

    def send(self, setting: Any) -> None:
        """Ask for a fit without waiting for it."""
        assert self.process.stdin is not None
        print(json.dumps({"setting": setting}), file=self.process.stdin, flush=True)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not self.lines.select(self.limit):
            self.process.kill()
            raise TooSlow(f"{self.name} did not answer within {self.limit:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise TooSlow(f"{self.name} ended with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compare(shape: Shape, directory: Path, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The results of one shape."""
    say(f"{shape.name}: {shape.rows:,} x {shape.columns:,}")
    path = shape.write(directory)
    X, y = shape.arrays(path)
    names = [name for name in names if CONTESTANTS[name].takes(shape)]
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        runners = dict(_started(names, shape, path, options.limit, stack))

        def judged(name: str, setting: Any) -> dict[str, Any]:
            fit = runners[name].ask(setting)
            fit["objective"] = shape.objective(X, y, fit.pop("w"), fit.pop("b"))
            return fit

        best = judged(REFERENCE, CONTESTANTS[REFERENCE].settings[-1])["objective"]
        for name in list(runners):
            try:
                found[name] = _calibrated(name, judged, best)
            except TooSlow as late:
                say(f"  {late}")
                found[name] = {"failed": str(late)}
                del runners[name]
                continue
            best = min(best, found[name]["objective"])
            say(f"  {name}: tol or passes {found[name]['setting']}, {found[name]['seconds']:.2f} s")
        for _ in range(options.repeats):
            for name in runners:
                found[name].setdefault("ready", []).append(judged(name, found[name]["setting"])["seconds"])
    for fit in found.values():
        if "objective" in fit:
            fit["gap"] = (fit["objective"] - best) / best
    for _ in range(options.repeats if options.from_files else 0):
        for name in (name for name in FROM_FILES if "ready" in found.get(name, {})):
            seconds = _from_files(name, shape, path, found[name]["setting"], options.limit)
            found[name].setdefault("from_files", []).append(seconds)
            say(f"  {name}: {seconds:.1f} s from files")
    return {"shape": asdict(shape) | {"nbytes": shape.nbytes, "numbers": shape.numbers}, "best": best, "fits": found}


def _started(
    names: Sequence[str], shape: Shape, path: Path, limit: float, stack: ExitStack
) -> Iterator[tuple[str, Runner]]:
    """The contestants that could make their data ready, one after the other."""
    for name in names:
        runner = stack.enter_context(Runner(name, shape, path, limit))
        try:
            runner.ready()
        except TooSlow as late:
            say(f"  {late}")
            continue
        yield name, runner


def _calibrated(name: str, judged: Any, best: float) -> dict[str, Any]:
    """The fit of the loosest setting that is near enough to the optimum, or of the tightest."""
    contestant = CONTESTANTS[name]
    settings, low = contestant.settings, 0
    high = len(settings) - 1
    fits: dict[int, dict[str, Any]] = {}
    while low < high:  # the loosest that is near enough, by bisection
        middle = (low + high) // 2
        fits[middle] = judged(name, settings[middle])
        if fits[middle]["objective"] - best <= contestant.target * abs(best):
            high = middle
        else:
            low = middle + 1
    return (fits.get(low) or judged(name, settings[low])) | {"target": contestant.target}


def _from_files(name: str, shape: Shape, path: Path, setting: Any, limit: float) -> float:
    """Seconds from the start of a process to its model."""
    started = time.perf_counter()
    with Runner(name, shape, path, limit) as runner:
        runner.send(setting)
        runner.ready()
        runner._answer()
        return time.perf_counter() - started


def say(text: str) -> None:
    """Progress, which is no result."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run the shapes that are asked for, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, three fits of ready data each")
    parser.add_argument("--shapes", metavar="A,B", help="which shapes (default: all)")
    parser.add_argument("--contestants", metavar="A;B", help=f"which contestants, of {'; '.join(CONTESTANTS)}")
    parser.add_argument("--repeats", type=int, metavar="N", help="fits of each (default: 5, or 3)")
    parser.add_argument("--no-from-files", dest="from_files", action="store_false", help="only fits of ready data")
    parser.add_argument("--limit", type=float, default=900.0, metavar="S", help="seconds for one answer (default: 900)")
    parser.add_argument("--data", type=Path, default=HERE / "data", metavar="DIR", help="where the tables are kept")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: benchmarks/results)")
    options = parser.parse_args()
    options.repeats = options.repeats or (3 if options.quick else 5)
    options.from_files = options.from_files and not options.quick
    shapes = QUICK if options.quick else FULL
    chosen = options.shapes.split(",") if options.shapes else list(shapes)
    names = (
        options.contestants.split(";")
        if options.contestants
        else [*CONTESTANTS]
        if not options.quick
        else QUICK_CONTESTANTS
    )
    if unknown := {*chosen} - {*shapes} | {*names} - {*CONTESTANTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    output = options.output or HERE / "results" / ("quick" if options.quick else "full")
    if not archive_path().is_file():
        make_archive()
    machine = described(CORES)
    for name in chosen:
        result = compare(shapes[name], options.data, names, options)
        table = write_report(output, result | {"machine": machine})
    print(table)


if __name__ == "__main__":
    main()
