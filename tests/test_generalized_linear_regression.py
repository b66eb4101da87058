"""GeneralizedLinearRegression: the models and summaries of pyspark.ml, what statsmodels says, refusals, saving."""

import doctest
import itertools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyspark.ml.regression
import pytest
from problems import Rows, random_features
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import GeneralizedLinearRegression as Oracle
from pyspark.sql import DataFrame, SparkSession

from sparkdml import LocalData, pack
from sparkdml.errors import (
    ColumnError,
    ConvergenceWarning,
    DataError,
    DataWarning,
    DivergenceError,
    ParamError,
    SolverError,
    StatisticsError,
)
from sparkdml.optim.losses import FAMILY_LINKS, GeneralizedLinear, generalized_linear
from sparkdml.regression import (
    GammaRegression,
    GeneralizedLinearRegression,
    GeneralizedLinearRegressionModel,
    LinearRegression,
    PoissonRegression,
    TweedieRegression,
)

N, D = 200, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * [1.0, 2.0, 0.3] + [0.5, 0.0, 1.0]
ETA = X @ [0.4, -0.2, 0.5] + 0.3
S = RNG.exponential(size=N) + 0.1
OFFSET = RNG.normal(size=N) * 0.3
COUNTS = RNG.poisson(np.exp(ETA)).astype(float)
LABELS = {
    "count": COUNTS,
    "share": (RNG.random(N) < 1.0 / (1.0 + np.exp(-ETA))).astype(float),
    "real": ETA + RNG.normal(size=N),
    "amount": np.exp(ETA) * RNG.gamma(2.0, 0.5, N),
    "cost": (0.1 + np.exp(ETA) * RNG.gamma(2.0, 0.5, N)) * (RNG.random(N) < 0.8),
}
EXACT: dict[str, Any] = {"tol": 1e-12, "maxIter": 300}

# Each with its label; what pyspark.ml cannot fit with these labels is left out.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "normal": ("real", {}),
    "normal, log": ("amount", {"link": "log"}),
    "logit": ("share", {"family": "binomial"}),
    "probit": ("share", {"family": "binomial", "link": "probit"}),
    "cloglog": ("share", {"family": "binomial", "link": "cloglog"}),
    "counts": ("count", {"family": "poisson"}),
    "counts, sqrt": ("count", {"family": "poisson", "link": "sqrt"}),
    "gamma, log": ("amount", {"family": "gamma", "link": "log"}),
    "tweedie": ("cost", {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.0}),
    "inverse gaussian": ("amount", {"family": "tweedie", "variancePower": 3.0, "linkPower": 0.0}),
}
OURS_ONLY: dict[str, tuple[str, dict[str, Any]]] = {
    "negative binomial": ("count", {"family": "negativeBinomial"}),
    "negative binomial, sqrt": ("count", {"family": "negativeBinomial", "link": "sqrt", "overdispersion": 0.2}),
}
every_case = pytest.mark.parametrize("case", CASES)
every_model = pytest.mark.parametrize("case", CASES | OURS_ONLY)


def data(label: str, weight: np.ndarray | None = S, offset: np.ndarray | None = None) -> LocalData:
    return LocalData(X, LABELS[label], weight, offset)


def fitted(case: str, weight: np.ndarray | None = S, offset: np.ndarray | None = None, **params: Any) -> Any:
    label, shape = (CASES | OURS_ONLY)[case]
    return GeneralizedLinearRegression(**EXACT | shape | params).fit(data(label, weight, offset))


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> Iterator[DataFrame]:
    rows = zip(X, S, OFFSET, *LABELS.values(), strict=True)
    table = [(Vectors.dense(x), *map(float, rest)) for x, *rest in rows]
    frame = spark.createDataFrame(table, ["features", "weight", "offset", *LABELS]).coalesce(1).cache()
    yield frame
    frame.unpersist(blocking=True)


# Parity with pyspark.ml.


