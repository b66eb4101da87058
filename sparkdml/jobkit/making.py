"""The job that makes a synthetic table: read the recipe, write the rows and their true coefficients, print."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from sparkdml.datasets import LABEL, Recipe, Truth, make_table, partition_rows, truth
from sparkdml.jobkit.cli import JobParser, add_running_flags, given_path, run_job
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.progress import log, say
from sparkdml.jobkit.publish import SUCCESS, publishing
from sparkdml.jobkit.replacing import check_free, recover_directory, replaced_directory
from sparkdml.jobkit.session import get_spark
from sparkdml.jobkit.signals import orderly_end
from sparkdml.storage import Storage

FORMATS = ("parquet", "csv", "orc", "json")
COEFFICIENTS = "_coefficients.json"  # the underscore hides it from Spark's readers
_FORMAT = {"format": "sparkdml-coefficients", "formatVersion": 1}
_SHOWN = 10


def making_main(argv: Sequence[str] | None = None) -> int:
    """The whole of ``jobs/make_data.py``: `argv` (by default ``sys.argv[1:]``) -> exit code."""
    parser = _parser()

    def job(options: argparse.Namespace) -> dict[str, Any]:
        recipe = _recipe(options)
        spark = get_spark(parser.prog)
        with orderly_end():
            return _make(spark, recipe, options)

    return run_job(parser, job, argv)


def _parser() -> JobParser:
    """A flag for each field of the recipe, and those of the output."""
    parser = JobParser(description="Make a synthetic table with known coefficients, of any size.")
    table = parser.add_argument_group("table (the rows are a function of these alone)")
    for option in fields(Recipe):
        table.add_argument(f"--{option.name.replace('_', '-')}", **_flag(option))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=given_path,
        metavar="DIR",
        required=True,
        help=f"directory of the part files, _SUCCESS and {COEFFICIENTS}",
    )
    output.add_argument(
        "--format",
        choices=FORMATS,
        default="parquet",
        help="csv has a header line; vectors need parquet (default: parquet)",
    )
    output.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the directory if it is there (default: if it has this very table do nothing, otherwise refuse)",
    )
    add_running_flags(parser)
    return parser


def _flag(option: Field[Any]) -> dict[str, Any]:
    """How argparse reads a field of the recipe."""
    within, text = option.metadata["within"], option.metadata["doc"]
    required = option.default is MISSING
    if isinstance(within, tuple):
        reading: dict[str, Any] = {"choices": within}
    else:
        kind, metavar = (float, "NUMBER") if option.type is float else (int, "N")
        reading = {"type": kind, "metavar": metavar}
        text += f"; in {within}"
    if required:
        return {"required": True, "help": f"{text}; required", **reading}
    if option.default is not None:
        text += f" (default: {option.default})"
    return {"default": option.default, "help": text, **reading}


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe of the command line; raises ParamError, or UsageError where the format cannot hold it."""
    recipe = Recipe(**{option.name: getattr(options, option.name) for option in fields(Recipe)})
    if recipe.layout == "vector" and options.format != "parquet":
        raise UsageError(f"--format {options.format} cannot hold vectors: use parquet, or --layout columns.")
    return recipe


def _make(spark: SparkSession, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Write the table, unless this very one is there already; print; return the result."""
    start = time.perf_counter()
    storage, path = Storage(spark), options.output.rstrip("/") or "/"
    model = truth(recipe)
    partitions = len(partition_rows(recipe))
    record = _record(recipe, model, partitions, options.format)
    status = "published"
    recover_directory(storage, path)
    if not options.overwrite and _is_made(storage, path, record):
        say(f"This table is in {path} already; nothing was done again.")
    elif options.dry_run:
        check_free(storage, path, options.overwrite)
        status = "checked"
    else:
        with replaced_directory(storage, path, options.overwrite) as directory:
            context = {"rows": str(recipe.rows), "partitions": str(partitions), "output": path}
            log.info("making %s rows in %s partitions for %s", *context.values(), extra={"context": context})
            mean = _write(make_table(spark, recipe), directory, options.format)
            with publishing(path):
                storage.write(f"{directory}/{COEFFICIENTS}", json.dumps(record, indent=1).encode() + b"\n")
        say(_report(recipe, model, partitions, _size(storage, path), mean))
    return {
        "status": status,
        "output": path,
        "rows": recipe.rows,
        "features": recipe.features,
        "partitions": partitions,
        "seconds": round(time.perf_counter() - start, 3),
    }


def _record(recipe: Recipe, model: Truth, partitions: int, form: str) -> dict[str, Any]:
    """What the file of coefficients says."""
    return {
        **_FORMAT,
        "recipe": {**asdict(recipe), "partitions": partitions},
        "table": form,
        "intercept": model.intercept,
        "coefficients": model.named,
    }


def _is_made(storage: Storage, path: str, record: dict[str, Any]) -> bool:
    """Whether the complete table of this record is at `path`."""
    with publishing(path):
        names = (SUCCESS, COEFFICIENTS)
        if not all(storage.exists(f"{path}/{name}") for name in names):
            return False
        content = storage.read(f"{path}/{COEFFICIENTS}")
    try:
        return bool(json.loads(content) == record)
    except ValueError:
        return False


def _write(table: DataFrame, directory: str, form: str) -> float:
    """Write the rows; the mean of their labels is taken on the way."""
    seen = Observation("table")
    options = {"header": "true"} if form == "csv" else {}
    observed = table.observe(seen, F.avg(LABEL).alias("mean"))
    observed.write.mode("overwrite").format(form).options(**options).save(directory)
    return float(seen.get["mean"])


def _size(storage: Storage, path: str) -> int:
    """Bytes of the rows on disk."""
    with publishing(path):
        return sum(size for name, size in storage.files(path).items() if not name.startswith(("_", ".")))


def _report(recipe: Recipe, model: Truth, partitions: int, size: int, mean: float) -> str:
    """The table that a person reads."""
    label = "share of positives" if recipe.kind == "classification" else "mean label"
    shown = dict(zip(recipe.feature_names[:_SHOWN], model.coefficients.tolist(), strict=False))
    columns = 2 if recipe.layout == "vector" else recipe.features + 1
    lines = {"rows": f"{recipe.rows:,}", "partitions": f"{partitions:,}", "columns": f"{columns:,}"}
    lines |= {"bytes on disk": f"{size:,}", label: f"{mean:.6g}"}
    lines |= {f"true {name}": f"{value:.6g}" for name, value in {"intercept": model.intercept, **shown}.items()}
    more = recipe.features - len(shown)
    rest = [f"and {more:,} more coefficients in {COEFFICIENTS}"] if more else []
    return "\n".join([*(f"{name:<20}{value:>16}" for name, value in lines.items()), *rest])
