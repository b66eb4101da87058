"""The benchmark against peers runs from end to end, and results of earlier runs survive whatever comes after them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
COMMITTED = {each.parent.name: each.parent for each in sorted(BENCHMARKS.glob("results/*/results.json"))}
OF_SCHEMA_1 = '{"results": [{"shape": {"name": "dense"}, "fits": {"sparkdml": {"ready": [1.0], "gap": 0.0}}}]}'
UNREADABLE = {
    "1": OF_SCHEMA_1,
    "3": OF_SCHEMA_1.replace("{", '{"schema": 3, ', 1),
    "unknown": "{",
    "unknown, of other content": "[]",
    "unknown, without fields": OF_SCHEMA_1.replace("{", '{"schema": 2, ', 1),
}


@pytest.fixture(autouse=True)
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules of the benchmark can be imported, as its scripts import them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("peers", "bench")]:
        del sys.modules[name]


def result(name: str, contestant: str = "sparkdml", **fields: Any) -> dict[str, Any]:
    """The result of a shape in which one contestant took part beside ours."""
    from peers.shapes import FULL

    shape = FULL[name]
    told = vars(shape) | {"nbytes": shape.nbytes, "numbers": shape.numbers}
    fit = {"ready": [1.0, 3.0, 2.0], "ready_ours": [1.0], "gap": 0.0, "target": 1e-6}
    machine = {"processor": "a processor", "bandwidth": 1e9, "gemm": 1e9}
    fits = {"sparkdml": dict(fit), contestant: fit | fields}
    return {"shape": told, "best": 1.0, "fits": fits, "machine": machine}


def files(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


def known(directory: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((directory / "results.json").read_text())
    assert content["schema"] == 2
    return {each["shape"]["name"]: each for each in content["results"]}


@pytest.mark.extras
def test_all_contestants_that_are_installed_run_report_and_plot_beside_committed_results(tmp_path: Path) -> None:
    from peers.contestants import CONTESTANTS
    from peers.shapes import TINY

    before = files(COMMITTED["quick"])
    output = Path(shutil.copytree(COMMITTED["quick"], tmp_path / "results"))
    argv = ["--tiny", "--shapes", "dense", "--no-from-files", "--output", output, "--data", tmp_path]
    command = [sys.executable, "bench.py", *argv]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(BENCHMARKS.parent)}
    ended = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    taking = {name for name, contestant in CONTESTANTS.items() if contestant.takes(TINY["dense"])}
    assert taking >= {"sparkdml", "pyspark.ml", "scikit-learn lbfgs", "sparkdml local-sgd", "pyspark.mllib SGD"}
    fits = known(output)["dense"]["fits"]
    assert {name: fit.get("failed") for name, fit in fits.items()} == dict.fromkeys(taking)
    assert all(len(fit["ready"]) == len(fit["ready_ours"]) > 0 for fit in fits.values())
    assert ended.stdout == (output / "results.txt").read_text()
    assert all(name in ended.stdout for name in taking)
    assert (output / "results.png").read_bytes().startswith(b"\x89PNG")
    assert before["results.json"] in files(output).values() or "the schema" not in ended.stderr


@pytest.mark.parametrize("size", COMMITTED)
def test_a_result_joins_committed_ones(size: str, tmp_path: Path) -> None:
    from peers.report import write_report

    output = Path(shutil.copytree(COMMITTED[size], tmp_path / "results"))
    table = write_report(output, result("epsilon", "scikit-learn ridge"))
    kept = json.loads((COMMITTED[size] / "results.json").read_text())
    if kept.get("schema") == 2:
        assert {each["shape"]["name"] for each in kept["results"]} | {"epsilon"} == known(output).keys()
    else:
        assert (COMMITTED[size] / "results.json").read_bytes() in files(output).values()
    assert (output / "results.txt").read_text() == f"{table}\n"


@pytest.mark.parametrize("schema", UNREADABLE)
def test_results_of_another_schema_are_kept_aside_and_named(schema: str, tmp_path: Path) -> None:
    from peers.report import write_report
    from peers.results import SchemaError, read_results

    (tmp_path / "results.json").write_text(UNREADABLE[schema])
    number = schema.partition(",")[0]
    with pytest.raises(SchemaError, match=f"has the schema {number}, and this benchmark reads 2"):
        read_results(tmp_path)
    assert list(files(tmp_path)) == ["results.json"]  # looking changes nothing
    for _ in range(2):
        write_report(tmp_path, result("dense"))
    assert list(known(tmp_path)) == ["dense"]
    assert files(tmp_path)[f"results.schema-{number}.json"] == UNREADABLE[schema].encode()
    (tmp_path / "results.json").write_text(UNREADABLE[schema])
    write_report(tmp_path, result("dense"))
    assert files(tmp_path)[f"results.schema-{number}.2.json"] == UNREADABLE[schema].encode()


def test_contestants_that_a_run_left_out_stay_with_the_shape(tmp_path: Path) -> None:
    from peers.report import write_report

    for name in ("dense", "airline"):  # the second has levels
        write_report(tmp_path, result(name, "pyspark.ml"))
        write_report(tmp_path, result(name, "scikit-learn lbfgs"))
        assert list(known(tmp_path)[name]["fits"]) == ["sparkdml", "pyspark.ml", "scikit-learn lbfgs"]
    changed = result("dense", "scikit-learn ridge")
    changed["shape"]["rows"] += 1
    write_report(tmp_path, changed)
    assert list(known(tmp_path)["dense"]["fits"]) == ["sparkdml", "scikit-learn ridge"]
    assert "airline" in known(tmp_path)


@pytest.mark.parametrize("broken", ["table", "plot"])
def test_a_report_that_fails_changes_no_file(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peers import report

    report.write_report(tmp_path, result("dense"))
    before = files(tmp_path)
    monkeypatch.setattr(report, broken, lambda results: results[0]["no such field"])
    with pytest.raises(KeyError, match="no such field"):
        report.write_report(tmp_path, result("tall"))
    assert files(tmp_path) == before


# The rounds of a comparison, with contestants that need no process.


class FakeRunner:
    """Answers at once, unless it is among those that fail when they are asked for the so manieth time."""

    fails: dict[str, int] = {}

    def __init__(self, name: str, *_: Any) -> None:
        from peers.contestants import CONTESTANTS

        self.name, self.contestant, self.asked = name, CONTESTANTS[name], 0

    def __enter__(self) -> "FakeRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ready(self) -> None:
        self._answer()

    def send(self, setting: Any) -> None:
        pass

    def _answer(self) -> None:
        import bench

        self.asked += 1
        if self.fails.get(self.name) == self.asked:
            raise bench.Silent(f"{self.name} ended with exit code 1")

    def ask(self, setting: Any) -> dict[str, Any]:
        self._answer()
        return {"seconds": 1.0, "setting": setting, "w": 0.0, "b": 0.0}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs the script with fake contestants: `bench(["--tiny"], fails)`."""
    import bench

    monkeypatch.setattr(bench, "Runner", FakeRunner)
    monkeypatch.setattr(bench, "described", lambda *_: {"processor": "p", "bandwidth": 1e9, "gemm": 1e9})
    monkeypatch.setattr(bench, "objective", lambda *_: 1.0)

    def run(argv: list[str], fails: dict[str, int]) -> int:
        monkeypatch.setattr(FakeRunner, "fails", fails)
        argv = ["bench.py", "--tiny", "--data", str(tmp_path), "--output", str(tmp_path / "results"), *argv]
        monkeypatch.setattr(sys, "argv", argv)
        found: int = bench.main()
        return found

    return run


