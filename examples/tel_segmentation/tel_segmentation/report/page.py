"""The report as HTML: one file, without scripts and external files.

Every string from a file passes through ``text``, which escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tel_segmentation.report.details import closing
from tel_segmentation.report.format import part, percent, points
from tel_segmentation.report.html import (
    Colors,
    breakable,
    document,
    head,
    method_colors,
    swatch,
    text,
)
from tel_segmentation.report.pictures import SHOWN
from tel_segmentation.report.records import Record
from tel_segmentation.report.section import section
from tel_segmentation.report.table import Experiment, Row, experiments

_TERMS = (
    ("partial", "Partial cross entropy", "Learns from the labelled pixels and ignores all others."),
    (
        "tel",
        "Tree energy loss",
        "Also uses the unlabelled pixels: each prediction should agree with the predictions of the"
        " pixels to which it is connected along minimum spanning trees of the image's colours and"
        " of the network's features.",
    ),
    ("full", "Full supervision", "Uses the label of every pixel: the goal."),
    (
        "",
        "mIoU",
        "Overlap of predicted and true area (intersection over union), averaged over the classes.",
    ),
)


def page(records: Sequence[Record], title: str, pictures: int = SHOWN) -> str:
    """The whole page.

    Args:
        records: runs, finished or not.
        title: the page's title.
        pictures: largest number of images shown for each experiment.

    Raises:
        ValueError: a panel cannot be read.
    """
    groups = experiments(records)
    colors = method_colors(groups)
    body = [
        _top(records, groups, title),
        _headline(groups, colors),
        _terms(groups, colors),
        _unfinished(records),
        _overview(groups, colors),
        *(section(number, group, colors, pictures) for number, group in enumerate(groups)),
        closing(records, groups),
    ]
    return document(title, body)


def _top(records: Sequence[Record], groups: Sequence[Experiment], title: str) -> str:
    finished = sum(record.finished for record in records)
    runs = f"{finished} run{'s' * (finished != 1)}"
    seeds = len({record.seed for record in records if record.finished})
    what = f"{len(groups)} experiment{'s' * (len(groups) != 1)}"
    return (
        f'<header><p class="kicker">Tree Energy Loss · {runs} · {what} ·'
        f" {seeds} seed{'s' * (seeds != 1)}</p><h1>{text(title)}</h1>"
        '<p class="lead">A network learns to segment images in which only a few pixels are'
        " labelled. How close does it come to a network that learns from every pixel’s"
        " label?</p></header>"
    )


def _unfinished(records: Sequence[Record]) -> str:
    runs = [record for record in records if not record.finished]
    if not runs:
        return ""
    items = "".join(
        f"<li><code>{text('/'.join(run.folder.parts[-2:]))}</code> {text(run.note)}</li>"
        for run in runs
    )
    return (
        f'<div class="warning"><h3>{len(runs)} of {len(records)} runs did not finish</h3>'
        f"<ul>{items}</ul><small>They do not appear in the tables.</small></div>"
    )


def _headline(groups: Sequence[Experiment], colors: Colors) -> str:
    """The first experiment with a gap to full supervision, and how much of the gap is closed."""
    for group in groups:
        row, partial, full = group.headline, group.partial, group.full
        if row is not None and partial is not None and full is not None and row.gap is not None:
            return _hero(group, row, partial, full, colors)
    return ""


def _hero(group: Experiment, row: Row, partial: Row, full: Row, colors: Colors) -> str:
    gap, gain = row.gap or 0.0, row.gain
    ratio = row.value("labelled_ratio")
    labelled = f"{100 * ratio.mean:.1f} % of the pixels labelled" if ratio else "sparse labels"
    seeds = f"; better in {gain.positive} of {gain.seeds} seeds" if gain else ""
    verb = "raises" if gap > 0 else "changes"
    sentence = (
        f"On <b>{breakable(group.name)}</b>, with {labelled}, <b>{text(row.method)}</b> {verb}"
        f" the mIoU from {percent(partial.metric('miou'))} to {percent(row.metric('miou'))}"
        f" ({points(gain)} points{seeds}). With every pixel labelled it is"
        f" {percent(full.metric('miou'))}."
    )
    closed, kind = ("closed", "") if gap > 0 else ("– not closed", " loss")
    number = f'<div class="number{kind}">{part(gap)}</div>'
    return (
        f'<div class="hero card"><div>{number}<p>of the gap to full supervision {closed}</p></div>'
        f'<div class="text">{_track(row, partial, full, colors)}<p>{sentence}</p></div></div>'
    )


def _track(row: Row, partial: Row, full: Row, colors: Colors) -> str:
    values = {run.seed: run.miou for run in row.runs}
    low, high = (each.miou for each in (partial, full))

    def place(value: float) -> float:
        return min(max(100 * (value - low) / (high - low), 0), 100)

    middle = place(row.miou)
    seeds = "".join(
        f'<span class="seed" style="left:{place(value):.2f}%"></span>' for value in values.values()
    )
    color = colors[row.method]
    near = " first" if middle < 22 else " last" if middle > 78 else ""
    left = "" if near else f' style="left:{middle:.2f}%"'
    return (
        f'<div class="track"><span class="fill" style="width:{middle:.2f}%;background:{color}">'
        f"</span>{seeds}{_mark(0, colors[partial.method])}{_mark(middle, color)}"
        f"{_mark(100, colors[full.method])}"
        f'<span class="label up{near}"{left}><b>{text(row.method)}</b> {percent(row.miou)}</span>'
        f'<span class="label down first">{text(partial.method)}<br>{percent(low)}</span>'
        f'<span class="label down last">{text(full.method)}<br>{percent(high)}</span></div>'
    )


def _mark(place: float, color: str) -> str:
    return f'<span class="mark" style="left:{place:.2f}%;background:{color}"></span>'


def _terms(groups: Sequence[Experiment], colors: Colors) -> str:
    shown = {row.kind: colors[row.method] for group in groups for row in reversed(group.rows)}
    shown |= {row.kind: colors[row.method] for group in groups if (row := group.headline)}
    items = "".join(
        f"<div><dt>{swatch(shown[kind]) if kind in shown else ''}{name}</dt>"
        f"<dd>{meaning}</dd></div>"
        for kind, name, meaning in _TERMS
    )
    return f'<dl class="terms">{items}</dl>'


def _overview(groups: Sequence[Experiment], colors: Colors) -> str:
    if len(groups) < 2:
        return ""
    rows = []
    for number, group in enumerate(groups):
        row = group.headline
        ratio = row.value("labelled_ratio") if row else None
        texts = [
            ("labelled", percent(ratio.mean) + " %" if ratio else "–"),
            ("partial CE", percent(group.partial.metric("miou")) if group.partial else "–"),
            ("tree energy loss", percent(row.metric("miou")) if row else "–"),
            ("full supervision", percent(group.full.metric("miou")) if group.full else "–"),
            ("TEL to partial CE", points(row.gain) if row else "–"),
        ]
        columns = "".join(f'<td data-label="{label}">{value}</td>' for label, value in texts)
        meter = _meter(row.gap if row else None, colors[row.method] if row else "")
        rows.append(
            f'<tr><th scope="row"><a href="#experiment-{number}">{breakable(group.name)}</a></th>'
            f'{columns}<td data-label="gap closed">{meter}</td></tr>'
        )
    names = ("experiment", "labelled", "partial CE", "tree energy loss", "full supervision",
            "TEL to partial CE", "gap closed")  # fmt: skip
    return (
        "<section><h2>All experiments</h2><p class='soft'>mIoU in percent, mean ± standard"
        " deviation over seeds; the tree energy loss uses both trees if there is such a run.</p>"
        f'<div class="card scroll"><table class="rows">{head(names)}'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _meter(gap: float | None, color: str) -> str:
    if gap is None:
        return "–"
    width = min(max(100 * gap, 0), 100)
    bar = f'<i style="width:{width:.1f}%;background:{color}"></i>'
    return f'<span class="meter">{bar}</span>{part(gap)}'
