"""The job that trains: read a table, fit the estimator that ``jobs/train_*.py`` names, print, publish."""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.ml.base import Estimator
from pyspark.sql import DataFrame, SparkSession

from sparkdml.blocks.schema import resolve_columns, resolve_roles
from sparkdml.blocks.violations import HANDLE_INVALID
from sparkdml.columns import offset_of
from sparkdml.errors import DataError
from sparkdml.jobkit.categories import (
    ENCODED,
    HANDLE_UNSEEN,
    check_categories,
    encode,
    fit_encoders,
    missing_categories,
    references,
    told_missing,
)
from sparkdml.jobkit.cli import JobParser, add_params, add_running_flags, finite, given_params, names, run_job
from sparkdml.jobkit.failures import NotConvergedError, UsageError
from sparkdml.jobkit.identity import (
    KEY_DIGITS,
    code_digest,
    input_fingerprint,
    model_digest,
    run_key,
    utc_now,
    version_name,
    versions,
)
from sparkdml.jobkit.models import load_saved
from sparkdml.jobkit.progress import log
from sparkdml.jobkit.publish import Output
from sparkdml.jobkit.session import get_spark, start_workers
from sparkdml.jobkit.signals import orderly_end
from sparkdml.jobkit.tables import add_table_flags, decisive_options, default_features, numeric_columns, read_table
from sparkdml.persistence import params_as_json
from sparkdml.storage import Storage

