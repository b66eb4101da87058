"""The Params of linear regression."""

from typing import Any

from pyspark.ml.param.shared import (
    HasAggregationDepth,
    HasElasticNetParam,
    HasFitIntercept,
    HasLoss,
    HasMaxBlockSizeInMB,
    HasMaxIter,
    HasRegParam,
    HasSolver,
    HasStandardization,
    HasTol,
    HasWeightCol,
)

from sparkdml.optim.losses import LOSSES
from sparkdml.optim.solvers import SOLVERS
from sparkdml.params import (
    HasComputeStatistics,
    HasFeaturesCols,
    HasHandleInvalid,
    HasNumPartitions,
    choice,
    integer,
    number,
)


class LinearRegressionParams(
    HasRegParam,
    HasElasticNetParam,
    HasMaxIter,
    HasTol,
    HasFitIntercept,
    HasStandardization,
    HasWeightCol,
    HasSolver,
    HasAggregationDepth,
    HasLoss,
    HasMaxBlockSizeInMB,
    HasFeaturesCols,
    HasNumPartitions,
    HasHandleInvalid,
    HasComputeStatistics,
):
    """The Params of the estimator and of its model."""

    regParam = number("regParam", "strength of the penalty, at least 0.", 0.0)
    elasticNetParam = number("elasticNetParam", "share of L1 in the penalty: 0 is ridge, 1 is lasso.", 0.0, 1.0)
    maxIter = integer("maxIter", "largest number of iterations, at least 0.", 0)
    tol = number("tol", "estimated relative distance to the minimum at which to stop, at least 0.", 0.0)
    solver = choice("solver", "the method of minimization.", ["auto", *SOLVERS])
    loss = choice("loss", "the loss of a row.", list(LOSSES))
    epsilon = number(
        "epsilon", "shape of the huber loss, above 1; other losses have no use for it.", 1.0, open_low=True
    )
    aggregationDepth = integer("aggregationDepth", "depth of the tree in which partitions are summed.", 1)
    maxBlockSizeInMB = number("maxBlockSizeInMB", "size in MB of the chunks of rows to work on; 0 is automatic.", 0.0)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            maxIter=100,
            regParam=0.0,
            elasticNetParam=0.0,
            tol=1e-6,
            fitIntercept=True,
            standardization=True,
            solver="auto",
            aggregationDepth=2,
            loss="squaredError",
            epsilon=1.35,
            maxBlockSizeInMB=0.0,
            handleInvalid="error",
            computeStatistics=False,
        )
