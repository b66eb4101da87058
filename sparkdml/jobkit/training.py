"""The job that trains: read a table, fit the estimator that ``jobs/train_*.py`` names, print, publish."""

import argparse
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.ml.base import Estimator
from pyspark.sql import DataFrame, SparkSession

from sparkdml.jobkit.cli import JobParser, add_params, add_running_flags, finite, given_params, names, run_job
from sparkdml.jobkit.failures import NotConvergedError
from sparkdml.jobkit.identity import (
    KEY_DIGITS,
    code_digest,
    input_fingerprint,
    run_key,
    utc_now,
    version_name,
    versions,
)
from sparkdml.jobkit.publish import Output
from sparkdml.jobkit.session import get_spark
from sparkdml.jobkit.signals import orderly_end
from sparkdml.jobkit.tables import FORMATS, numeric_columns, read_table
from sparkdml.storage import Storage

# Params that have a flag of their own here, in the words of the table rather than of the estimator.
_OWN_FLAGS = ("featuresCol", "featuresCols", "labelCol", "weightCol", "handleInvalid")


def training_main(
    estimator_class: type[Estimator], sample: str, sample_label: str, argv: Sequence[str] | None = None
) -> int:
    """The whole of a training script: `argv` -> exit code.

    Parameters
    ----------
    estimator_class : type
        An estimator of sparkdml; each of its Params becomes a flag.
    sample, sample_label : str
        The table that is used without ``--input``, and its label column.
    argv : sequence of str, optional
        The command line without the program's name; by default ``sys.argv[1:]``.
    """
    parser = _parser(estimator_class, sample, sample_label)

    def job(options: argparse.Namespace) -> dict[str, Any]:
        if options.input is None:
            options.input, options.label = [sample], options.label or sample_label
        estimator = _configured(estimator_class, options)
        spark = get_spark(parser.prog)
        with orderly_end(spark):
            return _train(spark, estimator, options)

    return run_job(parser, job, argv)


def _parser(estimator_class: type[Estimator], sample: str, sample_label: str) -> JobParser:
    """All flags of a training job, in groups."""
    kind = estimator_class.__name__
    parser = JobParser(description=f"Train a {kind} on a table and publish the model.")
    _add_data_flags(parser, f"{Path(sample).name} with label {sample_label}")
    add_params(parser, estimator_class(), f"{kind} (Params of the estimator)", without=_OWN_FLAGS)
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", help="publish below this directory (default: nothing is written)")
    output.add_argument(
        "--logical-date",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="the day this run stands for; it names the version (default: the UTC start does)",
    )
    output.add_argument(
        "--require-convergence",
        action="store_true",
        help="exit 81 and publish nothing if the solver stops before its tolerance (default: warn)",
    )
    add_running_flags(parser)
    return parser


def _add_data_flags(parser: JobParser, sample: str) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("--input", nargs="+", metavar="PATH", help=f"files or directories (default: the sample {sample})")
    data.add_argument("--format", choices=FORMATS, help="csv has a header line (default: by the suffix, else parquet)")
    data.add_argument("--label", metavar="COLUMN", help="what is to be predicted (default: label)")
    features = data.add_mutually_exclusive_group()
    features.add_argument(
        "--features", type=names, metavar="A,B,C", help="numeric columns (default: all but label and weight)"
    )
    features.add_argument("--features-col", metavar="COLUMN", help="one vector or array column instead")
    data.add_argument("--weight", metavar="COLUMN", help="weight of each row (default: every row weighs 1)")
    data.add_argument(
        "--handle-invalid",
        choices=("error", "skip"),
        default="error",
        help="rows with null, NaN or infinite values: refuse the table, or leave them out (default: error)",
    )


def _configured(estimator_class: type[Estimator], options: argparse.Namespace) -> Any:
    """The estimator with the Params of the command line; raises ParamError where they contradict each other."""
    params = given_params(estimator_class(), options)
    columns = {
        "weightCol": options.weight,
        "featuresCols": options.features,
        "featuresCol": options.features_col,
    }
    params |= {name: value for name, value in columns.items() if value is not None}
    params |= {"labelCol": options.label or "label", "handleInvalid": options.handle_invalid}
    return estimator_class(**params)


