"""dtype="float32": what is packed is the table of the rounded features, in half the bytes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from estimators import parameters
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from sparkdml import LocalData, pack
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import Decoder
from sparkdml.blocks.violations import FLATTENED
from sparkdml.classification import LogisticRegression
from sparkdml.engine.known import known_answers
from sparkdml.engine.spark_data import SparkData
from sparkdml.errors import DataError, DataWarning, ParamError
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient, Gram, Query
from sparkdml.regression import LinearRegression, PoissonRegression

N, D = 600, 4
NAMES = [f"x{j}" for j in range(D)]


def numbers(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of many scales, of which a share is not zero, and labels 0 and 1."""
    rng = np.random.default_rng(0)
    X = rng.normal(1.0, 1.0, (N, D)) * [1e-6, 1.0, 1e5, 1e-3] * (rng.random((N, D)) < share)
    return X, (rng.random(N) < 0.3 + 0.4 * (X[:, 1] > 0.0)).astype(float)


def rounded(X: np.ndarray) -> np.ndarray:
    return X.astype(np.float32).astype(float)


def table(spark: SparkSession, X: np.ndarray, y: np.ndarray) -> DataFrame:
    schema = ", ".join(f"{name} double" for name in [*(f"x{j}" for j in range(X.shape[1])), "label"])
    return spark.createDataFrame(spark.sparkContext.parallelize(np.column_stack([X, y]).tolist(), 3), schema)


@pytest.fixture(scope="module", params=[1.0, 0.1], ids=["dense", "sparse"])
def packs(request: Any, spark: SparkSession) -> Iterator[tuple[SparkData, SparkData, LocalData]]:
    """The rows stored as float32; the rounded rows stored as float64; and those as arrays."""
    X, y = numbers(request.param)
    with (
        pack(table(spark, X, y), featuresCols=NAMES, dtype="float32") as short,
        pack(table(spark, rounded(X), y), featuresCols=NAMES) as long,
    ):
        yield short, long, LocalData(rounded(X), y, feature_names=NAMES)


START = Gradient(LOSSES["logistic"], np.zeros((D, 1)), np.ones(1))
QUERIES: list[Query] = [START, replace(START, w=np.full((D, 1), 1e-5)), Gram(np.zeros(D + 1))]


def assert_same(found: list[Any], wanted: list[Any]) -> None:
    for a, b in zip(found, wanted, strict=True):
        for name, value in vars(b).items():
            np.testing.assert_allclose(getattr(a, name), value, rtol=1e-12, err_msg=name)


def test_the_rounded_rows_are_packed_in_half_the_bytes(packs: tuple[SparkData, SparkData, LocalData]) -> None:
    short, long, local = packs
    assert (short.dtype, long.dtype) == ("float32", "float64")
    assert_same(short.run(QUERIES), local.run(QUERIES))
    for name, value in vars(long.statistics).items():
        np.testing.assert_array_equal(getattr(short.statistics, name), value)
    values = N * D if long.statistics.density > 0.5 else long.statistics.nonzeros
    size, full = (sum(each.nbytes for each in data.contents) for data in (short, long))
    assert full - size == 4 * values


def test_what_needs_no_pass_is_of_the_rounded_rows(packs: tuple[SparkData, SparkData, LocalData]) -> None:
    short, _, local = packs
    known = known_answers(short, [START])
    assert known is not None
    assert_same(known, local.run([START]))


FITS = {
    "normal": LinearRegression(solver="normal", regParam=0.01),
    "newton": LogisticRegression(solver="newton"),
    "l-bfgs": PoissonRegression(solver="l-bfgs", regParam=0.01, elasticNetParam=0.5),
    "sgd": LogisticRegression(solver="sgd", miniBatchFraction=0.3, maxIter=8),
    "local-sgd": LinearRegression(solver="local-sgd", maxIter=2),
}


@pytest.mark.thinned
@pytest.mark.parametrize("solver", FITS)
@pytest.mark.filterwarnings("ignore::sparkdml.errors.ConvergenceWarning")
def test_a_fit_is_that_of_the_rounded_rows(packs: tuple[SparkData, SparkData, LocalData], solver: str) -> None:
    short, long, _ = packs
    found, wanted = (FITS[solver].fit(data) for data in (short, long))
    np.testing.assert_allclose(parameters(found), parameters(wanted), rtol=1e-12)