@pytest.mark.extras
@every_case
def test_the_model_and_its_summary_are_those_of_pyspark(case: str, df: DataFrame) -> None:
    """In turn with and without a penalty; with offsets, or else without an intercept where that can be fitted."""
    label, shape = CASES[case]
    place = list(CASES).index(case)
    offset = place // 2 % 2 == 0 and shape.get("link") != "sqrt"
    params = shape | {"regParam": 0.2 * (place % 2 == 0), "fitIntercept": offset or label in ("amount", "count")}
    columns = {"labelCol": label, "weightCol": "weight", **({"offsetCol": "offset"} if offset else {})}
    expected = Oracle(**params, **columns, tol=1e-12, maxIter=200).fit(df)
    found = GeneralizedLinearRegression(**EXACT | params).fit(data(label, S, OFFSET if offset else None))
    np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-6)
    assert found.intercept == pytest.approx(expected.intercept, abs=1e-6)
    ours, theirs = found.summary, expected.summary
    for name in ("deviance", "nullDeviance", "dispersion", "rank", "degreesOfFreedom", "residualDegreeOfFreedomNull"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-6), name
    for name in ("coefficientStandardErrors", "tValues", "pValues"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-5, atol=1e-6, err_msg=name)
    if shape.get("family") not in (
        "tweedie",
        "binomial",
    ):  # it has none of the one, and rounds the weights of the other
        assert ours.aic == pytest.approx(theirs.aic, rel=1e-6)


@pytest.mark.parametrize("case", ["counts"])
def test_scores_residuals_and_evaluations_are_those_of_pyspark(case: str, df: DataFrame) -> None:
    label, shape = CASES[case]
    columns = {"labelCol": label, "weightCol": "weight", "offsetCol": "offset", "linkPredictionCol": "z"}
    expected = Oracle(**shape, **columns, tol=1e-12, maxIter=200).fit(df)
    found = GeneralizedLinearRegression(**EXACT, **shape, **columns).fit(df)
    ours, theirs = (model.transform(df).toPandas() for model in (found, expected))
    assert set(ours) == set(theirs)
    for name in ("prediction", "z"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7)
    assert found.predict(Vectors.dense(X[0])) == pytest.approx(expected.predict(Vectors.dense(X[0])), rel=1e-6)
    for kind in ("deviance", "pearson", "working", "response"):
        both = [summary.residuals(kind).toPandas() for summary in (found.summary, expected.summary)]
        np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-6)
        assert list(both[0]) == list(both[1])
    half = df.where("weight > 0.8")
    evaluated, there = found.evaluate(half), expected.evaluate(half)
    for name in ("deviance", "nullDeviance", "dispersion", "numInstances", "residualDegreeOfFreedom"):
        assert getattr(evaluated, name) == pytest.approx(getattr(there, name), rel=1e-5), name
    whole = found.evaluate(df.repartition(3))
    assert whole.metrics() == pytest.approx(found.summary.metrics(), rel=1e-9)
    with pytest.raises(StatisticsError, match=r"residuals\('raw'\): take 'deviance' or"):
        whole.residuals("raw")


def test_residuals_are_those_of_any_label_and_of_rows_without_weights(df: DataFrame) -> None:
    model = PoissonRegression(labelCol="how.many").fit(df.withColumnRenamed("count", "how.many"))
    found = model.summary.residuals("response").toPandas()
    np.testing.assert_allclose(found["responseResiduals"], COUNTS - model.to_arrays().predict(X))


def test_the_examples_of_pyspark_pass_with_the_import_changed(spark: SparkSession, tmp_path: Path) -> None:
    ours = (GeneralizedLinearRegression, GeneralizedLinearRegressionModel)
    names = {cls.__name__: cls for cls in ours} | {"spark": spark, "temp_path": str(tmp_path)}
    text = pyspark.ml.regression.GeneralizedLinearRegression.__doc__
    assert text is not None
    example = doctest.DocTestParser().get_doctest(text, names, "pyspark", None, None)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert len(example.examples) > 20
    assert doctest.DocTestRunner(optionflags=flags).run(example).failed == 0


