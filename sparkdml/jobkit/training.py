"""The job that trains: read a table, fit the estimator that ``jobs/train_*.py`` names, print, publish."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.ml.base import Estimator
from pyspark.sql import DataFrame, SparkSession

from sparkdml.blocks.violations import HANDLE_INVALID
from sparkdml.jobkit.categories import HANDLE_UNSEEN
from sparkdml.jobkit.cli import JobParser, add_params, add_running_flags, given_params, given_path, names, run_job
from sparkdml.jobkit.features import check_earlier, check_features, choose_features, warn_of
from sparkdml.jobkit.fitting import Fitted, fit
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
from sparkdml.jobkit.progress import log, say
from sparkdml.jobkit.publish import Output
from sparkdml.jobkit.secrets import masked
from sparkdml.jobkit.session import get_spark, start_workers
from sparkdml.jobkit.signals import orderly_end
from sparkdml.jobkit.tables import add_table_flags, chosen_rows, decisive_options, read_files
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
        with orderly_end():
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
        type=given_path,
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
        "--features",
        type=names,
        metavar="A,B,C",
        help="columns of numbers or booleans (default: all that have no other part)",
    )
    features.add_argument("--features-col", metavar="COLUMN", help="one vector or array column instead")
    data.add_argument(
        "--leave-out",
        type=names,
        metavar="A,B",
        help="columns that are no features, such as identifiers, where the features are not named (default: none)",
    )
    data.add_argument(
        "--allow-feature-change",
        action="store_true",
        help="train even if the table lacks features of the version before (default: refuse the table, code 65)",
    )
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
        type=given_path,
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
    files = read_files(spark, options)
    table, storage = chosen_rows(files, options), Storage(spark)
    chosen = choose_features(estimator, table.schema, options)
    param = "featuresCol" if isinstance(chosen.columns, str) else "featuresCols"
    estimator.set(estimator.getParam(param), chosen.columns)
    if options.initial_model is not None:
        estimator.setInitialModel(load_saved(storage, options.initial_model).model)
    check_features(chosen, files, options)
    output = Output(storage, options.output) if options.output is not None else None
    if output is not None and not options.allow_feature_change:
        check_earlier(output, storage, table.schema, chosen, options.logical_date)
    warn_of(chosen, table.schema)
    if options.dry_run:
        return {**_checked(output, estimator, options), **chosen.told()}
    if output is None:
        fitted = fit(estimator, table, options)
        return {**_result("trained", None, None, fitted.measured, fitted.metrics), **chosen.told()}
    with output.prepared():
        record = {**_identified(storage, table, estimator, options), **chosen.told()}
        return {**_train_once(output, record, estimator, table, options), **chosen.told()}


def _train_once(
    output: Output, record: dict[str, Any], estimator: Any, table: DataFrame, options: argparse.Namespace
) -> dict[str, Any]:
    """Train and publish the run that `record` identifies, or find it published. Returns the result."""
    started = utc_now()
    version = output.find(record["run_key"][:KEY_DIGITS])
    if version is None:
        version = version_name(record["run_key"], started, options.logical_date)
        fitted = fit(estimator, table, options)
        record = {**record, "started": started.isoformat(), **fitted.measured}
        latest = _publish(output, version, fitted, record, options.make_latest)
    else:
        say(f"This run is published already, as {output.directory(version)}; nothing was done again.")
        latest = output.point(version, options.make_latest, found=True)
    if not latest:
        level = logging.INFO if options.logical_date is not None else logging.WARNING
        log.log(level, "LATEST does not name %s, since a newer version was published; --make-latest lets it.", version)
    run, metrics = (output.read(version, name) for name in ("run.json", "metrics.json"))
    return {**_result("published", f"{output.directory(version)}/model", version, run, metrics), "latest": latest}


def _checked(output: Output | None, estimator: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What ``--dry-run`` tells of a run that could begin."""
    if output is not None:
        output.check()
    columns = {"label": estimator.getLabelCol(), "categorical": options.categorical, "weight": options.weight}
    return {"status": "checked", **columns, "output": options.output}


def _publish(output: Output, version: str, fitted: Fitted, record: dict[str, Any], always: bool) -> bool:
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
    return {"path": masked(options.initial_model), "sha256": model_digest(estimator.getInitialModel())}


def _result(
    status: str, path: str | None, version: str | None, run: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """The last line of stdout."""
    kept = ("passes", "bytes", "seconds", "rows", "rows_skipped", "values_filled", "converged")
    told = {name: run[name] for name in kept}
    return {"status": status, "model": path, "metrics": metrics, **told, "version": version}
