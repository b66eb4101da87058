"""What a mini-batch reads: bytes and seconds of a pass over 1 % of the rows, against a pass over all of them.

    python benchmarks/samples.py                       # 2,000,000 x 100
    python benchmarks/samples.py --rows 200000

One partition is packed to files as a task packs it, and its kernels are run in this process, as a task runs them. Bytes
are those that the process asks the system for (`read` calls), seconds the processor's; medians of several repeats, full
passes and samples in turn.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from sparkdml.blocks.block import CHUNK_BYTES, Block
from sparkdml.blocks.pack import BLOCK_BYTES
from sparkdml.blocks.reader import read_chunks
from sparkdml.blocks.store import Handle, Writer
from sparkdml.engine.data import answer
from sparkdml.optim.losses import LOSSES
from sparkdml.optim.queries import Gradient, Sample


def packed(directory: Path, rows: int, columns: int) -> Handle:
    """One partition of random rows."""
    rng, writer = np.random.default_rng(0), Writer(directory)
    step = BLOCK_BYTES // (8 * columns)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        writer.append(Block(rng.normal(size=(count, columns)), (rng.random(count) < 0.5) * 1.0))
    layouts, parts = tuple(writer.layouts), tuple(writer.files)
    return Handle(0, str(directory), columns, layouts, parts, 0, 0, writer.nbytes, "float64", writer.close())


def one_pass(handle: Handle, sample: Sample | None) -> tuple[int, float]:
    """Bytes read and processor seconds of one gradient pass."""
    query = Gradient(LOSSES["logistic"], np.full((handle.columns, 1), 0.01), np.zeros(1), sample=sample)
    blocks = [layout.rows for layout in handle.layouts]

    def read(wanted: Sample | None):  # type: ignore[no-untyped-def]
        return read_chunks(handle, CHUNK_BYTES, None if wanted is None else wanted.windows(0, blocks))

    before, started = bytes_read(), time.process_time()
    answer([query], handle.columns, handle.rows, read)
    return bytes_read() - before, time.process_time() - started


def bytes_read() -> int:
    """Bytes that this process has asked the system for so far."""
    lines = Path(f"/proc/{os.getpid()}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--fraction", type=float, default=0.01)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        handle = packed(Path(directory) / "partition", options.rows, options.columns)
        full, part = [], []
        for repeat in range(options.repeats):
            full.append(one_pass(handle, None))
            part.append(one_pass(handle, Sample(options.fraction, 0, repeat)))
    (all_bytes, all_seconds), (some_bytes, some_seconds) = (
        [statistics.median(column) for column in zip(*runs, strict=True)] for runs in (full, part)
    )
    print(f"{options.rows:,} x {options.columns}, a sample of {options.fraction:g} of the rows")
    print(f"bytes    full {all_bytes:15,.0f}   sample {some_bytes:13,.0f}   share {some_bytes / all_bytes:.4f}")
    print(f"seconds  full {all_seconds:15.3f}   sample {some_seconds:13.4f}   share {some_seconds / all_seconds:.4f}")


if __name__ == "__main__":
    main()
