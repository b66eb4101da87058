"""The jobs with a classifier: it is trained on labels of 0 and 1, and scored rows have a class and a probability."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from sklearn import metrics
from sklearn.linear_model import LogisticRegression as Exact

Run = Callable[..., Any]

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "breast_cancer.csv"
TABLE = pd.read_csv(SAMPLE)
X, Y = TABLE.drop(columns="malignant"), TABLE.malignant
ARGV = ("--label", "malignant", "--reg-param", "0.01", "--tol", "1e-9")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def model(run: Run, kept: Path) -> str:
    """Published once."""
    if not (kept / "model").exists():
        assert run("train_logreg", "--input", SAMPLE, *ARGV, "--output", kept / "model").code == 0
    return str(kept / "model")


def exact() -> np.ndarray:
    """The probabilities by scikit-learn: the same penalty on standardized columns is 1 / (n lambda)."""
    A = (X - X.mean()) / X.std(ddof=1)
    return Exact(C=1.0 / (len(A) * 0.01), tol=1e-10, max_iter=1000).fit(A, Y).predict_proba(A)[:, 1]


def test_without_an_input_it_trains_on_the_sample(run: Run) -> None:
    ended = run("train_logreg", "--reg-param", "0.01")
    assert (ended.code, ended.result["status"], ended.result["rows"]) == (0, "trained", len(TABLE))
    assert ended.result["converged"]
    assert ended.result["metrics"]["auc"] > 0.98
    assert all(name in ended.out for name in (*X.columns, "log loss", "AUC"))


def test_scored_rows_have_a_class_and_a_probability(run: Run, model: str, spark: SparkSession, tmp_path: Path) -> None:
    holes = TABLE.copy()
    holes.loc[3, "mean_area"] = None
    holes.to_csv(tmp_path / "holes.csv", index=False)
    argv = ("--model", model, "--input", tmp_path / "holes.csv", "--output", tmp_path / "scores")
    ended = run("predict", *argv, "--output-format", "csv", "--probability-col", "p")
    assert ended.code == 0, ended.result
    assert (ended.result["rows"], ended.result["rows_null"]) == (len(TABLE), 1)
    found = spark.read.csv(str(tmp_path / "scores"), header=True, inferSchema=True).toPandas()
    assert found.columns.tolist() == [*TABLE.columns, "prediction", "p"]
    there = found.p.notna()
    assert (~there).tolist() == found.prediction.isna().tolist() == found.mean_area.isna().tolist()
    np.testing.assert_allclose(found.p[there], exact()[there], atol=1e-6)
    assert (found.prediction[there] == (found.p[there] > 0.5)).all()
    for wrong, code in (({"--probability-col": "mean_area"}, 65), ({"--probability-col": "prediction"}, 64)):
        refused = run(
            "predict", *argv[:4], "--output", tmp_path / "other", *(each for pair in wrong.items() for each in pair)
        )
        assert (refused.code, "--probability-col" in refused.result["error"]) == (code, True)


def test_a_report_has_the_metrics_of_scikit_learn_and_its_pictures(run: Run, model: str, tmp_path: Path) -> None:
    argv = ("--model", model, "--input", SAMPLE, "--output", tmp_path / "report")
    ended = run("evaluate", *argv, "--plots", "--weight", "mean_radius")
    p, s, found = exact(), TABLE.mean_radius, ended.result["metrics"]
    expected = {
        "log_loss": metrics.log_loss(Y, p, sample_weight=s),
        "auc": metrics.roc_auc_score(Y, p, sample_weight=s),
        "accuracy": metrics.accuracy_score(Y, p > 0.5, sample_weight=s),
        "f1": metrics.f1_score(Y, p > 0.5, sample_weight=s),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "_sparkdml.json",
        "calibration.png",
        "metrics.json",
        "precision_recall.png",
        "roc.png",
    ]
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"] == found
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "report").glob("*.png"))


def test_other_labels_and_other_models_are_refused(run: Run, model: str, tmp_path: Path) -> None:
    argv = ("--input", SAMPLE, *ARGV, "--with-column", "malignant=malignant * 2", "--family", "binomial")
    refused = run("train_logreg", *argv)
    assert (refused.code, "212 labels other than 0 and 1 (such as 2)" in refused.result["error"]) == (65, True)
    refused = run("evaluate", "--model", model, "--input", SAMPLE, "--label", "mean_radius")
    assert (refused.code, "distinct labels" in refused.result["error"]) == (65, True)
    argv = ("--input", SAMPLE, "--label", "mean_area", "--features", "mean_radius", "--output", tmp_path / "linear")
    assert run("train_linreg", *argv).code == 0
    argv = ("--model", tmp_path / "linear", "--input", SAMPLE, "--output", tmp_path / "scores")
    refused = run("predict", *argv, "--probability-col", "p")
    assert (refused.code, "LinearRegressionModel has no such column" in refused.result["error"]) == (64, True)


@pytest.mark.extras
def test_a_run_that_starts_from_a_model_is_another_run(run: Run, model: str, tmp_path: Path) -> None:
    argv = ("--input", SAMPLE, *ARGV, "--output", tmp_path / "out")
    cold, warm = run("train_logreg", *argv), run("train_logreg", *argv, "--initial-model", model)
    assert (cold.code, warm.code) == (0, 0)
    assert warm.result["passes"] <= 3 < cold.result["passes"]
    assert warm.result["version"][-12:] != cold.result["version"][-12:]
    assert warm.result["metrics"] == pytest.approx(cold.result["metrics"], rel=1e-6, abs=1e-7)
    record = json.loads((Path(warm.result["model"]).parent / "run.json").read_text())["configuration"]["initial_model"]
    assert (record["path"], len(record["sha256"])) == (model, 64)
    assert run("train_logreg", *argv, "--initial-model", model).result == warm.result
    refused = run("train_logreg", *argv, "--initial-model", tmp_path / "none")
    assert (refused.code, "there is no model at" in refused.result["error"]) == (66, True)
    refused = run("train_linreg", *argv, "--initial-model", model)
    assert (refused.code, "LinearRegression can start from a" in refused.result["error"]) == (64, True)


@pytest.mark.extras
def test_categories_start_from_the_last_stage_and_classes_are_balanced(run: Run, tmp_path: Path) -> None:
    argv = ("--input", SAMPLE, *ARGV, "--with-column", "size=CAST(mean_radius > 14 AS INT)", "--categorical", "size")
    argv += ("--features", "mean_texture,mean_area", "--sampling", "undersample", "--partitioning", "stratified")
    first = run("train_logreg", *argv, "--output", tmp_path / "first")
    assert first.code == 0, first.result
    assert first.result["rows"] == len(TABLE)  # the metrics are of the whole table
    assert abs(first.result["metrics"]["bias"]) < 0.05
    again = run("train_logreg", *argv, "--initial-model", tmp_path / "first")
    assert again.result["passes"] <= 3 < first.result["passes"]


@pytest.mark.extras
def test_classes_get_weights_and_a_column_says_which_rows_validate(run: Run, tmp_path: Path) -> None:
    held_out = np.arange(len(TABLE)) % 4 == 0
    TABLE.assign(v=held_out.astype(int)).to_csv(tmp_path / "marked.csv", index=False)
    argv = ("--input", tmp_path / "marked.csv", *ARGV[:2], "--reg-param", "0.001")
    ended = run(
        "train_logreg", *argv, "--validation-indicator-col", "v", "--class-weight", "0=1,1=5", "--patience", "2"
    )
    assert ended.code == 0, ended.result
    assert ended.result["rows"] == np.sum(~held_out)
    assert ended.result["converged"]
    assert "\nv " not in ended.out  # no feature
    categories = ("--with-column", "size=CAST(mean_radius > 14 AS INT)", "--categorical", "size")
    for more in ((), (*categories, "--features", "mean_texture,mean_area")):
        drawn = run("train_logreg", *argv, *more, "--validation-fraction", "0.25", "--class-weight", "balanced")
        assert drawn.code == 0, drawn.result
        assert drawn.result["rows"] < len(TABLE)
        assert set(drawn.result["metrics"]) == set(ended.result["metrics"])
        assert drawn.result["metrics"]["auc"] > 0.9
    for wrong, told in (
        (("--class-weight", "even"), "neither 'balanced' nor weights of labels"),
        (("--class-weight", "2=1"), "the labels are 0 and 1"),
        (("--patience", "2"), "patience is for early stopping"),
    ):
        refused = run("train_logreg", *argv, *wrong)
        assert (refused.code, told in refused.result["error"]) == (64, True)


def test_a_support_vector_machine_is_trained_predicts_and_is_evaluated(run: Callable[..., Any], tmp_path: Path) -> None:
    trained = run("train_svc", "--reg-param", "0.1", "--loss", "squaredHinge", "--output", tmp_path / "model")
    assert (trained.code, trained.result["converged"]) == (0, True)
    assert set(trained.result["metrics"]) == {"auc", "auc_pr", "accuracy", "precision", "recall", "f1"}
    argv = ("--model", tmp_path / "model", "--input", SAMPLE)
    evaluated = run("evaluate", *argv, "--output", tmp_path / "metrics", "--plots")
    assert evaluated.result["metrics"] == pytest.approx(trained.result["metrics"])
    assert {path.name for path in (tmp_path / "metrics").glob("*.png")} == {"roc.png", "precision_recall.png"}
    assert run("predict", *argv, "--output", tmp_path / "predicted").code == 0


def test_a_job_of_more_than_two_classes(run: Run, spark: SparkSession, tmp_path: Path) -> None:
    argv = ("--input", SAMPLE, "--label", "size", "--reg-param", "0.01", "--lower-bounds-on-coefficients", "-0.5")
    argv += ("--features", "mean_texture,mean_smoothness,mean_area", "--output", tmp_path / "model")
    size = ("--with-column", "size=CAST(mean_radius > 12 AS INT) + CAST(mean_radius > 15 AS INT)")
    ended = run("train_logreg", *argv, *size)
    assert ended.code == 0, ended.result
    assert ended.result["metrics"]["accuracy"] > 0.8
    assert all(each in ended.out for each in ("Class 2", "log loss"))
    report = ("--model", tmp_path / "model", "--input", SAMPLE, *size, "--output", tmp_path / "report", "--plots")
    evaluated = run("evaluate", *report)
    assert evaluated.code == 0, evaluated.result
    assert evaluated.result["metrics"] == pytest.approx(ended.result["metrics"], rel=1e-9)
    pictures = sorted(path.name for path in (tmp_path / "report").glob("*.png"))
    assert pictures == ["calibration.png", "confusion.png"]
    argv = ("--model", tmp_path / "model", "--input", SAMPLE, "--output", tmp_path / "scores")
    assert run("predict", *argv, "--probability-col", "p").code == 0
    found = spark.read.parquet(str(tmp_path / "scores")).toPandas()
    assert set(found.prediction) == {0.0, 1.0, 2.0}
    assert found.p.between(1 / 3, 1.0).all()
    record = json.loads((Path(ended.result["model"]).parent / "run.json").read_text())
    assert record["configuration"]["params"]["lowerBoundsOnCoefficients"] == -0.5
    for wrong, told in (("[[0,0]]", "must be (3, 1)"), ("low", "is not a value of lowerBounds")):
        flag = f"--lower-bounds-on-coefficients={wrong}"
        refused = run("train_logreg", "--input", SAMPLE, "--label", "size", *size, "--features", "mean_area", flag)
        assert (refused.code, told in refused.result["error"]) == (64, True)
