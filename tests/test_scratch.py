"""What lies on disks for the time of a fit: nobody else reads it, and it does not outlive its driver for long."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from leftovers import packed_files
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType

from sparkdml import pack
from sparkdml.errors import DataError, SessionError
from sparkdml.jobkit.scratch import clear, scratch_directory
from sparkdml.owners import is_abandoned, is_dead, owned

DEAD = owned("sparkdml").rpartition(".")[0] + ".1"  # of a process with this number that started at another time


@pytest.fixture
def table(spark: SparkSession) -> DataFrame:
    return spark.range(0, 300, 1, 3).selectExpr("double(id) as x", "2.0 * id as label", "1.0 + id % 2 as w")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_packed_rows_are_the_users_alone(table: DataFrame, scratch: list[Path], umask: int) -> None:
    def masked(batches):  # type: ignore[no-untyped-def]
        os.umask(umask)
        return batches

    with pack(table.mapInArrow(masked, table.schema), featuresCols=["x"], labelCol="label", weightCol="w"):
        directories = packed_files(scratch)
        assert directories
        for each in (path for root in directories for path in [root, *root.rglob("*")]):
            expected = 0o700 if each.is_dir() else 0o600
            assert stat.S_IMODE(each.stat().st_mode) == expected


@pytest.mark.parametrize("failing", ["a bad value", "an exception of the table"])
def test_a_failed_pack_leaves_no_directory(
    table: DataFrame, failing: str, nothing_is_left_behind: None, scratch: list[Path]
) -> None:
    last = F.col("x") == 299.0
    if failing == "a bad value":
        bad = table.withColumn("x", F.when(~last, F.col("x")))
    else:
        broken = F.udf(lambda x: 1 / (x - 299.0), DoubleType(), useArrow=False)
        bad = table.withColumn("x", broken("x"))
    with pytest.raises(DataError):
        pack(bad, featuresCols=["x"], labelCol="label")


def test_where_spark_encrypts_its_disks_packing_refuses(table: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = table.sparkSession.sparkContext.getConf().set("spark.io.encryption.enabled", "true")
    monkeypatch.setattr(type(table.sparkSession.sparkContext), "getConf", lambda context: conf)
    with pytest.raises(SessionError, match=r"spark\.io\.encryption\.enabled=true: packed rows lie on local disks"):
        pack(table, featuresCols=["x"], labelCol="label")


def test_scratch_of_dead_drivers_is_removed_and_of_live_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    blocks = tmp_path / "local"
    stay = [
        tmp_path / "tmp" / owned("sparkdml"),
        tmp_path / "tmp" / "sparkdml-models",
        tmp_path / "tmp" / "sparkdml-00000000.00000000.0.1.1",  # of another host
        tmp_path / "tmp" / ("other-" + DEAD),
        blocks / "blockmgr-2" / owned("sparkdml"),
        blocks / "blockmgr-3" / "00",
    ]
    go = [tmp_path / "tmp" / DEAD, blocks / "blockmgr-1" / DEAD]
    for each in (*stay, *go):
        (each / "inner").mkdir(parents=True)
    clear([str(blocks), str(tmp_path / "nowhere")])
    assert [each for each in stay if not each.exists()] == []
    assert [each for each in go if each.exists()] == []
    assert not (blocks / "blockmgr-1").exists()


def test_a_scratch_directory_is_private_and_ends_with_the_process() -> None:
    script = "from sparkdml.jobkit.scratch import scratch_directory as new; print(new(), new())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = map(Path, done.stdout.split())
    assert first != second
    assert not first.exists()
    assert is_dead(first.name)
    here = scratch_directory()
    assert stat.S_IMODE(here.stat().st_mode) == 0o700
    assert not is_dead(here.name)


def test_only_what_is_known_to_be_dead_or_old_is_abandoned() -> None:
    now = 1e12  # in the future
    assert not is_abandoned(owned("x"), now)
    assert is_abandoned(DEAD, now)
    assert is_abandoned("x", 0.0)
    assert not is_abandoned("x", now)
    assert len({owned("x") for _ in range(9)}) == 9
