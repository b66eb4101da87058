"""The fit of a training job: with encoders in front where there are categories; what is printed and recorded of it."""

import argparse
import time
from dataclasses import dataclass
from typing import Any

from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame

from sparkdml.errors import DataError
from sparkdml.jobkit.categories import (
    ENCODED,
    encode,
    fit_encoders,
    levels_as_text,
    missing_categories,
    references,
    told_missing,
)
from sparkdml.jobkit.cli import finite
from sparkdml.jobkit.failures import NotConvergedError
from sparkdml.jobkit.progress import say


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves: what is saved, the model in it, what run.json and metrics.json say."""

    saved: Any
    measured: dict[str, Any]
    metrics: dict[str, float]


def fit(estimator: Any, table: DataFrame, options: argparse.Namespace) -> Fitted:
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
    say(str(model.summary))
    if options.categorical:
        say(f"Reference levels, whose coefficients are zero: {', '.join(references(saved))}")
    if options.require_convergence and not model.summary.converged:
        raise NotConvergedError(
            f"The solver stopped after {model.summary.passes} passes without converging "
            f"({model.summary.stopReason}); a larger --max-iter or --tol lets it, and nothing was published."
        )
    return Fitted(saved, _measured(model, seconds, skipped), metrics)


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
    whole = levels_as_text(table.na.drop(subset=categorical), categorical)
    encoders = fit_encoders(whole, numeric, categorical, options.handle_unseen)
    vector = estimator.copy().setFeaturesCol(ENCODED)
    vector.clear(vector.getParam("featuresCols"))
    encoded = encode(encoders, numeric, whole)
    return PipelineModel([*encoders.stages, vector.fit(encoded)]), encoded, skipped


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
