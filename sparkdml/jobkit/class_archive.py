"""An archive of Spark's classes, from which the JVM starts in half the time.

    python -m sparkdml.jobkit.class_archive

makes it, once for each Java and each Spark: half a minute, and some 190 MB in the cache of the user. Sessions of
`get_spark` use it where it is; for those of spark-submit the command prints the option to give. Loading and verifying
thousands of classes is most of what Spark does before its first job; in the archive they are loaded and verified.

Source: JEP 350, Dynamic CDS Archives (2019).
"""

import argparse
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyspark

from sparkdml.jobkit.java import java_command

_QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off")  # an archive of other classes is passed over, which is no news


def archive_path() -> Path:
    """Where the archive of this Java and this Spark is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("SPARK_HOME") or str(Path(pyspark.__file__).parent)
    whose = "\n".join((os.path.realpath(java_command() or "java"), os.path.realpath(home), pyspark.__version__))
    return cache / "sparkdml" / f"spark-{pyspark.__version__}-{hashlib.sha256(whose.encode()).hexdigest()[:12]}.jsa"


def archive_options() -> list[str]:
    """Options of the JVM that use the archive; none where there is no archive."""
    path = archive_path()
    return [f"-XX:SharedArchiveFile={path}", *_QUIET] if path.is_file() else []


def make_archive() -> Path:
    """Make the archive of this Java and this Spark anew, from the classes that a small fit loads.

    Raises RuntimeError where the JVM made none, as with a Spark whose `conf` directory has files.
    """
    path = archive_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = Path(directory, "classes.jsa")
        told = rehearsed(f"-XX:ArchiveClassesAtExit={made}", *_QUIET)[1]
        if not made.is_file():
            raise RuntimeError(f"the JVM made no archive: {told.strip().splitlines()[-1:]}")
        made.replace(path)  # a JVM that meets half an archive crashes
    return path


def rehearse() -> None:
    """Load the classes of a fit and of its scores."""
    from sparkdml.classification import LogisticRegression
    from sparkdml.jobkit.session import get_spark

    spark = get_spark("rehearsal", **{"spark.master": "local[2]"})
    with tempfile.TemporaryDirectory() as directory:
        spark.range(0, 1000, 1, 2).selectExpr("id % 2 AS label", "rand(0) AS x").write.parquet(f"{directory}/rows")
        rows = spark.read.parquet(f"{directory}/rows")
        for table in (rows, rows.where("x > 0.1")):  # read from files, and by Spark
            model = LogisticRegression(featuresCols=["x"]).fit(table)
            model.transform(table).write.parquet(f"{directory}/scores", mode="overwrite")
    spark.stop()


def rehearsed(*options: str) -> tuple[float, str]:
    """Seconds of a rehearsal in a process of its own, whose JVM has ended too, and what it told."""
    command = [sys.executable, "-c", f"from {__spec__.name} import rehearse; rehearse()"]
    environment = {**os.environ, "SPARK_SUBMIT_OPTS": shlex.join(options)}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"a small fit did not run: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - started, done.stdout + done.stderr


def main(argv: Sequence[str] | None = None) -> None:
    """Make the archive, and tell what it brings."""
    about, _, more = (__doc__ or "").partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m {__spec__.name}", description=about, epilog=more, formatter_class=form)
    parser.parse_args(argv)
    before, _ = rehearsed("-Xshare:auto")  # as Java does anyway: with an option given, `get_spark` adds no archive
    path = make_archive()
    options = archive_options()
    after, _ = rehearsed(*options)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB. A small fit takes {after:.1f} s instead of {before:.1f} s.")
    print(f"For spark-submit: --driver-java-options {shlex.quote(' '.join(options))}")


if __name__ == "__main__":
    main()
