"""The jobs that score and evaluate: rows are kept, what does not fit is refused, and they end as the contract says."""

import builtins
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from sklearn import metrics
from sklearn.linear_model import LinearRegression as LeastSquares

from sparkdml.jobkit import predicting
from sparkdml.jobkit.categories import PREFIX
from sparkdml.jobkit.plots import _MIDDLES
from sparkdml.regression import LinearRegression

N = 60
Run = Callable[..., Any]


def rows() -> pd.DataFrame:
    """Rows with two numbers, two categories, a label and a weight; nothing is missing."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"id": np.arange(N), "a": rng.normal(size=N), "b": rng.integers(0, 9, N)})
    table["cut"] = rng.choice(["Fair", "Good", "Very Good"], N, p=[0.2, 0.5, 0.3])
    table["size"] = rng.choice([1, 2], N, p=[0.6, 0.4])
    table["y"] = 2 * table.a - table.b + (table.cut == "Good") * 3 + table["size"] + rng.normal(size=N) * 0.1
    table["w"] = rng.integers(1, 4, N)
    return table


TABLE = rows()
TRAIN = ("--label", "y", "--features", "a,b")
CATEGORIES = (*TRAIN, "--categorical", "cut,size")


def design(table: pd.DataFrame) -> pd.DataFrame:
    """What the encoders make of the rows: every level but the rarest."""
    X = table[["a", "b"]].astype(float)
    for name in ("cut", "size"):
        for level in TABLE[name].value_counts().index[:-1]:
            X[f"{name}={level}"] = (table[name] == level).astype(float)
    return X


EXACT = LeastSquares().fit(design(TABLE), TABLE.y)


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    TABLE.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each model is trained once; who changes it takes a copy."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def trained(run: Run, csv: str, kept: Path) -> Callable[..., str]:
    """Trains and publishes on the table; the OUTPUT directory."""

    def train(*argv: str) -> str:
        output = kept / " ".join(argv)
        if not output.exists():
            assert run("train_linreg", "--input", csv, "--output", output, *argv).code == 0
        return str(output)

    return train


@pytest.fixture
def scored(run: Run, spark: SparkSession, tmp_path: Path) -> Callable[..., tuple[Any, pd.DataFrame]]:
    """Scores a pandas table; how the job ended, and the rows in their order."""

    def score(model: str, table: pd.DataFrame, *argv: str) -> tuple[Any, pd.DataFrame]:
        shutil.rmtree(tmp_path / "scores", ignore_errors=True)
        spark.createDataFrame(table).repartition(2).write.mode("overwrite").parquet(str(tmp_path / "input"))
        ended = run("predict", "--model", model, "--input", tmp_path / "input", "--output", tmp_path / "scores", *argv)
        found = pd.DataFrame()
        if ended.code == 0:
            found = spark.read.parquet(str(tmp_path / "scores")).toPandas().sort_values("id", ignore_index=True)
        return ended, found

    return score


def changed(table: pd.DataFrame, **cells: Any) -> pd.DataFrame:
    """The table with other values in the first row."""
    table = table.astype({"cut": object, "b": float})
    for name, value in cells.items():
        table.loc[0, name] = value
    return table


def test_every_column_is_kept_and_the_predictions_are_least_squares(trained, scored) -> None:
    ended, found = scored(trained(*TRAIN), TABLE)
    exact = LeastSquares().fit(TABLE[["a", "b"]], TABLE.y)
    assert ended.result["status"] == "published"
    assert (ended.result["rows"], ended.result["rows_null"]) == (N, 0)
    np.testing.assert_allclose(found.prediction, exact.predict(TABLE[["a", "b"]]), rtol=1e-9)
    pd.testing.assert_frame_equal(found.drop(columns="prediction"), TABLE, check_dtype=False)
    assert found.drop(columns="prediction").dtypes["b"] == TABLE.dtypes["b"]


def test_categories_have_named_coefficients_and_keep_their_columns(run: Run, trained, scored, csv: str) -> None:
    ended = run("train_linreg", "--input", csv, *CATEGORIES)
    assert all(f"\n{name} " in ended.out for name in design(TABLE).columns)
    assert "Reference levels, whose coefficients are zero: cut=Fair, size=2" in ended.out
    assert ended.result["metrics"]["r2"] == pytest.approx(EXACT.score(design(TABLE), TABLE.y), rel=1e-9)
    _, found = scored(trained(*CATEGORIES), TABLE)
    np.testing.assert_allclose(found.prediction, EXACT.predict(design(TABLE)), rtol=1e-8)
    pd.testing.assert_frame_equal(found.drop(columns="prediction"), TABLE, check_dtype=False)
    assert not [name for name in found.columns if name.startswith(PREFIX)]


@pytest.mark.parametrize("unseen", ["error", "skip", "keep"])
def test_levels_that_training_did_not_see(trained, scored, tmp_path: Path, unseen: str) -> None:
    table = changed(TABLE, cut="Ideal")
    ended, found = scored(trained(*CATEGORIES, "--handle-unseen", unseen), table)
    if unseen == "error":
        assert ended.code == 65
        assert "'cut' has 1 value that the model was not trained on, such as 'Ideal'" in ended.result["error"]
        assert not (tmp_path / "scores").exists()
        assert "Traceback" not in ended.err
        return
    expected = EXACT.predict(design(table))  # all zeros: the reference
    assert ended.result["rows_null"] == int(unseen == "skip")
    assert found.cut[0] == "Ideal"
    assert np.isnan(found.prediction[0]) == (unseen == "skip")
    np.testing.assert_allclose(
        found.prediction[ended.result["rows_null"] :], expected[ended.result["rows_null"] :], rtol=1e-7
    )


@pytest.mark.parametrize("unseen", ["error", "skip", "keep"])
def test_rows_with_missing_features_are_kept_with_a_null(trained, scored, unseen: str) -> None:
    table = changed(TABLE, a=None)
    table.loc[1, "b"] = None
    table.loc[2, "cut"] = None
    ended, found = scored(trained(*CATEGORIES, "--handle-unseen", unseen), table)
    assert (ended.result["rows"], ended.result["rows_null"]) == (N, 3)
    assert found.prediction.isna().tolist() == [True] * 3 + [False] * (N - 3)
    assert found.cut.isna().tolist() == [False, False, True] + [False] * (N - 3)


def test_means_fill_what_is_missing(run: Run, trained, scored, spark: SparkSession, tmp_path: Path) -> None:
    holes = changed(TABLE, a=None)
    path = tmp_path / "holes.csv"
    holes.to_csv(path, index=False)
    ended = run("train_linreg", "--input", path, *TRAIN, "--handle-invalid", "mean", "--output", tmp_path / "mean")
    assert (ended.result["rows"], ended.result["rows_skipped"], ended.result["values_filled"]) == (N, 0, 1)
    filled = holes[["a", "b"]].fillna({"a": holes.a.mean()})
    exact = LeastSquares().fit(filled, TABLE.y)
    ended, found = scored(str(tmp_path / "mean"), holes)
    assert ended.result["rows_null"] == 0
    np.testing.assert_allclose(found.prediction, exact.predict(filled), rtol=1e-9)


@pytest.mark.parametrize("handle", ["error", "skip", "mean"])
def test_training_rows_without_a_category(run: Run, tmp_path: Path, handle: str) -> None:
    path = tmp_path / "holes.csv"
    changed(changed(TABLE, cut=None), a=None).to_csv(path, index=False)
    ended = run("train_linreg", "--input", path, *CATEGORIES, "--handle-invalid", handle)
    if handle == "skip":
        assert (ended.code, ended.result["rows"], ended.result["rows_skipped"]) == (0, N - 1, 1)
    else:
        assert ended.code == 65
        assert "column 'cut' has 1 missing value" in ended.result["error"]


def test_missing_numbers_beside_categories_are_told_by_name(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "holes.csv"
    changed(TABLE, b=None).to_csv(path, index=False)
    ended = run("train_linreg", "--input", path, *CATEGORIES)
    assert ended.code == 65
    assert "column 'b' has 1 NaN value" in ended.result["error"]


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (["--categorical", "a"], 65, "'a' is of type double"),
        (["--categorical", "cutt"], 65, "did you mean 'cut'"),
        (["--categorical", "cut,cut"], 65, "named twice"),
        (["--categorical", "cut", "--features-col", "a"], 64, "--features-col"),
        (["--categorical", "y"], 65, "'y'"),
        (["--categorical", "cut", "--where", "cut = 'Good'"], 65, "'cut' has 1 level"),
    ],
)
def test_what_cannot_be_categories(run: Run, csv: str, argv: list[str], code: int, told: str) -> None:
    ended = run("train_linreg", "--input", csv, "--label", "y", *argv)
    assert ended.code == code
    assert told in ended.result["error"]


def test_the_same_run_again_does_nothing_and_another_needs_leave(
    trained, scored, run: Run, tmp_path: Path, monkeypatch
) -> None:
    model = trained(*TRAIN)
    first, _ = scored(model, TABLE)
    argv = ("--model", model, "--input", tmp_path / "input", "--output", tmp_path / "scores")
    refused = run("predict", *argv, "--where", "a > 0")
    assert refused.code == 64
    assert "--overwrite" in refused.result["error"]
    replaced = run("predict", *argv, "--where", "a > 0", "--overwrite")
    assert (replaced.code, replaced.result["rows"]) == (0, int((TABLE.a > 0).sum()))
    monkeypatch.setattr(predicting, "scored", None)
    again = run("predict", *argv, "--where", "a > 0")
    assert {**again.result, "seconds": 0} == {**replaced.result, "seconds": 0}
    assert first.result["rows"] == N


def test_scores_as_csv(trained, run: Run, csv: str, tmp_path: Path, spark: SparkSession) -> None:
    argv = ("--model", trained(*TRAIN), "--input", csv, "--output-format", "csv")
    assert run("predict", *argv, "--output", tmp_path / "{date}", "--logical-date", "2026-11-21").code == 0
    found = spark.read.csv(str(tmp_path / "2026-11-21"), header=True, inferSchema=True)
    assert found.columns == [*TABLE.columns, "prediction"]
    assert found.count() == N
    refused = run("predict", *argv, "--output", tmp_path / "v", "--with-column", "v=array(a, b)")
    assert refused.code == 64
    assert "'v'" in refused.result["error"]


@pytest.fixture
def vectors(spark: SparkSession, tmp_path: Path) -> Callable[..., str]:
    """The table as parquet with a vector of the given columns."""

    def write(*names: str) -> str:
        path = str(tmp_path / "_".join(names))
        assembler = VectorAssembler(inputCols=list(names), outputCol="features")
        assembler.transform(spark.createDataFrame(TABLE)).write.parquet(path)
        return path

    return write


def test_a_table_that_the_model_does_not_fit_is_refused_by_name(
    run: Run, trained, vectors, csv: str, tmp_path: Path
) -> None:
    model, encoded = trained(*TRAIN), trained(*CATEGORIES)
    vector_model = tmp_path / "vector"
    argv = ("--label", "y", "--features-col", "features", "--output", vector_model)
    assert run("train_linreg", "--input", vectors("a", "b"), *argv).code == 0
    cases = [
        (model, csv, ["--with-column", "a=cut"], "'a' is of type string"),
        (model, csv, ["--prediction-col", "y"], "'y' already"),
        (encoded, csv, ["--with-column", "cut=a"], "'cut' is of type double"),
        (vector_model, vectors("b", "a"), [], "another order than in training: at place 0 is 'b'"),
        (vector_model, vectors("a", "w"), [], "no feature 'b'"),
        (vector_model, vectors("a", "b", "w"), [], "a feature 'w' that the model does not know"),
        (vector_model, csv, [], "no column 'features'"),
    ]
    for which, path, more, told in cases:
        ended = run("predict", "--model", which, "--input", path, "--output", tmp_path / "scores", *more)
        assert (ended.code, told in ended.result["error"]) == (65, True), ended.result
        assert not (tmp_path / "scores").exists()


def test_a_missing_column_is_named(run: Run, trained, tmp_path: Path) -> None:
    TABLE.drop(columns="a").to_csv(tmp_path / "less.csv", index=False)
    ended = run("predict", "--model", trained(*TRAIN), "--input", tmp_path / "less.csv", "--output", tmp_path / "s")
    assert (ended.code, "no column 'a'" in ended.result["error"]) == (65, True)


def test_a_model_may_be_an_output_a_version_or_a_saved_one(
    run: Run, trained, csv: str, tmp_path: Path, spark: SparkSession
) -> None:
    output = trained(*TRAIN)
    version = next(Path(output, "versions").iterdir())
    LinearRegression(featuresCols=["a", "b"], labelCol="y").fit(spark.createDataFrame(TABLE)).save(
        str(tmp_path / "own")
    )
    for i, model in enumerate((output, version, version / "model", tmp_path / "own")):
        ended = run("predict", "--model", model, "--input", csv, "--output", tmp_path / f"scores{i}")
        assert ended.code == 0
        assert ended.result["version"] == (version.name if i < 2 else None)


def damaged_metrics(output: Path) -> None:
    next(output.glob("versions/*/metrics.json")).write_text("{}")


def unlisted_file(output: Path) -> None:
    (next(output.glob("versions/*")) / "extra").write_text("")


def latest_outside(output: Path) -> None:
    (output / "LATEST").write_text("../elsewhere\n")


def latest_nowhere(output: Path) -> None:
    (output / "LATEST").write_text("2026-01-01-0123456789ab\n")


@pytest.mark.parametrize("damage", [damaged_metrics, unlisted_file, latest_outside, latest_nowhere])
def test_a_damaged_publication_is_refused(run: Run, trained, csv: str, tmp_path: Path, damage: Callable) -> None:
    output = tmp_path / "damaged"
    shutil.copytree(trained(*TRAIN), output)
    damage(output)
    ended = run("predict", "--model", output, "--input", csv, "--output", tmp_path / "scores")
    assert ended.code == 84


def test_what_is_no_model_of_ours_is_refused_and_never_loaded(
    run: Run, trained, csv: str, tmp_path: Path, spark: SparkSession
) -> None:
    frame = spark.createDataFrame([(Vectors.dense(1.0), 0.0), (Vectors.dense(2.0), 1.0)], ["features", "label"])
    theirs = LogisticRegression().fit(frame)
    theirs.save(str(tmp_path / "theirs"))
    ours = LinearRegression()
    Pipeline(stages=[ours, LogisticRegression(predictionCol="p")]).fit(frame).save(str(tmp_path / "pipeline"))
    output = trained(*CATEGORIES)
    strange = tmp_path / "strange"
    shutil.copytree(next(Path(output).glob("versions/*/model")), strange)
    metadata = next(strange.glob("stages/0_*/metadata/part-*"))
    metadata.write_text(metadata.read_text().replace("org.apache.spark.ml.feature.StringIndexerModel", "os.system"))
    metadata.with_name(f".{metadata.name}.crc").unlink(missing_ok=True)
    cases = [("theirs", "LogisticRegressionModel"), ("pipeline", "pipeline of"), ("strange", "os.system")]
    for name, told in cases:
        ended = run("predict", "--model", tmp_path / name, "--input", csv, "--output", tmp_path / "scores")
        assert (ended.code, told in ended.result["error"]) == (84, True), ended.result
    missing = run("predict", "--model", tmp_path / "nothing", "--input", csv, "--output", tmp_path / "scores")
    assert missing.code == 66


@pytest.fixture
def frame(spark: SparkSession) -> Iterator[DataFrame]:
    yield spark.createDataFrame(TABLE)


@pytest.mark.parametrize("weight", [None, "w"])
def test_metrics_are_those_of_scikit_learn(run: Run, trained, csv: str, weight: str | None) -> None:
    weighted = ("--weight", weight) if weight else ()
    model = trained(*TRAIN, *weighted)
    ended = run("evaluate", "--model", model, "--input", csv)  # the label and the weight are those of the training
    s = TABLE[weight] if weight else np.ones(N)
    exact = LeastSquares().fit(TABLE[["a", "b"]], TABLE.y, s)
    p, found = exact.predict(TABLE[["a", "b"]]), ended.result["metrics"]
    assert (ended.code, ended.result["status"], ended.result["rows"]) == (0, "evaluated", N)
    expected = {
        "mse": metrics.mean_squared_error(TABLE.y, p, sample_weight=s),
        "mae": metrics.mean_absolute_error(TABLE.y, p, sample_weight=s),
        "r2": metrics.r2_score(TABLE.y, p, sample_weight=s),
        "bias": 0.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert all(name in ended.out for name in found)
    shifted = run("evaluate", "--model", model, "--input", csv, "--with-column", "z=y - 2", "--label", "z")
    assert shifted.result["metrics"]["bias"] == pytest.approx(2.0)


def test_rows_that_cannot_be_evaluated_are_refused_by_name_or_left_out(run: Run, trained, tmp_path: Path) -> None:
    model = trained(*CATEGORIES)
    table = changed(changed(TABLE, b=None), cut=None)
    table.loc[1, "y"] = None
    table.to_csv(tmp_path / "holes.csv", index=False)
    argv = ("--model", model, "--input", tmp_path / "holes.csv")
    refused = run("evaluate", *argv, "--where", "y is not null")
    assert refused.code == 65
    assert "column 'b' has 1 missing value, column 'cut' has 1 missing value" in refused.result["error"]
    label = run("evaluate", *argv, "--where", "b is not null")
    assert (label.code, "column 'y' has 1 missing value" in label.result["error"]) == (65, True)
    skipped = run("evaluate", *argv, "--handle-invalid", "skip")
    assert (skipped.code, skipped.result["rows"], skipped.result["rows_skipped"]) == (0, N - 2, 2)
    assert skipped.result["metrics"]["r2"] > 0.99
    changed(TABLE, cut="Ideal").to_csv(tmp_path / "unseen.csv", index=False)
    unseen = run("evaluate", "--model", model, "--input", tmp_path / "unseen.csv")
    assert (unseen.code, "'Ideal'" in unseen.result["error"]) == (65, True)


def test_a_report_has_its_metrics_and_its_pictures(run: Run, trained, csv: str, tmp_path: Path) -> None:
    argv = ("--model", trained(*TRAIN, "--weight", "w"), "--input", csv, "--output", tmp_path / "report")
    ended = run("evaluate", *argv, "--plots")
    assert ended.code == 0
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "_sparkdml.json",
        "calibration.png",
        "metrics.json",
        "residuals.png",
    ]
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"] == ended.result["metrics"]
    for name in ("calibration", "residuals"):
        assert (tmp_path / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    refused = run("evaluate", *argv)
    assert (refused.code, "--overwrite" in refused.result["error"]) == (64, True)
    assert run("evaluate", *argv, "--overwrite").code == 0


def test_the_middles_of_slices() -> None:
    found = {
        "weight": np.array([4.0, 2.0, 0.0]),
        "prediction": np.array([4.0, 6.0, 0.0]),
        "label": np.array([6.0, 6.0, 0.0]),
        "bins": np.array([[0.0, 3.0, 0.0, 1.0], [0.0, 0.5, 1.5, 0.0], [0.0, 0.0, 0.0, 0.0]]),
    }
    bins = np.array([-1.0, 0.0, 1.0])
    np.testing.assert_array_equal(_MIDDLES["mean"](found, bins), [0.5, 0.0, np.nan])
    np.testing.assert_array_equal(_MIDDLES["median"](found, bins)[:2], [-0.5, 0.5])


def test_pictures_of_a_model_that_says_always_the_same(run: Run, spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(1.0, 2.0), (2.0, 2.0)], ["a", "label"])
    frame.write.parquet(str(tmp_path / "flat"))
    argv = ("--input", tmp_path / "flat", "--output", tmp_path / "model")
    assert run("train_linreg", *argv).code == 0
    argv = ("--model", tmp_path / "model", "--input", tmp_path / "flat", "--output", tmp_path / "report", "--plots")
    assert run("evaluate", *argv).code == 0


def test_plots_need_a_place_and_something_to_draw_with(run: Run, csv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("evaluate", "--model", "m", "--input", csv, "--plots").code == 64
    real = builtins.__import__

    def without_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    ended = run("evaluate", "--model", "m", "--input", csv, "--plots", "--output", "o")
    assert (ended.code, "sparkdml[plot]" in ended.result["error"]) == (78, True)


def test_a_dry_run_checks_and_writes_nothing(run: Run, trained, csv: str, tmp_path: Path) -> None:
    model, out = trained(*TRAIN), tmp_path / "out"
    common = ("--dry-run", "--input", csv, "--output", out)
    for job, argv in (
        ("train_linreg", CATEGORIES),
        ("predict", ("--model", model)),
        ("evaluate", ("--model", model)),
    ):
        ended = run(job, *common, *argv)
        assert (ended.code, ended.result["status"]) == (0, "checked"), ended.result
        assert not out.exists()
        assert run(job, *common, *argv, "--where", "nonsense = 1").code == 64
    assert run("train_linreg", *common, "--label", "yy").code == 65
    assert run("train_linreg", *common[:-1], csv, *CATEGORIES).code == 74


def test_the_configuration_is_shown_with_its_sources(
    run: Run, csv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "job.toml"
    config.write_text(f"label = 'y'\ninput = {csv!r}\nfeatures = ['a', 'b']\n")
    monkeypatch.setenv("SPARKDML_REG_PARAM", "0.5")
    shown = run("train_linreg", "--config", config, "--solver", "gd", "--print-config")
    assert (shown.code, shown.result["status"]) == (0, "config")
    lines = {line.split()[0]: line.split()[1:] for line in shown.out.splitlines() if line.strip()}
    assert lines["reg-param"] == ["0.5", "SPARKDML_REG_PARAM"]
    assert lines["solver"] == ['"gd"', "flag"]
    assert lines["label"] == ['"y"', str(config)]
    assert lines["max-iter"] == ["100", "default"]
    assert shown.result["config"]["features"] == ["a", "b"]
    trained = run("train_linreg", "--config", config, "--solver", "gd")
    assert (trained.code, trained.result["rows"]) == (0, N)
    config.write_text("labell = 'y'\n")
    assert run("train_linreg", "--config", config).code == 78
