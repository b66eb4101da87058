"""The contestants. Each fits in a process of its own, which the runner asks for one fit after the other.

    python -m peers.contestants NAME SHAPE-AS-JSON DIRECTORY

reads requests, a JSON object a line, and answers each with a line: {"ready": true} says what is to be timed is ready;
{"setting": ..} makes a fit, which is answered with its seconds, the file of its coefficients, and its passes where the
contestant counts them.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from peers.shapes import Shape

CORES = 2
MEMORY = "6g"

Fitted = tuple[np.ndarray, float, dict[str, Any]]


class Contestant(ABC):
    """A way to fit a shape.

    Attributes
    ----------
    settings : from the loosest to the tightest; the first that is near enough to the optimum is the one to time.
    target : how near that is, relative to the optimum.
    """

    settings: ClassVar[list[Any]]
    target: ClassVar[float] = 1e-6

    def __init__(self, shape: Shape, path: Path) -> None:
        self.shape, self.path = shape, path

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        """Whether it is for such a shape."""
        return True

    @classmethod
    def settings_for(cls, shape: Shape) -> list[Any]:
        """The settings that make a difference."""
        return cls.settings

    @abstractmethod
    def prepare(self) -> None:
        """Bring the data where its fits want them; not timed but in a run from files to a model."""

    @abstractmethod
    def fit(self, setting: Any) -> Fitted:
        """Coefficients, intercept and what else is to be told."""

    def stop(self) -> None:  # noqa: B027 - most have nothing to do
        """Leave nothing behind."""

    def _arrays(self) -> tuple[Any, np.ndarray]:
        """All features and labels."""
        from peers.tables import arrays

        return arrays(self.shape, self.path)


TOLERANCES = [float(f"{10.0 ** (-k / 2.0):.0e}") for k in range(2, 21)]  # 0.1, 0.03, 0.01, ...


class OnSpark(Contestant):
    """What the contestants on Spark share; the session is the same but for their settings.

    All of them start from the archive of Spark's classes, as sessions of `get_spark` do.
    """

    settings = TOLERANCES
    conf: ClassVar[dict[str, str]] = {}

    def _session(self) -> Any:
        from sparkdml.jobkit.session import get_spark

        conf = {"spark.master": f"local[{CORES}]", "spark.driver.memory": MEMORY, **self.conf}
        spark = get_spark(type(self).__name__, **conf)
        spark.sparkContext.setLogLevel("ERROR")
        return spark

    def _frame(self) -> Any:
        self.spark = self._session()
        return self.spark.read.parquet(str(self.path))

    def stop(self) -> None:
        self.spark.stop()


class Sparkdml(OnSpark):
    """sparkdml on packed data, the solver its own choice.

    Its work is done in Python, so its JVM compiles quickly rather than well; that of the others is as Java has it.
    """

    params: ClassVar[dict[str, Any]] = {}
    conf: ClassVar[dict[str, str]] = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}

    def _session(self) -> Any:
        from sparkdml.jobkit.session import start_workers

        spark = super()._session()
        start_workers(spark.sparkContext)  # as the jobs do
        return spark

    def prepare(self) -> None:
        import sparkdml

        df = self._frame()
        columns = self.shape.data_columns
        given = {"featuresCol": "features"} if columns == ["features"] else {"featuresCols": columns}
        self.data = sparkdml.pack(df, labelCol="label", **given)

    def fit(self, setting: float) -> Fitted:
        from sparkdml.classification import LogisticRegression
        from sparkdml.regression import LinearRegression

        kind = LogisticRegression if self.shape.logistic else LinearRegression
        estimator = kind(tol=setting, maxIter=1000, **_penalty(self.shape), **self.params)
        model = estimator.fit(self.data)
        told = {"passes": model.summary.passes, "solver": model.summary.solver}
        return model.coefficients.toArray(), model.intercept, told

    def stop(self) -> None:
        self.data.release()
        super().stop()


class LocalSgd(Sparkdml):
    """sparkdml's local SGD, to the target of the stochastic methods."""

    params: ClassVar[dict[str, Any]] = {"solver": "local-sgd"}
    target = 1e-4


