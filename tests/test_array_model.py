"""Models that score arrays: the predictions of `transform`, without Spark and without Java."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from scipy.sparse import csr_array

import sparkdml
from sparkdml import load_model
from sparkdml.classification import LinearSVC, LogisticRegression
from sparkdml.errors import ColumnError, ConvergenceWarning, DataWarning, FormatError, ParamError
from sparkdml.files import LocalFiles
from sparkdml.manifest import dump_manifest
from sparkdml.regression import LinearRegression, PoissonRegression

NAMES = ["a", "b", "c"]
ESTIMATORS = {
    "linear": LinearRegression(featuresCols=NAMES, handleInvalid="mean"),
    "linear without an intercept": LinearRegression(featuresCols=NAMES, fitIntercept=False),
    "counts": PoissonRegression(featuresCols=NAMES),
    "vector machine": LinearSVC(featuresCols=NAMES, regParam=0.1, handleInvalid="mean"),
    "huber": LinearRegression(featuresCols=NAMES, loss="huber"),
    "logistic": LogisticRegression(featuresCols=NAMES),
    "multinomial": LogisticRegression(featuresCols=NAMES, family="multinomial", regParam=0.01),
    "logistic with a threshold": LogisticRegression(featuresCols=NAMES, threshold=0.3, handleInvalid="mean"),
    "logistic with thresholds": LogisticRegression(featuresCols=NAMES, thresholds=[0.8, 0.2]),
}


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request: pytest.FixtureRequest, spark: SparkSession, X: np.ndarray) -> Any:
    """A model, and what Spark predicts for X, by column."""
    noise = np.random.default_rng(1).normal(size=len(X))
    label = (X @ [1.0, 0.3, -5.0] + noise > 1.5).astype(float)
    frame = spark.createDataFrame(pd.DataFrame(X, columns=NAMES).assign(label=label))
    model = ESTIMATORS[request.param].fit(frame)
    return model, model.transform(frame).toPandas()


def test_the_predictions_are_those_of_transform(fitted: Any, X: np.ndarray, tmp_path: Path) -> None:
    model, scored = fitted
    model.save(str(tmp_path / "model"))
    loaded = load_model(str(tmp_path / "model"))
    shuffled = pd.DataFrame(X, columns=NAMES)[["c", "a", "b"]].assign(other="text")
    for given in (X, X.tolist(), csr_array(X), shuffled):
        np.testing.assert_allclose(loaded.predict(given), scored["prediction"], rtol=1e-12)
    if "probability" in scored:
        probability = np.array([row.toArray() for row in scored["probability"]])
        np.testing.assert_allclose(loaded.predict_proba(X), probability, atol=1e-15)  # type: ignore[attr-defined]


def test_scikit_learns_twin_predicts_the_same(fitted: Any, X: np.ndarray) -> None:
    model, scored = fitted
    if {param.name for param in model._paramMap} & {"threshold", "thresholds"}:
        with pytest.raises(ParamError, match="no estimator of scikit-learn predicts with threshold"):
            model.to_sklearn()
        return
    twin, frame = model.to_sklearn(), pd.DataFrame(X, columns=NAMES)
    assert list(twin.feature_names_in_) == NAMES
    np.testing.assert_allclose(twin.predict(frame), scored["prediction"], rtol=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        twin.predict(frame[["c", "a", "b"]])
    if "probability" in scored:
        probability = np.array([row.toArray() for row in scored["probability"]])
        np.testing.assert_allclose(twin.predict_proba(frame), probability, atol=1e-15)
    if model.featureMeans is not None:
        holes = frame.where(np.median(X) >= X)
        np.testing.assert_allclose(twin.predict(holes), model.to_arrays().predict(holes), rtol=1e-12)


def test_a_pickle_holds_what_is_saved(fitted: Any, X: np.ndarray, tmp_path: Path) -> None:
    model, _ = fitted
    back = pickle.loads(pickle.dumps(model))
    model.save(str(tmp_path / "model"))
    loaded = type(model).load(str(tmp_path / "model"))
    assert (back.uid, back.featureNames, str(back.summary)) == (loaded.uid, loaded.featureNames, str(loaded.summary))
    np.testing.assert_array_equal(back.to_arrays().predict(X), loaded.to_arrays().predict(X))
    assert back.extractParamMap() == loaded.extractParamMap()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_are_pickled_with_their_params(name: str, spark: SparkSession) -> None:
    estimator = ESTIMATORS[name].copy()
    estimator.setMaxIter(7)
    back = pickle.loads(pickle.dumps(estimator))
    assert (back.uid, back.extractParamMap()) == (estimator.uid, estimator.extractParamMap())
    with pytest.raises(ParamError):
        back.setMaxIter(-1)


def test_predict_takes_one_vector_and_says_so(fitted: Any, X: np.ndarray) -> None:
    model, scored = fitted
    assert model.predict(X[0]) == pytest.approx(scored["prediction"][0])
    for wrong, said in ((X, r"the shape \(60, 3\)"), (X[0, :2], "2 numbers"), (X[:1, None], r"shape \(1, 1, 3\)")):
        with pytest.raises(ColumnError, match=rf"one vector of 3 numbers, and this has .*{said}.*to_arrays\(\)"):
            model.predict(wrong)


def test_the_package_lists_what_it_has() -> None:
    assert {"pack", "load_model", "LocalData", "__version__"} <= set(dir(sparkdml))


def test_a_warning_names_the_callers_line(spark: SparkSession, X: np.ndarray) -> None:
    frame = spark.createDataFrame(pd.DataFrame(X, columns=NAMES).assign(label=X[:, 0], one=1.0))
    with pytest.warns(ConvergenceWarning) as told:
        LinearRegression(featuresCols=NAMES, solver="gd", maxIter=1).fit(frame)
    assert [each.filename for each in told] == [__file__]
    with pytest.warns(DataWarning) as told:
        LogisticRegression(featuresCols=NAMES, labelCol="one").fit(frame)
    assert {each.filename for each in told} == {__file__}


def test_pysparks_twin_comes_back(fitted: Any, X: np.ndarray) -> None:
    model, scored = fitted
    back = type(model).from_pyspark(model.to_pyspark(), NAMES)
    assert back.uid == model.uid
    assert getattr(back, "scale", None) == getattr(model, "scale", None)
    assert back.featureNames == tuple(NAMES)
    np.testing.assert_allclose(back.to_arrays().predict(X), scored["prediction"], rtol=1e-12)
    assert type(model).from_pyspark(model.to_pyspark()).featureNames == ("features[0]", "features[1]", "features[2]")
    with pytest.raises(ColumnError, match="2 names for 3 features"):
        type(model).from_pyspark(model.to_pyspark(), NAMES[:2])
    with pytest.raises(TypeError, match=r"from_pyspark needs a .*Model of pyspark.ml, not sparkdml"):
        type(model).from_pyspark(model)


def test_a_missing_feature_is_its_mean_or_has_no_prediction(fitted: Any, X: np.ndarray, tmp_path: Path) -> None:
    model, _ = fitted
    model.save(str(tmp_path / "model"))
    loaded, holes = load_model(str(tmp_path / "model")), X.copy()
    holes[::2, 1] = np.nan
    means = X if model.featureMeans is None else np.where(np.isnan(holes), model.featureMeans, X)
    expected = np.where(np.isnan(holes).any(axis=1) & (model.featureMeans is None), np.nan, loaded.predict(means))
    np.testing.assert_array_equal(loaded.predict(holes), expected)
    np.testing.assert_allclose(loaded.predict(csr_array(holes)), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def saved(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What y = 2 a + 1 was saved as."""
    path = tmp_path_factory.mktemp("saved") / "model"
    frame = spark.createDataFrame([(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)], ["a", "label"])
    LinearRegression(featuresCols=["a"]).fit(frame).save(str(path))
    return path


