"""Gradient descent by rules and step sizes that the user chooses: each finds the minimum, or says that it did not."""

from typing import Any

import numpy as np
import pytest
from problems import PENALTIES, random_features, standardized, theta_of, with_known_optimum

from sparkdml.engine.minimize import Fit, minimize
from sparkdml.errors import DivergenceError, SolverError
from sparkdml.optim.adaptive import ADAPTIVE
from sparkdml.optim.solvers import StopReason, dump_state, load_state
from sparkdml.optim.solvers.rule_descent import DESCENDING, LEARNING_RATES, NORMALIZED, RuleDescent, RuleDescentState
from sparkdml.optim.solvers.sampled_rules import SampledRules, SampledRulesState
from sparkdml.optim.updates import RULES

OPTIMIZERS = [name for name in RULES if name != "adamw"]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
every_rate = pytest.mark.parametrize("rate", LEARNING_RATES)
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)


def solved(penalty: str, max_iter: int = 3000, tol: float = 1e-12, **choice: Any) -> tuple[Fit, np.ndarray, float]:
    """A fit of a problem whose minimum is known, that minimum, and by how much the objective there was missed."""
    rows, problem, theta = with_known_optimum(random_features(), None, True, *PENALTIES[penalty])
    data = rows.local()
    (fit,) = minimize([(problem, RuleDescent(tol=tol, max_iter=max_iter, **choice))], data)
    answer = data.run([problem.gradient_query(theta)])[0]
    best = problem.objective(problem.point(theta, answer))  # type: ignore[arg-type]
    assert fit.state.point is not None
    return fit, theta, problem.objective(fit.state.point) / best - 1.0


@pytest.mark.thinned
@every_optimizer
@every_penalty
def test_every_rule_finds_the_minimum_with_its_defaults(optimizer: str, penalty: str) -> None:
    fit, theta, missed = solved(penalty, optimizer=optimizer, max_iter=400 if optimizer in NORMALIZED else 3000)
    assert missed > -1e-12
    if optimizer in NORMALIZED:
        assert missed < 1e-4
    else:
        assert fit.state.stop is StopReason.CONVERGED
        np.testing.assert_allclose(theta_of(fit), theta, atol=1e-8)
        np.testing.assert_array_equal(theta_of(fit) == 0.0, theta == 0.0)


@every_rate
@pytest.mark.parametrize("penalty", ["none", "elastic net"])
def test_every_learning_rate_comes_near_the_minimum(rate: str, penalty: str) -> None:
    slow = rate in ("inverseScaling", "inverseTime")
    _, _, missed = solved(penalty, learning_rate=rate, max_iter=800 if slow else 400)
    assert -1e-12 <= missed < (1e-2 if slow else 1e-4)


@pytest.mark.parametrize(("optimizer", "rate"), [("momentum", "barzilaiBorwein"), ("adam", "step"), ("adagrad", None)])
def test_a_fit_that_was_interrupted_ends_with_the_same_bits(optimizer: str, rate: str | None) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES["l1"])
    data = rows.local()
    solver = RuleDescent(tol=0.0, max_iter=25, optimizer=optimizer, learning_rate=rate)
    state = solver.init(problem)
    while state.stop is StopReason.RUNNING:
        answers = data.run(solver.queries(problem, state))
        state = load_state(RuleDescentState, dump_state(solver.step(problem, state, answers)))  # type: ignore[arg-type]
    (fit,) = minimize([(problem, solver)], data)
    assert dump_state(state) == dump_state(fit.state)


def test_mini_batches_that_were_interrupted_end_with_the_same_bits() -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES["l1"])
    data, solver = rows.local(2), SampledRules(max_iter=9, optimizer="adam", fraction=0.3, seed=3)
    state = solver.init(problem)
    while state.stop is StopReason.RUNNING:
        answers = data.run(solver.queries(problem, state))
        state = load_state(SampledRulesState, dump_state(solver.step(problem, state, answers)))  # type: ignore
    assert dump_state(state) == dump_state(minimize([(problem, solver)], data)[0].state)


