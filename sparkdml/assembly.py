"""The features of a table as one vector column, as the models of pyspark.ml score it in the JVM."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StructField, StructType

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.schema import numbers_of, quoted

VECTOR_COL = "_sparkdml_features"
PARTS_COL = "_sparkdml_parts"
NAN = float("nan")
MEANS_IN_PLAN = 1000  # a row of 100 took 5 microseconds with its means in the plan, 9 to 16 by way of a second vector
WRAPPED = StructType([StructField("vector", VectorUDT())])


@dataclass(frozen=True, eq=False)
class Part:
    """Some numbers of each row, and their coefficients.

    Attributes
    ----------
    numbers : a column of vectors, none of them null, or of doubles.
    weights : (C, size).
    """

    numbers: Column
    weights: np.ndarray


def assembled(dataset: DataFrame, parts: Sequence[Part]) -> DataFrame:
    """The table with the numbers of all parts, one after the other, as a column of vectors, `VECTOR_COL`.

    A null among doubles becomes NaN. Sizes are told: of vectors VectorAssembler would count them by a job, and of what
    it makes it names every number.
    """
    sizes = [part.weights.shape[1] for part in parts]
    if len(parts) == 1:
        return dataset.withColumn(VECTOR_COL, parts[0].numbers)
    names = [f"{PARTS_COL}_{i}" for i in range(len(parts))]
    columns = {name: _sized(part.numbers, name, size) for name, part, size in zip(names, parts, sizes, strict=True)}
    assembler = VectorAssembler(inputCols=names, outputCol=PARTS_COL, handleInvalid="keep")
    both = assembler.transform(dataset.withColumns(columns))
    return both.withColumn(VECTOR_COL, _sized(F.col(PARTS_COL), VECTOR_COL, sum(sizes))).drop(PARTS_COL, *names)


def _sized(column: Column, name: str, size: int) -> Column:
    """A column with the size of its vectors, and nothing else, in its metadata."""
    return column.alias(name, metadata={"ml_attr": {"num_attrs": size}})


def feature_parts(dataset: DataFrame, columns: Columns, weights: np.ndarray, means: np.ndarray | None) -> list[Part]:
    """The features of each row, of the weights (C, d); where there are means a missing number has that of its feature.

    Of numeric columns, and of vectors and arrays of up to `MEANS_IN_PLAN` numbers, the means stand in the plan. Of
    wider ones a missing number becomes zero, and a second vector has a one in its place, whose weight is the feature's
    times the mean: sparse rows stay sparse, and the plan stays small. Without means a missing number is NaN; so are all
    of a row without a vector.
    """
    size, name = weights.shape[1], columns.features[0]
    if columns.kind == "scalars":
        otherwise = np.full(size, NAN) if means is None else means
        numbers = [quoted(each).cast("double") for each in columns.features]
        return [Part(array_to_vector(F.array(*map(_present_or, numbers, map(F.lit, otherwise.tolist())))), weights)]
    vectors, nowhere = quoted(name), F.array_repeat(F.lit(NAN), size)
    if means is not None and size <= MEANS_IN_PLAN:
        arrays = numbers_of(vectors) if columns.kind == "vector" else vectors.cast("array<double>")
        filled = F.zip_with(arrays, F.lit(means.tolist()), _present_or)
        return [Part(array_to_vector(F.coalesce(filled, nowhere)), weights)]
    if columns.kind == "array":
        vectors = _as_vectors(vectors, dataset.schema[name].dataType)
    if means is None:
        return [Part(F.coalesce(vectors, array_to_vector(nowhere)), weights)]
    present, missing = _parted(vectors, size)
    return [Part(F.coalesce(present, array_to_vector(nowhere)), weights), Part(missing, weights * means)]


def _present_or(number: Column, otherwise: Column) -> Column:
    """The number, or what stands for it where it is null or NaN."""
    return F.coalesce(F.nanvl(number, F.lit(None).cast("double")), otherwise)


def _as_vectors(arrays: Column, kind: DataType) -> Column:
    """A column of arrays as vectors, null where the array is, with NaN for a null number."""
    numbers = arrays.cast("array<double>")
    if isinstance(kind, ArrayType) and kind.containsNull:
        numbers = F.transform(numbers, lambda number: F.coalesce(number, F.lit(NAN)))
    return F.when(arrays.isNotNull(), array_to_vector(numbers))


def _parted(vectors: Column, size: int) -> tuple[Column, Column]:
    """The vectors with zeros for NaNs, null where they are; and where those were, as sparse vectors of ones."""
    stored = F.unwrap_udt(vectors)
    numbers, indices = stored["values"], stored["indices"]
    holes = F.exists(numbers, F.isnan)
    zeroed = F.transform(numbers, lambda number: F.nanvl(number, F.lit(0.0)))
    filled = F.when(indices.isNull(), array_to_vector(zeroed)).otherwise(_sparse(stored["size"], indices, zeroed))
    places = F.coalesce(indices, F.sequence(F.lit(0), F.size(numbers) - 1))
    places = F.filter(places, lambda _, i: F.isnan(F.get(numbers, i)))
    ones = _sparse(F.lit(size), places, F.transform(places, lambda _: F.lit(1.0)))
    none = _sparse(F.lit(size), F.array().cast("array<int>"), F.array().cast("array<double>"))
    return F.when(holes, filled).otherwise(vectors), F.when(holes, ones).otherwise(none)


def _sparse(size: Column, indices: Column, values: Column) -> Column:
    """A column of sparse vectors from their parts.

    By way of JSON, since no function of SQL makes any; a double is written there with all its digits.
    """
    parts = {"type": F.lit(0), "size": size, "indices": indices, "values": values}
    vector = F.struct(*(part.alias(name) for name, part in parts.items()))
    return F.from_json(F.to_json(F.struct(vector.alias("vector"))), WRAPPED)["vector"]
