"""The loop that is a fit: collect the pending queries, make one pass, hand the answers back."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from sparkdml.engine.data import DEFAULT_READING, Data, Reading
from sparkdml.engine.known import known_answers
from sparkdml.engine.null_model import NullModel
from sparkdml.errors import DivergenceError
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Query
from sparkdml.optim.separation import Separation
from sparkdml.optim.solvers import Solver, State, StopReason, check_admissible
from sparkdml.optim.solvers.covariance import Covariance

logger = logging.getLogger("sparkdml")


@dataclass
class Fit:
    """One model on its way: its problem, its solver, where the solver stands, and the passes it took part in.

    `bytes_down` and `bytes_up` are what its own queries and their answers took, see `Traffic`. `covariance` and the
    what its labels are `separated` by are noted after the end, where they are known.
    """

    problem: Problem
    solver: Solver
    state: State
    passes: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    covariance: Covariance = field(default_factory=Covariance)
    separated: list[Separation] = field(default_factory=list)

    @property
    def queries(self) -> list[Query]:
        """What the fit asks in the next pass; a start that comes from elsewhere is compared with the origin."""
        asked = self.solver.queries(self.problem, self.state)
        return [self.problem.comparison_query(), *asked] if self.problem.foreign else asked

    def advance(self, answers: Sequence[Any]) -> None:
        """Take the answers of a pass; DivergenceError where the objective is not finite then."""
        if not self.problem.foreign:
            return self.step(answers)
        self.problem = self.problem.compared(answers[0])
        if self.problem.origin is not None:
            return self.step(answers[1:])
        logger.warning(
            "initialModel fits these rows worse than no coefficients at all, as where columns have changed their "
            "units: the fit starts without it."
        )
        self.state = self.solver.init(self.problem)
        return None

    def step(self, answers: Sequence[Any]) -> None:
        """Take the solver's next step; DivergenceError where the objective is not finite then.

        What overflows on the way, such as the length of a gradient of 1e200, is infinite, which solvers turn down.
        """
        with np.errstate(over="ignore"):
            self.state = self.solver.step(self.problem, self.state, answers)
        _require_finite(self)

    def count(self, data: Data, queries: Sequence[Query]) -> None:
        """Count one more pass, in which the fit asked these queries."""
        self.passes += 1
        down, up = data.traffic(queries)
        self.bytes_down += down
        self.bytes_up += up

    def follow(self, before: "Fit | NullModel") -> None:
        """Count the passes of what this fit went on from, too."""
        self.passes += before.passes
        self.bytes_down += before.bytes_down
        self.bytes_up += before.bytes_up


def minimize(fits: Sequence[tuple[Problem, Solver]], data: Data, reading: Reading = DEFAULT_READING) -> list[Fit]:
    """Run every solver to its end; all that are unfinished share each pass.

    Each pass is logged at level INFO on the logger "sparkdml".

    Raises
    ------
    SolverError : a solver cannot take its problem; before any pass.
    DivergenceError : an objective is not finite.
    """
    for problem, solver in fits:
        check_admissible(solver, problem)
    running = [_begun(Fit(problem, solver, solver.init(problem)), data) for problem, solver in fits]
    while pending := [fit for fit in running if fit.state.stop is StopReason.RUNNING]:
        started = time.perf_counter()
        asked = [fit.queries for fit in pending]
        answers = iter(data.run([query for queries in asked for query in queries], reading))
        for fit, queries in zip(pending, asked, strict=True):
            fit.count(data, queries)
            fit.advance(list(islice(answers, len(queries))))
        _log(pending, len(running), time.perf_counter() - started)
    return running


Start: TypeAlias = tuple[Problem, Solver, Solver | None]


def minimize_warm(fits: Sequence[Start], data: Data, reading: Reading = DEFAULT_READING) -> list[Fit]:
    """As `minimize`, each fit beginning where another solver, if there is one, ends; its passes count too."""
    for problem, solver, _ in fits:
        check_admissible(solver, problem)
    first = {i: (problem, warm) for i, (problem, _, warm) in enumerate(fits) if warm is not None}
    warm = dict(zip(first, minimize(list(first.values()), data, reading), strict=True))
    begun = [(continued(warm[i]) if i in warm else problem, solver) for i, (problem, solver, _) in enumerate(fits)]
    ended = minimize(begun, data, reading)
    for i, before in warm.items():
        ended[i].follow(before)
    return ended


def continued(fit: Fit) -> Problem:
    """The problem of a fit, to be begun where the fit ended."""
    assert fit.state.point is not None
    return fit.problem.starting_at(fit.state.point.theta)


def _begun(fit: Fit, data: Data) -> Fit:
    """The fit, after its first step where that needs no pass."""
    known = known_answers(data, fit.queries)
    if known is not None:
        fit.step(known)
    return fit


def _require_finite(fit: Fit) -> None:
    point = fit.state.point
    if point is not None and not (np.isfinite(point.loss) and np.all(np.isfinite(point.gradient))):
        begun, loss = fit.state.iterations > 0, fit.problem.loss
        remedy = "rescale the columns, or raise regParam."
        if not (begun or loss.anywhere):
            remedy = (
                f"where the fit starts some rows have no mean with {loss.name!r}; set fitIntercept=True, take the "
                "logarithm as link, or start at an initialModel that gives them one."
            )
        raise DivergenceError(
            f"the objective is {point.loss} after pass {fit.passes} of solver={fit.solver.name!r}: {remedy}"
        )


def _log(pending: Sequence[Fit], fits: int, seconds: float) -> None:
    first = pending[0]
    context = {"pass": str(first.passes), "seconds": f"{seconds:.3f}", "solver": first.solver.name}
    what = f"{len(pending)} of {fits} fits"
    if fits == 1:
        context["objective"] = repr(float(first.state.history[-1])) if len(first.state.history) else ""
        what = f"objective {first.state.history[-1]:.10g}" if len(first.state.history) else first.solver.name
    stop = f", {first.state.stop}" if fits == 1 and first.state.stop is not StopReason.RUNNING else ""
    logger.info("pass %d: %s, %.2f s%s", first.passes, what, seconds, stop, extra={"context": context})
