"""Vectors and matrices are dense or sparse where those of pyspark.ml are."""

import numpy as np
import pytest
from pyspark.ml.common import _java2py, _py2java
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

from sparkdml.linalg import compressed, compressed_matrix, matrix

RNG = np.random.default_rng(0)


def drawn(density: float, *shape: int) -> np.ndarray:
    """Normal numbers, all but about a share of them zero."""
    return RNG.normal(size=shape) * (RNG.random(shape) < density)


@pytest.mark.parametrize("density", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 4), (9, 2), (4, 40)])
def test_the_smaller_form_is_taken(spark: SparkSession, shape: tuple[int, int], density: float) -> None:
    values = drawn(density, *shape)
    for ours, dense in [(compressed_matrix(values), matrix(values)), (compressed(values[0]), Vectors.dense(values[0]))]:
        theirs = _java2py(spark.sparkContext, _py2java(spark.sparkContext, dense).compressed())
        assert type(ours) is type(theirs)
        assert repr(ours).replace("True", "1") == repr(theirs).replace("True", "1")
        np.testing.assert_array_equal(ours.toArray(), dense.toArray())
