"""Fewer rows of the frequent class or more of the rare one, and how to undo what that does to an intercept.

Source: G. King, L. Zeng, Logistic Regression in Rare Events Data (2001), prior correction.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkdml.blocks.sampling import Sampling
from sparkdml.errors import DataError

SHOWN = 5  # labels that a refusal lists
STREAM = 0x5A17  # sets these draws apart from others that are keyed by the same seed


@dataclass(frozen=True)
class Draw:
    """A sampling of rows of known classes.

    Attributes
    ----------
    sampling : how.
    weights : the weight of each label in the table.
    """

    sampling: Sampling
    weights: dict[float, float]

    @property
    def rates(self) -> dict[float, float]:
        """How many times a row of each label is taken on average."""
        return self.sampling.rates(self.weights)

    def rows(self, ordered: DataFrame, seed: int) -> DataFrame:
        """The rows drawn: of a rate r each floor(r) times, and once more with the probability that is left.

        `ordered` has the rows in an order of their own, so that they meet the same draws when they are computed again.
        """
        first, second = self.rates.items()
        rate = F.when(F.col("label") == first[0], first[1]).when(F.col("label") == second[0], second[1])
        copies = F.floor(F.coalesce(rate, F.lit(1.0)) + F.rand(seed ^ STREAM)).cast("int")
        drawn = ordered.withColumn("_sparkdml_copies", F.array_repeat(F.lit(True), copies))
        return drawn.select(*ordered.columns, F.explode("_sparkdml_copies").alias("_sparkdml_copy")).drop(
            "_sparkdml_copy"
        )

    def realized(self, labels: Mapping[float, tuple[int, float]], skipped: int) -> dict[float, float]:
        """How many times the weight of each label was taken, of those that were packed: rows and weight of each.

        What was drawn is known better than its mean, but for `skipped` rows, which count as if they were not drawn.
        Raises DataError where there is a label of which no row was drawn.
        """
        if skipped:
            return self.rates
        found = {label: labels.get(label, (0, 0.0))[1] / weight for label, weight in self.weights.items()}
        for label, rate in found.items():
            if rate == 0.0:
                raise DataError(
                    f"sampling={self.sampling.kind!r} with samplingRatio={self.sampling.ratio:g} drew none of the few "
                    f"rows of label {label:g}: take 'oversample', or another seed."
                )
        return found


def draw(selected: DataFrame, sampling: Sampling, column: str) -> Draw:
    """Weigh the classes of the selected columns, by one job over label and weight; `column` is the label's name.

    Raises DataError unless the labels are two, both of positive weight.
    """
    weight = F.col("weight") if "weight" in selected.columns else F.lit(1.0)
    finite = [F.col("label").isNotNull(), ~F.isnan("label"), F.abs(F.col("label")) < float("inf")]
    finite += [weight > 0.0, weight < float("inf")]  # packing tells of the others
    usable = selected
    for condition in finite:
        usable = usable.where(condition)
    found = usable.groupBy("label").agg(F.sum(weight).alias("weight")).limit(SHOWN + 1).collect()
    if len(found) == 2:
        return Draw(sampling, {row.label: row.weight for row in found})
    labels = ", ".join(f"{label:g}" for label in sorted(row.label for row in found)[:SHOWN]) or "none"
    more = " and more" if len(found) > SHOWN else ""
    raise DataError(
        f"sampling={sampling.kind!r} needs a label of two classes, but the rows of positive weight have in column "
        f"{column!r} {labels}{more}: set sampling='none'."
    )
