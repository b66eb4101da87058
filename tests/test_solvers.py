"""What every solver must do: find the known optimum, together or alone, interrupted or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import (
    CANONICAL,
    GLM_LOSSES,
    PENALTIES,
    Rows,
    TwoMargins,
    design,
    kkt_residual,
    random_features,
    solve,
    standardized,
    theta_of,
    with_known_optimum,
)

from sparkdml.engine.data import LocalData
from sparkdml.engine.minimize import minimize
from sparkdml.errors import DivergenceError, FormatError, SolverError
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.penalties import L1
from sparkdml.optim.solvers import SOLVERS, State, StopReason, SubsampledNewton, dump_state, load_state
from sparkdml.optim.solvers.coordinate_descent import minimize_quadratic
from sparkdml.optim.standardize import standardized_problem

DIABETES = Path(__file__).resolve().parents[1] / "data" / "diabetes.csv"
EXACT = [name for name in SOLVERS if name != "sgd"]  # which ends near the optimum, see below
ITERATIVE = [name for name in EXACT if name != "normal"]

PAIRS = [(solver, loss) for loss in CANONICAL for solver in EXACT if CANONICAL[loss].quadratic or solver != "normal"]

every_solver = pytest.mark.parametrize("solver", SOLVERS)
every_exact_solver = pytest.mark.parametrize("solver", EXACT)
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
with_and_without_intercept = pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "origin"])


def weights(n: int) -> np.ndarray:
    return np.random.default_rng(9).exponential(size=n)


@pytest.mark.thinned
@pytest.mark.parametrize(("solver", "loss"), PAIRS)
@every_penalty
@with_and_without_intercept
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_known_optimum_is_found(
    solver: str, loss: str, penalty: str, intercept: bool, weighted: bool, sparse: bool
) -> None:
    X = random_features(density=0.15 if sparse else 0.7)
    s = weights(len(X)) if weighted else None
    rows, problem, theta = with_known_optimum(X, s, intercept, *PENALTIES[penalty], loss=LOSSES[loss])
    rows = rows.sparse if sparse else rows
    fit = solve(rows.local(), problem, solver)
    assert fit.state.stop.converged
    np.testing.assert_allclose(theta_of(fit), theta, atol=1e-8)
    np.testing.assert_array_equal(theta_of(fit) == 0.0, theta == 0.0)
    assert kkt_residual(problem, rows, theta_of(fit)) < 1e-8
    w, b = problem.raw(theta_of(fit))
    np.testing.assert_allclose(rows.dense @ w + b, (design(problem, rows.dense) @ theta)[:, None], atol=1e-7)


@pytest.mark.parametrize("penalty", ["none", "l2"])
@with_and_without_intercept
def test_newton_takes_its_last_step_without_a_pass(penalty: str, intercept: bool) -> None:
    """The error is that of tol, squared; and what the model tells of the point is what a pass would have."""
    logistic = LOSSES["logistic"]
    rows, problem, theta = with_known_optimum(
        random_features(), weights(200), intercept, *PENALTIES[penalty], loss=logistic
    )
    data = rows.local()
    loose, exact = (solve(data, problem, "newton", tol) for tol in (1e-4, 1e-12))
    assert loose.passes < exact.passes
    assert np.linalg.norm(theta_of(loose) - theta) < 1e-7 * np.linalg.norm(theta)
    found = loose.state.point
    assert found is not None
    (answer,) = data.run([problem.gradient_query(found.theta)])
    measured = problem.point(found.theta, answer)  # type: ignore[arg-type]
    assert found.loss == pytest.approx(measured.loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, measured.gradient, atol=1e-7)
    np.testing.assert_allclose(found.slope, measured.slope, atol=1e-5)


UNBOUNDED = [name for name, loss in GLM_LOSSES.items() if np.all(loss.valid(np.array([[0.0], [-9.0]])))]


@pytest.mark.thinned
@pytest.mark.parametrize("loss", UNBOUNDED)
@pytest.mark.parametrize("solver", ["l-bfgs", "subsampled-newton"])
@every_penalty
@with_and_without_intercept
def test_the_known_optimum_of_a_generalized_linear_model_is_found(
    solver: str, loss: str, penalty: str, intercept: bool
) -> None:
    """Penalties are weak, so that the labels stay in the domain."""
    X, strengths = random_features(density=0.7), (0.02 * strength for strength in PENALTIES[penalty])
    s = weights(len(X))
    rows, problem, theta = with_known_optimum(X, s, intercept, *strengths, loss=GLM_LOSSES[loss], size=0.25)
    assert np.all(problem.loss.domain(rows.label))
    fit = solve(rows.local(), problem, solver)
    assert fit.state.stop.converged
    np.testing.assert_allclose(theta_of(fit), theta, atol=1e-8)
    assert kkt_residual(problem, rows, theta_of(fit)) < 1e-8


@every_solver
@every_penalty
def test_the_history_ends_at_the_objective_of_the_best_point(solver: str, penalty: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES[penalty])
    fit = solve(rows.local(), problem, solver)
    assert fit.state.point is not None
    r = design(problem, rows.dense) @ theta_of(fit) - rows.label
    objective = r @ r / (2 * len(r)) + problem.penalty.value(theta_of(fit))
    assert problem.objective(fit.state.point) == pytest.approx(objective, rel=1e-12)
    assert fit.state.history.min() == pytest.approx(objective, rel=1e-12)
    r0 = design(problem, rows.dense) @ problem.start - rows.label
    assert fit.state.history[0] == pytest.approx(r0 @ r0 / (2 * len(r0)), rel=1e-12)


def test_fits_together_are_fits_alone() -> None:
    rows, _, _ = with_known_optimum(random_features(), weights(200), True, 0.0, 0.0)
    rows = replace(rows, fold=np.arange(200, dtype=np.int32) % 3)
    data = rows.local()
    fits = [
        (standardized(data, intercept, *PENALTIES[penalty], fold=fold), SOLVERS[solver](tol=1e-12, max_iter=1000))
        for solver in EXACT
        for penalty in PENALTIES
        for intercept in (True, False)
        for fold in (-1, 2)
    ]
    together = minimize(fits, data)
    assert data.passes == max(fit.passes for fit in together)
    for fit, ours in zip(fits, together, strict=True):
        alone = minimize([fit], data)[0]
        np.testing.assert_allclose(theta_of(ours), theta_of(alone), rtol=1e-10, atol=1e-10)


@every_exact_solver
@every_penalty
def test_a_fold_left_out_is_as_if_its_rows_were_not_there(solver: str, penalty: str) -> None:
    rows, _, _ = with_known_optimum(random_features(), weights(200), True, *PENALTIES[penalty])
    fold = np.random.default_rng(4).integers(0, 3, 200).astype(np.int32)
    marked = replace(rows, fold=fold).local()
    for k in range(3):
        problem = standardized(marked, True, *PENALTIES[penalty], fold=k)
        kept = rows.take(np.flatnonzero(fold != k)).local()
        expected = solve(kept, replace(problem, fold=-1), "normal")
        np.testing.assert_allclose(theta_of(solve(marked, problem, solver)), theta_of(expected), atol=1e-8)


@pytest.mark.thinned
@pytest.mark.parametrize(("solver", "loss"), [*PAIRS, *(("sgd", loss) for loss in CANONICAL)])
@every_penalty
@pytest.mark.parametrize("fold", [-1, 1])
def test_weights_of_classes_are_weights_of_rows(solver: str, loss: str, penalty: str, fold: int) -> None:
    X, folds = random_features(), np.arange(200, dtype=np.int32) % 3
    label = (X @ np.ones(7) + np.random.default_rng(1).normal(scale=9.0, size=200) > 0.0).astype(float)
    factors = np.where(label == 1.0, 4.0, 0.5)
    by_class, by_row = (Rows(X, label, s, fold=folds).local(2) for s in (weights(200), weights(200) * factors))
    problem = standardized(by_row, True, *PENALTIES[penalty], fold=fold, loss=LOSSES[loss])
    limit = 40 if solver == "sgd" else 1000  # which walks the same way, and not to the minimum
    found = solve(by_class, replace(problem, class_weights={0.0: 0.5, 1.0: 4.0}), solver, max_iter=limit)
    expected = solve(by_row, problem, solver, max_iter=limit)
    np.testing.assert_allclose(theta_of(found), theta_of(expected), atol=1e-8)


@every_exact_solver
def test_an_offset_moves_the_label_of_a_squared_loss(solver: str) -> None:
    rows, problem, theta = with_known_optimum(random_features(), weights(200), True, 0.0, 0.2)
    offset = np.random.default_rng(6).normal(size=200)
    shifted = replace(rows, offset=offset, label=rows.label + offset).local()
    np.testing.assert_allclose(theta_of(solve(shifted, problem, solver)), theta, atol=1e-8)


@pytest.mark.thinned
@pytest.mark.parametrize(("solver", "loss"), [pair for pair in PAIRS if pair[0] in ITERATIVE])
@every_penalty
@with_and_without_intercept
@pytest.mark.parametrize(("found", "tol"), [(1e-12, 1e-12), (1e-12, 1e-6), (1e-6, 1e-6)], ids=str)
def test_a_fit_begun_at_the_minimum_stays_there(
    solver: str, loss: str, penalty: str, intercept: bool, found: float, tol: float
) -> None:
    rows, problem, theta = with_known_optimum(
        random_features(), weights(200), intercept, *PENALTIES[penalty], loss=LOSSES[loss]
    )
    data = rows.local()
    cold = solve(data, problem, solver, tol=found)
    warm = solve(data, problem.starting_from(*problem.raw(theta_of(cold))), solver, tol=tol)
    assert warm.state.stop.converged
    looks = 7 if solver == "subsampled-newton" else 3  # by the matrix of 20 rows some more steps seem to be left
    assert warm.passes <= min(looks, cold.passes - 1)
    np.testing.assert_allclose(theta_of(warm), theta, atol=1e-8 if found < 1e-6 else 1e-5)


@pytest.mark.parametrize("solver", ITERATIVE)
@with_and_without_intercept
def test_a_fit_begun_anywhere_ends_at_the_minimum(solver: str, intercept: bool) -> None:
    rows, problem, theta = with_known_optimum(random_features(), None, intercept, *PENALTIES["elastic net"])
    w, b = np.linspace(-3.0, 3.0, 7)[:, None], np.array([5.0])
    for begun in (problem.starting_from(w, b), problem.starting_from(w, None)):
        np.testing.assert_allclose(theta_of(solve(rows.local(), begun, solver)), theta, atol=1e-8)
    np.testing.assert_allclose(problem.raw(problem.starting_from(w, b).start)[0], w, rtol=1e-12)
    if intercept:
        np.testing.assert_allclose(problem.raw(problem.starting_from(w, b).start)[1], b, rtol=1e-12)
        assert problem.starting_from(w, None).start[-1] == problem.start[-1]


def bits(state: State) -> bytes:
    return dump_state(state)


@every_solver
@every_penalty
def test_a_state_written_and_read_between_steps_ends_with_the_same_bits(solver: str, penalty: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), weights(200), True, *PENALTIES[penalty])
    data, method = rows.local(), SOLVERS[solver](tol=1e-12, max_iter=1000)
    through_bytes = method.init(problem)
    while through_bytes.stop is StopReason.RUNNING:
        through_bytes = load_state(method.state_class, dump_state(through_bytes))
        answers = data.run(method.queries(problem, through_bytes))
        through_bytes = method.step(problem, through_bytes, answers)
    through_bytes = load_state(method.state_class, dump_state(through_bytes))
    uninterrupted = minimize([(problem, method)], data)[0].state
    assert bits(through_bytes) == bits(uninterrupted)
    assert through_bytes.point is not None
    assert uninterrupted.point is not None
    assert through_bytes.point.theta.tobytes() == uninterrupted.point.theta.tobytes()
    assert type(through_bytes.stop) is StopReason


@every_solver
def test_a_damaged_state_is_refused(solver: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, 0.1, 0.1)
    state = solve(rows.local(), problem, solver).state
    whole = dump_state(state)
    newline = whole.index(b"\n")
    other = {"normal": "l-bfgs"}.get(solver, "normal")
    with pytest.raises(FormatError):
        load_state(SOLVERS[other].state_class, whole)
    for cut in [0, 1, newline // 2, newline, newline + 1, len(whole) - 1]:
        with pytest.raises(FormatError):
            load_state(type(state), whole[:cut])
    with pytest.raises(FormatError):
        load_state(type(state), whole + b"\0")
    for at in np.linspace(newline + 1, len(whole) - 1, 20).astype(int):  # the arrays
        with pytest.raises(FormatError):
            load_state(type(state), flipped(whole, at))
    for at in range(newline + 1):  # the header, where a digit may become another digit but nothing else may happen
        try:
            load_state(type(state), flipped(whole, at))
        except FormatError:
            continue


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@every_exact_solver
@pytest.mark.parametrize("density", [1.0, 0.15], ids=["dense", "sparse"])
@pytest.mark.parametrize("seed", range(3))
def test_a_large_mean_costs_at_most_six_digits(solver: str, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = rng.integers(-2000, 2000, (400, 4)) / 1024.0  # exact after the shift too
    near[:, 2:] *= rng.random((400, 2)) < density
    far = near + np.array([1e6, -1e6, 0.0, 0.0])
    label = near @ [1.0, -2.0, 0.5, 3.0] + rng.normal(size=400) + 7.0
    rows = Rows(far, label) if density == 1.0 else Rows(far, label).sparse
    exact = np.linalg.lstsq(np.column_stack([near, np.ones(400)]), label, rcond=None)[0][:4]
    data = rows.local()
    problem = standardized(data, True)
    if density < 1.0:  # as the estimator does with sparse rows: only the columns far from zero are centred
        problem = replace(problem, shift=np.where(np.arange(5) >= 2, 0.0, problem.shift))
    fit = solve(data, problem, solver)
    w, b = problem.raw(theta_of(fit))
    np.testing.assert_allclose(w[:, 0], exact, atol=1e-10 * np.abs(exact).max())
    np.testing.assert_allclose(far @ w[:, 0] + b, near @ exact + (label - near @ exact).mean(), atol=1e-8)


@every_penalty
def test_solvers_agree_whatever_the_scale_of_the_columns(penalty: str) -> None:
    X = random_features(500, 12) * np.geomspace(1e-3, 1e3, 12)
    rows, problem, theta = with_known_optimum(X, None, True, *PENALTIES[penalty])
    for solver in EXACT:
        np.testing.assert_allclose(theta_of(solve(rows.local(), problem, solver)), theta, atol=1e-8)


@every_exact_solver
@with_and_without_intercept
@pytest.mark.parametrize("kind", ["copied columns", "a sum of columns", "more columns than rows"])
def test_dependent_columns_get_the_solution_of_least_norm(solver: str, intercept: bool, kind: str) -> None:
    X = random_features(60, 5, density=1.0)
    dependent = {
        "copied columns": np.column_stack([X, X[:, :2], 3.0 * X[:, 1]]),
        "a sum of columns": np.column_stack([X, X.sum(axis=1)]),
        "more columns than rows": random_features(12, 20, density=1.0),
    }[kind]
    rows = Rows(dependent, np.random.default_rng(8).normal(3.0, 2.0, len(dependent)))
    data = rows.local()
    problem = standardized(data, intercept)
    fit = solve(data, problem, solver)
    A = design(problem, dependent)
    expected, _, rank, _ = np.linalg.lstsq(A, rows.label, rcond=1e-10)
    np.testing.assert_allclose(theta_of(fit), expected, atol=1e-6)
    assert getattr(fit.state, "rank", rank) == rank


@every_solver
@with_and_without_intercept
def test_constant_columns_keep_a_coefficient_of_zero(solver: str, intercept: bool) -> None:
    X = random_features(100, 4, density=1.0)
    rows = Rows(np.column_stack([np.full(100, 0.1), X, np.zeros(100)]), X @ [1.0, 2.0, 3.0, 4.0] + 5.0)
    data = rows.local()
    problem = replace(standardized(data, intercept), scale=np.append(0.0, standardized(data, intercept).scale[1:]))
    fit = solve(data, problem, solver)
    w, _ = problem.raw(theta_of(fit))
    assert w[0, 0] == w[-1, 0] == 0.0
    if intercept:
        np.testing.assert_allclose(w[1:-1, 0], [1.0, 2.0, 3.0, 4.0], rtol=1e-9)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_correlated_columns_converge_with_the_default_iterations(solver: str) -> None:
    table = np.loadtxt(DIABETES, delimiter=",", skiprows=1)
    data = LocalData(table[:, :-1], table[:, -1])
    problem = standardized(data, True)
    fit = minimize([(problem, SOLVERS[solver]())], data)[0]
    assert fit.state.stop is StopReason.CONVERGED
    exact = np.linalg.lstsq(design(problem, table[:, :-1]), table[:, -1], rcond=None)[0]
    np.testing.assert_allclose(theta_of(fit), exact, atol=1e-4 * np.abs(exact[:-1]).max())


@pytest.mark.parametrize("solver", ITERATIVE)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("max_iter", [0, 1, 2])
def test_no_more_than_max_iter_iterations_and_the_reason_says_so(solver: str, penalty: str, max_iter: int) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES[penalty], loss=LOSSES["logistic"])
    fit = solve(rows.local(), problem, solver, max_iter=max_iter)
    assert fit.state.stop is StopReason.MAX_ITERATIONS
    assert not fit.state.stop.converged
    assert fit.state.iterations == max_iter
    assert len(fit.state.history) == max_iter + 1


@every_solver
def test_a_start_at_the_optimum_stays_there(solver: str) -> None:
    rows = Rows(random_features(), np.full(200, 3.0))
    data = rows.local()
    fit = solve(data, standardized(data, True), solver)
    assert fit.state.stop.converged
    np.testing.assert_allclose(theta_of(fit), [0.0] * 7 + [3.0], atol=1e-14)


@every_solver
def test_labels_that_fit_exactly_are_no_trouble(solver: str) -> None:
    X = random_features()
    rows = Rows(X, X @ np.arange(7.0) + 2.0)
    data = rows.local()
    problem = standardized(data, True)
    fit = solve(data, problem, solver)
    assert fit.state.stop.converged
    w, b = problem.raw(theta_of(fit))
    np.testing.assert_allclose(np.append(w, b), [*np.arange(7.0), 2.0], atol=1e-9)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_a_fraction_as_label_is_two_weighted_rows(solver: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), weights(200), True, 0.0, 0.1, loss=LOSSES["logistic"])
    share = np.clip(rows.label, 0.0, 1.0)
    twice = Rows(
        np.vstack([rows.dense] * 2),
        np.repeat([1.0, 0.0], 200),
        np.concatenate([rows.weights * share, rows.weights * (1.0 - share)]),
    )
    once = solve(replace(rows, label=share).local(), problem, solver)
    np.testing.assert_allclose(theta_of(solve(twice.local(), problem, solver)), theta_of(once), atol=1e-8)


@every_solver
def test_an_objective_that_overflows_is_a_divergence(solver: str) -> None:
    problem = replace(standardized(Rows(random_features(), np.ones(200)).local(), True), start=np.zeros(8))
    with np.errstate(all="ignore"):
        data = Rows(random_features(), np.linspace(1e160, 1e170, 200)).local()
        with pytest.raises(DivergenceError, match=solver):
            solve(data, problem, solver)


@every_solver
def test_a_problem_is_refused_before_any_pass_or_solved(solver: str) -> None:
    """`normal` needs a quadratic loss, `gd` a bounded curvature; the message names a solver that can."""

    class Unbounded(TwoMargins):
        curvature = np.inf

    data = Rows(random_features(), np.zeros(200)).local()
    problem: Any = replace(standardized(data, True), loss=Unbounded())
    if SOLVERS[solver]().refusal(problem) is None:
        assert solver in ("newton", "subsampled-newton", "l-bfgs")
        return
    with pytest.raises(SolverError, match=r"solver='l-bfgs'"):
        solve(data, problem, solver)
    assert data.passes == 0


def test_a_sample_saves_looks_at_all_rows() -> None:
    """Of correlated columns, which cost L-BFGS many passes."""
    rng = np.random.default_rng(0)
    X = 0.2 * rng.normal(size=(20_000, 20)) + rng.normal(size=(20_000, 1))
    data = Rows(X, (rng.random(20_000) < 1.0 / (1.0 + np.exp(-X @ rng.normal(size=20)))).astype(float)).local()
    problem = standardized(data, True, loss=LOSSES["logistic"])
    solver = SubsampledNewton(tol=1e-6, fraction=0.1)
    state, looks = solver.init(problem), 0
    while state.stop is StopReason.RUNNING:
        queries: list[Any] = solver.queries(problem, state)
        looks += any(query.sample is None for query in queries)
        state = solver.step(problem, state, data.run(queries))
    (lbfgs,) = minimize([(problem, SOLVERS["l-bfgs"](tol=1e-6))], data)
    assert looks <= 8 < lbfgs.passes / 3
    assert state.point is not None
    np.testing.assert_allclose(state.point.theta, theta_of(lbfgs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("standardization", [True, False])
def test_loss_and_penalty_together_curve_alike_along_every_column(standardization: bool) -> None:
    """Without standardization the penalty is stronger, in units of its deviation, where a column varies little."""
    deviation = np.array([1.0, 0.1, 0.01, 0.0])
    problem = standardized_problem(
        LOSSES["logistic"],
        mean=np.ones(4),
        deviation=deviation,
        label_mean=0.2,
        regParam=0.1,
        elasticNetParam=0.0,
        fitIntercept=True,
        standardization=standardization,
        shift=np.zeros(5),
    )
    strength, scale, deviation = problem.penalty.l2.strength[:3], problem.scale[:3], deviation[:3]
    np.testing.assert_allclose(strength * scale**2, 0.1 * deviation**2 if standardization else 0.1)
    curvature = 0.2 * 0.8 * (deviation / scale) ** 2 + strength
    np.testing.assert_allclose(curvature, curvature[0])


def test_where_columns_nearly_depend_on_each_other_lbfgs_ends_with_the_objective() -> None:
    """Coefficients along the flat direction would take many passes more, which no row would tell of."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 30)) * np.logspace(0, -1, 30) @ np.linalg.qr(rng.normal(size=(30, 30)))[0]
    data = Rows(X, (rng.random(500) < 0.5).astype(float)).local()
    problem = standardized(data, True, loss=LOSSES["logistic"])
    ended, exact = (
        minimize([(problem, SOLVERS[name](tol=1e-4, max_iter=1000))], data)[0] for name in ("l-bfgs", "newton")
    )
    assert ended.state.stop is StopReason.CONVERGED
    gain = exact.state.history[0] - exact.state.history[-1]
    assert ended.state.history[-1] - exact.state.history[-1] < 1e-5 * gain
    assert np.linalg.norm(theta_of(ended) - theta_of(exact)) > 1e-4 * np.linalg.norm(theta_of(exact))


def test_columns_that_hardly_differ_take_few_sweeps() -> None:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(50, 1)) + 0.1 * rng.normal(size=(50, 6))
    Q, q = X.T @ X / 50, X.T @ (X @ [3.0, -2.0, 0.0, 0.0, 1.0, 0.0] + 0.1 * rng.normal(size=50)) / 50
    l1 = np.full(6, 1e-3)
    v, sweeps, done = minimize_quadratic(Q, q, l1, np.zeros(6), 1e-13)
    assert done
    assert sweeps <= 200  # 460 without steps to the minimum of the coordinates that are not zero
    assert np.max(np.abs(L1(l1).residual(v, Q @ v - q))) <= 1e-12
