"""Pictures of how good predictions are, drawn from counts: the rows stay where they are."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.feature import Bucketizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkdml.blocks.schema import quoted
from sparkdml.classification import BinaryLogisticRegressionSummary, LinearSVCSummary, LogisticRegressionSummary
from sparkdml.classification.class_summary import BinaryClassificationSummary
from sparkdml.evaluation import ClassMetrics
from sparkdml.jobkit.failures import EnvironmentProblem
from sparkdml.regression import GeneralizedLinearRegressionSummary, LinearRegressionSummary
from sparkdml.summary import Summary

_SLICES = 25  # of the predictions, with as many rows in each
_BINS = 60  # of the residuals, of one width
_TAIL = 0.005  # the share of the residuals on either side that is left out of the picture
_PRECISION = 0.001  # of the quantiles, as a share of the rows
_WRITTEN = 12  # classes, at most, whose cells of the confusion matrix have room for their numbers
_BLUE, _GREY, _ORANGE = "#1f5fa8", "#9a9a9a", "#e07b00"


def require_matplotlib() -> None:
    """Raise EnvironmentProblem if there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as missing:
        raise EnvironmentProblem("--plots needs matplotlib: pip install 'sparkdml[plot]' brings it.") from missing


def pictures(summary: Summary, predictions: DataFrame) -> dict[str, bytes]:
    """The pictures of the model's family as PNG, by file name.

    Parameters
    ----------
    summary : Summary
        Of the predictions: their metrics, and what their columns are called.
    predictions : DataFrame
        The rows, all of which have a prediction.
    """
    return _PICTURES[type(summary)](summary, predictions)


def _regression(summary: Summary, predictions: DataFrame, middle: str) -> dict[str, bytes]:
    """Residuals, with a line through the middle of each slice, and calibration; two jobs over the rows."""
    weight = summary._scoring.weightCol
    p, y = quoted(summary.predictionCol).cast("double"), quoted(summary.labelCol).cast("double")
    s = quoted(weight).cast("double") if weight else F.lit(1.0)
    rows = predictions.select(p.alias("p"), y.alias("y"), (y - p).alias("r"), s.alias("s")).na.drop()
    slices, bins = _edges(rows)
    found = _counts(rows, slices, bins)
    residuals = _draw_residuals(found, slices, bins, middle)
    return {"residuals.png": residuals, "calibration.png": _draw_calibration(found)}


def _curves(summary: BinaryClassificationSummary, predictions: DataFrame) -> dict[str, bytes]:
    """ROC and precision-recall curve, from the counts behind the metrics; no job."""
    known = summary._complete()
    area, share = f"area {known.area_under_roc:.4f}", known.label_mean
    names = ("false positive rate", "true positive rate")
    roc = _draw_curve(known.roc, [[0.0, 0.0], [1.0, 1.0]], names, f"ROC, {area}", "lower right")
    area = f"area {known.area_under_pr:.4f}"
    names, title = ("recall", "precision"), f"Precision and recall, {area}"
    pr = _draw_curve(known.pr, [[0.0, share], [1.0, share]], names, title, "lower left")
    return {"roc.png": roc, "precision_recall.png": pr}


def _probabilities(summary: BinaryLogisticRegressionSummary, predictions: DataFrame) -> dict[str, bytes]:
    """The curves, and the calibration from the same counts; no job."""
    calibration = _draw_calibration(_slices(summary._complete()))
    return {**_curves(summary, predictions), "calibration.png": calibration}


def _multinomial(summary: LogisticRegressionSummary, predictions: DataFrame) -> dict[str, bytes]:
    """Confusion matrix and calibration, from the counts behind the metrics; no job."""
    known = summary._complete()
    calibration = _draw_calibration(
        _slices(known), ("probability of the predicted class", "share of right predictions")
    )
    return {"confusion.png": _draw_confusion(known.confusion), "calibration.png": calibration}


def _mean(found: dict[str, np.ndarray], bins: np.ndarray) -> np.ndarray:
    """The mean residual of each slice; NaN where it is empty."""
    weight = np.where(found["weight"] > 0.0, found["weight"], np.nan)
    return (found["label"] - found["prediction"]) / weight


def _median(found: dict[str, np.ndarray], bins: np.ndarray) -> np.ndarray:
    """The median residual of each slice, as exact as the bins are."""
    centers = np.array([bins[0], *(bins[:-1] + bins[1:]) / 2, bins[-1]])
    upto = np.cumsum(found["bins"], axis=1)
    return centers[np.argmax(upto >= 0.5 * upto[:, -1:], axis=1)]


_MIDDLES: dict[str, Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]] = {"mean": _mean, "median": _median}
# The median of a skewed label is off the mean, which is what a generalized linear model predicts. Other labels may
# have outliers, which a median bears.
_PICTURES: dict[type, Callable[..., dict[str, bytes]]] = {
    LinearRegressionSummary: partial(_regression, middle="median"),
    GeneralizedLinearRegressionSummary: partial(_regression, middle="mean"),
    BinaryLogisticRegressionSummary: _probabilities,
    LogisticRegressionSummary: _multinomial,
    LinearSVCSummary: _curves,
}


def _slices(known: ClassMetrics) -> dict[str, np.ndarray]:
    """Weight, sum s p and sum s y of slices of the probabilities."""
    weight, probability, frequency = known.calibration(_SLICES).T
    return {"weight": weight, "prediction": weight * probability, "label": weight * frequency}


