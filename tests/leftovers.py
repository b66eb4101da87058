"""What packing leaves where: persisted RDDs, and files in the scratch directories of the workers."""

from pathlib import Path

from pyspark.sql import SparkSession


def persisted(spark: SparkSession) -> int:
    """How many RDDs are persisted."""
    return spark.sparkContext._jsc.getPersistentRDDs().size()  # type: ignore[attr-defined, no-any-return]


def packed_files(scratch: list[Path]) -> list[Path]:
    """What packing has written and not removed."""
    return sorted(each for root in scratch for each in root.glob("sparkdml-*"))
