"""Schedules: step sizes that know only the number of the step.

A schedule is a pure function of t = 0, 1, 2, ..., a value that can be compared and pickled, and a number or an array
of numbers is accepted wherever a schedule is. Step sizes that watch the descent are in `sparkdml.optim.adaptive`.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from numbers import Real
from typing import Any, TypeAlias, TypeVar

import numpy as np

from sparkdml.errors import ParamError

StepSize: TypeAlias = float | np.ndarray  # one, or (K,) for K models fitted together
Check: TypeAlias = Callable[[Any, str], Any]
T = TypeVar("T")


def number(words: str, holds: Callable[[float], bool], kind: type = float) -> Check:
    """A check of (value, name) that returns a finite number as `kind`, or raises `ParamError` with the range in words.

    >>> positive(0.0, "step_size")
    Traceback (most recent call last):
    sparkdml.errors.ParamError: step_size=0.0 is out of range: it must be a number above 0.
    """

    def check(value: Any, name: str) -> Any:
        real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not real or kind(value) != value or not holds(value):
            noun = "whole number" if kind is int else "number"
            raise ParamError(f"{name}={value!r} is out of range: it must be a {noun} {words}.")
        return kind(value)

    return check


positive = number("above 0", lambda x: x > 0)
nonnegative = number("at least 0", lambda x: x >= 0)
share = number("above 0 and at most 1", lambda x: 0 < x <= 1)
below_one = number("at least 0 and below 1", lambda x: 0 <= x < 1)
within_one = number("above 0 and below 1", lambda x: 0 < x < 1)
at_least_one = number("at least 1", lambda x: x >= 1)
count = number("at least 1", lambda x: x >= 1, int)


@dataclass(frozen=True)
class Checked:
    """A value whose fields go through the check in their metadata, which may convert them, when it is made."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if "check" in each.metadata:
                object.__setattr__(self, each.name, each.metadata["check"](getattr(self, each.name), each.name))


class Schedule(Checked, ABC):
    """A step size as a function of the number of the step, t = 0, 1, 2, ..."""

    @abstractmethod
    def __call__(self, t: int) -> StepSize:
        """The size of step number t: a number above zero, or (K,) of them."""


ScheduleLike: TypeAlias = Schedule | float | Sequence[Any] | np.ndarray


