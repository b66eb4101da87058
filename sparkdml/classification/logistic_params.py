"""The Params of logistic regression."""

from collections.abc import Sequence
from typing import Any, Self

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasProbabilityCol, HasRawPredictionCol, HasSolver, HasThreshold, HasThresholds

from sparkdml.classification.class_weight import HasClassWeight, told_classes
from sparkdml.errors import ParamError
from sparkdml.given import is_chosen
from sparkdml.optim.losses.classes import single_threshold
from sparkdml.params import FitParams, HasSampling, HasStandardErrors, choice, number

FAMILIES = ("auto", "binomial", "multinomial")
SOLVERS = ("auto", "newton", "irls", "subsampled-newton", "l-bfgs", "gd", "sgd", "local-sgd")


class LogisticRegressionParams(
    FitParams,
    HasSolver,
    HasThreshold,
    HasProbabilityCol,
    HasThresholds,
    HasRawPredictionCol,
    HasSampling,
    HasClassWeight,
    HasStandardErrors,
):
    """The Params of the estimator and of its model.

    Of two classes `threshold` and `thresholds` say the same in two ways: [t0, t1] is the threshold t1 / (t0 + t1).
    Setting one clears the other; where both are set at once, in a constructor or a param map, they must agree to 1e-5.
    Of more classes `thresholds` has a number for each, and the class of the largest probability / threshold is
    predicted; a multinomial model refuses a `threshold`.
    """

    solver = choice("solver", "the method of minimization.", SOLVERS)
    family = choice("family", "binomial for 2 classes, multinomial for more; auto looks at the labels.", FAMILIES)
    threshold = number("threshold", "a row whose probability of a 1 is above this is predicted a 1.", 0.0, 1.0)

    def _thresholds(value: Any) -> list[float]:
        found = TypeConverters.toListFloat(value)
        if not all(0.0 <= each < float("inf") for each in found) or sum(each > 0.0 for each in found) < len(found) - 1:
            raise ParamError(f"thresholds={found!r}: they must be at least 0, and at most one may be 0.")
        return found

    thresholds: Param[list[float]] = Param(
        Params._dummy(),
        "thresholds",
        "a number for each class, whose probabilities are divided by them: of 2, t0, t1 is the threshold "
        "t1 / (t0 + t1).",
        _thresholds,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="auto", family="auto", threshold=0.5, sampling="none", samplingRatio=1.0)
        self._setDefault(computeStatistics=False, standardErrors="classical")

    def setThreshold(self, value: float) -> Self:
        """Set threshold, and clear thresholds."""
        self._set(threshold=value).clear(self.thresholds)
        return self

    def getThreshold(self) -> float:
        """The threshold, also where it is given by `thresholds`; ParamError where both disagree or it is none."""
        self._check_thresholds()
        if not self.isSet("thresholds"):
            return self._plain_threshold()
        if len(thresholds := self.getOrDefault("thresholds")) != 2:
            raise ParamError(f"thresholds={thresholds!r} are no single threshold, which two classes have.")
        return single_threshold(thresholds)

    def setThresholds(self, value: Sequence[float]) -> Self:
        """Set thresholds, and clear threshold."""
        self._set(thresholds=value).clear(self.threshold)
        return self

    def getThresholds(self) -> list[float]:
        """The thresholds, also where they are given by `threshold`; ParamError where both are set and disagree."""
        self._check_thresholds()
        if self.isSet("thresholds"):
            return list(self.getOrDefault("thresholds"))
        return [1.0 - self._plain_threshold(), self._plain_threshold()]

    def _plain_threshold(self) -> float:
        return float(self.getOrDefault("threshold"))

    def _check_thresholds(self, classes: int | None = None, multinomial: bool = False) -> None:
        """Refuse thresholds that contradict the threshold, or are not as many as the classes where these are known.

        A multinomial model has no use for a threshold alone.
        """
        if not self.isSet("thresholds"):
            if multinomial and is_chosen(self, "threshold"):
                raise ParamError(
                    f"threshold={self._plain_threshold():g} is for a binomial model, and this one is multinomial: give "
                    "thresholds, a number for each class."
                )
            return
        thresholds = self.getOrDefault("thresholds")
        if classes not in (None, len(thresholds)):
            raise ParamError(
                f"thresholds={thresholds!r} are {len(thresholds)} numbers, and the labels are "
                f"{told_classes(classes)}: give one a class."
            )
        if not self.isSet("threshold"):
            return
        if len(thresholds) != 2:
            raise ParamError(f"threshold={self._plain_threshold():g} is for two classes: clear it, or thresholds.")
        if abs(self._plain_threshold() - single_threshold(thresholds)) >= 1e-5:
            raise ParamError(
                f"threshold={self._plain_threshold():g} and thresholds={thresholds!r}, which stand for "
                f"{single_threshold(thresholds):g}, contradict each other: set one of them."
            )
