"""Generalized linear regression of one family each, by a short name."""

from typing import Any

from sparkdml.params import accessors, choice
from sparkdml.regression.generalized_linear_regression import GeneralizedLinearRegression


@accessors
class PoissonRegression(GeneralizedLinearRegression):
    """`GeneralizedLinearRegression` with family="poisson": counts, such as claims of a policy.

    Parameters
    ----------
    Those of `GeneralizedLinearRegression`; link is "log" by default, "identity" or "sqrt". A count in an exposure that
    differs from row to row takes the logarithm of that as offsetCol.

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 1), (1.0, 2), (2.0, 4), (3.0, 9)], ["x", "claims"])
    >>> model = PoissonRegression(featuresCols=["x"], labelCol="claims").fit(df)
    >>> model.summary.family, model.summary.link, round(float(model.coefficients[0]), 4)
    ('poisson', 'log', 0.7478)
    """

    _family = "poisson"
    family = choice("family", "the distribution of the label.", [_family])


@accessors
class GammaRegression(GeneralizedLinearRegression):
    """`GeneralizedLinearRegression` with family="gamma": amounts above zero, such as the cost of a claim.

    Parameters
    ----------
    Those of `GeneralizedLinearRegression`; link is "log" by default, as in scikit-learn, "inverse" or "identity".

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (3.0, 8.0)], ["x", "cost"])
    >>> model = GammaRegression(featuresCols=["x"], labelCol="cost").fit(df)
    >>> model.summary.link, round(float(model.coefficients[0]), 4)
    ('log', 0.6931)
    """

    _family = "gamma"
    family = choice("family", "the distribution of the label.", [_family])

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._setDefault(link="log")


@accessors
class TweedieRegression(GeneralizedLinearRegression):
    """`GeneralizedLinearRegression` with family="tweedie": for a variancePower between 1 and 2, amounts of which many
    are zero, such as the cost of a policy.

    Parameters
    ----------
    Those of `GeneralizedLinearRegression`; variancePower is 1.5 by default, linkPower 0, the logarithm.

    Examples
    --------
    >>> df = spark.createDataFrame([(0.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 4.0)], ["x", "cost"])
    >>> model = TweedieRegression(featuresCols=["x"], labelCol="cost").fit(df)
    >>> model.summary.link, round(float(model.coefficients[0]), 4)
    ('log', 1.0986)
    """

    _family = "tweedie"
    family = choice("family", "the distribution of the label.", [_family])

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._setDefault(variancePower=1.5, linkPower=0.0)
