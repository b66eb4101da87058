"""sparkdml against pyspark.ml, pyspark.mllib, scikit-learn and Vowpal Wabbit: one run, the same data, cores and judge.

    make bench                                            # all shapes; hours
    make bench ARGS="--quick"                             # small shapes, fits of ready data only: some minutes
    make bench ARGS="--shapes dense,airline --repeats 3"

For each shape every contestant is tried with several tolerances, to find the loosest with which its objective, computed
by one NumPy function, is within 1e-6 of the lowest known, relative to it (1e-4 for the stochastic methods). Then some
of them and ours make their fits in turn, so that a slow minute of the machine is everyone's; the ratio of each is to
the fits of ours between its own. "ready" is a fit where the data are as the contestant wants them (packed, cached,
arrays, cache file); "from files" is a fresh process that reads Parquet. The results are written as JSON, a table and a
plot.
"""

import argparse
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers.contestants import CONTESTANTS, CORES, Contestant
from peers.machine import described
from peers.report import write_report
from peers.shapes import FULL, QUICK, Shape
from peers.tables import arrays, objective, write

from sparkdml.jobkit.class_archive import archive_path, make_archive

HERE = Path(__file__).resolve().parent
FROM_FILES = ("sparkdml", "pyspark.ml", "pyspark.ml, OpenBLAS", "scikit-learn lbfgs", "scikit-learn ridge")
SLOW = ("pyspark.ml, OpenBLAS", "pyspark.mllib SGD", "vowpal wabbit bfgs")  # to make ready, or to come near
QUICK_CONTESTANTS = [name for name in CONTESTANTS if name not in SLOW]
REFERENCE = "sparkdml"  # whose tightest setting gives the first optimum
# Who is there at the same time, beside ours: more than that, and memory is short.
ROUNDS = (
    ("pyspark.ml", "pyspark.ml, OpenBLAS"),
    ("scikit-learn lbfgs", "scikit-learn newton-cholesky", "scikit-learn ridge", "vowpal wabbit bfgs"),
    ("sparkdml local-sgd", "pyspark.mllib SGD", "vowpal wabbit online"),
)


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


@dataclass
class Comparison:
    """What is known of one shape: its data, the lowest objective, and the fits by contestant."""

    shape: Shape
    path: Path
    options: argparse.Namespace
    best: float = np.inf
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.X, self.y = arrays(self.shape, self.path)

    def judged(self, runner: Runner, setting: Any) -> dict[str, Any]:
        """A fit, with its objective."""
        fit = runner.ask(setting)
        fit["objective"] = objective(self.shape, self.X, self.y, fit.pop("w"), fit.pop("b"))
        return fit

    def round(self, names: Sequence[str]) -> None:
        """Let some contestants, and ours among them, find their settings and then fit in turn."""
        with ExitStack() as stack:
            runners = dict(_started([REFERENCE, *names], self.shape, self.path, self.options.limit, stack))
            if not np.isfinite(self.best):
                self.best = self.judged(runners[REFERENCE], CONTESTANTS[REFERENCE].settings[-1])["objective"]
            for name in [name for name in runners if name not in self.found]:
                try:
                    self.found[name] = self._calibrated(runners[name])
                except TooSlow as late:
                    say(f"  {late}")
                    self.found[name] = {"failed": str(late)}
                    del runners[name]
                    continue
                self.best = min(self.best, self.found[name]["objective"])
                say(f"  {name}: tol or passes {self.found[name]['setting']}, {self.found[name]['seconds']:.2f} s")
            self._repeat(runners)

    def _repeat(self, runners: dict[str, Runner]) -> None:
        """The fits that count: all in turn, with those of ours kept beside each."""
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(self.options.repeats):
            for name, runner in runners.items():
                times[name].append(self.judged(runner, self.found[name]["setting"])["seconds"])
        for name, seconds in times.items():
            self.found[name].setdefault("ready", []).extend(seconds)
            self.found[name].setdefault("ready_ours", []).extend(times[REFERENCE])

    def _calibrated(self, runner: Runner) -> dict[str, Any]:
        """The fit of the loosest setting that is near enough to the optimum, by bisection, or of the tightest."""
        contestant = runner.contestant
        settings, low = contestant.settings_for(self.shape), 0
        high = len(settings) - 1
        fits: dict[int, dict[str, Any]] = {}
        while low < high:
            middle = (low + high) // 2
            fits[middle] = self.judged(runner, settings[middle])
            if fits[middle]["objective"] - self.best <= contestant.target * abs(self.best):
                high = middle
            else:
                low = middle + 1
        return (fits.get(low) or self.judged(runner, settings[low])) | {"target": contestant.target}

    def from_files(self) -> None:
        """Fits in fresh processes, all contestants in turn."""
        names = [name for name in FROM_FILES if "ready" in self.found.get(name, {})]
        for _ in range(self.options.repeats):
            for name in names:
                seconds = _from_files(name, self.shape, self.path, self.found[name]["setting"], self.options.limit)
                self.found[name].setdefault("from_files", []).append(seconds)
                say(f"  {name}: {seconds:.1f} s from files")
        for name in names:
            self.found[name]["from_files_ours"] = self.found[REFERENCE]["from_files"]


def compare(shape: Shape, directory: Path, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The results of one shape."""
    say(f"{shape.name}: {shape.rows:,} x {shape.columns:,}")
    comparison = Comparison(shape, write(shape, directory), options)
    for together in ROUNDS:
        if taking := [name for name in together if name in names and CONTESTANTS[name].takes(shape)]:
            comparison.round(taking)
    if options.from_files:
        comparison.from_files()
    for fit in comparison.found.values():
        if "objective" in fit:
            fit["gap"] = (fit["objective"] - comparison.best) / comparison.best
    told = asdict(shape) | {"nbytes": shape.nbytes, "numbers": shape.numbers}
    return {"shape": told, "best": comparison.best, "fits": comparison.found}


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
