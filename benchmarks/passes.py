"""What each solver needs to come near the optimum: passes, bytes, seconds. Prints the table of docs/solvers.md.

    python benchmarks/passes.py            # all, some minutes
    python benchmarks/passes.py --quick    # a tenth of the rows

Each solver has its defaults, but for a tolerance that it cannot reach, so that it goes on. Seconds are of one run on
packed data, in a session of its own with as many tasks as cores.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import sparkdml
from sparkdml.classification import LogisticRegression
from sparkdml.engine.minimize import minimize
from sparkdml.engine.spark_data import SparkData
from sparkdml.jobkit.session import get_spark
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import SOLVERS, Lbfgs, Normal, Solver, StochasticDescent, StopReason, SubsampledNewton
from sparkdml.optim.solvers.stochastic_descent import default_fraction
from sparkdml.optim.solvers.subsampled_newton import sample_fraction
from sparkdml.regression import LinearRegression
from sparkdml.text import align

NEAR = (1e-2, 1e-3, 1e-6)  # of the objective, relative to the optimum
MOST_PASSES = 400


def correlated(spark: SparkSession, rows: int, columns: int, share: float, logistic: bool) -> DataFrame:
    """Columns of which every two have this correlation, in units from 1e-3 to 1e6."""
    rng = np.random.default_rng(0)
    theta, units = rng.normal(size=columns), np.geomspace(1e-3, 1e6, columns)
    common = F.randn(1000) * np.sqrt(share)
    df = spark.range(rows).select("id", common.alias("common"), F.randn(1001).alias("noise"), F.rand(1002).alias("u"))
    df = df.withColumns({f"z{j}": F.col("common") + F.randn(j) * np.sqrt(1.0 - share) for j in range(columns)})
    margin = sum((F.col(f"z{j}") * float(theta[j]) for j in range(columns)), F.lit(0.0))
    scale = float(np.sqrt(theta @ theta * (1.0 - share) + share * theta.sum() ** 2))
    label = margin / scale + F.col("noise") * 0.5
    if logistic:
        label = (F.col("u") < 1.0 / (1.0 + F.exp(-2.0 * margin / scale))).cast("double")
    features = [(F.col(f"z{j}") * float(units[j])).alias(f"x{j}") for j in range(columns)]
    return df.select(label.alias("label"), *features)


def one_hot(spark: SparkSession, rows: int, columns: int, ones: int) -> DataFrame:
    """Sparse rows with so many ones, popular columns more often, and a binary label."""
    theta = np.random.default_rng(1).normal(size=columns).tolist()
    chosen = F.array_sort(
        F.array_distinct(F.array(*[F.floor(F.rand(j) ** 2 * columns).cast("int") for j in range(ones)]))
    )
    margin = F.aggregate("at", F.lit(0.0), lambda total, j: total + F.element_at(F.lit(theta), j + 1))
    df = spark.range(rows).select(chosen.alias("at"), F.rand(99).alias("u"))
    df = df.withColumn("label", (F.col("u") < 1.0 / (1.0 + F.exp(-margin))).cast("double"))
    vector = F.udf(lambda at: Vectors.sparse(columns, at, [1.0] * len(at)), VectorUDT())
    return df.select("label", vector("at").alias("features"))


def solvers(data: SparkData, problem: Problem) -> Iterator[Solver]:
    """Every solver that takes the problem, with its defaults."""
    for kind in SOLVERS.values():
        solver: Solver = kind(tol=0.0, max_iter=10_000)
        size = data.statistics.count, len(problem.start)
        if isinstance(solver, StochasticDescent):
            solver = replace(solver, fraction=default_fraction(*size))
        if isinstance(solver, SubsampledNewton):
            solver = replace(solver, fraction=sample_fraction(*size))
        if solver.refusal(problem) is None and (solver.name != Normal.name or len(problem.start) < 4096):
            yield solver


def race(data: SparkData, problem: Problem, solver: Solver, optimum: float) -> list[tuple[int, int, float] | None]:
    """Passes, bytes and seconds to each of NEAR; None where it was not reached."""
    found: list[tuple[int, int, float] | None] = [None] * len(NEAR)
    state, spent = solver.init(problem), 0
    started = time.perf_counter()
    for passes in range(1, MOST_PASSES + 1):
        queries = solver.queries(problem, state)
        state = solver.step(problem, state, data.run(queries))
        spent += sum(data.traffic(queries))
        assert state.point is not None
        missed = problem.objective(state.point) / optimum - 1.0
        for i, near in enumerate(NEAR):
            if found[i] is None and missed <= near:
                found[i] = passes, spent, time.perf_counter() - started
        if state.stop is not StopReason.RUNNING or None not in found:
            break
    return found


def optimum_of(data: SparkData, problem: Problem) -> float:
    """The objective at the minimum."""
    (fit,) = minimize([(problem, Lbfgs(tol=1e-9, max_iter=2000))], data)
    assert fit.state.point is not None
    return problem.objective(fit.state.point)


def table(name: str, df: DataFrame, estimator: LinearRegression | LogisticRegression, **columns: object) -> str:
    """The rows of one data set."""
    with sparkdml.pack(df, **columns) as data:  # type: ignore[arg-type]
        problem, _ = estimator._prepare(data)
        optimum = optimum_of(data, problem)
        lines = [["solver", *(f"{what} to {near:g}" for near in NEAR for what in ("passes", "KB", "s"))]]
        for solver in solvers(data, problem):
            if solver.name == Normal.name:
                race(data, problem, solver, optimum)  # the first Gram matrix of a session warms up
            cells = [
                (str(each[0]), f"{each[1] / 1024:,.0f}", f"{each[2]:.1f}") if each else ("-",) * 3
                for each in race(data, problem, solver, optimum)
            ]
            lines.append([solver.name, *(cell for each in cells for cell in each)])
        rows, features = data.statistics.count, len(data.feature_names)
        return f"{name}: {rows:,} x {features:,}, {data.partitions} partitions\n\n{align(lines)}\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--only", metavar="NAME", help="one data set: linear, logistic or one-hot")
    options = parser.parse_args()
    spark = get_spark("passes")
    spark.sparkContext.setLogLevel("ERROR")
    share = 10 if options.quick else 1
    cases: dict[str, Callable[[], str]] = {
        "linear": lambda: table(
            "linear, correlation 0.95",
            correlated(spark, 400_000 // share, 50, 0.95, logistic=False).cache(),
            LinearRegression(),
            featuresCols=[f"x{j}" for j in range(50)],
        ),
        "logistic": lambda: table(
            "logistic, correlation 0.5",
            correlated(spark, 400_000 // share, 50, 0.5, logistic=True).cache(),
            LogisticRegression(),
            featuresCols=[f"x{j}" for j in range(50)],
        ),
        "one-hot": lambda: table(
            "logistic, one-hot, regParam 1e-4",
            one_hot(spark, 200_000 // share, 2000, 10).cache(),
            LogisticRegression(regParam=1e-4),
        ),
    }
    for name, case in cases.items():
        if options.only in (None, name):
            print(case(), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
