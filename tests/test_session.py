"""The session: Java is looked at first, the user's settings win, workers find the package, signals end a job."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkdml.jobkit.java import java_problem
from sparkdml.jobkit.session import get_spark, package_sources, start_workers

CHECKOUT = Path(__file__).resolve().parents[1]


def fake_java(home: Path, script: str) -> str:
    """A JAVA_HOME whose java is a shell script."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    return str(home)


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_java_that_is_new_enough_is_no_problem(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "with a space", f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")
    monkeypatch.setenv("JAVA_HOME", home)
    assert java_problem() is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("""echo 'java version "1.8.0_392"' >&2""", "is Java 8"),
        ("""echo 'openjdk version "11.0.2" 2019-01-15' >&2""", "is Java 11"),
        ("""echo 'openjdk version "17.0.1"' >&2; exit 1""", "does not run"),
        ("echo no Java runtime is present >&2", "does not run"),
    ],
)
def test_any_other_java_is_one_sentence(
    script: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", fake_java(tmp_path, script))
    problem = java_problem()
    assert problem is not None
    assert found in problem
    assert "install Java 17" in problem
    assert "\n" not in problem


def test_java_home_alone_counts_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fake_java(tmp_path / "good", """echo 'openjdk version "17"' >&2""")
    monkeypatch.setenv("PATH", f"{good}/bin")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "empty"))
    assert "in JAVA_HOME" in (java_problem() or "")
    monkeypatch.delenv("JAVA_HOME")
    assert java_problem() is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "on the PATH" in (java_problem() or "")


def test_a_running_session_is_returned_as_it_is(spark: SparkSession) -> None:
    assert get_spark("another", **{"spark.master": "local[1]"}) is spark


def test_workers_in_local_mode_run_this_python_and_import_the_package(spark: SparkSession) -> None:
    def where(_: int) -> tuple[str, str]:
        import sparkdml.errors

        return sys.executable, sparkdml.errors.__file__

    python, file = spark.sparkContext.parallelize([0], 1).map(where).first()
    assert Path(python) == Path(sys.executable)
    assert Path(file).is_relative_to(CHECKOUT)


def test_package_sources_are_the_python_files_in_order() -> None:
    names = [name for name, _ in package_sources()]
    on_disk = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "sparkdml").rglob("*.py")}
    assert set(names) == on_disk
    assert names == [name for name, _ in package_sources()]


def python(script: str, **environment: str) -> subprocess.Popen[str]:
    """A Python process of its own, in another directory, that finds the checkout by its path."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tempfile.gettempdir(),
    )


def test_workers_are_started_by_a_job_that_nobody_waits_for(spark: SparkSession) -> None:
    tracker = spark.sparkContext.statusTracker()
    before = set(tracker.getJobIdsForGroup())
    start_workers(spark.sparkContext)
    deadline = time.monotonic() + 60.0
    while "SUCCEEDED" not in [
        info.status for job in set(tracker.getJobIdsForGroup()) - before if (info := tracker.getJobInfo(job))
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.extras
def test_off_local_mode_the_package_is_shipped_and_the_users_settings_win() -> None:
    script = """
from sparkdml.jobkit.session import get_spark

def where(_):
    import sparkdml.errors
    return sparkdml.errors.__file__

spark = get_spark("shipping", **{"spark.app.shade": "ours"})
print(spark.sparkContext.parallelize([0], 1).map(where).first())
print(*(spark.conf.get(f"spark.{name}") for name in ("app.colour", "app.shade", "ui.enabled")))
"""
    settings = {
        "spark.executor.memory": "512m",
        "spark.ui.enabled": "false",
        "spark.app.colour": "theirs",
        "spark.app.shade": "theirs",
    }
    given = " ".join(f"--conf {key}={value}" for key, value in settings.items())
    process = python(script, PYSPARK_SUBMIT_ARGS=f"--master local-cluster[1,1,512] {given} pyspark-shell")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    file, values = out.splitlines()
    assert "sparkdml.zip/sparkdml/errors.py" in file
    assert values == "theirs ours false"
    noise = [line for line in err.splitlines() if "incubator" not in line]
    assert noise == []


@pytest.mark.extras
def test_a_signal_cancels_the_spark_job_and_leaves_the_jvm_usable() -> None:
    script = """
import time
from sparkdml.jobkit.session import get_spark
from sparkdml.jobkit.signals import orderly_end

spark = get_spark("signals", **{"spark.master": "local[2]"})
for _ in range(2):
    try:
        with orderly_end():
            print("ready", flush=True)
            spark.sparkContext.parallelize([0], 1).foreach(lambda _: time.sleep(300))
    except BaseException as failure:
        print(type(failure).__name__, spark.range(7).count(), flush=True)
"""
    process = python(script)
    assert process.stdout is not None
    for number, name in [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt")]:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{name} 7\n"
    process.communicate(timeout=60)
    assert process.returncode == 0
