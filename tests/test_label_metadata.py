"""The number of classes is that of the label column's metadata, as in pyspark.ml, whatever labels the rows have."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import RNG
from pyspark.ml.classification import LinearSVC as PySparkLinearSVC
from pyspark.ml.classification import LogisticRegression as PySparkLogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.ml.linalg import Matrices, Vectors
from pyspark.ml.tuning import CrossValidator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import LocalData, load_model, pack
from sparkdml.blocks.schema import label_classes
from sparkdml.classification import LinearSVC, LogisticRegression, LogisticRegressionModel
from sparkdml.errors import DataError, DataWarning, ParamError
from sparkdml.regression import LinearRegression

N, D = 60, 2
X = RNG.normal(size=(N, D))
TWO = (X[:, 0] + RNG.normal(size=N) > 0.0) * 1.0
LABELS = {
    "two": TWO,
    "first and third": 2.0 * TWO,
    "three": np.arange(N) % 3 * 1.0,
    "zeros": np.zeros(N),
    "ones": np.ones(N),
}
ATTRIBUTES: dict[str, tuple[dict[str, Any], int | None]] = {
    "nothing": ({}, None),
    "values": ({"type": "nominal", "vals": ["a", "b", "c"]}, 3),
    "number of values": ({"type": "nominal", "num_vals": 4}, 4),
    "one value": ({"type": "nominal", "num_vals": 1}, 1),
    "binary": ({"type": "binary"}, 2),
    "nominal alone": ({"type": "nominal"}, None),
    "numeric": ({"type": "numeric", "min": 0.0, "max": 4.0}, None),
}


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    """The rows, with a column of each kind of labels."""
    names = [name.replace(" ", "_") for name in LABELS]
    schema = ", ".join(f"{name} double" for name in ("x0", "x1", *names))
    rows = np.column_stack([X, *LABELS.values()]).tolist()
    plain = spark.createDataFrame(spark.sparkContext.parallelize(rows, 2), schema)
    found = VectorAssembler(inputCols=["x0", "x1"], outputCol="features").transform(plain).cache()
    assert found.count() == N
    return found


def labelled(table: DataFrame, label: str, attribute: dict[str, Any]) -> DataFrame:
    """The rows with one label column, with metadata where there are some."""
    rows = table.select("x0", "x1", "features", F.col(label.replace(" ", "_")).alias("label"))
    return rows.withMetadata("label", {"ml_attr": {"name": "label", **attribute}}) if attribute else rows


def of(classes: int) -> dict[str, Any]:
    return {"type": "nominal", "num_vals": classes}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_the_number_of_classes_in_metadata(table: DataFrame, name: str) -> None:
    attribute, expected = ATTRIBUTES[name]
    rows = labelled(table, "zeros", attribute)
    assert label_classes(rows.schema, "label") == expected
    with pack(rows, featuresCols=["x0"]) as data:
        assert data.classes == expected


CEILING = {"upperBoundsOnIntercepts": Vectors.dense([3.0] * 3)}
# Labels, classes of the metadata, Params, and how near the coefficients are: infinite where labels do not decide.
SAME: list[tuple[str, int | None, dict[str, Any], float]] = [
    ("two", 2, {}, 1e-4),
    ("two", 3, {}, np.inf),
    ("two", 3, {"fitIntercept": False}, 1e-4),
    ("two", 4, {"regParam": 0.1}, 1e-4),
    ("two", 3, {"regParam": 0.1, "elasticNetParam": 0.5, "fitIntercept": False, "standardization": False}, 1e-4),
    ("two", 3, {"lowerBoundsOnIntercepts": Vectors.dense([-3.0] * 3)}, np.inf),
    ("two", 3, {"lowerBoundsOnIntercepts": Vectors.dense([-3.0] * 3), **CEILING}, 2e-3),
    ("two", 3, {"lowerBoundsOnCoefficients": Matrices.dense(3, 2, [-0.5] * 6), "fitIntercept": False}, 1e-4),
    ("two", 2, {"family": "multinomial"}, 1e-4),
    ("two", 2, {"family": "binomial", "regParam": 0.1}, 1e-4),
    ("two", 3, {"thresholds": [0.2, 0.7, 0.1], "fitIntercept": False}, 1e-4),
    ("first and third", None, {"fitIntercept": False}, 1e-4),
    ("first and third", 4, {"regParam": 0.01}, 1e-4),
    ("three", 4, {}, np.inf),
    ("zeros", 3, {}, 1e-4),
    ("zeros", 3, {"fitIntercept": False, "regParam": 0.01}, 1e-4),
    ("zeros", 2, {"family": "multinomial"}, 1e-4),
    ("zeros", 2, {"fitIntercept": False, "regParam": 0.01}, 1e-4),
    ("zeros", None, {"family": "multinomial"}, 1e-4),
    ("zeros", None, {"family": "multinomial", "fitIntercept": False}, 1e-4),
    ("zeros", 1, {"family": "multinomial", "fitIntercept": False, "regParam": 0.1}, 1e-4),
    ("ones", None, {"family": "multinomial"}, 1e-4),
    ("ones", 3, {"fitIntercept": False, "regParam": 0.01}, 1e-4),
]


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore::sparkdml.errors.DataWarning", "ignore::sparkdml.errors.ConvergenceWarning")
@pytest.mark.parametrize(("label", "classes", "params", "within"), SAME)
def test_models_are_those_of_pyspark(
    table: DataFrame, label: str, classes: int | None, params: dict[str, Any], within: float
) -> None:
    rows = labelled(table, label, {} if classes is None else of(classes))
    ours, theirs = (
        kind(tol=1e-10, maxIter=500, **params).fit(rows) for kind in (LogisticRegression, PySparkLogisticRegression)
    )
    assert ours.numClasses == theirs.numClasses
    W, expected = ours.coefficientMatrix.toArray(), theirs.coefficientMatrix.toArray()
    assert W.shape == expected.shape
    assert len(ours.interceptVector) == len(theirs.interceptVector)
    if np.isfinite(within):
        np.testing.assert_allclose(W, expected, rtol=1e-4, atol=within)
    found, wanted = (
        np.array([[*row.probability, row.prediction] for row in model.transform(rows).collect()])
        for model in (ours, theirs)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predictProbability(Vectors.dense(X[0])).toArray(), found[0, :-1], rtol=1e-9)
    assert ours.predictRaw(Vectors.dense(X[0])).size == theirs.numClasses
    assert ours.summary.labels == ours.evaluate(rows).labels == sorted(set(LABELS[label]))
    assert ours.summary.accuracy == pytest.approx(np.mean(found[:, -1] == LABELS[label]))


REFUSED: list[tuple[type, type, str, int, dict[str, Any], str]] = [
    (LogisticRegression, PySparkLogisticRegression, "three", 2, {}, r"20 labels beyond the 2 classes .* \(such as 2\)"),
    (LogisticRegression, PySparkLogisticRegression, "two", 1, {}, r"labels beyond the one class .* \(such as 1\)"),
    (LogisticRegression, PySparkLogisticRegression, "two", 3, {"family": "binomial"}, "has the metadata of 3 classes"),
    (LinearSVC, PySparkLinearSVC, "two", 3, {}, "has the metadata of 3 classes"),
    (LinearSVC, PySparkLinearSVC, "two", 1, {}, "labels beyond the one class"),
]


@pytest.mark.parametrize(("ours", "theirs", "label", "classes", "params", "message"), REFUSED)
def test_labels_and_metadata_that_pyspark_refuses_are_refused(
    table: DataFrame, ours: Any, theirs: Any, label: str, classes: int, params: dict[str, Any], message: str
) -> None:
    rows = labelled(table, label, of(classes))
    with pytest.raises(DataError, match=f"column 'label' .*{message}"):
        ours(**params).fit(rows)
    with pytest.raises(Exception, match="requirement failed"):
        theirs(**params).fit(rows)


def test_more_classes_than_there_can_be_are_refused() -> None:
    with pytest.raises(DataError, match="column 'label' has the metadata of 1,000,000 classes"):
        LogisticRegression().fit(LocalData(X, TWO, classes=1_000_000))


def test_a_support_vector_machine_takes_the_metadata_of_two_classes(table: DataFrame) -> None:
    for label in ("two", "zeros"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            model = LinearSVC(regParam=0.1).fit(labelled(table, label, of(2)))
        assert model.numClasses == 2


def test_regression_takes_no_notice_of_metadata(table: DataFrame) -> None:
    coefficients = [
        LinearRegression().fit(labelled(table, "three", attribute)).coefficients.toArray() for attribute in ({}, of(2))
    ]
    np.testing.assert_array_equal(*coefficients)


def test_a_fold_without_the_last_class_scores_like_the_others(table: DataFrame) -> None:
    text = table.withColumn("kind", F.element_at(F.array(*map(F.lit, "abc")), F.col("three").cast("int") + 1))
    indexed = StringIndexer(inputCol="kind", outputCol="label").fit(text).transform(text)
    last = indexed.agg(F.max("label")).first()[0]
    folds = indexed.withColumn("fold", F.when((F.col("label") == last) | (F.col("x0") > 0), 0).otherwise(1))
    estimator = LogisticRegression(regParam=0.1)
    for metric, parallelism in (("logLoss", 2), ("f1", 1)):
        judge = MulticlassClassificationEvaluator(metricName=metric)
        search = CrossValidator(
            estimator=estimator,
            estimatorParamMaps=[{estimator.regParam: 0.1}, {estimator.regParam: 1.0}],
            evaluator=judge,
            numFolds=2,
            foldCol="fold",
            parallelism=parallelism,
            collectSubModels=True,
        )
        found = search.fit(folds)
        assert {model.numClasses for fold in found.subModels for model in fold} == {3}
        assert np.all(np.isfinite(found.avgMetrics))


@pytest.mark.parametrize("route", ["packed", "many fits", "plain files", "other types"])
def test_every_route_to_the_rows_knows_the_metadata(table: DataFrame, route: str, tmp_path: Path) -> None:
    rows = labelled(table, "two", of(3)).drop("features")
    estimator = LogisticRegression(featuresCols=["x0", "x1"], regParam=0.1)
    if route == "packed":
        with pack(rows, featuresCols=["x0", "x1"]) as data:
            models = [estimator.fit(data)]
    elif route == "many fits":
        maps = [{estimator.fitIntercept: False}, {estimator.family: "multinomial"}]
        models = [model for _, model in estimator.fitMultiple(rows, maps)]
    elif route == "plain files":
        rows.write.parquet(str(tmp_path / "rows"))
        models = [estimator.fit(table.sparkSession.read.parquet(str(tmp_path / "rows")))]
    else:
        integers = rows.withColumn(
            "label", F.col("label").cast("int").alias("label", metadata=rows.schema["label"].metadata)
        )
        models = [estimator.fit(integers)]
    for model in models:
        assert model.numClasses == 3
        model.write().overwrite().save(str(tmp_path / "model"))
        assert LogisticRegressionModel.load(str(tmp_path / "model")).numClasses == 3


# Arrays, whose metadata are an argument.


@pytest.mark.parametrize("solver", ["newton", "l-bfgs", "gd", "sgd", "local-sgd"])
def test_every_solver_finds_the_model_with_a_class_that_no_row_has(solver: str) -> None:
    data, params = LocalData(X, TWO, classes=3), {"fitIntercept": False, "regParam": 0.1, "maxIter": 500}
    best = LogisticRegression(**params, tol=1e-10, solver="l-bfgs").fit(data)
    found = LogisticRegression(**params, tol=1e-6, solver=solver).fit(data)
    assert found.summary.converged
    rough = 1e-2 if solver in ("sgd", "local-sgd") else 1e-4
    np.testing.assert_allclose(found.coefficientMatrix.toArray(), best.coefficientMatrix.toArray(), atol=rough)


@pytest.mark.parametrize("weights", [{0: 2, 1: 1}, {2: 5}, "balanced"])
def test_weights_of_classes_may_name_a_class_that_no_row_has(weights: Any) -> None:
    params = {"fitIntercept": False, "regParam": 0.1, "tol": 1e-10}
    model = LogisticRegression(**params, classWeight=weights).fit(LocalData(X, TWO, classes=3))
    named = weights if isinstance(weights, dict) else {k: N / (2 * np.sum(k == TWO)) for k in (0, 1)}
    by_row = np.array([named.get(int(label), 1.0) for label in TWO])
    alone = LogisticRegression(**params, weightCol="w").fit(LocalData(X, TWO, by_row, classes=3))
    np.testing.assert_allclose(model.coefficientMatrix.toArray(), alone.coefficientMatrix.toArray(), atol=1e-8)
    assert model.summary.numInstances == N


def test_classes_beyond_those_of_the_metadata_are_named(table: DataFrame) -> None:
    with pytest.raises(ParamError, match="classWeight names the label 3: the labels are 0 to 2"):
        LogisticRegression(classWeight={3: 1}).fit(LocalData(X, TWO, classes=3))
    with pytest.raises(ParamError, match="are 2 numbers, and the labels are 0 to 2"):
        LogisticRegression(thresholds=[0.5, 0.5]).fit(LocalData(X, TWO, classes=3))
    model = LogisticRegression(regParam=0.1).fit(LocalData(X, TWO, classes=3))
    with pytest.raises(DataError, match="has the label 3: the model knows the classes 0 to 2"):
        model.evaluate(table.withColumn("label", F.col("three") + 1.0)).accuracy  # noqa: B018


def test_a_start_with_other_classes_is_refused() -> None:
    start = LogisticRegression(regParam=0.1).fit(LocalData(X, TWO, classes=3))
    again = LogisticRegression(regParam=0.1, initialModel=start)
    assert again.fit(LocalData(X, TWO, classes=3)).numClasses == 3
    sentence = "initialModel is a multinomial model of 3 classes, and these labels with family='auto' make "
    for classes, other in ((None, "a binomial model"), (4, "a multinomial model of 4 classes")):
        with pytest.raises(ParamError, match=f"{sentence}{other}: it must be"):
            again.fit(LocalData(X, TWO, classes=classes))


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("solver", ["auto", "newton", "l-bfgs", "gd"])
def test_a_multinomial_model_of_one_class(
    spark: SparkSession, table: DataFrame, intercept: bool, solver: str, tmp_path: Path
) -> None:
    estimator = LogisticRegression(family="multinomial", fitIntercept=intercept, solver=solver)
    with pytest.warns(DataWarning, match="every label is 0: .*coefficients .* zero"):
        model = estimator.fit(LocalData(X, np.zeros(N)))
    assert model.numClasses == 1 and model.summary.converged
    assert not model.coefficientMatrix.toArray().any() and model.interceptVector.toArray().tolist() == [0.0]
    assert str(model.summary)
    model.save(str(tmp_path / "model"))
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    assert loaded.numClasses == 1
    arrays = load_model(str(tmp_path / "model"))
    assert arrays.predict_proba(X).tolist() == [[1.0]] * N
    assert arrays.predict(X).tolist() == [0.0] * N and np.isnan(arrays.predict(X * np.nan)).all()
    if solver == "auto":
        rows = labelled(table, "zeros", {})
        scored = loaded.transform(rows).select("prediction", "probability", "rawPrediction").first()
        assert [each if np.isscalar(each) else each.toArray().tolist() for each in scored] == [0.0, [1.0], [0.0]]
        assert loaded.evaluate(rows).metrics()["accuracy"] == 1.0
    with pytest.raises(ParamError, match=re.escape("no estimator of scikit-learn predicts with one class")):
        model.to_sklearn()


@pytest.mark.filterwarnings("ignore::sparkdml.errors.DataWarning")
def test_a_model_of_one_class_starts_another() -> None:
    start = LogisticRegression(family="multinomial").fit(LocalData(X, np.zeros(N)))
    again = LogisticRegression(family="multinomial", initialModel=start)
    assert again.fit(LocalData(X, np.zeros(N))).numClasses == 1
    with pytest.raises(ParamError, match=r"of 1 class, and these labels .* make a binomial model"):
        LogisticRegression(initialModel=start).fit(LocalData(X, TWO))
