"""The problems that the contestants solve; the tables of them are in `peers.tables`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A problem: minimize mean loss + regParam / 2 ||w||^2 over w (d,) and an intercept, which is not penalized.

    Attributes
    ----------
    rows, columns : how many.
    nonzeros : of a row, whose values are all one; 0 for dense rows of correlated normal columns of variance one.
    levels : of each categorical column that the ones of a row stand for; empty for hashed ones.
    unit : whether dense rows have length one.
    logistic : whether the label is a class, else a number.
    """

    name: str
    rows: int
    columns: int
    regParam: float
    nonzeros: int = 0
    levels: tuple[int, ...] = ()
    unit: bool = False
    logistic: bool = True

    @property
    def sparse(self) -> bool:
        """Whether rows are stored by their non-zeros."""
        return self.nonzeros > 0

    @property
    def numbers(self) -> int:
        """Stored numbers of all rows."""
        return self.rows * (self.nonzeros or self.columns)

    @property
    def nbytes(self) -> int:
        """What one pass reads: float64 values, and of sparse rows their int32 places."""
        return self.numbers * (12 if self.sparse else 8)

    @property
    def data_columns(self) -> list[str]:
        """The columns of the features in the files."""
        return ["features"] if self.sparse or self.columns > 1000 else [f"x{j}" for j in range(self.columns)]


AIRLINE = (12, 31, 7, 24, 20, 300, 300, 306)

FULL = {
    shape.name: shape
    for shape in (
        Shape("dense", 1_000_000, 100, 1e-5),
        Shape("tall", 4_000_000, 50, 1e-5),
        Shape("epsilon", 100_000, 2_000, 1e-5, unit=True),
        Shape("airline", 1_000_000, 1_000, 1e-5, nonzeros=8, levels=AIRLINE),
        Shape("criteo", 2_000_000, 262_144, 1e-5, nonzeros=39),
        Shape("linear", 500_000, 500, 1e-5, logistic=False),
    )
}
QUICK = {
    shape.name: shape
    for shape in (
        Shape("dense", 100_000, 50, 1e-5),
        Shape("airline", 100_000, 1_000, 1e-5, nonzeros=8, levels=AIRLINE),
        Shape("linear", 50_000, 100, 1e-5, logistic=False),
    )
}
TINY = {  # to try the benchmark itself out
    shape.name: shape
    for shape in (
        Shape("dense", 2_000, 10, 1e-3),
        Shape("airline", 2_000, 1_000, 1e-3, nonzeros=8, levels=AIRLINE),
        Shape("linear", 2_000, 10, 1e-3, logistic=False),
    )
}
SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}
