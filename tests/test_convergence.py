"""A fit that reports convergence is at the minimum, wherever it started; one that is not there warns."""

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import pytest
from estimators import ESTIMATORS
from problems import glm_losses

from sparkdml import LocalData
from sparkdml.errors import ConvergenceWarning
from sparkdml.optim.losses import FAMILY_LINKS, GeneralizedLinear
from sparkdml.regression import GeneralizedLinearRegression, GeneralizedLinearRegressionModel

N, NEAR = 200, 1e-6
TRUE = np.array([0.3, -0.2, 0.1])
LOSSES = glm_losses()
OFFSETS = {
    "none": lambda rng: np.zeros(N),
    "wide": lambda rng: rng.uniform(-7.0, 18.0, N),
    "normal": lambda rng: rng.normal(0.0, 10.0, N),
}
UNITS = (1e-3, 1e3)  # the columns of the fit in those of the model that it starts from
Objective: TypeAlias = Callable[[np.ndarray], float]
SOLVERS = ("irls", "l-bfgs", "subsampled-newton", "gd")


class Cell:
    """Rows of a generalized linear model: features (N, 3), labels and offsets (N,), and its smallest mean loss."""

    def __init__(self, loss: GeneralizedLinear, kind: str) -> None:
        rng = np.random.default_rng(3)
        self.loss, self.features = loss, rng.normal(size=(N, 3))
        self.offset = OFFSETS[kind](rng)
        z = self.features @ TRUE + 0.5 + self.offset
        if not loss.anywhere:
            z += 1.0 - z.min()
        self.label = draw(loss, loss.inverse_link(z[:, None]), rng)
        self.theta, self.best = best_known(self)

    def objective(self, w: np.ndarray, b: float) -> float:
        """The mean loss."""
        return float(np.mean(self.loss.value(self.label, (self.features @ w + b + self.offset)[:, None])))


def draw(loss: GeneralizedLinear, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels with these means."""
    name = loss.family.name
    if name == "gaussian":
        return mean + (0.3 * np.std(mean) + 1e-3) * rng.normal(size=N)
    if name == "binomial":
        return (rng.random(N) < np.clip(mean, 0.05, 0.95)).astype(float)
    if name in ("poisson", "negativeBinomial"):
        return rng.poisson(np.minimum(mean * rng.gamma(3.0, 1.0 / 3.0, N), 1e15)) + 1.0
    return rng.gamma(2.0, mean / 2.0)


def best_known(cell: Cell) -> tuple[np.ndarray, float]:
    """The best end of iteratively reweighted least squares with halved steps, from the true model and ten constants."""
    A = np.column_stack([cell.features, np.ones(N)])
    loss, y, offset = cell.loss, cell.label, cell.offset

    def objective(theta: np.ndarray) -> float:
        return float(np.mean(loss.value(y, (A @ theta + offset)[:, None])))

    wanted = loss.link(np.quantile(y, np.linspace(0.05, 0.95, 5)))[:, 0]
    constants = [*(wanted - offset.min()), *(wanted - offset.max())]
    true = np.append(TRUE, 0.5 if loss.anywhere else 1.5 - (cell.features @ TRUE + 0.5 + offset).min())
    starts = [true, *([0.0, 0.0, 0.0, constant] for constant in constants)]
    ends = [improved(np.array(each), A, cell, objective) for each in starts if np.isfinite(objective(np.array(each)))]
    end = min(ends, key=objective)
    return end, objective(end)


def improved(theta: np.ndarray, A: np.ndarray, cell: Cell, objective: Objective) -> np.ndarray:
    """Newton's method, or Fisher scoring where the matrix is indefinite, in steps that move margins by at most 5."""
    for _ in range(200):
        z = (A @ theta + cell.offset)[:, None]
        gradient = A.T @ cell.loss.gradient(cell.label, z)[:, 0]
        step = np.zeros(4)
        for weights in (cell.loss.hessian(cell.label, z)[:, 0, 0], cell.loss.fisher(cell.label, z)[:, 0, 0]):
            scale = 1.0 / np.sqrt(np.maximum((A**2).T @ np.abs(weights), 1e-300))
            matrix = (A * scale).T @ ((A * scale) * weights[:, None])
            if np.linalg.eigvalsh(matrix)[0] > 1e-12:
                step = -scale * np.linalg.solve(matrix, scale * gradient)
                break
        step *= min(1.0, 5.0 / max(float(np.abs(A @ step).max()), 1e-300))
        before, t = objective(theta), 1.0
        while t > 1e-12 and not objective(theta + t * step) < before:
            t /= 2.0
        if t <= 1e-12:
            break
        theta = theta + t * step
    return theta


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL, "sparkdml"):
        yield


