"""How two classes are balanced. Executors read this too, so it does not load pyspark."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparkdml.errors import ParamError

SAMPLINGS = ("none", "oversample", "undersample")


@dataclass(frozen=True)
class Sampling:
    """How two classes are balanced.

    Parameters
    ----------
    kind : "none"; "undersample", which leaves out rows of the majority; or "oversample", which repeats the minority.
    ratio : the weight of the minority over that of the majority afterwards, above 0 and at most 1. Classes that are
        as balanced already stay as they are.

    Raises
    ------
    ParamError : a value is out of its range, or a ratio is given for sampling="none".
    """

    kind: str = "none"
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in SAMPLINGS:
            raise ParamError(f"sampling={self.kind!r} is not one of {', '.join(map(repr, SAMPLINGS))}.")
        if not 0.0 < self.ratio <= 1.0:
            raise ParamError(f"samplingRatio={self.ratio!r} is out of range: it must be above 0 and at most 1.")
        if not self and self.ratio != 1.0:
            raise ParamError(f"samplingRatio={self.ratio:g} is for sampling='undersample' or 'oversample', not 'none'.")

    def __bool__(self) -> bool:
        return self.kind != "none"

    def __str__(self) -> str:
        return f"sampling={self.kind!r}, samplingRatio={self.ratio:g}"

    def rates(self, weights: Mapping[float, float]) -> dict[float, float]:
        """How many times a row of each label is taken on average, given the weight of each of two labels.

        >>> Sampling("undersample", 0.5).rates({0.0: 80.0, 1.0: 10.0})
        {1.0: 1.0, 0.0: 0.25}
        >>> Sampling("oversample").rates({0.0: 80.0, 1.0: 10.0})
        {1.0: 8.0, 0.0: 1.0}
        """
        minority, majority = sorted(weights, key=lambda label: weights[label])
        lacking = max(self.ratio * weights[majority] / weights[minority], 1.0)
        rates = (lacking, 1.0) if self.kind == "oversample" else (1.0, 1.0 / lacking)
        return dict(zip((minority, majority), rates, strict=True))