def _edges(rows: DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where the slices of the predictions and the bins of the residuals end, without the tails."""
    shares = np.linspace(0.0, 1.0, _SLICES + 1)
    shares[[0, -1]] = _TAIL, 1.0 - _TAIL
    slices, ends = rows.approxQuantile(["p", "r"], shares.tolist(), _PRECISION)
    return _distinct(slices), _distinct(np.linspace(ends[0], ends[-1], _BINS + 1))


def _distinct(edges: Any) -> np.ndarray:
    """Growing edges; of two bins around the values if they are too few for two."""
    edges = np.unique(edges)
    around = max(abs(edges[0]), 1.0) * 1e-3
    return edges if len(edges) > 2 else np.array([edges[0] - around, edges.mean(), edges[-1] + around])


def _counts(rows: DataFrame, slices: np.ndarray, bins: np.ndarray) -> dict[str, np.ndarray]:
    """Weight, sum s p and sum s y of each slice, and the weight of each slice and bin.

    The first and the last slice have the tails of the predictions too. The bins have an end more on either side, for
    the tails of the residuals.
    """
    ends = [[-np.inf, *slices[1:-1].tolist(), np.inf], [-np.inf, *bins.tolist(), np.inf]]
    binned = Bucketizer(inputCols=["p", "r"], outputCols=["i", "j"], splitsArray=ends).transform(rows)
    sums = [F.sum(F.col("s") * value) for value in (F.lit(1.0), F.col("p"), F.col("y"))]
    found = np.array([list(row) for row in binned.groupBy("i", "j").agg(*sums).collect()], float)
    i, j = found[:, 0].astype(int), found[:, 1].astype(int)
    weight = np.zeros((len(slices) - 1, len(bins) + 1))
    weight[i, j] = found[:, 2]
    by_slice = [np.bincount(i, column, len(slices) - 1) for column in found[:, 2:].T]
    return dict(zip(("weight", "prediction", "label"), by_slice, strict=True)) | {"bins": weight}


def _draw_residuals(found: dict[str, np.ndarray], slices: np.ndarray, bins: np.ndarray, middle: str) -> bytes:
    """Residuals over predictions as shades, the middle of each slice as a line, and all residuals at the side."""
    figure, (main, side) = _axes(1, 2, width_ratios=[4, 1], sharey=True)
    share = found["bins"] / np.maximum(found["bins"].sum(axis=1, keepdims=True), 1e-300)
    main.pcolormesh(slices, bins, share[:, 1:-1].T, cmap="Blues")
    line = _MIDDLES[middle](found, bins)
    main.step(slices, np.append(line, line[-1]), where="post", color=_ORANGE, label=f"{middle} of a slice")
    main.axhline(0.0, color=_GREY, linewidth=1)
    main.set(xlabel="prediction", ylabel="label - prediction", title="Residuals, in slices of equal numbers of rows")
    main.legend(frameon=False, loc="upper left")
    side.barh((bins[:-1] + bins[1:]) / 2, found["bins"][:, 1:-1].sum(axis=0), height=np.diff(bins), color=_BLUE)
    side.axhline(0.0, color=_GREY, linewidth=1)
    side.set(xlabel="weight", title="all")
    return _png(figure)


def _draw_curve(
    points: np.ndarray, chance: list[list[float]], names: tuple[str, str], title: str, legend: str
) -> bytes:
    """A curve within the unit square, the line of a model that knows nothing, and a legend in the corner named."""
    figure, axes = _axes()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.plot(*np.array(chance).T, color=_GREY, linewidth=1, label="chance")
    axes.plot(*points.T, color=_BLUE, label="the model")
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    axes.legend(frameon=False, loc=legend)
    return _png(figure)


def _draw_confusion(confusion: np.ndarray) -> bytes:
    """The share of the rows of each label that are predicted each class, as shades, and of few classes as numbers."""
    figure, axes = _axes()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1e-300)
    shades = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(shades, label="share of the label")
    axes.set(xlabel="predicted class", ylabel="label", title="Confusion matrix")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if len(confusion) <= _WRITTEN:
        axes.set(xticks=range(len(confusion)), yticks=range(len(confusion)))
        for (label, predicted), part in np.ndenumerate(share):
            ink = "white" if part > 0.5 else "black"
            axes.text(predicted, label, f"{part:.0%}", ha="center", va="center", color=ink, fontsize=9)
    return _png(figure)


def _draw_calibration(
    found: dict[str, np.ndarray], names: tuple[str, str] = ("mean prediction", "mean label")
) -> bytes:
    """The mean label of each slice over its mean prediction: on the diagonal where the model is calibrated."""
    figure, axes = _axes()
    there = found["weight"] > 0.0
    x, y = (found[name][there] / found["weight"][there] for name in ("prediction", "label"))
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, color=_GREY, linewidth=1, label="perfect")
    axes.plot(x, y, "o-", color=_BLUE, label="a slice of the rows")
    axes.set(xlabel=names[0], ylabel=names[1], title="Calibration, in slices of equal numbers of rows")
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def _axes(*shape: int, **settings: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # no pyplot: it keeps figures, and looks for a screen

    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.subplots(*shape, **settings)
    for each in np.ravel(axes):
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
