"""What a pass sends is counted, and it is what is really sent."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import ALL_LOSSES, PENALTIES, random_features, random_rows, standardized, with_known_optimum
from pyspark.sql import SparkSession

from sparkdml import pack
from sparkdml.engine.kernels import KERNELS
from sparkdml.engine.minimize import minimize
from sparkdml.optim.losses import generalized_linear
from sparkdml.optim.queries import (
    Describe,
    EachPartition,
    Goodness,
    Gradient,
    Gram,
    HeldOut,
    Hessian,
    Line,
    LocalEpoch,
    ObservedHessian,
    Query,
    Sample,
    Scores,
    Units,
)
from sparkdml.optim.solvers import SOLVERS
from sparkdml.regression import LinearRegression

NAMES = 700  # bytes that a message takes beside its arrays: names of classes, plain numbers, shapes
D = 400


def queries() -> dict[str, Query]:
    rng, loss = np.random.default_rng(0), ALL_LOSSES["logistic"]
    w, b = rng.normal(size=(D, 1)), rng.normal(size=1)
    gradient = Gradient(loss, w, b)
    return {
        "gradient": gradient,
        "sample": replace(gradient, sample=Sample(0.1, 0, 0)),
        "line": Line(loss, w, b, w[::-1].copy(), b, np.linspace(0, 1, 16)),
        "gram": Gram(rng.normal(size=D + 1)),
        "each partition": EachPartition(gradient),
        "hessian": Hessian(loss, w, b, rng.normal(size=D)),
        "observed": ObservedHessian(loss, w, b, rng.normal(size=D)),
        "scores": Scores(loss, w, b, rng.normal(size=D)),
        "held out": HeldOut(loss, w, b, 0),
        "goodness": Goodness(generalized_linear("gaussian"), w, b),
        "describe": Describe(D, class_weights={1.0: 2.0}),
        "local epoch": LocalEpoch(
            loss, w, b, Units(*rng.normal(size=(3, D)), fit_intercept=False), rng.normal(size=D), free=np.ones(D)
        ),
    }


def test_every_kind_of_query_is_in_the_table() -> None:
    assert {type(query) for query in queries().values()} == {*KERNELS, EachPartition, LocalEpoch}


@pytest.mark.parametrize("name", queries())
@pytest.mark.parametrize("partitions", [1, 5])
def test_the_bytes_are_those_of_the_messages(name: str, partitions: int) -> None:
    query = queries()[name]
    X = np.random.default_rng(1).normal(size=(100, D))
    rows = replace(random_rows(100), features=X, label=np.arange(100.0) % 2, offset=None)
    data, messages = rows.local(partitions), [rows.local().run([query])[0]] * partitions
    traffic = data.traffic([query])
    down, up = partitions * len(pickle.dumps(query)), sum(len(pickle.dumps(each)) for each in messages)
    for counted, sent in [(traffic.down, down), (traffic.up, up)]:
        assert counted <= sent <= counted + partitions * NAMES


def test_the_bytes_of_passes_add_up() -> None:
    data, total = random_rows(100, 7).local(3), np.zeros(2, int)
    small: list[Query] = [Gram(np.zeros(8)), Gradient(ALL_LOSSES["logistic"], np.zeros((7, 1)), np.zeros(1))]
    for asked in (small, small[:1], small[1:]):
        data.run(asked)
        total += data.traffic(asked)
    assert (data.bytes_down, data.bytes_up) == tuple(total)


@pytest.mark.parametrize("aggregation", ["weighted_mean", "mean"])
def test_the_fits_of_a_pass_share_its_bytes(aggregation: str) -> None:
    rows, _, _ = with_known_optimum(random_features(), None, True, 0.0, 0.0)
    data = rows.local(4)
    problems = [replace(standardized(data, True, *each), aggregation=aggregation) for each in PENALTIES.values()]
    fits = minimize([(problem, SOLVERS["gd"](max_iter=5)) for problem in problems], data)
    assert sum(fit.bytes_down for fit in fits) == data.bytes_down
    assert sum(fit.bytes_up for fit in fits) == data.bytes_up > 0


def test_a_summary_tells_the_bytes_of_its_fit(spark: SparkSession, tmp_path: Any) -> None:
    df = spark.range(0, 200, 1, 4).selectExpr("id % 17 * 1.0 AS a", "id % 17 * 2.0 + 1 AS label")
    with pack(df, featuresCols=["a"], numPartitions=2) as data:
        model = LinearRegression(featuresCols=["a"], solver="l-bfgs", computeStatistics=True).fit(data)
        assert data.tasks == 2
        assert model.summary.bytes == (data.bytes_down, data.bytes_up)
        before = np.array([data.passes, data.bytes_down, data.bytes_up])
        robust = LinearRegression(featuresCols=["a"], aggregation="median").fit(data).summary
        after = np.array([data.passes, data.bytes_down, data.bytes_up])
        assert [robust.passes, *robust.bytes] == (after - before).tolist()
        gradients = robust.passes - 2  # the first pass asks for the axes, the last for all rows
        assert robust.bytes.up == 4 * (48 + gradients * 32) + 2 * 32
    model.save(f"{tmp_path}/model")
    again = type(model).load(f"{tmp_path}/model").summary
    assert again.bytes == model.summary.bytes
    assert str(again).endswith(f"({again.bytes.down} B down, {again.bytes.up} B up), converged")
