"""Whatever is wrong with a table, every estimator says so: an error of the library, with the column and the count.

Rows are looked at by the one job that packs them; what the types of the columns tell is told without a job.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from estimators import ESTIMATORS, TELLING, D, Family, X, parameters
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, StructType
from scipy.sparse import csr_array

from sparkdml import LocalData
from sparkdml.engine import spark_data
from sparkdml.errors import ColumnError, ColumnTypeError, DataError, ParamError, SessionError, SparkdmlError

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

GOOD = 24  # rows that nothing is wrong with
NAN, INF, HUGE = float("nan"), float("inf"), 1e308
SCALARS = [f"x{j}" for j in range(D)]
LABELS = [(name, label) for name, family in ESTIMATORS.items() for label in family.wrong]

# Values of a column, each in a row of its own, under a name for all of them.
VALUES: dict[str, tuple[str, list[Any]]] = {
    **{name: (name, [None, NAN, INF, -INF]) for name in ("x0", "x1", "weight", "offset", "fold")},
    "dense": ("dense", [None, *(Vectors.dense(0.0, 1.0, bad) for bad in (NAN, INF, -INF))]),
    "sparse": ("sparse", [None, *(Vectors.sparse(3, [1], [bad]) for bad in (NAN, INF, -INF))]),
    "array": ("array", [None, *([bad, 1.0, 0.0] for bad in (NAN, INF, -INF))]),
    **{f"huge {name}": (name, [HUGE, HUGE]) for name in ("x0", "weight", "offset", "fold")},
    "huge dense": ("dense", [Vectors.dense(0.0, 0.0, HUGE)]),
    "huge sparse": ("sparse", [Vectors.sparse(3, [1], [-HUGE])]),
    "huge array": ("array", [[HUGE, 0.0, 0.0]]),
    "ragged dense": ("dense", [Vectors.dense(1.0), Vectors.dense(1.0, 2.0, 3.0, 4.0)]),
    "ragged sparse": ("sparse", [Vectors.sparse(4, [], []), Vectors.sparse(2, [1], [1.0])]),
    "ragged array": ("array", [[1.0, 2.0], []]),
    "null in array": ("array", [[1.0, None, 2.0], [None, None, 1.0]]),
    "negative weight": ("weight", [-1.0, -1e-300]),
    "fraction of fold": ("fold", [0.5]),
    "third fold": ("fold", [2.0]),
}
# What is read of the columns, and what an error says.
PARTS = ["1 missing value ", "1 NaN value ", "2 infinite values "]
ROLES = {"weight": "weightCol", "offset": "offsetCol", "fold": "validationIndicatorCol"}
TOLD: dict[str, list[str]] = {
    **{
        name: [f"column '{name}'", *PARTS]
        for name in ("x0", "x1", "weight", "offset", "fold", "dense", "sparse", "array")
    },
    "huge x0": ["column 'x0' has 2 values too large to be fitted (such as 1e+308)"],
    "huge weight": [f"column 'weight' gives {GOOD + 2} rows weights that sum to inf"],
    "huge offset": ["column 'offset' has 2 values too large", "1e+308 in row"],
    "huge fold": ["column 'fold' has 2 numbers of no fold", "1e+308 in row"],
    "huge dense": ["column 'dense[2]' has 1 value too large to be fitted (such as 1e+308)"],
    "huge sparse": ["column 'sparse[1]' has 1 value too large to be fitted (such as -1e+308)"],
    "huge array": ["column 'array[0]' has 1 value too large to be fitted (such as 1e+308)"],
    **{f"ragged {name}": [f"column '{name}' has 2 vectors of another size"] for name in ("dense", "sparse", "array")},
    "null in array": ["column 'array' has 3 missing values", "array[1] in row"],
    "negative weight": ["column 'weight' has 2 negative weights", "-1 in row"],
    "fraction of fold": ["column 'fold' has 1 number of no fold", "0.5 in row"],
    "third fold": ["column 'fold' has 1 value, such as 2, other than 0 and 1"],
}


def schema() -> StructType:
    numbers = [*SCALARS, "weight", "offset", "fold", *(f"label_{name}" for name in ESTIMATORS)]
    found = StructType().add("case", "string").add("text", "string").add("array", ArrayType(DoubleType()))
    for name in numbers:
        found = found.add(name, "double")
    return found.add("dense", VectorUDT()).add("sparse", VectorUDT())


def good_row(i: int) -> dict[str, Any]:
    x = X[i].tolist()
    vectors = {"dense": Vectors.dense(x), "sparse": Vectors.sparse(3, [0, 2], [x[0], x[2]]), "array": x}
    more = {"case": "", "text": "a", "weight": 1.0 + i % 3, "offset": 0.1, "fold": float(i % 4 == 3)}
    labels = {f"label_{name}": float(family.labels[i]) for name, family in ESTIMATORS.items()}
    return dict(zip(SCALARS, x, strict=True)) | vectors | more | labels


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> Iterator[DataFrame]:
    """The good rows, and those that a case adds to them; one partition, so that a job is one task."""
    good = [good_row(i) for i in range(GOOD)]
    bad = [good[0] | {"case": case, column: value} for case, (column, values) in VALUES.items() for value in values]
    for name, label in LABELS:
        bad.append(good[0] | {"case": f"{name} {label}", f"label_{name}": label})
    for name in ESTIMATORS:
        bad += [good[0] | {"case": f"label of {name}", f"label_{name}": value} for value in (None, NAN, INF, -INF)]
    order = schema().names
    rows = [tuple(row[name] for name in order) for row in [*good, *bad]]
    found = spark.createDataFrame(spark.sparkContext.parallelize(rows, 1), schema()).cache()
    assert found.count() == len(rows)
    yield found
    found.unpersist(blocking=True)


def of_case(table: DataFrame, case: str) -> DataFrame:
    return table.where(F.col("case").isin("", case))


def columns_for(name: str, column: str) -> dict[str, Any]:
    """The Params that make an estimator read a column, in its role."""
    features = {"featuresCol": column} if column in ("dense", "sparse", "array") else {"featuresCols": SCALARS}
    role = {ROLES[column]: column} if column in ROLES else {}
    return {**features, **role, "labelCol": f"label_{name}"}


@pytest.fixture
def jobs(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[Callable[[], int]]:
    """How many jobs the test has run so far."""
    context = spark.sparkContext
    context.setJobGroup(request.node.name, "")
    yield lambda: len(context.statusTracker().getJobIdsForGroup(request.node.name))
    context.setLocalProperty("spark.jobGroup.id", None)


PACKING = 1  # job; what a driver that is its own executor has packed, it removes itself


@pytest.mark.thinned
@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("name", TELLING)
def test_bad_values_are_counted_by_the_packing_job(
    table: DataFrame, jobs: Callable[[], int], name: str, case: str
) -> None:
    family, column = ESTIMATORS[name], VALUES[case][0]
    if column == "offset" and family.outputs > 1:
        pytest.skip("no offsets")
    with pytest.raises(DataError) as caught:
        family.make(**columns_for(name, column)).fit(of_case(table, case))
    for part in TOLD[case]:
        assert part in str(caught.value)
    assert jobs() == PACKING


@pytest.fixture(scope="module")
def files(table: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of each case as Parquet files in a directory of their own; `case=` has the good ones."""
    path = tmp_path_factory.mktemp("cases")
    table.withColumn("case", F.when(F.col("case") != "", F.col("case"))).write.partitionBy("case").parquet(
        str(path), mode="overwrite"
    )
    return path


