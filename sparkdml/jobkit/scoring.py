"""A table scored by a saved model: every row is kept, and one that cannot be scored has a null prediction."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from types import MappingProxyType
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from sparkdml.blocks.schema import Fields, Problems, quoted, require_numeric, resolve_features, resolve_roles
from sparkdml.columns import offset_of
from sparkdml.errors import ColumnError, DataError
from sparkdml.jobkit.categories import PREFIX, check_categories, is_known, known_levels, told_missing
from sparkdml.jobkit.models import SavedModel

EMPTY: Mapping[str, str | None] = MappingProxyType({})
# What a user of a job can do with a column that is not numeric; see `sparkdml.blocks.schema.ADVICE`.
ADVICE = {"": "make a number of it with --with-column"}
_KEPT = f"{PREFIX}kept_"
_SCORABLE = f"{PREFIX}scorable"


def feature_columns(saved: SavedModel) -> str | list[str]:
    """The numeric columns, or the one vector or array column, that the model reads from a table."""
    if not saved.encoders:
        return saved.model._features()
    encoded = {f"{name}={level}" for name, levels, _ in known_levels(saved.encoders) for level in levels}
    return [name for name in saved.model.featureNames if name not in encoded]


def needed_columns(saved: SavedModel) -> list[str]:
    """All columns that the model reads from a table: features, categories and offset."""
    features, offset = feature_columns(saved), offset_of(saved.model)
    names = [*([features] if isinstance(features, str) else features), *(n for n, _, _ in known_levels(saved.encoders))]
    return [*names, offset] if offset else names


def check_table(
    saved: SavedModel, schema: StructType, names: Mapping[str, str], roles: Mapping[str, str | None] = EMPTY
) -> None:
    """Refuse a table that the model does not fit, by names, types and order of its columns, before a row is read.

    `roles` are the columns of label and weight, by the Params that name them, where these are needed.

    Raises
    ------
    ColumnError, ColumnTypeError
        A column is missing or of another type; a vector has other features, or in another order; a column has the
        name that the predictions get. All of them are told in one error.
    """
    fields, problems = Fields(schema, ADVICE), Problems()
    with problems.noted():
        if features := feature_columns(saved):  # else all of them are categories
            columns = resolve_features(fields, features)
            if columns.kind == "vector" and columns.names is not None:
                _check_names(columns.names, saved.model.featureNames, columns.features[0])
    with problems.noted():
        if offset := offset_of(saved.model):
            require_numeric(fields, offset, "the offset column")
    with problems.noted():
        if roles:
            resolve_roles(fields, str(roles["labelCol"]), roles["weightCol"])
    with problems.noted():
        check_categories(schema, [name for name, _, _ in known_levels(saved.encoders)], [])
    for output, name in names.items():
        with problems.noted():
            if name in schema.names:
                flag = f"--{output.removesuffix('Col')}-col"
                raise ColumnError(f"the table has a column {name!r} already: choose another name with {flag}.")
    with problems.noted():
        if taken := [name for name in schema.names if name.startswith(PREFIX)]:
            raise ColumnError(f"the table has a column {taken[0]!r}; names that begin so are taken: rename it.")
    problems.tell()


def scored(saved: SavedModel, table: DataFrame, names: Mapping[str, str], whole: bool = False) -> DataFrame:
    """The table with a column of each of the model's `numbers`, lazily; nulls where a feature is missing or NaN.

    With `whole` a vector, such as that of the probabilities of all classes, stays one.

    `names` are those of the columns, by the Params of the model. A row also has nulls where a category has a level that
    training did not see, unless the model takes it for the reference.
    """
    levels = known_levels(saved.encoders)
    rows = table.withColumn(_SCORABLE, reduce(and_, [_scorable(*each) for each in levels], F.lit(True)))
    rows = rows.withColumns({_KEPT + name: quoted(name) for name, _, _ in levels})
    for name, seen, _ in levels:  # the encoders refuse what is missing or unseen, in rows that are not scored too
        rows = rows.withColumn(name, F.when(is_known(name, seen), quoted(name).cast("string")).otherwise(seen[-1]))
    model: Any = saved.model.copy()
    model._set(**{output: names.get(output, "") for output in model._outputs})
    for stage in (*saved.encoders, model):
        rows = stage.transform(rows)
    found = {name: quoted(name) if whole else model.number(output, quoted(name)) for output, name in names.items()}
    added = [F.when(quoted(_SCORABLE), each).alias(name) for name, each in found.items()]
    encoded = {name for name, _, _ in levels}
    kept = [quoted(_KEPT + name).alias(name) if name in encoded else quoted(name) for name in table.columns]
    return rows.select(*kept, *added)


def tally(saved: SavedModel, names: Mapping[str, str]) -> list[Column]:
    """What to count of the scored rows while they pass by, for `check_tally`."""
    null = quoted(names["predictionCol"]).isNull()
    counts = [F.count(F.lit(1)).alias("rows"), F.count_if(null).alias("rows_null")]
    for i, (name, levels) in enumerate(_strict(saved)):
        unseen = F.when(~is_known(name, levels), quoted(name).cast("string"))
        counts += [F.count(unseen).alias(f"unseen_{i}"), F.max(unseen).alias(f"example_{i}")]
    return counts


def check_tally(saved: SavedModel, counts: Mapping[str, Any]) -> None:
    """Raise DataError where a level was met that training did not see, and the model says that this is an error."""
    for i, (name, levels) in enumerate(_strict(saved)):
        if count := counts[f"unseen_{i}"]:
            raise DataError(
                f"column {name!r} has {count:,} value{'s' * (count > 1)} that the model was not trained on, such as "
                f"{counts[f'example_{i}']!r}; it knows {', '.join(levels[:10])}{', ...' * (len(levels) > 10)}. Train "
                "with --handle-unseen skip or keep to score such rows."
            )


def missing_features(saved: SavedModel, table: DataFrame) -> DataError:
    """The error for rows without a prediction: what is missing of features and offset, how often; one job."""
    names = needed_columns(saved)
    kinds = {field.name: field.dataType for field in table.schema.fields}
    counts = table.agg(*[F.count_if(_missing(name, kinds[name])).alias(f"c{i}") for i, name in enumerate(names)])
    found = {name: count for name, count in zip(names, counts.collect()[0], strict=True) if count}
    told = told_missing(found) or "some features are NaN"
    return DataError(f"{told}: fill or drop them, or take --handle-invalid skip.")


def _missing(name: str, kind: DataType) -> Column:
    numeric = kind.typeName() in ("double", "float")
    return quoted(name).isNull() | F.isnan(quoted(name)) if numeric else quoted(name).isNull()


def _strict(saved: SavedModel) -> list[tuple[str, list[str]]]:
    """The categorical columns, with their levels, in which any other level is an error."""
    return [(name, levels) for name, levels, handle in known_levels(saved.encoders) if handle == "error"]


def _scorable(name: str, levels: Sequence[str], handle: str) -> Column:
    return quoted(name).isNotNull() if handle == "keep" else F.coalesce(is_known(name, levels), F.lit(False))


def _check_names(found: Sequence[str], expected: Sequence[str], column: str) -> None:
    """Compare the names that a vector column carries with those of the model, if it has names."""
    if tuple(found) == tuple(expected) or expected[0] == f"{column}[0]":
        return
    there, needed = set(found), set(expected)
    if missing := [name for name in expected if name not in there]:
        raise ColumnError(f"the vectors in {column!r} have no feature {missing[0]!r}, which the model needs.")
    if strange := [name for name in found if name not in needed]:
        raise ColumnError(f"the vectors in {column!r} have a feature {strange[0]!r} that the model does not know.")
    j = next(j for j, (name, other) in enumerate(zip(found, expected, strict=True)) if name != other)
    raise ColumnError(
        f"the features in {column!r} are in another order than in training: at place {j} is {found[j]!r}, where the "
        f"model has {expected[j]!r}."
    )
