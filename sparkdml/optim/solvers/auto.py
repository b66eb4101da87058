"""Which solver `auto` takes."""

MAX_NORMAL_FEATURES = 4096  # pyspark.ml's WeightedLeastSquares.MAX_NUM_FEATURES
MAX_NEWTON_COEFFICIENTS = 1000  # above, factoring the matrix on the driver takes as long as a pass
ROWS_A_COEFFICIENT = 10  # with fewer the matrix is badly determined, and the quadratic model with it

# What the solvers cost, measured on logistic problems of 10 to 1000 columns: passes to tol=1e-6, and on one core
# seconds of a pass, of a stored number in a gradient, and of what a Hessian adds, for a number and for each product of
# two of a row. On sparse rows a number costs ten times as much, and all that is added is in the products. L-BFGS needs
# 13 passes on independent columns, and ten times as many on correlated ones; the others do not mind.
NEWTON_PASSES, LBFGS_PASSES = 6, 20
SAMPLE_PASSES, FULL_PASSES = 5, 6  # of `subsampled-newton`: with a Hessian of the sample, and without of all rows
PASS, NUMBER, SPARSE_NUMBER = 70e-3, 3e-9, 30e-9
HESSIAN_NUMBER, PRODUCT, SPARSE_PRODUCT = 12e-9, 0.02e-9, 20e-9
SOLVE = 6e-11  # of the matrix, times the cube of its columns


def choose(features: int, quadratic: bool, kinked: bool = False) -> str:
    """pyspark.ml's rule: the normal equations for a squared loss of at most 4096 features, else L-BFGS.

    Loss functions with a kink, which pyspark.ml minimizes by subgradients, take Newton's method up to 1000 features:
    measured on 20,000 rows of 30 correlated columns, it needs 21 to 32 passes where L-BFGS needs 50 to 390.

    >>> choose(12, quadratic=True), choose(100_000, quadratic=True), choose(12, quadratic=False, kinked=True)
    ('normal', 'l-bfgs', 'newton')
    """
    if kinked and features <= MAX_NEWTON_COEFFICIENTS:
        return "newton"
    return "normal" if quadratic and features <= MAX_NORMAL_FEATURES else "l-bfgs"


def choose_smooth(
    rows: int,
    coefficients: int,
    tasks: int,
    fraction: float = 1.0,
    density: float = 1.0,
    sparse: bool = False,
    convex: bool = False,
) -> str:
    """The cheapest of Newton's method, whose passes are few and each with a Hessian, its variant that has one of a
    sample, and L-BFGS, whose more numerous passes bring a gradient.

    Parameters
    ----------
    rows, coefficients : of the whole problem: as many as features, or as many times that as there are classes.
    tasks : that share a pass at a time.
    fraction : of the rows that a sample has.
    density : the share of the numbers that are stored, where rows are sparse.
    convex : whether the penalty has curvature along every coefficient, which few rows have not.

    >>> choose_smooth(20_000, 20, 2), choose_smooth(1_000_000, 100, 2, fraction=0.02), choose_smooth(1_000, 500, 2)
    ('newton', 'subsampled-newton', 'l-bfgs')
    >>> choose_smooth(1_000, 500, 2, convex=True)
    'newton'
    """
    determined = convex or rows >= ROWS_A_COEFFICIENT * coefficients
    if coefficients > MAX_NEWTON_COEFFICIENTS or not determined:
        return "l-bfgs"
    stored = coefficients * density if sparse else float(coefficients)
    gradient = stored * (SPARSE_NUMBER if sparse else NUMBER)
    hessian = SPARSE_PRODUCT * stored**2 if sparse else stored * (HESSIAN_NUMBER + PRODUCT * stored)
    share = rows / tasks
    full, solve = PASS + share * gradient, SOLVE * coefficients**3
    sampled = PASS + fraction * share * (gradient + hessian)
    seconds = {
        "newton": NEWTON_PASSES * (full + share * hessian + solve),
        "subsampled-newton": SAMPLE_PASSES * sampled + FULL_PASSES * full + (SAMPLE_PASSES + FULL_PASSES) * solve,
        "l-bfgs": LBFGS_PASSES * full,
    }
    return min(seconds, key=seconds.__getitem__)
