"""One experiment on the page: its table, pictures, curves, and classes."""

from __future__ import annotations

from collections.abc import Sequence

from tel_segmentation.report.failures import failures
from tel_segmentation.report.format import HEADER, cells, percent
from tel_segmentation.report.html import Colors, breakable, head, legend, swatch, text
from tel_segmentation.report.pictures import Strip, strips
from tel_segmentation.report.plots import curve, draw
from tel_segmentation.report.table import Experiment, best_rows, spread
from tel_segmentation.report.tiles import class_legend, strip


def section(number: int, group: Experiment, colors: Colors, pictures: int) -> str:
    """The experiment as HTML, with at most ``pictures`` images."""
    images = strips(group, pictures)
    ratio = spread(
        run.result.get("labelled_ratio")
        for row in group.rows
        for run in row.runs
        if row.kind != "full"
    )
    seeds = len({run.seed for row in group.rows for run in row.runs})
    facts = [f"split “{text(group.split)}”", f"{len(group.classes)} classes"]
    facts += [f"{100 * ratio.mean:.1f} % of the training pixels labelled"] if ratio else []
    facts.append(f"{seeds} seed{'s' * (seeds != 1)}")
    return (
        f'<section id="experiment-{number}"><h2>{breakable(group.name)}</h2>'
        f'<p class="soft">{" · ".join(facts)}</p>{_table(group, colors)}'
        f"{_pictures(images, group, colors)}{_curves(number, group, colors)}"
        f"{_classes(group, colors)}{failures(group, pictures)}</section>"
    )


def _table(group: Experiment, colors: Colors) -> str:
    values = [run.miou for row in group.rows for run in row.runs]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.01

    def place(value: float) -> float:
        return 100 * (value - low + margin) / (high - low + 2 * margin)

    bases = [place(row.miou) for row in (group.partial, group.full) if row]
    best = best_rows(group)
    rows = []
    for row in group.rows:
        dots = [
            *(f'<i class="base" style="left:{base:.2f}%"></i>' for base in bases),
            *(_dot(place(run.miou), colors[row.method]) for run in row.runs),
            _dot(place(row.miou), colors[row.method], "mean"),
        ]
        rest = "".join(
            f'<td data-label="{label}"{" class=best" if row in best.get(label, ()) else ""}>'
            f"{text(value)}</td>"
            for label, value in zip(HEADER[1:], cells(row)[1:], strict=True)
        )
        name = f"{swatch(colors[row.method])}{text(row.method)}"
        name += f"<small>from {breakable(row.borrowed)}</small>" if row.borrowed else ""
        rows.append(
            f'<tr{" class=key" if row is group.headline else ""}><th scope="row">{name}</th>'
            f'<td class="dots"><span class="axis">{"".join(dots)}</span></td>{rest}</tr>'
        )
    scale = f"mIoU of each seed,<br>{percent(low)} … {percent(high)}"
    return (
        f'<div class="card scroll"><table class="rows">{head((HEADER[0], scale, *HEADER[1:]))}'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='soft'><small>In percent, of the last iterate. Mean ± standard deviation over"
        " seeds; differences to partial cross entropy are paired by seed, ± twice their standard"
        " error. Bold: the best mean of a column, full supervision apart.</small></p>"
    )


def _dot(place: float, color: str, kind: str = "") -> str:
    return f'<i class="{kind}" style="left:{place:.2f}%;background:{color}"></i>'


def _pictures(images: Sequence[Strip], group: Experiment, colors: Colors) -> str:
    if not images:
        return ""
    first = group.rows[0].runs[0]
    key = class_legend(first)
    compared = "".join(strip(each.compared, each.name, colors) for each in images)
    steps = "".join(strip(each.steps, each.name, colors) for each in images if each.steps)
    more = (
        "<details><summary>How the pseudo labels are made</summary><p class='soft'><small>"
        f"{text(group.headline.method)}: the prediction, then the prediction filtered along its"
        " trees. The loss compares the prediction with the last pseudo label.</small></p>"
        f"{steps}</details>"
        if steps and group.headline
        else ""
    )
    return f"<h3>The same training images, segmented by every method</h3>{key}{compared}{more}"


def _curves(number: int, group: Experiment, colors: Colors) -> str:
    pairs = [(colors[row.method], row.runs) for row in group.rows]
    losses = [curve(runs, "loss", color) for color, runs in pairs]
    validation = [curve(runs, "evaluation.miou", color) for color, runs in pairs]
    precision = [curve(runs, "accuracy_prediction", color) for color, runs in pairs]
    precision += [curve(runs, "accuracy_pseudo", color, dashed=True) for color, runs in pairs]
    figures = "".join(
        f'<figure class="card">{svg}<figcaption>{caption}</figcaption></figure>'
        for svg, caption in (
            (
                draw(precision, f"precision-{number}"),
                "<b>Accuracy on unlabelled pixels</b> of the training batches, in percent:"
                " prediction (solid) and final pseudo label (dashed).",
            ),
            (
                draw(validation, f"validation-{number}"),
                "<b>Validation mIoU</b>, in percent, during training.",
            ),
            (
                draw(losses, f"loss-{number}", percent=False),
                "<b>Training loss</b>: the sum of a method’s terms; methods are not comparable.",
            ),
        )
        if svg
    )
    if not figures:
        return ""
    key = legend(((colors[row.method], row.method) for row in group.rows), "line")
    return f'<h3>During training</h3>{key}<div class="curves">{figures}</div>'


def _classes(group: Experiment, colors: Colors) -> str:
    trees = [row for row in group.rows if row.kind == "tel"][:3]
    rows = [row for row in (group.partial, *trees, group.full) if row]
    if not rows:
        return ""
    first = group.rows[0].runs[0]
    ious = [row.iou() for row in rows]
    blocks = []
    for index, (name, (r, g, b)) in enumerate(zip(first.classes, first.colors, strict=True)):
        bars = "".join(
            _bar(iou[index], colors[row.method]) for row, iou in zip(rows, ious, strict=True)
        )
        blocks.append(f"<div><h4>{swatch(f'rgb({r},{g},{b})')}{text(name)}</h4>{bars}</div>")
    key = legend((colors[row.method], row.method) for row in rows)
    return f'<h3>IoU of each class</h3>{key}<div class="classes card">{"".join(blocks)}</div>'


def _bar(value: float | None, color: str) -> str:
    width = 100 * (value or 0)
    return (
        f'<div class="bar"><span><i style="width:{width:.1f}%;background:{color}"></i></span>'
        f"<b>{percent(value)}</b></div>"
    )
