"""Reading the tables that a job is given, and what the command line says of them."""

import argparse
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import PurePosixPath
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from sparkdml.errors import ColumnError, DataError
from sparkdml.jobkit.cli import given_path
from sparkdml.jobkit.failures import InputMissingError, UsageError, bad_rows, path_problem, spark_condition
from sparkdml.jobkit.read_options import check_read_options, is_of_options
from sparkdml.jobkit.secrets import masked, masked_options
from sparkdml.text import printable

FORMATS = ("parquet", "csv", "json", "orc", "libsvm", "table")
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".orc": "orc", ".libsvm": "libsvm"}
_DECISIVE = ("format", "read_option", "with_column", "where", "deduplicate", "sample", "seed")
# What Spark says while it reads the schema of files that are not what they were said to be, or of what it has no type
# for; conditions of class 0A, 22 and 42 are those that no retry helps.
_UNREADABLE = re.compile("CANNOT_READ_FILE_FOOTER|FAILED_READ_FILE|Illegal file pattern|SQLSTATE: (?:0A|22|42)")
_CORRUPT = "_corrupt_record"  # the column of what is no JSON
_SEPARATED = re.compile(r"[^,;|\t]+([;|\t,])[^,;|\t]")
GUESSED = ("csv", "json")  # formats whose types Spark guesses
_NO_FILES = ("PATH_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND", "UNABLE_TO_INFER_SCHEMA")


def add_table_flags(group: Any, default: str | None = None) -> None:
    """The flags that say which rows a job reads; `default` describes what is read without ``--input``."""
    group.add_argument(
        "--input",
        nargs="+",
        action="extend",
        type=given_path,
        required=default is None,
        metavar="PATH",
        help="files, directories or patterns, or the name of a table; {date} stands for the logical date"
        + (f" (default: {default})" if default else ""),
    )
    group.add_argument(
        "--format", choices=FORMATS, help="csv has a header line (default: by the suffix of the input, else parquet)"
    )
    group.add_argument(
        "--read-option",
        nargs="+",
        action="extend",
        type=_assignment,
        metavar="KEY=VALUE",
        help="an option of Spark's reader for the format, such as sep=; or numFeatures=100",
    )
    group.add_argument(
        "--with-column",
        nargs="+",
        action="extend",
        type=_assignment,
        metavar="NAME=SQL",
        help="a column to compute from the others, such as log_price=ln(price); in the order given. It is full SQL, as "
        "is --where: it can call Java (reflect) and read files (subqueries), so take it from nobody you do not trust",
    )
    group.add_argument("--where", metavar="SQL", help="only the rows for which this holds, such as 'price > 0'")
    group.add_argument("--deduplicate", action="store_true", help="rows that are equal count once (default: off)")
    group.add_argument(
        "--sample", type=_fraction, metavar="FRACTION", help="only this share of the rows, above 0 and at most 1"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="decides what is drawn at random (default: 0)")
    group.add_argument(
        "--logical-date",
        type=_day,
        metavar="YYYY-MM-DD",
        help="the day this run stands for (default: none)",
    )