@pytest.mark.parametrize("when", range(1, 7))
def test_a_contestant_that_fails_is_reported_and_the_others_go_on(
    bench: Callable[..., int], when: int, tmp_path: Path
) -> None:
    assert bench(["--shapes", "dense", "--repeats", "2"], {"pyspark.ml": when}) == 0
    fits = known(tmp_path / "results")["dense"]["fits"]
    assert (fits["pyspark.ml"].get("failed") is None) == ("ready" in fits["pyspark.ml"])
    assert len(fits["scikit-learn lbfgs"]["ready"]) == 2
    assert len(fits["sparkdml"]["ready"]) == len(fits["sparkdml"]["ready_ours"])


def test_a_shape_on_which_ours_fails_is_left_out_and_told_in_the_exit_code(
    bench: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(["--shapes", "dense"], {}) == 0
    before = files(tmp_path / "results")
    assert bench(["--shapes", "linear"], {"sparkdml": 1}) == 1
    assert "linear is left out: sparkdml ended" in capsys.readouterr().err
    assert files(tmp_path / "results") == before


@pytest.mark.parametrize("chosen", ["sparkdml", "scikit-learn ridge", "sparkdml;vowpal wabbit bfgs"])
def test_any_choice_of_contestants_has_ours(bench: Callable[..., int], chosen: str, tmp_path: Path) -> None:
    assert bench(["--shapes", "dense", "--contestants", chosen], {}) == 0
    fits = known(tmp_path / "results")["dense"]["fits"]
    assert fits["sparkdml"]["ready"] and fits["sparkdml"]["from_files"]
