"""Whether a Spark session still runs, before it is asked for what it can no longer do."""

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from sparkdml.errors import SessionError


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
