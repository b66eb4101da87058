"""Synthetic tables have the properties that their recipes ask for. Tolerances are four to five standard errors."""

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from sparkdml.datasets import Recipe, make_table, partition_rows, rows, truth
from sparkdml.datasets.signal import Signal
from sparkdml.errors import ParamError
from sparkdml.regression import LinearRegression

SIGMAS = 4.5
EVERYTHING: dict[str, Any] = {
    "kind": "classification",
    "rows": 5000,
    "features": 4,
    "density": 0.5,
    "noise": 0.05,
    "correlation": 0.3,
    "scale_spread": 10.0,
    "informative": 0.5,
    "positives": 0.3,
    "missing": 0.1,
    "duplicates": 0.2,
    "skew": 1.0,
    "drift": 1.0,
    "partitions": 3,
    "seed": 11,
}


def made(recipe: Recipe) -> pa.Table:
    """All rows, made in this process by the function that the executors run."""
    numbers = pa.RecordBatch.from_pydict({"id": np.arange(len(partition_rows(recipe)))})
    return pa.Table.from_batches(rows.make_partitions(recipe, truth(recipe).intercept, iter([numbers])))


def matrix(table: pa.Table) -> np.ndarray:
    """The features: columns as they are, vectors dense; null is NaN."""
    if table.column_names[0] == "features":
        return vectors(table).toarray()
    return np.column_stack([column.to_numpy() for column in table.columns[:-1]])


def vectors(table: pa.Table) -> csr_array:
    """A column of sparse or dense vectors."""
    kinds, sizes, indices, values = table["features"].combine_chunks().flatten()
    starts = np.append(0, np.cumsum(pa.compute.list_value_length(values)))
    if set(kinds.to_pylist()) == {1}:
        width = starts[1]
        return csr_array(values.flatten().to_numpy().reshape(-1, width))
    shape = (len(table), sizes[0].as_py())
    return csr_array((values.flatten().to_numpy(), indices.flatten().to_numpy(), starts), shape)


def labels(table: pa.Table) -> np.ndarray:
    return table["label"].to_numpy()


def margins(table: pa.Table, recipe: Recipe) -> np.ndarray:
    return matrix(table) @ truth(recipe).coefficients + truth(recipe).intercept


# The rows are a function of the recipe.


def test_spark_makes_the_same_rows_however_it_is_asked(spark: SparkSession) -> None:
    recipe = Recipe(**EVERYTHING)
    expected = made(recipe).to_pandas()
    table = make_table(spark, recipe)
    parallel = table.withColumn("partition", F.spark_partition_id()).toPandas()
    serial = make_table(spark, recipe).coalesce(1).toPandas()
    assert np.array_equal(parallel.drop(columns="partition"), expected, equal_nan=True)
    assert np.array_equal(serial, expected, equal_nan=True)
    assert parallel["partition"].value_counts().sort_index().tolist() == partition_rows(recipe).tolist()
    assert table.dtypes == [*((f"x{j}", "double") for j in range(4)), ("label", "double")]


def test_no_row_comes_twice_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH_ROWS", 100)
    table = made(Recipe(rows=2000, features=1, partitions=4))
    assert len(np.unique(matrix(table))) == 2000


@pytest.mark.parametrize("change", [{"seed": 12}, {"seed": 11 + (1 << 32)}])
def test_another_seed_makes_other_rows_and_another_truth(change: dict[str, int]) -> None:
    recipe = Recipe(**EVERYTHING)
    other = replace(recipe, **change)  # type: ignore[arg-type]
    assert not set(matrix(made(recipe))[:, 0]) & set(matrix(made(other))[:, 0]) - {0.0}
    assert truth(recipe).intercept != truth(other).intercept


@pytest.mark.parametrize("density", [1.0, 0.8, 0.3])
def test_the_layouts_hold_the_same_rows(density: float) -> None:
    recipe = Recipe(rows=300, features=5, density=density, correlation=0.5, noise=0.3)
    columns, vector = made(recipe), made(replace(recipe, layout="vector"))
    assert np.array_equal(matrix(columns), matrix(vector))
    assert np.array_equal(labels(columns), labels(vector))
    kinds = vector["features"].combine_chunks().field("type").to_pylist()
    assert set(kinds) == ({0} if density < 2 / 3 else {1})


def test_partitions_depend_on_the_size_of_the_table_alone() -> None:
    assert len(partition_rows(Recipe(rows=100_000_000, features=10))) == 132
    assert len(partition_rows(Recipe(rows=1000, features=1000))) == 1
    sparse = Recipe(rows=10_000_000, features=1_000_000, density=3e-5, layout="vector")
    assert len(partition_rows(sparse)) == 58


@pytest.mark.parametrize(
    "options",
    [
        {"features": 10},
        {"features": 2000},
        {"features": 10, "layout": "vector"},
        {"features": 100_000, "density": 1e-3, "layout": "vector"},
    ],
)
def test_batches_are_small_and_few(options: dict[str, Any]) -> None:
    recipe = Recipe(rows=1_000_000, **options)
    source = rows.Source(recipe, Signal.of(recipe), 0.0)
    batch = next(iter(source.partition(0)))
    assert 4_000_000 < batch.nbytes < 16_000_000