def test_lost_files_are_packed_again_to_the_same_bits(spark: SparkSession) -> None:
    with pack(table(spark, *numbers(1.0)), featuresCols=NAMES, dtype="float32") as data:
        before = data.run(QUERIES)[1].w.tobytes()
        shutil.rmtree(data._handles.rdd.collect()[1].directory)
        assert data.run(QUERIES)[1].w.tobytes() == before


def test_an_estimator_packs_so_and_refuses_what_was_packed_otherwise(spark: SparkSession) -> None:
    X, y = numbers(1.0)
    df, estimator = table(spark, X, y), LinearRegression(featuresCols=NAMES, dtype="float32")
    with pack(df, featuresCols=NAMES, dtype="float32") as data:
        np.testing.assert_array_equal(parameters(estimator.fit(df)), parameters(estimator.fit(data)))
        exact = parameters(LinearRegression(featuresCols=NAMES).fit(df))
        np.testing.assert_allclose(parameters(estimator.fit(data)), exact, rtol=1e-5)
        with pytest.raises(ParamError, match="dtype='float64' but the data are float32"):
            estimator.copy({estimator.dtype: "float64"}).fit(data)
    with pytest.raises(ParamError, match="dtype='float32' but the data are float64"):
        estimator.fit(LocalData(X, y, feature_names=NAMES))


# Beyond the range of float32, and where it is too coarse.

HUGE = 3.5e38


@pytest.mark.parametrize("handle", ["error", "skip"])
def test_numbers_beyond_float32_are_counted(spark: SparkSession, handle: str) -> None:
    X, y = numbers(1.0)
    X[[3, 500], 2] = HUGE, -1e300
    df, message = table(spark, X, y), r"beyond 3.4e\+38, the range of float32 \(first: {}row 3 of partition 0\): "
    message += r"rescale the column, or set dtype \(.*\) to 'float64'"
    with pytest.raises(DataError, match="column 'x2' has 2 values " + message.format("")):
        pack(df, featuresCols=NAMES, handleInvalid=handle, dtype="float32")
    rows = [(Vectors.sparse(3, [2], [HUGE if i == 3 else 1.0]), 1.0) for i in range(6)]
    vectors = spark.createDataFrame(rows, ["features", "label"]).coalesce(1)
    with pytest.raises(DataError, match="column 'features' has 1 value " + message.format(r"features\[2\] in ")):
        pack(vectors, handleInvalid=handle, dtype="float32")


def test_a_row_that_is_skipped_may_have_any_number(spark: SparkSession) -> None:
    X, y = numbers(1.0)
    X[3, 1:3] = np.nan, HUGE
    with pack(table(spark, X, y), featuresCols=NAMES, handleInvalid="skip", dtype="float32") as data:
        assert data.skipped == 1


def test_a_column_that_float32_blurs_is_warned_of(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    df = table(spark, rng.normal([0.0, 1e6, 1e6], [1.0, 1.0, 4.0], (N, 3)), rng.normal(1e9, 1.0, N))
    with pytest.warns(DataWarning, match=r"column 'x1' varies by 1 about 1e\+06, of which float32 keeps few digits"):
        LinearRegression(featuresCols=NAMES[:3], dtype="float32").fit(df)
    LinearRegression(featuresCols=["x0", "x2"], dtype="float32").fit(df)
    LinearRegression(featuresCols=NAMES[:3]).fit(df)


def test_columns_of_which_float32_leaves_a_constant_are_warned_of(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=N), 1e9 + rng.random(N), np.full(N, 0.1), 1e-60 * rng.random(N)])
    df = table(spark, X, rng.normal(size=N))
    with (
        pytest.warns(DataWarning, match=r"2 columns, such as 'x1' about 1e\+09, vary by less than float32 can tell"),
        pack(df, featuresCols=NAMES, dtype="float32") as data,
    ):
        assert np.count_nonzero(data.statistics.variance[:-1]) == 1
    with pack(df, featuresCols=NAMES) as data:
        assert np.count_nonzero(data.statistics.variance[:-1]) == 3


def test_a_column_may_become_constant_over_many_batches() -> None:
    decoder = Decoder(Columns(("x0",), "scalars", ("x0",), {"label": "label"}), 0, 1, dtype="float32")
    for value in (1e9, 1e9 + 1.0):
        assert decoder.violations.found == {}
        decoder.decode(pa.RecordBatch.from_pydict({"label": [0.0], "features": [[value]]}))
    assert decoder.violations.found == {("x0", FLATTENED): (1, "1e+09")}
