"""Which columns of a DataFrame are packed. Executors read this too, so it does not load pyspark."""

from dataclasses import dataclass

ROLES = ("label", "weight", "offset", "fold")
PARTITION = "partition"  # the column with the number of the partition that a row is in


@dataclass(frozen=True)
class Columns:
    """The columns of a fit.

    Attributes
    ----------
    features : one vector or array column, or several numeric ones.
    kind : "vector", "array" or "scalars".
    names : the features' names, or None where they are not known before the data are read.
    roles : the column of each role that is used: label, weight, offset, fold.
    classes : how many classes the metadata of the label column name, or None.
    """

    features: tuple[str, ...]
    kind: str
    names: tuple[str, ...] | None
    roles: dict[str, str]
    classes: int | None = None

    @property
    def size(self) -> int | None:
        """The number of features, where the columns tell it."""
        return None if self.names is None else len(self.names)

    def feature_names(self, size: int) -> tuple[str, ...]:
        """The features' names once their number is known."""
        if self.names is not None and len(self.names) == size:
            return self.names
        return tuple(f"{self.features[0]}[{j}]" for j in range(size))
