"""The job that scores: read a table, let a saved model predict, write the rows with their predictions."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql.types import AtomicType, BinaryType

from sparkdml.jobkit.cli import JobParser, add_running_flags, given_path, run_job
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.identity import code_digest, input_fingerprint, run_key, versions
from sparkdml.jobkit.models import SavedModel, load_saved
from sparkdml.jobkit.progress import log, say
from sparkdml.jobkit.publish import SUCCESS, publishing
from sparkdml.jobkit.replacing import check_free, recover_directory, replaced_directory
from sparkdml.jobkit.run_columns import add_run_columns, check_run_columns, run_columns
from sparkdml.jobkit.scoring import check_table, check_tally, needed_columns, scored, tally
from sparkdml.jobkit.secrets import masked
from sparkdml.jobkit.session import get_spark
from sparkdml.jobkit.signals import orderly_end
from sparkdml.jobkit.tables import add_table_flags, chosen_rows, dated, decisive_options, read_files, read_paths
from sparkdml.storage import Storage

FORMATS = ("parquet", "csv")
RUN = "_run.json"  # the underscore hides it from Spark's readers


def predicting_main(argv: Sequence[str] | None = None) -> int:
    """The whole of ``jobs/predict.py``: `argv` (by default ``sys.argv[1:]``) -> exit code."""
    parser = _parser()

    def job(options: argparse.Namespace) -> dict[str, Any]:
        spark = get_spark(parser.prog)
        with orderly_end():
            return _predict(spark, options)

    return run_job(parser, job, argv)


# The flags that name the columns that scoring adds.
FLAGS = {
    "predictionCol": "--prediction-col",
    "probabilityCol": "--probability-col",
    "rawPredictionCol": "--raw-prediction-col",
}


def add_model_flags(parser: JobParser) -> None:
    """The flags that say which model scores, and what its column of predictions is called."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        type=given_path,
        required=True,
        metavar="DIR",
        help="the output of a training job, whose latest version is taken, one version of it, or a saved model",
    )
    group.add_argument(
        "--columns-from-run",
        action="store_true",
        help="compute the columns that training computed by --with-column, as run.json of the model has them: full "
        "SQL, from the model's directory (default: where such a column lacks, its flag is named)",
    )
    group.add_argument("--prediction-col", metavar="COLUMN", help="name of the predictions (default: as in training)")
    group.add_argument(
        "--probability-col",
        metavar="COLUMN",
        help="of a classifier: name of the probabilities that the label is 1, of more than two classes of the "
        "probabilities of the predicted class (default: as in training)",
    )
    group.add_argument(
        "--raw-prediction-col",
        metavar="COLUMN",
        help="of a support vector machine: name of the margins (default: as in training)",
    )


def _parser() -> JobParser:
    parser = JobParser(description="Score a table with a saved model; every row is kept.")
    add_model_flags(parser)
    add_table_flags(parser.add_argument_group("data"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=given_path,
        metavar="DIR",
        required=True,
        help="directory of the scored rows; {date} stands for the logical date",
    )
    output.add_argument(
        "--output-format", choices=FORMATS, default="parquet", help="csv has a header line (default: parquet)"
    )
    output.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the directory if it is there (default: if this very run wrote it do nothing, otherwise refuse)",
    )
    add_running_flags(parser)
    return parser


def _predict(spark: SparkSession, options: argparse.Namespace) -> dict[str, Any]:
    """Check everything that can be checked, then score and write, unless this very run did so already."""
    start = time.perf_counter()
    storage, path = Storage(spark), dated(options.output, options.logical_date).rstrip("/") or "/"
    saved, table, names, _ = load_and_read(spark, storage, options)
    if options.output_format == "csv":
        _check_csv(table)
    record = _record(storage, saved, table, options)
    told = {"output": path, "model": saved.path, "version": saved.version}
    kept = read_paths(table, options), [options.model, saved.path]
    recover_directory(storage, path)
    if counts := _find(storage, path, record["run_key"]):
        say(f"This run is in {path} already; nothing was done again.")
        return {"status": "published", **told, **counts, "seconds": round(time.perf_counter() - start, 3)}
    if options.dry_run:
        check_free(storage, path, options.overwrite, *kept)
        return {"status": "checked", **told, "columns": [*table.columns, *names.values()]}
    with replaced_directory(storage, path, options.overwrite, *kept) as directory, publishing(path):
        counts = _write(saved, scored(saved, table, names), names, directory, options.output_format)
        storage.write(f"{directory}/{RUN}", json.dumps({**record, **counts}, indent=1).encode() + b"\n")
    say(f"{counts['rows']:,} rows scored, {counts['rows_null']:,} of them without a prediction, in {path}.")
    return {"status": "published", **told, **counts, "seconds": round(time.perf_counter() - start, 3)}


