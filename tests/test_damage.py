"""Files of packed rows that are damaged or lost: found when they are read first, packed again, to the same bits."""

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leftovers import packed_files
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.sparse import csr_array

from sparkdml import pack
from sparkdml.blocks import reader
from sparkdml.blocks.block import Block
from sparkdml.blocks.checksums import CHUNK, WIDTH, RunningChecksums, checksums
from sparkdml.blocks.columns import ROLES
from sparkdml.blocks.pack import RowDigest
from sparkdml.blocks.reader import read_chunks
from sparkdml.blocks.report import REPORT, REPORT_MOMENTS, read_report
from sparkdml.blocks.store import CHECKED, CHECKSUMS, FILES, Handle, Missing, Writer
from sparkdml.engine.spark_data import SparkData
from sparkdml.engine.tasks import Loss, attempted
from sparkdml.errors import StorageError
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient, Gram
from sparkdml.regression import LinearRegression

# Damages to a file of at least 16 bytes.


def flip(byte: float, bit: int) -> Callable[[Path], None]:
    """Flip one bit of the byte that is so far into the file, from 0.0 to 1.0."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[min(int(byte * len(data)), len(data) - 1)] ^= 1 << bit
        path.write_bytes(data)

    return change


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    """Zeros in place of all bytes; a file of nothing but zeros, as of a single fold, gets one that is not."""
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)) if any(data) else b"\1" + data[1:])


def swap(path: Path) -> None:
    """Let the first number that differs from the last one and the last one change places."""
    numbers = np.fromfile(path, np.uint32)
    other = np.flatnonzero(numbers != numbers[-1])
    first = int(other[0]) if len(other) else 0
    numbers[first], numbers[-1] = numbers[-1], numbers[first] + np.uint32(not len(other))
    path.write_bytes(numbers.tobytes())


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(8))


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first bit": flip(0.0, 0),
    "a sign": flip(1.0, 7),
    "a bit between": flip(0.6, 3),
    "half of it": truncate,
    "zeros": zero,
    "two numbers": swap,
    "too long": append,
    "a directory": replace_by_directory,
    "deleted": Path.unlink,
}


# In this process: files of several chunks.


def written(directory: Path, value: float | None = None) -> Handle:
    """A dense block and a CSR block with all roles, dense rows of several chunks; of one value everywhere if given."""
    rng, writer = np.random.default_rng(0), Writer(directory)
    for X in (rng.normal(size=(50_000, 7)), csr_array(rng.normal(size=(30_000, 7)))):
        roles = rng.normal(size=(3, len(range(X.shape[0]))))
        if value is not None:
            roles[:] = value
        writer.append(Block(X, *roles, np.arange(X.shape[0], dtype=np.int32) % 4))
    layouts, parts = tuple(writer.layouts), tuple(writer.files)
    return Handle(0, str(directory), 7, layouts, parts, 0, 0, writer.nbytes, "float64", writer.close())


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Handle:
    return written(tmp_path_factory.mktemp("undamaged") / "partition")


@pytest.fixture
def handle(undamaged: Handle, tmp_path: Path) -> Handle:
    """A copy of the files, to be damaged, older than what is marked now."""
    copy = shutil.copytree(undamaged.directory, tmp_path / "partition")
    while tmp_path.stat().st_ctime_ns <= max(file.stat().st_ctime_ns for file in copy.iterdir()):
        tmp_path.touch()  # until the clock of the file system, which ticks some hundred times a second, has moved on
    return Handle(**{**vars(undamaged), "directory": str(tmp_path / "partition")})


def read(handle: Handle, windows: Any = None) -> int:
    """The rows read."""
    return sum(chunk.rows for chunk in read_chunks(handle, windows=windows))


WHOLE = [[slice(0, 50_000)], [slice(0, 30_000)]]


@pytest.mark.parametrize("part", [*FILES, CHECKSUMS])
def test_every_damage_of_every_file_is_found_before_the_end(undamaged: Handle, tmp_path: Path, part: str) -> None:
    for name, damage in DAMAGES.items():
        for windows in (None, WHOLE):
            directory = tmp_path / name / str(windows is None)
            shutil.copytree(undamaged.directory, directory)
            copy = Handle(**{**vars(undamaged), "directory": str(directory)})
            damage(directory / part)
            with pytest.raises(Missing, match=re.escape(str(directory / part))):
                read(copy, windows)
            assert not (directory / CHECKED).exists()
            shutil.rmtree(directory)


def test_numbers_that_would_be_used_as_places_are_compared_before(handle: Handle) -> None:
    path = Path(handle.directory, "indices")
    data = np.fromfile(path, np.int32)
    data[-1] = 1 << 30
    path.write_bytes(data.tobytes())
    with pytest.raises(Missing, match="indices is damaged"):
        for chunk in read_chunks(handle):
            X = chunk.features
            assert isinstance(X, np.ndarray) or X.indices.max() < 7


def test_files_are_compared_once_and_again_after_a_change(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    check = reader.check_bytes
    monkeypatch.setattr(reader, "check_bytes", lambda path, *rest: compared.append(path.name) or check(path, *rest))
    assert read(handle) == 80_000
    assert set(compared) == set(FILES)
    compared.clear()
    assert read(handle) == 80_000
    assert read(handle, [[slice(5, 9)], []]) == 4
    assert compared == []
    label = Path(handle.directory, "label")
    label.write_bytes(label.read_bytes())  # the same bytes, but who knows
    assert read(handle) == 80_000
    assert set(compared) == set(FILES)
    flip(0.5, 2)(label)
    with pytest.raises(Missing, match="label is damaged"):
        read(handle)


def test_a_sample_compares_what_it_reads_and_marks_nothing(handle: Handle) -> None:
    flip(0.9, 3)(Path(handle.directory, "dense"))
    assert read(handle, [[slice(10, 90)], [slice(0, 50)]]) == 130
    with pytest.raises(Missing, match="dense is damaged"):
        read(handle, [[slice(44_990, 45_010)], []])
    assert not Path(handle.directory, CHECKED).exists()


def test_who_reads_some_chunks_only_marks_nothing(handle: Handle) -> None:
    chunks = read_chunks(handle)
    next(chunks)
    chunks.close()
    assert not Path(handle.directory, CHECKED).exists()


@pytest.mark.parametrize("mark", [Path.touch, lambda path: path.write_bytes(b"junk"), Path.mkdir, Path.unlink])
def test_the_mark_holds_no_bytes_that_matter(handle: Handle, mark: Callable[[Path], None]) -> None:
    assert read(handle) == 80_000
    if mark is Path.mkdir:
        Path(handle.directory, CHECKED).unlink()
    mark(Path(handle.directory, CHECKED))
    flip(0.3, 6)(Path(handle.directory, "weight"))
    with pytest.raises(Missing, match="weight is damaged"):
        read(handle)


@pytest.mark.parametrize("value", [0.0, 1.0, 2.0, -2.0, np.pi])
def test_ranges_of_one_value_that_are_overwritten_are_found(value: float) -> None:
    """Sums of many equal numbers may be zero: 2.0, as bits, four times is 2^64."""
    rng = np.random.default_rng(1)
    for count in range(1, 80):  # files of one number that are zeroed as a whole
        data = np.full(max(count * WIDTH // 8, 1), value).view(np.uint8)
        assert value == 0.0 or checksums(data) != checksums(np.zeros_like(data))
    data = np.full(3 * CHUNK // 8 + 100, value).view(np.uint8)
    expected = checksums(data)
    for other in (0.0, 1.0, 2.0, -2.0, np.pi):
        for _ in range(20 if other != value else 0):
            start, size = int(rng.integers(len(data) // 8)), int(2 ** rng.uniform(0, 17))
            changed = data.copy()
            changed[8 * start : 8 * (start + size)] = np.full(size, other).view(np.uint8)[: len(data) - 8 * start]
            assert checksums(changed) != expected


@pytest.mark.parametrize("unit", [4, 8, 512, 4096])
def test_numbers_and_pages_that_change_places_are_found(unit: int) -> None:
    rng = np.random.default_rng(2)
    data = rng.integers(0, 256, 2 * CHUNK, np.uint8)
    expected, count = checksums(data), len(data) // unit
    pairs = [rng.choice(count, 2, replace=False) for _ in range(100)] + [(0, k) for k in range(1, 64)]
    for i, j in pairs:
        changed = data.copy()
        changed[i * unit : (i + 1) * unit] = data[j * unit : (j + 1) * unit]
        changed[j * unit : (j + 1) * unit] = data[i * unit : (i + 1) * unit]
        assert checksums(changed) != expected


def test_checksums_do_not_depend_on_the_pieces_that_bytes_come_in() -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, 2 * CHUNK + 3 * WIDTH + 5, np.uint8)
    for most in (1 << 12, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        running, start = RunningChecksums(), 0
        while start < len(data):
            size = int(rng.integers(1, most + 1))
            running.add(data[start : start + size])
            start += size
        assert running.size == len(data)
        assert running.values == checksums(data)


def test_an_error_over_damaged_rows_is_a_damage_and_any_other_stays_one(handle: Handle) -> None:
    def task(handle: Handle) -> int:
        return int(sum(np.abs(chunk.label).sum() for chunk in read_chunks(handle)) / 0)

    with pytest.raises(ZeroDivisionError):
        list(attempted([handle], lambda _: 1 // 0, {}))
    flip(0.5, 4)(Path(handle.directory, "dense"))
    (found,) = attempted([handle], lambda _: 1 // 0, {})
    assert isinstance(found, Loss)
    assert "dense is damaged" in found.reason


# By Spark: each damage to each file, every one in a partition of its own.

pytest_spark = pytest.mark.usefixtures("nothing_is_left_behind")
BY_SPARK = ("a bit between", "half of it", "zeros", "a directory", "deleted")
PACKS: dict[str, dict[str, Any]] = {
    "dense": {"featuresCols": ["a", "b", "c"]},
    "float32": {"featuresCols": ["a", "b", "c"], "dtype": "float32", "weightCol": "weight"},
    "filled": {"featuresCols": ["a", "holes"], "handleInvalid": "mean", "validationFraction": 0.3},
    "sparse": {"featuresCol": "sparse", "weightCol": "weight", "offsetCol": "offset", "foldCol": "fold"},
}
ROWS = 24


def table(spark: SparkSession, partitions: int) -> DataFrame:
    """Rows with all that can be packed."""
    i = F.col("id")
    sparse = F.array(*[F.when(i % 9 == j, F.sin(i + j) + 2.0).otherwise(0.0) for j in range(9)])
    return spark.range(0, ROWS * partitions, 1, partitions).select(
        *[F.sin(i * (j + 1.3)).alias(name) for j, name in enumerate("abc")],
        F.when(i % 5 > 0, F.cos(i * 2)).alias("holes"),
        array_to_vector(sparse).alias("sparse"),
        (F.sin(i) + F.cos(i * 7)).alias("label"),
        (i % 3 + 1).alias("weight"),
        F.cos(i * 5).alias("offset"),
        (i % 4 + 1).alias("fold"),
    )


def answer(data: SparkData) -> bytes:
    """The bits of the sums of one pass."""
    d = len(data.feature_names)
    gradient, gram = data.run([Gradient(LOSSES["squaredError"], np.ones((d, 1)), np.zeros(1)), Gram(np.zeros(d + 1))])
    return gradient.w.tobytes() + gradient.b.tobytes() + gram.second.tobytes() + np.float64(gradient.value).tobytes()


def damaged(data: SparkData, files: list[str]) -> dict[int, tuple[str, str]]:
    """Damage one file of each partition: each of the files in each way. Which one of which partition."""
    handles = {handle.partition: data._moved.get(handle.partition, handle) for handle in data._handles.rdd.collect()}
    done = dict(enumerate((part, name) for part in files for name in BY_SPARK))
    for partition, (part, name) in done.items():
        DAMAGES[name](Path(handles[partition].directory, part))
    return done


@pytest.mark.thinned
@pytest_spark
@pytest.mark.parametrize("kind", PACKS)
def test_every_damage_is_repaired_to_the_same_bits(
    spark: SparkSession, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {"sparse": [*("data", "indices", "indptr"), *ROLES]}.get(kind, ["dense", "label"])
    parts += {"float32": ["weight"], "filled": ["fold"]}.get(kind, [])
    files = [*parts, CHECKSUMS]
    count = len(files) * len(BY_SPARK)
    with pack(table(spark, count), **PACKS[kind]) as data:
        (handle,) = data._handles.rdd.take(1)
        assert sorted(handle.parts) == sorted(parts)
        done = damaged(data, files)  # before anybody has read them
        found = answer(data)
        assert sorted(data._moved) == sorted(done)
        assert f"packing {count} of {count} partitions again" in caplog.text
        caplog.clear()
        assert answer(data) == found
        assert caplog.text == ""
        done = damaged(data, parts)  # and once they were found to be good
        assert answer(data) == found
        assert f"packing {len(done)} of {count} partitions again" in caplog.text
    with pack(table(spark, count), **PACKS[kind]) as data:
        assert answer(data) == found


@pytest_spark
def test_damaged_reports_are_made_again(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    count = 3 * len(BY_SPARK)
    with pack(table(spark, count), **PACKS["sparse"]) as data:
        assert len(damaged(data, [REPORT, REPORT_MOMENTS, CHECKSUMS])) == count
        found = data.partition_statistics
        assert f"packing {count} of {count} partitions again" in caplog.text
    with pack(table(spark, count), **PACKS["sparse"]) as data:
        for one, other in zip(found, data.partition_statistics, strict=True):
            assert pickle.dumps(one) == pickle.dumps(other)


@pytest_spark
@pytest.mark.filterwarnings("ignore::sparkdml.errors.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["l-bfgs", "sgd", "local-sgd", "normal"])
def test_a_fit_over_damaged_files_has_the_bits_of_one_over_others(
    spark: SparkSession, solver: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fit(data: SparkData) -> bytes:
        estimator = LinearRegression(solver=solver, maxIter=3, tol=0.0, seed=1, regParam=0.1)
        model = estimator.fit(data)
        return np.append(model.coefficients.toArray(), model.intercept).tobytes()

    names = PACKS["dense"]
    with pack(table(spark, 3), **names) as data:
        expected = fit(data)
    with pack(table(spark, 3), **names) as data:
        handles = data._handles.rdd.collect()
        zero(Path(handles[0].directory, "label"))
        values = Path(handles[2].directory, "dense")
        values.write_bytes(np.full(values.stat().st_size // 8, np.nan).tobytes())
        assert fit(data) == expected
    assert re.search(r"partition 0: /\S+/label is damaged: bytes 0 to 192 are not those that were packed", caplog.text)
    assert re.search(r"partition 2: /\S+/dense is damaged", caplog.text)
    assert "packing 2 of 3 partitions again" in caplog.text


@pytest_spark
def test_files_that_are_damaged_again_end_the_fit_in_a_sentence(spark: SparkSession) -> None:
    def task(_: Handle) -> None:
        raise Missing("/disk/label is damaged")

    with (
        pack(table(spark, 2), **PACKS["dense"]) as data,
        pytest.raises(StorageError, match=r"partition 0 was packed again, .*: /disk/label is damaged; check the disks"),
    ):
        data._gather(task, 0, 1)


@pytest_spark
def test_nothing_in_the_directories_is_a_pickle(spark: SparkSession, scratch: list[Path]) -> None:
    with pack(table(spark, 2), **PACKS["sparse"]) as data:
        answer(data)
        found = [path for root in packed_files(scratch) for path in root.rglob("*") if path.is_file()]
        assert {path.name for path in found} == {
            *(set(FILES) - {"dense"}),
            *(REPORT, REPORT_MOMENTS, CHECKSUMS, CHECKED),
        }
        for path in found:
            with pytest.raises(Exception):  # noqa: B017 - it depends on the bytes which one
                pickle.loads(path.read_bytes())
        (handle, *_) = data._handles.rdd.collect()
        Path(handle.directory, REPORT).write_bytes(pickle.dumps(read_report(handle)))
        with pytest.raises(Missing, match=REPORT):
            read_report(handle)
    for name in ("store", "reader", "report", "checksums"):
        assert "pickle" not in Path(reader.__file__).with_name(f"{name}.py").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_the_digest_of_the_rows_covers_every_role(role: str) -> None:
    def digest(change: float) -> tuple[int, int]:
        roles: dict[str, Any] = {name: np.arange(3.0) for name in ROLES} | {"fold": np.arange(3, dtype=np.int32)}
        roles[role][1] += change
        found = RowDigest(0)
        found.add(Block(np.eye(3), **roles))
        return found.values

    assert digest(0) == digest(0)
    assert all(one != other for one, other in zip(digest(0), digest(1), strict=True))
