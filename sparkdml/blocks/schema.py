"""The columns of a fit, checked against the schema of a DataFrame, and selected from it."""

import difflib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.mllib.linalg import VectorUDT as OldVectorUDT
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, BooleanType, DataType, NumericType, StringType, StructType

from sparkdml.blocks.columns import PARTITION, ROLES, Columns
from sparkdml.errors import ColumnError, ColumnTypeError


def select_columns(df: DataFrame, columns: Columns, *more: Column) -> DataFrame:
    """The columns alone: each role as float64 under its own name, the features as one column `features`; `more` as is.

    Numeric columns travel as one array: Spark measures every column of its Arrow batches once a row, which for 50 of
    them took longer than moving the numbers. They are named in one expression: an object each in the JVM takes 3 ms.
    """
    roles = [quoted(name).cast("double").alias(role) for role, name in columns.roles.items()]
    if columns.kind == "scalars":
        numbers = ", ".join(f"cast({escaped(name)} as double)" for name in columns.features)
        features = F.expr(f"array({numbers})")
    elif columns.kind == "array":
        features = quoted(columns.features[0]).cast("array<double>")
    else:
        features = quoted(columns.features[0])
    return df.select(*roles, features.alias("features"), *more)


def numbered(rows: DataFrame) -> DataFrame:
    """Add the number of the partition that each row is in.

    A task cannot say it: one that reads coalesced partitions computes those that were lost under its own number.
    Of local rows Spark would compute the number while it plans, for one partition; an observation in between keeps it
    from that.
    """
    if "LocalRelation" in rows._jdf.queryExecution().analyzed().toString():
        rows = rows.observe(f"rows-{uuid.uuid4().hex[:12]}", F.count(F.lit(1)))
    return rows.withColumn(PARTITION, F.spark_partition_id())


def resolve_columns(
    schema: "StructType | Fields",
    features: str | Sequence[str],
    label: str,
    weight: str | None = None,
    offset: str | None = None,
    fold: str | None = None,
) -> Columns:
    """Check the columns against the schema.

    Raises
    ------
    ColumnError : a column does not exist, or is named twice.
    ColumnTypeError : a column has a type that cannot be used.
    """
    fields, problems = Fields.of(schema), Problems()
    with problems.noted():
        roles = resolve_roles(fields, label, weight, offset, fold)
        for role, name in roles.items():
            if name in ([features] if isinstance(features, str) else features):
                raise ColumnError(f"the {role} column {name!r} is also among the features: leave it out of them.")
    with problems.noted():
        columns = resolve_features(fields, features)
    problems.tell()
    return replace(columns, roles=roles, classes=label_classes(fields, label))


def resolve_roles(
    schema: "StructType | Fields",
    label: str,
    weight: str | None = None,
    offset: str | None = None,
    fold: str | None = None,
) -> dict[str, str]:
    """The column of each role that is used, checked against the schema; raises as `resolve_columns` does."""
    fields, problems = Fields.of(schema), Problems()
    given = zip(ROLES, (label, weight, offset, fold), strict=True)
    roles = {role: name for role, name in given if name is not None and (role == "label" or name)}
    for role, name in roles.items():
        with problems.noted():
            require_numeric(fields, name, f"the {role} column")
            if role in ("offset", "fold") and name == label:
                raise ColumnError(f"the {role} column {name!r} is also the label: name another column, or none.")
    problems.tell()
    return roles


def label_classes(schema: "StructType | Fields", label: str) -> int | None:
    """Return how many classes the metadata of the label column name, as pyspark.ml reads them; None where they do not.

    StringIndexer names the values of its column, a nominal attribute may only count them, and a binary one has two.
    """
    attribute = Fields.of(schema).metadata(label).get("ml_attr", {})
    if attribute.get("type") == "binary":
        return 2
    if attribute.get("type") != "nominal":
        return None
    return attribute.get("num_vals", len(attribute.get("vals", ())) or None)


def resolve_features(schema: "StructType | Fields", features: str | Sequence[str]) -> Columns:
    """The features alone, checked against the schema; raises as `resolve_columns` does."""
    fields = Fields.of(schema)
    if isinstance(features, str):
        kind, names = _single_kind(fields, features)
        return Columns((features,), kind, names, {})
    chosen = tuple(features)
    if not chosen:
        raise ColumnError("featuresCols names no column: give at least one numeric column.")
    if twice := [name for name, count in Counter(chosen).items() if count > 1]:
        raise ColumnError(f"featuresCols names the column {twice[0]!r} twice: name each feature once.")
    problems = Problems()
    for name in chosen:
        try:
            require_numeric(fields, name, "the feature column")
        except (ColumnError, ColumnTypeError) as problem:
            problems.found.append(problem)
    problems.tell()
    return Columns(chosen, "scalars", chosen, {})


