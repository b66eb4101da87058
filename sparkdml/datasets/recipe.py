"""The recipe of a synthetic table: its options, what they may be, and the size of its partitions."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from math import ceil
from numbers import Integral, Real
from typing import Any

import numpy as np

from sparkdml.errors import ParamError

LABEL = "label"
VECTOR = "features"
PARTITION_BYTES = 1 << 26
MOST_PARTITIONS = 1_000_000  # each is a task of one Spark job
MOST_COLUMNS = 10_000  # Spark's plans and parquet's footers grow with each column
SPARSE_BELOW = 2 / 3  # a sparse vector takes 12 bytes a nonzero, a dense one 8 a cell


def _option(within: str | tuple[str, ...], doc: str, default: Any = MISSING) -> Any:
    """A field with its meaning and the values it may have: an interval as text, or a few names."""
    return field(default=default, metadata={"within": within, "doc": doc})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a synthetic table is made of.

    ::

        z_ij = sqrt(1 - correlation) e_ij + sqrt(correlation) f_i     e, f standard normal, so corr(z_ij, z_ik) is
                                                                      `correlation`
        x_ij = scale_j (z_ij + drift t_p sign_j)                      with probability `density`, otherwise 0
        m_i  = intercept + sum_j x_ij w_j
        y_i  = m_i + noise eps_i                                      regression; eps standard normal
        y_i  = 1 with probability 1 / (1 + exp(-m_i)), else 0         classification; flipped with probability `noise`

    The scales rise from scale_spread**-0.5 (x0) to scale_spread**0.5; t_p rises from -1/2 in the first partition to
    1/2 in the last; sign_j is -1 or 1. The effects w_j scale_j are normal for the `informative` share of the features
    and 0 for the others, and sum_j x_ij w_j has, leaving the drift aside, standard deviation 1 in a regression (so R^2
    is 1 / (1 + noise^2)) and 2 in a classification (so neither separable nor pure noise). The intercept of a
    classification is the one that makes the expected share of ones `positives`, after flips and drift; with density
    below 1 to about 0.002.

    Copies of rows (`duplicates`) are copies within a batch, label included; feature cells go missing after the label
    was computed.

    Raises
    ------
    ParamError : a value is outside its range, has no effect, or contradicts another.

    Examples
    --------
    >>> Recipe(rows=0, features=5)
    Traceback (most recent call last):
    sparkdml.errors.ParamError: rows is 0 and must be a whole number in [1, 1e15]: number of rows.
    """

    kind: str = _option(("regression", "classification"), "what the label is", "regression")
    rows: int = _option("[1, 1e15]", "number of rows")
    features: int = _option("[1, 2147483647]", "number of features")
    density: float = _option("[1e-9, 1]", "share of the feature cells that are not zero", 1.0)
    noise: float = _option(
        "[0, inf)",
        "regression: standard deviation of the errors, in units of the signal's; classification: share of the labels "
        "that are flipped",
        0.0,
    )
    correlation: float = _option("[0, 1)", "correlation of any two features, before density makes cells zero", 0.0)
    scale_spread: float = _option("[1, inf)", "largest standard deviation of a feature divided by the smallest", 1.0)
    informative: float = _option("(0, 1]", "share of the features whose coefficient is not zero", 1.0)
    positives: float = _option("(0, 1)", "classification: share of the labels that are 1", 0.5)
    missing: float = _option("[0, 1)", "share of the feature cells that are null", 0.0)
    duplicates: float = _option("[0, 1)", "share of the rows that are exact copies of another row", 0.0)
    skew: float = _option("[0, inf)", "the rows of partition k are proportional to (k + 1)**-skew", 0.0)
    drift: float = _option(
        "[0, inf)", "change of each feature's mean from the first partition to the last, in standard deviations", 0.0
    )
    partitions: int | None = _option("[1, 1000000]", "number of partitions; if not given, one per 64 MB", None)
    layout: str = _option(
        ("columns", "vector"), f"features as columns x0, x1, ... or as one vector column {VECTOR!r}", "columns"
    )
    seed: int = _option("[0, inf)", "seed of all random numbers", 0)

    def __post_init__(self) -> None:
        for each in fields(self):
            if (value := getattr(self, each.name)) is not None or each.name != "partitions":
                object.__setattr__(self, each.name, _checked(each, value))
        for wrong, message in _contradictions(self):
            if wrong:
                raise ParamError(message)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns, or those that an estimator gives to the elements of the vector column."""
        pattern = "x{}" if self.layout == "columns" else VECTOR + "[{}]"
        return tuple(map(pattern.format, range(self.features)))

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are sparse vectors."""
        return self.layout == "vector" and self.density < SPARSE_BELOW


