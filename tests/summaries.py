"""What summaries of classifiers are compared by."""

from typing import Any

import numpy as np
import pytest

BY_CLASS = [
    *("labels", "truePositiveRateByLabel", "falsePositiveRateByLabel", "precisionByLabel", "recallByLabel"),
    *("accuracy", "weightedTruePositiveRate", "weightedFalsePositiveRate", "weightedRecall", "weightedPrecision"),
]


def assert_same_by_class(ours: Any, theirs: Any) -> None:
    """All metrics of the predicted classes that pyspark.ml has."""
    for name in BY_CLASS:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, err_msg=name)
    for beta in (1.0, 2.0):
        np.testing.assert_allclose(ours.fMeasureByLabel(beta), theirs.fMeasureByLabel(beta), rtol=1e-9)
        assert ours.weightedFMeasure(beta) == pytest.approx(theirs.weightedFMeasure(beta), rel=1e-9)


def assert_same_curves(ours: Any, theirs: Any) -> None:
    """All that pyspark.ml tells of the thresholds of a model of two classes."""
    assert ours.areaUnderROC == pytest.approx(theirs.areaUnderROC, rel=1e-9)
    for name in ("roc", "pr", "fMeasureByThreshold", "precisionByThreshold", "recallByThreshold"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert found.columns == expected.columns
        numbers = (np.array(each.collect()) for each in (found, expected))
        np.testing.assert_allclose(*numbers, rtol=1e-9, atol=1e-12, err_msg=name)
    assert ours.scoreCol == theirs.scoreCol
