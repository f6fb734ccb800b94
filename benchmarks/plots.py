"""The plots on the page: times over size, channels, threads and batch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from race import OURS, Record, quartiles
from targets import squares

COLOURS = {
    OURS: "#1f5fa8",
    "treefilter, channels last": "#2a9d8f",
    "treefilter, one by one": "#2a9d8f",
    "scipy, rooted": "#c8553d",
    "memcpy": "#8a8a8a",
}
NAMES = {"scipy, rooted": "scipy: tree and breadth-first order", OURS: "treefilter"}


def scaling(records: Sequence[Record], title: str, path: Path) -> bool:
    """Four panels, over size, channels, threads and batch; false if nothing was measured."""

    def of(task: str) -> list[Record]:
        return [record for record in records if record.task == task]

    panels = [
        (squares(records), "tf.mst, photograph", "pixels", "ns per pixel", lambda r: r.items),
        (
            of("scaling, channels"),
            "tf.filter, 512×512",
            "channels",
            "ns per pixel and channel",
            lambda r: int(r.input.removeprefix("C=")),
        ),
        (
            of("scaling, batch"),
            "tf.mst of 128×128 photographs, 1 thread",
            "images",
            "ns per pixel",
            lambda r: int(r.shape.partition("x")[0]),
        ),
    ]
    if not any(has for has, *_ in panels):
        return False
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for axis, panel in zip(axes.flat, panels, strict=False):
        _cost(axis, *panel)
    _threads(axes.flat[3], of("scaling, threads"))
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True


def _cost(
    axis: Axes,
    records: Sequence[Record],
    title: str,
    across: str,
    up: str,
    position: Callable[[Record], int],
) -> None:
    """Medians, with the quartiles as a band."""
    records = sorted(records, key=position)
    lines = dict.fromkeys((name, r.device) for r in records for name in r.seconds)
    for name, device in lines:
        having = [r for r in records if r.device == device and name in r.seconds]
        x = [position(record) for record in having]
        stats = [quartiles(record.seconds[name]) for record in having]
        lower, median, upper = (
            [value / record.items * 1e9 for value, record in zip(values, having, strict=True)]
            for values in zip(*stats, strict=True)
        )
        colour = COLOURS.get(name) if device == "cpu" else None
        label = NAMES.get(name, name) + ("" if device == "cpu" else f", {device}")
        (line,) = axis.plot(x, median, "o-", color=colour, markersize=4, label=label)
        axis.fill_between(x, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0)
    _finish(axis, title, across, up)


def _threads(axis: Axes, records: Sequence[Record]) -> None:
    """Gains over one thread, of the library and of plain arithmetic in the same minutes."""
    cases = dict.fromkeys(record.input for record in records)
    most = max((record.threads for record in records), default=1)
    for case in cases:
        having = sorted((r for r in records if r.input == case), key=lambda r: r.threads)
        lines = {OURS: "o-", "arithmetic": "x:"}
        for name, style in lines.items():
            x, y = [1], [1.0]
            for record in having:
                alone = quartiles(record.seconds[f"{name}, 1 thread"]).median
                x.append(record.threads)
                y.append(alone / quartiles(record.seconds[name]).median)
            colour = axis.lines[-1].get_color() if name == "arithmetic" else None
            label = case if name == OURS else None
            axis.plot(x, y, style, color=colour, markersize=5, label=label)
    if not cases:
        axis.set_axis_off()
        return
    axis.plot([], [], "x:", color="#555555", label="plain arithmetic, same minutes")
    axis.plot([1, most], [1, most], color="#cccccc", linewidth=1, zorder=0, label="ideal")
    _finish(axis, "gain by threads", "threads", "times as fast as 1 thread")


def _finish(axis: Axes, title: str, across: str, up: str) -> None:
    if not axis.lines:
        axis.set_axis_off()
        return
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high / low < 6:  # so that noise does not fill the panel
        middle = (low * high) ** 0.5
        low, high = axis.set_ylim(middle / 2.5, middle * 2.5)
    steps = (1, 2, 5) if high / low > 20 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [step * 10.0**exponent for exponent in range(-3, 5) for step in steps]
    axis.set_yticks([t for t in ticks if low <= t <= high])
    axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    positions = sorted({x for line in axis.lines for x in line.get_xdata()})
    axis.set_xticks(positions)
    names = {size * size: f"{size}²" for size in (2**k for k in range(7, 14))}
    axis.set_xticklabels([names.get(int(x), f"{x:g}") for x in positions])
    axis.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axis.set_title(title)
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.grid(color="#e6e6e6")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=9)