def test_fits_together_are_fits_alone() -> None:
    rows, _, _ = with_known_optimum(random_features(), None, True, 0.0, 0.0)
    data = rows.local()
    fits = [
        (standardized(data, intercept, *PENALTIES["elastic net"]), RuleDescent(max_iter=20, optimizer=optimizer))
        for optimizer in OPTIMIZERS
        if optimizer != "adam"  # the gradient of the intercept begins as rounding, which its first steps magnify
        for intercept in (True, False)
    ]
    for together, pair in zip(minimize(fits, data), fits, strict=True):
        (alone,) = minimize([pair], data)
        np.testing.assert_allclose(theta_of(together), theta_of(alone), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("units", [1e-6, 1e6])
@every_optimizer
def test_the_units_of_the_label_do_not_matter(optimizer: str, units: float) -> None:
    rows, _, theta = with_known_optimum(random_features(), None, True, 0.0, 0.0)
    data = type(rows)(rows.features, rows.label * units).local()
    (fit,) = minimize([(standardized(data, True), RuleDescent(tol=1e-9, max_iter=300, optimizer=optimizer))], data)
    np.testing.assert_allclose(theta_of(fit) / units, theta, atol=1e-2)


def test_a_step_that_is_far_too_long_backs_off_once_and_finds_the_minimum() -> None:
    fit, theta, _ = solved("l2", step_size=2.5, max_iter=20_000)
    assert isinstance(fit.state, RuleDescentState)
    assert (fit.state.explosions, fit.state.step_size) == (1, 0.25)
    assert fit.state.stop is StopReason.CONVERGED
    np.testing.assert_allclose(theta_of(fit), theta, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["plain", "momentum", "nesterov"])
def test_a_step_that_is_hopelessly_long_is_an_error_with_the_last_good_weights(optimizer: str) -> None:
    with pytest.raises(DivergenceError, match="take a smaller stepSize") as divergence:
        solved("none", step_size=1e200, optimizer=optimizer)
    w, b = divergence.value.weights
    assert np.all(np.isfinite(w)) and np.all(np.isfinite(b))


def test_adamw_decays_the_coefficients_and_not_the_intercept() -> None:
    rows, _, _ = with_known_optimum(random_features(), None, True, 0.0, 0.0)
    data = type(rows)(rows.features, rows.label + 100.0).local()
    free, decayed = standardized(data, True), standardized(data, True, l2=0.3)
    solvers = {name: RuleDescent(max_iter=500, optimizer=name) for name in ("adam", "adamw")}
    fits = [(free, solvers["adam"]), (free, solvers["adamw"]), (decayed, solvers["adamw"])]
    adam, without, shrunk = minimize(fits, data)
    np.testing.assert_array_equal(theta_of(adam), theta_of(without))
    assert np.linalg.norm(theta_of(shrunk)[:-1]) < 0.99 * np.linalg.norm(theta_of(without)[:-1])
    assert theta_of(shrunk)[-1] == pytest.approx(theta_of(without)[-1], rel=1e-3)
    assert shrunk.state.stop is StopReason.MAX_ITERATIONS  # its rest point is not the minimum, and it does not say so


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("penalty", ["none", "elastic net"])
def test_a_line_search_never_goes_up_whatever_the_rule(optimizer: str, penalty: str) -> None:
    choice: dict[str, Any] = {"optimizer": optimizer, "learning_rate": "lineSearch"}
    fit, _, missed = solved(penalty, max_iter=60 if optimizer == "plain" else 300, tol=1e-9, **choice)
    assert np.all(np.diff(fit.state.history) <= 1e-14 * fit.state.history[0])
    assert missed < 1e-4
    assert fit.passes <= 1.6 * fit.state.iterations + 10
    if optimizer == "plain":
        assert fit.state.stop is StopReason.CONVERGED


def test_a_line_search_stops_where_no_step_is_left() -> None:
    fit, theta, _ = solved("l2", tol=0.0, learning_rate="lineSearch")
    assert fit.state.stop is StopReason.PRECISION
    np.testing.assert_allclose(theta_of(fit), theta, atol=1e-12)


@pytest.mark.parametrize("rate", DESCENDING)
def test_adamw_refuses_to_descend(rate: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES["l2"])
    with pytest.raises(SolverError, match="take 'adam'"):
        minimize([(problem, RuleDescent(optimizer="adamw", learning_rate=rate))], rows.local())


def test_adamw_refuses_decays_that_differ() -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, *PENALTIES["l2"])
    uneven = type(problem.penalty)(problem.penalty.l1, type(problem.penalty.l2)(np.arange(len(problem.start)) * 1.0))
    problem = type(problem)(**{**vars(problem), "penalty": uneven})
    with pytest.raises(SolverError, match="adamw"):
        minimize([(problem, RuleDescent(optimizer="adamw"))], rows.local())


@pytest.mark.thinned
@every_optimizer
@every_penalty
def test_every_rule_comes_near_the_minimum_by_mini_batches(optimizer: str, penalty: str) -> None:
    rows, problem, theta = with_known_optimum(random_features(4000), None, True, *PENALTIES[penalty])
    data = rows.local(3)
    solver = SampledRules(max_iter=400, optimizer=optimizer, fraction=0.1)
    (fit,) = minimize([(problem, solver)], data)
    answer = data.run([problem.gradient_query(theta)])[0]
    best = problem.objective(problem.point(theta, answer))  # type: ignore[arg-type]
    assert fit.state.point is not None
    assert -1e-12 <= problem.objective(fit.state.point) / best - 1.0 < 1e-2
    assert (fit.passes, len(fit.state.history)) == (402, 2)


@pytest.mark.parametrize("rate", ADAPTIVE)
def test_mini_batches_cannot_serve_a_step_size_that_watches_the_objective(rate: str) -> None:
    rows, problem, _ = with_known_optimum(random_features(), None, True, 0.0, 0.0)
    with pytest.raises(SolverError, match=rate):
        minimize([(problem, SampledRules(learning_rate=rate))], rows.local())
