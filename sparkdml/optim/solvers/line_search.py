"""Steps along a direction: a trial of the full step, and where that is refused a search of shorter ones."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from sparkdml.optim.problem import Point, Problem
from sparkdml.optim.queries import LineSums
from sparkdml.optim.solvers.base import ROUNDING, State, empty, has_progressed

SUFFICIENT_DECREASE = 1e-4
FLAT = 1e-6  # share of F within which slopes tell of a decrease better than F: Hager and Zhang's epsilon
BACKTRACKS = 0.5 ** np.arange(1, 17)  # the steps of a line search, all tried in one pass


@dataclass(frozen=True, eq=False)
class SearchState(State):
    """Adds the search.

    Attributes
    ----------
    direction : where the search goes from `point`, (n,), and `t` how far along it the next trial lies.
    expected : the change of F that a full step was expected to bring, to first order; negative.
    searching : the next query is a line search, since the trial was refused.
    residual, stalled : the smallest KKT residual met, and iterations without progress.
    """

    direction: np.ndarray = field(default_factory=empty)
    t: float = 0.0
    expected: float = 0.0
    searching: bool = False
    residual: float = np.inf
    stalled: int = 0

    @property
    def trial(self) -> np.ndarray:
        """Where the next trial lies, (n,)."""
        assert self.point is not None
        return self.point.theta + self.t * self.direction


S = TypeVar("S", bound=SearchState)


def aimed(problem: Problem, state: S, direction: np.ndarray) -> S | None:
    """The state that tries a full step along the direction, or None where that does not lead down."""
    assert state.point is not None
    expected = slope_of(problem, state.point, direction)
    if not expected < 0.0:
        return None
    return replace(state, direction=direction, t=1.0, expected=expected, searching=False)


def shortened(problem: Problem, state: S, answer: LineSums) -> S | None:
    """The state that tries the best of the shorter steps that a line search looked at, or None where none is good.

    Where F is finite at none of them, or lower at none, the search goes on nearer, until what is left to gain is lost
    in rounding.
    """
    assert state.point is not None
    objectives = problem.line_objectives(state.point.theta, state.direction, BACKTRACKS, answer)
    here, nearer = problem.objective(state.point), float(BACKTRACKS[-1])
    admissible = np.where(objectives <= here + SUFFICIENT_DECREASE * BACKTRACKS * state.expected, objectives, np.inf)
    if not np.any(np.isfinite(admissible)):
        lost = np.any(np.isfinite(objectives)) and nearer * abs(state.expected) <= ROUNDING * abs(here)
        if lost or not np.any(state.direction):
            return None
        return replace(state, direction=nearer * state.direction, expected=nearer * state.expected)
    return replace(state, t=float(BACKTRACKS[np.argmin(admissible)]), searching=False)


def is_accepted(problem: Problem, state: SearchState, point: Point) -> bool:
    """Sufficient decrease; measured by the slopes where the change of F is lost in rounding.

    Source: W. Hager, H. Zhang, A New Conjugate Gradient Method with Guaranteed Descent (2005), approximate Wolfe.
    """
    assert state.point is not None
    before, after = problem.objective(state.point), problem.objective(point)
    if after <= before + SUFFICIENT_DECREASE * state.t * state.expected:
        return True
    slope = slope_of(problem, point, state.direction)
    flat = slope <= (1.0 - 2.0 * SUFFICIENT_DECREASE) * -state.expected
    return bool(flat and after <= before + FLAT * abs(before))


def moved_to(problem: Problem, state: S, point: Point) -> S:
    """Move to the point, and note the progress."""
    assert state.point is not None
    before, after = problem.objective(state.point), problem.objective(point)
    residual = float(np.linalg.norm(problem.residual(point)))
    progress = has_progressed(before, after, state.residual, residual)
    return replace(
        state,
        point=point,
        iterations=state.iterations + 1,
        history=np.append(state.history, after),
        residual=min(residual, state.residual),
        stalled=0 if progress else state.stalled + 1,
    )


def slope_of(problem: Problem, point: Point, direction: np.ndarray) -> float:
    """Return the derivative of F along the direction, to first order; what leaves zero pays for it."""
    theta, gradient, l1 = point.theta, problem.smooth_gradient(point), problem.penalty.l1.strength
    change = np.where(theta != 0.0, np.sign(theta) * direction, np.abs(direction))
    with np.errstate(over="ignore", invalid="ignore"):  # of a step that the line search shortens
        return float(gradient @ direction + l1 @ change)