def fits(cell: Cell, solver: str) -> Iterator[tuple[str, GeneralizedLinearRegressionModel, bool]]:
    """Fits from nothing, and from the best model in other units; with each, whether it warned."""
    family, link = cell.loss.family, cell.loss.link_function
    settings = {"family": family.name, "link": link.name}
    if link.name not in FAMILY_LINKS.get(family.name, ()):
        power = getattr(family, "power", 0.0)
        settings = {"family": "tweedie", "variancePower": power, "linkPower": link.power}  # type: ignore[attr-defined]
    elif family.name == "negativeBinomial":
        settings |= {"overdispersion": family.overdispersion}  # type: ignore[attr-defined]
    known = [
        GeneralizedLinearRegressionModel(cell.theta[None, :3] * units, cell.theta[3:], ("x0", "x1", "x2"))
        for units in UNITS
    ]
    for start in (None, *known):
        estimator = GeneralizedLinearRegression(solver=solver, offsetCol="offset", initialModel=start, **settings)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = estimator.fit(LocalData(cell.features, cell.label, offset=cell.offset))
        yield f"{solver}, {start and start._weights}", model, any(w.category is ConvergenceWarning for w in caught)


@pytest.mark.parametrize("kind", OFFSETS)
@pytest.mark.parametrize("name", LOSSES)
def test_convergence_is_true_whatever_the_start(name: str, kind: str) -> None:
    cell, unconverged = Cell(LOSSES[name], kind), []
    for solver in SOLVERS if np.isfinite(cell.loss.curvature) else SOLVERS[:-1]:
        for what, model, warned in fits(cell, solver):
            reached = cell.objective(model._weights[0], model._intercepts[0])
            if model.summary.converged:
                assert reached <= cell.best + NEAR * abs(cell.best), what
            else:
                assert warned, what
                unconverged.append(what)
    assert not unconverged or is_on_the_edge(cell), unconverged


EDGES = {
    "poisson, identity": {"family": "poisson", "link": "identity"},
    "negativeBinomial, identity": {"family": "negativeBinomial", "overdispersion": 0.5, "link": "identity"},
    "tweedie, identity": {"family": "tweedie", "variancePower": 1.5, "linkPower": 1.0},
    "tweedie, sqrt": {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.5},
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EDGES)
def test_where_the_margin_of_a_row_has_no_mean_any_more_there_is_no_minimum(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, offset = rng.normal(size=(N, 3)), rng.normal(0.0, 0.3, N)
    y = np.maximum(rng.poisson(np.maximum(20.0 + 3.0 * X[:, 0], 0.1)) - 1.0, 0.0)
    offset[5], y[5] = -100.0, 0.0
    for solver in SOLVERS[:-1]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator = GeneralizedLinearRegression(solver=solver, offsetCol="offset", **EDGES[name])
            model = estimator.fit(LocalData(X, y, offset=offset))
        margins = X @ model._weights[0] + model._intercepts[0] + offset
        if margins.min() < 1e-6 * np.abs(margins).max():
            assert not model.summary.converged, solver
            assert any(w.category is ConvergenceWarning for w in caught), solver


@pytest.mark.parametrize("seed", [1, 4, 5, 23])
def test_curvatures_that_no_step_has_met_do_not_end_a_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, offset = rng.normal(size=(N, 3)), rng.normal(0.0, 10.0, N)
    mean = np.exp(X @ TRUE + 0.5 + offset)
    data = LocalData(X, mean + rng.normal(size=N), offset=offset)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = GeneralizedLinearRegression(solver="l-bfgs", link="log", offsetCol="offset").fit(data).summary
    assert found.deviance < 2.0 * N if found.converged else any(w.category is ConvergenceWarning for w in caught)


def is_on_the_edge(cell: Cell) -> bool:
    """Whether the best margin of some row is nearly one that has no mean, so that there may be no minimum."""
    margins = cell.features @ cell.theta[:3] + cell.theta[3] + cell.offset
    return not cell.loss.anywhere and bool(np.abs(margins).min() < 1e-2 * np.abs(margins).max())


@pytest.mark.parametrize("units", [1e-3, 1e3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_of_other_units_is_no_worse_a_start_than_none(name: str, units: float) -> None:
    family = ESTIMATORS[name]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 3))
    y = family.draw(X @ [1.0, -1.0, 0.5] + 0.3, rng)
    for solver in family.solvers:
        settings = {"solver": solver, "regParam": 0.01, "maxIter": 1000}
        start, cold = (family.make(**settings).fit(LocalData(features, y)) for features in (X / units, X))
        warm = family.make(initialModel=start, **settings).fit(LocalData(X, y))
        ends = [model.summary.objectiveHistory[-1] for model in (warm, cold)]
        assert warm.summary.converged
        assert ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_a_start_that_is_worse_than_none_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 3))
    y = rng.poisson(np.exp(X @ TRUE + 0.5)).astype(float)
    start = GeneralizedLinearRegression(family="poisson").fit(LocalData(X, y))
    with caplog.at_level(logging.WARNING, "sparkdml"):
        warm = GeneralizedLinearRegression(family="poisson", initialModel=start).fit(LocalData(X * 100.0, y))
    assert warm.summary.deviance == pytest.approx(start.summary.deviance, rel=1e-9)
    assert "initialModel fits these rows worse than no coefficients" in caplog.text
