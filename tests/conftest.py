"""What all tests share: one Spark session, and a way to run a job on it."""

import importlib.util
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from leftovers import packed_files, persisted
from pyspark.sql import SparkSession

from sparkdml.jobkit.session import get_spark

JOBS = Path(__file__).resolve().parents[1] / "jobs"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a law that is `thinned`, half of the cases are left to the extra tests; which, their names decide."""
    for item in items:
        if item.get_closest_marker("thinned") and zlib.crc32(item.name.encode()) % 2:
            item.add_marker("extras")


class Ended(NamedTuple):
    """How a job ended: its exit code, the last line of stdout, all of stdout and stderr."""

    code: int
    result: dict[str, Any]
    out: str
    err: str


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    quick_start = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # the JVM compiles less: most tests run each path once
    # a native BLAS gives the same product other bits at times, and a native LAPACK may end the JVM
    java_blas = " ".join(f"-Ddev.ludovic.netlib.{each}.nativeLibPath=none" for each in ("blas", "lapack"))
    conf = {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"}
    session = get_spark("tests", **conf, **{"spark.driver.extraJavaOptions": f"{quick_start} {java_blas}"})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def scratch(spark: SparkSession) -> list[Path]:
    """The directories under which Python workers may write."""
    names = spark.sparkContext.parallelize([0], 1).map(lambda _: os.environ["SPARK_LOCAL_DIRS"]).first()
    return [Path(name) for name in names.split(",")]


@pytest.fixture
def nothing_is_left_behind(spark: SparkSession, scratch: list[Path]) -> Iterator[None]:
    """Whatever a test does, no persisted RDD and no packed file outlives it."""
    before = persisted(spark)
    yield
    left, files = persisted(spark) - before, packed_files(scratch)
    for each in files:
        shutil.rmtree(each, ignore_errors=True)  # let the next test not pay for it
    assert left <= 0  # fewer, where Spark's cleaner came by
    assert files == []


@pytest.fixture
def run(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a script of ``jobs/`` in this process, on the session of the tests: ``run("predict", "--model", path)``."""

    def run(name: str, *argv: Any) -> Ended:
        spec = importlib.util.spec_from_file_location(name, JOBS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        capsys.readouterr()
        code = script.main([str(each) for each in argv])
        out, err = capsys.readouterr()
        return Ended(code, json.loads(out.splitlines()[-1]), out, err)

    return run
