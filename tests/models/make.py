"""Save models, estimators and published outputs of this version of sparkdml, with what they predict and show.

    python tests/models/make.py tests/models/0.1

It is run once, at a released version. `tests/test_saved_models.py` lets every later version load what it wrote:

    table.csv              the rows that everything was trained on
    models/, models.json   fitted models of every family, and of every kind of summary
    estimators/, ...       an estimator of each class, with Params that are no defaults and an initial model
    spark/, ...            stages, pipelines and searches of pyspark.ml around ours
    published/, ...        what the training jobs publish
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pyspark.ml import Pipeline
from pyspark.ml.classification import OneVsRest
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder, TrainValidationSplit
from pyspark.sql import DataFrame, SparkSession

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from observed import FEATURES, LONG, array_outputs, numbers, outputs, params, plain, points, read_table, summary_values

from sparkdml import load_model
from sparkdml.classification import LinearSVC, LogisticRegression
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import FAMILY_LINKS
from sparkdml.regression import (
    GammaRegression,
    GeneralizedLinearRegression,
    LinearRegression,
    PoissonRegression,
    TweedieRegression,
)

ROOT = Path(__file__).resolve().parents[2]
N, D = 30, len(FEATURES)
GAPS = [f"gap{j}" for j in range(D)]  # the same, with missing values
SURE = {"tol": 1e-10, "maxIter": 200, "featuresCols": FEATURES}
LABELS = {"gaussian": "amount", "binomial": "flag", "poisson": "count", "gamma": "amount", "negativeBinomial": "count"}

Made = tuple[type, dict[str, Any]]  # an estimator's class, and its Params

BASES: dict[str, Made] = {
    "linear": (LinearRegression, {"labelCol": "number"}),
    "poisson": (GeneralizedLinearRegression, {"labelCol": "count", "family": "poisson"}),
    "binomial": (LogisticRegression, {"labelCol": "flag"}),
    "multinomial": (LogisticRegression, {"labelCol": "kind"}),
    "svc": (LinearSVC, {"labelCol": "flag", "regParam": 0.01, "loss": "squaredHinge"}),
}
FAMILIES: dict[str, Made] = {
    "linear-huber": (LinearRegression, {"labelCol": "number", "loss": "huber", "epsilon": 1.5}),
    "linear-quantile": (LinearRegression, {"labelCol": "number", "loss": "quantile", "quantile": 0.3}),
    "linear-lasso": (LinearRegression, {"labelCol": "number", "regParam": 0.3, "elasticNetParam": 1.0}),
    "svc-hinge": (LinearSVC, {"labelCol": "flag", "regParam": 0.1, "threshold": 0.2}),
    "binomial-thresholds": (LogisticRegression, {"labelCol": "flag", "thresholds": [0.7, 0.3]}),
    "multinomial-thresholds": (LogisticRegression, {"labelCol": "kind", "thresholds": [0.2, 0.3, 0.5]}),
    "multinomial-of-two": (LogisticRegression, {"labelCol": "flag", "family": "multinomial"}),
    "multinomial-lasso": (LogisticRegression, {"labelCol": "kind", "regParam": 0.05, "elasticNetParam": 0.5}),
    "poisson-regression": (PoissonRegression, {"labelCol": "count", "regParam": 0.1}),
    "gamma-regression": (GammaRegression, {"labelCol": "amount"}),
    "tweedie-regression": (TweedieRegression, {"labelCol": "cost"}),
    "tweedie-powers": (
        GeneralizedLinearRegression,
        {"labelCol": "cost", "family": "tweedie", "variancePower": 1.2, "linkPower": 0.0},
    ),
    "negativeBinomial-shape": (
        GeneralizedLinearRegression,
        {
            "labelCol": "count",
            "family": "negativeBinomial",
            "overdispersion": 0.4,
            "linkPredictionCol": "linkPrediction",
        },
    ),
    **{
        f"{family}-{link}": (
            GeneralizedLinearRegression,
            {"labelCol": LABELS[family], "family": family, "link": link, "linkPredictionCol": "linkPrediction"},
        )
        for family, links in FAMILY_LINKS.items()
        for link in links
    },
}
SCORED = (
    "plain",
    "weights",
    "offset",
    "means",
    "skips",
    "vector",
    "array",
    "columns",
)  # variants that Spark scores, too
CONSTANT = {"linear": "seven", "poisson": "zero", "binomial": "zero", "multinomial": "zero", "svc": "one"}
# What changes the summary of a fit, or the columns of a model, and which bases know it.
VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain": ({}, tuple(BASES)),
    "weights": ({"weightCol": "weight"}, tuple(BASES)),
    "offset": ({"offsetCol": "offset"}, ("linear", "poisson", "binomial", "svc")),
    "bounds": ({"lowerBoundsOnCoefficients": 0.1, "upperBoundsOnCoefficients": 0.5}, tuple(BASES)),
    "no-intercept": ({"fitIntercept": False}, tuple(BASES)),
    "no-statistics": ({"solver": "l-bfgs"}, tuple(BASES)),
    "asked-statistics": ({"solver": "l-bfgs", "computeStatistics": True}, tuple(BASES)[:4]),
    "hc0": ({"standardErrors": "HC0"}, tuple(BASES)[:4]),
    "hc1": ({"standardErrors": "HC1", "weightCol": "weight"}, tuple(BASES)[:4]),
    "early-stopping": ({"validationIndicatorCol": "validates", "solver": "l-bfgs", "patience": 3}, tuple(BASES)),
    "drawn-validation": ({"validationFraction": 0.3, "solver": "l-bfgs", "seed": 5}, ("linear", "binomial")),
    "means": ({"handleInvalid": "mean", "featuresCols": GAPS}, tuple(BASES)),
    "skips": ({"handleInvalid": "skip", "featuresCols": GAPS}, ("linear", "multinomial")),
    "vector": ({"featuresCol": "vector", "featuresCols": None}, tuple(BASES)),
    "array": ({"featuresCol": "array", "featuresCols": None}, ("linear", "multinomial")),
    "float32": ({"dtype": "float32"}, ("linear",)),
    "class-weight": ({"classWeight": {0: 1, 1: 3}}, ("binomial", "multinomial", "svc")),
    "balanced": ({"classWeight": "balanced"}, ("binomial", "multinomial", "svc")),
    "undersampled": ({"sampling": "undersample", "seed": 3}, ("binomial",)),
    "columns": ({"predictionCol": "prediction", "linkPredictionCol": "linkPrediction"}, ("poisson",)),
    **{f"constant-{base}": ({"labelCol": label}, (base,)) for base, label in CONSTANT.items()},
}
# What is set of an estimator beside its base, each with an initial model of its own.
ESTIMATORS: dict[str, Made] = {
    "linear": (LinearRegression, {"regParam": 0.2, "elasticNetParam": 0.5, "solver": "l-bfgs", "seed": 7}),
    "huber": (LinearRegression, {"loss": "huber", "epsilon": 2.0, "labelCol": "number"}),
    "poisson": (GeneralizedLinearRegression, {"regParam": 0.1, "offsetCol": "offset", "solver": "newton"}),
    "poisson-regression": (PoissonRegression, {"weightCol": "weight", "labelCol": "count"}),
    "gamma-regression": (GammaRegression, {"link": "inverse", "labelCol": "amount"}),
    "tweedie-regression": (TweedieRegression, {"variancePower": 1.7, "labelCol": "cost"}),
    "binomial": (
        LogisticRegression,
        {"threshold": 0.4, "lowerBoundsOnCoefficients": [[-1.0, float("-inf"), 0.0]], "classWeight": {0: 1, 1: 2}},
    ),
    "multinomial": (LogisticRegression, {"family": "multinomial", "thresholds": [0.2, 0.3, 0.5], "regParam": 0.1}),
    "svc": (LinearSVC, {"loss": "squaredHinge", "regParam": 0.3, "rawPredictionCol": "margin"}),
}


def write_table(path: Path) -> None:
    """The rows: features, the same with gaps, weights, offsets, labels of every family, and a category."""
    rng = np.random.default_rng(16)
    X = rng.normal(size=(N, D)) * [1.0, 2.0, 0.5] + [0.0, 1.0, -1.0]
    z = X @ [0.5, -0.2, 0.4] + 0.6
    kind = np.argmax(np.column_stack([z, 0.3 - 0.0 * z, -z]) + rng.gumbel(size=(N, 3)), axis=1)
    gaps = np.where(rng.random((N, D)) < 0.15, "", X.astype(str))
    rates = np.exp(z / 2.0)
    columns = {
        **{name: X[:, j] for j, name in enumerate(FEATURES)},
        **{name: gaps[:, j] for j, name in enumerate(GAPS)},
        "weight": 1.0 + np.arange(N) % 3 / 2.0,
        "offset": rng.normal(size=N) / 4.0,
        "validates": (np.arange(N) % 4 == 0) * 1,
        "number": z + 0.5 * rng.normal(size=N),
        "flag": (rng.random(N) < 1.0 / (1.0 + np.exp(-2.0 * z + 1.0))) * 1.0,
        "kind": kind * 1.0,
        "count": rng.poisson(rates) * 1.0,
        "amount": rng.gamma(20.0, rates / 20.0),
        "cost": rng.poisson(rates) * rng.gamma(3.0, 1.0, N),
        **{name: np.full(N, value) for name, value in {"zero": 0.0, "one": 1.0, "seven": 7.0}.items()},
        "colour": rng.choice(["red", "green", "blue"], N, p=[0.5, 0.3, 0.2]),
    }
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")


def made(base: Made, **more: Any) -> Any:
    """The estimator of a base, with further Params."""
    cls, given = base
    return cls(**{**SURE, **given, **more})


def model_cases() -> dict[str, Any]:
    """The estimators whose models are saved, by the names of these."""
    varied = {f"{base}-{name}": made(BASES[base], **more) for name, (more, of) in VARIANTS.items() for base in of}
    return {name: made(each) for name, each in FAMILIES.items()} | varied


def save_models(spark: SparkSession, table: DataFrame, directory: Path) -> dict[str, Any]:
    """Fit and save; of the plain ones of each base once more, with all metrics of the training rows computed."""
    found = {}
    for name, estimator in model_cases().items():
        model, path = estimator.fit(table), directory / name
        found[name] = saved_model(model, path)
        if name in FAMILIES or name.endswith(SCORED):
            loaded, left_out = type(model).load(str(path)), () if name.endswith("-plain") else LONG
            found[name]["outputs"] = outputs(loaded, table)
            found[name]["evaluated"] = summary_values(loaded.evaluate(table), left_out)
        if name.endswith("-plain"):
            summary_values(model.summary)
            name = name.replace("-plain", "-measured")
            found[name] = saved_model(model, directory / name)
    return found


def saved_model(model: Any, path: Path) -> dict[str, Any]:
    """Save a model, and return what it shows once it is loaded again."""
    model.save(str(path))
    loaded = type(model).load(str(path))
    return {
        "class": class_name(loaded),
        "uid": loaded.uid,
        "params": params(loaded),
        "numbers": numbers(loaded),
        "arrays": array_outputs(load_model(str(path)), points()),
        "summary": summary_values(loaded.summary),
    }


def save_estimators(spark: SparkSession, table: DataFrame, directory: Path) -> dict[str, Any]:
    """Save estimators that start from models."""
    found = {}
    for name, (cls, more) in ESTIMATORS.items():
        base = (cls, {**BASES.get(name, (cls, {}))[1], **more})
        start = {each: value for each, value in base[1].items() if each in ("labelCol", "family", "loss", "link")}
        estimator = made(base, initialModel=made((cls, start)).fit(table))
        estimator.save(str(directory / name))
        loaded = type(estimator).load(str(directory / name))
        found[name] = {
            "class": class_name(loaded),
            "uid": loaded.uid,
            "params": params(loaded),
            "initialModel": numbers(loaded.getInitialModel()),
            "fitted": numbers(loaded.fit(table)),
        }
    return found


def around_ours() -> dict[str, Any]:
    """Pipelines and searches of pyspark.ml."""
    vector = {"featuresCols": None, "featuresCol": "features"}
    encoders = [
        StringIndexer(inputCol="colour", outputCol="index"),
        OneHotEncoder(inputCols=["index"], outputCols=["levels"]),
        VectorAssembler(inputCols=[*FEATURES, "levels"], outputCol="features"),
    ]
    linear, binomial = (made(BASES[name], **{**vector, "featuresCol": "vector"}) for name in ("linear", "binomial"))
    grid = {"estimator": linear, "estimatorParamMaps": ParamGridBuilder().addGrid(linear.regParam, [0.01, 1.0]).build()}
    judge = {"evaluator": RegressionEvaluator(labelCol="number"), "seed": 1, "collectSubModels": True}
    return {
        "pipeline": Pipeline(stages=[*encoders, made(BASES["binomial"], **vector)]),
        "cross-validator": CrossValidator(**grid, **judge, numFolds=2),
        "split": TrainValidationSplit(**grid, **judge, trainRatio=0.7),
        "one-vs-rest": OneVsRest(classifier=binomial, labelCol="kind", featuresCol="vector"),
    }


def save_around_ours(spark: SparkSession, table: DataFrame, directory: Path) -> dict[str, Any]:
    """Save what `around_ours` makes, and what comes of fitting it."""
    found = {}
    for name, estimator in around_ours().items():
        estimator.save(str(directory / name))
        fitted = estimator.fit(table)
        fitted.save(str(directory / f"{name}-fitted"))
        loaded = type(fitted).load(str(directory / f"{name}-fitted"))
        found[name] = {
            "classes": [class_name(estimator), class_name(loaded)],
            "outputs": outputs(loaded, table),
            "metrics": plain(getattr(loaded, "avgMetrics", getattr(loaded, "validationMetrics", []))),
        }
    return found


JOBS: dict[str, list[str]] = {
    "plain": ["train_linreg", "--features", ",".join(FEATURES), "--label", "number", "--weight", "weight"],
    "categorical": [
        *("train_logreg", "--features", ",".join(FEATURES), "--label", "flag"),
        *("--categorical", "colour", "--handle-unseen", "keep"),
    ],
    "multinomial": ["train_logreg", "--features", ",".join(FEATURES), "--label", "kind", "--reg-param", "0.1"],
    "glm": ["train_glm", "--family", "gamma", "--link", "log", "--categorical", "colour", "--label", "amount",
            "--features", "x0,x1", "--offset-col", "offset"],
    "svc": ["train_svc", "--features", ",".join(FEATURES), "--label", "flag", "--reg-param", "0.1"],
}  # fmt: skip


def save_published(spark: SparkSession, csv: Path, directory: Path) -> dict[str, Any]:
    """Publish with the jobs, and return what those say that read it."""
    found = {}
    for name, (job, *flags) in JOBS.items():
        path = str(directory / name)
        run(job, "--input", csv, *flags, "--output", path, "--logical-date", "2026-01-02")
        with TemporaryDirectory() as scratch:
            run("predict", "--model", path, "--input", csv, "--output", f"{scratch}/scored")
            rows = spark.read.parquet(f"{scratch}/scored").orderBy(*FEATURES)
            kept = [column for column in rows.columns if column in ("prediction", "probability", "rawPrediction")]
            scored = plain(rows.select(*kept))
        found[name] = {"scored": scored, "metrics": run("evaluate", "--model", path, "--input", csv)["metrics"]}
    return found


def run(job: str, *argv: Any) -> dict[str, Any]:
    """The last line of a job, which has to succeed; it runs in this process, on its session."""
    spec = spec_from_file_location(job, ROOT / "jobs" / f"{job}.py")
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    with redirect_stdout(StringIO()) as out:
        code = script.main([str(each) for each in argv])
    told: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    assert code == 0, told
    return told


def class_name(instance: Any) -> str:
    """The name by which a user imports a class: without the module inside the package."""
    module, name = type(instance).__module__, type(instance).__name__
    return f"{'.'.join(module.split('.')[: 2 if module.startswith('sparkdml') else None])}.{name}"


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    """A line for each entry."""
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in found.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(directory: Path) -> None:
    """Write everything below a directory that must not be there yet."""
    directory.mkdir(parents=True)
    spark = get_spark("saved models", **{"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"})
    with TemporaryDirectory() as neutral, warnings.catch_warnings():  # what is published names its input
        warnings.simplefilter("ignore")
        csv = Path(neutral) / "table.csv"
        write_table(csv)
        (directory / "table.csv").write_bytes(csv.read_bytes())
        table = read_table(spark, csv).cache()
        savers: dict[str, Callable[..., dict[str, Any]]] = {
            "models": save_models, "estimators": save_estimators, "spark": save_around_ours
        }  # fmt: skip
        for name, save in savers.items():
            write_json(directory / f"{name}.json", save(spark, table, directory / name))
        write_json(directory / "published.json", save_published(spark, csv, directory / "published"))
    for hidden in directory.rglob(".*.crc"):  # of Hadoop's local file system, which can do without
        hidden.unlink()
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
