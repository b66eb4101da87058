"""Two processes that publish into one OUTPUT at once: nothing fails, nothing is lost, LATEST is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkdml.jobkit.publish import verify
from sparkdml.storage import Storage

pytestmark = pytest.mark.extras
ROUNDS = 10
# A process with one session runs the job once a round, at a moment at which the other does too.
RUNNER = """
import sys, time
from pathlib import Path
from sparkdml.jobkit.training import training_main
from sparkdml.jobkit.session import get_spark
from sparkdml.regression import LinearRegression

me, meeting, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
get_spark("race", **{"spark.master": "local[1]", "spark.ui.enabled": "false"})
for each in range(rounds):
    (meeting / f"{me}-{each}").touch()
    while len(list(meeting.glob(f"*-{each}"))) < 2:
        time.sleep(0.001)
    argv = [word.replace("ROUND", str(each)) for word in sys.argv[4:]]
    training_main(LinearRegression, "", "", argv)
"""
CHECKOUT = Path(__file__).resolve().parents[1]


def race(tmp_path: Path, *argvs: list[str]) -> list[list[dict[str, object]]]:
    """The result lines of each process."""
    (tmp_path / "meeting").mkdir()
    start = [sys.executable, "-c", RUNNER]
    processes = [
        subprocess.Popen(
            [*start, str(i), str(tmp_path / "meeting"), str(ROUNDS), *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        for i, argv in enumerate(argvs)
    ]
    outs = [process.communicate(timeout=900) for process in processes]
    found = [[json.loads(line) for line in out.splitlines() if line.startswith('{"status"')] for out, _ in outs]
    assert [len(lines) for lines in found] == [ROUNDS, ROUNDS], [err[-3000:] for _, err in outs]
    return found


def check(spark: SparkSession, output: Path, versions: int) -> None:
    """The directory has complete versions and nothing else, and LATEST names one."""
    found = [path.name for path in (output / "versions").iterdir()]
    assert len(found) == versions
    for name in found:
        assert not name.startswith("_")
        verify(Storage(spark), str(output / "versions" / name))
    assert (output / "LATEST").read_text().strip() in found
    assert sorted(path.name for path in output.iterdir()) == ["LATEST", "versions"]


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text("x,label\n" + "\n".join(f"{i},{2 * i + i % 3}" for i in range(50)))
    return str(path)


def test_two_equal_runs_both_end_well(spark: SparkSession, tmp_path: Path, table: str) -> None:
    argv = ["--input", table, "--output", f"{tmp_path}/outROUND", "--logical-date", "2026-11-21"]
    results = race(tmp_path, argv, argv)
    for each in range(ROUNDS):
        first, second = (found[each] for found in results)
        assert first["status"] == second["status"] == "published", (first, second)
        assert first["version"] == second["version"]
        check(spark, tmp_path / f"out{each}", 1)


def test_two_different_runs_into_one_output_both_end_well(spark: SparkSession, tmp_path: Path, table: str) -> None:
    common = ["--input", table, "--output", f"{tmp_path}/outROUND", "--logical-date"]
    results = race(tmp_path, [*common, "2026-11-21"], [*common, "2026-11-22"])
    for each in range(ROUNDS):
        assert [found[each]["status"] for found in results] == ["published", "published"], [x[each] for x in results]
        check(spark, tmp_path / f"out{each}", 2)
        assert (tmp_path / f"out{each}" / "LATEST").read_text().startswith("2026-11-22-")
