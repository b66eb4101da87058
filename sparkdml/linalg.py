"""Arrays as the vectors and matrices of pyspark.ml."""

import numpy as np
from pyspark.ml.linalg import DenseMatrix, DenseVector


def matrix(values: np.ndarray) -> DenseMatrix:
    """An array of two dimensions as a matrix.

    >>> matrix(np.array([[1.0, 2.0], [3.0, 4.0]]))[0, 1]
    np.float64(2.0)
    """
    rows, columns = values.shape
    return DenseMatrix(rows, columns, values.ravel(), True)


def dense(values: np.ndarray) -> DenseVector:
    """An array of one dimension as a vector.

    >>> dense(np.array([1.0, 2.0]))
    DenseVector([1.0, 2.0])
    """
    return DenseVector(np.asarray(values, float))
