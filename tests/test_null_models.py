"""The model of an intercept alone beside offsets: the best constant, against closed forms and a search of its own."""

import numpy as np
import pytest
from problems import glm_losses
from scipy.optimize import minimize_scalar

from sparkdml import LocalData
from sparkdml.engine.null_model import null_model
from sparkdml.optim.line_minimum import LineMinimum
from sparkdml.optim.losses import GeneralizedLinear, Logistic
from sparkdml.regression import GeneralizedLinearRegression

N = 300
LOSSES = glm_losses()


def rows(loss: GeneralizedLinear, width: float, low: float = -3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, offsets and weights, with margins that have a mean, and one row that counts for nothing."""
    rng = np.random.default_rng(0)
    offset = rng.uniform(low, low + width, N)
    z = offset + 0.4 if loss.anywhere else offset - offset.min() + 0.5
    mean = loss.inverse_link(z[:, None])
    if loss.family.name == "gaussian":
        label = mean * (1.0 + 0.1 * rng.normal(size=N))
    elif loss.family.name == "binomial":
        label = (rng.random(N) < np.clip(mean, 0.1, 0.9)).astype(float)
    else:
        label = rng.gamma(2.0, mean / 2.0) + 1e-3 * mean
    weight = rng.exponential(size=N)
    weight[0], label[0] = 0.0, label.max()
    return label, offset, weight


def mean_loss(loss: GeneralizedLinear, c: float, label: np.ndarray, offset: np.ndarray, weight: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        values = loss.value(label, (c + offset)[:, None])
    return float(np.sum(weight[1:] * values[1:]) / weight.sum())


@pytest.mark.parametrize("width", [0.0, 5.0, 25.0])
@pytest.mark.parametrize("name", LOSSES)
def test_the_best_constant_is_found(name: str, width: float) -> None:
    loss = LOSSES[name]
    label, offset, weight = rows(loss, width)
    data = LocalData(np.zeros((N, 1)), label, weight=weight, offset=offset)
    found = null_model(data, loss, data.statistics)
    ours = mean_loss(loss, found.margin, label, offset, weight)
    assert found.loss == pytest.approx(ours, rel=1e-12, abs=1e-15)
    if width == 0.0:  # the mean label, whatever the loss
        assert loss.inverse_link(np.array([[found.margin + offset[0]]]))[0] == pytest.approx(
            float(weight @ label / weight.sum()), rel=1e-7
        )
    starts = np.linspace(-40.0, 40.0, 81) if loss.anywhere else -offset.min() + np.geomspace(1e-6, 1e6, 81)
    values = [mean_loss(loss, c, label, offset, weight) for c in starts]
    best = int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
    bounds = starts[max(best - 1, 0)], starts[min(best + 1, len(starts) - 1)]
    independent = minimize_scalar(
        lambda c: mean_loss(loss, c, label, offset, weight), bounds=bounds, method="bounded", options={"xatol": 1e-11}
    )
    assert ours <= independent.fun * (1.0 + 1e-10) + 1e-15
    assert found.passes <= 12


def test_null_deviances_of_closed_form() -> None:
    o = np.arange(5.0)
    x, y = o % 2, np.round(np.exp(o) * np.where(o % 3 == 0, 2, 1))
    scale = np.exp(o) @ y / (np.exp(o) @ np.exp(o))
    settings = {"family": "gaussian", "link": "log", "offsetCol": "offset"}
    model = GeneralizedLinearRegression(**settings).fit(LocalData(x[:, None], y, offset=o))
    assert model.summary.nullDeviance == pytest.approx(np.sum((y - scale * np.exp(o)) ** 2), rel=1e-12)
    rng = np.random.default_rng(0)
    for width in (5.0, 16.0, 25.0):
        o = rng.uniform(0.0, width, N)
        X, y = rng.normal(size=(N, 2)), rng.poisson(np.exp(o + 0.3)).astype(float)
        mean = np.exp(o) * y.sum() / np.exp(o).sum()
        some = y > 0
        expected = 2.0 * (np.sum(y[some] * np.log(y[some] / mean[some])) - np.sum(y - mean))
        model = GeneralizedLinearRegression(family="poisson", offsetCol="offset").fit(LocalData(X, y, offset=o))
        assert model.summary.nullDeviance == pytest.approx(expected, rel=1e-7)
        assert model.summary.passes > null_passes(model, X, y, o)


def null_passes(model: GeneralizedLinearRegression, X: np.ndarray, y: np.ndarray, o: np.ndarray) -> int:
    """Those of the search alone: a fit counts them too."""
    data = LocalData(X, y, offset=o)
    return null_model(data, model._loss(), data.statistics).passes  # type: ignore[attr-defined]


def test_a_search_is_made_once_for_many_fits() -> None:
    rng = np.random.default_rng(0)
    o, X = rng.normal(size=N), rng.normal(size=(N, 2))
    data = LocalData(X, rng.poisson(np.exp(o)).astype(float), offset=o)
    base = GeneralizedLinearRegression(family="poisson", offsetCol="offset")
    alone = base.fit(LocalData(X, data.blocks[0].label, offset=o)).summary.passes
    base.fit(data, [{base.regParam: strength} for strength in (0.0, 0.1, 1.0)])
    assert len(data.null_models) == 1
    assert alone > next(iter(data.null_models.values())).passes >= 3


@pytest.mark.parametrize("low", [-12.0, -3.0, 0.5])
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.anywhere])
def test_with_an_intercept_there_is_a_start_where_every_row_has_a_mean(name: str, low: float) -> None:
    loss = LOSSES[name]
    label, offset, weight = rows(loss, 5.0, low)
    data = LocalData(np.random.default_rng(1).normal(size=(N, 2)), label, weight=weight, offset=offset)
    found = null_model(data, loss, data.statistics)
    assert np.isfinite(found.loss)
    assert found.margin > -offset[1:].min() or loss.family.name == "gaussian"


def test_a_minimum_at_the_edge_of_the_points_or_of_the_domain_is_found() -> None:
    for shift in (-50.0, 0.0, 1e5):
        search = LineMinimum(np.linspace(-1.0, 1.0, 5))
        while not search.done:
            z = search.points - shift
            search = search.narrowed(np.hypot(1.0, z), z / np.hypot(1.0, z))
        assert search.minimum == pytest.approx(shift, abs=1e-5)
    search = LineMinimum(np.array([0.5, 2.0]), low=0.0)
    while not search.done:
        z = np.where(search.points > 0.0, search.points, np.nan)
        search = search.narrowed(z - 1e-7 * np.log(z), 1.0 - 1e-7 / z)
    assert search.minimum == pytest.approx(1e-7, rel=1e-6)


def test_binomial_classifiers_begin_at_the_best_constant_too() -> None:
    rng = np.random.default_rng(0)
    offset = rng.normal(0.0, 10.0, N)
    label = (rng.random(N) < 1.0 / (1.0 + np.exp(-offset - 1.0))).astype(float)
    data = LocalData(rng.normal(size=(N, 1)), label, offset=offset)
    found = null_model(data, Logistic(), data.statistics)
    slope = np.mean(1.0 / (1.0 + np.exp(-(found.margin + offset))) - label)
    assert abs(slope) < 1e-7
