"""Make a synthetic table with known coefficients: any number of rows, a regression or a classification.

    spark-submit jobs/make_data.py --rows 1000000 --features 10 --noise 0.1 --output DIR

``--help`` lists every option: sparse and wide vectors, correlated features, missing cells, copied rows, uneven and
drifting partitions. The true coefficients are in ``DIR/_coefficients.json``. The last line of stdout is one JSON
object; the exit codes are those of ``sparkdml/jobkit/failures.py``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # a bare checkout works without installing

from sparkdml.jobkit.start import starting  # noqa: E402 - which the line above finds

with starting(__name__):
    from sparkdml.jobkit.making import making_main


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    return making_main(argv)


if __name__ == "__main__":
    sys.exit(main())