class Pyspark(OnSpark):
    """pyspark.ml on a cached DataFrame of vectors, linear regression by its normal equations; BLAS is Java's."""

    blas: ClassVar[str] = "none"

    @classmethod
    def settings_for(cls, shape: Shape) -> list[Any]:
        """One where the solver is direct."""
        return super().settings_for(shape)[0 if shape.logistic else -1 :]

    @property
    def conf(self) -> dict[str, str]:  # type: ignore[override]
        """The driver's, which is the executor too: where the native library is."""
        options = [f"-Ddev.ludovic.netlib.{name}.nativeLibPath={self.blas}" for name in ("blas", "lapack")]
        return {"spark.driver.extraJavaOptions": " ".join(options)}

    def prepare(self) -> None:
        from pyspark.ml.feature import VectorAssembler
        from pyspark.ml.functions import array_to_vector
        from pyspark.sql import functions as F

        df = self._frame()
        if self.shape.sparse:
            vectors = df.select("label", "features")
        elif self.shape.data_columns == ["features"]:
            vectors = df.select("label", array_to_vector(F.col("features")).alias("features"))
        else:
            assembler = VectorAssembler(inputCols=self.shape.data_columns, outputCol="features")
            vectors = assembler.transform(df).select("label", "features")
        self.frame = vectors.coalesce(CORES).cache()
        self.frame.count()

    def fit(self, setting: float) -> Fitted:
        from pyspark.ml.classification import LogisticRegression
        from pyspark.ml.regression import LinearRegression

        estimator: Any
        if self.shape.logistic:
            estimator = LogisticRegression(tol=setting, maxIter=1000, **_penalty(self.shape))
        else:
            estimator = LinearRegression(solver="normal", **_penalty(self.shape))
        model = estimator.fit(self.frame)
        return model.coefficients.toArray(), model.intercept, {"iterations": model.summary.totalIterations}


def _openblas() -> str:
    """The library that Debian's libopenblas0 brings."""
    known = Path("/usr/lib").glob("*/openblas-*/libblas.so.3")
    return next((str(path) for path in sorted(known)), "")


class PysparkNative(Pyspark):
    """The same with OpenBLAS, where it is installed."""

    blas = _openblas()

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        return bool(cls.blas)


class MllibSgd(OnSpark):
    """pyspark.mllib's SGD on a cached RDD; the step is the best of a grid, found by short runs, which are not timed."""

    target = 1e-4
    settings: ClassVar[list[Any]] = [25, 50, 100, 200]
    steps = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

    def prepare(self) -> None:
        from pyspark.ml.linalg import SparseVector
        from pyspark.mllib.linalg import Vectors
        from pyspark.mllib.regression import LabeledPoint

        from peers.tables import objective

        columns = self.shape.data_columns

        def point(row: Any) -> LabeledPoint:
            first = row[1]
            return LabeledPoint(row[0], Vectors.fromML(first) if isinstance(first, SparseVector) else row[1:])  # type: ignore[arg-type]

        wanted = self._frame().select("label", *columns).coalesce(CORES)
        if columns == ["features"] and not self.shape.sparse:
            self.points = wanted.rdd.map(lambda row: LabeledPoint(row[0], row[1])).cache()
        else:
            self.points = wanted.rdd.map(point).cache()
        self.points.count()
        X, y = self._arrays()
        tried = {step: objective(self.shape, X, y, *self._train(20, step)) for step in self.steps}
        self.step = min(tried, key=lambda each: tried[each])

    def _train(self, iterations: int, step: float) -> tuple[np.ndarray, float]:
        from pyspark.mllib.classification import LogisticRegressionWithSGD
        from pyspark.mllib.regression import LinearRegressionWithSGD

        kind = LogisticRegressionWithSGD if self.shape.logistic else LinearRegressionWithSGD
        model = kind.train(
            self.points,
            iterations=iterations,
            step=step,
            regParam=self.shape.regParam,
            regType="l2",
            intercept=True,
            convergenceTol=0.0,
        )
        return model.weights.toArray(), float(model.intercept)

    def fit(self, setting: int) -> Fitted:
        return *self._train(setting, self.step), {"iterations": setting, "step": self.step}


class Sklearn(Contestant):
    """scikit-learn's L-BFGS on arrays."""

    settings = TOLERANCES
    solver: ClassVar[str] = "lbfgs"

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        return shape.logistic

    def prepare(self) -> None:
        self.X, self.y = self._arrays()

    def fit(self, setting: float) -> Fitted:
        from sklearn.linear_model import LogisticRegression

        strength = 1.0 / (self.shape.regParam * self.shape.rows)
        model = LogisticRegression(C=strength, solver=self.solver, tol=setting, max_iter=2000).fit(self.X, self.y)
        return model.coef_[0], float(model.intercept_[0]), {"iterations": int(model.n_iter_[0])}


class SklearnNewton(Sklearn):
    """Its Newton method with a Cholesky factor."""

    solver = "newton-cholesky"

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        return shape.logistic and not shape.sparse and shape.columns <= 2000


