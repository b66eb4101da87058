"""Python workers: quick to start, and without a collection of everything between two passes."""

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

from sparkdml import pack
from sparkdml.blocks.worker import freeze_modules
from sparkdml.jobkit.daemon import unzipped
from sparkdml.optim.queries import Gram


def test_a_pass_leaves_modules_frozen(spark: SparkSession) -> None:
    def seen(_: Iterable[int]) -> Iterator[tuple[int, int, str]]:
        """How many objects are frozen and how many are not, and where PySpark was imported from."""
        yield gc.get_freeze_count(), len(gc.get_objects()), pyspark.__file__

    df = spark.range(0, 20, 1, 2).selectExpr("1.0 * id AS x", "2.0 * id AS label")
    with pack(df, featuresCols=["x"]) as data:
        data.run([Gram(data.statistics.center)])
        found = spark.sparkContext.parallelize(range(2), 2).mapPartitions(seen).collect()
    assert all(frozen > 10 * others for frozen, others, _ in found)
    assert all(Path(source).is_file() for _, _, source in found)  # what is in a zip is no file


def test_outside_of_a_task_nothing_is_frozen() -> None:
    before = gc.get_freeze_count()
    freeze_modules()
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize("unpacked", [True, False])
def test_the_zip_is_left_out_only_where_the_same_pyspark_is_unpacked(tmp_path: Path, unpacked: bool) -> None:
    home = tmp_path / "site-packages" / "pyspark"
    zipped = home / "python" / "lib" / "pyspark.zip"
    zipped.parent.mkdir(parents=True)
    if unpacked:
        (home / "version.py").touch()
    path = [str(zipped), "", "/elsewhere/python/lib/py4j-0.10.9.9-src.zip", str(home.parent)]
    assert unzipped(path) == (path[1:] if unpacked else path)
    assert unzipped(path[:-1]) == path[:-1]  # it could not be imported from anywhere else
