"""The options of Spark's readers: Spark passes over those that it does not know, and a job tells of them."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from sparkdml.engine.unreadable import causes
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.progress import log

MODES = ("PERMISSIVE", "DROPMALFORMED", "FAILFAST")
_OPTIONS = {
    "csv": "org.apache.spark.sql.catalyst.csv.CSVOptions",
    "json": "org.apache.spark.sql.catalyst.json.JSONOptions",
    "parquet": "org.apache.spark.sql.execution.datasources.parquet.ParquetOptions",
    "orc": "org.apache.spark.sql.execution.datasources.orc.OrcOptions",
}
_OF_LIBSVM = ("numFeatures", "vectorType")
_OF_FILES = [
    "basePath",
    "ignoreCorruptFiles",
    "ignoreMissingFiles",
    "modifiedAfter",
    "modifiedBefore",
    "path",
    "pathGlobFilter",
    "recursiveFileLookup",
    "timeZone",
]
# What is wrong with the value of an option, in the words of Spark, and the exceptions that say so without them.
_WRONG_VALUE = re.compile(
    "OPTION_VALUE_EXCEEDS|INVALID_PARAMETER_VALUE|INVALID_DATETIME_PATTERN|INVALID_DELIMITER|INVALID_LINE_SEPARATOR|"
    "CODEC_NOT_AVAILABLE|flag can be true or false|should be an integer|option is invalid|Invalid value `"
)
_EXCEPTIONS = ("java.lang.IllegalArgumentException", "java.lang.NumberFormatException")


def check_read_options(spark: SparkSession, form: str, settings: Mapping[str, str]) -> None:
    """Warn of options that the reader of a format does not know; raise UsageError for a mode that it does not know."""
    for name, value in settings.items():
        if name.lower() == "mode" and value.upper() not in MODES:
            raise UsageError(f"--read-option mode={value}: it must be one of {', '.join(MODES)}.")
    known = _known(spark, form) if settings else []
    lower = {each.lower(): each for each in known}
    for name in settings:
        if known and name.lower() not in lower and "." not in name:  # with a dot it may be one of Hadoop's
            near = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
            hint = f": did you mean {lower[near[0]]}?" if near else "."
            log.warning("Spark's reader of %s has no option %r%s", form, name, hint)


def is_of_options(failure: Exception) -> bool:
    """Whether what Spark says while it reads a schema is of an option of its reader, and not of the files."""
    found = causes(failure)
    return _WRONG_VALUE.search(str(failure)) is not None or (found[0][0] in _EXCEPTIONS and len(found) == 1)


def _known(spark: SparkSession, form: str) -> list[str]:
    """The options of a reader; none where this Spark does not tell them."""
    if form == "libsvm":
        return [*_OF_LIBSVM, *_OF_FILES]
    owner: Any = spark.sparkContext._jvm
    try:
        for part in _OPTIONS[form].split("."):
            owner = getattr(owner, part)
        return [*str(owner.getAllOptions().mkString(",")).split(","), *_OF_FILES]
    except (KeyError, TypeError, Py4JError):
        return []
