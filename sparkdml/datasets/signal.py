"""What the rows of all partitions share: the scales, the drift and the coefficients, and the intercept.

Sums are NumPy's, not BLAS's, whose last bits depend on the number of its threads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkdml.datasets.recipe import Recipe, partition_rows

MARGIN_DEVIATION = 2.0  # of a classification: the best classifier of balanced classes is right 4 times in 5
SAMPLED_MARGINS = 4096  # rows that stand for all where an expected share of positives is computed
SAMPLED_CELLS = 1 << 22  # at most, among these rows

TRUTH, INTERCEPT, MARGINS, ROWS = range(4)  # first part of the key of each stream of random numbers


@dataclass(frozen=True)
class Truth:
    """The model that the labels were drawn from.

    Attributes
    ----------
    recipe : Recipe
    intercept : float
    coefficients : (d,) array, in the order of the features.
    """

    recipe: Recipe
    intercept: float
    coefficients: np.ndarray

    @property
    def named(self) -> dict[str, float]:
        """The coefficients by name."""
        return dict(zip(self.recipe.feature_names, self.coefficients.tolist(), strict=True))


def truth(recipe: Recipe) -> Truth:
    """The true intercept and coefficients of a recipe's table; computed here, without Spark.

    Examples
    --------
    >>> recipe = Recipe(rows=1000, features=4, informative=0.5, seed=3)
    >>> int(np.count_nonzero(truth(recipe).coefficients)), list(truth(recipe).named)
    (2, ['x0', 'x1', 'x2', 'x3'])
    """
    signal = Signal.of(recipe)
    return Truth(recipe, intercept_of(recipe, signal), signal.coefficients)


@dataclass(frozen=True)
class Signal:
    """Of each feature: its scale, the direction in which it drifts, its effect in units of its scale; (d,) each."""

    scales: np.ndarray
    signs: np.ndarray
    effects: np.ndarray

    @classmethod
    def of(cls, recipe: Recipe) -> "Signal":
        """The signal of a recipe; its variance, drift aside, is what the kind of table wants."""
        d, density = recipe.features, recipe.density
        generator = generator_of(recipe.seed, TRUTH)
        signs = generator.choice([-1.0, 1.0], d)
        effects = np.zeros(d)
        count = max(1, round(recipe.informative * d))
        effects[generator.permutation(d)[:count]] = generator.standard_normal(count)
        squares = np.square(effects).sum()
        variance = density * squares + density**2 * recipe.correlation * (effects.sum() ** 2 - squares)
        deviation = MARGIN_DEVIATION if recipe.kind == "classification" else 1.0
        scales = recipe.scale_spread ** np.linspace(-0.5, 0.5, d)
        return cls(scales, signs, effects * (deviation / np.sqrt(variance)))

    @property
    def coefficients(self) -> np.ndarray:
        """w, (d,)."""
        return self.effects / self.scales


def intercept_of(recipe: Recipe, signal: Signal) -> float:
    """Of a regression a standard normal number; of a classification the root of E[P(y = 1)] = positives."""
    if recipe.kind == "regression":
        return float(generator_of(recipe.seed, INTERCEPT).standard_normal())
    from scipy.optimize import brentq  # here, because workers have no use for it

    nodes = np.linspace(-9.0, 9.0, 91)  # the trapezoidal rule is exact to rounding for smooth functions that vanish
    weights = np.exp(-np.square(nodes) / 2)
    weights /= weights.sum()
    means, deviations = _margins(recipe, signal)
    margins = means[:, None] + deviations[:, None] * nodes
    wanted = (recipe.positives - recipe.noise) / (1 - 2 * recipe.noise)  # before the flips

    def excess(intercept: float) -> float:
        return float((logistic(intercept + margins) * weights).sum(axis=1).mean() - wanted)

    bound = np.abs(margins).max() + abs(np.log(wanted / (1 - wanted))) + 1
    return float(brentq(excess, -bound, bound, xtol=1e-12))


def _margins(recipe: Recipe, signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations of the margins of sampled rows, the intercept aside.

    Given its partition and which of its cells are not zero, the margin of a row is normal. The partitions are drawn
    evenly by rows, the cells at random.
    """
    terms = signal.signs * signal.effects, signal.effects, np.square(signal.effects)
    if recipe.density == 1:
        count = SAMPLED_MARGINS if recipe.drift else 1
        moved, total, squares = (np.full(count, term.sum()) for term in terms)
    else:
        count = int(np.clip(SAMPLED_CELLS / (recipe.features * recipe.density), 16, SAMPLED_MARGINS))
        generator = generator_of(recipe.seed, MARGINS)
        rows, columns = nonzeros(generator, count, recipe.features, recipe.density)
        moved, total, squares = (np.bincount(rows, term[columns], count) for term in terms)
    ends = np.cumsum(partition_rows(recipe))
    partitions = np.searchsorted(ends, (np.arange(count) + 0.5) / count * recipe.rows)
    means = drift_of(recipe, partitions) * moved
    return means, np.sqrt((1 - recipe.correlation) * squares + recipe.correlation * np.square(total))


def drift_of(recipe: Recipe, partition: Any) -> Any:
    """How far the features' means have moved in a partition, in standard deviations."""
    return recipe.drift * (partition / max(len(partition_rows(recipe)) - 1, 1) - 0.5)


def logistic(margin: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * margin)


def nonzeros(generator: np.random.Generator, rows: int, width: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers of the cells that are not zero, in order: each cell with probability `density`.

    The gaps between them are drawn, so the cost is that of the nonzeros and not of the cells.
    """
    last, cells, found = -1, rows * width, []
    while last < cells:
        expected = (cells - last) * density
        gaps = generator.geometric(density, int(expected + 4 * np.sqrt(expected)) + 16)
        found.append(last + np.cumsum(gaps))
        last = int(found[-1][-1])
    positions = np.concatenate(found)
    return np.divmod(positions[: np.searchsorted(positions, cells)], width)


def generator_of(seed: int, *key: int) -> np.random.Generator:
    """A generator that is a function of the seed and the key alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