def _train(spark: SparkSession, estimator: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Read, fit, print; with an output publish, unless this very run is there already. Returns the result."""
    started = utc_now()
    table = read_table(spark, options.input, options.format)
    if not (options.features or options.features_col):
        estimator.setFeaturesCols(numeric_columns(table, estimator.getLabelCol(), options.weight))
    if options.output is None:
        model, seconds = _fit(estimator, table, options)
        return _result("trained", None, None, _measured(model, seconds), _metrics(model))

    storage = Storage(spark)
    output = Output(storage, options.output)
    output.prepare()
    record = _identified(storage, table, estimator, options)
    version = output.find(record["run_key"][:KEY_DIGITS])
    if version is None:
        version = version_name(record["run_key"], started, options.logical_date)
        model, seconds = _fit(estimator, table, options)
        _publish(output, version, model, {**record, "started": started.isoformat(), **_measured(model, seconds)})
    else:
        print(f"This run is published already, as {output.directory(version)}; nothing was done again.")
        output.point(version)  # its first run may have been killed just before this
    run, metrics = (output.read(version, name) for name in ("run.json", "metrics.json"))
    return _result("published", f"{output.directory(version)}/model", version, run, metrics)


def _fit(estimator: Any, table: DataFrame, options: argparse.Namespace) -> tuple[Any, float]:
    """The fitted model, its table printed, and the seconds it took; NotConvergedError where asked for."""
    start = time.perf_counter()
    model = estimator.fit(table)
    seconds = round(time.perf_counter() - start, 3)
    print(model.summary)
    if options.require_convergence and not model.summary.converged:
        raise NotConvergedError(
            f"The solver stopped after {model.summary.passes} passes without converging "
            f"({model.summary.stopReason}); a larger --max-iter or --tol lets it, and nothing was published."
        )
    return model, seconds


def _publish(output: Output, version: str, model: Any, record: dict[str, Any]) -> None:
    def write(directory: str) -> None:
        model.save(f"{directory}/model")
        output.write(f"{directory}/metrics.json", _metrics(model))
        output.write(f"{directory}/run.json", record)

    output.publish(version, write)


def _identified(storage: Storage, table: DataFrame, estimator: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What run.json says of the run before it starts: the run key, and everything the key is made of."""
    configuration = {
        "estimator": type(estimator).__name__,
        "format": options.format,
        "require_convergence": options.require_convergence,
        "params": {param.name: value for param, value in estimator.extractParamMap().items()},
    }
    inputs = input_fingerprint(storage, table)
    return {
        "run_key": run_key(configuration, inputs, options.logical_date),
        "logical_date": options.logical_date.isoformat() if options.logical_date else None,
        "configuration": configuration,
        "input": inputs,
        "code": code_digest(),
        "versions": versions(),
    }


def _measured(model: Any, seconds: float) -> dict[str, Any]:
    """What run.json says of the run once it is done."""
    summary = model.summary
    return {
        "rows": summary.numInstances,
        "rows_skipped": summary.numSkipped,
        "passes": summary.passes,
        "seconds": seconds,
        "converged": summary.converged,
        "stop_reason": summary.stopReason,
    }


def _metrics(model: Any) -> dict[str, Any]:
    """The metrics that follow from the sums of the fit and cost nothing more; rmse in units of the label."""
    summary = model.summary
    return finite(
        {
            "rmse": summary.rootMeanSquaredError,
            "mse": summary.meanSquaredError,
            "r2": summary.r2,
            "r2adj": summary.r2adj,
            "explained_variance": summary.explainedVariance,
        }
    )


def _result(
    status: str, path: str | None, version: str | None, run: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """The last line of stdout."""
    told = {name: run[name] for name in ("passes", "seconds", "rows", "rows_skipped", "converged")}
    return {"status": status, "model": path, "metrics": metrics, **told, "version": version}
