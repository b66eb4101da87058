"""handleInvalid="mean": the means of the present numbers fill the missing ones, in training and in scoring."""

from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.linalg import SparseVector, Vectors
from pyspark.sql import DataFrame, SparkSession
from sklearn.linear_model import LinearRegression as LeastSquares

from sparkdml import load_model, pack
from sparkdml.assembly import feature_vectors
from sparkdml.blocks.block import Block
from sparkdml.blocks.means import PresentSums
from sparkdml.blocks.schema import resolve_features
from sparkdml.classification import LogisticRegression
from sparkdml.engine import tree
from sparkdml.errors import DataError
from sparkdml.regression import LinearRegression, LinearRegressionModel

N, D = 90, 3
NAMES = ["a", "b", "c"]
NAN, INF = float("nan"), float("inf")


def holes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with missing cells, labels, weights; one column far from zero, one mostly zero."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N, D)) * [1.0, 100.0, 1.0] + [0.0, 1e6, 0.0]
    X[:, 2] *= rng.random(N) < 0.4
    y = X @ [2.0, 0.01, -1.0] + rng.normal(size=N)
    X[rng.random((N, D)) < 0.2] = NAN
    return X, y, rng.integers(0, 4, N).astype(float)


def table(spark: SparkSession, kind: str) -> tuple[DataFrame, dict]:
    """The rows as columns, arrays or vectors, in three partitions, and the Params that name the features."""
    X, y, s = holes()
    if kind == "scalars":  # one column of nulls, the others of NaN
        rows = [(None if np.isnan(x[0]) else float(x[0]), *map(float, x[1:])) for x in X]
        chosen = {"featuresCols": NAMES}
    else:
        chosen = {"featuresCol": "features"}
        rows = [({"array": list, "vector": Vectors.dense, "sparse": sparse}[kind](list(map(float, x))),) for x in X]
    columns = NAMES if kind == "scalars" else ["features"]
    data = [(*row, float(t), float(w)) for row, t, w in zip(rows, y, s, strict=True)]
    return spark.createDataFrame(data, [*columns, "label", "weight"]).repartition(3), chosen


def sparse(values: list[float]) -> SparseVector:
    return Vectors.sparse(len(values), {j: v for j, v in enumerate(values) if v != 0.0})


@pytest.mark.thinned
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("kind", ["scalars", "array", "vector", "sparse"])
def test_a_fit_is_that_of_the_filled_table(spark: SparkSession, kind: str, weighted: bool, tmp_path: Path) -> None:
    X, y, s = holes()
    s = s if weighted else np.ones(N)
    present = ~np.isnan(X)
    means = (s @ np.where(present, X, 0.0)) / (s @ present)
    filled = np.where(present, X, means)
    df, chosen = table(spark, kind)
    estimator = LinearRegression(handleInvalid="mean", **chosen, **({"weightCol": "weight"} if weighted else {}))
    model = estimator.fit(df)
    exact = LeastSquares().fit(filled, y, s)
    np.testing.assert_allclose(model.featureMeans, means, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.coefficients.toArray(), exact.coef_, rtol=1e-8)
    assert (model.summary.numFilled, model.summary.numSkipped) == (np.count_nonzero(~present), 0)
    assert f"filled with means: {model.summary.numFilled}" in str(model.summary)

    model.save(str(tmp_path / "model"))
    loaded = LinearRegressionModel.load(str(tmp_path / "model"))
    scored = {row.label: row.prediction for row in loaded.transform(df).collect()}
    np.testing.assert_allclose([scored[t] for t in y], exact.predict(filled), rtol=1e-9)
    assert loaded.predict(Vectors.dense(X[0])) == pytest.approx(exact.predict(filled[:1])[0], rel=1e-9)
    assert loaded.evaluate(df).rootMeanSquaredError == pytest.approx(model.summary.rootMeanSquaredError, rel=1e-9)