# Params that have a flag of their own here, in the words of the table rather than of the estimator.
_OWN_FLAGS = ("featuresCol", "featuresCols", "labelCol", "weightCol", "handleInvalid", "initialModel", "seed")


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
        start_workers(spark.sparkContext)
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
    output.add_argument(
        "--output",
        metavar="DIR",
        help="publish below this directory, a version a run, named by the logical date, else by the start of the run "
        "in UTC (default: nothing is written)",
    )
    output.add_argument(
        "--make-latest",
        action="store_true",
        help="let LATEST name the version of this run even where a newer one is published, as for a rollback (default: "
        "LATEST never moves to an earlier day or start)",
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
    add_table_flags(data, f"the sample {sample}")
    data.add_argument("--label", metavar="COLUMN", help="what is to be predicted (default: label)")
    features = data.add_mutually_exclusive_group()
    features.add_argument(
        "--features", type=names, metavar="A,B,C", help="numeric columns (default: all that have no other part)"
    )
    features.add_argument("--features-col", metavar="COLUMN", help="one vector or array column instead")
    data.add_argument(
        "--categorical",
        type=names,
        metavar="A,B",
        help="columns of strings, integers or booleans: each level but the rarest gets a coefficient (default: none)",
    )
    data.add_argument(
        "--handle-unseen",
        choices=HANDLE_UNSEEN,
        default="error",
        help="what the model does with levels that training did not see: refuse the table, leave the row without a "
        "prediction, or take the level for the rarest (default: error)",
    )
    data.add_argument(
        "--initial-model",
        metavar="PATH",
        help="start from this model, feature by feature: what a training job published, or a saved one (default: none)",
    )
    data.add_argument("--weight", metavar="COLUMN", help="weight of each row (default: every row weighs 1)")
    data.add_argument(
        "--handle-invalid",
        choices=HANDLE_INVALID,
        default="error",
        help="rows with null, NaN or infinite values: refuse the table, leave them out, or put a feature's mean in "
        "place of nulls and NaNs, in training and in scoring (default: error)",
    )


def _configured(estimator_class: type[Estimator], options: argparse.Namespace) -> Any:
    """The estimator with the Params of the command line; raises ParamError where they contradict each other."""
    params = given_params(estimator_class(), options)
    columns = {"weightCol": options.weight, "featuresCols": options.features, "featuresCol": options.features_col}
    params |= {name: value for name, value in columns.items() if value is not None}
    params |= {"labelCol": options.label or "label", "handleInvalid": options.handle_invalid, "seed": options.seed}
    return estimator_class(**params)


def _train(spark: SparkSession, estimator: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Read, fit, print; with an output publish, unless this very run is there already. Returns the result."""
    table = read_table(spark, options)
    _choose_features(estimator, table, options)
    storage = Storage(spark)
    if options.initial_model is not None:
        estimator.setInitialModel(load_saved(storage, options.initial_model).model)
    if options.dry_run:
        return _checked(storage, estimator, table, options)
    if options.output is None:
        fitted = _fit(estimator, table, options)
        return _result("trained", None, None, fitted.measured, fitted.metrics)

    output = Output(storage, options.output)
    with output.prepared():
        return _train_once(output, _identified(storage, table, estimator, options), estimator, table, options)


def _train_once(
    output: Output, record: dict[str, Any], estimator: Any, table: DataFrame, options: argparse.Namespace
) -> dict[str, Any]:
    """Train and publish the run that `record` identifies, or find it published. Returns the result."""
    started = utc_now()
    version = output.find(record["run_key"][:KEY_DIGITS])
    if version is None:
        version = version_name(record["run_key"], started, options.logical_date)
        fitted = _fit(estimator, table, options)
        record = {**record, "started": started.isoformat(), **fitted.measured}
        latest = _publish(output, version, fitted, record, options.make_latest)
    else:
        print(f"This run is published already, as {output.directory(version)}; nothing was done again.")
        latest = output.point(version, options.make_latest)  # its first run may have been killed just before this
    if not latest:
        dated = options.logical_date is not None
        told = (
            "LATEST stays at a newer version than %s, which this run stands for; --make-latest lets it name this one."
        )
        log.log(logging.INFO if dated else logging.WARNING, told, version)
    run, metrics = (output.read(version, name) for name in ("run.json", "metrics.json"))
    return {**_result("published", f"{output.directory(version)}/model", version, run, metrics), "latest": latest}


def _choose_features(estimator: Any, table: DataFrame, options: argparse.Namespace) -> None:
    """Give the estimator its features, and check every column before a row is read."""
    label, weight, categorical = estimator.getLabelCol(), options.weight, options.categorical or []
    fold = estimator.getOrDefault("validationIndicatorCol") if estimator.isDefined("validationIndicatorCol") else None
    offset = offset_of(estimator)
    features = options.features_col if options.features is None else options.features
    if features is None:
        choose = numeric_columns if categorical else default_features
        features = choose(table.schema, label, weight, offset, fold, *categorical)
    if categorical:
        if isinstance(features, str):
            raise UsageError("--categorical goes with numeric columns (--features), not with --features-col.")
        check_categories(table.schema, categorical, [label, weight, offset, fold, *features])
    if features or not categorical:
        resolve_columns(table.schema, features, label, weight, offset, fold)
    else:
        resolve_roles(table.schema, label, weight, offset, fold)
    estimator.set(estimator.getParam("featuresCol" if isinstance(features, str) else "featuresCols"), features)


def _checked(storage: Storage, estimator: Any, table: DataFrame, options: argparse.Namespace) -> dict[str, Any]:
    """What ``--dry-run`` tells of a run that could begin."""
    if options.output:
        Output(storage, options.output).check()
    features = estimator.getFeaturesCols() if estimator.isDefined("featuresCols") else estimator.getFeaturesCol()
    columns = {"label": estimator.getLabelCol(), "features": features, "categorical": options.categorical}
    return {"status": "checked", **columns, "weight": options.weight, "output": options.output}


@dataclass(frozen=True)
class _Fitted:
    """What a fit leaves: what is saved, the model in it, what run.json and metrics.json say."""

    saved: Any
    measured: dict[str, Any]
    metrics: dict[str, float]


def _fit(estimator: Any, table: DataFrame, options: argparse.Namespace) -> _Fitted:
    """Fit and print the table of coefficients; NotConvergedError where asked for."""
    start = time.perf_counter()
    if options.categorical:
        saved, rows, skipped = _fit_encoded(estimator, table, options)
    else:
        saved, rows, skipped = estimator.fit(table), table, 0
    model: Any = saved.stages[-1] if isinstance(saved, PipelineModel) else saved
    seconds = round(time.perf_counter() - start, 3)
    # rows that are drawn to validate are marked in no table: the fit tells little then, and all rows tell the rest
    drawn = estimator.isDefined("validationFraction")
    metrics = finite((model.evaluate(rows) if drawn else model.summary).metrics())
    print(model.summary)
    if options.categorical:
        print(f"Reference levels, whose coefficients are zero: {', '.join(references(saved))}")
    if options.require_convergence and not model.summary.converged:
        raise NotConvergedError(
            f"The solver stopped after {model.summary.passes} passes without converging "
            f"({model.summary.stopReason}); a larger --max-iter or --tol lets it, and nothing was published."
        )
    return _Fitted(saved, _measured(model, seconds, skipped), metrics)


def _fit_encoded(estimator: Any, table: DataFrame, options: argparse.Namespace) -> tuple[PipelineModel, DataFrame, int]:
    """The encoders of the categorical columns and the model behind them; its rows; how many had no category."""
    categorical, numeric = options.categorical, estimator.getFeaturesCols()
    missing, skipped = missing_categories(table, categorical)
    if missing and options.handle_invalid != "skip":
        first = next(iter(missing))
        raise DataError(
            f"{told_missing(missing)}: name them with, say, --with-column \"{first}=coalesce({first}, 'none')\", "
            "or take --handle-invalid skip."
        )
    whole = table.na.drop(subset=categorical)
    encoders = fit_encoders(whole, numeric, categorical, options.handle_unseen)
    vector = estimator.copy().setFeaturesCol(ENCODED)
    vector.clear(vector.getParam("featuresCols"))
    encoded = encode(encoders, numeric, whole)
    return PipelineModel([*encoders.stages, vector.fit(encoded)]), encoded, skipped


def _publish(output: Output, version: str, fitted: _Fitted, record: dict[str, Any], always: bool) -> bool:
    def write(directory: str) -> None:
        fitted.saved.save(f"{directory}/model")
        output.write(f"{directory}/metrics.json", fitted.metrics)
        output.write(f"{directory}/run.json", record)

    return output.publish(version, write, always)


def _identified(storage: Storage, table: DataFrame, estimator: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What run.json says of the run before it starts: the run key, and everything the key is made of."""
    configuration = {
        "estimator": type(estimator).__name__,
        **decisive_options(options),
        "categorical": options.categorical,
        "handle_unseen": options.handle_unseen,
        "require_convergence": options.require_convergence,
        "initial_model": _initial_model(estimator, options),
        "params": params_as_json(estimator.extractParamMap()),
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


def _initial_model(estimator: Any, options: argparse.Namespace) -> dict[str, str] | None:
    """The path of the model that training starts from, and the digest of what is there now."""
    if options.initial_model is None:
        return None
    return {"path": options.initial_model, "sha256": model_digest(estimator.getInitialModel())}


def _measured(model: Any, seconds: float, skipped: int) -> dict[str, Any]:
    """What run.json says of the run once it is done."""
    summary = model.summary
    return {
        "rows": summary.numInstances,
        "rows_skipped": summary.numSkipped + skipped,
        "values_filled": summary.numFilled,
        "passes": summary.passes,
        "bytes": summary.bytes._asdict(),
        "seconds": seconds,
        "converged": summary.converged,
        "stop_reason": summary.stopReason,
    }


def _result(
    status: str, path: str | None, version: str | None, run: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """The last line of stdout."""
    kept = ("passes", "bytes", "seconds", "rows", "rows_skipped", "values_filled", "converged")
    told = {name: run[name] for name in kept}
    return {"status": status, "model": path, "metrics": metrics, **told, "version": version}