def test_the_params_and_their_defaults_are_those_of_pyspark() -> None:
    ours, theirs = GeneralizedLinearRegression(), Oracle()
    for param in theirs.params:
        assert ours.hasDefault(param.name) == theirs.hasDefault(param), param.name
        if theirs.hasDefault(param):
            assert ours.getOrDefault(param.name) == theirs.getOrDefault(param), param.name


# Laws.


@every_model
@pytest.mark.parametrize("elasticNetParam", [0.0, 0.6])
@pytest.mark.parametrize("fitIntercept", [True, False])
def test_the_penalty_is_in_units_of_the_working_weights(case: str, elasticNetParam: float, fitIntercept: bool) -> None:
    """-score / sum of the working weights is a subgradient of the penalty: the KKT conditions, from the rows alone."""
    if case == "normal":
        pytest.skip("its penalty is that of LinearRegression")
    label = (CASES | OURS_ONLY)[case][0]
    params = {"regParam": 0.05, "elasticNetParam": elasticNetParam, "fitIntercept": fitIntercept}
    model = fitted(case, **params)
    loss, w = model._loss(), model.coefficients.toArray()
    z = (X @ w + model.intercept)[:, None]
    information = S @ loss.fisher(LABELS[label], z)[:, 0, 0]
    score = -X.T @ (S * loss.gradient(LABELS[label], z)[:, 0]) / information
    l1, l2 = 0.05 * elasticNetParam, 0.05 * (1.0 - elasticNetParam)
    rest = score - l2 * w - l1 * np.sign(w)
    assert np.all(np.where(w == 0.0, np.abs(rest) <= l1 + 1e-7, np.abs(rest) < 1e-7))


def test_a_normal_model_is_a_linear_regression() -> None:
    for regParam, elasticNetParam, fitIntercept in itertools.product((0.0, 0.3), (0.0, 0.5), (True, False)):
        params: dict[str, Any] = {
            "regParam": regParam,
            "elasticNetParam": elasticNetParam,
            "fitIntercept": fitIntercept,
        }
        glm, linear = fitted("normal", **params), LinearRegression(**params).fit(data("real"))
        np.testing.assert_allclose(glm.coefficients, linear.coefficients, atol=1e-10)
        assert glm.summary.deviance == pytest.approx(linear.summary.meanSquaredError * S.sum(), rel=1e-12)
        assert glm.summary.solver == "normal"


@every_model
def test_a_weight_of_two_is_the_row_twice_and_partitions_make_no_difference(case: str) -> None:
    label, shape = (CASES | OURS_ONLY)[case]
    s, y = np.random.default_rng(3).integers(0, 3, N).astype(float), LABELS[label]
    twice = np.repeat(np.arange(N), s.astype(int))
    estimator = GeneralizedLinearRegression(**EXACT | shape)
    one, other = estimator.fit(LocalData(X, y, s)), estimator.fit(LocalData(X[twice], y[twice], partitions=3))
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-7)
    for name in ("deviance", "nullDeviance"):
        assert getattr(one.summary, name) == pytest.approx(getattr(other.summary, name), rel=1e-9)
    if shape.get("family") in ("binomial", "poisson", "negativeBinomial"):  # where rows are, a weight is a count
        assert one.summary.logLikelihood == pytest.approx(other.summary.logLikelihood, rel=1e-9)


@every_model
@pytest.mark.parametrize("regParam", [0.0, 0.1])
def test_all_solvers_find_the_model_and_its_errors(case: str, regParam: float) -> None:
    newton, other = (
        fitted(case, S, OFFSET, regParam=regParam, solver=solver, computeStatistics=True, tol=1e-9)
        for solver in ("newton", "l-bfgs")
    )
    np.testing.assert_allclose(newton.coefficients, other.coefficients, atol=1e-7)
    assert newton.summary.metrics() == pytest.approx(other.summary.metrics(), rel=1e-7)
    errors = (model.summary.coefficientStandardErrors for model in (newton, other))
    np.testing.assert_allclose(*errors, rtol=1e-6)
    if case in ("logit", "counts"):  # whose links are canonical, so that Fisher scoring is Newton's method
        assert newton.summary.passes < other.summary.passes