def load_and_read(
    spark: SparkSession, storage: Storage, options: argparse.Namespace, roles: Sequence[str] = ()
) -> tuple[SavedModel, DataFrame, dict[str, str], dict[str, str | None]]:
    """The model, a table that it fits, the names of the columns that scoring adds, and the columns of the `roles`.

    The last two are by the model's Params. The roles, such as ``labelCol``, are as the options say, or as trained.
    """
    saved = load_saved(storage, options.model)
    model, found = saved.model, run_columns(storage, saved)
    size = {"numFeatures": str(model.numFeatures)} if not saved.encoders else {}  # libsvm would count them
    table = read_files(spark, options, **size)
    trained = {role: model.getOrDefault(role) if model.isDefined(role) else None for role in ("labelCol", "weightCol")}
    columns = {role: getattr(options, role.removesuffix("Col")) or trained[role] for role in roles}
    needed = [*needed_columns(saved), *filter(None, columns.values())]
    without = [name for name in trained.values() if name and name not in needed]
    if options.columns_from_run:
        table = add_run_columns(table, found, without, saved.path)
    table = chosen_rows(table, options)
    check_run_columns(found, table.schema, needed, without, options)
    names = _output_names(saved, options)
    check_table(saved, table.schema, names, columns)
    return saved, table, names, columns


def _output_names(saved: SavedModel, options: argparse.Namespace) -> dict[str, str]:
    """What the columns that scoring adds are called: as the options say, else as in training."""
    given = {
        "predictionCol": options.prediction_col,
        "probabilityCol": options.probability_col,
        "rawPredictionCol": options.raw_prediction_col,
    }
    names: dict[str, str] = {}
    for output, name in given.items():
        if output in saved.model.numbers:
            names[output] = name or saved.model.getOrDefault(output) or output.removesuffix("Col")
        elif name:
            raise UsageError(f"{FLAGS[output]}: {type(saved.model).__name__} has no such column.")
    if len(set(names.values())) < len(names):
        flags = " and ".join(FLAGS[output] for output in names)
        raise UsageError(f"{flags} are both {names['predictionCol']!r}.")
    return names


def _check_csv(table: DataFrame) -> None:
    """A csv holds text; raises UsageError for a column of anything that is no single value."""
    for field in table.schema.fields:
        if not isinstance(field.dataType, AtomicType) or isinstance(field.dataType, BinaryType):
            raise UsageError(
                f"--output-format csv cannot hold the column {field.name!r} of type {field.dataType.simpleString()}: "
                "take parquet."
            )


def _record(storage: Storage, saved: SavedModel, table: DataFrame, options: argparse.Namespace) -> dict[str, Any]:
    """What `RUN` says: the run key and everything that it is made of."""
    files = storage.below(saved.path)
    configuration = {
        **decisive_options(options),
        "model": {name: files.sha256(name) for name in files.sizes()},
        "prediction_col": options.prediction_col,
        "probability_col": options.probability_col,
        "raw_prediction_col": options.raw_prediction_col,
        "output_format": options.output_format,
        "columns_from_run": options.columns_from_run,
    }
    inputs = input_fingerprint(storage, table)
    return {
        "run_key": run_key(configuration, inputs, options.logical_date),
        "model": masked(saved.path),
        "version": saved.version,
        "configuration": configuration,
        "input": inputs,
        "code": code_digest(),
        "versions": versions(),
    }


def _find(storage: Storage, path: str, key: str) -> dict[str, int] | None:
    """The counts of the run that wrote `path`, if it is the one with this key."""
    with publishing(path):
        if not all(storage.exists(f"{path}/{name}") for name in (SUCCESS, RUN)):
            return None
        content = storage.read(f"{path}/{RUN}")
    try:
        record = json.loads(content)
        return {name: int(record[name]) for name in ("rows", "rows_null")} if record["run_key"] == key else None
    except (ValueError, KeyError, TypeError):
        return None


def _write(saved: SavedModel, rows: DataFrame, names: dict[str, str], directory: str, form: str) -> dict[str, int]:
    """Write the rows; they are counted on the way."""
    seen = Observation("scored")
    log.info("scoring with %s", saved.path, extra={"context": {"model": saved.path, "version": str(saved.version)}})
    settings = {"header": "true"} if form == "csv" else {}
    counted = rows.observe(seen, *tally(saved, names))
    counted.write.mode("overwrite").format(form).options(**settings).save(directory)
    check_tally(saved, seen.get)
    return {name: int(seen.get[name]) for name in ("rows", "rows_null")}
