"""What every schedule must be: finite, positive, pure."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sparkdml.errors import ParamError
from sparkdml.optim.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    InverseTime,
    Joined,
    PerColumn,
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

every_case = pytest.mark.parametrize("name", CASES)
every_name = pytest.mark.parametrize("name", SCHEDULES)


def test_every_schedule_is_in_the_tables() -> None:
    assert set(SETTINGS) == set(SCHEDULES)
    assert {type(each) for each in CASES.values()} == set(Schedule.__subclasses__())


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
    *[("factor", lambda v=v: Step(0.1, 2, v)) for v in (0.0, 1.1, math.nan)],
    *[("every", lambda v=v: Step(0.1, v)) for v in (0, 1.5, -1, math.inf, "2")],
    *[("decay", lambda v=v: Exponential(0.1, v)) for v in (0.0, 1.1, math.nan)],
    *[("length", lambda v=v: WarmUp(v, 0.1)) for v in (0, 2.5, None)],
    ("power", lambda: InverseScaling(0.1, -0.1)),
    ("decay", lambda: InverseTime(0.1, -0.1)),
    ("steps", lambda: Exponential(0.1, 0.5, 0.0)),
    ("length", lambda: Cosine(0.1, 0)),
    ("floor", lambda: Cosine(0.1, 5, 0.0)),
    ("after", lambda: WarmUp(3, -0.1)),
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
