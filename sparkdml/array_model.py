"""Fitted models that score NumPy arrays, loaded from what was saved; neither Spark nor Java is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sparkdml import saved
from sparkdml.arrays import require
from sparkdml.errors import ColumnError, FormatError
from sparkdml.optim.losses import GeneralizedLinear, generalized_linear
from sparkdml.optim.losses.classes import class_probabilities, most_probable, single_threshold


@dataclass(frozen=True, eq=False)
class ArrayModel:
    """A fitted model of numbers: z = coefficients . x + intercept + offset.

    Attributes
    ----------
    coefficients, intercepts : (C, d) and (C,), of C margins.
    featureNames : (d,).
    featureMeans : what a NaN of a feature is replaced by, (d,), or None.
    params : the Params of the model, by name.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray
    featureNames: tuple[str, ...]
    featureMeans: np.ndarray | None
    params: Mapping[str, Any]

    def margins(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """coefficients . x + intercept + offset of each row, (n, C).

        X is an array (n, d), a sparse matrix of SciPy, or a pandas DataFrame, whose columns are taken by name. The
        offset, a number a row or one for all, is what the column `offsetCol` is to the model in Spark.
        Raises ColumnError where features are missing. A row with a NaN has NaN margins, unless means fill it.
        """
        X = self._matrix(X)
        with np.errstate(invalid="ignore"):
            return np.asarray(X @ self.coefficients.T) + self.intercepts + np.reshape(offset, (-1, 1))

    def predict(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """The prediction for each row, (n,); NaN for a row with a NaN."""
        return self.margins(X, offset)[:, 0]

    def _matrix(self, X: Any) -> Any:
        d = len(self.featureNames)
        if hasattr(X, "columns"):
            if missing := [name for name in self.featureNames if name not in X.columns]:
                raise ColumnError(f"the table has no column {missing[0]!r}; the features are {self._names()}.")
            X = X[list(self.featureNames)]
        X = X.tocsr() if issparse(X) else np.asarray(X, float)
        if X.ndim != 2 or X.shape[1] != d:
            raise ColumnError(f"the array has the shape {X.shape}: it must be (rows, {d}), of {self._names()}.")
        return X if self.featureMeans is None else _filled(X, self.featureMeans)

    def _names(self) -> str:
        names = ", ".join(self.featureNames[:20])
        return names if len(self.featureNames) <= 20 else f"{names}, ..."


def _filled(X: Any, means: np.ndarray) -> Any:
    """The rows, an array or CSR, with the mean of the column in place of each NaN; a sparse zero is no NaN."""
    if not issparse(X):
        return np.where(np.isnan(X), means, X)
    X = X.astype(float)  # a copy
    X.data = np.where(np.isnan(X.data), means[X.indices], X.data)
    return X


class ArrayClassifier(ArrayModel):
    """A fitted classifier of K classes whose margins make probabilities, see `class_probabilities`."""

    @property
    def is_multinomial(self) -> bool:
        """Whether each class has a margin of its own; a multinomial model of one class has one margin, too."""
        return len(self.intercepts) > 1 or self.params["family"] == "multinomial"

    def predict_proba(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """The probability of each class, (n, K)."""
        return class_probabilities(self.margins(X, offset), self.is_multinomial)

    def predict(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """The class of each row, (n,), NaN for a row with a NaN.

        Of a binomial model 1.0 where its probability is above the threshold; else see `most_probable`.
        """
        p = self.predict_proba(X, offset)
        multinomial = self.is_multinomial
        best = most_probable(p, self.params.get("thresholds")) if multinomial else p[:, 1] > _threshold(self.params)
        return np.where(np.isnan(p[:, -1]), np.nan, best)


class ArrayMargins(ArrayModel):
    """A fitted support vector machine, which knows no probabilities."""

    def predict(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """The class of each row, (n,): 1.0 where its margin is above the threshold; NaN for a row with a NaN."""
        z = self.margins(X, offset)[:, 0]
        return np.where(np.isnan(z), np.nan, z > self.params["threshold"])


class ArrayGeneralizedLinear(ArrayModel):
    """A fitted generalized linear model: the mean g^-1(z) of the label."""

    @property
    def loss(self) -> GeneralizedLinear:
        """The loss of the family and the link."""
        given = self.params
        return generalized_linear(
            given["family"],
            given.get("link"),
            variance_power=given["variancePower"],
            link_power=given.get("linkPower"),
            overdispersion=given["overdispersion"],
        )

    def predict(self, X: Any, offset: np.ndarray | float = 0.0) -> np.ndarray:
        """The mean for each row, (n,); NaN for a row with a NaN."""
        return self.loss.inverse_link(self.margins(X, offset))


def _threshold(params: Mapping[str, Any]) -> float:
    """The threshold, also where `thresholds` say it."""
    return single_threshold(params["thresholds"]) if "thresholds" in params else params["threshold"]


KINDS: dict[str, type[ArrayModel]] = {
    "LinearRegressionModel": ArrayModel,
    "LogisticRegressionModel": ArrayClassifier,
    "LinearSVCModel": ArrayMargins,
    "GeneralizedLinearRegressionModel": ArrayGeneralizedLinear,
}


def load_model(path: str) -> ArrayModel:
    """A saved model as one that scores NumPy arrays, without Spark and without Java.

    Parameters
    ----------
    path : of a directory on this machine: what `model.save` wrote, or what a training job published (its OUTPUT, whose
        latest version is taken, or one version).

    Raises
    ------
    FileNotFoundError : there is no saved model.
    FormatError : a check of the format failed, or the model is not one that arrays can be scored with, such as a
        pipeline with stages of Spark's.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sparkdml.regression import LinearRegression
    >>> df = spark.createDataFrame([(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)], ["x", "y"])
    >>> with TemporaryDirectory() as directory:
    ...     LinearRegression(featuresCols=["x"], labelCol="y").fit(df).save(f"{directory}/model")
    ...     load_model(f"{directory}/model").predict(np.array([[10.0], [20.0]])).round(6)
    array([21., 41.])
    """
    directory = _model_directory(Path(path))
    if not (directory / saved.METADATA).is_file():
        raise FileNotFoundError(f"there is no saved model at {path}: save one there with model.save(path).")
    found = saved.load(lambda name: (directory / name).read_bytes(), str(directory))
    kind = found.kind.rpartition(".")[2]
    if kind not in KINDS:
        raise FormatError(f"{path} holds a {found.kind}, which cannot score arrays: it must be a {' or '.join(KINDS)}.")
    names = tuple(found.values["featureNames"])
    coefficients, intercepts = np.atleast_2d(found.arrays["coefficients"]), found.arrays["intercept"]
    require(coefficients.shape == (len(intercepts), len(names)), "the coefficients do not match the features' names")
    means, params = found.arrays.get("featureMeans"), {**found.defaults, **found.params}
    return KINDS[kind](coefficients, intercepts, names, means, params)


def _model_directory(path: Path) -> Path:
    """The directory of the model itself, in what a training job published."""
    if (path / "LATEST").is_file():
        version = (path / "LATEST").read_text().strip()
        require(bool(version) and "/" not in version and not version.startswith("."), f"{path}/LATEST names no version")
        path = path / "versions" / version
    return path / "model" if (path / "model").is_dir() else path
