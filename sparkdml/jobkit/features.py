"""The features of a training job: which columns they are, what is left out, and that none vanishes unseen.

One cell such as ``NA`` makes text of a column whose type Spark guesses, and text is no feature. So where the features
are not named, a column of text that nearly all is numbers is refused, whatever is left out is told, and a table that
lacks features of the version before is refused too.
"""

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.ml.linalg import VectorUDT
from pyspark.mllib.linalg import VectorUDT as OldVectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from sparkdml.blocks.schema import (
    Fields,
    Problems,
    escaped,
    is_numeric,
    quoted,
    resolve_columns,
    resolve_features,
    resolve_roles,
)
from sparkdml.columns import offset_of
from sparkdml.errors import ColumnError, DataError, FormatError, InputMissingError
from sparkdml.jobkit.categories import check_categories, known_levels
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.models import SavedModel, load_saved
from sparkdml.jobkit.progress import log
from sparkdml.jobkit.publish import Output
from sparkdml.jobkit.scoring import feature_columns
from sparkdml.jobkit.tables import GUESSED, format_of
from sparkdml.storage import Storage
from sparkdml.text import printable

NEARLY_ALL = 0.95  # the share of cells from which a column of text is taken for a damaged one of numbers
_CELLS = 3
_LIKE_IDS = re.compile(r"_c\d+|__index_level_\d+__|unnamed: ?\d+|index|(.*[_ .-])?id", re.IGNORECASE)
_CAMEL_ID = re.compile(r".*[a-z0-9]I[dD]")

# What a user of a job can do with a column that is not numeric; see `sparkdml.blocks.schema.ADVICE`.
ADVICE = {
    "": "make a number of it with --with-column",
    "the feature column": "name it with --categorical, make a number of it with --with-column, or leave it out",
    "the label column": "number its classes with --with-column, such as --with-column \"y=if(answer = 'yes', 1, 0)\"",
}


@dataclass(frozen=True)
class Features:
    """The columns that a job trains with, and those that it leaves out although nobody said so.

    Attributes
    ----------
    columns : str or list of str
        The numeric columns, or the one vector or array column.
    categorical : list of str
        The columns whose levels are encoded.
    left_out : list of str
        Where the features were not named: the columns that have no part.
    unsaid : list of str
        Those of `left_out` that ``--leave-out`` does not name.
    like_ids : list of str
        Where the features were not named: those of them that are called like identifiers or row numbers.
    """

    columns: str | list[str]
    categorical: list[str]
    left_out: list[str]
    unsaid: list[str]
    like_ids: list[str]

    def told(self) -> dict[str, list[str]]:
        """What the result line and run.json say of them."""
        numeric = [self.columns] if isinstance(self.columns, str) else self.columns
        return {"features": [*numeric, *self.categorical], "left_out": self.left_out, "like_ids": self.like_ids}


def choose_features(estimator: Any, schema: StructType, options: argparse.Namespace) -> Features:
    """The features of the command line or by default; every column is checked by its name and type.

    Raises
    ------
    UsageError
        Flags contradict each other.
    ColumnError, ColumnTypeError
        Columns are missing, of a wrong type, or named twice: all of them in one error.
    """
    label, weight, categorical = estimator.getLabelCol(), options.weight, options.categorical or []
    fold = estimator.getOrDefault("validationIndicatorCol") if estimator.isDefined("validationIndicatorCol") else None
    roles = [label, weight, offset_of(estimator), fold]
    named = options.features_col if options.features is None else options.features
    if named is not None and options.leave_out:
        raise UsageError("--leave-out goes with the default features: name either these or those.")
    if categorical and isinstance(named, str):
        raise UsageError("--categorical goes with numeric columns (--features), not with --features-col.")
    fields, problems = Fields(schema, ADVICE), Problems()
    said = options.leave_out or []
    for name in said:
        with problems.noted():
            fields.type_of(name)
    features = named if named is not None else _by_default(schema, [*roles, *categorical, *said])
    with problems.noted():
        if features:
            resolve_columns(fields, features, *roles)
        else:
            resolve_roles(fields, *roles)
    with problems.noted():
        check_categories(schema, categorical, [*roles, *features])
    problems.tell()
    if named is not None:
        return Features(features, categorical, [], [], [])
    taken = {*roles, *categorical, *([features] if isinstance(features, str) else features)}
    left_out = [name for name in schema.names if name not in taken]
    like_ids = [] if isinstance(features, str) else _like_ids(features)
    return Features(features, categorical, left_out, [name for name in left_out if name not in said], like_ids)


def numeric_columns(schema: StructType, *other: str | None) -> list[str]:
    """The names of all columns of numbers or booleans that are not among `other`, in the table's order."""
    taken = set(other)
    return [field.name for field in schema.fields if is_numeric(field.dataType) and field.name not in taken]


def _by_default(schema: StructType, others: Sequence[str | None]) -> str | list[str]:
    """All numeric columns but `others`; where there are none, the only vector column."""
    numeric = numeric_columns(schema, *others)
    vectors = [field.name for field in schema.fields if isinstance(field.dataType, VectorUDT | OldVectorUDT)]
    vectors = [name for name in vectors if name not in others]
    return vectors[0] if len(vectors) == 1 and not numeric else numeric


def _no_features(schema: StructType) -> ColumnError:
    found = _some([f"{field.name} ({field.dataType.simpleString()})" for field in schema.fields])
    return ColumnError(f"no numeric column is left for the features; the table has {found or 'no columns at all'}.")


