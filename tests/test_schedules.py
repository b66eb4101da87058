"""What every step size must be: finite, positive, pure; and what the adaptive ones do with what they see."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sparkdml.errors import ParamError
from sparkdml.optim.schedules import (
    ADAPTIVE,
    SCHEDULES,
    STEP_SIZES,
    Adaptive,
    BarzilaiBorwein,
    BoldDriver,
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    InverseTime,
    Joined,
    PerColumn,
    Plateau,
    Schedule,
    Step,
    WarmUp,
    as_schedule,
    named_schedule,
)

SETTINGS: dict[str, dict[str, float]] = {
    "constant": {},
    "inverseScaling": {"power": 0.6},
    "inverseTime": {"decay": 0.3},
    "exponential": {"decay": 0.8, "steps": 7.0},
    "step": {"every": 5, "factor": 0.3},
    "cosine": {"length": 40, "floor": 0.05},
}
NAMED = {name: named_schedule(name, 0.75, **settings) for name, settings in SETTINGS.items()}
CASES: dict[str, Schedule] = {
    **NAMED,
    "warm-up": WarmUp(9, Cosine(0.75, 40)),
    "joined": Joined((0.75, WarmUp(3, 0.5), Exponential(0.25, 0.9)), (4, 11)),
    "columns": PerColumn((0.75, Step(0.5, 3), WarmUp(2, 1.0))),
    "warm-up of columns": WarmUp(4, as_schedule([0.75, InverseTime(0.5, 0.1)])),
}
NOTHING = np.zeros(1)

every_case = pytest.mark.parametrize("name", CASES)
every_name = pytest.mark.parametrize("name", SCHEDULES)


def test_every_schedule_is_in_the_tables() -> None:
    assert set(SETTINGS) == set(SCHEDULES)
    assert {type(each) for each in CASES.values()} == set(Schedule.__subclasses__())
    assert set(ADAPTIVE.values()) == set(Adaptive.__subclasses__())
    assert len(set(STEP_SIZES)) == len(STEP_SIZES) == len(SCHEDULES) + len(ADAPTIVE) + 1


@every_case
def test_step_sizes_are_finite_positive_and_pure(name: str) -> None:
    schedule = CASES[name]
    values = np.array([schedule(t) for t in range(300)])
    assert np.all(np.isfinite(values)) and np.all(values > 0.0)
    np.testing.assert_array_equal(values, [schedule(t) for t in range(300)])
    assert type(schedule(3)) is (np.ndarray if "columns" in name else float)


@every_case
def test_a_schedule_is_a_value(name: str) -> None:
    schedule = CASES[name]
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule and hash(again) == hash(schedule) and repr(again) == repr(schedule)
    assert [other for other in CASES.values() if other == schedule] == [schedule]


@every_name
def test_a_schedule_starts_at_its_step_size_and_never_grows(name: str) -> None:
    values = [NAMED[name](t) for t in range(100)]
    assert values[0] == 0.75
    assert values == sorted(values, reverse=True)
    twice = named_schedule(name, 1.5, **SETTINGS[name])
    assert [twice(t) for t in range(100)] == [2 * value for value in values]


@every_name
def test_columns_together_are_columns_alone(name: str) -> None:
    sizes = np.array([0.1, 0.7, 3.0])
    together = named_schedule(name, sizes, **SETTINGS[name])
    alone = [named_schedule(name, size, **SETTINGS[name]) for size in sizes]
    for t in (0, 1, 17, 200):
        np.testing.assert_array_equal(together(t), [schedule(t) for schedule in alone])


@pytest.mark.parametrize(
    ("schedule", "t", "expected"),
    [
        (Constant(0.3), 9, 0.3),
        (InverseScaling(0.3), 8, 0.1),
        (InverseScaling(0.3, power=1.0), 9, 0.03),
        (InverseScaling(0.3, power=0.0), 9, 0.3),
        (InverseTime(0.3, decay=0.5), 4, 0.1),
        (Exponential(0.3, decay=0.5), 3, 0.3 / 8),
        (Exponential(0.3, decay=0.5, steps=20), 10, 0.3 / math.sqrt(2)),
        (Step(0.3, every=10, factor=0.1), 9, 0.3),
        (Step(0.3, every=10, factor=0.1), 10, 0.03),
        (Step(0.3, every=10, factor=0.1), 29, 0.003),
        (Cosine(0.3, length=90, floor=0.2), 30, 0.3 * (0.2 + 0.8 * 0.75)),
        (Cosine(0.3, length=90, floor=0.2), 60, 0.3 * (0.2 + 0.8 * 0.25)),
        (Cosine(0.3, length=90, floor=0.2), 90, 0.06),
        (Cosine(0.3, length=90, floor=0.2), 1000, 0.06),
        (WarmUp(4, InverseTime(0.3, 1.0)), 0, 0.06),
        (WarmUp(4, InverseTime(0.3, 1.0)), 3, 0.24),
        (WarmUp(4, InverseTime(0.3, 1.0)), 6, 0.1),
    ],
    ids=repr,
)
def test_the_closed_form(schedule: Schedule, t: int, expected: float) -> None:
    assert schedule(t) == pytest.approx(expected, rel=1e-14)


@every_name
def test_a_warm_up_rises_in_equal_steps_to_where_the_other_begins(name: str) -> None:
    after = NAMED[name]
    warm = WarmUp(10, after)
    rise = np.diff([0.0] + [warm(t) for t in range(11)])
    np.testing.assert_allclose(rise, after(0) / 11, rtol=1e-13)
    assert [warm(t + 10) for t in range(50)] == [after(t) for t in range(50)]


def test_joined_schedules_each_start_at_their_own_zero() -> None:
    parts = (InverseTime(0.5, 0.1), WarmUp(3, 0.5), Exponential(0.25, 0.9))
    joined = Joined(parts, (4, 11))
    expected = [parts[0](t) for t in range(4)] + [parts[1](t) for t in range(7)] + [parts[2](t) for t in range(20)]
    assert [joined(t) for t in range(31)] == expected


def test_joining_where_the_schedule_stands_changes_nothing() -> None:
    whole = Exponential(0.5, 0.9)
    joined = Joined((whole, Exponential(whole(13), 0.9)), (13,))
    np.testing.assert_allclose([joined(t) for t in range(40)], [whole(t) for t in range(40)], rtol=1e-14)


def test_a_number_is_accepted_wherever_a_schedule_is() -> None:
    assert as_schedule(1) == as_schedule(np.float64(1.0)) == as_schedule(np.array(1.0)) == Constant(1.0)
    assert as_schedule(Constant(1.0)) == Constant(1.0)
    assert as_schedule([1.0, 2.0]) == as_schedule(np.array([1.0, 2.0])) == PerColumn((Constant(1.0), Constant(2.0)))
    assert WarmUp(3, 0.5) == WarmUp(3, Constant(0.5))
    assert Joined([0.5, 0.1], [3]) == Joined((Constant(0.5), Constant(0.1)), (3,))


BAD_NUMBERS = [0.0, -1.0, math.inf, math.nan, "0.1", None, True, 1j]
BAD: list[tuple[str, Callable[[], Any]]] = [
    *[
        ("step_size", lambda name=name, v=v: named_schedule(name, v, **SETTINGS[name]))
        for name in SETTINGS
        for v in BAD_NUMBERS
    ],
    *[("step_size", lambda v=v: as_schedule(v)) for v in [*BAD_NUMBERS, [], np.empty(0), abs]],
    *[("step_size", lambda kind=kind, v=v: kind().init(v)) for kind in ADAPTIVE.values() for v in BAD_NUMBERS],
    *[("factor", lambda v=v: Step(0.1, 2, v)) for v in (0.0, 1.1, math.nan)],
    *[("every", lambda v=v: Step(0.1, v)) for v in (0, 1.5, -1, math.inf, "2")],
    *[("decay", lambda v=v: Exponential(0.1, v)) for v in (0.0, 1.1, math.nan)],
    *[("length", lambda v=v: WarmUp(v, 0.1)) for v in (0, 2.5, None)],
    *[("factor", lambda v=v: Plateau(factor=v)) for v in (0.0, 1.0)],
    *[("improvement", lambda v=v: Plateau(improvement=v)) for v in (-0.1, 1.0)],
    *[("shrinkage", lambda v=v: BoldDriver(shrinkage=v)) for v in (0.0, 1.0)],
    ("power", lambda: InverseScaling(0.1, -0.1)),
    ("decay", lambda: InverseTime(0.1, -0.1)),
    ("steps", lambda: Exponential(0.1, 0.5, 0.0)),
    ("length", lambda: Cosine(0.1, 0)),
    ("floor", lambda: Cosine(0.1, 5, 0.0)),
    ("after", lambda: WarmUp(3, -0.1)),
    ("patience", lambda: Plateau(patience=0)),
    ("growth", lambda: BoldDriver(growth=0.9)),
    ("kind", lambda: BarzilaiBorwein("middle")),
    ("limit", lambda: BarzilaiBorwein(limit=0.5)),
    (r"step_size\[1\]", lambda: as_schedule([0.1, -0.1])),
    (r"columns\[0\]", lambda: PerColumn((math.nan,))),
    (r"schedules\[1\]", lambda: Joined((0.1, 0.0), (3,))),
    (r"boundaries\[0\]", lambda: Joined((0.1, 0.2), (0,))),
    ("boundaries", lambda: Joined((0.1, 0.2), ())),
    ("boundaries", lambda: Joined((0.1, 0.2, 0.3), (5, 5))),
    ("schedule='lineSearch'.*'constant'", lambda: named_schedule("lineSearch", 0.1)),
    ("'cosine' needs.*'length'", lambda: named_schedule("cosine", 0.1)),
    ("'constant' has no.*'power'", lambda: named_schedule("constant", 0.1, power=1.0)),
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


@pytest.mark.parametrize("size", [1e-3, 10.0])
def test_bold_driver_descends_from_any_step_size(size: float) -> None:
    rule, curvature = BoldDriver(), np.array([1.0, 10.0])
    state, w, last = rule.init(size), np.array([3.0, -2.0]), np.array([3.0, -2.0])
    accepted = []
    for _ in range(400):
        state = rule.observe(state, 0.5 * w @ (curvature * w), w, curvature * w)
        if state.undo:
            w = last
        else:
            accepted.append(state.value)
        last, w = w, w - state.step * curvature * w
    assert accepted == sorted(accepted, reverse=True)
    assert accepted[-1] < 1e-12


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
