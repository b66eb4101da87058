"""What the fit of a generalized linear model takes beyond its loss: units of the penalty, a null model, goodness."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sparkdml.engine.data import Data, Reading
from sparkdml.engine.minimize import Fit, Start, continued, minimize, minimize_warm
from sparkdml.optim.aggregation import WEIGHTED_MEAN
from sparkdml.optim.losses import GeneralizedLinear
from sparkdml.optim.penalties import ElasticNet
from sparkdml.optim.problem import Problem
from sparkdml.optim.queries import Goodness, GoodnessSums
from sparkdml.optim.solvers import EarlyStopping

MAX_STAGES = 20  # fits with a penalty in other units each, of which four or five are needed


@dataclass
class GlmFit(Fit):
    """A fit whose penalty is in units of the mean working weight, with what its end tells.

    Attributes
    ----------
    units : what the strengths of the penalty were multiplied by.
    goodness : the sums where it ended.
    null : those of the model without coefficients.
    """

    units: float = 1.0
    goodness: GoodnessSums = field(kw_only=True)
    null: GoodnessSums = field(kw_only=True)


def minimize_glm(starts: Sequence[Start], data: Data, reading: Reading, tol: float) -> list[GlmFit]:
    """The fits, each with the penalty in units of the mean working weight sum s mean'^2 / V / sum s where it ends.

    That is where pyspark.ml's iteratively reweighted least squares comes to rest: each of its steps divides by the sum
    of the working weights before it adds the penalty. The units and the model that they belong to are found in turn,
    by the secant method; for a loss whose working weight is one, such as a quadratic one, there is nothing to find.
    A fit with early stopping, which does not end at a minimum, keeps the units of its start.

    Parameters
    ----------
    starts : problems whose penalties have the strengths of the Params.
    tol : of the units, relative.
    """
    units = [[_null_weight(problem) if _is_penalized(problem) else 1.0] for problem, _, _ in starts]
    begun = [(_in_units(start[0], found[0]), *start[1:]) for start, found in zip(starts, units, strict=True)]
    fits, nulls = minimize_warm(begun, data, reading), [_null_problem(problem) for problem, _, _ in begun]
    sums, null_sums = _measured(fits, nulls, data, reading)
    weights = [[each.information / each.weight] for each in sums]
    for _ in range(MAX_STAGES):
        open_ = [i for i, fit in enumerate(fits) if _is_searched(fit) and _is_off(units[i][-1], weights[i][-1], tol)]
        if not open_:
            break
        for i in open_:
            units[i].append(_next(units[i], weights[i]))
        again = [(_in_units(continued(fits[i]), units[i][-1] / units[i][-2]), fits[i].solver) for i in open_]
        ended = minimize(again, data, reading)
        answers, _ = _measured(ended, [nulls[i] for i in open_], data, reading)
        for i, fit, answer in zip(open_, ended, answers, strict=True):
            fits[i], sums[i] = _joined(fits[i], fit), answer
            weights[i].append(answer.information / answer.weight)
    parts = zip(fits, units, sums, null_sums, strict=True)
    return [GlmFit(**vars(fit), units=found[-1], goodness=each, null=null) for fit, found, each, null in parts]


def _is_off(units: float, weight: float, tol: float) -> bool:
    return abs(weight - units) > tol * units


def _is_penalized(problem: Problem) -> bool:
    """Whether the penalty is in units of the working weight, which of a quadratic loss is one."""
    has_penalty = problem.penalty.has_l1 or bool(np.any(problem.penalty.l2.strength))
    return not problem.loss.quadratic and has_penalty


def _is_searched(fit: Fit) -> bool:
    """Whether the units of the penalty are to be those of where the fit ended."""
    stopped_early = isinstance(fit.solver, EarlyStopping)
    return _is_penalized(fit.problem) and fit.state.stop.converged and not stopped_early


def _null_weight(problem: Problem) -> float:
    """The working weight of the model without coefficients, which is the mean one of a small model; one without any."""
    return float(_null_problem(problem).average_hessian[0, 0]) or 1.0


def _in_units(problem: Problem, factor: float) -> Problem:
    """The same problem with a penalty so many times as strong."""
    l1, l2 = problem.penalty.l1, problem.penalty.l2
    penalty = ElasticNet(replace(l1, strength=factor * l1.strength), replace(l2, strength=factor * l2.strength))
    return replace(problem, penalty=penalty)


def _next(units: Sequence[float], weights: Sequence[float]) -> float:
    """The units to try next, given those that were tried and the mean working weights that came of them."""
    if len(units) > 1 and units[-1] != units[-2]:
        excess = np.subtract(weights, units)
        slope = (excess[-1] - excess[-2]) / (units[-1] - units[-2])
        found = units[-1] - excess[-1] / slope if slope < 0.0 else 0.0
        if 0.1 * units[-1] < found < 10.0 * units[-1]:
            return float(found)
    return weights[-1]


def _joined(before: Fit, after: Fit) -> Fit:
    """A fit that went on from another: its passes and iterations are those of both.

    The end of one is the start of the other; its objective is told in the units of the other.
    """
    after.follow(before)
    iterations = before.state.iterations + after.state.iterations
    history = np.append(before.state.history[:-1], after.state.history)
    after.state = replace(after.state, iterations=iterations, history=history)
    return after


def _measured(
    fits: Sequence[Fit], nulls: Sequence[Problem], data: Data, reading: Reading
) -> tuple[list[GoodnessSums], list[GoodnessSums]]:
    """The sums where each fit ended and where each null problem starts, by one pass more."""
    queries = []
    for fit, null in zip(fits, nulls, strict=True):
        assert fit.state.point is not None
        queries += [_goodness_query(fit.problem, fit.state.point.theta), _goodness_query(null, null.start)]
        fit.count(data, queries[-2:])
    answers = [answer for answer in data.run(queries, reading) if isinstance(answer, GoodnessSums)]
    return answers[::2], answers[1::2]


def _goodness_query(problem: Problem, theta: np.ndarray) -> Goodness:
    assert isinstance(problem.loss, GeneralizedLinear)
    return Goodness(problem.loss, *problem.raw(theta), problem.fold, problem.class_weights)


def _null_problem(problem: Problem) -> Problem:
    """The problem without coefficients, to be begun at the best constant prediction, which is its minimum."""
    nothing = np.zeros_like(problem.scale)
    constant = problem.loss.link(problem.shift[-1:])[0] - problem.offset_mean
    if problem.null is not None:
        constant = np.array(problem.null[:1])
    free = replace(_in_units(problem, 0.0), bounds=None, aggregation=WEIGHTED_MEAN, axes=None)
    start = problem.join(nothing[:, None], constant)
    return replace(free, penalty=free.penalty.within(-np.inf, np.inf), scale=nothing, start=start, origin=None)
