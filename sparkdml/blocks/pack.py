"""Packing: one Spark task turns its partition into array files and returns a small handle."""

import os
import pickle
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sparkdml.blocks.block import Block, concatenate, settle
from sparkdml.blocks.cells import Cells
from sparkdml.blocks.columns import Columns
from sparkdml.blocks.decode import Decoder, numbered_batches
from sparkdml.blocks.parquet import Unreadable
from sparkdml.blocks.report import report_files
from sparkdml.blocks.store import Handle, Writer
from sparkdml.blocks.violations import UNREADABLE
from sparkdml.blocks.worker import freeze_modules, kept_memory

BLOCK_BYTES = 1 << 24  # rows are permuted within blocks of this size, which a worker holds twice
SCHEMA = "handle binary"


@dataclass(frozen=True)
class Plan:
    """What every packing task knows: the columns, the number of features if known, the seed, the pack's name.

    `fill`, one number a feature, takes the place of missing ones. `validation` is the share of rows drawn for fold 1.
    `dtype` is as what the features' values are stored: rows are rounded to it first, and all else, such as statistics
    and digest, is of the rounded values, so that a pack is that of a table which has these.
    """

    columns: Columns
    size: int | None
    skip: bool
    seed: int
    name: str
    fill: np.ndarray | None = None
    validation: float | None = None
    dtype: str = "float64"

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pack one partition of `schema.numbered` rows: the function of `mapInArrow`."""
        handle = self.pack(*numbered_batches(batches))
        yield pa.RecordBatch.from_pydict({"handle": pa.array([pickle.dumps(handle)], pa.binary())})

    def pack(self, partition: int, batches: Iterator[pa.RecordBatch]) -> Handle:
        """Pack the partition of this number. Never raises over bad data or files: it counts them."""
        with kept_memory():
            packer = Packer(self, partition, scratch_directory(self.name, partition))
            try:
                handle = packer.packed(batches)
            except BaseException:
                packer.writer.discard()
                raise
            del packer
        freeze_modules()
        return handle


@dataclass
class Packer:
    """Packs the batches of one partition."""

    plan: Plan
    partition: int
    directory: Path
    pending: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.plan.columns, self.partition, self.plan.size, self.plan.fill, self.plan.dtype)
        self.writer = Writer(self.directory, self.plan.dtype)
        self.cells: Cells | None = None
        self.digest = RowDigest(self.plan.seed)

    def packed(self, batches: Iterator[pa.RecordBatch]) -> Handle:
        """Pack all batches; a file that cannot be read is counted."""
        try:
            for batch in batches:
                self.add(batch)
        except Unreadable as failure:
            self.decoder.violations.add(failure.path, UNREADABLE, 1, failure.reason)
        return self.finish()

    def add(self, batch: pa.RecordBatch) -> None:
        """Decode a batch; write a block when there are rows enough for one."""
        block = self.decoder.decode(batch)
        if not block.rows or self.decoder.violations.fatal(self.plan.skip):
            return
        self.digest.add(block)
        if self.pending and type(block.features) is not type(self.pending[0].features):
            self._flush()
        self.pending.append(block)
        if sum(block.nbytes for block in self.pending) >= BLOCK_BYTES:
            self._flush()

    def finish(self) -> Handle:
        """Write what is left, and the report; return the handle."""
        self._flush()
        if self.decoder.violations.fatal(self.plan.skip):
            self.writer.discard()
            self.writer = Writer(self.directory, self.plan.dtype)
        parts, nbytes = tuple(self.writer.files), self.writer.nbytes
        sizes = {each: count for each, count in self.decoder.sizes.items() if count}
        for name, data in report_files(self.cells, self.decoder.violations, self.decoder.seen, sizes).items():
            self.writer.write(name, np.frombuffer(data, np.uint8))
        return Handle(
            self.partition,
            str(self.directory),
            self.decoder.size or 0,
            tuple(self.writer.layouts),
            parts,
            *self.digest.values,
            nbytes,
            self.plan.dtype,
            self.writer.close(),
        )

    def _flush(self) -> None:
        """Permute the pending rows, so that any window of the block is a random sample of it, and write them.

        Rows that validate are drawn after they are permuted, from the same generator.
        """
        if not self.pending:
            return
        block = concatenate(self.pending)
        self.pending = []
        key = [self.plan.seed, self.partition, len(self.writer.layouts)]
        generator = np.random.Generator(np.random.Philox(seed_of(key)))
        block = settle(block[generator.permutation(block.rows)])
        if self.plan.validation is not None:
            block = replace(block, fold=(generator.random(block.rows) < self.plan.validation).astype(np.int32))
        self.writer.append(block)
        cells = Cells.of(block)
        self.cells = self.cells.merge(cells) if self.cells else cells


def seed_of(key: list[int]) -> np.random.SeedSequence:
    """A seed that is a function of the key alone."""
    return np.random.SeedSequence([part & 0xFFFFFFFFFFFFFFFF for part in key])


def scratch_directory(name: str, partition: int) -> Path:
    """A new directory for one partition, under the scratch directories that Spark clears when it ends."""
    roots = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")
    root = roots[partition % len(roots)] or tempfile.gettempdir()
    return Path(root) / name / f"{partition:06d}-{uuid.uuid4().hex[:12]}"


class RowDigest:
    """Hashes of the rows: one whatever their order, one that knows it. Equal rows, however stored, hash alike.

    A row hashes to a keyed linear form of its bits (multilinear hashing), finished by a multiply and shift.
    """

    MIX = np.uint64(0x9E3779B97F4A7C15)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.keys = np.empty(0, np.uint64)
        self.rows = 0
        self.digest = np.uint64(0)
        self.order = np.uint64(0)

    @property
    def values(self) -> tuple[int, int]:
        """The hash of the rows and the hash of the rows in their order."""
        return int(self.digest), int(self.order)

    def add(self, block: Block) -> None:
        """Add the rows of a block after the others."""
        with np.errstate(over="ignore"):
            hashes = self._hash(block)
            places = np.arange(self.rows, self.rows + block.rows, dtype=np.uint64)
            self.digest += hashes.sum(dtype=np.uint64)
            self.order += (hashes * (2 * places + 1)).sum(dtype=np.uint64)
            self.rows += block.rows

    def _hash(self, block: Block) -> np.ndarray:
        fold = None if block.fold is None else block.fold.astype(np.uint64)
        extra = [part for part in (block.label, block.weight, block.offset, fold) if part is not None]
        keys = self._keys(block.columns + len(extra))
        hashes = _hash_features(block, keys)
        for part, key in zip(extra, keys[block.columns :], strict=True):
            hashes = hashes + np.ascontiguousarray(part).view(np.uint64) * key
        hashes = (hashes ^ (hashes >> np.uint64(32))) * self.MIX
        return hashes ^ (hashes >> np.uint64(29))

    def _keys(self, count: int) -> np.ndarray:
        if len(self.keys) != count:
            generator = np.random.Generator(np.random.Philox(seed_of([self.seed])))
            self.keys = generator.integers(0, 1 << 63, count, np.uint64) * np.uint64(2) + np.uint64(1)
        return self.keys


def _hash_features(block: Block, keys: np.ndarray) -> np.ndarray:
    X = block.features
    if isinstance(X, np.ndarray):
        return np.ascontiguousarray(X).view(np.uint64) @ keys[: block.columns]
    terms = np.append(np.uint64(0), np.cumsum(X.data.view(np.uint64) * keys[X.indices]))
    return terms[X.indptr[1:]] - terms[X.indptr[:-1]]