def test_rows_of_every_kind_are_filled_and_stay_of_their_kind(spark: SparkSession, tmp_path: Path) -> None:
    """Of three classes; rows sparse, dense, whole, with holes, null."""
    X, _, _ = holes()
    X[0], X[1] = [1.0, NAN, 0.0], [NAN, NAN, NAN]
    vectors = [sparse(list(x)) if i % 2 else Vectors.dense(x) for i, x in enumerate(X)]
    df = spark.createDataFrame([(v, float(i % 3)) for i, v in enumerate(vectors)], ["features", "label"]).coalesce(1)
    model = LogisticRegression(handleInvalid="mean", regParam=0.1, tol=1e-3).fit(df)
    model.save(str(tmp_path / "model"))
    arrays = load_model(str(tmp_path / "model"))
    *found, null = model.transform(df.union(spark.createDataFrame([(None, 0.0)], df.schema)).coalesce(1)).collect()
    assert (null.probability, null.prediction) == (None, None)
    np.testing.assert_allclose([row.probability.toArray() for row in found], arrays.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal([row.prediction for row in found], arrays.predict(X))

    X[2], vectors[2] = [INF, NAN, 0.0], Vectors.sparse(D, {0: INF, 1: NAN})
    df = spark.createDataFrame(list(zip(vectors, strict=True)), ["features"]).coalesce(1)
    filled = feature_vectors(df, resolve_features(df.schema, "features"), model.numFeatures, model.featureMeans)
    for (row,), x, vector in zip(df.select(filled).collect(), X, vectors, strict=True):
        assert type(row) is type(vector)
        np.testing.assert_array_equal(row.toArray(), np.where(np.isnan(x), model.featureMeans, x))


@pytest.mark.parametrize(("column", "value"), [("a", INF), ("label", None), ("label", NAN), ("weight", NAN)], ids=str)
def test_what_has_no_mean_is_refused_still(spark: SparkSession, column: str, value: float | None) -> None:
    rows = [{"a": 1.0, "label": 2.0, "weight": 1.0}, {"a": 3.0, "label": 1.0, "weight": 1.0}]
    rows[1][column] = value
    df = spark.createDataFrame(rows, "a double, label double, weight double")
    with pytest.raises(DataError, match=f"column '{column}' has 1 "):
        pack(df, featuresCols=["a"], weightCol="weight", handleInvalid="mean")


def test_a_column_without_any_number_is_named(spark: SparkSession) -> None:
    df = spark.createDataFrame([(1.0, None, 2.0), (2.0, NAN, 1.0)], "a double, b double, label double")
    with pytest.raises(DataError, match="column 'b' has no number"):
        pack(df, featuresCols=["a", "b"], handleInvalid="mean")


def test_a_table_without_rows_and_vectors_of_two_sizes_are_told_as_ever(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], "a double, label double")
    with pytest.raises(DataError, match="no rows"):
        pack(empty, featuresCols=["a"], handleInvalid="mean")
    ragged = spark.createDataFrame([([1.0], 1.0), ([1.0, 2.0], 2.0)], "features array<double>, label double")
    with pytest.raises(DataError, match="size"):
        pack(ragged.repartition(2, "label"), handleInvalid="mean")


def test_sums_merge_in_any_grouping_and_keep_their_digits() -> None:
    X, y, s = holes()
    X[:, 0] += 1e9
    present = ~np.isnan(X)
    exact = [np.average(X[present[:, j], j] - 1e9, weights=s[present[:, j]]) for j in range(D)]
    for cuts in ([30, 60], [1, 2, 3], [45], []):
        parts = [Block(*part) for part in zip(*(np.split(each, cuts) for each in (X, y, s)), strict=True)]
        sums = [PresentSums.of(part, np.nan_to_num(part.features[0])) for part in parts]
        total = sums[0]
        for each in sums[1:]:
            total = total.merge(each)
        np.testing.assert_allclose(total.mean - 1e9, exact, atol=1e-6)


def test_large_sums_are_merged_on_the_way_to_the_same_bits(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    df, chosen = table(spark, "vector")
    for count in (1, 5, 8):
        parts = df.repartition(count)
        with pack(parts, handleInvalid="mean", **chosen) as data:
            direct = data.means
        with monkeypatch.context() as small:
            small.setattr(tree, "DIRECT_BYTES", 0)
            small.setattr(tree, "driver_bytes", lambda _: 1)
            with pack(parts, handleInvalid="mean", **chosen) as data:
                np.testing.assert_array_equal(data.means, direct)
