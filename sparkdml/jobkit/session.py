"""One way to get a Spark session, for jobs, tests and benchmarks; estimators use that of their DataFrame."""

import atexit
import importlib.resources
import os
import shlex
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from sparkdml.jobkit.class_archive import archive_options
from sparkdml.jobkit.failures import EnvironmentProblem
from sparkdml.jobkit.java import java_problem
from sparkdml.jobkit.scratch import clear, scratch_directory, scratch_settings

# What these log of a failed task, with its stack trace, they also throw at the driver, which tells it in a sentence.
_LOUD = (
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.util.Utils",
    "org.apache.spark.sql.execution.datasources.FileFormatWriter",
)
PACKAGE = __name__.partition(".")[0]

_DEFAULTS = {
    "spark.master": "local[*]",
    # Saves each Python task a stall of 40 ms, TCP's delayed acknowledgement. Spark 4.0 ignores it.
    "spark.python.unix.domain.socket.enabled": "true",
    # A page that differs from its checksum is no number, as where tasks read the files themselves.
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
}
_LOCAL_DEFAULTS = {
    "spark.ui.enabled": "false",  # no port is opened on a developer's machine
    "spark.python.daemon.module": "sparkdml.jobkit.daemon",
}


def get_spark(app: str, **conf: str) -> SparkSession:
    """The session that is running, or a new one set up for sparkdml.

    Settings, the first that has a value wins: `conf`; what the user gave to spark-submit, ``spark-defaults.conf`` or
    ``PYSPARK_SUBMIT_ARGS``; the defaults here (``local[*]``, Unix-domain sockets to the Python workers, the checksums
    of Parquet pages compared, errors only in Spark's log and no stack traces of tasks, no console progress bar; in
    local mode no UI). Python workers run
    ``sys.executable`` unless ``PYSPARK_PYTHON`` says otherwise, and find this package: in local mode through
    ``PYTHONPATH``, elsewhere it is shipped to them with ``addPyFile``.

    Parameters
    ----------
    app : str
        Name of the application, as Spark's UI shows it.
    **conf : str
        Spark settings, for example ``**{"spark.master": "local[2]"}``.

    Raises
    ------
    EnvironmentProblem
        No Java, one that is too old, or a Spark that does not start. Java is looked at first.

    Examples
    --------
    >>> spark = get_spark("example", **{"spark.master": "local[2]"})
    >>> spark.range(3).count()
    3
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        return running
    meanwhile = Thread(target=import_module, args=(f"{PACKAGE}.estimator",), daemon=True)
    meanwhile.start()  # Java takes two seconds to start, in which Python has nothing else to do
    _start_jvm(conf)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # read when the context starts
    settings = _resolved(app, conf)
    clear((os.environ.get("SPARK_LOCAL_DIRS") or settings.get("spark.local.dir", "") or "").split(","))
    spark = SparkSession.builder.config(conf=settings).getOrCreate()
    meanwhile.join()
    atexit.register(spark.stop)  # executors that just see the driver vanish log errors
    if not _logs_warnings():
        _leave_failures_to_the_job()
    if not _is_local(spark.conf.get("spark.master")):
        _ship_package(spark.sparkContext)
    return spark


def start_workers(context: SparkContext) -> None:
    """Let Python workers start while the driver reads schemas and plans: a second less to wait for those who use them.

    In local mode only: elsewhere a task in advance would start the worker of one executor.
    """
    if _is_local(context.master):
        Thread(target=_run_empty_task, args=(context,), daemon=True).start()


def _run_empty_task(context: SparkContext) -> None:
    with suppress(Exception):  # whatever keeps workers from starting, the first job that needs one will tell
        context.parallelize([0], 1).count()


def package_sources() -> Iterator[tuple[str, bytes]]:
    """(path, content) of every Python file of this package in a fixed order; also from inside a zip."""
    yield from _sources(importlib.resources.files(PACKAGE), PurePosixPath(PACKAGE))


def _sources(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry, path / entry.name)
        elif entry.name.endswith(".py"):
            yield str(path / entry.name), entry.read_bytes()


def _start_jvm(conf: dict[str, str]) -> None:
    """Start the JVM, or join the one that spark-submit started; no context yet.

    Apart from the context, so that what the user configured can be read before defaults are filled in.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ and SparkContext._gateway is None:
        problem = java_problem()
        if problem:
            raise EnvironmentProblem(problem)
        _prepare_launch()
    try:
        # Settings such as spark.driver.memory must be known at this moment: a running JVM cannot take them.
        SparkContext._ensure_initialized(conf=SparkConf(loadDefaults=False).setAll(list(conf.items())))
    except PySparkException as failure:
        raise EnvironmentProblem(f"Spark did not start: {failure}") from failure


