"""The published output: complete or not there, digests checked, LATEST replaced in one step."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkdml.errors import FormatError
from sparkdml.jobkit.failures import PublishDeniedError, PublishError, Terminated
from sparkdml.jobkit.identity import input_fingerprint, run_key, version_name
from sparkdml.jobkit.publish import Output, verify
from sparkdml.jobkit.signals import orderly_end
from sparkdml.owners import STALE_SECONDS, owned
from sparkdml.storage import Storage

KEY = "0123456789ab"
VERSION = f"2026-11-21-{KEY}"


@pytest.fixture
def storage(spark: SparkSession) -> Storage:
    return Storage(spark)


@pytest.fixture
def output(storage: Storage, tmp_path: Path) -> Output:
    return Output(storage, str(tmp_path / "a b" / "ä"))


def fill(output: Output, text: str = "coefficients") -> Callable[[str], None]:
    """What a job writes into a version."""

    def write(directory: str) -> None:
        Path(directory, "model", "data").mkdir(parents=True)
        Path(directory, "model", "data", "part-0").write_text(text)
        Path(directory, "model", "data", ".part-0.crc").write_text("Hadoop's")
        output.write(f"{directory}/metrics.json", {"r2": 0.5})

    return write


def tree(output: Output) -> list[str]:
    """Every file below OUTPUT, hidden ones too."""
    root = Path(output.root)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_version_has_its_manifest_and_success_and_latest_names_it(output: Output) -> None:
    output.publish(VERSION, fill(output))
    files = ["_SUCCESS", "manifest.json", "metrics.json", "model/data/part-0"]
    assert tree(output) == ["LATEST", *(f"versions/{VERSION}/{name}" for name in files)]
    assert Path(output.root, "LATEST").read_text() == f"{VERSION}\n"
    manifest = output.read(VERSION, "manifest.json")
    assert list(manifest["files"]) == ["metrics.json", "model/data/part-0"]
    assert manifest["files"]["model/data/part-0"]["size"] == len("coefficients")
    assert output.read(VERSION, "metrics.json") == {"r2": 0.5}


def test_find_knows_a_run_by_its_key(output: Output) -> None:
    assert output.find(KEY) is None
    output.publish(VERSION, fill(output))
    assert output.find(KEY) == VERSION
    assert output.find("ba9876543210") is None


def test_a_version_without_success_counts_for_nothing_and_is_replaced(output: Output) -> None:
    output.publish(VERSION, fill(output, "half"))
    Path(output.directory(VERSION), "_SUCCESS").unlink()
    assert output.find(KEY) is None
    output.publish(VERSION, fill(output, "whole"))
    assert Path(output.directory(VERSION), "model", "data", "part-0").read_text() == "whole"


@pytest.mark.parametrize(
    "failure", [ValueError("no"), KeyboardInterrupt(), Terminated()], ids=lambda each: type(each).__name__
)
def test_a_failure_while_writing_leaves_what_was_there(output: Output, failure: BaseException) -> None:
    output.publish(VERSION, fill(output))
    before = tree(output)

    def write(directory: str) -> None:
        fill(output)(directory)
        raise failure

    with pytest.raises(type(failure)):
        output.publish("2026-11-22-ba9876543210", write)
    assert tree(output) == before


def test_what_a_killed_run_left_is_removed_by_the_next(output: Output) -> None:
    left = Path(output.directory(owned("_incomplete-ba9876543210").rpartition(".")[0] + ".1"), "model", "old")
    left.parent.mkdir(parents=True)
    left.write_text("half")
    output.publish(VERSION, fill(output))
    assert not any("incomplete" in name or "old" in name for name in tree(output))


DAYS = ["2026-11-19", "20261120T040506Z", "2026-11-21", "20261121T040506Z", "2026-12-01"]


def latest(output: Output) -> str:
    return Path(output.root, "LATEST").read_text().strip()


@pytest.mark.parametrize("seed", range(4))
def test_latest_never_moves_to_an_earlier_day_or_start(output: Output, seed: int) -> None:
    """A law: after any order of runs LATEST names the newest of all days and starts, and each run is told so."""
    newest = 0
    for day in random.Random(seed).sample(DAYS, len(DAYS)):
        newest = max(newest, DAYS.index(day))
        assert output.publish(f"{day}-{KEY}", fill(output)) == (DAYS.index(day) == newest)
        assert latest(output) == f"{DAYS[newest]}-{KEY}"
    for day in DAYS:  # each of them is found again, as by a rerun
        assert output.point(f"{day}-{KEY}") == (day == DAYS[-1])
    assert latest(output) == f"{DAYS[-1]}-{KEY}"


def test_a_rollback_holds_until_a_newer_run(output: Output) -> None:
    for day in DAYS[:2]:
        output.publish(f"{day}-{KEY}", fill(output))
    assert output.point(f"{DAYS[0]}-{KEY}", always=True)
    assert latest(output) == f"{DAYS[0]}-{KEY}"
    assert not output.point(f"{DAYS[1]}-{KEY}", found=True)  # a scheduler's second try of what was set back
    assert latest(output) == f"{DAYS[0]}-{KEY}"
    assert output.publish(f"{DAYS[2]}-{KEY}", fill(output))
    assert latest(output) == f"{DAYS[2]}-{KEY}"
    assert output.publish(f"{DAYS[0]}-ba9876543210", fill(output), always=True)
    assert latest(output) == f"{DAYS[0]}-ba9876543210"


def test_a_run_that_was_killed_before_it_set_latest_sets_it_when_it_is_found(output: Output) -> None:
    for day in DAYS[:2]:
        output.publish(f"{day}-{KEY}", fill(output))
    Path(output.root, "LATEST").write_text(f"{DAYS[0]}-{KEY}\n")
    assert output.point(f"{DAYS[1]}-{KEY}", found=True)
    assert latest(output) == f"{DAYS[1]}-{KEY}"


def test_after_a_rollback_and_a_newer_run_all_is_as_before(output: Output) -> None:
    for day in DAYS[:2]:
        output.publish(f"{day}-{KEY}", fill(output))
    output.point(f"{DAYS[0]}-{KEY}", always=True)
    assert output.publish(f"{DAYS[1]}-ba9876543210", fill(output))  # the same day anew, with other settings
    assert latest(output) == f"{DAYS[1]}-ba9876543210"
    assert not Path(output.root, "_ROLLBACK").exists()
    assert output.point(f"{DAYS[1]}-{KEY}", always=True)
    assert Path(output.root, "_ROLLBACK").exists() is False  # of equal days none is newer


def test_the_version_before_a_day(output: Output) -> None:
    assert output.before(None) is None
    for day in DAYS[:4]:
        output.publish(f"{day}-{KEY}", fill(output))
    assert output.before(date(2026, 11, 19)) is None
    assert output.before(date(2026, 11, 20)) == f"{DAYS[0]}-{KEY}"
    assert output.before(date(2026, 11, 22)) == f"{DAYS[3]}-{KEY}"
    assert output.before(None) == f"{DAYS[3]}-{KEY}"
    output.point(f"{DAYS[1]}-{KEY}", always=True)
    assert output.before(None) == f"{DAYS[1]}-{KEY}"


def test_a_latest_that_is_a_directory_is_an_error_and_not_published(output: Output) -> None:
    Path(output.root, "LATEST").mkdir(parents=True)
    with pytest.raises(PublishError, match="LATEST is a directory"):
        output.publish(VERSION, fill(output))


def test_of_two_runs_at_once_the_newer_stays_named(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run publishes and points at the moment at which this one has seen that there is none newer."""
    point = output._point
    newer = f"{DAYS[4]}-ba9876543210"

    def let_the_other_be_faster(version: str) -> None:
        monkeypatch.setattr(output, "_point", point)
        other = Output(output._storage, output.root)
        other.publish(newer, fill(other))
        point(version)

    monkeypatch.setattr(output, "_point", let_the_other_be_faster)
    assert not output.publish(VERSION, fill(output))
    assert latest(output) == newer


