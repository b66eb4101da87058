"""Train a linear support vector machine on a parquet or csv table and publish the model.

    spark-submit jobs/train_svc.py --input PATH --label COLUMN --features A,B,C --output DIR

The label is 0 or 1. Without arguments it trains on the sample in ``data/`` and writes nothing; ``--help`` lists every
option. The last line of stdout is one JSON object; the exit codes are those of ``sparkdml/jobkit/failures.py``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # a bare checkout works without installing

from sparkdml.jobkit.start import starting  # noqa: E402 - which the line above finds

with starting(__name__):
    from sparkdml.classification import LinearSVC
    from sparkdml.jobkit.training import training_main


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    return training_main(LinearSVC, str(CHECKOUT / "data" / "breast_cancer.csv"), "malignant", argv)


if __name__ == "__main__":
    sys.exit(main())
