"""sparkdml against pyspark.ml, pyspark.mllib, scikit-learn and Vowpal Wabbit: one run, the same data, cores and judge.

    make bench                                            # all shapes; hours
    make bench ARGS="--quick"                             # small shapes, fits of ready data only: some minutes
    make bench ARGS="--tiny"                              # to see that everything runs: the times mean nothing
    make bench ARGS="--shapes dense,airline --repeats 3"

For each shape every contestant is tried with several tolerances, to find the loosest with which its objective, computed
by one NumPy function, is within 1e-6 of the lowest known, relative to it (1e-4 for the stochastic methods). Then some
of them and ours make their fits in turn, so that a slow minute of the machine is everyone's; the ratio of each is to
the fits of ours between its own. "ready" is a fit where the data are as the contestant wants them (packed, cached,
arrays, cache file); "from files" is a fresh process that reads Parquet. The results are written as JSON, a table and a
plot, after each shape; those of other shapes and contestants that are there already stay. A shape that cannot be
compared, because sparkdml itself fails, is left out, and the exit code is then 1.
"""

import argparse
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers.contestants import CONTESTANTS, CORES, Contestant
from peers.machine import described
from peers.report import write_report
from peers.results import SchemaError, read_results
from peers.shapes import SIZES, Shape
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


class Silent(Exception):
    """A contestant did not answer in time, or ended without an answer."""


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
            raise Silent(f"{self.name} did not answer within {self.limit:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise Silent(f"{self.name} ended with exit code {self.process.wait()}")
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
            runners: dict[str, Runner] = {}
            for name in dict.fromkeys([REFERENCE, *names]):
                with self._noted(name, runners):
                    runners[name] = stack.enter_context(Runner(name, self.shape, self.path, self.options.limit))
                    runners[name].ready()
            if not np.isfinite(self.best):
                self.best = self.judged(runners[REFERENCE], CONTESTANTS[REFERENCE].settings[-1])["objective"]
            for name in [name for name in runners if name not in self.found]:
                with self._noted(name, runners):
                    self.found[name] = self._calibrated(runners[name])
                    self.best = min(self.best, self.found[name]["objective"])
                    say(f"  {name}: tol or passes {self.found[name]['setting']}, {self.found[name]['seconds']:.2f} s")
            self._repeat(runners)

    @contextmanager
    def _noted(self, name: str, runners: dict[str, Runner]) -> Iterator[None]:
        """Note a contestant that fails, and leave it out of its round; without ours there is nothing to compare."""
        try:
            yield
        except Silent as failure:
            if name == REFERENCE:
                raise
            say(f"  {failure}")
            self.found[name] = {"failed": str(failure)}
            runners.pop(name, None)

    def _repeat(self, runners: dict[str, Runner]) -> None:
        """The fits that count: all in turn, with those of ours kept beside each."""
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(self.options.repeats):
            for name in list(runners):
                with self._noted(name, runners):
                    times[name].append(self.judged(runners[name], self.found[name]["setting"])["seconds"])
        for name in runners:
            self.found[name].setdefault("ready", []).extend(times[name])
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
        times: dict[str, list[float]] = {name: [] for name in FROM_FILES if "ready" in self.found.get(name, {})}
        for _ in range(self.options.repeats):
            for name in list(times):
                try:
                    times[name].append(self._from_files(name))
                    say(f"  {name}: {times[name][-1]:.1f} s from files")
                except Silent as failure:
                    say(f"  from files: {failure}")
                    del times[name]
        for name in times if REFERENCE in times else ():
            self.found[name] |= {"from_files": times[name], "from_files_ours": times[REFERENCE]}

    def _from_files(self, name: str) -> float:
        """Seconds from the start of a process to its model."""
        started = time.perf_counter()
        with Runner(name, self.shape, self.path, self.options.limit) as runner:
            runner.send(self.found[name]["setting"])
            runner.ready()
            runner._answer()
            return time.perf_counter() - started


def compare(shape: Shape, directory: Path, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The results of one shape."""
    say(f"{shape.name}: {shape.rows:,} x {shape.columns:,}")
    comparison = Comparison(shape, write(shape, directory), options)
    rounds = [[name for name in together if name in names and CONTESTANTS[name].takes(shape)] for together in ROUNDS]
    for taking in list(filter(None, rounds)) or [[]]:  # ours alone, where nobody else takes part
        comparison.round(taking)
    if options.from_files:
        comparison.from_files()
    for fit in comparison.found.values():
        if "objective" in fit:
            fit["gap"] = (fit["objective"] - comparison.best) / comparison.best
    told = asdict(shape) | {"nbytes": shape.nbytes, "numbers": shape.numbers}
    return {"shape": told, "best": comparison.best, "fits": comparison.found}


def say(text: str) -> None:
    """Progress, which is no result."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the shapes that are asked for, and write what was found; return the exit code."""
    options = _options()
    try:
        read_results(options.output)
    except SchemaError as other:
        say(str(other))
    if not archive_path().is_file():
        make_archive()
    machine = described(CORES, 1 << (22 if options.size == "tiny" else 29))
    table, failed = "", False
    for shape in options.shapes:
        try:
            result = compare(shape, options.data, options.contestants, options)
        except Silent as failure:
            say(f"{shape.name} is left out: {failure}")
            failed = True
            continue
        table = write_report(options.output, result | {"machine": machine})
    print(table)
    return int(failed)


def _options() -> argparse.Namespace:
    """The command line, with what it leaves open decided: `shapes` are the shapes themselves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = parser.add_mutually_exclusive_group()
    sizes.set_defaults(size="full")
    for size, told in {
        "quick": "small shapes, three fits of ready data each",
        "tiny": "shapes of some rows, one fit of each kind",
    }.items():
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size, help=told)
    parser.add_argument("--shapes", metavar="A,B", help="which shapes (default: all)")
    parser.add_argument("--contestants", metavar="A;B", help=f"which contestants, of {'; '.join(CONTESTANTS)}")
    parser.add_argument("--repeats", type=int, metavar="N", help="fits of each (default: 5, 3 or 1)")
    parser.add_argument("--no-from-files", dest="from_files", action="store_false", help="only fits of ready data")
    parser.add_argument("--limit", type=float, default=900.0, metavar="S", help="seconds for one answer (default: 900)")
    parser.add_argument("--data", type=Path, default=HERE / "data", metavar="DIR", help="where the tables are kept")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (default: benchmarks/results)")
    options = parser.parse_args()
    quick, shapes = options.size == "quick", SIZES[options.size]
    options.repeats = options.repeats or {"full": 5, "quick": 3, "tiny": 1}[options.size]
    options.from_files = options.from_files and not quick
    options.output = options.output or HERE / "results" / options.size
    chosen = options.shapes.split(",") if options.shapes else [*shapes]
    everyone = QUICK_CONTESTANTS if quick else [*CONTESTANTS]
    options.contestants = options.contestants.split(";") if options.contestants else everyone
    if unknown := {*chosen} - {*shapes} | {*options.contestants} - {*CONTESTANTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.shapes = [shapes[name] for name in chosen]
    return options


if __name__ == "__main__":
    sys.exit(main())
