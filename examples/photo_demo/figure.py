"""Draw the demo's figure: every panel is one call of the library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from inputs import InputError, Scribbles
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

WIDTH = 16.0  # inches; a quarter of it per column
MARGIN, GAP, TITLE = 0.22, 0.2, 0.56
INK, MUTED, ACCENT = "#1d2733", "#6b7785", "#d1495b"
CROP = 84  # pixels shown across the enlarged tree
LEGEND = 5  # class names with a swatch; more do not fit in a row
FLOOR = 1e-9  # the smallest affinity with a colour of its own

FILTERED = (
    "2a",
    "Scribbles filtered along the tree",
    "tf.filter(seeds, tree, affinity, normalize=False)",
)
NEAREST = ("2b", "Nearest scribble on the tree", "tf.distance_transform(weight, tree, seeds)")
LEARNED = ("6", "Filtered along the learned tree", "the guide is learned from the scribbles")


@dataclass(frozen=True)
class Progress:
    """How good the guide is at one step of learning."""

    loss: float
    held_out_loss: float
    held_out_accuracy: float

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"loss {self.loss:.3f}"
        if math.isnan(self.held_out_loss):
            return text
        return f"{text}; held out: {self.held_out_loss:.3f}, {self.held_out_accuracy:.1%} right"


@dataclass(frozen=True)
class Panels:
    """What the figure shows: images (H, W, 3), maps (H, W), and the tree's vectors (N,)."""

    photo: np.ndarray
    scribbles: Scribbles
    smoothed: np.ndarray
    by_filter: np.ndarray
    by_distance: np.ndarray
    by_learning: np.ndarray
    affinity: np.ndarray
    distance: np.ndarray
    parent: np.ndarray
    behind: np.ndarray
    history: list[Progress]


def check_writable(path: Path, *inputs: Path | None) -> None:
    """Refuse a path that cannot become a PNG file, or is an input, before the work starts."""
    for given in inputs:
        if given is not None and path.exists() and path.samefile(given):
            raise InputError(f"--output would overwrite {given}")
    if path.suffix.lower() != ".png" or path.is_dir():
        raise InputError(f"--output must be a .png file, got {path}")
    if not path.resolve().parent.is_dir():
        raise InputError(f"--output: no such folder: {path.resolve().parent}")


