"""The features of a table as one vector column, as the models of pyspark.ml score it in the JVM."""

from typing import Any

import numpy as np
from pyspark import SparkContext
from pyspark.ml.common import _py2java
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StructField, StructType

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.schema import escaped, quoted

VECTOR_COL = "_sparkdml_features"
OFFSET_COL = "_sparkdml_offset"
AUGMENTED_COL = "_sparkdml_features_and_offset"
NAN = float("nan")
WRAPPED = StructType([StructField("vector", VectorUDT())])


def augmented(rows: DataFrame, offset: str, size: int) -> DataFrame:
    """The rows with the offset behind the `size` numbers of their vectors; a missing one is NaN there.

    Sizes are told: of the vectors VectorAssembler would count it by a job, and of what it makes it names every number.
    """
    parts = rows.withColumns({VECTOR_COL: _sized(VECTOR_COL, size), OFFSET_COL: quoted(offset).cast("double")})
    both = VectorAssembler(inputCols=[VECTOR_COL, OFFSET_COL], outputCol=AUGMENTED_COL, handleInvalid="keep")
    whole = both.transform(parts).withColumn(VECTOR_COL, _sized(AUGMENTED_COL, size + 1))
    return whole.drop(OFFSET_COL, AUGMENTED_COL)


def _sized(column: str, size: int) -> Column:
    """A column of vectors with their size, and nothing else, in its metadata."""
    return quoted(column).alias(column, metadata={"ml_attr": {"num_attrs": size}})


def feature_vectors(dataset: DataFrame, columns: Columns, size: int, means: np.ndarray | None) -> Column:
    """The features of each row as one vector, a missing number as the mean of its feature, (size,); no row is null.

    Without means it is NaN, and so are in either case all numbers of a row without a vector. Sparse rows stay sparse.
    """
    name = columns.features[0]
    if columns.kind == "scalars":
        otherwise = map(_double, np.full(size, NAN) if means is None else means)
        numbers = zip(map(escaped, columns.features), otherwise, strict=True)
        # in one expression, for an object each in the JVM takes 3 ms
        filled = (f"coalesce(nanvl(cast({name} as double), null), {other})" for name, other in numbers)
        return array_to_vector(F.expr(f"array({', '.join(filled)})"))
    if columns.kind == "vector":
        vectors = quoted(name) if means is None else _filled(quoted(name), _literal(means))
    else:
        vectors = _as_vectors(quoted(name), dataset.schema[name].dataType, means)
    return F.coalesce(vectors, array_to_vector(F.array_repeat(F.lit(NAN), size)))


def _double(number: float) -> str:
    """Return a number as SQL has it, with all its digits.

    >>> _double(-1e-300), _double(float("nan"))
    ('-1e-300D', "double('nan')")
    """
    return f"{float(number)!r}D" if np.isfinite(number) else f"double('{number}')"


def _literal(numbers: np.ndarray) -> Column:
    """An array in the plan, as Spark stores it: made in one call of the JVM, and without its numbers where plans print.

    `lit` of a list takes a call for each number, and Spark writes out each plan that it runs: 20 MB of a million means.
    """
    context: Any = SparkContext._active_spark_context
    sql = context._jvm.org.apache.spark.sql
    kinds, catalyst = sql.types.DataTypes, sql.catalyst.expressions
    stored = catalyst.UnsafeArrayData.fromPrimitiveArray(_py2java(context, DenseVector(numbers)).values())
    literal = catalyst.Literal(stored, kinds.createArrayType(kinds.DoubleType, False))
    return Column(sql.classic.ExpressionUtils.column(literal))


def _present_or(number: Column, otherwise: Column) -> Column:
    """The number, or what stands for it where it is null or NaN."""
    return F.coalesce(F.nanvl(number, F.lit(None).cast("double")), otherwise)


def _as_vectors(arrays: Column, kind: DataType, means: np.ndarray | None) -> Column:
    """A column of arrays as vectors, null where the array is, with means or NaN for what is missing in one."""
    numbers = arrays.cast("array<double>")
    if means is not None:
        numbers = F.zip_with(numbers, _literal(means), _present_or)
    elif isinstance(kind, ArrayType) and kind.containsNull:
        numbers = F.transform(numbers, lambda number: F.coalesce(number, F.lit(NAN)))
    return F.when(arrays.isNotNull(), array_to_vector(numbers))


def _filled(vectors: Column, means: Column) -> Column:
    """The vectors with means for NaNs, dense or sparse as they were; those without NaNs are passed on."""
    stored = F.unwrap_udt(vectors)
    numbers, indices = stored["values"], stored["indices"]
    dense = array_to_vector(F.zip_with(numbers, means, _present_or))
    places = F.zip_with(numbers, indices, lambda number, place: _present_or(number, F.get(means, place)))
    filled = F.when(indices.isNull(), dense).otherwise(_sparse(stored["size"], indices, places))
    return F.when(F.exists(numbers, F.isnan), filled).otherwise(vectors)


def _sparse(size: Column, indices: Column, values: Column) -> Column:
    """A column of sparse vectors from their parts.

    By way of JSON, since no function of SQL makes any; a double is written there with all its digits.
    """
    parts = {"type": F.lit(0), "size": size, "indices": indices, "values": values}
    vector = F.struct(*(part.alias(name) for name, part in parts.items()))
    return F.from_json(F.to_json(F.struct(vector.alias("vector"))), WRAPPED)["vector"]
