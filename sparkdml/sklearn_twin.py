"""The estimator of scikit-learn that predicts the same as a model of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sparkdml.array_model import ArrayClassifier, ArrayGeneralizedLinear, ArrayMargins, ArrayModel
from sparkdml.errors import ParamError


def sklearn_twin(model: ArrayModel) -> Any:
    """A fitted estimator of scikit-learn with the same coefficients, a row of features in their order.

    Where means fill missing features, it is a pipeline of a SimpleImputer and the estimator. The new estimator is
    fitted through scikit-learn's own `fit`, to made-up rows, before it gets the coefficients: so it has whatever
    scikit-learn's version gives a fitted one, with the features' names as `feature_names_in_`.

    Raises
    ------
    ImportError : scikit-learn is not installed.
    ParamError : scikit-learn has no estimator that predicts the same.
    """
    try:
        import sklearn.impute
        import sklearn.pipeline
    except ImportError:
        raise ImportError("to_sklearn needs scikit-learn: install it with pip install scikit-learn.") from None
    if offset := model.params.get("offsetCol"):
        raise ParamError(_no_twin(f"offsetCol={offset!r}", "load_model(path).predict(X, offset)"))
    estimator = next(TWINS[kind] for kind in type(model).__mro__ if kind in TWINS)(model)
    if model.featureMeans is None:
        return _with_names(estimator, model)
    imputer = sklearn.impute.SimpleImputer().fit(model.featureMeans[None])
    # the pipeline has the names of its first step; the estimator gets what that makes, an array
    return sklearn.pipeline.make_pipeline(_with_names(imputer, model), estimator)


def _with_names(fitted: Any, model: ArrayModel) -> Any:
    """The same, with the features' names where they have any; what is numbered in a vector has none."""
    if model.featureNames[0] != f"{model.params['featuresCol']}[0]":
        fitted.feature_names_in_ = np.array(model.featureNames, dtype=object)
    return fitted


def _with_coefficients(estimator: Any, labels: np.ndarray, weights: np.ndarray, intercepts: Any) -> Any:
    """The estimator, fitted to rows of zeros with these labels, and given coefficients and intercepts."""
    estimator.fit(csr_array((len(labels), weights.shape[-1])), labels)
    estimator.coef_, estimator.intercept_ = weights.copy(), intercepts
    return estimator


def _linear_regression(model: ArrayModel) -> Any:
    from sklearn.linear_model import LinearRegression

    return _with_coefficients(LinearRegression(), np.zeros(2), model.coefficients[0], float(model.intercepts[0]))


def _logistic_regression(model: ArrayModel) -> Any:
    from sklearn.linear_model import LogisticRegression

    weights, intercepts = model.coefficients, model.intercepts
    assert isinstance(model, ArrayClassifier)
    if model.is_multinomial and len(weights) == 1:
        raise ParamError(_no_twin("one class", "labels of two classes"))
    _require_usual(model, "threshold", 0.5)
    if len(set(thresholds := model.params.get("thresholds", ()))) > 1:
        raise ParamError(_no_twin(f"thresholds={thresholds!r}", "predict_proba(X), and compare that with them"))
    if len(weights) == 2:  # of two classes scikit-learn wants one margin
        weights, intercepts = np.diff(weights, axis=0), np.diff(intercepts)
    labels = np.arange(max(len(weights), 2), dtype=float)
    return _with_coefficients(LogisticRegression(), labels, weights, intercepts.copy())


def _generalized_linear(model: ArrayModel) -> Any:
    """The mean depends on the link alone, so that any family that goes with it will do."""
    from sklearn.linear_model import TweedieRegressor

    assert isinstance(model, ArrayGeneralizedLinear)
    link = model.loss.link_function.name
    if link not in ("log", "identity"):
        raise ParamError(_no_twin(f"the link {link!r}", "the links 'log' or 'identity', or load_model(path).predict"))
    twin = TweedieRegressor(power=1.0 if link == "log" else 0.0, link=link)
    return _with_coefficients(twin, np.ones(2), model.coefficients[0], float(model.intercepts[0]))


def _require_usual(model: ArrayModel, name: str, usual: float) -> None:
    if "thresholds" not in model.params and (value := model.params[name]) != usual:
        raise ParamError(_no_twin(f"{name}={value:g}", f"{name}={usual:g}, and compare with another one yourself"))


def _no_twin(what: str, instead: str) -> str:
    return f"no estimator of scikit-learn predicts with {what}: take {instead}."


def _linear_svc(model: ArrayModel) -> Any:
    from sklearn.svm import LinearSVC

    _require_usual(model, "threshold", 0.0)
    return _with_coefficients(LinearSVC(), np.arange(2.0), model.coefficients, model.intercepts.copy())


TWINS: dict[type[ArrayModel], Callable[[ArrayModel], Any]] = {
    ArrayModel: _linear_regression,
    ArrayClassifier: _logistic_regression,
    ArrayMargins: _linear_svc,
    ArrayGeneralizedLinear: _generalized_linear,
}
