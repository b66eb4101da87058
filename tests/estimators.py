"""The estimators that the laws of robustness run over. A new family adds one entry to `ESTIMATORS`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyspark.ml.linalg import Vectors
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from sparkdml.classification import LinearSVC, LogisticRegression
from sparkdml.regression import GeneralizedLinearRegression, LinearRegression

N, D = 60, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Z = X @ [1.0, -1.0, 0.5] + 0.3  # the margins that labels are drawn from


@dataclass(frozen=True)
class Family:
    """An estimator as the laws see it.

    Attributes
    ----------
    cls : the class.
    draw : labels from margins (n,) and a generator.
    loss : of a row, of labels (n,) and margins (n,), written down without the library: (n,).
    params : with which it is made; the laws add to them.
    solvers : that it is to be tried with.
    wrong : labels outside of its domain, and what an error says of each; none where every number is a label.
    classes : the labels, of a classifier.
    limits : labels that no finite margin predicts.
    kinked : whether the loss is not smooth, so that it says little of margins near a minimum, which may be many.
    log_link : whether margins are logarithms of means, which have another range than other margins.
    outputs : margins a row; margins are (n, outputs) where there are several.
    scaled : of labels times a number c, the margins: of (margins, c); None where labels have no unit.
    """

    cls: Callable[..., Any]
    draw: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    params: dict[str, Any] = field(default_factory=dict)
    solvers: tuple[str, ...] = ("auto", "l-bfgs", "gd")
    wrong: dict[float, str] = field(default_factory=dict)
    classes: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    scaled: Callable[[np.ndarray, float], np.ndarray] | None = None
    outputs: int = 1
    log_link: bool = False
    kinked: bool = False

    def make(self, **params: Any) -> Any:
        """The estimator, with more Params or others."""
        return self.cls(**{**self.params, **params})

    @property
    def labels(self) -> np.ndarray:
        """Labels of the rows `X`."""
        return self.draw(Z, np.random.default_rng(1))

    def objective(self, model: Any, features: np.ndarray, label: np.ndarray, offset: np.ndarray | float = 0.0) -> float:
        """The mean loss of a model."""
        return float(np.mean(self.loss(label, margins(model, features) + offset)))

    def best(
        self,
        features: np.ndarray,
        label: np.ndarray,
        low: float | None = None,
        high: float | None = None,
        offset: np.ndarray | float = 0.0,
    ) -> float:
        """The smallest mean loss, of coefficients within bounds, by SciPy."""
        A = np.column_stack([features, np.ones(len(features))])
        box = [(low, high)] * (features.shape[1] * self.outputs) + [(None, None)] * self.outputs

        def mean(theta: np.ndarray) -> float:
            return float(np.mean(self.loss(label, (A @ theta.reshape(A.shape[1], -1)).squeeze() + offset)))

        inside = np.clip(np.zeros(len(box)), *np.array(box, float).T)
        smooth = {"method": "L-BFGS-B", "options": {"gtol": 1e-9, "ftol": 1e-15}}
        search = {"method": "Nelder-Mead", "options": {"xatol": 1e-9, "fatol": 1e-14, "maxfev": 20_000}}
        found = minimize(mean, np.nan_to_num(inside), bounds=box, **smooth)
        return float(minimize(mean, found.x, bounds=box, **search).fun)


ESTIMATORS: dict[str, Family] = {
    "linear": Family(
        LinearRegression,
        draw=lambda z, rng: z + rng.normal(size=len(z)),
        loss=lambda y, z: (y - z) ** 2 / 2,
        solvers=("auto", "normal", "newton", "l-bfgs", "gd"),
        scaled=lambda z, c: c * z,
    ),
    "logistic": Family(
        LogisticRegression,
        draw=lambda z, rng: (rng.random(len(z)) < expit(z)).astype(float),
        loss=lambda y, z: np.logaddexp(0.0, z) - y * z,
        params={"family": "binomial"},
        wrong={
            0.5: "1 label other than 0 and 1 (such as 0.5",
            -1.0: "1 label other than 0 and 1 (such as -1",
            3.0: "1 label other than 0 and 1 (such as 3",
        },
        classes=(0.0, 1.0),
        limits=(0.0, 1.0),
    ),
    "multinomial": Family(
        LogisticRegression,
        draw=lambda z, rng: (
            np.argmax(np.column_stack([z, 0.3 - 0.0 * z, -z]) + rng.gumbel(size=(len(z), 3)), axis=1) * 1.0
        ),
        loss=lambda y, z: logsumexp(z, axis=1) - z[np.arange(len(y)), y.astype(int)],
        params={"family": "multinomial"},
        wrong={0.5: "1 label that no class can have (such as 0.5", -1.0: "1 label that no class can have (such as -1"},
        classes=(0.0, 1.0, 2.0),
        limits=(0.0, 1.0, 2.0),
        outputs=3,
    ),
    "support_vectors": Family(
        LinearSVC,
        draw=lambda z, rng: (rng.random(len(z)) < expit(z)).astype(float),
        loss=lambda y, z: np.maximum(0.0, 1.0 - (2.0 * y - 1.0) * z),
        solvers=("auto", "l-bfgs"),
        wrong={
            0.5: "1 label other than 0 and 1 (such as 0.5",
            -1.0: "1 label other than 0 and 1 (such as -1",
            3.0: "1 label other than 0 and 1 (such as 3",
        },
        classes=(0.0, 1.0),
        kinked=True,
    ),
    "median": Family(
        LinearRegression,
        draw=lambda z, rng: z + rng.normal(size=len(z)),
        loss=lambda y, z: np.abs(y - z) / 2.0,
        params={"loss": "quantile"},
        solvers=("auto", "l-bfgs"),
        scaled=lambda z, c: c * z,
        kinked=True,
    ),
    "poisson": Family(
        GeneralizedLinearRegression,
        draw=lambda z, rng: rng.poisson(np.exp(z)).astype(float),
        loss=lambda y, z: np.exp(z) - y * z,
        params={"family": "poisson"},
        solvers=("auto", "l-bfgs"),
        wrong={-1.0: "1 label that no poisson family has (such as -1)"},
        limits=(0.0,),
        scaled=lambda z, c: z + np.log(c),
        log_link=True,
    ),
    "gamma": Family(
        GeneralizedLinearRegression,
        draw=lambda z, rng: rng.gamma(3.0, np.exp(z) / 3.0),
        loss=lambda y, z: y * np.exp(-z) + z,
        params={"family": "gamma", "link": "log"},
        solvers=("auto", "l-bfgs"),
        wrong={
            -1.0: "1 label that no gamma family has (such as -1)",
            0.0: "1 label that no gamma family has (such as 0)",
        },
        scaled=lambda z, c: z + np.log(c),
        log_link=True,
    ),
    "tweedie": Family(
        GeneralizedLinearRegression,
        draw=lambda z, rng: rng.poisson(np.exp(z)) * rng.gamma(3.0, 1.0, len(z)),
        loss=lambda y, z: 2.0 * y * np.exp(-z / 2.0) + 2.0 * np.exp(z / 2.0),
        params={"family": "tweedie", "variancePower": 1.5, "linkPower": 0.0},
        solvers=("auto", "l-bfgs"),
        wrong={-1.0: "1 label that no tweedie family has (such as -1)"},
        limits=(0.0,),
        scaled=lambda z, c: z + np.log(c),
        log_link=True,
    ),
}
CASES = [(name, solver) for name, family in ESTIMATORS.items() for solver in family.solvers]
# One family of each class and number of margins: what packs and saves the others is the same.
TELLING = list({(family.cls, family.outputs): name for name, family in reversed(ESTIMATORS.items())}.values())


def weights(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """The coefficients (C, d) and the intercepts (C,) of a model of C margins."""
    if hasattr(model, "coefficientMatrix"):
        return model.coefficientMatrix.toArray(), model.interceptVector.toArray()
    return model.coefficients.toArray()[None], np.array([model.intercept])


def parameters(model: Any) -> np.ndarray:
    """All numbers of a model."""
    return np.concatenate([part.ravel() for part in weights(model)])


def margins(model: Any, features: np.ndarray) -> np.ndarray:
    """What a model gives each row before its link, (n,), or (n, C) whose rows sum to zero."""
    w, b = weights(model)
    found: np.ndarray = features @ w.T + b
    return found[:, 0] if len(b) == 1 else found - found.mean(axis=1, keepdims=True)


def predictions(model: Any, features: np.ndarray) -> np.ndarray:
    """What `predict` says of each row, (n,)."""
    return np.array([model.predict(Vectors.dense(x)) for x in features])
