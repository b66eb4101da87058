"""What Spark's own suites expect of its linear models, values of R's glmnet and glm, holds for ours.

Source: Apache Spark, mllib/src/test/scala/org/apache/spark/ml: {Linear,GeneralizedLinear}RegressionSuite of regression,
LogisticRegressionSuite and LinearSVCSuite of classification. The cases, with the tolerances of the suites, stand in
`reference/`; the data are made as the suites make theirs.
"""

import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from java_random import JavaRandom, XorShiftRandom
from problems import Rows
from pyspark.ml.linalg import DenseMatrix, DenseVector
from pyspark.sql import DataFrame, SparkSession
from reference_data import linear, read

from sparkdml import classification, regression

FOLDER = Path(__file__).parent / "reference"
CASES = [(case, solver) for path in sorted(FOLDER.glob("*.toml")) for case in read(path) for solver in case["solvers"]]


def told(case: dict[str, Any], solver: str) -> str:
    """A case as the name of a test."""
    return f"{case['estimator']}({case['params'] | {'solver': solver}}) of {case['data']}"


def frame(spark: SparkSession, rows: Rows) -> DataFrame:
    columns = {"features": rows.features.tolist(), "label": rows.label, "weight": rows.weights}
    return spark.createDataFrame(pa.table(columns if rows.offset is None else columns | {"offset": rows.offset}))


def param(name: str, value: Any) -> Any:
    """Bounds as the linear algebra of pyspark."""
    if name.endswith("OnCoefficients"):
        return DenseMatrix(*np.shape(value), np.ravel(value), True)
    return DenseVector(value) if name.endswith("OnIntercepts") else value


def fitted(spark: SparkSession, case: dict[str, Any], solver: str) -> Any:
    """The model; cases whose metrics need the rows are fitted to a DataFrame."""
    kind = getattr(regression, case["estimator"], None) or getattr(classification, case["estimator"])
    rows: Rows = case["rows"]()
    estimator = kind(**{name: param(name, value) for name, value in case["params"].items()}, solver=solver)
    if not case.get("frame"):
        return estimator.fit(rows.local())
    columns = {"weightCol": "weight"} if rows.offset is None else {"weightCol": "weight", "offsetCol": "offset"}
    return estimator.setParams(**columns).fit(frame(spark, rows))


def told_by(model: Any, name: str) -> np.ndarray:
    """An attribute of a model or of its summary; "residuals.working" are those of the rows."""
    if name.startswith("residuals."):
        return np.ravel(model.summary.residuals(name.removeprefix("residuals.")).collect())
    value = attrgetter(name)(model)
    return value.toArray() if hasattr(value, "toArray") else np.array(value, float)


def tolerance(case: dict[str, Any], kind: str, name: str) -> float:
    """One number for all that a case expects, or a table by name."""
    found = case.get(kind, 0.0)
    return found.get(name, 0.0) if isinstance(found, dict) else found


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore::sparkdml.errors.DataWarning")
@pytest.mark.parametrize(("case", "solver"), [pytest.param(*each, id=told(*each)) for each in CASES])
def test_what_spark_expects_holds(case: dict[str, Any], solver: str, spark: SparkSession) -> None:
    model = fitted(spark, case, solver)
    for name, expected in case["expected"].items():
        found = told_by(model, name)
        if name in case.get("shifted", []):
            found = found - np.mean(found - expected, axis=0)
        within = {kind: tolerance(case, kind, name) for kind in ("rtol", "atol")}
        np.testing.assert_allclose(found, expected, **within, err_msg=name)
        if name in case.get("centred", []):
            np.testing.assert_allclose(found.sum(axis=0), 0.0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("name", "value", "spelled"), [("family", "biNoMial", "binomial"), ("solver", "L-BFGS", "l-bfgs")]
)
def test_upper_and_lower_case_are_the_same(name: str, value: str, spelled: str) -> None:
    assert classification.LogisticRegression(**{name: value}).getOrDefault(name) == spelled


@pytest.mark.parametrize("seed", [0, 42, -7, 1 << 40])
def test_random_numbers_are_those_of_the_jvm(seed: int, spark: SparkSession) -> None:
    ours = [JavaRandom(seed), XorShiftRandom(seed)]
    theirs = [spark._jvm.java.util.Random(seed), spark._jvm.org.apache.spark.util.random.XORShiftRandom(seed)]
    for one, other in zip(ours, theirs, strict=True):
        assert [one.double() for _ in range(5)] == [other.nextDouble() for _ in range(5)]
        np.testing.assert_allclose(
            [one.gaussian() for _ in range(5)], [other.nextGaussian() for _ in range(5)], rtol=1e-15
        )


def test_linear_data_are_those_of_sparks_generator(spark: SparkSession) -> None:
    def doubles(*values: float) -> Any:
        array = spark.sparkContext._gateway.new_array(spark._jvm.double, len(values))
        for i, value in enumerate(values):
            array[i] = value
        return array

    generator = spark._jvm.org.apache.spark.mllib.util.LinearDataGenerator
    drawn = generator.generateLinearInput(6.3, doubles(4.7, 7.2), doubles(0.9, -1.3), doubles(0.7, 1.2), 20, 42, 0.1)
    numbers = re.findall(r"-?\d[\dE.-]*", drawn.mkString(" "))
    ours = linear(20)
    theirs = np.array(numbers, float).reshape(20, 3)
    np.testing.assert_allclose(np.column_stack([ours.label, ours.features]), theirs, rtol=1e-14)
