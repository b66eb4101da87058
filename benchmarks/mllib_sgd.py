"""local-sgd against `LinearRegressionWithSGD` and `LogisticRegressionWithSGD` of pyspark.mllib, in one session.

    python benchmarks/mllib_sgd.py                        # 1,000,000 x 64, some minutes
    python benchmarks/mllib_sgd.py --rows 100000

Both have standardized columns ready: theirs as a cached RDD of LabeledPoint, ours packed. Theirs runs 100 iterations at
the best step of a grid (found by shorter runs), ours until its loss is as low as that with which theirs ended. One
NumPy function computes every loss. Times are medians of runs in turn.
"""

import argparse
import statistics
import time

import numpy as np
from pyspark import RDD
from pyspark.mllib.classification import LogisticRegressionWithSGD
from pyspark.mllib.regression import LabeledPoint, LinearRegressionWithSGD
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkdml
from sparkdml.classification import LogisticRegression
from sparkdml.engine.known import known_answers
from sparkdml.engine.spark_data import SparkData
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.losses import LOSSES, Loss
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Gradient
from sparkdml.optim.solvers import LocalDescent
from sparkdml.regression import LinearRegression

STEPS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ITERATIONS, TRIAL = 100, 20


def rows_of(spark: SparkSession, rows: int, columns: int, logistic: bool) -> DataFrame:
    """Independent standard normal columns, and a label of which they explain four fifths."""
    theta = np.random.default_rng(0).normal(size=columns)
    theta /= np.linalg.norm(theta)
    df = spark.range(rows).select(*[F.randn(j).alias(f"x{j}") for j in range(columns)], F.rand(999).alias("u"))
    margin = sum((F.col(f"x{j}") * float(theta[j]) for j in range(columns)), F.lit(0.0))
    label = margin + F.randn(998) * 0.5
    if logistic:
        label = (F.col("u") < 1.0 / (1.0 + F.exp(-2.0 * margin))).cast("double")
    return df.select(label.alias("label"), *[f"x{j}" for j in range(columns)])


def loss_at(data: SparkData, loss: Loss, w: np.ndarray, b: float) -> float:
    """The mean loss of all rows."""
    (sums,) = data.run([Gradient(loss, w[:, None], np.array([b]))])
    return float(sums.value / sums.weight)  # type: ignore[union-attr]


def theirs(points: RDD, logistic: bool, step: float, iterations: int) -> tuple[np.ndarray, float, float]:
    """Weights, intercept and seconds of a run of pyspark.mllib."""
    kind = LogisticRegressionWithSGD if logistic else LinearRegressionWithSGD
    started = time.perf_counter()
    model = kind.train(points, iterations=iterations, step=step, intercept=True, convergenceTol=0.0)
    return model.weights.toArray(), float(model.intercept), time.perf_counter() - started


def ours(data: SparkData, problem: Problem, target: float) -> tuple[float, int, float]:
    """Seconds, passes and the loss when it is as low as the target."""
    solver = LocalDescent(tol=0.0)
    state = solver.init(problem)
    started = time.perf_counter()
    passes, reached = 0, np.inf
    while reached > target and passes < ITERATIONS:
        queries = solver.queries(problem, state)
        known = known_answers(data, queries)
        state = solver.step(problem, state, data.run(queries) if known is None else known)
        assert state.point is not None
        passes, reached = passes + (known is None), problem.objective(state.point)
    return time.perf_counter() - started, passes, reached


def compare(spark: SparkSession, rows: int, columns: int, logistic: bool, repeats: int) -> None:
    """Print the line of one loss."""
    loss = LOSSES["logistic" if logistic else "squaredError"]
    df = rows_of(spark, rows, columns, logistic).repartition(spark.sparkContext.defaultParallelism).cache()
    points = df.rdd.map(lambda row: LabeledPoint(row[0], row[1:])).cache()
    points.count()
    with sparkdml.pack(df, featuresCols=[f"x{j}" for j in range(columns)]) as data:
        estimator = LogisticRegression() if logistic else LinearRegression()
        problem, _ = estimator._prepare(data)
        tried = {step: loss_at(data, loss, *theirs(points, logistic, step, TRIAL)[:2]) for step in STEPS}
        step = min(tried, key=lambda each: tried[each])
        runs, our_runs = [], []
        for _ in range(repeats):
            runs.append(theirs(points, logistic, step, ITERATIONS))
            target = loss_at(data, loss, *runs[-1][:2])
            our_runs.append(ours(data, problem, target))
        seconds = statistics.median(run[2] for run in runs)
        mine = statistics.median(run[0] for run in our_runs)
        print(f"{loss.name}: {rows:,} x {columns}")
        print(f"  pyspark.mllib  {seconds:7.2f} s, {ITERATIONS} iterations, step {step:g}, loss {target:.6f}")
        print(f"  local-sgd      {mine:7.2f} s, {our_runs[-1][1]} passes, loss {our_runs[-1][2]:.6f}")
        print(f"  ratio          {seconds / mine:7.1f}", flush=True)
    points.unpersist()
    df.unpersist()


def main() -> None:
    """Print both losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    spark = get_spark("mllib_sgd", **{"spark.driver.memory": "8g"})
    spark.sparkContext.setLogLevel("ERROR")
    for logistic in (False, True):
        compare(spark, options.rows, options.columns, logistic, options.repeats)
    spark.stop()


if __name__ == "__main__":
    main()
