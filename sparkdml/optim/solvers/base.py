"""What a solver is: explicit state, pure steps, a declared need, a named reason to stop."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np

from sparkdml import arrays
from sparkdml.errors import SolverError
from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import Query


class StopReason(StrEnum):
    """Why a solver stopped; the value is what a summary shows."""

    RUNNING = "running"
    SOLVED = "solved directly"
    CONVERGED = "converged"
    PRECISION = "converged to machine precision"
    MAX_ITERATIONS = "maxIter reached"
    STUCK = "no step lowers the objective"
    VALIDATION = "validation loss stopped improving"

    @property
    def converged(self) -> bool:
        """Whether the solver came to its end: the minimum, or where the validation loss stopped improving."""
        return self not in (StopReason.RUNNING, StopReason.MAX_ITERATIONS, StopReason.STUCK)


# What an update rule remembers, as named arrays.
Memory: TypeAlias = dict[str, np.ndarray]


def empty() -> np.ndarray:
    """No numbers yet."""
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class State:
    """All that a solver remembers between two passes.

    Attributes
    ----------
    point : the best point so far, or None before the first answer.
    iterations : steps accepted so far.
    history : F at the start and after each iteration, (iterations + 1,).
    stop : why the solver stopped, or RUNNING.
    """

    point: Point | None = None
    iterations: int = 0
    history: np.ndarray = field(default_factory=empty)
    stop: StopReason = StopReason.RUNNING

    @property
    def iterate(self) -> Point | None:
        """The point that the last entry of the history tells of; of a walk that also goes up not always the best."""
        return self.point

    @property
    def gap(self) -> float:
        """How far the objective is above its minimum at most, as a share of itself; infinite where nothing tells."""
        return np.inf


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Solver(ABC, Generic[S]):
    """A method of minimization: `init`, then `queries` and `step` in turn until the state has a reason to stop.

    Parameters
    ----------
    tol : the estimated relative distance of theta to the minimizer at which to stop.
    max_iter : the largest number of iterations.
    """

    tol: float = 1e-6
    max_iter: int = 100

    name: ClassVar[str]
    iterative: ClassVar[bool] = True  # its history tells of points between its start and its end
    state_class: ClassVar[type[State]]
    bounded: ClassVar[bool] = False  # it keeps within the box of the penalty
    aggregations: ClassVar[tuple[str, ...]] = (WEIGHTED_MEAN,)  # of `AGGREGATIONS`, those it can take

    def aggregation_refusal(self, aggregation: str) -> str | None:
        """Why this solver cannot take what the partitions tell aggregated so, or None."""
        if aggregation in self.aggregations:
            return None
        return f"needs the exact sums, and aggregation={aggregation!r} gives none: take solver='gd' with an optimizer."

    def refusal(self, problem: Problem) -> str | None:
        """Why this solver cannot take the problem, or None."""
        return None

    @abstractmethod
    def init(self, problem: Problem) -> S:
        """The state before the first pass."""

    def init_after(self, problem: Problem, ended: S) -> S:
        """The state before the first pass over a problem that differs little from the one that another state ended."""
        return self.init(problem)

    @abstractmethod
    def queries(self, problem: Problem, state: S) -> list[Query]:
        """What the solver asks of the data in the next pass."""

    def largest_queries(self, problem: Problem) -> list[Query]:
        """Those of the pass whose answers are largest: of most solvers, any pass."""
        return self.queries(problem, self.init(problem))

    @abstractmethod
    def step(self, problem: Problem, state: S, answers: Sequence[Any]) -> S:
        """The state after the answers, one a query."""


def check_admissible(solver: Solver, problem: Problem) -> None:
    """Raise `SolverError` where the solver cannot take the problem."""
    check_aggregation(solver, problem.aggregation)
    if problem.penalty.has_box and not solver.bounded:
        raise SolverError(f"solver={solver.name!r} cannot keep coefficients within bounds: take solver='l-bfgs'.")
    if refusal := solver.refusal(problem):
        raise SolverError(f"solver={solver.name!r} {refusal}")


def check_aggregation(solver: Solver, aggregation: str) -> None:
    """Raise `SolverError` where the solver cannot take what the partitions tell aggregated so."""
    if refusal := solver.aggregation_refusal(aggregation):
        raise SolverError(f"solver={solver.name!r} {refusal}")


def dump_state(state: State) -> bytes:
    """Write a state as one line of JSON and a blob of arrays; `load_state` reads the same bits back."""
    values: dict[str, Any] = {}
    collected: dict[str, np.ndarray] = {}
    for name, value in _flatten(state, ""):
        if isinstance(value, np.ndarray):
            collected[name] = value
        else:
            values[name] = value
    header, blob = arrays.dump(collected)
    line = json.dumps({"state": type(state).__name__, "values": values, "arrays": header})
    return line.encode() + b"\n" + blob


def load_state(state_class: type[S], data: bytes) -> S:
    """Read what `dump_state` wrote; raises `FormatError` where the bytes are not such a state."""
    line, _, blob = data.partition(b"\n")
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    arrays.require(isinstance(head, dict) and set(head) == {"state", "values", "arrays"}, "no solver state")
    arrays.require(head["state"] == state_class.__name__, f"a state of {head['state']!r} was not expected")
    loaded = {**head["values"], **arrays.load(head["arrays"], blob)}
    state = _take_state(state_class, loaded, "")
    arrays.require(not loaded, FIELDS_DIFFER)
    return state


FIELDS_DIFFER = "the fields of the solver state are not the expected ones"


def _take_state(state_class: type[S], loaded: dict[str, Any], prefix: str) -> S:
    expected = [(prefix + f.name, f) for f in fields(state_class)]
    values = {f.name: _take(loaded, name, f.type) for name, f in expected if _is_present(loaded, name, f.type)}
    arrays.require(len(values) == len(expected), FIELDS_DIFFER)
    arrays.require(values["stop"] in list(StopReason), "the reason to stop is unknown")
    return state_class(**{**values, "stop": StopReason(values["stop"])})


def _is_present(loaded: dict[str, Any], name: str, kind: Any) -> bool:
    return name in loaded or any(f"{name}.{part}" in loaded for part in ("theta", "state")) or kind is Memory


def _take(loaded: dict[str, Any], name: str, kind: Any) -> Any:
    if name in loaded:
        return loaded.pop(name)
    if kind is Memory:
        return {key.removeprefix(f"{name}."): loaded.pop(key) for key in list(loaded) if key.startswith(f"{name}.")}
    if kind is State:
        classes = {each.__name__: each for each in _subclasses(State)}
        inner = loaded.pop(f"{name}.state", None)
        arrays.require(inner in classes, f"a state of {inner!r} is unknown")
        return _take_state(classes[inner], loaded, f"{name}.")
    return Point(*(loaded.pop(f"{name}.{f.name}", None) for f in fields(Point)))


def _subclasses(cls: type[State]) -> list[type[State]]:
    return [each for child in cls.__subclasses__() for each in (child, *_subclasses(child))]


def _flatten(value: Any, prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for f in fields(value):
        child = getattr(value, f.name)
        if isinstance(child, dict):
            pairs += [(f"{prefix}{f.name}.{key}", part) for key, part in child.items()]
        elif is_dataclass(child):
            if isinstance(child, State):
                pairs.append((f"{prefix}{f.name}.state", type(child).__name__))
            pairs += _flatten(child, f"{prefix}{f.name}.")
        else:
            pairs.append((prefix + f.name, child))
    return pairs


def begin(state: S, problem: Problem, point: Point, max_iter: int) -> S:
    """The state at the first point; a start that is already the minimum, known or to the last digit, stops there."""
    stop = StopReason.RUNNING if max_iter > 0 else StopReason.MAX_ITERATIONS
    state = replace(state, point=point, history=np.array([problem.objective(point)]))
    still = np.array_equal(point.theta - problem.residual(point) / problem.lipschitz, point.theta)
    if problem.settled or (still and is_low(problem, state, point, problem.lipschitz, LEFT)):
        stop = StopReason.CONVERGED
    return replace(state, stop=stop)


# An objective that falls by less than this, relative to itself, has not changed.
ROUNDING = 8 * np.finfo(float).eps


def has_progressed(before: float, after: float, residual_before: float, residual: float) -> bool:
    """Whether an iteration lowered the objective by more than rounding, or the smallest KKT residual by a tenth."""
    return bool(after < before - ROUNDING * abs(before) or residual < 0.9 * residual_before)


def curvature_refusal(problem: Problem) -> str | None:
    """The refusal of a solver whose steps need a bound of the curvature, or None."""
    if np.isfinite(problem.loss.curvature):
        return None
    exact = problem.aggregation == WEIGHTED_MEAN
    instead = "take solver='l-bfgs'" if exact else "take solver='gd' with an optimizer and a stepSize"
    return f"needs a loss of bounded curvature, not {problem.loss.name!r}; {instead}."


def smoothness_refusal(problem: Problem) -> str | None:
    """The refusal of a solver that trusts the gradient to be continuous, or None."""
    return None if problem.loss.smooth else f"needs a smooth loss, not {problem.loss.name!r}; put it inside Smoothing."


# Shares of the objective at the origin. A fit of labels that are known to so many digits goes on while its objective
# is above the first, which rounding leaves of squares; where it cannot go on, or may not, the second is perfect too.
EXACT, PERFECT = 1e-28, 1e-16
UNSEEN = 0.01  # of the share that a gap may be: where the flattest curvature met tells it, for some may be flatter
LEFT = 1e-8  # share of the objective that may be left to gain where rounding ends a fit


def is_small(problem: Problem, state: State, gap: float, share: float, perfect: float = EXACT) -> bool:
    """Return whether a gap is at most this share of the objective of the state's best point.

    The objective is a scale that no start inflates: it is at most that of the origin, the best constant prediction.
    Smaller than any share of it may be what rounding leaves of a perfect fit, or the rounding of the origin itself.
    """
    assert state.point is not None
    origin = problem.start if problem.origin is None else problem.origin
    rounding = problem.lipschitz / 2.0 * (ROUNDING * float(np.linalg.norm(origin))) ** 2
    least = max(perfect * max(abs(float(state.history[0])), problem.reference), rounding)
    with np.errstate(over="ignore"):
        return bool(gap <= max(share * abs(problem.objective(state.point)), least))


def parabola_height(problem: Problem, point: Point, curvature: float) -> float:
    """Return ||residual||^2 / (2 curvature), how far the point is above the minimum of a parabola of its slope."""
    with np.errstate(over="ignore"):
        squared = float(np.sum(np.square(problem.residual(point))))
    return (squared / (2.0 * curvature) if curvature > 0.0 else np.inf) if squared > 0.0 else 0.0


def is_low(
    problem: Problem, state: State, point: Point, curvature: float, share: float, perfect: float = EXACT
) -> bool:
    """Return whether the point is a small gap above the minimum of the parabola of its slope and this curvature."""
    return is_small(problem, state, parabola_height(problem, point, curvature), share, perfect)


def at_rest(problem: Problem, state: State, curvature: float) -> StopReason:
    """Return why a solver stops that finds no lower point: at the minimum up to rounding, or stuck elsewhere."""
    assert state.point is not None
    known = curvature if 0.0 < curvature < np.inf else problem.lipschitz
    low = is_low(problem, state, state.point, known, LEFT, PERFECT)
    return StopReason.PRECISION if low else StopReason.STUCK


def at_limit(problem: Problem, state: State, point: Point, curvature: float, tol: float) -> StopReason:
    """Return why a solver stops at its limit: an objective of zero, up to rounding, also counts as minimal."""
    near = is_near(problem, state, point, curvature, tol, PERFECT)
    return StopReason.CONVERGED if near else StopReason.MAX_ITERATIONS


def is_near(problem: Problem, state: State, point: Point, curvature: float, tol: float, perfect: float = EXACT) -> bool:
    """Whether ||residual|| / curvature, an estimate of the distance to the minimizer, is small.

    `curvature` is the smallest that the solver has met, s.y / s.s over its steps; the distance is relative to the
    way from the origin, so that neither the units of the label nor those of the columns matter. The gap of the
    objective must be small too: far from the origin a distance that is relatively short may be a long way down.
    """
    if not np.isfinite(curvature):
        return False
    near = float(np.linalg.norm(problem.residual(point))) <= tol * curvature * problem.way(point.theta)
    return near and is_low(problem, state, point, curvature, UNSEEN * tol, perfect)
