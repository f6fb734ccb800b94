"""Training curves as inline SVG, which takes font and colours from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tel_segmentation.report.records import Record

_INK, _RULE = "#010203", "#040506"  # placeholders for colours of the page, light or dark
_MOST = 100  # most points in a curve
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "font.size": 10.0,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
}


class Curve(NamedTuple):
    """Mean, smallest and largest value over the seeds at each iteration."""

    color: str
    dashed: bool
    points: list[tuple[float, float, float, float]]  # iteration, mean, smallest, largest


def curve(runs: Iterable[Record], name: str, color: str, dashed: bool = False) -> Curve:
    """The curve of one number of the histories, for example ``loss`` or ``evaluation.miou``."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for line in run.history:
            value = _look_up(line, name)
            if value is not None:
                values.setdefault(line["iteration"], []).append(value)
    points = [
        (float(iteration), fmean(each), min(each), max(each))
        for iteration, each in sorted(values.items())
    ]
    return Curve(color, dashed, _thin(points))


def _look_up(line: dict[str, Any], name: str) -> float | None:
    value: Any = line
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if usable else None  # NaN is not < 1e12


def _thin(
    points: list[tuple[float, float, float, float]],
) -> list[tuple[float, float, float, float]]:
    """At most ``_MOST`` points, each the mean of consecutive points."""
    step = -(-len(points) // _MOST) or 1
    thin = []
    for start in range(0, len(points), step):
        x, mean, low, high = zip(*points[start : start + step], strict=True)
        thin.append((fmean(x), fmean(mean), fmean(low), fmean(high)))
    return thin


def draw(curves: Sequence[Curve], salt: str, percent: bool = True) -> str:
    """An SVG element, or an empty string where no curve has points.

    Args:
        curves: what to draw.
        salt: a text that is different for each figure of a page, so that their ids are different.
        percent: values are fractions, shown as percent.
    """
    drawn = [each for each in curves if each.points]
    if not drawn:
        return ""
    factor = 100 if percent else 1
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for each in drawn:
            x, mean, low, high = (list(column) for column in zip(*each.points, strict=True))
            mean, low, high = ([factor * value for value in column] for column in (mean, low, high))
            style: Any = (0, (3, 1.5)) if each.dashed else "-"
            marker = "o" if len(x) <= 12 else None
            axes.plot(x, mean, color=each.color, linewidth=1.9, marker=marker, ms=3.5, ls=style)
            if not each.dashed:
                axes.fill_between(x, low, high, color=each.color, alpha=0.14, linewidth=0)
        axes.set_xlabel("iteration")
        axes.margins(x=0.02)
        axes.locator_params(axis="both", nbins=6)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.print_svg(buffer, metadata=nothing)
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """The SVG element alone; it takes width, font and colours from the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', svg, count=1)
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)  # of groups; nothing refers to them
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    return svg.replace(_INK, "currentColor").replace(_RULE, "var(--rule)")
