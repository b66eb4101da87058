"""On separate executor processes: the same bits at every depth, after a killed executor, after lost files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What cluster_script.py saw."""
    scratch = tmp_path_factory.mktemp("cluster")
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_WORKER_DIR": str(scratch / "work"),
        "SPARK_LOCAL_DIRS": str(scratch / "local"),
    }
    ended = subprocess.run(
        [sys.executable, str(HERE / "cluster_script.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd=scratch,
    )
    assert ended.returncode == 0, ended.stderr[-5000:]
    return json.loads(ended.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_the_same_bits_at_every_depth(observed: dict[str, Any]) -> None:
    assert observed["partitions"] == 16
    found = observed["depths"]
    assert found["stages"][0] == 2  # that of the shuffle before packing is listed too, and skipped
    assert found["stages"] == sorted(found["stages"])
    assert found["stages"][1] == 3
    assert found["stages"][-1] == 4  # the tree did shuffle, twice
    assert len(set(found["answers"])) == 1
    assert {*found["fits"], observed["undisturbed"]} == {observed["undisturbed"]}


def test_two_partitions_files_lost_between_passes(observed: dict[str, Any]) -> None:
    unlinked = observed["unlinked"]
    assert unlinked["acted"]
    assert unlinked["moved"] == [2, 11]
    assert "packing 2 of 16 partitions again" in unlinked["log"]
    assert "packing 2 of 16 partitions again" not in observed["log"]
    assert unlinked["bits"] == observed["undisturbed"]


@pytest.mark.parametrize("solver", ["l-bfgs", "sgd", "local-sgd"])
def test_an_executor_killed_between_passes(observed: dict[str, Any], solver: str) -> None:
    killed = observed["killed"][solver]
    assert killed["acted"]
    assert killed["before"] == 2
    assert len(killed["dead"]) == 1
    assert killed["moved"] >= 1
    assert killed["bits"] == killed["undisturbed"]


def test_a_fit_after_all_of_that_has_the_same_bits(observed: dict[str, Any]) -> None:
    assert observed["again"] == observed["undisturbed"]