def as_schedule(value: ScheduleLike, name: str = "step_size") -> Schedule:
    """A schedule as it is, a number as a constant, a sequence or array as one schedule a column.

    Raises `ParamError` with `name` for anything else.

    >>> as_schedule(0.1)
    Constant(step_size=0.1)
    >>> as_schedule([0.1, InverseTime(1.0, decay=1.0)])(1)
    array([0.1, 0.5])
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple) and value:
        return PerColumn(_schedules(value, name))
    return Constant(positive(value, name))


def _schedules(values: Sequence[ScheduleLike], name: str) -> tuple[Schedule, ...]:
    return tuple(as_schedule(value, f"{name}[{i}]") for i, value in enumerate(values))


@dataclass(frozen=True)
class PerColumn(Schedule):
    """One schedule for each of K models fitted together: t -> (K,)."""

    columns: tuple[Schedule, ...] = field(metadata={"check": _schedules})

    def __call__(self, t: int) -> np.ndarray:
        return np.array([schedule(t) for schedule in self.columns])


@dataclass(frozen=True)
class Constant(Schedule):
    """eta(t) = step_size.

    >>> Constant(0.5)(100)
    0.5
    """

    step_size: float = field(metadata={"check": positive})

    def __call__(self, t: int) -> float:
        return self.step_size


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """eta(t) = step_size / (t + 1)^power; noisy gradients need a power above 1/2 and at most 1 to converge.

    Source: H. Robbins and S. Monro, A Stochastic Approximation Method (1951).

    >>> InverseScaling(1.0, power=0.5)(3)
    0.5
    """

    step_size: float = field(metadata={"check": positive})
    power: float = field(default=0.5, metadata={"check": nonnegative})

    def __call__(self, t: int) -> float:
        return self.step_size * (t + 1.0) ** -self.power


@dataclass(frozen=True)
class InverseTime(Schedule):
    """eta(t) = step_size / (1 + decay t).

    Source: L. Bottou, Stochastic Gradient Descent Tricks (2012), where `decay` is step_size times the strength of L2.

    >>> InverseTime(1.0, decay=0.5)(2)
    0.5
    """

    step_size: float = field(metadata={"check": positive})
    decay: float = field(metadata={"check": nonnegative})

    def __call__(self, t: int) -> float:
        return self.step_size / (1.0 + self.decay * t)


@dataclass(frozen=True)
class Exponential(Schedule):
    """eta(t) = step_size decay^(t / steps), `decay` once in every `steps` steps.

    >>> Exponential(1.0, decay=0.25, steps=10)(5)
    0.5
    """

    step_size: float = field(metadata={"check": positive})
    decay: float = field(metadata={"check": share})
    steps: float = field(default=1.0, metadata={"check": positive})

    def __call__(self, t: int) -> float:
        return self.step_size * self.decay ** (t / self.steps)


@dataclass(frozen=True)
class Step(Schedule):
    """eta(t) = step_size factor^floor(t / every), a staircase.

    >>> [Step(1.0, factor=0.5, every=2)(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    step_size: float = field(metadata={"check": positive})
    every: int = field(metadata={"check": count})
    factor: float = field(default=0.5, metadata={"check": share})

    def __call__(self, t: int) -> float:
        return self.step_size * self.factor ** (t // self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """eta(t) = step_size (floor + (1 - floor) (1 + cos(pi t / length)) / 2); from `length` on, step_size floor.

    The floor is a share of the first step, above zero, since a step of zero learns nothing and costs a pass.
    Source: I. Loshchilov and F. Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2017).

    >>> [round(Cosine(1.0, length=2, floor=0.1)(t), 12) for t in range(4)]
    [1.0, 0.55, 0.1, 0.1]
    """

    step_size: float = field(metadata={"check": positive})
    length: int = field(metadata={"check": count})
    floor: float = field(default=0.01, metadata={"check": share})

    def __call__(self, t: int) -> float:
        half_wave = (1.0 + math.cos(math.pi * min(t / self.length, 1.0))) / 2.0
        return self.step_size * (self.floor + (1.0 - self.floor) * half_wave)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """eta(t) = after(0) (t + 1) / (length + 1) while t < length, then after(t - length).

    The ramp begins above zero, so that no step is wasted, and meets `after` at its own beginning.
    Source: P. Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour (2017).

    >>> [WarmUp(3, 1.0)(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    length: int = field(metadata={"check": count})
    after: Schedule = field(metadata={"check": as_schedule})

    def __call__(self, t: int) -> StepSize:
        if t < self.length:
            return self.after(0) * ((t + 1) / (self.length + 1))
        return self.after(t - self.length)


@dataclass(frozen=True)
class Joined(Schedule):
    """schedules[0] before boundaries[0], schedules[1] from there to boundaries[1], and so on.

    Each schedule starts at its own 0. There is one boundary less than there are schedules, and they increase.

    >>> [Joined((1.0, Step(0.5, every=1)), (2,))(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """

    schedules: tuple[Schedule, ...] = field(metadata={"check": _schedules})
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        found = tuple(count(value, f"boundaries[{i}]") for i, value in enumerate(self.boundaries))
        if len(found) != len(self.schedules) - 1 or list(found) != sorted(set(found)):
            raise ParamError(
                f"boundaries={found} must increase and be one less than the {len(self.schedules)} schedules."
            )
        object.__setattr__(self, "boundaries", found)

    def __call__(self, t: int) -> StepSize:
        part = bisect_right(self.boundaries, t)
        return self.schedules[part](t - (0, *self.boundaries)[part])


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverseScaling": InverseScaling,
    "inverseTime": InverseTime,
    "exponential": Exponential,
    "step": Step,
    "cosine": Cosine,
}


def named_schedule(name: str, step_size: float | Sequence[float] | np.ndarray, **settings: Any) -> Schedule:
    """A schedule of the table `SCHEDULES`, for one model or, with (K,) step sizes, for K.

    Raises `ParamError` where the name, a setting or a value is not possible.

    >>> named_schedule("inverseScaling", 0.1, power=1.0)
    InverseScaling(step_size=0.1, power=1.0)
    """
    kind: Any = pick("schedule", name, SCHEDULES)
    check_settings(name, {"step_size": step_size, **settings}, [kind])
    if isinstance(step_size, list | tuple | np.ndarray):
        return as_schedule([kind(each, **settings) for each in step_size])
    return kind(step_size, **settings)


def pick(what: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table; raises `ParamError` with the names that there are."""
    if not isinstance(name, str) or name not in table:
        raise ParamError(f"{what}={name!r} is not one of {', '.join(map(repr, table))}.")
    return table[name]


def check_settings(name: str, settings: Mapping[str, Any], kinds: Sequence[type[Checked]]) -> None:
    """Raise `ParamError` where the classes behind a name have no such setting, or need one that is missing."""
    known = {each.name: each.default is MISSING for kind in kinds for each in fields(kind)}
    for setting in settings:
        if setting not in known:
            raise ParamError(f"{name!r} has no setting {setting!r}; it has {', '.join(map(repr, known)) or 'none'}.")
    for setting, needed in known.items():
        if needed and setting not in settings:
            raise ParamError(f"{name!r} needs the setting {setting!r}.")