@pytest.mark.parametrize("moment", ["before the rename", "while it is written"])
def test_a_complete_version_of_an_equal_run_is_verified_and_taken(output: Output, moment: str) -> None:
    other = Output(output._storage, output.root)

    def write(directory: str) -> None:
        if moment == "while it is written":
            other.publish(VERSION, fill(other))
        fill(output)(directory)
        if moment == "before the rename":
            other.publish(VERSION, fill(other))

    assert output.publish(VERSION, write)
    files = ["_SUCCESS", "manifest.json", "metrics.json", "model/data/part-0"]
    assert [name for name in tree(output) if ".crc" not in name] == [
        "LATEST",
        *(f"versions/{VERSION}/{name}" for name in files),
    ]
    Path(output.directory(VERSION), "metrics.json").write_text("other")
    with pytest.raises(PublishError, match=r"metrics\.json is not as the manifest"):
        output.publish(VERSION, fill(output))
    assert Path(output.directory(VERSION), "metrics.json").read_text() == "other"


def test_what_a_live_process_writes_is_never_removed(output: Output) -> None:
    live = Path(output.directory(owned("_incomplete-ba9876543210")), "model")
    of_another_host = Path(output.directory("_incomplete-ba9876543210-00000000.00000000.0.1.1"), "model")
    for each in (live, of_another_host):
        each.mkdir(parents=True)
    output.publish(VERSION, fill(output))
    assert live.exists()
    assert of_another_host.exists()
    yesterday = time.time() - STALE_SECONDS - 60
    for path in (of_another_host, of_another_host.parent):
        os.utime(path, (yesterday, yesterday))
    output.publish("2026-11-22-ba9876543210", fill(output))
    assert live.exists()
    assert not of_another_host.parent.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_during_publication_waits_for_its_end_or_undoes_it(
    output: Output, spark: SparkSession, number: int, code: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(directory: str) -> None:
        fill(output)(directory)
        os.kill(os.getpid(), number)

    with pytest.raises(code, match="nothing was published"), orderly_end():
        output.publish(VERSION, write)
    assert tree(output) == []

    move = output._storage.move

    def signalled(source: str, target: str) -> None:
        os.kill(os.getpid(), number)
        move(source, target)

    monkeypatch.setattr(output._storage, "move", signalled)
    with pytest.raises(code, match=f"{VERSION} is published"), orderly_end():
        output.publish(VERSION, fill(output))
    assert latest(output) == VERSION
    assert output.find(KEY) == VERSION


def tamper(text: str) -> Callable[[Path], object]:
    return lambda version: (version / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda version: (version / "model/data/part-0").write_text("Coefficients"), "part-0 is not as the manifest"),
        (lambda version: (version / "model/data/part-0").unlink(), "part-0 is in the manifest but not there"),
        (lambda version: (version / "model/data/more").write_text("x"), "more is not in the manifest"),
        (lambda version: (version / "manifest.json").unlink(), "no manifest.json"),
        (tamper("{"), "not JSON"),
        (tamper("[]"), "not a manifest"),
        (tamper(json.dumps({"format": "sparkdml-manifest", "formatVersion": 2, "files": {}})), "not a manifest"),
        (tamper(json.dumps({"format": "sparkdml-manifest", "formatVersion": 1, "files": []})), "does not list files"),
        (
            tamper(json.dumps({"format": "sparkdml-manifest", "formatVersion": 1, "files": {"../../LATEST": {}}})),
            "LATEST is in the manifest but not there",
        ),
    ],
)
def test_verification_says_which_check_failed(
    output: Output, storage: Storage, change: Callable[[Path], object], said: str
) -> None:
    output.publish(VERSION, fill(output))
    change(Path(output.directory(VERSION)))
    with pytest.raises(FormatError, match=said):
        verify(storage, output.directory(VERSION))
    with pytest.raises(FormatError, match=said):
        output.find(KEY)


