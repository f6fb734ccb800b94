"""The report as HTML: one file, no scripts, nothing from outside.

Every string that comes from a file passes through ``text``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

from tel_segmentation.report_colors import method_colors
from tel_segmentation.report_details import closing, text
from tel_segmentation.report_pictures import Strip, Tile, strips
from tel_segmentation.report_plots import curve, draw
from tel_segmentation.report_records import Record
from tel_segmentation.report_table import (
    HEADER,
    Experiment,
    Row,
    cells,
    experiments,
    part,
    percent,
    points,
    spread,
)

_MOST_TILES = 7  # in a row
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TERMS = (
    ("partial", "Partial cross entropy", "Learns from the labelled pixels and ignores all others."),
    (
        "tel",
        "Tree energy loss",
        "Also lets every unlabelled pixel agree with the pixels it is connected to along minimum"
        " spanning trees of the image's colours and of the network's features.",
    ),
    ("full", "Full supervision", "Has the label of every pixel: what is aimed at."),
    (
        "",
        "mIoU",
        "Overlap of predicted and true area (intersection over union), averaged over the classes.",
    ),
)
Colors = dict[str, str]


def page(records: Sequence[Record], title: str, pictures: int = 4) -> str:
    """The whole page.

    Args:
        records: finished runs and others.
        title: of the page.
        pictures: images that each experiment shows at most.

    Raises:
        ValueError: records of one experiment do not fit together, or a panel cannot be read.
    """
    groups = experiments(records)
    colors = method_colors(groups)
    style = files("tel_segmentation").joinpath("report.css").read_text(encoding="utf-8")
    body = [
        _top(records, groups, title),
        _headline(groups, colors),
        _terms(groups, colors),
        _unfinished(records),
        _overview(groups, colors),
        *(_section(number, group, colors, pictures) for number, group in enumerate(groups)),
        closing(records, groups),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _top(records: Sequence[Record], groups: Sequence[Experiment], title: str) -> str:
    finished = sum(record.finished for record in records)
    runs = f"{finished} run{'s' * (finished != 1)}"
    seeds = len({record.seed for record in records if record.finished})
    what = f"{len(groups)} experiment{'s' * (len(groups) != 1)}"
    return (
        f'<header><p class="kicker">Tree Energy Loss · {runs} · {what} ·'
        f" {seeds} seed{'s' * (seeds != 1)}</p><h1>{text(title)}</h1>"
        '<p class="lead">A network learns to segment images of which only a few pixels are'
        " labelled. How close does it come to one that was shown every pixel’s label?</p></header>"
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
        f"<ul>{items}</ul><small>They are in no table.</small></div>"
    )


def _headline(groups: Sequence[Experiment], colors: Colors) -> str:
    """The first experiment that has a way to go, and how much of it is closed."""
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
        f"On <b>{_name(group.name)}</b>, with {labelled}, <b>{text(row.method)}</b> {verb} the mIoU"
        f" from {percent(partial.metric('miou'))} to {percent(row.metric('miou'))}"
        f" ({points(gain)} points{seeds}). With every pixel labelled it is"
        f" {percent(full.metric('miou'))}."
    )
    caption = "of the gap to full supervision closed" if gap > 0 else "of the gap: not closed"
    return (
        f'<div class="hero card"><div><div class="number">{part(gap)}</div><p>{caption}</p></div>'
        f'<div class="text">{_track(row, partial, full, colors)}<p>{sentence}</p></div></div>'
    )


def _track(row: Row, partial: Row, full: Row, colors: Colors) -> str:
    values = {run.seed: run.metrics["miou"] for run in row.runs}
    low, high = (_mean(each) for each in (partial, full))

    def place(value: float) -> float:
        return min(max(100 * (value - low) / (high - low), 0), 100)

    middle = place(_mean(row))
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
        f'<span class="label up{near}"{left}><b>{text(row.method)}</b> {percent(_mean(row))}</span>'
        f'<span class="label down first">{text(partial.method)}<br>{percent(low)}</span>'
        f'<span class="label down last">{text(full.method)}<br>{percent(high)}</span></div>'
    )


def _mark(place: float, color: str) -> str:
    return f'<span class="mark" style="left:{place:.2f}%;background:{color}"></span>'


def _mean(row: Row) -> float:
    return sum(run.metrics["miou"] for run in row.runs) / len(row.runs)


def _terms(groups: Sequence[Experiment], colors: Colors) -> str:
    shown = {row.kind: colors[row.method] for group in groups for row in reversed(group.rows)}
    shown |= {row.kind: colors[row.method] for group in groups if (row := group.headline)}
    items = "".join(
        f"<div><dt>{_swatch(shown[kind]) if kind in shown else ''}{name}</dt>"
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
            f'<tr><th scope="row"><a href="#experiment-{number}">{_name(group.name)}</a></th>'
            f'{columns}<td data-label="gap closed">{meter}</td></tr>'
        )
    head = ("experiment", "labelled", "partial CE", "tree energy loss", "full supervision",
            "TEL to partial CE", "gap closed")  # fmt: skip
    return (
        "<section><h2>All experiments</h2><p class='soft'>mIoU in percent, mean ± standard"
        " deviation over seeds; the tree energy loss with both trees where there is such a run.</p>"
        f'<div class="card scroll"><table class="rows">{_head(head)}'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _meter(gap: float | None, color: str) -> str:
    if gap is None:
        return "–"
    width = min(max(100 * gap, 0), 100)
    bar = f'<i style="width:{width:.1f}%;background:{color}"></i>'
    return f'<span class="meter">{bar}</span>{part(gap)}'


def _section(number: int, group: Experiment, colors: Colors, pictures: int) -> str:
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
        f'<section id="experiment-{number}"><h2>{_name(group.name)}</h2>'
        f'<p class="soft">{" · ".join(facts)}</p>{_table(group, colors)}'
        f"{_pictures(images, group, colors)}{_curves(number, group, colors)}"
        f"{_classes(group, colors)}</section>"
    )


def _table(group: Experiment, colors: Colors) -> str:
    values = [run.metrics["miou"] for row in group.rows for run in row.runs]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.01

    def place(value: float) -> float:
        return 100 * (value - low + margin) / (high - low + 2 * margin)

    bases = [place(_mean(row)) for row in (group.partial, group.full) if row]
    rows = []
    for row in group.rows:
        dots = [
            *(f'<i class="base" style="left:{base:.2f}%"></i>' for base in bases),
            *(_dot(place(run.metrics["miou"]), colors[row.method]) for run in row.runs),
            _dot(place(_mean(row)), colors[row.method], "mean"),
        ]
        rest = "".join(
            f'<td data-label="{label}"{" class=main" * (label == "mIoU")}>{text(value)}</td>'
            for label, value in zip(HEADER[1:], cells(row)[1:], strict=True)
        )
        name = f"{_swatch(colors[row.method])}{text(row.method)}"
        name += f"<small>from {_name(row.borrowed)}</small>" if row.borrowed else ""
        rows.append(
            f'<tr{" class=key" * (row is group.headline)}><th scope="row">{name}</th>'
            f'<td class="dots"><span class="axis">{"".join(dots)}</span></td>{rest}</tr>'
        )
    scale = f"mIoU of each seed,<br>{percent(low)} … {percent(high)}"
    return (
        f'<div class="card scroll"><table class="rows">{_head((HEADER[0], scale, *HEADER[1:]))}'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='soft'><small>In percent, of the last iterate. Mean ± standard deviation over"
        " seeds; differences to partial cross entropy are paired by seed, ± twice their standard"
        " error.</small></p>"
    )


def _dot(place: float, color: str, kind: str = "") -> str:
    return f'<i class="{kind}" style="left:{place:.2f}%;background:{color}"></i>'


def _head(names: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _pictures(images: Sequence[Strip], group: Experiment, colors: Colors) -> str:
    if not images:
        return ""
    first = group.rows[0].runs[0]
    legend = _legend(
        (f"rgb({r},{g},{b})", name)
        for name, (r, g, b) in zip(first.classes, first.colors, strict=True)
    )
    compared = "".join(_strip(each.compared, each.name, colors) for each in images)
    steps = "".join(_strip(each.steps, each.name, colors) for each in images if each.steps)
    more = (
        "<details><summary>How the pseudo labels come about</summary><p class='soft'><small>"
        f"{text(group.headline.method)}: the prediction, and the same filtered along its trees. The"
        f" last one is what the loss compares the prediction with.</small></p>{steps}</details>"
        if steps and group.headline
        else ""
    )
    return f"<h3>The same images by every method</h3>{legend}{compared}{more}"


def _strip(parts: Sequence[Tile], name: str, colors: Colors) -> str:
    figures = "".join(
        f'<figure><img src="{tile.uri}" alt="{text(tile.caption)} of {text(name)}">'
        f"<figcaption>{_swatch(colors[tile.row.method]) if tile.row else ''}"
        f"{text(tile.caption)}</figcaption></figure>"
        for tile in parts
    )
    columns = -(-len(parts) // -(-len(parts) // _MOST_TILES))  # rows of about the same length
    style = f"--columns:{columns}"
    return f'<div class="strip card"><div class="tiles" style="{style}">{figures}</div></div>'


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
                "<b>Right on unlabelled pixels</b>, in percent of the training batches’ pixels:"
                " prediction (solid) and final pseudo label (dashed).",
            ),
            (
                draw(validation, f"validation-{number}"),
                "<b>Validation mIoU</b>, in percent, during training.",
            ),
            (
                draw(losses, f"loss-{number}", percent=False),
                "<b>Training loss</b>: all terms of a method, so only comparable with itself.",
            ),
        )
        if svg
    )
    if not figures:
        return ""
    legend = _legend(((colors[row.method], row.method) for row in group.rows), "line")
    return f'<h3>During training</h3>{legend}<div class="curves">{figures}</div>'


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
        blocks.append(f"<div><h4>{_swatch(f'rgb({r},{g},{b})')}{text(name)}</h4>{bars}</div>")
    legend = _legend((colors[row.method], row.method) for row in rows)
    return f'<h3>IoU of each class</h3>{legend}<div class="classes card">{"".join(blocks)}</div>'


def _bar(value: float | None, color: str) -> str:
    width = 100 * (value or 0)
    return (
        f'<div class="bar"><span><i style="width:{width:.1f}%;background:{color}"></i></span>'
        f"<b>{percent(value)}</b></div>"
    )


def _legend(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    items = "".join(f"<li>{_swatch(color, kind)}{text(name)}</li>" for color, name in entries)
    return f'<ul class="legend">{items}</ul>'


def _swatch(color: str, kind: str = "") -> str:
    return f'<span class="swatch {kind}" style="background:{color}"></span>'


def _name(name: str) -> str:
    """An experiment's name, which may break after its slashes."""
    return text(name).replace("/", "/<wbr>")