def _prepare_launch() -> None:
    """Environment of the launch scripts: where Spark is, a quiet log unless the user configured one, and classes."""
    home = Path(pyspark.__file__).parent
    if (home / "bin" / "spark-submit").is_file():
        # Otherwise the scripts ask Python for it, in a command line that breaks where its path has a space.
        os.environ.setdefault("SPARK_HOME", str(home))
    own = Path(
        os.environ.get("SPARK_CONF_DIR") or Path(os.environ.get("SPARK_HOME", ""), "conf"),
        "log4j2.properties",
    )
    quiet = Path(__file__).with_name("log4j2.properties")
    log = [f"-Dlog4j2.configurationFile={quiet.as_uri()}"] if quiet.is_file() and not own.is_file() else []
    if options := [*log, *archive_options()]:
        os.environ.setdefault("SPARK_SUBMIT_OPTS", shlex.join(options))


def _resolved(app: str, conf: dict[str, str]) -> SparkConf:
    """The user's settings with our defaults where they are silent and the caller's on top."""
    settings = SparkConf()
    # Spark switches the bars on for a Python shell, so the value there is not the user's choice.
    settings.set("spark.ui.showConsoleProgress", "false").setAppName(app).setAll(list(conf.items()))
    for key, value in _DEFAULTS.items():
        settings.setIfMissing(key, value)
    if _is_local(settings.get("spark.master")):
        for key, value in {**_LOCAL_DEFAULTS, **scratch_settings()}.items():
            settings.setIfMissing(key, value)
        _extend_python_path(settings)
    if _logs_warnings():
        settings.setIfMissing("spark.log.level", "ERROR")
    return settings


def _logs_warnings() -> bool:
    """Whether Spark's log is as loud as Spark has it, because spark-submit started the JVM and not we."""
    jvm = SparkContext._jvm
    assert jvm is not None
    return bool(jvm.org.apache.logging.log4j.LogManager.getRootLogger().isWarnEnabled())


def _leave_failures_to_the_job() -> None:
    jvm: Any = SparkContext._jvm
    log4j = jvm.org.apache.logging.log4j
    for name in _LOUD:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.OFF)


def _is_local(master: str | None) -> bool:
    """Whether executors are threads of the driver's JVM; ``local-cluster[...]`` has processes of its own."""
    return master is not None and (master == "local" or master.startswith("local["))


def _extend_python_path(settings: SparkConf) -> None:
    """Let Python workers on this machine import the package from where the driver has it."""
    root = str(Path(__file__).resolve().parents[2])
    key = "spark.executorEnv.PYTHONPATH"
    settings.set(key, os.pathsep.join(filter(None, [settings.get(key), root])))


def _ship_package(context: SparkContext) -> None:
    """Send the package to the executors as a zip; Spark serves our file, so it lives as long as we."""
    folder = scratch_directory()
    archive = Path(folder, f"{PACKAGE}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in package_sources():
            file.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's date is 1980: the same bytes every time
    context.addPyFile(str(archive))