@every_model
def test_a_history_ends_in_the_units_of_the_penalty_that_ended_it(case: str) -> None:
    """Bounds hold the coefficients wherever the units are, so that they move nothing but the objective."""
    held = {"regParam": 0.1, "lowerBoundsOnCoefficients": 0.05, "upperBoundsOnCoefficients": 0.05}
    ends = [fitted(case, S, solver=each, **held).summary.objectiveHistory[-1] for each in ("newton", "l-bfgs")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


@every_model
@pytest.mark.parametrize("solver", ["newton", "l-bfgs"])
def test_robust_errors_have_the_second_derivatives_that_the_labels_give(case: str, solver: str) -> None:
    """HC0 is the diagonal of H^-1 B H^-1: what each row would move the coefficients by, squared and summed."""
    model = fitted(case, S, OFFSET, solver=solver, standardErrors="HC0")
    loss, y, A = model._loss(), LABELS[(CASES | OURS_ONLY)[case][0]], np.column_stack([X, np.ones(N)])
    z = (A @ [*model.coefficients, model.intercept] + OFFSET)[:, None]
    scores = A * (S * loss.gradient(y, z)[:, 0])[:, None]
    moves = np.linalg.solve((A.T * (S * loss.hessian(y, z)[:, 0, 0])) @ A, scores.T)
    np.testing.assert_allclose(model.summary.coefficientStandardErrors, np.linalg.norm(moves, axis=1), rtol=1e-6)


def test_without_the_hessian_there_are_no_errors() -> None:
    for params in ({"solver": "l-bfgs"}, {"regParam": 0.1, "elasticNetParam": 1.0}):
        with pytest.raises(StatisticsError, match="there are no standard errors: they need linearly independent"):
            _ = fitted("counts", **params).summary.pValues


@every_model
def test_fits_together_are_fits_alone(case: str) -> None:
    label, shape = (CASES | OURS_ONLY)[case]
    base = GeneralizedLinearRegression(**EXACT | shape)
    maps: list[Any] = [
        {base.regParam: 0.05},
        {base.fitIntercept: False},
        {base.regParam: 0.2, base.elasticNetParam: 0.5},
    ]
    together = dict(base.fitMultiple(data(label, S, OFFSET), maps))
    for i, params in enumerate(maps):
        alone = base.copy(params).fit(data(label, S, OFFSET))
        np.testing.assert_allclose(together[i].coefficients, alone.coefficients, atol=1e-7)
        assert together[i].summary.metrics() == pytest.approx(alone.summary.metrics(), rel=1e-8)


# coefficients, intercept, deviance, null deviance, Pearson's chi squared, log likelihood, by statsmodels 0.14:
# GLM(y, column_stack([X, ones(N)]), family, freq_weights=S, offset=OFFSET).fit(tol=1e-13, maxiter=200), its .params,
# .deviance, .null_deviance, .pearson_chi2 and .llf
STATSMODELS: dict[str, Any] = {
    "negative binomial": (
        {"family": "negativeBinomial", "overdispersion": 0.7},
        "count",
        True,
        [
            0.5494989211,
            -0.24060112569,
            0.38115260588,
            0.33738104117,
            124.751772,
            246.89054834,
            103.6034363,
            -433.8298707823,
        ],
    ),
    "cloglog": (
        {"family": "binomial", "link": "cloglog"},
        "share",
        False,
        [
            0.14375886197,
            -0.14258372311,
            0.15122822565,
            0.3517141236,
            202.99919333,
            218.10644689,
            214.96408407,
            -101.4995966665,
        ],
    ),
    "tweedie": (
        {"family": "tweedie", "variancePower": 1.5, "linkPower": 0.0},
        "cost",
        True,
        [0.61453073256, -0.33848270701, 0.59093182895, -0.060926862982, 393.34014205, 749.49449265, 294.40333851, None],
    ),
    "counts": (
        {"family": "poisson"},
        "count",
        True,
        [
            0.53950273169,
            -0.22914174084,
            0.46905419975,
            0.20996262909,
            292.38767836,
            646.48754141,
            288.8743793,
            -409.8769787711,
        ],
    ),
}


@pytest.mark.parametrize("name", STATSMODELS)
def test_statsmodels_says_the_same(name: str) -> None:
    shape, label, offset, expected = STATSMODELS[name]
    model = GeneralizedLinearRegression(**EXACT | shape).fit(data(label, S, OFFSET if offset else None))
    known = model.summary._known()
    found = [*model.coefficients, model.intercept, known.deviance, known.null_deviance, known.pearson]
    np.testing.assert_allclose(found, expected[:7], rtol=1e-7)
    if expected[7] is not None:
        assert model.summary.logLikelihood == pytest.approx(expected[7], rel=1e-9)
        assert model.summary.aic == pytest.approx(2 * model.summary.rank - 2 * expected[7], rel=1e-9)
        assert model.summary.bic == pytest.approx(model.summary.rank * np.log(N) - 2 * expected[7], rel=1e-9)


# Starts, domains, sizes.


@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_a_link_without_a_mean_at_zero_needs_no_intercept(family: str) -> None:
    """Positive features: then the average row shows the way."""
    A = np.abs(X) + 0.1
    y = A @ [0.5, 0.2, 1.0] * RNG.gamma(50.0, 0.02, N)
    for link, loss in ((link, generalized_linear(family, link)) for link in FAMILY_LINKS[family]):
        model = GeneralizedLinearRegression(**EXACT, family=family, link=link, fitIntercept=False).fit(LocalData(A, y))
        gradient = A.T @ loss.gradient(y, (A @ model.coefficients.toArray())[:, None])[:, 0] / N
        np.testing.assert_allclose(gradient, 0.0, atol=1e-8)


@pytest.mark.parametrize("link", ["sqrt", "identity"])
@pytest.mark.parametrize("solver", ["newton", "l-bfgs"])
def test_a_start_that_gives_rows_no_mean_is_told(link: str, solver: str) -> None:
    """Features of both signs: whatever the coefficients are, some margins are not positive."""
    estimator = GeneralizedLinearRegression(family="poisson", link=link, solver=solver, fitIntercept=False)
    with pytest.raises(DivergenceError, match=f"no mean with 'poisson, {link} link'; set fitIntercept=True"):
        estimator.fit(LocalData(X, np.full(N, 2.0)))


@pytest.mark.parametrize("link", FAMILY_LINKS["binomial"])
@pytest.mark.parametrize("params", [{}, {"regParam": 0.01}], ids=str)
def test_classes_that_a_plane_separates_are_told(link: str, params: dict[str, float]) -> None:
    y = (X[:, 0] > 0.0).astype(float)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = GeneralizedLinearRegression(family="binomial", link=link, maxIter=100, **params).fit(LocalData(X, y))
    told = [each for each in caught if "a plane separates the classes" in str(each.message)]
    assert [each.category for each in told] == ([] if params else [DataWarning])
    if not params:
        np.testing.assert_allclose([model.predict(Vectors.dense(x)) for x in X], y, atol=1e-2)


def test_shares_that_are_fitted_without_a_loss_are_not_taken_for_classes() -> None:
    shares = 1.0 / (1.0 + np.exp(-X @ [0.5, -0.2, 1.0]))
    for y in (shares, np.where(X[:, 0] > 0.0, 0.75, 0.25)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "an essentially perfect fit")
            GeneralizedLinearRegression(family="binomial").fit(LocalData(X, y))


@pytest.mark.parametrize(
    ("family", "label", "words"),
    [
        ("poisson", -1.0, "zero or more"),
        ("gamma", 0.0, "above zero"),
        ("binomial", 1.5, "between 0 and 1"),
        ("negativeBinomial", -0.5, "zero or more"),
    ],
)
def test_labels_outside_the_family_are_refused_before_a_pass(family: str, label: float, words: str) -> None:
    rows = LocalData(X, np.append(np.full(N - 1, 0.5), label))
    with pytest.raises(
        DataError, match=rf"1 label that no {family} family has .such as {label:g}.: they must be {words}"
    ):
        GeneralizedLinearRegression(family=family).fit(rows)
    assert rows.passes == 0


def test_more_columns_than_pyspark_takes() -> None:
    wide = Rows(random_features(60, 5000, 0.01), RNG.poisson(2.0, 60).astype(float)).sparse.local()
    model = GeneralizedLinearRegression(family="poisson", regParam=0.1, standardization=True, maxIter=1000).fit(wide)
    assert model.summary.solver == "l-bfgs"
    assert model.summary.converged
    assert model.summary.devianceExplained > 0.3


def test_a_constant_label_is_fitted_by_the_intercept() -> None:
    for family, label in (("poisson", 3.0), ("gamma", 2.0), ("binomial", 0.25)):
        with pytest.warns(DataWarning, match=f"every label is {label:g}: all coefficients are zero"):
            model = GeneralizedLinearRegression(family=family).fit(LocalData(X, np.full(N, label)))
        np.testing.assert_allclose(model.coefficients, 0.0, atol=1e-9)
        assert model.predict(Vectors.dense(X[0])) == pytest.approx(label, abs=1e-9)
        assert model.summary.deviance == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("label", "params"),
    [
        (1.0, {"family": "binomial"}),
        (0.0, {"family": "binomial", "link": "probit"}),
        (1.0, {"family": "binomial", "link": "cloglog"}),
        (0.0, {"family": "negativeBinomial"}),
        (0.0, {"family": "tweedie", "variancePower": 1.5}),
        (0.0, {"link": "log", "regParam": 0.1}),
        (0.0, {"link": "inverse", "regParam": 0.1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("offset", [None, np.linspace(-1.0, 1.0, N)], ids=["plain", "offset"])
def test_an_infinite_intercept_is_told_of_every_link(
    label: float, params: dict[str, Any], offset: np.ndarray | None
) -> None:
    rows = LocalData(X, np.full(N, label), offset=offset)
    with pytest.warns(DataWarning, match=f"every label is {label:g}: .* stands for an infinite one") as told:
        model = GeneralizedLinearRegression(**params).fit(rows)
    assert len(told) == 1
    assert model.summary.converged
    assert model.predict(Vectors.dense(X[0])) == pytest.approx(label, abs=1e-15)


# Refusals.


@pytest.mark.parametrize("link", ["sqrt", "identity"])
@pytest.mark.parametrize("family", ["poisson", "negativeBinomial"])
def test_a_mean_of_zero_that_no_coefficients_have_is_refused(family: str, link: str) -> None:
    with pytest.raises(
        DataError, match=r"in column 'label' every label is 0, .* set fitIntercept=True, or take link='log'"
    ):
        GeneralizedLinearRegression(family=family, link=link, fitIntercept=False).fit(LocalData(X, np.zeros(N)))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"family": "poisson", "link": "logit"}, "link='logit' does not go with family='poisson': take 'log' or"),
        ({"family": "tweedie", "link": "log"}, "link='log' does not go with family='tweedie': it takes a linkPower"),
        ({"family": "tweedie", "linkPower": math.nan}, "linkPower=nan is out of range: it must be finite"),
        ({"regParam": math.inf}, "regParam=inf is out of range: it must be at least 0 and finite"),
        ({"linkPower": 1.0}, "linkPower=1 is for family='tweedie', not 'gaussian'"),
        ({"family": "gamma", "variancePower": 1.5}, "variancePower=1.5 is for family='tweedie'"),
        ({"overdispersion": 2.0}, "overdispersion=2 is for family='negativeBinomial'"),
    ],
)
def test_params_that_do_not_go_together_are_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ParamError, match=words):
        GeneralizedLinearRegression(**params).fit(data("count"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("family", "poison"),
        ("link", "loglog"),
        ("variancePower", 0.5),
        ("variancePower", -1.0),
        ("linkPower", float("inf")),
        ("overdispersion", 0.0),
        ("solver", "newtons"),
    ],
)
def test_a_value_out_of_range_is_refused_when_it_is_set(name: str, value: Any) -> None:
    with pytest.raises(ParamError, match=name):
        GeneralizedLinearRegression(**{name: value})


