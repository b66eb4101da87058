"""How sure the coefficients are: what statsmodels 0.15 says, what must hold of every family, what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Rows, random_features
from pyspark.sql import DataFrame, SparkSession

from sparkdml.classification import LogisticRegression
from sparkdml.engine.data import LocalData
from sparkdml.errors import ConvergenceWarning, ParamError, SolverError, StatisticsError
from sparkdml.inference import STANDARD_ERRORS, Inference
from sparkdml.regression import GammaRegression, GeneralizedLinearRegression, LinearRegression, PoissonRegression
from sparkdml.summary import ALL_SHOWN, MOST_SHOWN, coefficient_rows
from sparkdml.text import align, with_points_in_line

DIABETES = Path(__file__).resolve().parents[1] / "data" / "diabetes.csv"
TABLE = np.loadtxt(DIABETES, delimiter=",", skiprows=1)
X, TARGET = TABLE[:, :4], TABLE[:, -1]
WEIGHT = 1.0 + np.arange(len(TARGET)) % 3

FAMILIES: dict[str, Callable[..., Any]] = {
    "linear": LinearRegression,
    "logistic": LogisticRegression,
    "counts": PoissonRegression,
}
PROBIT = GeneralizedLinearRegression(family="binomial", link="probit")
LABEL = {"linear": TARGET, "logistic": (TARGET > 140.0).astype(float), "counts": TARGET}
every_family = pytest.mark.parametrize("family", FAMILIES)


def fitted(family: str, rows: Rows | None = None, **params: Any) -> Any:
    """A fit of the four columns, to the end."""
    data: Any = (rows or Rows(X, LABEL[family])).local(3)
    return FAMILIES[family](**{"tol": 1e-12, "maxIter": 500, **params}).fit(data)


# statsmodels.api: with A = add_constant(X, prepend=False), OLS(y, A), WLS(y, A, weights=WEIGHT), Logit(c, A), each
# .fit(cov_type=..., use_t=True of the first two, tol=1e-14 of the last).bse; GLM(c, A, Binomial(), freq_weights=WEIGHT)
# for the last line. Its Logit takes HC0 for HC1.
STATSMODELS = [
    ("linear", False, "classical", [0.232909163665293, 5.921866479148368, 0.705147743059947, 0.239259238501469]),
    ("linear", False, "HC0", [0.215304308799157, 5.768462121008247, 0.716452566256122, 0.233897085035594]),
    ("linear", False, "HC1", [0.216532523604755, 5.801368617966299, 0.7205396077756, 0.235231363315621]),
    ("linear", True, "classical", [0.231330889733504, 5.942605458507749, 0.716803351577639, 0.238113317853228]),
    ("linear", True, "HC0", [0.225717453755126, 6.29651074148576, 0.755231155889211, 0.262730789213433]),
    ("linear", True, "HC1", [0.227005070896326, 6.33242951969988, 0.759539411922199, 0.264229550882432]),
    ("logistic", False, "classical", [0.009169159529223, 0.233416354137053, 0.031725566396833, 0.009889701240643]),
    ("logistic", False, "HC0", [0.009170808135768, 0.228828680173188, 0.032446606788589, 0.009809562588547]),
    ("logistic", True, "classical", [0.006386376929233, 0.162825387873118, 0.022221432228834, 0.006759801357043]),
]
INTERCEPTS = [22.778199743230083, 19.113940542893992, 19.222977026645957]
INTERCEPTS += [22.252355871294714, 21.536154264011667, 21.659008393918477]
INTERCEPTS += [1.102520651233504, 1.076360037515092, 0.731481081373272]


@pytest.mark.parametrize(("case", "intercept"), list(zip(STATSMODELS, INTERCEPTS, strict=True)))
def test_standard_errors_are_those_of_statsmodels(case: tuple, intercept: float) -> None:
    family, weighted, kind, errors = case
    rows = Rows(X, LABEL[family], WEIGHT if weighted else None)
    for solver in ("newton", "irls", "l-bfgs"):
        summary = fitted(family, rows, solver=solver, computeStatistics=True, standardErrors=kind).summary
        np.testing.assert_allclose(summary.coefficientStandardErrors, [*errors, intercept], rtol=1e-8)


# GLM(y, A, Gamma(Log())) and GLM(c, A, Binomial(Probit())), whose links are not canonical: the same way, with cov_type.
UNCANONICAL = [
    (
        GammaRegression(),
        TARGET,
        "classical",
        [0.001622746913686, 0.041259392293001, 0.004912972532879, 0.001666989760039],
    ),
    (GammaRegression(), TARGET, "HC0", [0.001506683417218, 0.040608944723938, 0.004572480544244, 0.001519457574118]),
    (
        PROBIT,
        LABEL["logistic"],
        "classical",
        [0.005438838103036, 0.138283843492171, 0.01814826372039, 0.005768940276006],
    ),
    (PROBIT, LABEL["logistic"], "HC0", [0.005398465550447, 0.134765224584432, 0.018225507864611, 0.005701822314921]),
]


@pytest.mark.parametrize(("base", "label", "kind", "errors"), UNCANONICAL)
def test_standard_errors_of_other_links_are_those_of_statsmodels(
    base: Any, label: np.ndarray, kind: str, errors: list[float]
) -> None:
    for solver in ("newton", "l-bfgs"):
        asked = {"solver": solver, "standardErrors": kind, "computeStatistics": True, "tol": 1e-10, "maxIter": 100}
        found = base.copy().setParams(**asked).fit(Rows(X, label).local(3)).summary.coefficientStandardErrors
        np.testing.assert_allclose(found[:-1], errors, rtol=1e-8)


def test_p_values_and_intervals_are_those_of_statsmodels() -> None:
    """The same fits' .pvalues and .conf_int(0.1)[0]: Student's t of OLS, the normal distribution of Logit."""
    linear, logistic = fitted("linear").summary, fitted("logistic", solver="newton").summary
    expected = [5.616622376074190e-01, 8.696029769945580e-02, 5.342369573714693e-29, 4.245774539995005e-09]
    np.testing.assert_allclose(linear.pValues, [*expected, 5.061620668258154e-17], rtol=1e-9)
    np.testing.assert_allclose(linear.confidenceIntervals(0.9)[0], [-0.248637409478739, 0.519193280800559], rtol=1e-9)
    expected = [6.541400049198935e-01, 5.152335481889755e-02, 7.584996290341116e-13, 6.059054349412127e-06]
    np.testing.assert_allclose(logistic.pValues, [*expected, 1.193101201527699e-18], rtol=1e-8)
    low_high = [-1.097397423868993e-02, 1.918987637678836e-02]
    np.testing.assert_allclose(logistic.confidenceIntervals(level=0.9)[0], low_high, rtol=1e-9)


@every_family
@pytest.mark.parametrize("kind", STANDARD_ERRORS)
@pytest.mark.parametrize("params", [{}, {"fitIntercept": False}, {"regParam": 0.1}], ids=str)
def test_every_solver_knows_the_same(family: str, kind: str, params: dict) -> None:
    solvers = ["newton", "l-bfgs", *(["normal"] if family == "linear" else [])]
    first, *others = (
        fitted(family, solver=solver, standardErrors=kind, computeStatistics=True, **params).summary
        for solver in solvers
    )
    for other in others:
        np.testing.assert_allclose(other.coefficientStandardErrors, first.coefficientStandardErrors, rtol=1e-7)


@every_family
@pytest.mark.parametrize("kind", STANDARD_ERRORS)
def test_units_of_columns_are_units_of_standard_errors(family: str, kind: str) -> None:
    """Far columns too: the shift keeps their digits."""
    scale = np.array([1e3, 1.0, 1e-3, 10.0])
    moved = Rows(X * scale + np.array([1e6, -1e3, 0.0, 0.0]), LABEL[family])
    expected = np.array(fitted(family, standardErrors=kind, solver="newton").summary.coefficientStandardErrors)[:4]
    found = np.array(fitted(family, moved, standardErrors=kind, solver="newton").summary.coefficientStandardErrors)[:4]
    np.testing.assert_allclose(found * scale, expected, rtol=1e-7)


@every_family
@pytest.mark.parametrize("kind", STANDARD_ERRORS)
def test_rows_far_from_each_other_in_storage_know_the_same(family: str, kind: str) -> None:
    expected = fitted(family, standardErrors=kind, solver="newton").summary.coefficientStandardErrors
    sparse = fitted(family, Rows(X, LABEL[family]).sparse, standardErrors=kind, solver="newton").summary
    np.testing.assert_allclose(sparse.coefficientStandardErrors, expected, rtol=1e-8)


def test_robust_errors_are_about_the_classical_ones_where_these_are_right_and_not_where_they_are_not() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40_000, 2))
    alike, uneven = A @ [1.0, 2.0] + rng.normal(size=40_000), A @ [1.0, 2.0] + A[:, 0] * rng.normal(size=40_000)
    errors = {
        (name, kind): np.array(
            fitted("linear", Rows(A, label), standardErrors=kind).summary.coefficientStandardErrors[:2]
        )
        for name, label in (("alike", alike), ("uneven", uneven))
        for kind in ("classical", "HC1")
    }
    np.testing.assert_allclose(errors["alike", "HC1"], errors["alike", "classical"], rtol=0.03)
    # the variance of the first coefficient is E x^4 / n = 3 / n, of the second 1 / n
    np.testing.assert_allclose(errors["uneven", "HC1"] * np.sqrt(40_000), np.sqrt([3.0, 1.0]), rtol=0.05)
    assert errors["uneven", "classical"][0] < 0.65 * errors["uneven", "HC1"][0]


def test_newton_and_normal_know_the_classical_errors_without_a_pass_and_others_take_one() -> None:
    for family, solver, more in (("linear", "normal", 0), ("logistic", "newton", 0), ("logistic", "l-bfgs", 1)):
        plain = fitted(family, solver=solver).summary
        asked = fitted(family, solver=solver, computeStatistics=True).summary
        assert asked.passes == plain.passes + more
        assert fitted(family, solver=solver, standardErrors="HC1").summary.passes == plain.passes + 1
        if more:
            with pytest.raises(StatisticsError, match="computeStatistics=True"):
                _ = plain.coefficientStandardErrors
        else:
            assert plain.coefficientStandardErrors == asked.coefficientStandardErrors


def test_fits_together_share_the_pass_for_their_standard_errors() -> None:
    data = Rows(X, LABEL["logistic"]).local()
    base = LogisticRegression(solver="l-bfgs", tol=1e-12, standardErrors="HC0")
    maps: Any = [{base.regParam: strength} for strength in (0.0, 0.1, 1.0)]
    together = base.fit(data, maps)  # type: ignore[arg-type]
    assert data.passes == max(model.summary.passes for model in together)
    for model, each in zip(together, maps, strict=True):
        alone = base.copy(each).fit(Rows(X, LABEL["logistic"]).local())  # type: ignore[arg-type]
        found = model.summary.coefficientStandardErrors
        np.testing.assert_allclose(found, alone.summary.coefficientStandardErrors, rtol=1e-10)


def test_dependent_columns_have_no_standard_errors() -> None:
    twice = Rows(np.column_stack([X, X[:, 0]]), LABEL["logistic"])
    for kind in STANDARD_ERRORS:
        for solver in ("newton", "l-bfgs"):
            model = fitted("logistic", twice, solver=solver, computeStatistics=True, standardErrors=kind)
            with pytest.raises(StatisticsError, match="linearly independent"):
                _ = model.summary.coefficientStandardErrors
            assert "(no standard errors: " in str(model.summary)


@every_family
@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"regParam": 0.1, "elasticNetParam": 0.5}, "L1 penalty"),
        ({"aggregation": "median"}, "aggregation='median'"),
    ],
)
@pytest.mark.parametrize("asked", [{"computeStatistics": True}, {"standardErrors": "HC1"}], ids=str)
def test_what_has_no_standard_errors_is_refused_before_any_pass(
    family: str, params: dict, match: str, asked: dict
) -> None:
    data = Rows(X, LABEL[family]).local(4)
    with pytest.raises(ParamError, match=match):
        FAMILIES[family](**params, **asked).fit(data)
    assert data.passes == 0


def test_repeated_rows_have_no_standard_errors() -> None:
    with pytest.raises(ParamError, match="oversample"):
        LogisticRegression(sampling="oversample", computeStatistics=True)._check_params()


def test_bounds_leave_no_standard_errors() -> None:
    bounded: Any = {"lowerBoundsOnIntercepts": [0.0], "regParam": 0.1}
    with pytest.raises(ParamError, match="with bounds"):
        fitted("logistic", computeStatistics=True, **bounded)
    with pytest.raises(StatisticsError, match="no bounds"):
        _ = fitted("logistic", solver="newton", **bounded).summary.tValues


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 95.0])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"level={level}"):
        fitted("linear").summary.confidenceIntervals(level)


@pytest.mark.parametrize("freedom", [1.0, 7.0, np.inf])
def test_an_interval_has_the_estimates_that_its_level_does_not_reject(freedom: float) -> None:
    known = Inference(np.array([1.5]), np.array([0.7]), freedom)
    (p,) = known.p_values
    ((low, high),) = known.confidence_intervals(1.0 - p)
    np.testing.assert_allclose([low, high], [0.0, 3.0], atol=1e-9)


@every_family
def test_a_matrix_that_the_driver_cannot_hold_is_refused_before_any_pass(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Rows(random_features(100, 30, 1.0), np.arange(100.0) % 2).local()
    monkeypatch.setattr(LocalData, "fits_driver", lambda self, size: size < 1000)
    for params in ({"solver": "newton"}, {"solver": "l-bfgs", "computeStatistics": True}):
        with pytest.raises(SolverError, match=r"driver.*solver='l-bfgs'"):
            FAMILIES[family](**params).fit(data)
    assert data.passes == 0
    assert FAMILIES[family](regParam=0.1).fit(data).summary.solver == "l-bfgs"


def test_auto_is_newton_where_its_passes_cost_less() -> None:
    rows, base = Rows(random_features(2_000, 20, 1.0), np.arange(2_000.0) % 2), LogisticRegression(regParam=0.1)
    assert base.fit(rows.local()).summary.solver == "newton"  # type: ignore[arg-type]
    few, free = rows.take(np.arange(100)).local(), base.copy({base.regParam: 0.0})
    assert base.fit(few).summary.solver == "newton"  # type: ignore[arg-type]
    with pytest.warns(ConvergenceWarning):
        assert free.fit(few).summary.solver == "l-bfgs"  # type: ignore[arg-type]
    watched = Rows(rows.features, rows.label, fold=(np.arange(2_000) % 5 == 0).astype(np.int32)).local()
    early = base.copy({base.validationIndicatorCol: "v"})
    assert early.fit(watched).summary.solver == "l-bfgs"  # type: ignore[arg-type]


def spark_rows(spark: SparkSession, family: str) -> DataFrame:
    rows = [[*map(float, x), float(y)] for x, y in zip(X, LABEL[family], strict=True)]
    return spark.createDataFrame(rows, ["age", "sex", "bmi", "pressure", "label"])


@every_family
def test_the_table_names_features_and_survives_save_and_load(spark: SparkSession, family: str, tmp_path: Path) -> None:
    names = ["age", "sex", "bmi", "pressure"]
    df = spark_rows(spark, family)
    model = FAMILIES[family](featuresCols=names, solver="newton", standardErrors="HC1").fit(df)
    model.save(str(tmp_path / "model"))
    loaded = type(model).load(str(tmp_path / "model"))
    for summary in (model.summary, loaded.summary):
        table = str(summary).split("\n\n")[0].splitlines()
        letter = "t" if family == "linear" else "z"
        assert f"{letter} value" in table[0]
        assert f"Pr(>|{letter}|)" in table[0]
        assert [line.split()[0] for line in table[1:]] == [*names, "(intercept)"]
        assert "Std. error (HC1)" in table[0]
    assert loaded.summary.coefficientStandardErrors == model.summary.coefficientStandardErrors
    assert loaded.summary.confidenceIntervals() == model.summary.confidenceIntervals()
    with pytest.raises(StatisticsError, match=r"model\.summary"):
        _ = model.evaluate(df).tValues


def test_decimal_points_are_in_line() -> None:
    estimates = np.array([0.5, -1234.5, 3.0, -2.5e-7, 1e9])
    rows = coefficient_rows([*"abcde"], estimates, Inference(estimates, 4.0 * np.square(estimates) + 0.1, np.inf))
    lines = align(with_points_in_line(rows)).splitlines()
    for column in (1, 2):
        cells = [line.split()[column] for line in lines[1:]]
        whole = [re.match(r"-?\d+", cell).end() for cell in cells]  # type: ignore[union-attr]
        places = zip(lines[1:], cells, whole, strict=True)
        assert len({line.index(f" {cell}") + end for line, cell, end in places}) == 1
    assert {len(line) for line in lines[1:]} == {len(lines[0])}


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("known", [False, True])
def test_the_table_of_many_features_has_the_most_telling(classes: int, known: bool) -> None:
    d = ALL_SHOWN + 1
    rng = np.random.default_rng(classes)
    features = rng.normal(size=(4 * d, d)) * np.linspace(0.1, 10.0, d)  # small coefficients may tell most
    edges = [0.0] if classes == 1 else [-1.0, 1.0]
    label = np.digitize(features[:, -9:] @ rng.normal(size=9) / 9.0 + rng.normal(size=4 * d), edges)
    data: Any = Rows(features, label.astype(float)).local()
    fit: Any = LogisticRegression(regParam=0.01, computeStatistics=known, solver="l-bfgs").fit(data)
    table, rest = str(fit.summary).rsplit("\n\n", 1)
    *lines, note = [line for line in table.splitlines() if line and "sum to zero" not in line]
    names = [line.split()[0] for line in lines if "(intercept)" not in line and "Class" not in line.split()[:1]]
    of_each = fit.summary.tValues[:-classes] if known else np.ravel(fit._weights.T)
    telling = np.abs(np.reshape(of_each, (d, classes))).max(axis=1)
    tables = classes if known else 1
    shown = MOST_SHOWN // tables
    expected = [fit.featureNames[j] for j in np.sort(np.argsort(-telling)[:shown])]
    assert names[-shown:] == expected
    assert len(lines) == (shown + 2) * tables
    by = "z value" if known else "coefficient"
    assert note == f"({shown} of {d} features, those of the largest {by}; {d} are not zero)"
    assert "Solver" in rest


def test_stars_do_not_move_the_p_values() -> None:
    inference = Inference(np.array([0.0, 2.5, 4e9, 1.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.inf)
    lines = align(coefficient_rows([*"abcd"], inference.estimates, inference)).splitlines()
    end = lines[0].index("Pr(>|z|)") + len("Pr(>|z|)")
    assert [line[:end].split()[-1] for line in lines[1:]] == ["1.0000", "0.0124", "<2e-16", "-"]
    assert [line[end:].strip() for line in lines[1:]] == ["", "*", "***", ""]
    assert "4e+09" in lines[3]