def _like_ids(features: Sequence[str]) -> list[str]:
    """The features that are called like identifiers or row numbers; ``_c0`` only where others have names.

    >>> _like_ids(["_c0", "user_id", "userId", "id", "paid", "width"]), _like_ids(["_c0", "_c1"])
    (['_c0', 'user_id', 'userId', 'id'], [])
    """
    found = [name for name in features if _LIKE_IDS.fullmatch(name) or _CAMEL_ID.fullmatch(name)]
    return [] if all(name.startswith("_c") for name in features) else found


def check_features(chosen: Features, files: DataFrame, options: argparse.Namespace) -> None:
    """Refuse columns of text that are numbers but for some cells, where Spark guessed the types; one job or two.

    `files` has all rows that were read: a type is guessed from all of them.

    Raises
    ------
    DataError
        With the column, how many cells are numbers, three cells that are not, and what to do.
    ColumnError
        There is no feature at all.
    """
    types = {field.name: field.dataType for field in files.schema.fields}
    computed = {name for name, _ in options.with_column or ()}
    text = [name for name in chosen.unsaid if name not in computed and isinstance(types.get(name), StringType)]
    told = _nearly_numbers(text, files, options) if text and format_of(options) in GUESSED else []
    if told:
        raise DataError("; ".join(told) + ".")
    if not (chosen.columns or chosen.categorical):
        raise _no_features(files.schema)


def _nearly_numbers(text: Sequence[str], files: DataFrame, options: argparse.Namespace) -> list[str]:
    """What is said of each column of `text` that nearly all, but not all, is numbers."""
    counts = [each for name in text for each in (F.count(quoted(name)), F.count_if(_is_number(name)))]
    found = files.agg(*[each.alias(f"c{i}") for i, each in enumerate(counts)]).collect()[0]
    told = []
    for name, cells, numbers in zip(text, found[::2], found[1::2], strict=True):
        if NEARLY_ALL * cells <= numbers < cells:
            bad = files.where(quoted(name).isNotNull() & ~_is_number(name)).select(quoted(name)).distinct()
            examples = [row[0] for row in bad.limit(_CELLS + 1).collect()]
            told.append(_vanishing(name, cells, numbers, examples, format_of(options)))
    return told


def _is_number(name: str) -> Column:
    """Whether a cell of text is a number, or a boolean; false for a null."""
    number = F.expr(f"try_cast({escaped(name)} as double)").isNotNull()
    return F.coalesce(number | F.lower(F.trim(quoted(name))).isin("true", "false"), F.lit(False))


def _vanishing(name: str, cells: int, numbers: int, examples: Sequence[str], form: str) -> str:
    """What is said of one such column.

    >>> print(_vanishing("price", 1200, 1199, ["NA"], "csv").replace(": ", ":\\n").replace(" (--l", "\\n(--l"))
    column 'price' is text, though 1,199 of its 1,200 cells are numbers:
    'NA' is not; read it as a missing value (--read-option nullValue=NA), or train without the column
    (--leave-out price)
    """
    shown = ", ".join(map(repr, examples[:_CELLS])) + " and others" * (len(examples) > _CELLS)
    alone = len(examples) == 1
    null = shlex.quote(f"nullValue={printable(examples[0])}")
    mend = f"read it as a missing value (--read-option {null})" if alone and form == "csv" else "mend what is not"
    return (
        f"column {name!r} is text, though {numbers:,} of its {cells:,} cells are numbers: {shown} "
        f"{'is' if alone else 'are'} not; {mend}, or train without the column (--leave-out {shlex.quote(name)})"
    )


def warn_of(chosen: Features, schema: StructType) -> None:
    """Log what is left out, and which features are called like identifiers."""
    if chosen.unsaid:
        types = {field.name: field.dataType.simpleString() for field in schema.fields}
        told = [f"{name} ({types[name]})" for name in chosen.unsaid]
        log.warning("left out, since they are not numeric: %s.", _some(told))
    if chosen.like_ids:
        log.warning(
            "among the features are %s, which are called like identifiers; --leave-out leaves them out.",
            _some(chosen.like_ids),
        )


def check_earlier(output: Output, storage: Storage, schema: StructType, chosen: Features, day: date | None) -> None:
    """Refuse a table without the features of the version before; ``--allow-feature-change`` skips this.

    Raises ColumnError. A version before that cannot be read is told in a warning.
    """
    version = output.before(day)
    if version is None:
        return
    try:
        earlier = load_saved(storage, output.directory(version))
    except (FormatError, InputMissingError) as problem:
        log.warning("the features cannot be compared with those of %s: %s", version, problem)
        return
    if lacking := _lacking(earlier, schema, chosen):
        raise ColumnError(
            f"the version {version} has features that this table lacks: {_some(lacking)}; bring them back, or train "
            "without them with --allow-feature-change."
        )


def _lacking(earlier: SavedModel, schema: StructType, chosen: Features) -> list[str]:
    """The features of a model that a table has not, or has not as what they were."""
    columns, types = feature_columns(earlier), {field.name: field.dataType for field in schema.fields}
    if isinstance(columns, str):
        if columns not in types:
            return [columns]
        return _lacking_entries(earlier, schema, columns) if columns == chosen.columns else []
    lacking = [name for name in columns if name not in types or not is_numeric(types[name])]
    return lacking + [name for name, _, _ in known_levels(earlier.encoders) if name not in types]


def _lacking_entries(earlier: SavedModel, schema: StructType, column: str) -> list[str]:
    """The entries of vectors with names that a model has and the table's vectors have not."""
    names = resolve_features(schema, column).names
    if names is None or earlier.model.featureNames[0] == f"{column}[0]":
        return []
    there = set(names)
    return [name for name in earlier.model.featureNames if name not in there]


def _some(names: Sequence[str]) -> str:
    """Names in a sentence; at most twenty.

    >>> _some(["a", "b"])
    'a, b'
    """
    return ", ".join(names[:20]) + f" and {len(names) - 20:,} more" * (len(names) > 20)