def test_solvers_that_need_a_bound_of_the_curvature_refuse() -> None:
    for solver in ("gd", "sgd", "local-sgd"):
        with pytest.raises(SolverError, match="needs a loss of bounded curvature, not 'poisson, log link'"):
            GeneralizedLinearRegression(family="poisson", solver=solver).fit(data("count"))
        probit = GeneralizedLinearRegression(family="binomial", link="probit", solver=solver, maxIter=500, tol=1e-4)
        near = probit.fit(data("share"))
        np.testing.assert_allclose(near.coefficients, fitted("probit").coefficients, atol=0.05)


def test_packed_offsets_must_be_those_that_the_model_adds(df: DataFrame) -> None:
    with pack(df, labelCol="count", offsetCol="offset") as packed:
        assert packed.has_offset
        with pytest.raises(ColumnError, match="offsetCol=None but the data were packed with 'offset'"):
            PoissonRegression().fit(packed)
        one, other = PoissonRegression(offsetCol="offset").fit(packed), PoissonRegression(**EXACT, offsetCol="offset")
        expected = other.fit(data("count", None, OFFSET))
    np.testing.assert_allclose(one.coefficients, expected.coefficients, atol=1e-5)


def test_too_few_iterations_are_told() -> None:
    with pytest.warns(ConvergenceWarning, match="raise maxIter=2"):
        GeneralizedLinearRegression(family="poisson", maxIter=2).fit(data("count"))