def test_neither_pyspark_nor_java_is_needed(saved: Path) -> None:
    script = (
        "import sys; sys.modules['pyspark'] = None; from sparkdml import load_model; "
        f"print(load_model({str(saved)!r}).predict([[10.0]])[0])"
    )
    environment = {"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert ended.stderr == ""
    assert float(ended.stdout) == pytest.approx(21.0)


def test_a_published_model_is_its_latest_version(saved: Path, tmp_path: Path) -> None:
    version = tmp_path / "versions" / "one"
    shutil.copytree(saved, version / "model")
    (version / "manifest.json").write_bytes(dump_manifest(LocalFiles(str(version))))
    (version / "_SUCCESS").touch()
    (tmp_path / "LATEST").write_text("one\n")
    for path in (tmp_path, version, version / "model", saved):
        assert load_model(str(path)).predict([[1.0]])[0] == pytest.approx(3.0)
    (tmp_path / "LATEST").write_text("../versions/one")
    with pytest.raises(FormatError, match="LATEST names no version"):
        load_model(str(tmp_path))


def test_what_cannot_be_scored_is_refused(saved: Path, spark: SparkSession, tmp_path: Path) -> None:
    model = load_model(str(saved))
    with pytest.raises(ColumnError, match=r"shape \(3,\): it must be \(rows, 1\), of a"):
        model.predict([1.0, 2.0, 3.0])
    with pytest.raises(ColumnError, match="no column 'a'"):
        model.predict(pd.DataFrame({"b": [1.0]}))
    with pytest.raises(FileNotFoundError, match="no saved model"):
        load_model(str(tmp_path))
    LinearRegression().save(str(tmp_path / "estimator"))
    with pytest.raises(FormatError, match=r"holds a .*LinearRegression, which cannot score arrays"):
        load_model(str(tmp_path / "estimator"))
    damaged = tmp_path / "damaged"
    (damaged / "metadata").mkdir(parents=True)
    (damaged / "metadata" / "part-00000").write_bytes((saved / "metadata" / "part-00000").read_bytes())
    (damaged / "data").mkdir()
    (damaged / "data" / "arrays").write_bytes(bytes((saved / "data" / "arrays").stat().st_size))
    with pytest.raises(FormatError, match="SHA-256"):
        load_model(str(damaged))
