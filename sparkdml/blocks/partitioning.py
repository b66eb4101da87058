"""Which rows share a partition: they are moved by one shuffle, before they are packed."""

from math import gcd, sqrt

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import MapType, StructType

from sparkdml.blocks.schema import find_type, quoted
from sparkdml.errors import ColumnError, ColumnTypeError

PARTITIONINGS = ("as-is", "random", "uniform", "stratified")
KEY, PLACE = "_sparkdml_key", "_sparkdml_place"
PLACE_BITS = 33  # monotonically_increasing_id() is the number of the partition, then so many bits of the row in it
GOLDEN = (1.0 + sqrt(5.0)) / 2.0
TRIALS = 32  # of n hashed integers a target, about n exp(-32) targets are met by none


def key_columns(schema: StructType, how: str) -> list[Column]:
    """The column that `how` names, to be selected beside those of the fit; none where it is no column.

    Raises ColumnError where it is neither a column nor one of `PARTITIONINGS`, ColumnTypeError where it has no hash.
    """
    if how in PARTITIONINGS:
        return []
    try:
        data_type = find_type(schema, how)
    except ColumnError as unknown:
        ways = ", ".join(map(repr, PARTITIONINGS))
        raise ColumnError(f"partitioning={how!r} is none of {ways} and no column either: {unknown}") from None
    if isinstance(data_type, MapType):
        raise ColumnTypeError(f"partitioning={how!r}: a column of type map cannot be hashed; take one of its values.")
    return [quoted(how).alias(KEY)]


def ordered(rows: DataFrame, seed: int, by_label: bool = False) -> DataFrame:
    """The rows of each partition in an order that depends on nothing but the rows and the seed.

    What is drawn or dealt out in this order is the same when a partition is computed again, even where a shuffle
    before it brings the rows in another order. It is random, so that no pattern of the source survives in it.
    """
    label = [F.col("label")] if by_label else []
    return rows.sortWithinPartitions(*label, F.xxhash64(F.lit(seed), *map(quoted, rows.columns)))


def moved(rows: DataFrame, how: str, count: int, seed: int) -> DataFrame:
    """The rows in `count` partitions, by one shuffle.

    Parameters
    ----------
    rows : the selected columns, `ordered`, by the label for "stratified"; with the column `KEY` if `how` names one.
    how : "random"; "uniform" and "stratified", which deal each source partition out like cards; or a column.
    count : how many partitions there shall be.
    seed : of what is random.

    Where a row goes and its place there depend on the rows of its source partition alone.
    """
    rows = rows.withColumn(PLACE, F.monotonically_increasing_id())
    if KEY not in rows.columns:
        rows = rows.withColumn(KEY, _key_of(_target(how, count, seed), target_keys(rows.sparkSession, count)))
    return rows.repartition(count, KEY).sortWithinPartitions(PLACE).drop(PLACE, KEY)


def target_keys(spark: SparkSession, count: int) -> list[int]:
    """An integer for each partition of `count` that a repartition by it sends there; Spark hashes them, without a job.

    >>> keys = target_keys(spark, 3)
    >>> found = spark.createDataFrame([(key,) for key in keys], "key int").repartition(3, "key")
    >>> [row.key for row in found.select("key", F.spark_partition_id().alias("p")).orderBy("p").collect()] == keys
    True
    """
    trials = f"transform(sequence(0, {TRIALS * count}), trial -> pmod(hash(trial), {count}))"
    targets = spark.sql(f"SELECT {trials} AS targets FROM VALUES (0)").collect()[0].targets
    found = {target: key for key, target in enumerate(targets)}
    return [found[target] for target in range(count)]


def stride(count: int) -> int:
    """How far the dealing moves on from one source partition to the next: starts that spread evenly, however few.

    The rows that are left after whole rounds then fall on all partitions alike. It is the number nearest to count
    divided by the golden ratio that has no common divisor with count.

    >>> stride(10), [partition * stride(10) % 10 for partition in range(5)]
    (7, [0, 7, 4, 1, 8])
    """
    coprime = (step for step in range(1, count + 1) if gcd(step, count) == 1)
    return min(coprime, key=lambda step: abs(step - count / GOLDEN))


def _target(how: str, count: int, seed: int) -> Column:
    """The number of the partition that a row goes to."""
    if how == "random":
        return F.floor(F.rand(seed) * count)
    place = F.col(PLACE)
    index, partition = place.bitwiseAND((1 << PLACE_BITS) - 1), F.shiftright(place, PLACE_BITS)
    return (index + partition * stride(count)) % count


def _key_of(target: Column, keys: list[int]) -> Column:
    return F.array(*map(F.lit, keys))[target.cast("int")]
