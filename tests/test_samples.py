"""Mini-batches: a share of the rows, fairly drawn, the same after every retry, and nothing else is read."""

from pathlib import Path

import numpy as np
import pytest
from problems import random_rows
from pyspark.sql import SparkSession

from sparkdml import pack
from sparkdml.blocks import reader
from sparkdml.blocks.block import Block
from sparkdml.blocks.reader import read_chunks
from sparkdml.blocks.store import DTYPES, Handle, Writer
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient, Sample

LOSS = LOSSES["squaredError"]


def rows_of(sample: Sample, partition: int, blocks: list[int]) -> list[np.ndarray]:
    """The row numbers that a sample takes of each block."""
    windows = sample.windows(partition, blocks)
    return [
        np.concatenate([np.arange(n)[rows] for rows in each] or [[]]) for n, each in zip(blocks, windows, strict=True)
    ]


@pytest.mark.parametrize("fraction", [0.01, 0.13, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("blocks", [[1], [7, 1, 40], [1000]], ids=str)
def test_every_row_is_as_likely_and_no_row_is_taken_twice(fraction: float, blocks: list[int]) -> None:
    repeats = 3000
    counts = [np.zeros(n) for n in blocks]
    for step in range(repeats):
        for count, rows in zip(counts, rows_of(Sample(fraction, 1, step), 3, blocks), strict=True):
            assert len(set(rows)) == len(rows)
            count[rows.astype(int)] += 1
    total = sum(count.sum() for count in counts)
    if fraction * sum(blocks) >= 1:  # else one row at least is read, more than the share
        deviation = np.sqrt(repeats * len(blocks) * 0.25)
        assert total == pytest.approx(fraction * sum(blocks) * repeats, abs=5 * deviation)
    for count in counts:
        spread = 5 * np.sqrt(max(count.mean(), 1.0)) + 1
        assert np.all(np.abs(count - count.mean()) <= spread)


def test_a_sample_is_a_function_of_seed_step_and_partition_alone() -> None:
    def look(*key: int) -> str:
        seed, step, partition = key
        return str(Sample(0.1, seed, step).windows(partition, [1000, 500]))

    assert look(1, 2, 3) == look(1, 2, 3)
    keys = [(seed, step, partition) for seed in (0, 1, -1) for step in range(4) for partition in range(4)]
    assert len({look(*key) for key in keys}) == len(keys)


def test_a_partition_is_never_without_a_row() -> None:
    for step in range(200):
        assert sum(len(rows) for rows in rows_of(Sample(0.001, 0, step), 0, [5, 9])) >= 1
    assert rows_of(Sample(0.5, 0, 0), 0, [0])[0].size == 0


@pytest.fixture(params=DTYPES)
def handle(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Handle, list[Block]]:
    """A partition with dense blocks and CSR blocks in turn, and all roles."""
    rows = random_rows(n=400)
    blocks = []
    writer = Writer(tmp_path / "partition", request.param)
    for i, part in enumerate(np.array_split(np.arange(400), 5)):
        piece = rows.take(part)
        piece = piece.sparse if i % 2 else piece
        features = piece.features.astype(request.param).astype(float)  # as what is stored
        blocks.append(Block(features, piece.label, piece.weight, piece.offset, piece.fold))
        writer.append(blocks[-1])
    layouts, parts = tuple(writer.layouts), tuple(writer.files)
    directory, dtype = str(tmp_path / "partition"), request.param
    return Handle(0, directory, 7, layouts, parts, 0, 0, writer.nbytes, dtype, writer.close()), blocks


def as_arrays(block: Block) -> list[np.ndarray]:
    X = block.features
    return [X if isinstance(X, np.ndarray) else X.toarray(), block.label, block.weight, block.offset, block.fold]


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("fraction", [0.05, 0.4, 1.0])
def test_windows_are_the_rows_of_the_blocks(handle: tuple, size: int, fraction: float) -> None:
    stored, blocks = handle
    for step in range(5):
        windows = Sample(fraction, 0, step).windows(0, [block.rows for block in blocks])
        chunks = [[np.array(part) for part in as_arrays(chunk)] for chunk in read_chunks(stored, size, windows)]
        expected = [as_arrays(block[rows]) for block, each in zip(blocks, windows, strict=True) for rows in each]
        for found, wanted in zip(zip(*chunks, strict=True), zip(*expected, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(found), np.concatenate(wanted))


def test_a_small_sample_reads_a_small_share_of_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    writer = Writer(tmp_path / "partition")
    for _ in range(4):
        writer.append(Block(rng.normal(size=(5000, 20)), rng.normal(size=5000)))
    layouts, parts = tuple(writer.layouts), tuple(writer.files)
    directory = str(tmp_path / "partition")
    stored = Handle(0, directory, 20, layouts, parts, 0, 0, writer.nbytes, "float64", writer.close())
    read, fill = [0], reader._fill

    def counting(file: object, array: np.ndarray, start: int) -> None:
        read[0] += array.nbytes
        fill(file, array, start)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "_fill", counting)
    rows = sum(chunk.rows for chunk in read_chunks(stored, windows=Sample(0.01, 0, 0).windows(0, [5000] * 4)))
    assert 190 <= rows <= 210
    assert 0 < read[0] <= 0.011 * stored.nbytes


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_mean_over_many_samples_is_the_sum_over_all_rows(sparse: bool) -> None:
    rows = random_rows()
    data = (rows.sparse if sparse else rows).local(3)
    w, b = np.linspace(-1, 1, 7)[:, None], np.array([0.3])
    (whole,) = data.run([Gradient(LOSS, w, b)])
    found = data.run([Gradient(LOSS, w, b, sample=Sample(0.25, 0, step)) for step in range(2000)])
    for name in ("value", "w", "b", "weight"):
        sums = np.array([np.ravel(getattr(answer, name)) / 0.25 for answer in found])
        error = sums.std(axis=0) / np.sqrt(len(sums))
        assert np.all(np.abs(sums.mean(axis=0) - np.ravel(getattr(whole, name))) <= 5 * error)


def test_packed_data_give_the_same_sample_twice_and_mixed_with_whole_passes(spark: SparkSession) -> None:
    df = spark.range(0, 3000, 1, 4).selectExpr("sin(id) AS a", "cos(id * id) AS b", "id % 7 * 1.0 AS label")
    w, b = np.ones((2, 1)), np.zeros(1)
    with pack(df, featuresCols=["a", "b"]) as data:
        queries = [Gradient(LOSS, w, b, sample=sample) for sample in (Sample(0.1, 5, 1), None, Sample(0.1, 5, 2))]
        first, whole, other = data.run(queries)
        (again,) = data.run([queries[0]])
        assert (first.w.tobytes(), first.value, first.weight) == (again.w.tobytes(), again.value, again.weight)
        assert first.weight != whole.weight == 3000.0
        assert first.w.tobytes() != other.w.tobytes()
        assert first.weight == pytest.approx(300, abs=4)
