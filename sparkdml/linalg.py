"""Arrays as the vectors and matrices of pyspark.ml."""

import numpy as np
from pyspark.ml.linalg import DenseMatrix, DenseVector, Matrix, SparseMatrix, SparseVector, Vector
from scipy.sparse import csr_array


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


def compressed(values: np.ndarray) -> Vector:
    """An array of one dimension as a vector, sparse where pyspark.ml would have it so, which is where that is smaller.

    A number takes 8 bytes, a place 4, the size of a sparse vector 4, the header of an array 12.

    >>> compressed(np.array([0.0, 0.0, 0.0, 0.0, 1.0])), compressed(np.array([0.0, 1.0]))
    (SparseVector(5, {4: 1.0}), DenseVector([0.0, 1.0]))
    """
    places = np.flatnonzero(values)
    if 8 * len(values) + 12 <= 12 * len(places) + 28:
        return dense(values)
    return SparseVector(len(values), places, values[places])


def compressed_matrix(values: np.ndarray) -> Matrix:
    """An array of two dimensions as a matrix, sparse by rows or by columns where pyspark.ml would have it so.

    That is where it is the smallest, counted as for a vector.

    >>> compressed_matrix(np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0]]))
    SparseMatrix(3, 4, [0, 1, 2, 3], [3, 2, 1], [1.0, 2.0, 3.0], 1)
    """
    (rows, columns), stored = values.shape, int(np.count_nonzero(values))
    by_columns, by_rows = (12 * stored + 4 * (ends + 1) + 36 for ends in (columns, rows))
    if 8 * values.size + 12 <= min(by_columns, by_rows):
        return matrix(values)
    transposed = by_rows < by_columns
    parts = csr_array(values if transposed else values.T)
    return SparseMatrix(rows, columns, parts.indptr, parts.indices, parts.data, int(transposed))  # type: ignore[arg-type]
