"""Every estimator lives in pyspark.ml's pipelines and searches as its own do: fitted, copied, saved, scored."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import ESTIMATORS, TELLING, D, Family, N, X, margins, parameters
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import OneVsRest, OneVsRestModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator, RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import (
    CrossValidator,
    CrossValidatorModel,
    ParamGridBuilder,
    TrainValidationSplit,
    TrainValidationSplitModel,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkdml import LocalData
from sparkdml.estimator import LinearEstimator

NAMES = [f"x{j}" for j in range(D)]
WEIGHT = 1.0 + np.arange(N) % 3
LOOSE = {"tol": 0.1, "maxIter": 50}  # few passes: here the way of a model matters, not its numbers
CLASSIFIERS = [name for name in TELLING if ESTIMATORS[name].classes and ESTIMATORS[name].outputs == 1]


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> Iterator[DataFrame]:
    """The rows, with weights and the labels of every family."""
    labels = {f"label_{name}": family.labels for name, family in ESTIMATORS.items()}
    rows = np.column_stack([X, WEIGHT, *labels.values()]).tolist()
    schema = ", ".join(f"{name} double" for name in (*NAMES, "weight", *labels))
    plain = spark.createDataFrame(spark.sparkContext.parallelize(rows, 1), schema)
    found = VectorAssembler(inputCols=NAMES, outputCol="vector").transform(plain).cache()
    assert found.count() == N
    yield found
    found.unpersist(blocking=True)


def evaluator(name: str) -> Any:
    label = {"labelCol": f"label_{name}"}
    if ESTIMATORS[name].outputs > 1:
        return MulticlassClassificationEvaluator(**label, metricName="accuracy")
    return BinaryClassificationEvaluator(**label) if ESTIMATORS[name].classes else RegressionEvaluator(**label)


def local(family: Family) -> LocalData:
    return LocalData(X, family.labels, feature_names=NAMES)


# Copies, param maps and threads: without Spark.


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_copy_changes_nothing_of_the_original(name: str) -> None:
    estimator = ESTIMATORS[name].make(**LOOSE, regParam=0.25)
    other = estimator.copy({estimator.regParam: 0.5, estimator.predictionCol: "p"})
    assert (estimator.getRegParam(), other.getRegParam(), other.uid) == (0.25, 0.5, estimator.uid)
    assert estimator.copy().extractParamMap() == estimator.extractParamMap()
    model = estimator.fit(local(ESTIMATORS[name]))
    copied = model.copy({model.predictionCol: "p"})
    assert (model.getPredictionCol(), copied.getPredictionCol()) == ("prediction", "p")
    assert (copied.uid, copied.numFeatures, copied.featureNames) == (estimator.uid, D, tuple(NAMES))
    np.testing.assert_array_equal(parameters(copied), parameters(model))
    assert copied.summary.totalIterations == model.summary.totalIterations
    assert model.getRegParam() == 0.25


@pytest.mark.parametrize("name", ESTIMATORS)
def test_defaults_that_are_written_out_change_nothing(name: str) -> None:
    family = ESTIMATORS[name]
    written = {each.name: each.default for each in signature(family.cls.__init__).parameters.values()}
    del written["self"]
    model = family.cls(**{**written, **family.params, **LOOSE}).fit(local(family))
    np.testing.assert_array_equal(parameters(model), parameters(family.make(**LOOSE).fit(local(family))))
    estimator = family.make(weightCol="weight", regParam=0.5).setParams(weightCol=None, regParam=None)
    assert {param.name for param in estimator.params if estimator.isSet(param)} == set(family.params)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_param_maps_give_the_models_of_copies(name: str) -> None:
    family, estimator = ESTIMATORS[name], ESTIMATORS[name].make(tol=1e-8, maxIter=300)
    maps = [{estimator.regParam: strength} for strength in (0.1, 1.0, 0.3)] + [{estimator.fitIntercept: False}]
    together = estimator.fit(local(family), maps)
    for each, found in zip(maps, together, strict=True):
        alone = estimator.copy(each).fit(local(family))
        np.testing.assert_allclose(parameters(found), parameters(alone), rtol=1e-5, atol=1e-7)
        assert found.getRegParam() == alone.getRegParam()
    one = estimator.fit(local(family), maps[0])
    np.testing.assert_allclose(parameters(one), parameters(together[0]), rtol=1e-5, atol=1e-7)
    assert estimator.getRegParam() == ESTIMATORS[name].make().getRegParam()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_threads_may_take_the_models_of_one_search(name: str) -> None:
    estimator = ESTIMATORS[name].make(**LOOSE)
    maps = [{estimator.regParam: 0.1 * (i + 1)} for i in range(8)]
    models = estimator.fitMultiple(local(ESTIMATORS[name]), maps)
    with ThreadPoolExecutor(4) as pool:
        found = dict(pool.map(lambda _: next(models), maps))
    assert sorted(found) == list(range(len(maps)))
    assert [found[i].getRegParam() for i in range(len(maps))] == [each[estimator.regParam] for each in maps]
    with pytest.raises(StopIteration):
        next(models)


@pytest.mark.parametrize("name", TELLING)
def test_threads_may_fit_at_the_same_time(name: str) -> None:
    family = ESTIMATORS[name]
    estimator = family.make(**LOOSE)
    alone = parameters(estimator.fit(local(family)))
    with ThreadPoolExecutor(4) as pool:
        for model in pool.map(lambda _: estimator.fit(local(family)), range(8)):
            np.testing.assert_array_equal(parameters(model), alone)


# On Spark, each as little as tells.


@pytest.mark.parametrize("name", TELLING)
def test_pipelines_fit_save_and_load(table: DataFrame, name: str, tmp_path: Path) -> None:
    assembler = VectorAssembler(inputCols=NAMES, outputCol="features")
    estimator = ESTIMATORS[name].make(**LOOSE, labelCol=f"label_{name}", weightCol="weight")
    Pipeline(stages=[assembler, estimator]).save(str(tmp_path / "pipeline"))
    loaded = Pipeline.load(str(tmp_path / "pipeline"))
    assert {p.name: v for p, v in loaded.getStages()[1].extractParamMap().items()} == {
        p.name: v for p, v in estimator.extractParamMap().items()
    }
    fitted = loaded.fit(table)
    fitted.save(str(tmp_path / "fitted"))
    again = PipelineModel.load(str(tmp_path / "fitted"))
    assert type(again.stages[1]) is type(fitted.stages[1])
    assert again.stages[1].featureNames == tuple(NAMES)
    np.testing.assert_array_equal(parameters(again.stages[1]), parameters(fitted.stages[1]))
    direct = estimator.fit(LocalData(X, ESTIMATORS[name].labels, WEIGHT))
    np.testing.assert_allclose(parameters(again.stages[1]), parameters(direct), rtol=1e-6, atol=1e-9)
    assert again.transform(table).collect() == fitted.transform(table).collect()


SEARCHES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "cross validation": (CrossValidator, CrossValidatorModel, {"numFolds": 2, "seed": 1}),
    "one split": (TrainValidationSplit, TrainValidationSplitModel, {"trainRatio": 0.6, "seed": 1}),
}


@pytest.mark.parametrize(
    ("name", "search"),
    [
        (TELLING[0], "cross validation"),
        (TELLING[0], "one split"),
        *(pytest.param(name, "cross validation", marks=pytest.mark.extras) for name in TELLING[1:]),
    ],
)
def test_searches_fit_a_grid_together_save_and_load(
    table: DataFrame, name: str, search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[int] = []
    fit_data = LinearEstimator._fit_data
    monkeypatch.setattr(
        LinearEstimator, "_fit_data", lambda self, data, each: packed.append(len(each)) or fit_data(self, data, each)
    )
    kind, model_kind, settings = SEARCHES[search]
    estimator = ESTIMATORS[name].make(**LOOSE, labelCol=f"label_{name}", featuresCol="vector")
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 50.0]).build()
    judge = evaluator(name)
    validator = kind(
        estimator=estimator, estimatorParamMaps=grid, evaluator=judge, parallelism=2, collectSubModels=True, **settings
    )
    validator.save(str(tmp_path / "search"))
    loaded = kind.load(str(tmp_path / "search"))  # type: ignore[attr-defined]
    assert type(loaded.getEstimator()) is type(estimator)
    assert [list(each.values()) for each in loaded.getEstimatorParamMaps()] == [[0.01], [50.0]]
    found = loaded.fit(table)
    folds = settings.get("numFolds", 1)
    assert packed == [2] * folds + [1]  # the whole grid of a fold together, and then the best
    assert type(found.bestModel) is type(estimator.fit(local(ESTIMATORS[name])))
    found.save(str(tmp_path / "found"))
    again = model_kind.load(str(tmp_path / "found"))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(parameters(again.bestModel), parameters(found.bestModel))
    assert again.bestModel.getRegParam() == found.bestModel.getRegParam()
    metrics = found.avgMetrics if folds > 1 else found.validationMetrics
    best = (np.argmax if judge.isLargerBetter() else np.argmin)(metrics)
    assert found.bestModel.getRegParam() == [0.01, 50.0][best]


@pytest.mark.extras
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_against_the_rest_passes_the_weights_on(table: DataFrame, name: str, tmp_path: Path) -> None:
    kinds = table.withColumn("kind", F.when(F.col("x0") > 0.5, 2.0).otherwise((F.col("x1") > 0.0).cast("double")))
    estimator = ESTIMATORS[name].make(**LOOSE, regParam=0.01)
    fitted = OneVsRest(classifier=estimator, labelCol="kind", featuresCol="vector", weightCol="weight").fit(kinds)
    label = np.where(X[:, 0] > 0.5, 2.0, (X[:, 1] > 0.0).astype(float))
    for k, model in enumerate(fitted.models):
        assert model.getWeightCol() == "weight"
        alone = estimator.fit(LocalData(X, (label == k).astype(float), WEIGHT))
        np.testing.assert_allclose(parameters(model), parameters(alone), rtol=1e-6, atol=1e-9)
    fitted.save(str(tmp_path / "fitted"))
    again = OneVsRestModel.load(str(tmp_path / "fitted"))
    scored = again.transform(kinds).select("prediction", "kind").collect()
    assert scored == fitted.transform(kinds).select("prediction", "kind").collect()
    assert sum(row.prediction == row.kind for row in scored) > 0.8 * N


@pytest.mark.parametrize("name", TELLING)
def test_transform_is_lazy_and_adds_the_columns_of_pyspark(table: DataFrame, name: str) -> None:
    model = ESTIMATORS[name].make(**LOOSE, featuresCol="vector").fit(local(ESTIMATORS[name]))
    context = table.sparkSession.sparkContext
    context.setJobGroup(f"lazy {name}", "")
    try:
        scored, twin = model.transform(table), model.to_pyspark().transform(table)
        assert list(context.statusTracker().getJobIdsForGroup(f"lazy {name}")) == []
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)
    for ours, theirs in zip(scored.schema, twin.schema, strict=True):
        assert (ours.name, ours.dataType, ours.metadata) == (theirs.name, theirs.dataType, theirs.metadata)
    assert scored.drop(*(set(scored.columns) - set(table.columns))).collect() == table.collect()


# pyspark.ml has no evaluator of the deviance, which is what the summary of a generalized linear model tells.
@pytest.mark.parametrize("name", [name for name in TELLING if not ESTIMATORS[name].log_link])
def test_evaluators_of_pyspark_see_what_the_summary_says(table: DataFrame, name: str) -> None:
    label, weight = {"labelCol": f"label_{name}"}, {"weightCol": "weight"}
    estimator = ESTIMATORS[name].make(**LOOSE, featuresCol="vector", **label, **weight)
    model = estimator.fit(LocalData(X, ESTIMATORS[name].labels, WEIGHT))
    scored, told = model.transform(table).cache(), model.evaluate(table).metrics()
    checks: dict[str, Callable[[], float]] = {
        "rmse": lambda: RegressionEvaluator(**label, **weight).evaluate(scored),
        "mae": lambda: RegressionEvaluator(**label, **weight, metricName="mae").evaluate(scored),
        "auc": lambda: BinaryClassificationEvaluator(**label, **weight, numBins=0).evaluate(scored),
        "accuracy": lambda: MulticlassClassificationEvaluator(**label, **weight, metricName="accuracy").evaluate(
            scored
        ),
        "log_loss": lambda: MulticlassClassificationEvaluator(**label, **weight, metricName="logLoss").evaluate(scored),
    }
    seen = {metric: check() for metric, check in checks.items() if metric in told}
    assert seen
    assert seen == pytest.approx({metric: told[metric] for metric in seen}, rel=1e-9)
    scored.unpersist(blocking=True)


@pytest.mark.parametrize("name", TELLING)
def test_spark_predicts_as_the_model_does(table: DataFrame, name: str) -> None:
    model = ESTIMATORS[name].make(**LOOSE, featuresCol="vector").fit(local(ESTIMATORS[name]))
    rows = model.transform(table).select("vector", "prediction").collect()
    assert len(rows) == len(margins(model, X))
    np.testing.assert_allclose(
        [model.predict(row.vector) for row in rows], [row.prediction for row in rows], rtol=1e-12
    )


@pytest.mark.extras
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_against_the_rest_gives_its_features_to_a_classifier_of_other_ones(table: DataFrame, name: str) -> None:
    kinds = table.withColumn("kind", F.when(F.col("x0") > 0.5, 2.0).otherwise((F.col("x1") > 0.0).cast("double")))
    settings = {"labelCol": "kind", "featuresCol": "vector", "weightCol": "weight"}
    classifiers = [ESTIMATORS[name].make(**LOOSE, regParam=0.01, **more) for more in ({}, {"featuresCols": NAMES})]
    plain, scalar = (OneVsRest(classifier=each, **settings).fit(kinds) for each in classifiers)
    for model, expected in zip(scalar.models, plain.models, strict=True):
        np.testing.assert_array_equal(parameters(model), parameters(expected))
        assert not model.isSet("featuresCols") and model.featureNames == tuple(NAMES)
    assert classifiers[1].getFeaturesCols() == NAMES  # the classifier itself stays as it was
    scored = [model.transform(kinds).select("prediction").collect() for model in (plain, scalar)]
    assert scored[0] == scored[1]
    search = CrossValidator(
        estimator=OneVsRest(classifier=classifiers[1], **settings),
        estimatorParamMaps=[{classifiers[1].regParam: 0.1}, {classifiers[1].regParam: 1.0}],
        evaluator=MulticlassClassificationEvaluator(labelCol="kind", metricName="accuracy"),
        numFolds=2,
        seed=1,
    )
    assert search.fit(kinds).avgMetrics[0] > 0.5  # three classes; the stronger penalty leaves little of them


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_of_the_two_ways_to_name_features_takes_the_place_of_the_other(name: str) -> None:
    by_columns = ESTIMATORS[name].make(featuresCols=NAMES)
    changed = by_columns.copy({by_columns.featuresCol: "vector"})
    assert changed.getFeaturesCol() == "vector" and not changed.isDefined("featuresCols")
    back = changed.copy({changed.featuresCols: NAMES})
    assert back.getFeaturesCols() == NAMES and not back.isSet("featuresCol")
    assert by_columns.copy().getFeaturesCols() == NAMES


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_class_derived_from_a_model_does_all_that_the_model_does(name: str, tmp_path: Path) -> None:
    model = ESTIMATORS[name].make(**LOOSE).fit(local(ESTIMATORS[name]))
    derived = type("Derived", (type(model),), {"__module__": __name__})
    other = model._copyValues(derived(model._weights, model._intercepts, model.featureNames))
    row = Vectors.dense(X[0])
    assert other.predict(row) == model.predict(row)
    np.testing.assert_array_equal(other.to_arrays().predict(X), model.to_arrays().predict(X))
    assert type(other.to_arrays()) is type(model.to_arrays())
    start = ESTIMATORS[name].make(**LOOSE, initialModel=other).fit(local(ESTIMATORS[name]))
    np.testing.assert_allclose(margins(start, X), margins(model, X), atol=0.5)
    if name not in ("gamma", "poisson", "tweedie"):
        assert type(other.to_sklearn()) is type(model.to_sklearn())
