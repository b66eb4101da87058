"""Reading the tables that a job is given."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import NumericType

from sparkdml.errors import ColumnError, DataError
from sparkdml.jobkit.failures import InputMissingError, UsageError, spark_message

FORMATS = ("parquet", "csv")
_SUFFIXES = {".csv": "csv", ".tsv": "csv"}
# What Spark says while it reads the schema of files that are not what they were said to be.
_UNREADABLE = (
    "UNABLE_TO_INFER_SCHEMA",
    "CANNOT_READ_FILE_FOOTER",
    "FAILED_READ_FILE",
    "Illegal file pattern",
)


def read_table(spark: SparkSession, paths: Sequence[str], form: str | None = None) -> DataFrame:
    """The rows of all `paths` as one DataFrame; only the schema is read yet (csv: one pass to infer it).

    Parameters
    ----------
    paths : sequence of str
        Files or directories, or patterns with ``*``, on any file system that Spark knows.
    form : {"parquet", "csv"}, optional
        By default the suffix decides: csv for ``.csv`` and ``.csv.gz``, the same with tabs for ``.tsv``, otherwise
        parquet.
        A csv has a header; column types are inferred.

    Raises
    ------
    InputMissingError, DataError, UsageError
        Nothing is there; not of this format; formats are mixed.
    """
    try:
        if (form or _format(paths)) == "parquet":
            return spark.read.parquet(*paths)
        separator = "\t" if all(".tsv" in PurePosixPath(path).suffixes for path in paths) else ","
        return spark.read.csv(list(paths), header=True, inferSchema=True, sep=separator)
    except (Py4JJavaError, PySparkException) as failure:
        text = str(failure)
        if "PATH_NOT_FOUND" in text:
            raise InputMissingError(f"--input {' '.join(paths)}: {_first_line(failure)}") from failure
        if any(word in text for word in _UNREADABLE):
            raise DataError(f"--input {' '.join(paths)} cannot be read: {_first_line(failure)}") from failure
        raise


def numeric_columns(table: DataFrame, *other: str | None) -> list[str]:
    """The names of all numeric columns that are not among `other`, in the table's order.

    Raises ColumnError if there is none.
    """
    names = [
        field.name
        for field in table.schema.fields
        if isinstance(field.dataType, NumericType) and field.name not in other
    ]
    if not names:
        found = ", ".join(f"{name} ({kind})" for name, kind in table.dtypes) or "no columns at all"
        raise ColumnError(f"No numeric column is left for the features; the table has {found}.")
    return names


def _format(paths: Sequence[str]) -> str:
    found = {_SUFFIXES.get(_suffix(path), "parquet") for path in paths}
    if len(found) > 1:
        raise UsageError("--input mixes formats; give files of one format, or say which with --format.")
    return found.pop()


def _suffix(path: str) -> str:
    """The suffix that tells the format: ``.csv`` also of ``rows.csv.gz``."""
    return next((suffix for suffix in PurePosixPath(path).suffixes if suffix in _SUFFIXES), "")


def _first_line(failure: Exception) -> str:
    """Spark's sentence without its tags: ``[CONDITION] sentence SQLSTATE: 42K03`` -> ``sentence``."""
    return spark_message(failure).partition("] ")[2].partition(" SQLSTATE")[0] or spark_message(failure)
