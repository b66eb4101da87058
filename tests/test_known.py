"""What is answered without a pass is what a pass answers."""

from dataclasses import replace

import numpy as np
import pytest
from problems import ALL_LOSSES, class_rows, standardized

from sparkdml import LocalData
from sparkdml.engine.known import known_answers
from sparkdml.engine.minimize import minimize
from sparkdml.optim.losses import Logistic, Loss, Softmax
from sparkdml.optim.queries import Gradient, Gram, HeldOut, Sample
from sparkdml.optim.solvers import Lbfgs

D = 4
RNG = np.random.default_rng(0)


def rows_of(loss: Loss, sparse: bool) -> LocalData:
    rows = class_rows(90, D, 0.3 if sparse else 1.0)
    label = np.arange(90) % (loss.classes if isinstance(loss, Softmax) else 2) * 1.0
    features = rows.sparse.features if sparse else rows.features
    return LocalData(features, label, rows.weight, fold=np.arange(90) % 5 % 3, partitions=3)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("fold", [-1, 1])
@pytest.mark.parametrize("class_weights", [{}, {1.0: 2.5}], ids=["", "class weights"])
@pytest.mark.parametrize("name", ALL_LOSSES)
def test_it_is_what_a_pass_answers(name: str, class_weights: dict[float, float], fold: int, sparse: bool) -> None:
    loss = ALL_LOSSES[name].smoothed(0.5)
    data = rows_of(loss, sparse)
    nothing, b = np.zeros((D, loss.margins)), np.abs(RNG.normal(size=loss.margins))
    queries = [
        Gradient(loss, nothing, b, fold, class_weights=class_weights),
        HeldOut(loss, nothing, b, max(fold, 0), class_weights=class_weights),
    ]
    known = known_answers(data, queries)
    assert known is not None
    for found, expected in zip(known, data.run(queries), strict=True):
        for part, value in vars(expected).items():
            np.testing.assert_allclose(getattr(found, part), value, rtol=1e-11, atol=1e-11, err_msg=part)


def test_what_the_statistics_do_not_tell_takes_a_pass() -> None:
    data = rows_of(Logistic(), False)
    start = Gradient(Logistic(), np.zeros((D, 1)), np.zeros(1))
    assert known_answers(data, [start]) is not None
    for query in (replace(start, w=np.ones((D, 1))), replace(start, sample=Sample(0.5, 0, 0)), Gram(np.zeros(D + 1))):
        assert known_answers(data, [start, query]) is None
    X, y = RNG.normal(size=(90, D)), RNG.normal(size=90)
    assert known_answers(LocalData(X, y), [start]) is None  # every label is another
    assert known_answers(LocalData(X, (y > 0) * 1.0, offset=y), [start]) is None


def test_a_fit_begins_without_a_pass() -> None:
    data = rows_of(Logistic(), False)
    (fit,) = minimize([(standardized(data, True, loss=Logistic()), Lbfgs())], data)
    assert fit.passes == data.passes == fit.state.iterations
