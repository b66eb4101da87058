"""What all tests share: one Spark session."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from sparkdml.jobkit.session import get_spark


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = get_spark("tests", **{"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"})
    yield session
    session.stop()
