"""All that a model, a summary or an estimator shows to its user, as values of JSON; and the rows that are scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.param import Params
from pyspark.sql import DataFrame, SparkSession

from sparkdml.errors import StatisticsError

FEATURES = ["x0", "x1", "x2"]
OUTPUTS = ("prediction", "probability", "rawPrediction", "linkPrediction")  # columns that `transform` may add
OF_A_MODEL = ("scale", "featureNames", "featureMeans", "numClasses", "numFeatures")
REPEATED = ("predictions", "metrics")  # of a summary: what `outputs` or other values show
LONG = ("residuals", "roc", "pr", "fMeasureByThreshold", "precisionByThreshold", "recallByThreshold", "calibration")


def read_table(spark: SparkSession, path: Path) -> DataFrame:
    """The rows of `models/*/table.csv`, in one partition, with their features as vectors and as arrays too."""
    rows = spark.read.csv(str(path), header=True, inferSchema=True)
    together = VectorAssembler(inputCols=FEATURES, outputCol="vector").transform(rows)
    return together.selectExpr("*", f"array({', '.join(FEATURES)}) AS array")


def plain(value: Any) -> Any:
    """A value of Python, NumPy, Spark or pyspark.ml as JSON has it; a DataFrame as its columns and rows.

    >>> plain({"a": np.arange(2.0), "b": (1, None)})
    {'a': [0.0, 1.0], 'b': [1, None]}
    """
    if isinstance(value, DataFrame):
        return {"columns": value.columns, "rows": plain(value.collect())}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "toArray"):
        value = value.toArray()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def outputs(model: Any, table: DataFrame) -> dict[str, Any]:
    """The columns that `transform` adds, each with the values of all rows."""
    scored = model.transform(table)
    added = [name for name in OUTPUTS if name in scored.columns]
    rows = scored.select(*added).collect()
    return {name: [plain(row[name]) for row in rows] for name in added}


def points() -> np.ndarray:
    """A few rows of three features, some of them missing, (n, 3)."""
    return np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [-0.25, 3.0, -1.5], [np.nan, 1.0, -1.0]])


def array_outputs(model: Any, X: np.ndarray) -> dict[str, Any]:
    """What a model that scores arrays says of their rows."""
    names = [name for name in ("margins", "predict", "predict_proba") if hasattr(model, name)]
    return {name: plain(getattr(model, name)(X)) for name in names}


def summary_values(summary: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every public value of a summary that is known, by its name."""
    names = [name for name in dir(type(summary)) if not name.startswith("_") and name not in (*REPEATED, *without)]
    found = {name: known(summary, name) for name in names}
    return {name: plain(value) for name, value in found.items() if value is not None}


def known(summary: Any, name: str) -> Any:
    """The value of a property, or of a method without arguments; None where there is none for this fit."""
    try:
        value = getattr(summary, name)
        return value() if isinstance(value, Callable) else value  # type: ignore[arg-type]
    except StatisticsError:
        return None


def numbers(model: Any) -> dict[str, Any]:
    """The numbers and names of a fitted model."""
    found = {name: getattr(model, name) for name in OF_A_MODEL if hasattr(model, name)}
    matrix = hasattr(model, "coefficientMatrix")
    names = ("coefficientMatrix", "interceptVector") if matrix else ("coefficients", "intercept")
    return plain({**found, **{name: getattr(model, name) for name in names}})


def params(instance: Params) -> dict[str, Any]:
    """The Params that are set, but for models, which `numbers` shows."""
    values = {param.name: value for param, value in instance._paramMap.items()}
    return {name: plain(value) for name, value in values.items() if not isinstance(value, Params)}