def test_a_version_that_does_not_read_back_is_not_published(
    output: Output, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write

    def write_and_spoil(path: str, content: bytes) -> None:
        write(path, content)
        if path.endswith("_SUCCESS"):
            Path(path).with_name("metrics.json").write_text("spoilt")

    monkeypatch.setattr(storage, "write", write_and_spoil)
    with pytest.raises(PublishError, match="metrics"):
        output.publish(VERSION, fill(output))
    assert tree(output) == []


def test_a_version_that_a_rename_spoils_is_not_published_where_renames_copy(
    output: Output, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = storage.move

    def move_and_spoil(source: str, target: str) -> None:
        move(source, target)
        Path(target, "metrics.json").write_text("spoilt")

    monkeypatch.setattr(storage, "move", move_and_spoil)
    monkeypatch.setattr(storage, "renames_at_once", lambda path: False)
    with pytest.raises(PublishError, match="metrics"):
        output.publish(VERSION, fill(output))
    assert tree(output) == []


def test_a_reader_of_latest_never_finds_it_missing_or_partial(output: Output) -> None:
    names = [f"{number:04d}-{KEY}" * 50 for number in range(60)]
    output.prepared().__enter__()
    output.point(names[0])
    latest, done, seen = Path(output.root, "LATEST"), threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            seen.add(latest.read_text() if latest.exists() else "missing")

    reader = threading.Thread(target=read)
    reader.start()
    for name in names:
        output.point(name)
    done.set()
    reader.join()
    assert len(seen) > 1
    assert seen <= {f"{name}\n" for name in names}
    assert tree(output) == ["LATEST"]


@pytest.fixture(params=["local", "other"])
def each_system(request: pytest.FixtureRequest, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Renames of a local disk, and those that are used where a file system is neither local nor an object store."""
    if request.param == "other":
        monkeypatch.setattr("sparkdml.storage._is_local", lambda system: False)
    return storage


def test_latest_is_replaced_and_read_back(each_system: Storage, tmp_path: Path) -> None:
    old = tmp_path / "LATEST"
    old.write_text("old")
    each_system.replace(str(old), b"new", "_LATEST.new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.suffix != ".crc"} == {"LATEST": "new"}


def test_a_latest_that_cannot_be_replaced_is_an_error(
    each_system: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "LATEST").mkdir()
    with pytest.raises(OSError, match="LATEST is a directory"):
        each_system.replace(str(tmp_path / "LATEST"), b"new", "_LATEST.new")
    monkeypatch.setattr(each_system, "read", lambda path: b"old")
    with pytest.raises(OSError, match="does not say what was written"):
        each_system.replace(str(tmp_path / "other"), b"new", "_LATEST.new")


def test_a_path_that_cannot_be_written_is_found_before_the_training(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PublishError, match="cannot publish to"):
        Output(storage, str(file)).prepared().__enter__()
    with pytest.raises(PublishDeniedError, match="Permission denied"):
        Output(storage, "/proc/sparkdml").prepared().__enter__()


def test_a_rename_never_goes_into_a_directory(each_system: Storage, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    with pytest.raises(OSError, match=r"exist|not empty|there already"):
        each_system.move(str(tmp_path / "a"), str(tmp_path / "b"))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["b"]


def test_the_run_key_changes_with_all_that_decides_the_result(
    spark: SparkSession, storage: Storage, tmp_path: Path
) -> None:
    rows = tmp_path / "a b.csv"
    rows.write_text("x,y\n1,2\n")
    inputs = input_fingerprint(storage, spark.read.csv(str(rows), header=True))
    assert [(each["length"], each["modified"]) for each in inputs] == [
        (rows.stat().st_size, rows.stat().st_mtime_ns // 1_000_000)
    ]
    keys = {
        run_key({"regParam": 0.1}, inputs, None),
        run_key({"regParam": 0.2}, inputs, None),
        run_key({"regParam": 0.1}, [], None),
        run_key({"regParam": 0.1}, inputs, date(2026, 11, 21)),
    }
    assert len(keys) == 4
    assert run_key({"regParam": 0.1}, inputs, None) in keys


def test_a_version_is_named_by_its_day_or_its_start() -> None:
    started = datetime(2026, 11, 21, 4, 5, 6, tzinfo=UTC)
    assert version_name(KEY * 5, started, date(2026, 11, 20)) == f"2026-11-20-{KEY}"
    assert version_name(KEY * 5, started, None) == f"20261121T040506Z-{KEY}"


def test_what_vanishes_while_it_is_looked_at_has_just_changed(storage: Storage, tmp_path: Path) -> None:
    assert time.time() - storage.modified(str(tmp_path / "nothing")) < 60
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    for path in (tmp_path / "old" / "file", tmp_path / "old"):
        os.utime(path, (1e9, 1e9))
    assert storage.modified(str(tmp_path / "old")) == 1e9
    (tmp_path / "old" / "new").touch()
    assert time.time() - storage.modified(str(tmp_path / "old")) < 60
