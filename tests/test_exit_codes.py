"""Every exit code of the contract, by a process as a scheduler starts it; and a week of such runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from sparkdml.jobkit.failures import EXIT_CODES
from sparkdml.storage import Storage

CHECKOUT = Path(__file__).resolve().parents[1]
TRAIN = CHECKOUT / "jobs" / "train_linreg.py"
GD = ("--solver", "gd", "--learning-rate", "constant")
# By code: what is run, in an environment; {} is an empty directory, {model} one with a model whose manifest is wrong.
PROCESSES: dict[int, tuple[list[str], dict[str, str]]] = {
    0: (["--output", "{}/out"], {}),
    64: (["--solvr", "gd"], {}),
    65: (["--label", "nothing"], {}),
    66: (["--input", "{}/nothing.csv"], {}),
    69: (["--input", "hdfs://nowhere.invalid:9/rows"], {}),
    70: ([], {}),
    74: (["--output", str(TRAIN)], {}),
    77: (["--output", "/proc/sparkdml"], {}),
    78: (["--config", "{}/nothing.toml"], {}),
    80: ([*GD, "--step-size", "1e9"], {}),
    81: ([*GD, "--max-iter", "1", "--require-convergence"], {}),
    84: (["--initial-model", "{model}"], {}),
    130: ([*GD, "--max-iter", "1000000", "--tol", "0", "--step-size", "1e-9"], {}),
    143: ([*GD, "--max-iter", "1000000", "--tol", "0", "--step-size", "1e-9"], {}),
}
BROKEN = "import sys; sys.argv[0] = {!r}; import sparkdml.jobkit.training as t; t.read_files = lambda *_: 1 / 0\n"


def test_every_code_is_tried() -> None:
    assert set(PROCESSES) == {0, 70, *(code for _, code in EXIT_CODES)}


@pytest.mark.extras
@pytest.mark.parametrize("code", PROCESSES)
def test_a_process_ends_with_its_code_and_one_line(code: int, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "model").mkdir(parents=True)
    (model / "manifest.json").write_text("{}")
    argv, environment = PROCESSES[code]
    argv = [each.replace("{model}", str(model)).replace("{}", str(tmp_path)) for each in argv]
    command = [sys.executable, str(TRAIN), *argv]
    if code == 70:
        broken = BROKEN.format(str(TRAIN)) + f"exec(compile(open({str(TRAIN)!r}).read(), {str(TRAIN)!r}, 'exec'))"
        command = [sys.executable, "-c", f"__file__ = {str(TRAIN)!r}\n{broken}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    if code > 128:
        assert process.stderr is not None
        while "pass 3" not in (line := process.stderr.readline()):
            assert line
        time.sleep(0.3)
        process.send_signal({130: signal.SIGINT, 143: signal.SIGTERM}[code])
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err[-3000:]
    result = json.loads(out.splitlines()[-1])
    assert result.get("code", 0) == code
    assert ("Traceback" in err or "stacktrace" in err) == (code == 70)


Run = Callable[..., Any]


def test_a_week_in_a_schedulers_life(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad cell, a missing column, a late rerun, a full disk: LATEST always names the newest whole version."""

    def table(day: int, columns: str = "x,z", bad: str = "") -> None:
        lines = []
        for i in range(100):
            cells = {"x": bad if bad and i == 7 else str(i), "z": str(i * day % 7)}
            lines.append(",".join([*(cells[name] for name in columns.split(",")), str(2 * i + i % 3)]))
        (tmp_path / f"2026-11-0{day}.csv").write_text("\n".join([f"{columns},label", *lines]))

    def train(day: int, *more: str) -> Any:
        date = ("--logical-date", f"2026-11-0{day}", "--log-format", "text")
        return run("train_linreg", "--input", tmp_path / "{date}.csv", "--output", tmp_path / "out", *date, *more)

    def latest() -> str:
        return (tmp_path / "out" / "LATEST").read_text()[:10]

    table(1)
    assert train(1).code == 0
    table(2, bad="NA")
    refused = train(2)
    assert refused.code == 65
    assert "'NA' is not" in refused.result["error"]
    assert latest() == "2026-11-01"
    assert train(2).code == 65  # the scheduler tries again, in vain
    table(3, columns="z")
    refused = train(3)
    assert refused.code == 65
    assert "2026-11-01-" in refused.result["error"]
    assert "lacks: x;" in refused.result["error"]
    table(4)
    assert train(4).result["latest"]
    table(2)
    late = train(2)
    assert (late.code, late.result["latest"], latest()) == (0, False, "2026-11-04")
    assert "LATEST does not name" in late.err
    table(5)
    with monkeypatch.context() as full:
        write = Storage.write

        def no_room(storage: Storage, path: str, content: bytes) -> None:
            if path.endswith("metrics.json"):
                raise OSError(ENOSPC, "No space left on device", path)
            write(storage, path, content)

        full.setattr(Storage, "write", no_room)
        assert train(5).code == 74
    assert latest() == "2026-11-04"
    assert [path.name for path in (tmp_path / "out" / "versions").iterdir() if path.name.startswith("_")] == []
    assert train(5).code == 0
    again = train(5)
    assert (again.code, latest()) == (0, "2026-11-05")
    assert "published already" in again.out
    assert train(4, "--make-latest").result["latest"]
    assert latest() == "2026-11-04"
    table(6)
    assert train(6).result["latest"]
    assert latest() == "2026-11-06"
    scored = ("--input", tmp_path / "2026-11-06.csv", "--output", tmp_path / "scored")
    ended = run("predict", "--model", tmp_path / "out", *scored)
    assert (ended.code, ended.result["version"][:10]) == (0, "2026-11-06")