class Problems:
    """What is wrong with several columns, to be told at once."""

    def __init__(self) -> None:
        self.found: list[ColumnError | ColumnTypeError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Inside the block an error about a column is kept and not raised."""
        try:
            yield
        except (ColumnError, ColumnTypeError) as problem:
            self.found.append(problem)

    def tell(self) -> None:
        """Raise what was kept, if anything was: as one error, of the first one's class, that names at most ten."""
        if not self.found:
            return
        first, *others = self.found
        if not others:
            raise first
        told = [str(problem).rstrip(".") for problem in self.found[:10]]
        told += [f"and {len(self.found) - 10:,} more columns are wrong"] * (len(self.found) > 10)
        raise type(first)("; ".join(told) + ".") from first


class Fields:
    """The top-level columns of a schema by name, so that many of them are found in one look at the schema.

    `advice` says what can be done with a column that is not numeric, see `ADVICE`; a job has other means.
    """

    def __init__(self, schema: StructType, advice: Mapping[str, str] | None = None) -> None:
        self.names = schema.names
        self.advice = ADVICE if advice is None else advice
        self._by_name = {field.name: field for field in schema.fields}
        self._count = Counter(self.names)
        self._alike = Counter(name.lower() for name in self._by_name)

    @classmethod
    def of(cls, schema: "StructType | Fields") -> "Fields":
        """Return the columns of a schema, which may have been looked at before."""
        return schema if isinstance(schema, Fields) else cls(schema)

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of a column that is there."""
        return self._by_name[name].metadata

    def type_of(self, name: str) -> DataType:
        """Return the type of a column; raises `ColumnError` where several have the name, or none: with the nearest."""
        if (count := self._count[name]) > 1:
            raise ColumnError(f"there are {count} columns {name!r}: rename one of them, or drop it.")
        if count:
            if self._alike[name.lower()] > 1:
                _require_case(each for each in self.names if each.lower() == name.lower())
            return self._by_name[name].dataType
        outer, _, inner = name.partition(".")
        if inner and outer in self._by_name and isinstance(self._by_name[outer].dataType, StructType):
            raise ColumnError(
                f"there is no column {name!r}, but a struct {outer!r}: select its field as a column of its own."
            )
        lower = {each.lower(): each for each in self.names}  # cases differ most often, and count most letters
        near = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
        hint = f"did you mean {lower[near[0]]!r}?" if near else f"the columns are {', '.join(self.names[:20])}."
        raise ColumnError(f"there is no column {name!r}: {hint}")


def find_type(schema: StructType, name: str) -> DataType:
    """Return the type of one top-level column; raises as `Fields.type_of` does."""
    return Fields(schema).type_of(name)


def _require_case(alike: Iterable[str]) -> None:
    """Refuse columns whose names differ only in case, unless Spark is case-sensitive."""
    session = SparkSession.getActiveSession()
    if session and session.conf.get("spark.sql.caseSensitive") != "true":
        raise ColumnError(
            f"there are columns {' and '.join(map(repr, alike))}, which Spark does not tell apart: rename one of them, "
            "or drop it."
        )


def is_numeric(data_type: DataType) -> bool:
    """Whether a column of this type can be a feature, a label or a weight."""
    return isinstance(data_type, NumericType | BooleanType)


def quoted(name: str) -> Column:
    """The top-level column of this name, whatever characters it has."""
    return F.col(escaped(name))


def escaped(name: str) -> str:
    """A name as it stands in SQL.

    >>> escaped("a`b")
    '`a``b`'
    """
    return "`{}`".format(name.replace("`", "``"))


def numbers_of(vectors: Column) -> Column:
    """A column of vectors as arrays; null where the vector is, on which `vector_to_array` alone would fail."""
    return F.when(vectors.isNotNull(), vector_to_array(vectors))


def scores_of(vectors: Column) -> Column:
    """The numbers of vectors that models make, which are dense: as Spark stores them, without a copy."""
    return F.unwrap_udt(vectors)["values"]


# What can be done with a column that is not numeric; with one of text also by what the column is.
ADVICE = {
    "": "cast it to a number",
    "the feature column": "encode it with StringIndexer and OneHotEncoder, or cast it to a number",
    "the label column": "number its classes with StringIndexer, or cast it to a number",
}


def require_numeric(schema: StructType | Fields, name: str, what: str) -> None:
    """Check that a column is there and is numeric; `what` it is, in words. Raises as `resolve_columns` does."""
    fields = Fields.of(schema)
    data_type = fields.type_of(name)
    if is_numeric(data_type):
        return
    text = isinstance(data_type, StringType)
    advice = fields.advice.get(what if text else "", fields.advice[""])
    raise ColumnTypeError(f"{what} {name!r} is of type {data_type.simpleString()}, not numeric: {advice}.")


def _single_kind(fields: Fields, name: str) -> tuple[str, tuple[str, ...] | None]:
    data_type = fields.type_of(name)
    if isinstance(data_type, VectorUDT):
        return "vector", _attribute_names(fields.metadata(name))
    if isinstance(data_type, ArrayType) and is_numeric(data_type.elementType):
        return "array", None
    if is_numeric(data_type):
        return "scalars", (name,)
    if isinstance(data_type, OldVectorUDT):
        raise ColumnTypeError(
            f"the features column {name!r} has vectors of pyspark.mllib: MLUtils.convertVectorColumnsToML of "
            "pyspark.mllib.util makes those of pyspark.ml, which are needed, of them."
        )
    raise ColumnTypeError(
        f"the features column {name!r} is of type {data_type.simpleString()}: it must be a vector "
        "(VectorAssembler makes one), an array of numbers, or give numeric columns as featuresCols."
    )


def _attribute_names(metadata: dict) -> tuple[str, ...] | None:
    """The names that VectorAssembler and its like leave in a vector column's metadata."""
    groups = metadata.get("ml_attr", {}).get("attrs", {})
    attributes = [attribute for group in groups.values() for attribute in group]
    names = {attribute.get("idx"): attribute.get("name") for attribute in attributes}
    if not names or set(names) != set(range(len(names))) or None in names.values():
        return None
    return tuple(str(names[j]) for j in range(len(names)))
