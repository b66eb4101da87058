"""What the content of a saved model must be: names of features, and arrays of shapes that fit them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparkdml.arrays import require

MOST_MARGINS = 8192  # as many as a classifier has classes at most
MOST_STEPS = 1_000_000  # numbers of a history
MOST_ARRAYS = 64
_SUMMARY = "summary."
_OF_ONE_MARGIN = (
    "sparkdml.classification.LinearSVCModel",
    "sparkdml.regression.GeneralizedLinearRegressionModel",
    "sparkdml.regression.LinearRegressionModel",
)


def check_content(kind: str, values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise FormatError unless values and arrays of these shapes can be the content of a model of this kind.

    A name is of four bytes at least where it stands, so that what a file says bounds what its arrays take.
    """
    require(set(values) == {"featureNames", "summary"}, "the model has unknown or missing fields")
    names, summary = values["featureNames"], values["summary"]
    texts = isinstance(names, list) and all(type(name) is str for name in names)
    require(texts, "the features' names are no list of texts")
    require(summary is None or isinstance(summary, dict), "the summary is no object")
    own = {name: tuple(shape) for name, shape in shapes.items() if not name.startswith(_SUMMARY)}
    known = {"coefficients", "intercept"} <= set(own) <= {"coefficients", "intercept", "featureMeans", "scale"}
    require(known and len(shapes) <= MOST_ARRAYS, "the model has unknown or missing arrays")
    d, margins = len(names), own["intercept"]
    counted = len(margins) == 1 and 1 <= margins[0] <= (1 if kind in _OF_ONE_MARGIN else MOST_MARGINS)
    require(counted, f"a {kind.rpartition('.')[2]} cannot have intercepts of the shape {margins}")
    fit = (own["coefficients"] == (d,) and margins == (1,)) or own["coefficients"] == (margins[0], d)
    require(fit, "the coefficients do not match the features' names")
    require(own.get("featureMeans", (d,)) == (d,), "the means do not match the features' names")
    require(own.get("scale", (1,)) == (1,), "the scale is no number")
    for name in set(shapes) - set(own):
        size = 1
        for n in shapes[name]:
            size *= n
        require(size <= (d + 1) * margins[0] + MOST_STEPS, f"array {name!r:.50} is too large for the model")
