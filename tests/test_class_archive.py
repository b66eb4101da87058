"""The archive of Spark's classes: made once, used where it is, and no trouble where it is not."""

import os
import shlex
import subprocess
from pathlib import Path

import pyspark
import pytest

from sparkdml.jobkit import class_archive
from sparkdml.jobkit.class_archive import archive_options, archive_path, make_archive


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's, on a path with a space."""
    directory = tmp_path / "a cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory


@pytest.mark.extras
def test_a_jvm_starts_from_the_archive_that_was_made(cache: Path) -> None:
    assert archive_options() == []
    path = make_archive()
    assert path == archive_path()
    assert os.listdir(path.parent) == [path.name]
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    options = shlex.join(["-Xshare:on", *archive_options()])  # a JVM that cannot use the archive does not start
    subprocess.run([submit, "--version"], env={**os.environ, "SPARK_SUBMIT_OPTS": options}, check=True)


def test_where_the_jvm_makes_none_it_is_said_and_nothing_is_left(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        class_archive, "rehearsed", lambda *options: (0.0, "Cannot have non-empty directory in paths\n")
    )
    with pytest.raises(RuntimeError, match=r"made no archive.*non-empty directory"):
        make_archive()
    assert list((cache / "sparkdml").iterdir()) == []


def test_each_java_and_each_spark_has_its_own(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = archive_path()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path / "spark"))
    second = archive_path()
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch(0o755)
    monkeypatch.setenv("JAVA_HOME", str(java.parents[1]))
    assert len({first, second, archive_path()}) == 3


def test_help_starts_no_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_archive, "rehearsed", None)
    with pytest.raises(SystemExit) as end:
        class_archive.main(["--help"])
    assert end.value.code == 0
    assert "makes it, once for each Java" in capsys.readouterr().out