# The short names, saving.


@pytest.mark.parametrize("cls", [PoissonRegression, GammaRegression, TweedieRegression])
def test_a_short_name_is_its_family(cls: Any) -> None:
    label = {"PoissonRegression": "count", "GammaRegression": "amount", "TweedieRegression": "cost"}[cls.__name__]
    model = cls(**EXACT).fit(data(label))
    case = {"count": "counts", "amount": "gamma, log", "cost": "tweedie"}[label]
    np.testing.assert_allclose(model.coefficients, fitted(case).coefficients, atol=1e-10)
    assert isinstance(model._loss(), GeneralizedLinear)
    with pytest.raises(ParamError, match="family='gaussian' is not one of"):
        cls(family="gaussian")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("normal", "gaussian   link: identity   dispersion: "),
        ("counts", "poisson   link: log   dispersion: 1 (fixed)"),
        ("tweedie", "tweedie (variance power 1.5)   link: log   dispersion: "),
        ("negative binomial, sqrt", "negativeBinomial (overdispersion 0.2)   link: sqrt   dispersion: 1 (fixed)"),
    ],
)
def test_a_summary_tells_what_the_family_is_and_what_was_estimated(case: str, told: str) -> None:
    assert f"\nFamily: {told}" in str(fitted(case).summary)


