"""The job that evaluates: score a labelled table with a saved model, print the metrics, draw them."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from sparkdml.blocks.schema import quoted
from sparkdml.jobkit import plots
from sparkdml.jobkit.cli import JobParser, add_running_flags, finite, given_path, json_line, run_job
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.models import SavedModel
from sparkdml.jobkit.predicting import add_model_flags, load_and_read
from sparkdml.jobkit.progress import say
from sparkdml.jobkit.publish import publishing
from sparkdml.jobkit.replacing import check_free, replaced_directory
from sparkdml.jobkit.scoring import check_tally, missing_features, scored, tally
from sparkdml.jobkit.secrets import masked
from sparkdml.jobkit.session import get_spark, start_workers
from sparkdml.jobkit.signals import orderly_end
from sparkdml.jobkit.tables import add_table_flags, dated, read_paths
from sparkdml.storage import Storage
from sparkdml.summary import Summary
from sparkdml.text import align

METRICS = "metrics.json"


def evaluating_main(argv: Sequence[str] | None = None) -> int:
    """The whole of ``jobs/evaluate.py``: `argv` (by default ``sys.argv[1:]``) -> exit code."""
    parser = _parser()

    def job(options: argparse.Namespace) -> dict[str, Any]:
        if options.plots:
            if options.output is None:
                raise UsageError("--plots needs --output DIR, where the pictures go.")
            plots.require_matplotlib()
        spark = get_spark(parser.prog)
        start_workers(spark.sparkContext)
        with orderly_end():
            return _evaluate(spark, options)

    return run_job(parser, job, argv)


def _parser() -> JobParser:
    parser = JobParser(description="Compare the predictions of a saved model with the labels of a table.")
    add_model_flags(parser)
    data = parser.add_argument_group("data")
    add_table_flags(data)
    data.add_argument("--label", metavar="COLUMN", help="what should have been predicted (default: as in training)")
    data.add_argument("--weight", metavar="COLUMN", help="weight of each row (default: as in training)")
    data.add_argument(
        "--handle-invalid",
        choices=("error", "skip"),
        default="error",
        help="rows without a prediction, a label or a weight: refuse the table, or leave them out (default: error)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=given_path,
        metavar="DIR",
        help=f"directory for {METRICS} and the pictures; {{date}} is the logical date (default: nothing is written)",
    )
    output.add_argument(
        "--overwrite", action="store_true", help="replace the directory if it is there (default: refuse)"
    )
    output.add_argument(
        "--plots",
        action="store_true",
        help="draw as PNG: the calibration, and residuals, of two classes the ROC and precision-recall curves, of "
        "more the confusion matrix; needs sparkdml[plot] (default: off)",
    )
    add_running_flags(parser)
    return parser


def _evaluate(spark: SparkSession, options: argparse.Namespace) -> dict[str, Any]:
    """Check everything that can be checked, score, measure, print; with an output write. Returns the result."""
    start = time.perf_counter()
    storage = Storage(spark)
    saved, table, names, roles = load_and_read(spark, storage, options, ("labelCol", "weightCol"))
    path = dated(options.output, options.logical_date).rstrip("/") or "/" if options.output else None
    kept = read_paths(table, options), [options.model, saved.path]
    if path:
        check_free(storage, path, options.overwrite, *kept)
    told: dict[str, Any] = {"model": saved.path, "version": saved.version, "output": path}
    if options.dry_run:
        return {"status": "checked", **told, "label": roles["labelCol"], "weight": roles["weightCol"]}
    columns = {**roles, **names}
    summary, counts, predictions = _measure(saved, table, names, columns, options.handle_invalid == "skip")
    result = {"metrics": finite(summary.metrics()), **counts}
    say(align([["Metric", "Value"], *([name, f"{value:.6g}"] for name, value in summary.metrics().items())]))
    say(f"\nRows: {counts['rows']:,}   skipped: {counts['rows_skipped']:,}")
    if path:
        with replaced_directory(storage, path, options.overwrite, *kept) as directory:
            pictures = plots.pictures(summary, predictions) if options.plots else {}
            with publishing(path):
                report = json_line(masked({**told, **result})).encode() + b"\n"
                for name, content in {**pictures, METRICS: report}.items():
                    storage.write(f"{directory}/{name}", content)
    status = "published" if path else "evaluated"
    return {"status": status, **told, **result, "seconds": round(time.perf_counter() - start, 3)}


def _measure(
    saved: SavedModel, table: DataFrame, names: dict[str, str], columns: dict[str, Any], skip: bool
) -> tuple[Summary, dict[str, int], DataFrame]:
    """The metrics, how many rows they are of, and the rows that have predictions. One job.

    `columns` are the roles of the columns, by the fields of the model's `Scoring`.
    """
    seen = Observation("scored")
    there = quoted(names["predictionCol"]).isNotNull()
    rows = scored(saved, table, names, whole=True).observe(seen, *tally(saved, names)).where(there)
    scoring = replace(saved.model._scoring(None), **columns, skip=skip, predict=lambda: rows)
    summary = saved.model._summary_class(scoring)
    summary.metrics()
    check_tally(saved, seen.get)
    if seen.get["rows_null"] and not skip:
        raise missing_features(saved, table)
    counted = {"rows": summary.numInstances, "rows_skipped": int(seen.get["rows"]) - summary.numInstances}
    return summary, counted, scored(saved, table, names).where(there)
