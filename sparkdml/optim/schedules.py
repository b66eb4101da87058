"""Step sizes: schedules, which know only the number of the step, and adaptive rules, which watch the descent.

A schedule is a pure function of t = 0, 1, 2, ..., a value that can be compared and pickled, and a number or an array
of numbers is accepted wherever a schedule is. An adaptive rule is a pair of pure functions and an explicit state.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Real
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast

import numpy as np

from sparkdml.errors import ParamError

StepSize: TypeAlias = float | np.ndarray  # one, or (K,) for K models fitted together
Check: TypeAlias = Callable[[Any, str], Any]
S = TypeVar("S", bound="AdaptiveState")
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
KINDS = {kind: kind for kind in ("long", "short", "alternate")}


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


@dataclass(frozen=True, eq=False)
class AdaptiveState:
    """What every adaptive rule says.

    Attributes
    ----------
    step : the size of the next step.
    undo : the last step made things worse: go back to where it began before taking the next.
    """

    step: float
    undo: bool = False


class Adaptive(Checked, ABC, Generic[S]):
    """A step size that listens: `init(step_size)`, then `observe` at each point that was reached; read `state.step`.

    A state belongs to one model. In a chain of `sparkdml.optim.updates`, give the schedule 1.0 and multiply the step
    by `state.step`.
    """

    state_class: ClassVar[type[AdaptiveState]]

    def init(self, step_size: float) -> S:
        """The state before the first observation; raises `ParamError` unless the step size is above zero."""
        return cast(S, self.state_class(positive(step_size, "step_size")))

    @abstractmethod
    def observe(self, state: S, value: float, w: np.ndarray, gradient: np.ndarray) -> S:
        """The state after the objective `value` and its `gradient` were seen at `w`, both of one shape."""


@dataclass(frozen=True, eq=False)
class PlateauState(AdaptiveState):
    """Adds the best objective so far, and how many observations in a row were no better."""

    best: float = math.inf
    waited: int = 0


@dataclass(frozen=True)
class Plateau(Adaptive[PlateauState]):
    """Multiply the step by `factor` after `patience` observations in a row that did not improve the best objective.

    An improvement lowers it by more than `improvement` times the absolute value of the new one.

    >>> rule = Plateau(factor=0.5, patience=2)
    >>> state = rule.init(1.0)
    >>> for value in [3.0, 2.0, 2.0, 2.0]:
    ...     state = rule.observe(state, value, np.zeros(1), np.zeros(1))
    >>> state
    PlateauState(step=0.5, undo=False, best=2.0, waited=0)
    """

    factor: float = field(default=0.2, metadata={"check": within_one})
    patience: int = field(default=5, metadata={"check": count})
    improvement: float = field(default=1e-4, metadata={"check": below_one})
    state_class = PlateauState

    def observe(self, state: PlateauState, value: float, w: np.ndarray, gradient: np.ndarray) -> PlateauState:
        if state.best - value > self.improvement * abs(value):
            return replace(state, best=float(value), waited=0)
        if state.waited + 1 < self.patience:
            return replace(state, waited=state.waited + 1)
        return replace(state, step=state.step * self.factor, waited=0)


@dataclass(frozen=True, eq=False)
class BoldDriverState(AdaptiveState):
    """Adds the objective where the last step began, or ended if it stands."""

    value: float = math.inf


@dataclass(frozen=True)
class BoldDriver(Adaptive[BoldDriverState]):
    """Grow the step a little after a decrease; after an increase shrink it and have the step undone.

    Source: R. Battiti, Accelerated Backpropagation Learning: Two Optimization Methods (1989).

    >>> rule = BoldDriver()
    >>> state = rule.observe(rule.init(1.0), 3.0, np.zeros(1), np.zeros(1))
    >>> rule.observe(state, 4.0, np.zeros(1), np.zeros(1))
    BoldDriverState(step=0.5, undo=True, value=3.0)
    """

    growth: float = field(default=1.05, metadata={"check": at_least_one})
    shrinkage: float = field(default=0.5, metadata={"check": within_one})
    state_class = BoldDriverState

    def observe(self, state: BoldDriverState, value: float, w: np.ndarray, gradient: np.ndarray) -> BoldDriverState:
        if not value <= state.value:  # worse, or not a number
            return replace(state, step=state.step * self.shrinkage, undo=True)
        growth = self.growth if value < state.value < math.inf else 1.0
        return BoldDriverState(state.step * growth, value=float(value))


@dataclass(frozen=True, eq=False)
class SecantState(AdaptiveState):
    """Adds the count of observations, the first step size, and the last point and gradient."""

    seen: int = 0
    first: float = 0.0
    w: np.ndarray = field(default_factory=lambda: np.array(np.nan))  # no point yet, so no curvature
    gradient: np.ndarray = field(default_factory=lambda: np.array(np.nan))


@dataclass(frozen=True)
class BarzilaiBorwein(Adaptive[SecantState]):
    """The inverse of the curvature along the last move s, which changed the gradient by y.

    long = s.s / s.y, short = s.y / y.y, or the two in turn. Where the curvature s.y is not positive the step stays as
    it was; it never leaves the first one by more than the factor `limit`. The objective need not decrease at each step.
    Source: J. Barzilai and J. Borwein, Two-Point Step Size Gradient Methods (1988); Y.-H. Dai and R. Fletcher,
    Projected Barzilai-Borwein Methods for Large-Scale Box-Constrained Quadratic Programming (2005), for the turns.

    >>> rule = BarzilaiBorwein()
    >>> state = rule.observe(rule.init(1.0), 2.0, np.array([1.0]), np.array([4.0]))
    >>> rule.observe(state, 0.5, np.array([0.5]), np.array([2.0])).step
    0.25
    """

    kind: str = field(default="alternate", metadata={"check": lambda value, name: pick(name, value, KINDS)})
    limit: float = field(default=1e10, metadata={"check": at_least_one})
    state_class = SecantState

    def observe(self, state: SecantState, value: float, w: np.ndarray, gradient: np.ndarray) -> SecantState:
        s, y = w - state.w, gradient - state.gradient
        ss, sy, yy = float(np.vdot(s, s)), float(np.vdot(s, y)), float(np.vdot(y, y))
        step, first = state.step, state.first or state.step
        if min(ss, sy, yy) > 0.0:
            is_long = self.kind == "long" or (self.kind == "alternate" and state.seen % 2 == 1)
            step = min(max(ss / sy if is_long else sy / yy, first / self.limit), first * self.limit)
        return SecantState(step, False, state.seen + 1, first, np.array(w), np.array(gradient))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverseScaling": InverseScaling,
    "inverseTime": InverseTime,
    "exponential": Exponential,
    "step": Step,
    "cosine": Cosine,
}
ADAPTIVE: dict[str, type[Adaptive]] = {"plateau": Plateau, "boldDriver": BoldDriver, "barzilaiBorwein": BarzilaiBorwein}
# A back-tracking line search needs objectives along the step: the solver makes it itself, through Line queries.
STEP_SIZES = (*SCHEDULES, *ADAPTIVE, "lineSearch")


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
