"""Whether a Spark session still runs, and can do what it is asked for."""

from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame

from sparkdml.errors import ColumnTypeError, SessionError


def require_running(context: SparkContext, owned: str, remedy: str) -> None:
    """Raise SessionError where the session of something has ended; `remedy` is what to do in another one."""
    if not _runs(context):
        raise SessionError(
            f"the Spark session {context.appName!r} of {owned} has ended: {remedy} in a running session."
        )


def running_session() -> SparkSession:
    """Return the active session, or the default one; SessionError where none runs."""
    context = SparkContext._active_spark_context
    if context is None or not _runs(context):
        raise SessionError("no Spark session runs, which a DataFrame needs: start one.")
    return SparkSession.active()


def _runs(context: SparkContext) -> bool:
    """Whether a context has not been stopped, by Python or by Java."""
    java = context._jsc
    try:
        return java is not None and not java.sc().isStopped()
    except (Py4JError, OSError):  # Java itself has ended
        return False


def require_table(df: Any) -> None:
    """Raise ColumnTypeError or SessionError unless this is a DataFrame whose rows can be packed where it runs."""
    if not isinstance(df, DataFrame):
        raise ColumnTypeError(f"a DataFrame of Spark, or data packed from one, is needed, not {type(df).__name__}.")
    if not isinstance(df, ClassicDataFrame):
        raise SessionError("Spark Connect gives no access to partitions: fit in a classic Spark session.")
    if df.isStreaming:
        raise ColumnTypeError("a streaming DataFrame cannot be packed: write it to a table and pack that.")
    context = df.sparkSession.sparkContext
    require_running(context, "the DataFrame", "read it again")
    if context.getConf().get("spark.io.encryption.enabled", "false").lower() == "true":
        raise SessionError(
            "spark.io.encryption.enabled=true: packed rows lie on local disks for the time of a fit, readable by this "
            "user alone but not encrypted; keep spark.local.dir on an encrypted disk, and leave that setting out."
        )
