"""Seconds to score a table, by the models of sparkdml and by those of pyspark.ml that they turn into, in turn.

    python benchmarks/scoring.py                  # 5,000,000 x 50
    python benchmarks/scoring.py --rows 500000

Both score the same cached DataFrame with a column of vectors in one session; Spark's "noop" sink takes the rows. The
ratio is that of the medians. Scores of sparkdml are null where a feature is missing, which costs a test a row.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkdml.classification import LogisticRegressionModel
from sparkdml.jobkit.session import get_spark
from sparkdml.regression import LinearRegressionModel

COLUMNS = 50


def models() -> list[tuple[str, Any]]:
    """A model of numbers, and one of classes with their probabilities."""
    w, names = np.random.default_rng(0).normal(size=COLUMNS), tuple(f"x{j}" for j in range(COLUMNS))
    return [(cls.__name__, cls(w, 0.5, names)) for cls in (LinearRegressionModel, LogisticRegressionModel)]


def seconds(model: Any, table: DataFrame) -> float:
    """To score all rows."""
    started = time.perf_counter()
    model.transform(table).write.format("noop").mode("overwrite").save()
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    spark = get_spark("scoring", **{"spark.driver.memory": "8g"})
    spark.sparkContext.setLogLevel("ERROR")
    array = F.array(*[F.randn(j) for j in range(COLUMNS)])
    table = spark.range(options.rows).select(array_to_vector(array).alias("features")).cache()
    print(f"{table.count():,} x {COLUMNS}")
    for name, ours in models():
        theirs = ours.to_pyspark()
        runs = [(seconds(ours, table), seconds(theirs, table)) for _ in range(options.repeats + 2)][2:]
        mine, other = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:26s} sparkdml {mine:6.2f} s   pyspark.ml {other:6.2f} s   ratio {mine / other:.2f}")
    spark.stop()


if __name__ == "__main__":
    main()
