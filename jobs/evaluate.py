"""Compare the predictions of a saved model with the labels of a table.

    spark-submit jobs/evaluate.py --model models/price --input rows.parquet --output report --plots

``--help`` lists every option. The last line of stdout is one JSON object; the exit codes are those of
``sparkdml/jobkit/failures.py``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # a bare checkout works without installing

from sparkdml.jobkit.start import starting  # noqa: E402 - which the line above finds

with starting(__name__):
    from sparkdml.jobkit.evaluating import evaluating_main


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    return evaluating_main(argv)


if __name__ == "__main__":
    sys.exit(main())