def test_workers_load_little() -> None:
    code = "import sys, sparkdml.datasets; print(*[m for m in sys.modules if m.startswith(('pyspark.ml', 'scipy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# The labels follow the truth.


@pytest.mark.parametrize(
    "options",
    [
        {"correlation": 0.7, "scale_spread": 1000.0, "drift": 2.0, "partitions": 3, "informative": 0.5},
        {"density": 0.2, "correlation": 0.3, "layout": "vector"},
    ],
)
def test_a_fit_without_noise_recovers_the_truth(spark: SparkSession, options: dict[str, Any]) -> None:
    recipe = Recipe(rows=2000, features=6, seed=5, **options)
    columns = {"featuresCol": "features"} if recipe.layout == "vector" else {"featuresCols": recipe.feature_names}
    model = LinearRegression(**columns).fit(make_table(spark, recipe))
    expected = truth(recipe)
    assert model.coefficients.toArray() == pytest.approx(expected.coefficients, rel=1e-8, abs=1e-10)
    assert model.intercept == pytest.approx(expected.intercept, rel=1e-8)
    assert tuple(model.featureNames) == recipe.feature_names


@pytest.mark.parametrize("options", [{}, {"correlation": 0.8, "scale_spread": 50.0}, {"density": 0.5}])
def test_the_signal_has_deviation_one_and_the_noise_its_own(options: dict[str, Any]) -> None:
    recipe = Recipe(rows=50_000, features=20, noise=0.5, **options)
    table = made(recipe)
    signal = margins(table, recipe)
    relative = SIGMAS / np.sqrt(2 * recipe.rows)
    assert np.std(signal) == pytest.approx(1.0, rel=2 * relative)  # its tails may be heavier than normal
    assert np.std(labels(table) - signal) == pytest.approx(0.5, rel=relative)


def test_only_the_informative_features_have_coefficients() -> None:
    assert np.count_nonzero(truth(Recipe(rows=1, features=200, informative=0.1)).coefficients) == 20
    assert np.count_nonzero(truth(Recipe(rows=1, features=5, informative=0.001)).coefficients) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"positives": 0.02},
        {"positives": 0.2, "noise": 0.1},
        {"positives": 0.9, "correlation": 0.9, "duplicates": 0.1},
        {"positives": 0.1, "density": 0.05, "features": 10},
        {"positives": 0.1, "density": 0.01, "features": 1000, "layout": "vector"},
        {"positives": 0.2, "drift": 3.0, "partitions": 5, "skew": 1.0},
    ],
)
def test_the_share_of_positives(options: dict[str, Any]) -> None:
    recipe = Recipe(kind="classification", rows=40_000, **{"features": 8, **options})
    share, positives = labels(made(recipe)).mean(), recipe.positives
    error = np.sqrt(positives * (1 - positives) / recipe.rows / (1 - recipe.duplicates))
    assert share == pytest.approx(positives, abs=SIGMAS * error + (0.002 if recipe.density < 1 else 0.0))


def test_labels_are_drawn_from_the_margin_and_flipped() -> None:
    recipe = Recipe(kind="classification", rows=50_000, features=5, noise=0.2, positives=0.4)
    table = made(recipe)
    margin = margins(table, recipe)
    likely = 0.2 + 0.6 / (1 + np.exp(-margin))
    residual = (labels(table) - likely) / np.sqrt(likely * (1 - likely))
    assert set(labels(table)) == {0.0, 1.0}
    assert np.std(margin) == pytest.approx(2.0, rel=0.02)
    for direction in (np.ones_like(margin), margin, np.sign(margin), margin**2 - 4):
        score = (residual * direction).sum() / np.sqrt(np.square(direction).sum())
        assert abs(score) < SIGMAS


# The features are as the recipe says.


def test_scales_and_correlations_of_the_features() -> None:
    recipe = Recipe(rows=50_000, features=4, correlation=0.6, scale_spread=100.0)
    X = matrix(made(recipe))
    scales = 100.0 ** np.array([-1 / 2, -1 / 6, 1 / 6, 1 / 2])
    correlations = np.corrcoef(X.T)[np.triu_indices(4, 1)]
    assert X.std(axis=0) == pytest.approx(scales, rel=SIGMAS / np.sqrt(2 * recipe.rows))
    assert correlations == pytest.approx(np.full(6, 0.6), abs=SIGMAS * (1 - 0.6**2) / np.sqrt(recipe.rows))
    assert np.abs(X.mean(axis=0) / scales).max() < SIGMAS / np.sqrt(recipe.rows)


