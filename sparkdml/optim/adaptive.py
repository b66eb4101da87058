"""Adaptive rules: step sizes that watch the descent.

An adaptive rule is a pair of pure functions, `init` and `observe`, and an explicit state; step sizes that know only the
number of the step are in `sparkdml.optim.schedules`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, TypeVar, cast

import numpy as np

from sparkdml.optim.penalties import Penalty
from sparkdml.optim.schedules import Checked, at_least_one, below_one, count, pick, positive, within_one

S = TypeVar("S", bound="AdaptiveState")
KINDS = {kind: kind for kind in ("long", "short", "alternate")}


# A change of the objective by a smaller share of it is measured by the gradients, which rounding spares: Hager and
# Zhang's epsilon (A New Conjugate Gradient Method with Guaranteed Descent, 2005).
FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class AdaptiveState:
    """What every adaptive rule says.

    Attributes
    ----------
    step : the size of the next step.
    undo : the last step made things worse: go back to where it began before taking the next.
    forget : and a shorter one would too: the update rule must forget what made it go there.
    """

    step: float
    undo: bool = False
    forget: bool = False


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
    PlateauState(step=0.5, undo=False, forget=False, best=2.0, waited=0)
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
    BoldDriverState(step=0.5, undo=True, forget=False, value=3.0)
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
class LineSearchState(AdaptiveState):
    """Adds where the last step began, or ended if it stands: the objective, the point, the gradient."""

    value: float = math.inf
    w: np.ndarray = field(default_factory=lambda: np.array(np.nan))
    gradient: np.ndarray = field(default_factory=lambda: np.array(np.nan))


@dataclass(frozen=True)
class LineSearch(Adaptive[LineSearchState]):
    """Have a step undone that lowers the objective too little for its length; grow after one that does enough.

    With F = f + h, of which `observe` is told the value of F and the gradient g of f, a step s from w must bring

        F(w + s) <= F(w) + decrease * expected,    expected = g . s + h(w + s) - h(w),

    else it is taken again, shorter; one that leads uphill (expected >= 0) no length can mend: then the rule is to
    forget. The pass that finds the gradient at the new point finds F there too, so an accepted step costs one pass.
    Where the change of F is lost in its rounding, the mean of the gradients at both ends times s stands for that of f.

    Parameters
    ----------
    nonsmooth : h, the part of the objective that has no gradient, or None.
    growth, shrinkage : of the step size.
    decrease : the share of the expected decrease that is enough.

    Source: L. Armijo, Minimization of Functions Having Lipschitz Continuous First Partial Derivatives (1966); P. Tseng
    and S. Yun, A Coordinate Gradient Descent Method for Nonsmooth Separable Minimization (2009), for h.

    >>> rule = LineSearch()
    >>> state = rule.observe(rule.init(1.0), 2.0, np.array([2.0]), np.array([2.0]))
    >>> state = rule.observe(state, 4.5, np.array([-3.0]), np.array([-3.0]))
    >>> state.step, state.undo, state.forget
    (0.5, True, False)
    """

    nonsmooth: Penalty | None = None
    growth: float = field(default=1.25, metadata={"check": at_least_one})
    shrinkage: float = field(default=0.5, metadata={"check": within_one})
    decrease: float = field(default=1e-4, metadata={"check": within_one})
    state_class = LineSearchState

    def observe(self, state: LineSearchState, value: float, w: np.ndarray, gradient: np.ndarray) -> LineSearchState:
        step = state.step
        if state.value < math.inf:
            s = w - state.w
            bend = 0.0 if self.nonsmooth is None else self.nonsmooth.change(state.w, w)
            expected, change = float(np.vdot(state.gradient, s)) + bend, value - state.value
            if abs(change) <= FLAT * abs(state.value):
                change = float(np.vdot(state.gradient + gradient, s)) / 2.0 + bend
            if not change <= self.decrease * expected:  # too little, or not a number
                uphill = expected >= 0.0 and not state.forget
                return replace(state, step=step * (1.0 if uphill else self.shrinkage), undo=True, forget=uphill)
            step *= self.growth if np.any(s) else 1.0
        return LineSearchState(step, value=float(value), w=np.array(w), gradient=np.array(gradient))


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
        return SecantState(step, seen=state.seen + 1, first=first, w=np.array(w), gradient=np.array(gradient))


ADAPTIVE: dict[str, type[Adaptive]] = {
    "plateau": Plateau,
    "boldDriver": BoldDriver,
    "barzilaiBorwein": BarzilaiBorwein,
    "lineSearch": LineSearch,
}
