"""Which solver `auto` takes."""

MAX_NORMAL_FEATURES = 4096  # pyspark.ml's WeightedLeastSquares.MAX_NUM_FEATURES


def choose(features: int, quadratic: bool) -> str:
    """pyspark.ml's rule: the normal equations for a squared loss of at most 4096 features, else L-BFGS.

    >>> choose(12, quadratic=True), choose(100_000, quadratic=True)
    ('normal', 'l-bfgs')
    """
    return "normal" if quadratic and features <= MAX_NORMAL_FEATURES else "l-bfgs"