@pytest.mark.thinned
@pytest.mark.parametrize("case", [*VALUES, "label of linear"])
def test_files_with_bad_values_are_refused_in_the_same_words(
    spark: SparkSession, files: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    column = VALUES[case][0] if case in VALUES else "x0"
    parts = [str(files / f"case={name}") for name in ("__HIVE_DEFAULT_PARTITION__", case)]
    df = spark.read.schema(StructType([field for field in schema() if field.name != "case"])).parquet(*parts)
    estimator = ESTIMATORS["linear"].make(**columns_for("linear", column))
    read, told = spark_data.packed_from_files, []
    for by_tasks in (True, False):
        found = []
        monkeypatch.setattr(
            spark_data,
            "packed_from_files",
            lambda *args, of=by_tasks, to=found: to.append(read(*args) if of else None) or to[0],
        )
        with pytest.raises(DataError) as caught:
            estimator.fit(df)
        assert [each is not None for each in found] == [by_tasks]
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert f"column '{column}" in told[0] or case == "label of linear"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_labels_are_counted_by_the_packing_job(table: DataFrame, jobs: Callable[[], int], name: str) -> None:
    estimator = ESTIMATORS[name].make(**columns_for(name, "x0"))
    with pytest.raises(DataError) as caught:
        estimator.fit(of_case(table, f"label of {name}"))
    for part in (f"column 'label_{name}'", *PARTS):
        assert part in str(caught.value)
    assert jobs() == PACKING


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_labels_outside_the_domain_are_counted(
    table: DataFrame, jobs: Callable[[], int], name: str, label: float
) -> None:
    with pytest.raises(DataError) as caught:
        ESTIMATORS[name].make(**columns_for(name, "x0")).fit(of_case(table, f"{name} {label}"))
    for part in (f"column 'label_{name}' has", ESTIMATORS[name].wrong[label]):
        assert part in str(caught.value)
    assert jobs() == PACKING


# Tables with no rows, or none that count.


def weightless(df: DataFrame) -> DataFrame:
    return df.withColumn("weight", F.lit(0.0))


NO_ROWS: dict[str, tuple[Callable[[DataFrame], DataFrame], dict[str, Any], str]] = {
    "none": (lambda df: df.where("x0 > 1e9"), {}, "no rows to fit: the DataFrame is empty"),
    "no partitions": (
        lambda df: df.sparkSession.createDataFrame(df.sparkSession.sparkContext.emptyRDD(), df.schema),
        {},
        "no rows to fit: the DataFrame is empty",
    ),
    "no features": (
        lambda df: df.withColumn("x0", F.array().cast("array<double>")),
        {"featuresCol": "x0", "featuresCols": None, "fitIntercept": False},
        f"column 'x0' has {GOOD} vectors of no number",
    ),
    "weightless": (weightless, {"weightCol": "weight"}, f"all {GOOD} weights in column 'weight' are zero"),
    "all skipped": (
        lambda df: df.withColumn("x1", F.lit(None).cast("double")),
        {"handleInvalid": "skip"},
        f"all {GOOD} were skipped: column 'x1' has {GOOD} missing values",
    ),
    "all validate": (
        lambda df: df.withColumn("fold", F.lit(1.0)),
        {"validationIndicatorCol": "fold"},
        f"of {GOOD} rows none of positive weight is left to train",
    ),
    "none validates": (
        lambda df: df.withColumn("fold", F.lit(0.0)),
        {"validationIndicatorCol": "fold"},
        f"of {GOOD} rows none of positive weight validates",
    ),
}


@pytest.mark.thinned
@pytest.mark.parametrize("case", NO_ROWS)
@pytest.mark.parametrize("name", TELLING)
def test_no_rows_that_count_are_told(table: DataFrame, name: str, case: str) -> None:
    change, params, told = NO_ROWS[case]
    with pytest.raises(DataError, match=told):
        ESTIMATORS[name].make(**{**columns_for(name, "x0"), **params}).fit(change(of_case(table, "")))


# What the schema tells.


def twice(df: DataFrame) -> DataFrame:
    return df.select("*", F.col("x1").alias("x0"))


def stream(df: DataFrame) -> DataFrame:
    rates = df.sparkSession.readStream.format("rate").load()
    return rates.select(*(F.lit(0.0).alias(name) for name in df.columns))


class Remote(DataFrame):
    """A DataFrame as Spark Connect has it: of the same base, without partitions or a JVM."""

    def __new__(cls) -> "Remote":
        return object.__new__(cls)


SCHEMAS: dict[str, tuple[Callable[[DataFrame], Any], dict[str, Any], type[SparkdmlError], str]] = {
    "no such feature": (lambda df: df, {"featuresCols": ["x0", "x"]}, ColumnError, "no column 'x': .*'x"),
    "no such vector": (lambda df: df, {"featuresCol": "nowhere"}, ColumnError, "no column 'nowhere': the columns are"),
    "no such label": (lambda df: df, {"labelCol": "weigth"}, ColumnError, "did you mean 'weight'"),
    "capitals": (lambda df: df, {"labelCol": "WEIGHT"}, ColumnError, "no column 'WEIGHT': did you mean 'weight'"),
    "a field": (
        lambda df: df.withColumn("both", F.struct("x0", "x1")),
        {"labelCol": "both.x0"},
        ColumnError,
        "no column 'both.x0', but a struct 'both': select its field",
    ),
    "no such weight": (lambda df: df, {"weightCol": "zzz"}, ColumnError, "no column 'zzz'"),
    "no such fold": (lambda df: df, {"validationIndicatorCol": "zzz"}, ColumnError, "no column 'zzz'"),
    "text among features": (
        lambda df: df,
        {"featuresCols": ["x0", "text"]},
        ColumnTypeError,
        "'text' is of type string",
    ),
    "text for a vector": (lambda df: df, {"featuresCol": "text"}, ColumnTypeError, "features column 'text' is of type"),
    "array of text": (
        lambda df: df.withColumn("texts", F.array("text")),
        {"featuresCol": "texts"},
        ColumnTypeError,
        "'texts' is of type array<string>",
    ),
    "text label": (
        lambda df: df,
        {"labelCol": "text"},
        ColumnTypeError,
        "label column 'text' is of type string, not numeric: number its classes",
    ),
    "text weight": (
        lambda df: df,
        {"weightCol": "text"},
        ColumnTypeError,
        "weight column 'text' is of type string, not numeric: cast it",
    ),
    "vector label": (lambda df: df, {"labelCol": "dense"}, ColumnTypeError, "label column 'dense'"),
    "vector among features": (
        lambda df: df,
        {"featuresCols": ["x0", "dense"]},
        ColumnTypeError,
        "feature column 'dense'",
    ),
    "no features": (lambda df: df, {"featuresCols": []}, ColumnError, "featuresCols names no column"),
    "a feature twice": (lambda df: df, {"featuresCols": ["x0", "x0"]}, ColumnError, "names the column 'x0' twice"),
    "weight among features": (
        lambda df: df,
        {"featuresCols": ["x0", "weight"], "weightCol": "weight"},
        ColumnError,
        "weight column 'weight' is also among the features",
    ),
    "a label that tells the fold": (
        lambda df: df,
        {"labelCol": "fold", "validationIndicatorCol": "fold"},
        ColumnError,
        "fold column 'fold' is also the label",
    ),
    "two kinds of features": (
        lambda df: df,
        {"featuresCols": ["x0"], "featuresCol": "dense"},
        ColumnError,
        "featuresCol and featuresCols are both set",
    ),
    "two columns that differ in capitals": (
        lambda df: df.withColumnRenamed("text", "X0"),
        {"featuresCols": ["x0", "x1"]},
        ColumnError,
        "there are columns 'X0' and 'x0', which Spark does not tell apart",
    ),
    "two columns of a name": (twice, {"featuresCols": ["x0", "x1"]}, ColumnError, "there are 2 columns 'x0'"),
    "a stream": (stream, {"featuresCols": ["x0"]}, ColumnTypeError, "a streaming DataFrame cannot be packed"),
    "Spark Connect": (lambda df: Remote(), {"featuresCols": ["x0"]}, SessionError, "Spark Connect gives no access"),
    "pandas": (lambda df: pd.DataFrame({"x0": [1.0]}), {}, ColumnTypeError, "DataFrame of Spark.*, not DataFrame"),
    "an array": (lambda df: X, {}, ColumnTypeError, "DataFrame of Spark.*, not ndarray"),
    "nothing": (lambda df: None, {}, ColumnTypeError, "DataFrame of Spark.*, not NoneType"),
}
BUILTIN = {ColumnError: ValueError, DataError: ValueError, ColumnTypeError: TypeError, SessionError: RuntimeError}


@pytest.mark.parametrize("case", SCHEMAS)
@pytest.mark.parametrize("name", TELLING)
def test_what_the_schema_tells_is_told_without_a_job(
    table: DataFrame, jobs: Callable[[], int], name: str, case: str
) -> None:
    change, params, error, told = SCHEMAS[case]
    features = {} if "featuresCol" in params else {"featuresCols": SCALARS}
    estimator = ESTIMATORS[name].make(**{**features, "labelCol": f"label_{name}", **params})
    with pytest.raises(error, match=told) as caught:
        estimator.fit(change(table))
    assert isinstance(caught.value, BUILTIN[error])
    assert jobs() == 0


# Tables that look odd, but are good.


@pytest.mark.parametrize("name", TELLING)
def test_partitions_without_rows_change_nothing(table: DataFrame, name: str) -> None:
    estimator = ESTIMATORS[name].make(**columns_for(name, "x0"), regParam=0.1, maxIter=200, tol=1e-4)
    found = estimator.fit(of_case(table, "").repartition(5, F.col("x0") > 0))
    expected = estimator.fit(LocalData(X[:GOOD], ESTIMATORS[name].labels[:GOOD]))
    np.testing.assert_allclose(parameters(found), parameters(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, family in ESTIMATORS.items() if family.classes == (0.0, 1.0)])
def test_a_label_may_be_boolean(table: DataFrame, name: str) -> None:
    good = of_case(table, "").withColumn("flag", F.col(f"label_{name}") == 1.0)
    estimator = ESTIMATORS[name].make(**columns_for(name, "x0"), tol=1e-2)
    flagged = estimator.copy({estimator.labelCol: "flag"}).fit(good)
    np.testing.assert_array_equal(parameters(flagged), parameters(estimator.fit(good)))


# Arrays of this process, which no packing looks at.


def put(values: np.ndarray, bad: float, *place: int) -> np.ndarray:
    changed = values.copy()
    changed[place] = bad
    return changed


def rows_of(family: Family) -> dict[str, Any]:
    ones = np.ones(len(X))
    return {
        "features": X,
        "label": family.labels,
        "weight": ones,
        "offset": ones,
        "fold": (ones > 1.0).astype(np.int32),
    }


@pytest.mark.parametrize(
    ("params", "error", "told"),
    [
        ({"weightCol": "w"}, ColumnError, "weightCol='w' but the data have no weight: give it to `LocalData`"),
        ({"offsetCol": "o"}, ColumnError, "offsetCol='o' but the data have no offset"),
        ({"featuresCols": ["x0", "x1"]}, ColumnError, "featuresCols names 2 columns but the data have 3"),
        ({"numPartitions": 7}, ParamError, "numPartitions=7 but a pass over the data has 1 tasks"),
        ({"partitioning": "random"}, ParamError, "partitioning='random' but the data were packed with 'as-is'"),
    ],
)
def test_params_that_ask_for_what_arrays_have_not_are_refused(params: dict, error: type, told: str) -> None:
    family = ESTIMATORS["linear"]
    with pytest.raises(error, match=told):
        family.make(**params).fit(LocalData(X, family.labels))


ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], type[SparkdmlError], str]] = {
    **{
        f"{bad:g} in the {role}": (
            lambda rows, role=role, bad=bad: {role: put(rows[role].astype(float), bad, 3)},
            DataError,
            rf"column '{role}' has 1 {'NaN' if bad != bad else 'infinite'} value \(first: row 3\): \w+ or drop them\.$",
        )
        for role in ("label", "weight", "offset", "fold")
        for bad in (NAN, INF)
    },
    "nan in a column": (
        lambda rows: {"features": put(X, NAN, 4, 1)},
        DataError,
        r"column 'x1' has 1 NaN value \(first: row 4\)",
    ),
    "inf in a sparse column": (
        lambda rows: {"features": csr_array(put(X, -INF, 4, 1))},
        DataError,
        r"column 'x1' has 1 infinite value \(first: row 4\)",
    ),
    "a negative weight": (
        lambda rows: {"weight": -rows["weight"]},
        DataError,
        "'weight' has 60 negative weights .first: -1 in row 0",
    ),
    "half a fold": (
        lambda rows: {"fold": rows["weight"] / 2},
        DataError,
        "'fold' has 60 numbers of no fold .first: 0.5",
    ),
    "a fold of 2^31": (lambda rows: {"fold": rows["weight"] * 2.0**31}, DataError, "'fold' has 60 numbers of no fold"),
    "an offset of 1e200": (
        lambda rows: {"offset": rows["offset"] * 1e200},
        DataError,
        "'offset' has 60 values too large",
    ),
    "fewer labels": (lambda rows: {"label": rows["label"][:5]}, DataError, "label has 5 rows but the features have 60"),
    "fewer weights": (lambda rows: {"weight": rows["weight"][:5]}, DataError, "weight has 5 rows"),
    "labels in a column": (lambda rows: {"label": rows["label"][:, None]}, ColumnTypeError, "label must be an array"),
    "features in a row": (lambda rows: {"features": X[:, 0]}, ColumnTypeError, "features must be an array"),
    "text": (lambda rows: {"features": X.astype(str)}, ColumnTypeError, "not one of <U"),
    "complex numbers": (lambda rows: {"features": X + 1j}, ColumnTypeError, "complex128"),
    "no rows": (lambda rows: {key: value[:0] for key, value in rows.items()}, DataError, "there are no rows"),
    "too few names": (lambda rows: {"feature_names": ["a"]}, ColumnError, "1 different feature names for 3 columns"),
    "a name twice": (lambda rows: {"feature_names": ["a", "b", "a"]}, ColumnError, "2 different feature names"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_bad_arrays_are_refused(case: str) -> None:
    rows = rows_of(next(iter(ESTIMATORS.values())))
    change, error, told = ARRAYS[case]
    with pytest.raises(error, match=told):
        LocalData(**{**rows, **change(rows)})


@pytest.mark.parametrize(("name", "label"), LABELS)
def test_labels_outside_the_domain_are_refused_of_arrays_too(name: str, label: float) -> None:
    with pytest.raises(DataError) as caught:
        ESTIMATORS[name].make().fit(LocalData(X, put(ESTIMATORS[name].labels, label, 0)))
    assert f"column 'label' has {ESTIMATORS[name].wrong[label]}" in str(caught.value)


OF_SPARK = re.compile(
    r" of partition 0|, or set handleInvalid \(--handle-invalid in a job\) to 'skip'(, or of features to 'mean')?"
)


@pytest.mark.parametrize("case", [case for case, (column, _) in VALUES.items() if column in (*SCALARS, *ROLES)])
def test_arrays_and_tables_are_refused_in_the_same_words(table: DataFrame, case: str) -> None:
    column = VALUES[case][0]
    df = of_case(table, case).where(F.col(column).isNotNull())
    rows = df.select("*", F.col("label_linear").alias("label")).toPandas()
    roles = {role: rows[role].to_numpy() for role in ("label", *({column} & set(ROLES)))}
    estimator = ESTIMATORS["linear"].make(**columns_for("linear", column))
    told = []
    for data in (lambda: df, lambda: LocalData(rows[SCALARS].to_numpy(), feature_names=SCALARS, **roles)):
        with pytest.raises(DataError) as caught:
            estimator.fit(data())
        told.append(OF_SPARK.sub("", str(caught.value)))
    assert told[0] == told[1]