def save(path: Path, panels: Panels) -> None:
    """Write the figure as PNG."""
    height, width = panels.photo.shape[:2]
    column = (WIDTH - 2 * MARGIN - 3 * GAP) / 4
    row = column * height / width
    total = 1.5 * MARGIN + 3 * (TITLE + row)
    figure = Figure(figsize=(WIDTH, total), facecolor="white")

    def place(x: int, y: int, span: int = 1) -> Axes:
        """An axes box at column x and row y, measured in inches from the upper left."""
        w = span * column + (span - 1) * GAP
        h = span * row + (span - 1) * TITLE
        left, top = MARGIN + x * (column + GAP), MARGIN / 2 + TITLE + y * (row + TITLE)
        return figure.add_axes((left / WIDTH, 1 - (top + h) / total, w / WIDTH, h / total))

    draw_scribbles(place(0, 0), panels)
    draw_smoothed(place(1, 0), panels)
    draw_labels(place(0, 1), panels, panels.by_filter, *FILTERED)
    draw_labels(place(1, 1), panels, panels.by_distance, *NEAREST)
    draw_affinity(place(0, 2), panels)
    draw_distance(place(1, 2), panels)
    draw_tree(place(2, 0, span=2), panels, aspect=(2 * row + TITLE) / (2 * column + GAP))
    draw_labels(place(2, 2), panels, panels.by_learning, *LEARNED)
    draw_history(place(3, 2), panels)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def draw_scribbles(axes: Axes, panels: Panels) -> None:
    """The photograph with all strokes and the clicked pixel."""
    scribbles = panels.scribbles
    colours = scribbles.colours.numpy()
    picture = panels.photo.copy()
    label, held_out = scribbles.label.numpy(), scribbles.held_out.numpy()
    picture[held_out >= 0] = 0.35 * colours[held_out[held_out >= 0]] + 0.65
    picture[label >= 0] = colours[label[label >= 0]]
    show(axes, picture, "", "A photograph with scribbles", "")
    mark_click(axes, panels)
    swatches = [*zip(scribbles.names, colours, strict=True)][:LEGEND]
    if (held_out >= 0).any():
        swatches.append(("held out", 0.35 * colours[0] + 0.65))
    # Matplotlib leaves out labels that begin with "_", and takes "$" for the start of a formula.
    legend = axes.legend(
        handles=[Line2D([], [], color=tuple(colour), linewidth=5) for _, colour in swatches],
        labels=["name"] * len(swatches),
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(swatches), frameon=False, fontsize=8.5,
        labelcolor=MUTED, borderpad=0, borderaxespad=0.45, handlelength=0.9, handletextpad=0.4,
        columnspacing=0.9,
    )  # fmt: skip
    for text, (name, _) in zip(legend.get_texts(), swatches, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def draw_smoothed(axes: Axes, panels: Panels) -> None:
    """The photograph filtered along its own tree."""
    show(axes, panels.smoothed, "1", "Smoothed, edges kept", "tf.filter(photo, tree, affinity)")


def draw_affinity(axes: Axes, panels: Panels) -> None:
    """How much each pixel counts for the clicked one, as a glow over the darkened photograph."""
    values = np.maximum(panels.affinity, FLOOR)
    norm = LogNorm(FLOOR, 1)
    grey = np.repeat(panels.photo.mean(2, keepdims=True), 3, 2)
    note = "tf.filter(delta, tree, affinity, normalize=False)"
    show(axes, 0.3 * grey, "3", "Affinity of the clicked pixel", note)
    glow = np.sqrt(norm(values))
    image = axes.imshow(values, norm=norm, cmap="inferno", alpha=glow, aspect="auto")
    mark_click(axes, panels)
    colour_bar(axes, image, [FLOOR, FLOOR**0.5, 1], ["≤ 10⁻⁹", "", "1"])


def draw_distance(axes: Axes, panels: Panels) -> None:
    """The length of the tree path from the clicked pixel."""
    values = panels.distance
    top = float(np.quantile(values, 0.995)) or 1.0
    norm = PowerNorm(0.5, 0, top, clip=True)
    title = ("4", "Distance from it along the tree", "tf.distance(weight, tree, source)")
    image = show(axes, values, *title, norm=norm, cmap="inferno_r")
    levels = top * np.linspace(0.1, 0.9, 7) ** 2
    axes.contour(values, levels=levels, colors="white", linewidths=0.35, alpha=0.6)
    mark_click(axes, panels)
    colour_bar(axes, image, [0, top / 4, top], [f"{v:.2g}" for v in (0, top / 4, top)])


def draw_tree(axes: Axes, panels: Panels, aspect: float) -> None:
    """Every edge of the tree near the clicked pixel, as wide as the subtree behind it is large."""
    height, width = panels.photo.shape[:2]
    x0, x1 = window(panels.scribbles.click[0], CROP, width)
    y0, y1 = window(panels.scribbles.click[1], round(CROP * aspect), height)
    title = f"The tree itself: {x1 - x0} × {y1 - y0} pixels around the clicked one, its root"
    note = "tf.mst(weight, graph, root=click) · width: pixels behind an edge, tf.leaf_to_root"
    show(axes, 0.8 * panels.photo, "5", title, note)
    child = np.arange(height * width)
    child = child[panels.parent != child]
    ends = np.stack([child, panels.parent[child]], 1)
    segments = np.stack([ends % width, ends // width], 2).astype(float)
    middle = segments.mean(1)
    near = (np.abs(middle - [(x0 + x1) / 2, (y0 + y1) / 2]) <= [CROP, CROP]).all(1)
    behind = panels.behind[child][near]
    order = np.argsort(behind)
    size = np.log2(behind[order])
    colours = LinearSegmentedColormap.from_list("tree", ["#fff6e8b0", "#fff6e8", ACCENT])
    lines = LineCollection(
        list(segments[near][order]),
        linewidths=list(0.5 + 0.33 * size),
        colors=colours(size / max(1, size.max())),
    )
    lines.set_capstyle("round")
    axes.add_collection(lines)
    axes.set_xlim(x0 - 0.5, x1 - 0.5)
    axes.set_ylim(y1 - 0.5, y0 - 0.5)
    mark_click(axes, panels, size=14)


def draw_labels(
    axes: Axes, panels: Panels, label: np.ndarray, number: str, title: str, note: str
) -> None:
    """A segmentation: the photograph tinted with the class colours, white lines between classes."""
    picture = 0.5 * panels.photo + 0.5 * panels.scribbles.colours.numpy()[label]
    show(axes, picture, number, title, note)
    for k in range(len(panels.scribbles.names)):
        if (label == k).any() and (label != k).any():
            axes.contour(label == k, levels=[0.5], colors="white", linewidths=0.8)


def draw_history(axes: Axes, panels: Panels) -> None:
    """Loss over the steps of learning."""
    box = axes.get_position()
    left, bottom = 0.11 * box.width, 0.13 * box.height
    axes.set_position((box.x0 + left, box.y0 + bottom, box.width - left, box.height - bottom))
    history = panels.history
    curves = [("each piece from the others", INK, [p.loss for p in history])]
    note = f"{len(history) - 1} steps of Adam, gradients through tf.filter"
    if panels.scribbles.held_out.max() >= 0:
        curves.append(("held-out scribbles", ACCENT, [p.held_out_loss for p in history]))
        before, after = history[0].held_out_accuracy, history[-1].held_out_accuracy
        note = f"accuracy on held-out scribbles: {before:.1%} → {after:.1%}"
    for name, colour, values in curves:
        axes.plot(values, color=colour, linewidth=1.8, label=name)
    heading(axes, "6", "Loss while learning the guide", note, shift=-left / box.width)
    axes.set_xlim(0, max(1, len(history) - 1))
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    axes.set_xlabel("step", color=MUTED, size=9, labelpad=1)
    axes.tick_params(colors=MUTED, labelsize=8, length=3)
    axes.grid(axis="y", color="#e4e8ec", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad1")
    axes.legend(frameon=False, fontsize=9, labelcolor="linecolor", handlelength=1.2)


def show(axes: Axes, picture: np.ndarray, number: str, title: str, note: str, **style: Any) -> Any:
    """A picture that fills its box, with the panel's heading."""
    picture = np.clip(picture, 0, 1) if picture.ndim == 3 else picture
    axes.set_axis_off()
    heading(axes, number, title, note)
    return axes.imshow(picture, aspect="auto", **style)


def heading(axes: Axes, number: str, title: str, note: str, shift: float = 0.0) -> None:
    """Number and title, and below them the call that made the panel.

    ``shift`` moves the text sideways, in widths of the cell.
    """
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    start = (shift / (1 + shift), 1)
    axes.annotate(number, start, (0, 19), color=ACCENT, weight="bold", size=12, **place)
    offset = 5 + 9 * len(number) if number else 0
    axes.annotate(title, start, (offset, 19), color=INK, weight="bold", size=12, **place)
    axes.annotate(note, start, (0, 6), color=MUTED, size=8.5, family="monospace", **place)


def mark_click(axes: Axes, panels: Panels, size: float = 8) -> None:
    """A ring around the clicked pixel."""
    ring = axes.plot(
        *panels.scribbles.click, "o", ms=size, mfc="none", mec="white", mew=1.8, clip_on=True
    )
    ring[0].set_path_effects([withStroke(linewidth=3.4, foreground=INK)])


def colour_bar(axes: Axes, image: Any, ticks: list[float], labels: list[str]) -> None:
    """A small bar inside the lower right corner of the panel."""
    box = axes.inset_axes((0.62, 0.06, 0.34, 0.035))
    bar = axes.figure.colorbar(image, cax=box, orientation="horizontal", ticks=ticks)
    bar.ax.set_xticklabels(labels, color="white", size=7.5)
    bar.ax.xaxis.set_ticks_position("top")
    bar.ax.tick_params(length=0, pad=1.5)
    bar.ax.minorticks_off()
    for text in bar.ax.get_xticklabels():
        text.set_path_effects([withStroke(linewidth=2, foreground=INK)])


def window(centre: int, size: int, limit: int) -> tuple[int, int]:
    """The range of ``size`` pixels around ``centre`` that stays inside [0, limit)."""
    size = min(size, limit)
    start = min(max(0, centre - size // 2), limit - size)
    return start, start + size
