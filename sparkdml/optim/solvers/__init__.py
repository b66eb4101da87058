"""Solvers by name. A new solver is one file and one entry here."""

from sparkdml.optim.solvers.base import (
    Solver,
    State,
    StopReason,
    check_admissible,
    check_aggregation,
    dump_state,
    load_state,
)
from sparkdml.optim.solvers.early_stopping import EarlyStopping
from sparkdml.optim.solvers.gradient_descent import GradientDescent
from sparkdml.optim.solvers.lbfgs import Lbfgs
from sparkdml.optim.solvers.local_descent import LocalDescent
from sparkdml.optim.solvers.newton import Newton
from sparkdml.optim.solvers.normal import Normal
from sparkdml.optim.solvers.smoothing import Smoothing
from sparkdml.optim.solvers.stochastic_descent import StochasticDescent
from sparkdml.optim.solvers.subsampled_newton import SubsampledNewton

SOLVERS: dict[str, type[Solver]] = {
    solver.name: solver
    for solver in (Normal, Newton, SubsampledNewton, Lbfgs, GradientDescent, StochasticDescent, LocalDescent)
}

ALIASES = {"irls": Newton.name}  # iteratively reweighted least squares: Fisher scoring

__all__ = [
    "ALIASES",
    "SOLVERS",
    "EarlyStopping",
    "GradientDescent",
    "Lbfgs",
    "LocalDescent",
    "Newton",
    "Normal",
    "Smoothing",
    "Solver",
    "State",
    "StochasticDescent",
    "StopReason",
    "SubsampledNewton",
    "check_admissible",
    "check_aggregation",
    "dump_state",
    "load_state",
]