class SklearnRidge(Sklearn):
    """Its ridge regression with a Cholesky factor."""

    settings: ClassVar[list[Any]] = [0.0]

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        return not shape.logistic

    def fit(self, setting: float) -> Fitted:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=self.shape.regParam * self.shape.rows, solver="cholesky").fit(self.X, self.y)
        return model.coef_, float(model.intercept_), {}


class Vowpal(Contestant):
    """Vowpal Wabbit online, from its cache file; float32, one core, as it is."""

    target = 1e-4
    settings: ClassVar[list[Any]] = [1, 2, 4, 8, 16]
    options: ClassVar[str] = ""

    @classmethod
    def takes(cls, shape: Shape) -> bool:
        try:
            import vowpalwabbit  # noqa: F401
        except ModuleNotFoundError:
            return False
        return shape.logistic

    @property
    def penalty(self) -> float:
        """Of a row's update."""
        return self.shape.regParam

    def prepare(self) -> None:
        X, y = self._arrays()
        self.text = Path(tempfile.mkdtemp()) / "rows.txt"
        with open(self.text, "w") as file:
            for i in range(self.shape.rows):
                if not isinstance(X, np.ndarray):
                    row = X.indices[X.indptr[i] : X.indptr[i + 1]]
                    numbers = " ".join(map(str, row.tolist()))
                else:
                    numbers = " ".join(f"{j}:{value:.7g}" for j, value in enumerate(X[i].tolist()))
                file.write(f"{'1' if y[i] else '-1'} | {numbers} {self.shape.columns}:1\n")
        self._run(2)  # makes the cache

    def _run(self, passes: int) -> np.ndarray:
        import vowpalwabbit

        bits = int(np.ceil(np.log2(self.shape.columns + 1)))
        model = self.text.with_suffix(".model")
        vowpalwabbit.Workspace(
            f"-d {self.text} --cache_file {self.text}.cache --passes {passes} --holdout_off -b {bits} --noconstant "
            f"--loss_function logistic --l2 {self.penalty!r} {self.options} "
            f"--readable_model {model} --predict_only_model --quiet"
        ).finish()
        w = np.zeros(1 << bits)
        for line in model.read_text().splitlines():
            place, _, value = line.partition(":")
            if place.isdigit() and value:
                w[int(place)] = float(value.split()[0])
        return w

    def fit(self, setting: int) -> Fitted:
        w = self._run(setting)
        return w[: self.shape.columns], float(w[self.shape.columns]), {"passes": setting}

    def stop(self) -> None:
        import shutil

        shutil.rmtree(self.text.parent)


class VowpalBfgs(Vowpal):
    """Vowpal Wabbit's L-BFGS."""

    target = 1e-6
    settings: ClassVar[list[Any]] = [10, 20, 40, 80, 160]
    options = "--bfgs --mem 15 --termination 1e-10"

    @property
    def penalty(self) -> float:
        """Of the sum of the losses."""
        return self.shape.regParam * self.shape.rows


def _penalty(shape: Shape) -> dict[str, Any]:
    return {"regParam": shape.regParam, "elasticNetParam": 0.0, "standardization": False}


CONTESTANTS: dict[str, type[Contestant]] = {
    "sparkdml": Sparkdml,
    "pyspark.ml": Pyspark,
    "pyspark.ml, OpenBLAS": PysparkNative,
    "scikit-learn lbfgs": Sklearn,
    "scikit-learn newton-cholesky": SklearnNewton,
    "scikit-learn ridge": SklearnRidge,
    "vowpal wabbit bfgs": VowpalBfgs,
    "sparkdml local-sgd": LocalSgd,
    "pyspark.mllib SGD": MllibSgd,
    "vowpal wabbit online": Vowpal,
}


def main() -> None:
    """Answer the requests of the runner, until there are no more."""
    name, shape, directory = sys.argv[1:]
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes to stderr
    os.dup2(2, 1)
    contestant = CONTESTANTS[name](Shape(**_shape(shape)), Path(directory))
    contestant.prepare()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    with tempfile.TemporaryDirectory() as kept:
        for number, line in enumerate(sys.stdin):
            started = time.perf_counter()
            w, b, told = contestant.fit(json.loads(line)["setting"])
            seconds = time.perf_counter() - started
            file = Path(kept) / f"{number}.npy"
            np.save(file, np.append(w, b))
            print(json.dumps({"seconds": seconds, "model": str(file), **told}), file=answers, flush=True)
        contestant.stop()


def _shape(text: str) -> dict[str, Any]:
    fields = json.loads(text)
    return fields | {"levels": tuple(fields["levels"])}


if __name__ == "__main__":
    main()
