"""What a run found, as JSON, as a table, and as a plot."""

import statistics
from io import BytesIO
from pathlib import Path
from typing import Any

from peers.results import SchemaError, merged, read_results, write_results
from sparkdml.text import align

OURS = "sparkdml"
HEADER = ["shape", "contestant", "from", "median s", "min", "max", "times ours", "above optimum", "passes", "processor"]


def write_report(directory: Path, result: dict[str, Any]) -> str:
    """Add the result of one more shape to those in the directory, show all, and return the table.

    Nothing is replaced before the table and the plot are made.
    """
    for fit in result["fits"].values():
        fit["processor"] = result["machine"]["processor"]
    try:
        known = read_results(directory)
    except SchemaError:
        known = []
    results = merged(known, result)
    text = table(results)
    picture = plot(results)
    shown = {"results.txt": f"{text}\n".encode(), **({"results.png": picture} if picture else {})}
    write_results(directory, results, shown)
    return text


def table(results: list[dict[str, Any]]) -> str:
    """A line for each shape, contestant and kind of run, and the machine's limits for a pass of each shape."""
    rows = [HEADER]
    limits = []
    for result in results:
        shape, fits, machine = result["shape"], result["fits"], result["machine"]
        for kind in ("ready", "from_files"):
            for name, fit in fits.items():
                if kind in fit:
                    rows.append(_row(shape["name"], name, kind, fit))
                elif kind == "ready":
                    rows.append([shape["name"], name, kind, fit.get("failed", "")] + [""] * 5 + [fit["processor"]])
        passes = fits[OURS].get("passes", 1)
        memory, product = machine["bandwidth"], machine["gemm"]
        read, flops = shape["nbytes"] / memory, 4.0 * shape["numbers"]
        limits.append(
            f"{_title(shape)}: a pass reads {shape['nbytes'] / 1e6:,.0f} MB, {read:.3f} s at {memory / 1e9:.1f} GB/s; "
            f"a gradient takes {flops / 1e9:.2f} Gflop, {flops / product:.3f} s at {product / 1e9:.0f} Gflop/s; "
            f"{passes} passes of ours at the memory's speed are {passes * read:.2f} s"
        )
    return "\n".join([align(rows), "", *limits])


def _row(shape: str, name: str, kind: str, fit: dict[str, Any]) -> list[str]:
    seconds, ours = fit[kind], statistics.median(fit[f"{kind}_ours"])
    median = statistics.median(seconds)
    gap = f"{fit['gap']:.1e}" + ("" if fit["gap"] <= fit["target"] else " (not reached)")
    passes = fit.get("passes", fit.get("iterations", ""))
    times = [f"{each:.2f}" for each in (median, min(seconds), max(seconds))]
    return [shape, name, kind.replace("_", " "), *times, f"{median / ours:.2f}", gap, str(passes), fit["processor"]]


def _title(shape: dict[str, Any]) -> str:
    return f"{shape['name']}: {shape['rows']:,} x {shape['columns']:,}"


def plot(results: list[dict[str, Any]]) -> bytes:
    """Return bars of the medians as PNG, a panel per shape; empty where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return b""
    figure = Figure(figsize=(10, 2.2 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    for panel, result in zip(panels, results, strict=True):
        fits = {name: fit for name, fit in result["fits"].items() if "ready" in fit}
        names = list(reversed(fits))
        for offset, kind, colour in ((0.2, "ready", "#3465a4"), (-0.2, "from_files", "#c4a000")):
            seconds = [statistics.median(fits[name].get(kind, [0.0])) for name in names]
            bars = panel.barh([i + offset for i in range(len(names))], seconds, 0.4, color=colour)
            panel.bar_label(bars, labels=[f" {each:.1f} s" if each else "" for each in seconds], fontsize=7)
            bars.set_label(kind.replace("_", " "))
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_title(
            f"{result['shape']['name']}: {result['shape']['rows']:,} x {result['shape']['columns']:,}", fontsize=9
        )
        panel.set_xscale("log")
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    panels[-1].set_xlabel("seconds to the target, median")
    picture = BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()
