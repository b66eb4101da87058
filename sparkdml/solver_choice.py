"""From Params to a solver."""

from typing import Any

import numpy as np
from pyspark.ml.param import Params

from sparkdml.blocks.stats import Statistics
from sparkdml.errors import ParamError, SolverError
from sparkdml.given import is_chosen
from sparkdml.optim.aggregation import ROBUST, WEIGHTED_MEAN
from sparkdml.optim.problem import Problem
from sparkdml.optim.solvers import (
    ALIASES,
    SOLVERS,
    GradientDescent,
    LocalDescent,
    Normal,
    Solver,
    StochasticDescent,
    SubsampledNewton,
)
from sparkdml.optim.solvers.rule_descent import ROBUST_DESCENT, RuleDescent
from sparkdml.optim.solvers.sampled_rules import SampledRules
from sparkdml.optim.solvers.stochastic_descent import default_fraction
from sparkdml.optim.solvers.subsampled_newton import sample_fraction

# The solvers that each Param of descent is for.
DESCENT: dict[str, tuple[str, ...]] = {
    "optimizer": (GradientDescent.name, StochasticDescent.name),
    "momentum": (GradientDescent.name, StochasticDescent.name),
    "learningRate": (GradientDescent.name, StochasticDescent.name, LocalDescent.name),
    "stepSize": (GradientDescent.name, StochasticDescent.name, LocalDescent.name),
    "miniBatchFraction": (StochasticDescent.name,),
    "batchSize": (StochasticDescent.name,),
}
WORDS = {"learningRate": "learning_rate", "stepSize": "step_size"}  # what the solvers call them


def check_descent(params: Params) -> None:
    """Raise ParamError where the Params of descent contradict each other or the solver."""
    name, chosen = solver_name(params), _chosen(params)
    for param, value in chosen.items():
        if name not in DESCENT[param]:
            solvers = " or ".join(f"solver={each!r}" for each in DESCENT[param])
            raise ParamError(f"{param}={value!r} is for {solvers}, not {params.getOrDefault('solver')!r}.")
    if "momentum" in chosen and chosen.get("optimizer") not in ("momentum", "nesterov"):
        raise ParamError(f"momentum={chosen['momentum']!r} is for optimizer='momentum' or 'nesterov'.")
    if "batchSize" in chosen and "miniBatchFraction" in chosen:
        raise ParamError(
            f"batchSize={chosen['batchSize']} and miniBatchFraction={chosen['miniBatchFraction']:g} say the same "
            "in two ways: set one of them."
        )
    epochs = params.getOrDefault("warmStartEpochs")
    if epochs and name in (Normal.name, LocalDescent.name):
        raise ParamError(
            f"warmStartEpochs={epochs} is for solvers that begin somewhere and are not local-sgd themselves, such as "
            f"'l-bfgs', not for solver={name!r}."
        )


def stops_early(params: Params) -> bool:
    """Whether some rows validate instead of training."""
    return params.isDefined("validationIndicatorCol") or params.isDefined("validationFraction")


def check_early_stopping(params: Params) -> None:
    """Refuse two choices of the rows that validate, patience without any, and what has no statistics of the others."""
    if params.isDefined("validationIndicatorCol") and params.isDefined("validationFraction"):
        raise ParamError(
            f"validationIndicatorCol={params.getOrDefault('validationIndicatorCol')!r} and validationFraction="
            f"{params.getOrDefault('validationFraction')} both choose the rows that validate: set one of them."
        )
    if (aggregation := params.getOrDefault("aggregation")) in ROBUST and stops_early(params):
        raise ParamError(
            f"aggregation={aggregation!r} has no statistics of the rows that train: take 'weighted_mean', or leave "
            "early stopping out."
        )
    if is_chosen(params, "patience") and not stops_early(params):
        raise ParamError("patience is for early stopping: set validationIndicatorCol or validationFraction too.")


def solver_name(params: Params) -> str:
    """The solver that was chosen; "auto" is left to the data unless the aggregation leaves no choice."""
    name: str = params.getOrDefault("solver")
    inexact = params.getOrDefault("aggregation") != WEIGHTED_MEAN
    return GradientDescent.name if name == "auto" and inexact else ALIASES.get(name, name)


def make_solver(params: Params, name: str, rows: int, coefficients: int, telling: float | None = None) -> Solver:
    """The solver of a name, with the Params that it has, for a problem of so many rows and coefficients.

    So many rows of equal weight and of classes of equal size would be as `telling` as these.
    """
    given: dict[str, Any] = {"tol": params.getOrDefault("tol"), "max_iter": params.getOrDefault("maxIter")}
    chosen = _chosen(params)
    rules = {WORDS.get(param, param): value for param, value in chosen.items() if LocalDescent.name in DESCENT[param]}
    steps = rules | {param: chosen[param] for param in ("optimizer", "momentum") if param in chosen}
    if name == LocalDescent.name:
        return LocalDescent(**given, **rules)
    if name == SubsampledNewton.name:
        fraction = sample_fraction(rows if telling is None else telling, coefficients)
        return SubsampledNewton(**given, fraction=fraction, seed=params.getOrDefault("seed"))
    if name == StochasticDescent.name:
        size = chosen.get("batchSize", 0) / max(rows, 1)
        fraction = chosen.get("miniBatchFraction") or min(size, 1.0) or default_fraction(rows, coefficients)
        given |= {"fraction": fraction, "seed": params.getOrDefault("seed")}
        return SampledRules(**given, **steps) if steps else StochasticDescent(**given)
    robust = name == GradientDescent.name and params.getOrDefault("aggregation") in ROBUST
    if robust and not steps.keys() & ROBUST_DESCENT.keys():
        steps |= ROBUST_DESCENT
    return RuleDescent(**given, **steps) if steps else SOLVERS[name](**given)


def telling_rows(statistics: Statistics, problem: Problem) -> float:
    """How many rows of equal weight, and of classes of equal size, would tell about as much.

    Unequal weights count as in Kish's effective size of a sample; classes by the root of the information of a row, so
    that a sample has enough of a rare class without having all of the others.
    """
    return float(np.sqrt(problem.information)) / max(statistics.concentration, np.finfo(float).tiny)


def begins_warm(params: Params) -> bool:
    """Whether something is to run before the solver."""
    return bool(params.getOrDefault("warmStartEpochs"))


def warm_solver(params: Params, problem: Problem) -> LocalDescent | None:
    """What is to run before the solver, for the Param warmStartEpochs; SolverError where it cannot."""
    if not begins_warm(params):
        return None
    epochs = params.getOrDefault("warmStartEpochs")
    solver = LocalDescent(tol=params.getOrDefault("tol"), max_iter=epochs)
    if problem.penalty.has_box or solver.refusal(problem):
        why = "bounds" if problem.penalty.has_box else f"the loss {problem.loss.name!r}, whose curvature has no bound"
        raise SolverError(f"warmStartEpochs={epochs} is for local-sgd, which cannot take {why}: leave it out.")
    return solver


def _chosen(params: Params) -> dict[str, Any]:
    """The Params of descent that the user set."""
    defined = {param: params.getOrDefault(param) for param in DESCENT if params.isDefined(param)}
    return {param: value for param, value in defined.items() if (param, value) != ("optimizer", "auto")}
