"""What the adaptive step sizes do with what they see."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sparkdml.errors import ParamError
from sparkdml.optim.adaptive import ADAPTIVE, Adaptive, BarzilaiBorwein, BoldDriver, LineSearch, Plateau
from sparkdml.optim.penalties import L1

NOTHING = np.zeros(1)
CURVATURE = np.array([1.0, 10.0])  # of f(w) = w . (CURVATURE * w) / 2
UNDOING = {"boldDriver": BoldDriver(), "lineSearch": LineSearch()}

every_rule = pytest.mark.parametrize("name", ADAPTIVE)
every_undoing_rule = pytest.mark.parametrize("name", UNDOING)


def test_every_rule_is_in_the_table() -> None:
    assert set(ADAPTIVE.values()) == set(Adaptive.__subclasses__())


BAD_NUMBERS = [0.0, -1.0, math.inf, math.nan, "0.1", None, True, 1j]
BAD: list[tuple[str, Callable[[], Any]]] = [
    *[("step_size", lambda kind=kind, v=v: kind().init(v)) for kind in ADAPTIVE.values() for v in BAD_NUMBERS],
    *[("factor", lambda v=v: Plateau(factor=v)) for v in (0.0, 1.0)],
    *[("improvement", lambda v=v: Plateau(improvement=v)) for v in (-0.1, 1.0)],
    *[("shrinkage", lambda v=v: BoldDriver(shrinkage=v)) for v in (0.0, 1.0)],
    ("patience", lambda: Plateau(patience=0)),
    ("growth", lambda: BoldDriver(growth=0.9)),
    ("kind", lambda: BarzilaiBorwein("middle")),
    ("limit", lambda: BarzilaiBorwein(limit=0.5)),
    *[("shrinkage", lambda v=v: LineSearch(shrinkage=v)) for v in (0.0, 1.0)],
    *[("decrease", lambda v=v: LineSearch(decrease=v)) for v in (0.0, 1.0)],
    ("growth", lambda: LineSearch(growth=0.9)),
]


@pytest.mark.parametrize("case", range(len(BAD)), ids=[f"{i}-{name}" for i, (name, _) in enumerate(BAD)])
def test_a_bad_value_is_refused_by_name(case: int) -> None:
    name, make = BAD[case]
    with pytest.raises(ParamError, match=name):
        make()


def observe(rule: Adaptive, state: Any, *values: float) -> Any:
    for value in values:
        state = rule.observe(state, value, NOTHING, NOTHING)
    return state


def test_plateau_divides_exactly_after_its_patience() -> None:
    rule = Plateau(factor=0.5, patience=3, improvement=0.01)
    values = [8.0, 7.0, 7.0, 6.99, 6.0, 6.0, 6.0, 6.0, 7.0, math.nan, 5.99, 5.0, 5.0, 5.0, 5.0, 4.0]
    state, steps = rule.init(1.0), []
    for value in values:
        state = observe(rule, state, value)
        steps.append(state.step)
    assert steps == [1.0] * 7 + [0.5] * 3 + [0.25] * 4 + [0.125] * 2
    assert state.best == 4.0 and not state.undo


def test_plateau_takes_an_improvement_relative_to_any_sign() -> None:
    for start, better, no_better in [(10.0, 9.8, 9.95), (-10.0, -10.2, -10.05)]:
        rule = Plateau(factor=0.5, patience=1, improvement=0.01)
        state = observe(rule, rule.init(1.0), start)
        assert observe(rule, state, better).step == 1.0
        assert observe(rule, state, no_better).step == 0.5


def test_bold_driver_grows_shrinks_and_undoes() -> None:
    rule = BoldDriver(growth=1.25, shrinkage=0.5)
    state = observe(rule, rule.init(1.0), 4.0)
    assert (state.step, state.undo, state.value) == (1.0, False, 4.0)
    state = observe(rule, state, 3.0)
    assert (state.step, state.undo, state.value) == (1.25, False, 3.0)
    for worse, step in [(3.5, 0.625), (math.inf, 0.3125), (math.nan, 0.15625)]:
        state = observe(rule, state, worse)
        assert (state.step, state.undo, state.value) == (step, True, 3.0)
    state = observe(rule, state, 3.0)
    assert (state.step, state.undo, state.value) == (0.15625, False, 3.0)


def quadratic(w: np.ndarray, strength: float = 0.0) -> float:
    return float(0.5 * w @ (CURVATURE * w) + strength * np.abs(w).sum())


def descent(rule: Adaptive, size: float, steps: int, strength: float = 0.0) -> tuple[list[float], np.ndarray, int]:
    """Proximal gradient steps: the objectives where they stood, where they ended, how many were undone."""
    state, prox = rule.init(size), L1(np.full(2, strength)).prox
    w = last = np.array([3.0, -2.0])
    stood, undone = [], 0
    for _ in range(steps):
        state = rule.observe(state, quadratic(w, strength), w, CURVATURE * w)
        if state.undo:
            w, undone = last, undone + 1
        else:
            stood.append(quadratic(w, strength))
        last, w = w, prox(w - state.step * CURVATURE * w, state.step)
    return stood, last, undone


@every_undoing_rule
@pytest.mark.parametrize("size", [1e-3, 10.0])
def test_no_step_that_stands_goes_up_whatever_the_first_size(name: str, size: float) -> None:
    stood, _, _ = descent(UNDOING[name], size, 400)
    assert stood == sorted(stood, reverse=True)
    assert stood[-1] < 1e-12


@pytest.mark.parametrize("strength", [0.0, 0.5])
@pytest.mark.parametrize("size", [1e-3, 0.1, 10.0])
def test_line_search_costs_about_one_pass_a_step_with_l1_too(size: float, strength: float) -> None:
    stood, w, undone = descent(LineSearch(L1(np.full(2, strength))), size, 250, strength)
    np.testing.assert_allclose(w, 0.0, atol=1e-12)
    assert np.all(np.diff(stood) <= 1e-15)
    assert undone <= 0.3 * 250  # by a growth of 1.25 and a shrinkage of 0.5, one in four


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_line_search_asks_for_a_decrease_in_proportion_to_the_expected_one(share: float) -> None:
    """Along the gradient of w^2 / 2 a step of size t changes the objective by -t + t^2 / 2, where -t is expected."""
    enough = 2.0 * (1.0 - share)
    for size, stands in [(0.99 * enough, True), (1.01 * enough, False)]:
        rule = LineSearch(decrease=share or 1e-9, growth=1.25, shrinkage=0.25)
        state = rule.observe(rule.init(size), 0.5, np.ones(1), np.ones(1))
        w = np.array([1.0 - size])
        state = rule.observe(state, float(0.5 * w @ w), w, w)
        assert (state.step, state.undo, state.forget) == (size * (1.25 if stands else 0.25), not stands, False)


def test_line_search_has_the_rule_forget_once_where_a_step_leads_uphill() -> None:
    rule = LineSearch()
    state = rule.observe(rule.init(1.0), 0.5, np.ones(1), np.ones(1))
    state = rule.observe(state, 0.605, np.array([1.1]), np.array([1.1]))
    assert (state.step, state.undo, state.forget) == (1.0, True, True)
    state = rule.observe(state, 0.605, np.array([1.1]), np.array([1.1]))
    assert (state.step, state.undo, state.forget) == (0.5, True, False)
    assert not rule.observe(state, 0.405, np.array([0.9]), np.array([0.9])).undo


def test_line_search_tells_up_from_down_where_the_objective_is_all_rounding() -> None:
    """A constant of 1e9 in the objective hides a change of 1e-9, but not that of the gradients."""
    rule, near = LineSearch(), np.array([1e-5])
    state = rule.observe(rule.init(1.0), 1e9, near, near)
    for size, stands in [(1.9, True), (2.1, False)]:
        w = near - size * near
        assert rule.observe(state, 1e9, w, w).undo is not stands


@pytest.mark.parametrize("value", [math.inf, math.nan])
@every_undoing_rule
def test_an_objective_that_is_no_number_is_undone(name: str, value: float) -> None:
    rule = UNDOING[name]
    state = rule.observe(rule.init(1.0), 0.5, np.ones(1), np.ones(1))
    again = rule.observe(state, value, np.zeros(1), np.full(1, np.nan))
    assert (again.step, again.undo) == (0.5, True)


@pytest.mark.parametrize("kind", ["long", "short", "alternate"])
@pytest.mark.parametrize("size", [1e-3, 0.5])
def test_barzilai_borwein_solves_a_quadratic_in_the_plane_in_few_steps(kind: str, size: float) -> None:
    rule, hessian, minimum = BarzilaiBorwein(kind), np.array([[3.0, 1.0], [1.0, 30.0]]), np.array([1.0, -2.0])
    state, w = rule.init(size), np.array([5.0, 4.0])
    for _ in range(15):
        gradient = hessian @ (w - minimum)
        state = rule.observe(state, 0.0, w, gradient)
        w = w - state.step * gradient
    np.testing.assert_allclose(w, minimum, atol=1e-10)


def test_barzilai_borwein_steps_are_the_inverse_curvatures() -> None:
    points = [np.array([0.0, 0.0]), np.array([1.0, 2.0]), np.array([0.0, 3.0])]
    curvature = np.array([2.0, 5.0])
    s, y = np.diff(points, axis=0), np.diff(points, axis=0) * curvature
    long, short = np.sum(s * s, 1) / np.sum(s * y, 1), np.sum(s * y, 1) / np.sum(y * y, 1)
    for kind, expected in {"long": long, "short": short, "alternate": [long[0], short[1]]}.items():
        rule = BarzilaiBorwein(kind)
        state, steps = rule.init(0.7), []
        for w in points:
            state = rule.observe(state, 0.0, w, curvature * w)
            steps.append(state.step)
        np.testing.assert_allclose(steps, [0.7, *expected], rtol=1e-14)


@pytest.mark.parametrize(("change", "expected"), [(-1.0, 0.5), (0.0, 0.5), (1e-9, 50.0), (1e9, 0.005), (4.0, 0.25)])
def test_barzilai_borwein_is_safeguarded(change: float, expected: float) -> None:
    rule = BarzilaiBorwein(limit=100.0)
    state = rule.observe(rule.init(0.5), 0.0, np.zeros(1), np.zeros(1))
    assert rule.observe(state, 0.0, np.ones(1), np.array([change])).step == pytest.approx(expected)
    assert rule.observe(state, 0.0, np.zeros(1), np.array([change])).step == 0.5