def decisive_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_table_flags` that decide which rows come of the files, for the record of a run.

    Secrets are masked, so that a new password makes no new run.
    """
    found = {name: masked(getattr(options, name)) for name in _DECISIVE}
    return found if options.read_option is None else {**found, "read_option": masked_options(options.read_option)}


def dated(path: str, day: date | None) -> str:
    """The path with the day in place of ``{date}``; raises UsageError if it is needed and there is none.

    >>> dated("sales/{date}", date(2026, 11, 21))
    'sales/2026-11-21'
    """
    if "{date}" not in path:
        return path
    if day is None:
        raise UsageError(f"{path} has a {{date}}: say which day with --logical-date YYYY-MM-DD.")
    return path.replace("{date}", day.isoformat())


def read_files(spark: SparkSession, options: argparse.Namespace, **reading: str) -> DataFrame:
    """All rows of the files that the options name; only the schema is read yet, of csv once all rows.

    `reading` are options of Spark's reader that the caller knows, under those of the command line.

    Raises
    ------
    InputMissingError, DataError, UsageError
        Nothing is there; not of this format; formats are mixed; a path or an option of the reader is wrong.
    """
    paths = [dated(path, options.logical_date) for path in options.input]
    form, settings = format_of(options), dict(options.read_option or ())
    if form != "table":
        check_read_options(spark, form, settings)
    with _read_failures(paths, settings):
        table = _read(spark, paths, form, {**reading, **settings})
        if form != "table" and not table.inputFiles():
            raise InputMissingError(f"--input {' '.join(paths)}: there are no {form} files.")
    if form in GUESSED:
        _check_guessed(table, form, f"--input {' '.join(paths)}")
    return table


def _check_guessed(table: DataFrame, form: str, given: str) -> None:
    """Refuse what Spark takes for a table and is none: no rows, a header of one cell, lines that are no JSON."""
    types = [field.dataType for field in table.schema.fields]
    if form == "json" and _CORRUPT in table.columns:
        raise DataError(
            f"{given}: there are lines that are not JSON: mend them, or leave them out with --read-option "
            "mode=DROPMALFORMED."
        )
    if not types:
        raise DataError(f"{given}: there are no rows, and no header.")
    if len(types) == 1 and (found := _SEPARATED.match(table.columns[0])):
        raise ColumnError(
            f"{given}: the header is one cell, {table.columns[0]!r:.200}: say what separates the cells, with "
            f"--read-option {shlex.quote(f'sep={printable(found[1])}')}."
        )
    if all(isinstance(each, StringType) for each in types) and table.isEmpty():
        raise DataError(f"{given}: there are no rows, only a header: {', '.join(table.columns[:20])}.")


def chosen_rows(table: DataFrame, options: argparse.Namespace) -> DataFrame:
    """The rows of a table that the options choose, with the columns that they compute; lazily.

    Raises UsageError where an expression is wrong.
    """
    table = with_columns(table, options.with_column or (), "--with-column ")
    if options.where is not None:
        with _expression(f"--where {options.where}"):
            table = table.where(options.where)
    if options.deduplicate:
        table = table.dropDuplicates()
    return table if options.sample is None else table.sample(options.sample, options.seed)


def with_columns(table: DataFrame, columns: Iterable[tuple[str, str]], flag: str) -> DataFrame:
    """The table with columns of these names and SQL, in the order given; UsageError where one is wrong."""
    for name, expression in columns:
        with _expression(f"{flag}{name}={expression}"):
            table = table.withColumn(name, F.expr(expression))
    return table


def format_of(options: argparse.Namespace) -> str:
    """The format of the input: what the options say, else what the suffixes tell."""
    return options.format or _format([dated(path, options.logical_date) for path in options.input])


def read_paths(table: DataFrame, options: argparse.Namespace) -> list[str]:
    """What a table is read from: every file, and the paths that were named, of a pattern its fixed directories."""
    if options.format == "table":
        return table.inputFiles()
    named = [re.split(r"[*?\[{]", dated(path, options.logical_date))[0] for path in options.input]
    fixed = [path if path.endswith("/") or path in options.input else path.rpartition("/")[0] for path in named]
    return [*(path for path in fixed if path), *table.inputFiles()]


def _read(spark: SparkSession, paths: Sequence[str], form: str, settings: dict[str, str]) -> DataFrame:
    if form == "table":
        if len(paths) > 1:
            raise UsageError("--format table reads one table, and --input names several.")
        return spark.table(paths[0])
    if form == "csv":
        tabs = all(".tsv" in PurePosixPath(path).suffixes for path in paths)
        settings = {"header": "true", "inferSchema": "true", "sep": "\t" if tabs else ",", **settings}
    return spark.read.format(form).options(**settings).load(list(paths))


def _format(paths: Sequence[str]) -> str:
    found = {_SUFFIXES.get(_suffix(path), "parquet") for path in paths}
    if len(found) > 1:
        raise UsageError("--input mixes formats; give files of one format, or say which with --format.")
    return found.pop()


def _suffix(path: str) -> str:
    """The suffix that tells the format: ``.csv`` also of ``rows.csv.gz``."""
    return next((suffix for suffix in PurePosixPath(path).suffixes if suffix in _SUFFIXES), "")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, such as 2026-11-21") from problem


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction above 0 and at most 1")
    return value


@contextmanager
def _read_failures(paths: Sequence[str], settings: Mapping[str, str]) -> Iterator[None]:
    """What Spark says of files that are not there, or not what they should be, as errors of ours."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as failure:
        text, given = str(failure), f"--input {' '.join(paths)}"
        if problem := path_problem(failure) or bad_rows(failure):
            raise type(problem)(f"{given}: {problem}") from failure
        if "PARSE_SYNTAX_ERROR" in text:
            raise UsageError(f"{given} is not the name of a table: such as sales.orders.") from failure
        if settings and is_of_options(failure):
            told = " ".join(f"{name}={value}" for name, value in masked_options(settings.items()))
            raise UsageError(f"--read-option {told}: {spark_condition(failure)}") from failure
        if any(word in text for word in _NO_FILES):
            why = "no file with data is there." if _NO_FILES[-1] in text else spark_condition(failure)
            raise InputMissingError(f"{given}: {why}") from failure
        if _UNREADABLE.search(text):
            raise DataError(f"{given} cannot be read: {spark_condition(failure)}") from failure
        raise


@contextmanager
def _expression(flag: str) -> Iterator[None]:
    """A wrong SQL expression as a wrong command line."""
    try:
        yield
    except PySparkException as failure:
        raise UsageError(f"{flag}: {spark_condition(failure)}") from failure
