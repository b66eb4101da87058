"""Train a generalized linear regression on a parquet or csv table and publish the model.

    spark-submit jobs/train_glm.py --input PATH --label COLUMN --features A,B,C --family poisson --output DIR

Without arguments it trains on the sample in ``data/`` and writes nothing; ``--help`` lists every option. The
last line of stdout is one JSON object; the exit codes are those of ``sparkdml/jobkit/failures.py``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))  # a bare checkout works without installing

from sparkdml.jobkit.start import starting  # noqa: E402 - which the line above finds

with starting(__name__):
    from sparkdml.jobkit.training import training_main
    from sparkdml.regression import GeneralizedLinearRegression


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns the exit code."""
    return training_main(GeneralizedLinearRegression, str(CHECKOUT / "data" / "diabetes.csv"), "target", argv)


if __name__ == "__main__":
    sys.exit(main())
