"""Categorical columns: one column of zeros and ones a level, by Spark's own encoders, in front of the model.

The levels of a column are ordered by frequency. The last, the rarest, is the reference: it has no column of its own,
and the coefficients of the others are differences from it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.base import Transformer
from pyspark.ml.feature import OneHotEncoder, StringIndexer, StringIndexerModel, VectorAssembler, VectorSlicer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, IntegralType, StringType, StructType

from sparkdml.blocks.schema import Fields, Problems, quoted
from sparkdml.errors import ColumnError, ColumnTypeError, DataError

HANDLE_UNSEEN = ("error", "skip", "keep")
PREFIX = "_sparkdml_"
ENCODED = f"{PREFIX}features"


def check_categories(schema: StructType, names: Sequence[str], others: Sequence[str | None]) -> None:
    """Refuse columns that cannot be categories; raises ColumnError or ColumnTypeError."""
    fields, named, taken, problems = Fields(schema), Counter(names), set(others), Problems()
    for name in names:
        with problems.noted():
            kind = fields.type_of(name)
            if not isinstance(kind, StringType | BooleanType | IntegralType):
                raise ColumnTypeError(
                    f"the categorical column {name!r} is of type {kind.simpleString()}: it must be of strings, "
                    "integers or booleans; make text of it with --with-column, or give it among the numeric features."
                )
            if name in taken or named[name] > 1:
                raise ColumnError(f"the categorical column {name!r} is named twice: name each column once.")
            if set(name) & set(".`"):
                raise ColumnError(f"the categorical column {name!r} has a dot or a backtick in its name: rename it.")
    problems.tell()


def fit_encoders(table: DataFrame, numeric: Sequence[str], categorical: Sequence[str], unseen: str) -> PipelineModel:
    """Spark's encoders, fitted to the levels in `table`; they put all features into one vector column.

    Parameters
    ----------
    table : DataFrame
        The training rows; no category is null.
    numeric, categorical : sequence of str
        The columns; numeric ones come first in the vector.
    unseen : {"error", "skip", "keep"}
        What becomes of a row with a level that is not in `table`, when the pipeline scores it: an error, no row, or
        the row as if its level were the reference.

    Raises
    ------
    DataError
        A column has one level only.
    """
    indexed = [f"{PREFIX}index_{name}" for name in categorical]
    levels = [f"{PREFIX}levels_{name}" for name in categorical]
    keep = unseen == "keep"
    indexer = StringIndexer(inputCols=list(categorical), outputCols=indexed, handleInvalid=unseen).fit(table)
    sizes = [len(labels) for labels in indexer.labelsArray]
    for name, size in zip(categorical, sizes, strict=True):
        if size < 2:
            raise DataError(f"the categorical column {name!r} has {size} level{'s' * (size != 1)}: leave it out.")
    encoder = OneHotEncoder(inputCols=indexed, outputCols=levels, dropLast=not keep)
    whole = f"{PREFIX}all" if keep else ENCODED
    stages: list[Any] = [
        indexer,
        encoder,
        VectorAssembler(inputCols=[*numeric, *levels], outputCol=whole, handleInvalid="keep"),
    ]
    if keep:  # neither the reference nor the level of what was never seen has a coefficient
        chosen, start = list(range(len(numeric))), len(numeric)
        for size in sizes:
            chosen += range(start, start + size - 1)
            start += size + 1
        stages.append(VectorSlicer(inputCol=whole, outputCol=ENCODED, indices=chosen))
    return Pipeline(stages=stages).fit(table)


def levels_as_text(table: DataFrame, categorical: Sequence[str]) -> DataFrame:
    """The table with text in place of the booleans among its categorical columns, which Spark's encoders refuse."""
    booleans = [field.name for field in table.schema.fields if isinstance(field.dataType, BooleanType)]
    return table.withColumns({name: quoted(name).cast("string") for name in categorical if name in booleans})


def encode(encoders: PipelineModel, numeric: Sequence[str], table: DataFrame) -> DataFrame:
    """The training table with its vector column, whose entries are named ``carat`` or ``cut=Ideal``."""
    names = [*numeric, *(f"{name}={level}" for name, levels in _levels(encoders) for level in levels[:-1])]
    attributes = [{"idx": j, "name": name} for j, name in enumerate(names)]
    metadata = {"ml_attr": {"attrs": {"numeric": attributes}, "num_attrs": len(names)}}
    return encoders.transform(table).withMetadata(ENCODED, metadata)


def references(encoders: PipelineModel) -> list[str]:
    """The reference level of each categorical column, as ``cut=Fair``."""
    return [f"{name}={levels[-1]}" for name, levels in _levels(encoders)]


def known_levels(stages: Sequence[Transformer]) -> list[tuple[str, list[str], str]]:
    """Column, levels and what to do with others, of every categorical column that `stages` encode."""
    indexers = [stage for stage in stages if isinstance(stage, StringIndexerModel)]
    return [
        (name, list(levels), indexer.getHandleInvalid())
        for indexer in indexers
        for name, levels in zip(indexer.getInputCols(), indexer.labelsArray, strict=True)
    ]


def is_known(name: str, levels: Sequence[str]) -> Column:
    """Whether the value of a column is one of its levels; null where it is null."""
    return quoted(name).cast("string").isin(list(levels))


def missing_categories(table: DataFrame, names: Sequence[str]) -> tuple[dict[str, int], int]:
    """How many nulls each column has, of those that have any, and how many rows have one; one job."""
    nulls = [quoted(name).isNull() for name in names]
    counts = [F.count_if(null).alias(f"c{i}") for i, null in enumerate((*nulls, reduce(or_, nulls)))]
    *found, rows = table.agg(*counts).collect()[0]
    return {name: int(count) for name, count in zip(names, found, strict=True) if count}, int(rows)


def told_missing(counts: Mapping[str, int]) -> str:
    """How many values each column lacks, in words; at most five columns.

    >>> told_missing({"cut": 1, "color": 207})
    "column 'cut' has 1 missing value, column 'color' has 207 missing values"
    """
    told = [f"column {name!r} has {n:,} missing value{'s' * (n > 1)}" for name, n in list(counts.items())[:5]]
    return ", ".join(told)


def _levels(encoders: PipelineModel) -> list[tuple[str, list[str]]]:
    return [(name, levels) for name, levels, _ in known_levels(encoders.stages)]
