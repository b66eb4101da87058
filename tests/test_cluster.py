"""On separate executor processes: the same bits at every depth, after a killed executor, after lost files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


def run_script(scratch: Path, *arguments: str, timeout: int = 600) -> Any:
    """What cluster_script.py saw."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_WORKER_DIR": str(scratch / "work"),
        "SPARK_LOCAL_DIRS": str(scratch / "local"),
    }
    ended = subprocess.run(
        [sys.executable, str(HERE / "cluster_script.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=scratch,
    )
    assert ended.returncode == 0, ended.stderr[-5000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it saw of all experiments but the soak."""
    return run_script(tmp_path_factory.mktemp("cluster"))  # type: ignore[no-any-return]


@pytest.mark.extras
def test_the_same_bits_at_every_depth(observed: dict[str, Any]) -> None:
    assert observed["partitions"] == 16
    found = observed["depths"]
    assert found["stages"][0] == 2  # that of the shuffle before packing is listed too, and skipped
    assert found["stages"] == sorted(found["stages"])
    assert found["stages"][1] == 3
    assert found["stages"][-1] == 4  # the tree did shuffle, twice
    assert len(set(found["answers"])) == 1
    assert {*found["fits"], observed["undisturbed"]} == {observed["undisturbed"]}


@pytest.mark.extras
def test_two_partitions_files_lost_between_passes(observed: dict[str, Any]) -> None:
    unlinked = observed["unlinked"]
    assert unlinked["acted"]
    assert unlinked["moved"] == [2, 11]
    (reported,) = [line for line in unlinked["log"] if line.startswith("packing 2 of 16 partitions again: ")]
    assert reported.count("cannot be read: No such file or directory") == 2
    assert not any(line.startswith("packing 2 of 16 partitions again") for line in observed["log"])
    assert unlinked["bits"] == observed["undisturbed"]


@pytest.mark.extras
@pytest.mark.parametrize("solver", ["l-bfgs", "sgd", "local-sgd"])
def test_an_executor_killed_between_passes(observed: dict[str, Any], solver: str) -> None:
    killed = observed["killed"][solver]
    assert killed["acted"]
    assert killed["before"] == 2
    assert len(killed["dead"]) == 1
    assert killed["moved"] >= 1
    assert killed["bits"] == killed["undisturbed"]


@pytest.mark.extras
def test_a_fit_after_all_of_that_has_the_same_bits(observed: dict[str, Any]) -> None:
    assert observed["again"] == observed["undisturbed"]


@pytest.mark.extras
@pytest.mark.parametrize(("route", "partitions", "tasks"), [("direct", 32, 16), ("by Spark", 16, 4)])
def test_an_executor_killed_while_tasks_have_several_partitions(
    observed: dict[str, Any], route: str, partitions: int, tasks: int
) -> None:
    killed = observed["coalesced"][route]
    assert (killed["partitions"], killed["tasks"]) == (partitions, tasks)
    assert killed["acted"]
    assert len(killed["dead"]) == 1
    assert killed["moved"] >= 1
    assert killed["bits"] == killed["undisturbed"]


@pytest.mark.soak
def test_thirty_kills_at_any_moment(tmp_path: Path) -> None:
    found = run_script(tmp_path, "soak", timeout=3600)
    assert len(found) == 30
    assert all(killed["acted"] for killed in found)
    assert [killed for killed in found if killed["bits"] != killed["undisturbed"]] == []
    assert sum(killed["moved"] > 0 for killed in found) >= 20  # some executors die when the last pass is over