def partition_rows(recipe: Recipe) -> np.ndarray:
    """The number of rows of each partition, int64.

    Examples
    --------
    >>> partition_rows(Recipe(rows=700, features=2, skew=1.0, partitions=3)).tolist()
    [382, 191, 127]
    """
    partitions = recipe.partitions or min(ceil(recipe.rows * row_bytes(recipe) / PARTITION_BYTES), MOST_PARTITIONS)
    ends = np.cumsum((1.0 + np.arange(partitions)) ** -recipe.skew)
    return np.diff(np.rint(recipe.rows * (ends / ends[-1])).astype(np.int64), prepend=0)


def row_bytes(recipe: Recipe) -> float:
    """What a row takes in an Arrow batch, in bytes."""
    cells = 12 * recipe.features * recipe.density if recipe.is_sparse else 8 * recipe.features
    return cells + 8 + (16 if recipe.layout == "vector" else 0)


def _checked(option: Field[Any], value: Any) -> Any:
    """The value as a plain Python one; ParamError if it is not among those that the option may have."""
    within, doc = option.metadata["within"], option.metadata["doc"]
    if isinstance(within, tuple):
        good, wanted = value in within, f"one of {', '.join(within)}"
    elif option.type is float:
        good, wanted = isinstance(value, Real) and _is_inside(within, value), f"a number in {within}"
    else:
        good, wanted = isinstance(value, Integral) and _is_inside(within, value), f"a whole number in {within}"
    if not good or isinstance(value, bool):
        raise ParamError(f"{option.name} is {value!r} and must be {wanted}: {doc}.")
    reader: Any = option.type if option.type in (str, float) else int
    return reader(value)  # NumPy's numbers become Python's


def _is_inside(interval: str, value: Any) -> bool:
    """Whether a number is in an interval such as ``[0, 1)``; NaN is in none."""
    low, high = map(float, interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    return above and (value <= high if interval[-1] == "]" else value < high)


def _contradictions(recipe: Recipe) -> Iterator[tuple[bool, str]]:
    """Whether options contradict each other, and what to say then."""
    yield (
        recipe.layout == "vector" and recipe.missing > 0,
        f"missing is {recipe.missing}, but the elements of a vector cannot be null: choose the layout 'columns'.",
    )
    yield (
        recipe.layout == "columns" and recipe.features > MOST_COLUMNS,
        f"features is {recipe.features}, and a table has at most {MOST_COLUMNS} columns: choose the layout 'vector'.",
    )
    yield (
        recipe.kind == "regression" and recipe.positives != 0.5,
        f"positives is {recipe.positives}, but a regression has no positives: choose the kind 'classification'.",
    )
    rarer = min(recipe.positives, 1 - recipe.positives)
    yield (
        recipe.kind == "classification" and recipe.noise >= rarer,
        f"noise is {recipe.noise}, and of a classification it must be in [0, {rarer:g}), below the share of the rarer "
        "label: flips alone would make more of it.",
    )
    for name in ("skew", "drift"):
        yield (
            getattr(recipe, name) > 0 and len(partition_rows(recipe)) == 1,
            f"{name} is {getattr(recipe, name)}, but the table has one partition: set partitions to 2 or more.",
        )
    for name, off in (("correlation", 0.0), ("scale_spread", 1.0)):
        yield (
            getattr(recipe, name) != off and recipe.features == 1,
            f"{name} is {getattr(recipe, name)}, but there is one feature: set features to 2 or more.",
        )
