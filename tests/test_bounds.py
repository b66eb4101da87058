"""Bounds on coefficients and intercepts: the minimum in the box, by every solver that takes them, as in pyspark.ml."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import ESTIMATORS
from estimators import X as TABLE
from estimators import weights as raw_weights
from problems import PENALTIES, Rows, class_rows, random_features, solve, standardized, theta_of
from pyspark.ml.classification import LogisticRegression as Oracle
from pyspark.ml.linalg import DenseMatrix, Matrices, Vectors
from pyspark.sql import SparkSession
from scipy.optimize import minimize as scipy_minimize

from sparkdml import LocalData
from sparkdml.bounds import HasBounds
from sparkdml.classification import LogisticRegression
from sparkdml.engine.minimize import minimize
from sparkdml.errors import DataWarning, ParamError, SolverError
from sparkdml.optim.losses import Logistic, Loss, Softmax, SquaredError
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import SOLVERS
from sparkdml.optim.solvers.rule_descent import RuleDescent
from sparkdml.regression import LinearRegression

LOSSES: dict[str, Loss] = {"squared": SquaredError(), "logistic": Logistic(), "softmax": Softmax(3)}
D, INF = 4, np.inf
BOXES: dict[str, tuple[Any, Any]] = {
    "not negative": (0.0, INF),
    "around zero": (-0.3, 0.2),
    "above zero": (0.1, 0.4),
    "one side each": (np.array([-INF, 0.0, -0.1, -INF]), np.array([0.0, INF, 0.1, INF])),
    "fixed": (np.array([0.25, -INF, -INF, 0.0]), np.array([0.25, INF, INF, 0.0])),
}
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
every_box = pytest.mark.parametrize("box", BOXES)


def rows_for(loss: Loss, sparse: bool = False) -> Rows:
    rows = class_rows(120, D, 0.3 if sparse else 1.0)
    label = rows.label if not isinstance(loss, Logistic) else (rows.label > 0.0).astype(float)
    found = Rows(rows.features, label + (rows.features @ np.ones(D) if loss.quadratic else 0.0), rows.weight)
    return found.sparse if sparse else found


def problem_in(box: tuple[Any, Any], rows: Rows, loss: Loss, penalty: str, intercept: bool = True) -> Problem:
    """The problem in variables of equal scale; the box is of those."""
    free = standardized(rows.local(), intercept, *PENALTIES[penalty], loss=loss)
    C, c = loss.margins, loss.margins if intercept else 0
    low, high = (
        np.append(np.repeat(np.broadcast_to(end, D), C), np.full(c, none))
        for end, none in zip(box, (-INF, INF), strict=True)
    )
    bounded = free.penalty.within(low, high)
    return replace(free, penalty=bounded, start=bounded.l1.clip(np.zeros_like(free.start)))


def by_scipy(problem: Problem, rows: Rows) -> np.ndarray:
    """The minimizer as the difference of two vectors without negative entries, in which L1 is smooth."""
    A, s, loss = (rows.dense - problem.center) * problem.inverse_scale, rows.weights, problem.loss
    l1, l2 = problem.penalty.l1, problem.penalty.l2.strength
    n = len(problem.start)

    def objective(parts: np.ndarray) -> tuple[float, np.ndarray]:
        theta = parts[:n] - parts[n:]
        u, c = problem.split(theta)
        z = A @ u + c
        slopes = loss.gradient(rows.label, z) * s[:, None] / s.sum()
        gradient = problem.join(A.T @ slopes, slopes.sum(axis=0)) + l2 * theta
        value = s @ loss.value(rows.label, z) / s.sum() + l1.strength @ parts.reshape(2, n).sum(axis=0)
        return value + l2 @ theta**2 / 2, np.concatenate([gradient + l1.strength, -gradient + l1.strength])

    ends = np.array([np.append(np.maximum(l1.low, 0), np.maximum(-l1.high, 0))]), np.append(l1.high, -l1.low)
    bounds = list(zip(ends[0][0], np.maximum(ends[1], 0.0), strict=True))
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 20_000, "maxfun": 200_000, "maxcor": 30}
    found = scipy_minimize(objective, [low for low, _ in bounds], jac=True, bounds=bounds, options=options).x
    return found[:n] - found[n:]


@every_loss
@every_penalty
@every_box
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_minimum_in_the_box_is_that_of_scipy(loss: str, penalty: str, box: str, sparse: bool) -> None:
    rows = rows_for(LOSSES[loss], sparse)
    problem = problem_in(BOXES[box], rows, LOSSES[loss], penalty)
    expected = by_scipy(problem, rows)
    fit = solve(rows.local(), problem, "l-bfgs", tol=1e-10)
    theta = theta_of(fit)
    assert fit.state.stop.converged
    np.testing.assert_array_equal(problem.penalty.l1.clip(theta), theta)
    # of softmax without a penalty the box leaves more than one minimum
    unique = problem.penalty.has_l1 or np.any(problem.penalty.l2.strength) or loss != "softmax"
    np.testing.assert_allclose(problem.objective(fit.state.point), _value(problem, rows, expected), rtol=1e-10)  # type: ignore[arg-type]
    if unique and penalty not in ("l1", "none"):
        np.testing.assert_allclose((theta - expected)[: D * problem.loss.margins], 0.0, atol=2e-6)


def _value(problem: Problem, rows: Rows, theta: np.ndarray) -> float:
    u, c = problem.split(theta)
    z = (rows.dense - problem.center) * problem.inverse_scale @ u + c
    return float(np.average(problem.loss.value(rows.label, z), weights=rows.weights)) + problem.penalty.value(theta)


BOUNDED = [name for name, solver in SOLVERS.items() if solver.bounded]
METHODS = {
    **{name: SOLVERS[name](tol=1e-11, max_iter=2000) for name in BOUNDED},
    "rules": RuleDescent(1e-11, 2000, learning_rate="barzilaiBorwein"),
}


@pytest.mark.thinned
@every_loss
@every_box
@pytest.mark.parametrize(("penalty", "intercept"), [("l2", True), ("elastic net", False)], ids=str)
def test_all_solvers_agree(loss: str, penalty: str, box: str, intercept: bool) -> None:
    rows = rows_for(LOSSES[loss])
    problem = problem_in(BOXES[box], rows, LOSSES[loss], penalty, intercept)
    methods = {name: method for name, method in METHODS.items() if not method.refusal(problem)}
    fits = minimize([(problem, method) for method in methods.values()], rows.local())
    u = {name: problem.split(theta_of(fit))[0] for name, fit in zip(methods, fits, strict=True)}
    assert len(u) >= 4
    for name, found in u.items():
        close = 1e-3 if name == "sgd" else 1e-7
        np.testing.assert_allclose(found, u["l-bfgs"], atol=close, err_msg=name)


@every_loss
@every_penalty
def test_a_huge_box_is_none(loss: str, penalty: str) -> None:
    rows = rows_for(LOSSES[loss])
    free, huge = (problem_in((-size, size), rows, LOSSES[loss], penalty) for size in (INF, 1e6))
    for name in BOUNDED:
        if name == "sgd" or SOLVERS[name]().refusal(free):
            continue
        fits = [solve(rows.local(), each, name, max_iter=3000) for each in (free, huge)]
        found, expected = (theta_of(fit).reshape(-1, LOSSES[loss].margins) for fit in fits)
        if loss == "softmax":  # what all classes share in the intercepts, and without a penalty elsewhere, says nothing
            found, expected = (theta - theta.mean(axis=1, keepdims=True) for theta in (found, expected))
        np.testing.assert_allclose(found, expected, atol=1e-7, err_msg=name)


def test_a_solver_that_takes_no_box_says_so() -> None:
    rows = rows_for(SquaredError())
    problem, data = problem_in(BOXES["not negative"], rows, SquaredError(), "l2"), rows.local()
    assert set(SOLVERS) - set(BOUNDED) >= {"local-sgd"}
    for name in set(SOLVERS) - set(BOUNDED):
        with pytest.raises(SolverError, match=f"solver='{name}' cannot keep coefficients within bounds"):
            solve(data, problem, name)
    assert data.passes == 0
    estimator = LinearRegression(lowerBoundsOnCoefficients=0, solver="l-bfgs", warmStartEpochs=2)
    with pytest.raises(SolverError, match="local-sgd"):
        estimator.fit(data)


# The estimators.

X = random_features(150, D, density=1.0)
Z = X @ [1.0, -0.7, 0.3, 0.2]
RNG = np.random.default_rng(3)
LABELS = {
    LinearRegression: Z + RNG.normal(size=150),
    LogisticRegression: np.argmax(np.outer(Z, [-0.5, 0.1, 0.6]) + RNG.gumbel(size=(150, 3)), axis=1) * 1.0,
}
every_estimator = pytest.mark.parametrize("estimator", LABELS)


def weights_of(model: Any) -> tuple[np.ndarray, np.ndarray]:
    return model._weights, model._intercepts


@every_estimator
@pytest.mark.parametrize("settings", [{}, {"regParam": 0.05}, {"regParam": 0.05, "elasticNetParam": 0.5}], ids=str)
def test_raw_coefficients_and_intercepts_stay_in_their_box(estimator: type, settings: dict[str, Any]) -> None:
    data = LocalData(X, LABELS[estimator])
    C = 1 if estimator is LinearRegression else 3
    low, high = np.linspace(-0.3, 0.0, C * D).reshape(C, D), np.full((C, D), 0.1)
    free = estimator(tol=1e-10, **settings).fit(data)
    found = estimator(
        tol=1e-10,
        maxIter=2000,
        lowerBoundsOnCoefficients=low.tolist(),
        upperBoundsOnCoefficients=0.1,
        lowerBoundsOnIntercepts=[0.2] * C,
        upperBoundsOnIntercepts=Vectors.dense([0.7] * C),
        **settings,
    ).fit(data)
    w, b = weights_of(found)
    assert np.all((low <= w) & (w <= high))
    assert np.all((b >= 0.2) & (b <= 0.7))
    assert np.any(w == low) or np.any(w == high)
    assert found.summary.objectiveHistory[-1] > free.summary.objectiveHistory[-1]
    again = estimator(
        tol=1e-10, lowerBoundsOnCoefficients=-1e9, upperBoundsOnIntercepts=1e9, maxIter=3000, **settings
    ).fit(data)
    np.testing.assert_allclose(weights_of(again)[0], weights_of(free)[0], atol=1e-6)
    np.testing.assert_allclose(weights_of(again)[1], weights_of(free)[1], atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (-0.2, 0.25)], ids=str)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_family_finds_its_minimum_in_the_box(name: str, low: float | None, high: float | None) -> None:
    family = ESTIMATORS[name]
    bounds = {"lowerBoundsOnCoefficients": low, "upperBoundsOnCoefficients": high}
    close = 1e-6 if family.kinked else 1e-10
    model = family.make(
        tol=close, maxIter=1000, **{param: end for param, end in bounds.items() if end is not None}
    ).fit(LocalData(TABLE, family.labels))
    w, _ = raw_weights(model)
    assert np.all((w >= low) & (w <= (INF if high is None else high)))
    best = family.best(TABLE, family.labels, low, high)
    assert family.objective(model, TABLE, family.labels) <= best + (close + 1e-9) * abs(best)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_labels_that_are_all_the_same_leave_zero_unless_bounds_exclude_it(name: str) -> None:
    family = ESTIMATORS[name]
    data = LocalData(TABLE, np.ones(len(TABLE)))
    excluding: Any = [{"lowerBoundsOnCoefficients": 0.5}]
    if family.outputs == 1:  # of several only the differences count
        excluding.append({"upperBoundsOnIntercepts": -0.25})
    for bounds in excluding:
        with pytest.warns(DataWarning, match="every label is 1: only the bounds keep the coefficients from zero"):
            model = family.make(tol=1e-5, maxIter=1000, **bounds).fit(data)
        assert raw_weights(model)[0].all()
    with pytest.warns(DataWarning, match="every label is 1: (?!only the bounds)"):
        model = family.make(lowerBoundsOnCoefficients=0.0, upperBoundsOnCoefficients=0.5).fit(data)
    assert not raw_weights(model)[0].any()


@pytest.mark.parametrize("name", [name for name, family in ESTIMATORS.items() if family.outputs == 1])
def test_every_family_keeps_an_intercept_in_its_box(name: str) -> None:
    family, data = ESTIMATORS[name], LocalData(TABLE, ESTIMATORS[name].labels)
    close = {"tol": 1e-6 if family.kinked else 1e-10, "maxIter": 1000}
    free = family.make(**close).fit(data)
    held = family.make(**close, upperBoundsOnIntercepts=free.intercept - 0.1).fit(data)
    assert held.intercept == free.intercept - 0.1
    loose = family.make(**close, upperBoundsOnIntercepts=free.intercept + 0.1).fit(data)
    assert family.objective(loose, TABLE, family.labels) <= family.objective(held, TABLE, family.labels)
    np.testing.assert_allclose(loose.intercept, free.intercept, atol=1e-3 if family.kinked else 1e-6)


@pytest.mark.parametrize("low", [0.0, -0.05, 1.0])
def test_of_multinomial_minima_in_a_box_every_solver_gives_that_which_sums_nearest_to_zero(low: float) -> None:
    """Without a penalty a constant may be added to the coefficients of a feature, as long as they stay in the box."""
    data, constant = LocalData(np.column_stack([X, np.ones(len(X))]), LABELS[LogisticRegression]), D
    params = {"tol": 1e-10, "maxIter": 2000, "lowerBoundsOnCoefficients": low}
    found = [weights_of(LogisticRegression(solver=s, **params).fit(data)) for s in ("l-bfgs", "newton", "gd")]
    for w, b in found:
        np.testing.assert_allclose(w, found[0][0], atol=1e-6)
        np.testing.assert_allclose(b, found[0][1], atol=1e-6)
    w = found[0][0]
    assert not w[:, constant].any()
    sums, least = np.delete(w.sum(axis=0), constant), np.delete(w.min(axis=0), constant)
    assert np.all(least >= low)
    assert np.all((np.abs(sums) < 1e-12) | (least - low < 1e-12))


def test_huber_in_a_box_is_that_of_scipy() -> None:
    label, epsilon = LABELS[LinearRegression] + 8.0 * (np.arange(150) % 10 == 0), 1.35
    model = LinearRegression(loss="huber", tol=1e-10, maxIter=1000, upperBoundsOnCoefficients=0.5).fit(
        LocalData(X, label)
    )

    def objective(theta: np.ndarray) -> float:
        t = (label - X @ theta[:D] - theta[D]) / theta[-1]
        h = np.where(np.abs(t) <= epsilon, t**2, 2 * epsilon * np.abs(t) - epsilon**2)
        return float(np.mean(theta[-1] + theta[-1] * h) / 2.0)

    box = [(None, 0.5)] * D + [(None, None), (1e-3, None)]
    start = np.append(np.zeros(D + 1), 1.0)
    found = scipy_minimize(objective, start, bounds=box, options={"gtol": 1e-9, "ftol": 1e-15})
    ours = np.concatenate([model.coefficients.toArray(), [model.intercept, model.scale]])
    assert ours[:D].max() == 0.5
    assert objective(ours) <= found.fun + 1e-10
    np.testing.assert_allclose(ours, found.x, atol=1e-4)


def test_a_start_outside_is_moved_inside() -> None:
    data = LocalData(X, LABELS[LinearRegression])
    start = LinearRegression().fit(data)
    found = LinearRegression(initialModel=start, solver="gd", upperBoundsOnCoefficients=0.1, maxIter=0)
    with pytest.warns(UserWarning, match="maxIter"):
        w, _ = weights_of(found.fit(data))
    np.testing.assert_allclose(w, np.minimum(weights_of(start)[0], 0.1), atol=1e-12)


def test_bounds_are_those_of_pyspark(spark: SparkSession, tmp_path: Path) -> None:
    label, settings = LABELS[LogisticRegression], {"regParam": 0.05}
    rows = [(Vectors.dense(x), float(y)) for x, y in zip(X, label, strict=True)]
    df = spark.createDataFrame(rows, ["features", "label"]).coalesce(1)
    low = Matrices.dense(3, D, np.linspace(-0.2, 0.0, 3 * D))
    upper = Vectors.dense([0.1, INF, -0.2])
    for bounds in ({"lowerBoundsOnCoefficients": low}, {"upperBoundsOnIntercepts": upper}):
        theirs = Oracle(tol=1e-12, maxIter=1000, **settings, **bounds).fit(df)
        ours = LogisticRegression(tol=1e-11, maxIter=2000, **settings, **bounds).fit(LocalData(X, label))
        np.testing.assert_allclose(ours.coefficientMatrix.toArray(), theirs.coefficientMatrix.toArray(), atol=1e-4)
        found, expected = ours.summary.objectiveHistory[-1], theirs.summary.objectiveHistory[-1]
        assert found <= expected * (1 + 1e-9)
    estimator = LogisticRegression(lowerBoundsOnCoefficients=low, upperBoundsOnIntercepts=upper)
    estimator.save(str(tmp_path / "estimator"))
    loaded = LogisticRegression.load(str(tmp_path / "estimator"))
    assert loaded.getLowerBoundsOnCoefficients() == DenseMatrix(3, D, low.toArray().ravel(order="F"))
    assert loaded.getUpperBoundsOnIntercepts() == upper
    assert "lowerBoundsOnCoefficients" in loaded.explainParams()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"lowerBoundsOnCoefficients": [[0.0, 0.0]]}, r"are \(1, 2\) numbers: .* \(1, 4\)"),
        ({"upperBoundsOnIntercepts": [1.0, 2.0]}, r"are \(2,\) numbers: .* \(1,\), a number a class"),
        ({"lowerBoundsOnIntercepts": INF}, "lowerBoundsOnIntercepts has inf, .*: -inf stands for no bound"),
        ({"upperBoundsOnCoefficients": -INF}, "upperBoundsOnCoefficients has -inf, .*: inf stands for no bound"),
        ({"lowerBoundsOnCoefficients": 1.0, "upperBoundsOnCoefficients": 0.5}, "1 is above 0.5"),
        ({"lowerBoundsOnIntercepts": 1.0, "upperBoundsOnIntercepts": 0.5}, "1 is above 0.5"),
        ({"lowerBoundsOnIntercepts": 0.0, "fitIntercept": False}, "lowerBoundsOnIntercepts .*fitIntercept=True"),
        ({"lowerBoundsOnCoefficients": 0.0, "computeStatistics": True}, "no standard errors"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamError, match=told):
        LinearRegression(**params).fit(LocalData(X, LABELS[LinearRegression]))


@pytest.mark.parametrize("value", [float("nan"), [[[1.0]]], [1.0, float("nan")]])
@pytest.mark.parametrize("name", [param.name for param in HasBounds().params])
def test_a_value_that_is_no_bound_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ParamError, match=name):
        LinearRegression(**{name: value})
