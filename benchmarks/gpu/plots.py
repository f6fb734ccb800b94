"""The plot of the GPU page: measured times beside predictions and bandwidth floors."""

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from plots import COLOURS
from race import OURS
from report import time_in_words

from gpu.predictions import PREDICTIONS, Medians

COLUMNS = 2
PREDICTED = {"color": "#c8553d", "markersize": 12, "markeredgewidth": 2.5, "linewidth": 2.5}


def stages(run: dict, medians: Medians, floors: Medians, path: Path) -> bool:
    """A panel for each case, a row for each stage; false if nothing was measured."""
    cases = [case for case in run["cases"] if any(key[0] == case["name"] for key in medians)]
    if not cases:
        return False
    rows = -(-len(cases) // COLUMNS)
    size = (6.5 * COLUMNS, 3.4 * rows)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat[len(cases) :]:
        axis.set_axis_off()
    for axis, case in zip(axes.flat, cases, strict=False):
        _panel(axis, case["name"], medians, floors)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    title = run["machine"]["gpu"] or "dry run on the CPU"
    figure.suptitle(f"{title}: time of a call, by CUDA graph", fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


def _panel(axis: plt.Axes, case: str, medians: Medians, floors: Medians) -> None:
    keys = [key for key in medians if key[0] == case]
    positions = range(len(keys))
    axis.barh(
        positions,
        [medians[key] * 1e6 for key in keys],
        height=0.6,
        color=COLOURS[OURS],
        alpha=0.5,
        label="measured",
    )
    for position, key in zip(positions, keys, strict=True):
        edges = position - 0.4, position + 0.4
        axis.vlines(floors[key] * 1e6, *edges, color="#2a9d8f", linewidth=2.5,
                    label="bandwidth floor" if position == 0 else None)  # fmt: skip
        axis.annotate(
            time_in_words(medians[key]),
            (medians[key] * 1e6, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        found = PREDICTIONS.get(case, {}).get(key[1])
        if found:
            low, high = found
            axis.plot(
                [low, high], [position] * 2, "|-", color="#c8553d", markersize=11, linewidth=2
            )
    axis.plot([], [], "|-", **PREDICTED, label="predicted")
    axis.set_yticks(positions, [stage for _, stage in keys], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(low, high * 2.5)  # for the times beside the bars
    axis.set_xlabel("µs")
    axis.set_title(case, fontsize=10)
    axis.grid(axis="x", color="#e6e6e6")
    axis.set_axisbelow(True)
