"""Whether a DataFrame is nothing but columns of plain Parquet files, and which rows Spark would put where.

Everything that cannot be shown to be so is left to Spark. The rows that are read without it are the same, in the same
partitions and the same order.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark import RDD
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DataType

from sparkdml.blocks.columns import Columns
from sparkdml.blocks.pack import Plan
from sparkdml.blocks.parquet import Source, Split, Unreadable, raised_unreadable
from sparkdml.blocks.schema import escaped
from sparkdml.blocks.store import Handle

MAX_FILES = 1000  # whose footers the driver reads before the rows are; about a millisecond each
DATASOURCES = "org.apache.spark.sql.execution.datasources"
# What Spark reads as the type of a column of its own only if the file has it as this type.
NUMBERS = {
    "double": pa.float64(),
    "float": pa.float32(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "smallint": pa.int16(),
    "tinyint": pa.int8(),
    "boolean": pa.bool_(),
}
VECTOR = pa.struct(
    [("type", pa.int8()), ("size", pa.int32()), ("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float64()))]
)
# Settings by which Spark leaves out files, or finds columns by another thing than their names.
CHANGING = (
    "spark.sql.files.ignoreCorruptFiles",
    "spark.sql.files.ignoreMissingFiles",
    "spark.sql.parquet.fieldId.read.enabled",
)
# Options of a reader that change nothing where all files are alike and the columns are numbers.
OPTIONS = {"path", "paths", "mergeschema", "datetimerebasemode", "int96rebasemode"}


def packed_from_files(df: DataFrame, columns: Columns, plan: Plan) -> RDD | None:
    """The handles of the packed partitions of `df`, none of whose rows Spark reads; None where it has to."""
    wanted = dict.fromkeys((*columns.roles.values(), *columns.features))
    selected = df.selectExpr(*map(escaped, wanted))
    names = _names_in_files(selected)
    if names is None or any("." in name for name in names.values()):  # to Arrow, a dot leads into a struct
        return None
    types = {names[field.name]: _type_in_files(field.dataType) for field in selected.schema.fields}
    if any(each is None for each in types.values()):
        return None
    case_sensitive = df.sparkSession.conf.get("spark.sql.caseSensitive") == "true"
    source = Source.of(columns, names, types, case_sensitive)
    partitions = _partitions(selected)
    if not partitions or not _fit({split.path for splits in partitions for split in splits}, source):
        return None
    rows = df.sparkSession.sparkContext.parallelize(partitions, len(partitions))
    return rows.mapPartitionsWithIndex(partial(pack_splits, source=source, plan=plan))


def _names_in_files(selected: DataFrame) -> dict[str, str] | None:
    """The name in the files of each column; None where the rows are not those of plain Parquet files."""
    plan: Any = selected._jdf.queryExecution().optimizedPlan()
    names = {name: name for name in selected.columns}
    if _class(plan).endswith(".Project"):
        names = dict(map(_renamed, _items(plan.projectList())))
        plan = plan.child()
    if _class(plan) != f"{DATASOURCES}.LogicalRelation":
        return None
    relation = plan.relation()
    known = _class(relation) == f"{DATASOURCES}.HadoopFsRelation" and _is_plain(relation, selected)
    return names if known and set(names.values()) <= set(relation.dataSchema().fieldNames()) else None


def _renamed(expression: Any) -> tuple[str, str]:
    """The name of a column, and of the one that it is; empty where it is computed."""
    source = expression.child() if _class(expression).endswith(".Alias") else expression
    return expression.name(), source.name() if _class(source).endswith(".AttributeReference") else ""


def _is_plain(relation: Any, selected: DataFrame) -> bool:
    """Whether the files hold the rows as they are: no partition columns, no table format that hides rows."""
    conf, files = selected.sparkSession.conf, list(relation.location().inputFiles())
    options = {key.lower() for key in _keys(relation.options())}
    return (
        _class(relation.fileFormat()) == f"{DATASOURCES}.parquet.ParquetFileFormat"
        and _class(relation.location()) == f"{DATASOURCES}.InMemoryFileIndex"
        and relation.partitionSchema().isEmpty()
        and not relation.bucketSpec().isDefined()
        and options <= OPTIONS
        and len(files) <= MAX_FILES
        and all(file.startswith("file:") for file in files)
        and all(conf.get(name, "false") == "false" for name in CHANGING)
    )


def _partitions(selected: DataFrame) -> list[list[Split]]:
    """What Spark would read into each partition."""
    (scan,) = _items(selected._jdf.queryExecution().executedPlan().collectLeaves())
    found = []
    for partition in _items(scan.inputRDD().filePartitions()):
        parts = [(file.toPath().toUri().getPath(), file.start(), file.length()) for file in partition.files()]
        found.append([Split(path, start, start + length) for path, start, length in parts])
    return found


def _fit(paths: Iterable[str], source: Source) -> bool:
    """Whether all files can be read here, and have the columns as the types that are needed."""
    try:
        return all(source.fits(_schema(path)) for path in paths)
    except Unreadable:
        return False


def _schema(path: str) -> pa.Schema:
    with raised_unreadable(path):
        return pq.read_metadata(path).schema.to_arrow_schema()


def _type_in_files(data_type: DataType) -> pa.DataType | None:
    """What Spark writes as a type of its own; None for what is left to it."""
    if isinstance(data_type, VectorUDT):
        return VECTOR
    if isinstance(data_type, ArrayType):
        element = NUMBERS.get(data_type.elementType.simpleString())
        return element and pa.list_(element)
    return NUMBERS.get(data_type.simpleString())


def _class(instance: Any) -> str:
    """The name of the class of an object in the JVM."""
    return str(instance.getClass().getName())


def _items(sequence: Any) -> list[Any]:
    """The elements of a sequence of Scala's, or of an array."""
    return [sequence.apply(i) for i in range(sequence.size())]


def _keys(found: Any) -> list[str]:
    """The keys of a map of Scala's."""
    return _items(found.keys().toSeq())


def pack_splits(partition: int, tasks: Iterator[Sequence[Split]], source: Source, plan: Plan) -> Iterator[Handle]:
    """Pack the partition of this number."""
    for splits in tasks:
        yield plan.pack(partition, source.batches(splits))