@pytest.mark.parametrize("layout", ["columns", "vector"])
@pytest.mark.parametrize("density", [0.9, 0.1])
def test_the_share_of_nonzeros(density: float, layout: str) -> None:
    X = matrix(made(Recipe(rows=20_000, features=10, density=density, layout=layout)))
    error = np.sqrt(density * (1 - density) / len(X))
    assert (X != 0).mean(axis=0) == pytest.approx(np.full(10, density), abs=SIGMAS * error)


def test_the_share_of_missing_cells() -> None:
    recipe = Recipe(rows=20_000, features=5, missing=0.2)
    table = made(recipe)
    error = np.sqrt(0.2 * 0.8 / recipe.rows)
    assert np.isnan(matrix(table)).mean(axis=0) == pytest.approx(np.full(5, 0.2), abs=SIGMAS * error)
    assert table["label"].null_count == 0
    assert table["x0"].null_count > 0


def test_the_share_of_copied_rows() -> None:
    recipe = Recipe(rows=20_000, features=2, duplicates=0.25, noise=0.5)
    table = made(recipe)
    cells = np.column_stack([matrix(table), labels(table)])
    different = len(np.unique(cells, axis=0))
    assert different == len(np.unique(cells[:, 0]))  # copies in all columns, label included
    assert 1 - different / recipe.rows == pytest.approx(0.25, abs=SIGMAS * np.sqrt(0.25 * 0.75 / recipe.rows))


def test_partitions_of_uneven_sizes() -> None:
    sizes = partition_rows(Recipe(rows=100_000, features=1, skew=1.5, partitions=20))
    shares = np.arange(1, 21) ** -1.5
    assert sizes.sum() == 100_000
    assert np.abs(sizes - 100_000 * shares / shares.sum()).max() <= 1
    assert np.ptp(partition_rows(Recipe(rows=1003, features=1, partitions=7))) <= 1
    assert partition_rows(Recipe(rows=2, features=1, partitions=5)).sum() == 2


def test_the_means_drift_from_the_first_partition_to_the_last() -> None:
    recipe = Recipe(rows=60_000, features=3, drift=2.0, partitions=3, scale_spread=9.0)
    first, middle, last = (part.mean(axis=0) / [1 / 3, 1, 3] for part in np.split(matrix(made(recipe)), 3))
    error = SIGMAS / np.sqrt(20_000)
    assert np.abs(last - first) == pytest.approx(np.full(3, 2.0), abs=np.sqrt(2) * error)
    assert middle == pytest.approx(np.zeros(3), abs=error)


def test_a_million_features_cost_what_their_nonzeros_cost(spark: SparkSession) -> None:
    recipe = Recipe(rows=3000, features=1_000_000, density=3e-5, layout="vector", noise=0.1)
    tracemalloc.start()
    table = made(recipe)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    X = vectors(table)
    assert peak < 150e6
    assert X.shape == (3000, 1_000_000)
    assert X.nnz / 3000 == pytest.approx(30, abs=SIGMAS * np.sqrt(30 / 3000))
    assert np.std(X @ truth(recipe).coefficients) == pytest.approx(1.0, rel=0.1)
    row = make_table(spark, recipe).first()
    assert row is not None
    assert row.features.indices.tolist() == X.indices[: X.indptr[1]].tolist()
    assert row.features.values.tolist() == X.data[: X.indptr[1]].tolist()


# What cannot be made is refused.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "clustering"),
        ("rows", 0),
        ("rows", 10.5),
        ("features", 0),
        ("features", True),
        ("density", 0.0),
        ("density", 1.5),
        ("noise", -1.0),
        ("noise", float("inf")),
        ("correlation", 1.0),
        ("scale_spread", 0.5),
        ("informative", 0.0),
        ("positives", 1.0),
        ("missing", 1.0),
        ("duplicates", -0.1),
        ("duplicates", float("nan")),
        ("skew", "steep"),
        ("drift", -1.0),
        ("partitions", 0),
        ("layout", "rows"),
        ("seed", -1),
        ("seed", None),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ParamError, match=f"^{name} is .* must be "):
        Recipe(**{"rows": 100, "features": 3, name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"missing": 0.1, "layout": "vector"}, "missing .* 'columns'"),
        ({"features": 20_000}, "features .* 'vector'"),
        ({"positives": 0.2}, "positives .* 'classification'"),
        ({"kind": "classification", "positives": 0.1, "noise": 0.1}, "noise .* rarer"),
        ({"skew": 1.0}, "skew .* partitions"),
        ({"drift": 1.0, "partitions": 1}, "drift .* partitions"),
        ({"correlation": 0.5, "features": 1}, "correlation .* features"),
        ({"scale_spread": 2.0, "features": 1}, "scale_spread .* features"),
    ],
)
def test_a_contradiction_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamError, match=said):
        Recipe(**{"rows": 100, "features": 3, **options})


def test_numbers_of_numpy_become_plain_ones() -> None:
    recipe = Recipe(rows=np.int64(10), features=2, noise=np.float32(0.5), correlation=0)
    assert recipe == Recipe(rows=10, features=2, noise=0.5)
    assert (type(recipe.rows), type(recipe.noise), type(recipe.correlation)) == (int, float, float)
