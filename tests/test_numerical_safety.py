"""Numbers at the ends of float64's range: every estimator gives the right model, or says what to change. No Spark.

Warnings are errors, NumPy's too; those that the library publishes are told by name.
"""

import re
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from estimators import CASES, ESTIMATORS, Family, N, X, margins, predictions, weights
from pyspark.ml.linalg import Vectors

from sparkdml import LocalData
from sparkdml.errors import ConvergenceWarning, DataError, DataWarning, DivergenceError

EXACT = {"tol": 1e-8, "maxIter": 500}
KINKED = {"tol": 1e-6, "maxIter": 500}  # the same rounding of margins leaves a narrow loss fewer digits


def fitted(family: Family, features: np.ndarray, label: np.ndarray, weight: Any = None, **params: Any) -> Any:
    """The model of rows; warnings of the data, and none else, are let pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return family.make(**(KINKED if family.kinked else EXACT) | params).fit(LocalData(features, label, weight))


PLAIN: dict[tuple[str, str], Any] = {}


def plain(name: str, solver: str) -> Any:
    """The model of the rows as they are."""
    if (name, solver) not in PLAIN:
        PLAIN[name, solver] = fitted(ESTIMATORS[name], X, ESTIMATORS[name].labels, solver=solver)
    return PLAIN[name, solver]


def assert_alike(family: Family, found: np.ndarray, expected: np.ndarray, label: np.ndarray, unit: float = 1.0) -> None:
    """Equal margins, to 1e-5 of a unit; of a loss with a kink, which may have more than one minimum, equal losses."""
    if family.kinked:
        found, expected = (np.mean(family.loss(label, z)) for z in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=KINKED["tol"])
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * unit)


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_no_model_is_better_than_the_fitted_one(name: str, solver: str) -> None:
    family = ESTIMATORS[name]
    best, close = family.best(X, family.labels), KINKED["tol"] if family.kinked else 1e-10
    assert family.objective(plain(name, solver), X, family.labels) <= best + close * abs(best)


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_without_features_the_intercept_is_all_there_is(name: str, solver: str) -> None:
    family, none = ESTIMATORS[name], X[:, :0]
    model, best = fitted(family, none, family.labels, solver=solver), family.best(none, family.labels)
    assert family.objective(model, none, family.labels) <= best + (KINKED["tol"] if family.kinked else 1e-10) * abs(
        best
    )


# What changes no margin: the units and the origin of the columns, columns that tell nothing new, the unit of weights.

ONES = np.ones(N)
ALIKE: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
    "columns times 1e150": (X * 1e150, None),
    "columns times 1e-150": (X * 1e-150, None),
    "columns of very different units": (X * [1e-150, 1.0, 1e150], None),
    "columns about 1e6": (X + 1e6, None),
    "a constant column": (np.column_stack([X, np.full(N, 1e6)]), None),
    "a column twice": (np.column_stack([X, X[:, 0]]), None),
    "a sum of columns": (np.column_stack([X, X @ [1.0, 2.0, 3.0] - 7.0]), None),
    "weights of 1e-300": (X, ONES * 1e-300),
    "weights of 1e300": (X, ONES * 1e300),
    "rows of weight 1e-300 beside those of weight 1e5": (np.vstack([X, X[::-1]]), np.repeat([1e5, 1e-300], N)),
}


@pytest.mark.thinned
@pytest.mark.parametrize("change", ALIKE)
@pytest.mark.parametrize(("name", "solver"), CASES)
def test_what_tells_nothing_new_changes_no_margin(name: str, solver: str, change: str) -> None:
    features, weight = ALIKE[change]
    label = np.resize(ESTIMATORS[name].labels, len(features))
    found = margins(fitted(ESTIMATORS[name], features, label, weight, solver=solver), features)
    assert_alike(ESTIMATORS[name], found[:N], margins(plain(name, solver), X), label[:N])


UNITS = [
    (name, solver, factor)
    for name, solver in CASES
    for factor in (1e-150, 1e-6, 1e6, 1e150)
    if ESTIMATORS[name].scaled and (1e-6 <= factor <= 1e6 or not ESTIMATORS[name].log_link)
]


@pytest.mark.parametrize(("name", "solver", "factor"), UNITS)
def test_labels_may_have_any_unit(name: str, solver: str, factor: float) -> None:
    family = ESTIMATORS[name]
    found = margins(fitted(family, X, family.labels * factor, solver=solver), X)
    assert family.scaled is not None
    expected = family.scaled(margins(plain(name, solver), X), factor)
    assert_alike(family, found, expected, family.labels * factor, unit=float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("name", "solver"), [case for case in CASES if ESTIMATORS[case[0]].log_link and ESTIMATORS[case[0]].scaled]
)
def test_far_units_behind_a_log_link_are_fitted_or_told(name: str, solver: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with suppress(DivergenceError):
            fitted(ESTIMATORS[name], X, np.abs(ESTIMATORS[name].labels) * 1e100, solver=solver, maxIter=100)


# What is left to no solver: numbers whose squares, or sums, are none.

BEYOND: dict[str, tuple[np.ndarray, np.ndarray | None, str]] = {
    "a column of 1e200": (X * [1.0, 1e200, 1.0], None, "column 'x1' has 60 values too large .*e.20."),
    "two values of 1e200": (
        np.where(np.arange(N)[:, None] == [5, -1, 7], 1e200, X),
        None,
        r"column 'x0' has 1 value too large to be fitted .such as 1e.201., since its",
    ),
    "a column of 1e-200": (X * [1.0, 1e-200, 1.0], None, "column 'x1' varies, between .*squares underflow"),
    "weights of 1e308": (X, ONES * 1e308, "column 'weight' gives 60 rows weights that sum to inf"),
    "a weight of 1e308": (X, np.where(np.arange(N) == 0, 1e308, 1.0), "weights, 1e.308 in all, overflows"),
    "weights of 1e-320": (X, ONES * 1e-320, "weights that sum to .*e-319"),
}


@pytest.mark.parametrize("case", BEYOND)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_no_sum_can_hold_is_refused(name: str, case: str) -> None:
    features, weight, told = BEYOND[case]
    with pytest.raises(DataError, match=told):
        ESTIMATORS[name].make().fit(LocalData(10.0 * features, ESTIMATORS[name].labels, weight))


@pytest.mark.parametrize("name", [name for name, family in ESTIMATORS.items() if family.scaled])
@pytest.mark.parametrize(("factor", "told"), [(1e200, "'label' has .* too large"), (1e-200, "'label' varies")])
def test_labels_whose_squares_are_no_numbers_are_refused(name: str, factor: float, told: str) -> None:
    with pytest.raises(DataError, match=told):
        ESTIMATORS[name].make().fit(LocalData(X, ESTIMATORS[name].labels * factor))


# What can be fitted but is hardly meant.


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_column_of_rounding_and_a_row_of_all_the_weight_are_told(name: str) -> None:
    family = ESTIMATORS[name]
    steps = np.column_stack([X, 1e6 + 1e-10 * np.round(X[:, 0])])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        family.make().fit(LocalData(steps, family.labels))
    assert {each.category for each in caught} <= {DataWarning, ConvergenceWarning}  # rounding has no minimum
    message = next(str(each.message) for each in caught if each.category is DataWarning)
    assert re.search("column 'x3' varies by .* about 1e.06, which is mostly rounding", message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = family.make().fit(LocalData(X, family.labels, np.where(np.arange(N) == 0, 1e300, 1.0)))
    assert {each.category for each in caught} <= {DataWarning, ConvergenceWarning}
    assert any("one row has all of the weight" in str(each.message) for each in caught)
    assert np.isfinite(margins(model, X)).all()


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_one_label_alone_is_told_and_predicted(name: str, solver: str) -> None:
    family = ESTIMATORS[name]
    for label in family.classes or (float(family.labels[0]),):
        with pytest.warns(DataWarning, match=f"every label is {label:g}"):
            model = family.make(solver=solver).fit(LocalData(X, np.full(N, label)))
        np.testing.assert_allclose(predictions(model, X), label, rtol=1e-6)
        with pytest.warns(DataWarning, match=f"every label is {label:g}"):
            single = family.make(solver=solver).fit(LocalData(X[:1], np.full(1, label)))
        np.testing.assert_allclose(predictions(single, X), label, rtol=1e-6)


@pytest.mark.parametrize(("name", "solver"), [case for case in CASES if ESTIMATORS[case[0]].limits])
@pytest.mark.parametrize("params", [{}, {"regParam": 0.1}], ids=str)
def test_labels_that_no_margin_predicts_are_told_at_once(name: str, solver: str, params: dict[str, Any]) -> None:
    """Instead of a walk to infinity that a ConvergenceWarning ends."""
    family = ESTIMATORS[name]
    for label in family.limits:
        with pytest.warns(DataWarning, match="the intercept stands for an infinite one") as told:
            model = family.make(solver=solver, **params).fit(LocalData(X, np.full(N, label)))
        assert len(told) == 1
        assert not weights(model)[0].any()
        b = weights(model)[1]  # the same whatever solver: one class is 2.2e-16 away from certain, a single one is so
        assert np.ptp([*b, 0.0]) == pytest.approx(0.0 if len(b) < family.outputs - 1 else 36.0437, abs=1e-4)
        assert (model.summary.converged, model.summary.totalIterations) == (True, 0)
        np.testing.assert_allclose(predictions(model, X), label, atol=1e-15)


@pytest.mark.parametrize(("name", "solver"), CASES)
def test_a_row_alone_without_an_intercept_is_no_trouble(
    name: str, solver: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = fitted(ESTIMATORS[name], X[:1], ESTIMATORS[name].labels[:1], solver=solver, fitIntercept=False)
    assert not margins(model, X).any()
    assert capfd.readouterr() == ("", "")  # LAPACK writes of matrices without columns


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("name", "solver"), CASES)
def test_more_columns_than_rows_leave_nothing_unexplained(name: str, solver: str, intercept: bool) -> None:
    family = ESTIMATORS[name]
    wide = np.random.default_rng(3).normal(size=(6, 9))
    label = np.resize(family.classes, 6) if family.classes else family.labels[:6] + family.log_link  # no mean of zero
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of classes that planes separate
        model = fitted(family, wide, label, solver=solver, maxIter=100, tol=1e-9, fitIntercept=intercept)
    np.testing.assert_allclose(predictions(model, wide), label, rtol=1e-5)
    assert str(model.summary)  # errors of less than nothing have no square root


@pytest.mark.parametrize("apart", [1.0, 1e4])
@pytest.mark.parametrize(("name", "solver"), [case for case in CASES if ESTIMATORS[case[0]].classes])
def test_separable_classes_are_separated(name: str, solver: str, apart: float) -> None:
    family = ESTIMATORS[name]
    label = np.resize(family.classes, N)
    far = X + apart * 10.0 * label[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(family, far, label, solver=solver, maxIter=100)
    np.testing.assert_array_equal(predictions(model, far), label)


STARTED = [
    (name, solver)
    for name, solver in CASES
    if solver != "normal" and ESTIMATORS[name].outputs == 1 and not ESTIMATORS[name].log_link
]


@pytest.mark.parametrize(("name", "solver"), STARTED)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_a_start_at_margins_of_ten_thousand_is_left_or_told(name: str, solver: str, size: float) -> None:
    family = ESTIMATORS[name]
    near = plain(name, solver)
    far = type(near)(Vectors.dense(size * near.coefficients.toArray()), near.intercept, near.featureNames)
    assert not np.isnan(predictions(far, X)).any()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = family.make(solver=solver, initialModel=far, maxIter=100, tol=1e-9).fit(LocalData(X, family.labels))
        except DivergenceError:
            return
    assert {each.category for each in caught} <= {ConvergenceWarning}
    assert model.summary.converged == (not caught)
    if model.summary.converged:
        assert_alike(family, margins(model, X), margins(near, X), family.labels, unit=10.0)
