"""Fitted models that score NumPy arrays, loaded from what was saved; neither Spark nor Java is needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sparkdml import manifest, saved
from sparkdml.arrays import require
from sparkdml.errors import ColumnError, FormatError
from sparkdml.files import LocalFiles
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

    def check(self) -> None:
        """Raise an exception of any kind where no row could be scored: of Params that contradict the coefficients."""
        thresholds, classes = self.params.get("thresholds"), max(len(self.intercepts), 2)
        require(thresholds is None or len(thresholds) == classes, f"there are no {classes} thresholds")
        self.predict(np.zeros((1, len(self.featureNames))))

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
    "sparkdml.regression.LinearRegressionModel": ArrayModel,
    "sparkdml.classification.LogisticRegressionModel": ArrayClassifier,
    "sparkdml.classification.LinearSVCModel": ArrayMargins,
    "sparkdml.regression.GeneralizedLinearRegressionModel": ArrayGeneralizedLinear,
}
# The Params that some model knows. Those that decide no prediction are not looked at any further.
_NAMES = (
    "aggregation aggregationDepth batchSize classWeight computeStatistics dtype elasticNetParam epsilon family "
    "featuresCol featuresCols fitIntercept handleInvalid labelCol learningRate link linkPower linkPredictionCol "
    "loss lowerBoundsOnCoefficients lowerBoundsOnIntercepts maxBlockSizeInMB maxIter miniBatchFraction momentum "
    "numPartitions offsetCol optimizer overdispersion partitioning patience predictionCol probabilityCol quantile "
    "rawPredictionCol regParam sampling samplingRatio seed solver standardErrors standardization stepSize "
    "threshold thresholds tol upperBoundsOnCoefficients upperBoundsOnIntercepts validationFraction "
    "validationIndicatorCol variancePower warmStartEpochs weightCol "
)
PARAMS = frozenset(_NAMES.split())
_PIPELINE = "pyspark.ml.pipeline.PipelineModel"


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
    root = LocalFiles(path)
    version = _published(root)
    listed = None if version is None else manifest.check_listed(version)
    files = root if version is None else LocalFiles(f"{version.root}/model")
    try:
        name = saved.present_name(saved.read_metadata(files, "", files.size(saved.ARRAYS) or 0)["class"])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no saved model at {path}: save one there with model.save(path).") from error
    if name not in KINDS:
        what = "is a pipeline" if name == _PIPELINE else f"holds a {name:.200}"
        known = " or ".join(kind.rpartition(".")[2] for kind in KINDS)
        raise FormatError(f"{path} {what}, which cannot score arrays: it must be a {known}.")
    if version is not None and listed is not None:
        saved.examine(files)
        manifest.check_digests(version, listed)
    found = saved.load(files)
    try:
        return _made_of(found, KINDS[name])
    except FormatError:
        raise
    except Exception as error:  # of values of which no check thought
        raise saved.damaged(path, error) from error


def _made_of(found: saved.Saved, kind: type[ArrayModel]) -> ArrayModel:
    params = {**found.defaults, **found.params}
    unknown = sorted(set(params) - PARAMS)
    require(not unknown, f"the Param {unknown[0] if unknown else ''!r:.50} is unknown")
    weights, intercepts = np.atleast_2d(found.arrays["coefficients"]), found.arrays["intercept"]
    model = kind(weights, intercepts, tuple(found.values["featureNames"]), found.arrays.get("featureMeans"), params)
    model.check()
    return model


def _published(root: LocalFiles) -> LocalFiles | None:
    """The version that a training job published: the directory itself, or the one that its LATEST names."""
    if root.size(manifest.MANIFEST) is not None:
        return root
    if root.size(manifest.LATEST) is None:
        return None
    name = manifest.latest_version(root.read(manifest.LATEST, 4096), f"{root.root}/{manifest.LATEST}")
    return LocalFiles(f"{root.root}/versions/{name}")
