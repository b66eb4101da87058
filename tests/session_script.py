"""Fits models, ends the Spark session, and prints what their summaries say then; `test_sessions.py` runs it.

A process has one SparkContext at a time, and ending that of the tests would end them.
"""

import json
import sys
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from sparkdml import pack
from sparkdml.classification import LinearSVC, LogisticRegression
from sparkdml.errors import SparkdmlError
from sparkdml.jobkit.session import get_spark
from sparkdml.regression import GeneralizedLinearRegression, LinearRegression

N = 40
ESTIMATORS = {
    "linear": LinearRegression(labelCol="number"),
    "poisson": GeneralizedLinearRegression(labelCol="count", family="poisson"),
    "binomial": LogisticRegression(labelCol="flag", regParam=0.1),
    "multinomial": LogisticRegression(labelCol="kind", regParam=0.1),
    "svc": LinearSVC(labelCol="flag", regParam=0.1),
}


def session() -> SparkSession:
    found = get_spark("restarted", **{"spark.master": "local[1]", "spark.sql.shuffle.partitions": "1"})
    found.sparkContext.setLogLevel("OFF")
    return found


def table(spark: SparkSession) -> DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    labels = [x + rng.normal(size=N), rng.poisson(np.exp(x / 2)), x + rng.normal(size=N) > 0, np.arange(N) % 3]
    rows = np.column_stack([x, *labels]).astype(float).tolist()
    return spark.createDataFrame(rows, "x double, number double, count double, flag double, kind double")


def said(call: Any) -> list[str]:
    """How a call ended: the kind of its value or of its error, and what that says."""
    try:
        value = call()
        value = value() if callable(value) else value
        return ["value", str(len(value.collect())) if isinstance(value, DataFrame) else ""]
    except SparkdmlError as error:
        return [type(error).__name__, str(error)]
    except Exception as error:
        return [f"foreign {type(error).__name__}", str(error)[:300]]


def shown(summary: Any) -> dict[str, list[str]]:
    """How every public property and method without arguments of a summary ends."""
    names = [name for name in dir(type(summary)) if not name.startswith("_")]
    return {name: said(lambda name=name: getattr(summary, name)) for name in names} | {
        "str": said(lambda: str(summary))
    }


def main() -> None:
    first = session()
    rows = table(first)
    fitted = {name: each.copy({each.featuresCol: "x"}).fit(rows) for name, each in ESTIMATORS.items()}
    evaluated = {name: model.evaluate(rows) for name, model in fitted.items()}
    complete = ESTIMATORS["binomial"].copy({ESTIMATORS["binomial"].featuresCol: "x"}).fit(rows)
    complete.summary.areaUnderROC  # noqa: B018 - from now on it is known
    data = pack(rows, featuresCol="x", labelCol="number")
    first.stop()
    found: dict[str, Any] = {}
    for state in ("without a session", "in a new session"):
        if state == "in a new session":
            session()
        found[state] = {
            "summaries": {name: shown(model.summary) for name, model in fitted.items()},
            "evaluated": {name: shown(summary) for name, summary in evaluated.items()},
            "complete": shown(complete.summary),
            "scored": said(lambda: fitted["linear"].transform(rows)),
            "fitted": said(lambda: ESTIMATORS["linear"].fit(rows)),
            "packed": said(lambda: LinearRegression(solver="l-bfgs", labelCol="number").fit(data)),
        }
    again = table(session())
    found["anew"] = {name: shown(model.evaluate(again)) for name, model in fitted.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