@every_model
def test_a_loaded_model_is_the_saved_one(case: str, df: DataFrame, tmp_path: Path) -> None:
    model = fitted(case, regParam=0.01, linkPredictionCol="z")
    model.save(str(tmp_path / "model"))
    loaded = GeneralizedLinearRegressionModel.load(str(tmp_path / "model"))
    assert str(loaded.summary) == str(model.summary)
    assert loaded.summary.metrics() == model.summary.metrics()
    assert (loaded.summary.link, loaded.summary.family) == (model.summary.link, model.summary.family)
    assert repr(loaded) == repr(model)
    scored = loaded.transform(df.limit(5)).toPandas()
    means = loaded._loss().inverse_link(np.array(scored["z"])[:, None])
    np.testing.assert_allclose(scored["prediction"], means, rtol=1e-12)
    np.testing.assert_allclose(scored["prediction"], [loaded.predict(x) for x in scored["features"]], rtol=1e-12)


def test_a_model_starts_from_another() -> None:
    start = fitted("counts")
    again = fitted("counts", initialModel=start, tol=1e-6)
    assert again.summary.totalIterations <= 2
    np.testing.assert_allclose(again.coefficients, start.coefficients, atol=1e-6)
    assert again.summary.nullDeviance == pytest.approx(start.summary.nullDeviance, rel=1e-12)
