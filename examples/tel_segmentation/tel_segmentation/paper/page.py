"""The paper's tables and figures as a page, with our results; results not yet run are blank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tel_segmentation.paper.curves import CURVES_NOTES, curves_table, runs_of
from tel_segmentation.paper.sameness import cost_deviations
from tel_segmentation.paper.tables import (
    EXPLANATION,
    TITLES,
    Ours,
    Table,
    accuracy_table,
    cost_table,
    costs_sorted_out,
    notes,
    of_table,
    sorted_out,
)
from tel_segmentation.report.html import document, head, legend, text
from tel_segmentation.report.pictures import uri
from tel_segmentation.report.plots import Curve, curve, draw
from tel_segmentation.report.records import Record
from tel_segmentation.runtime.run_folder import COST

SIDE = 1400  # longest side of a panel, in pixels
CURVES = (
    ("f7.baseline", "prediction", "partial CE: prediction", "#cc7a2f"),
    ("f7.tel", "prediction", "TEL: prediction", "#1f8a5b"),
    ("f7.tel", "pseudo", "TEL: soft label", "#1d9bb3"),
)
"""The curves of Fig. 7: experiment, what is evaluated, name, colour."""
_METRICS = (("accuracy", "Accuracy"), ("miou", "mIoU"))


def find_costs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Time and memory as measured by ``tel run``, from folders at any depth.

    Raises:
        ValueError: a file has another form; the message names it.
    """
    costs = []
    for file in sorted({file.resolve() for path in paths for file in path.rglob(COST)}):
        try:
            cost = json.loads(file.read_text(encoding="utf-8"))
            if len(cost["rows"]) != 3 or not isinstance(cost["preset"], str):
                raise ValueError("three rows and a preset are needed")
            cost_deviations(cost)
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise ValueError(f"{file} must be what tel run writes, got: {error!r}") from error
        costs.append(cost)
    return costs


def paper_page(
    records: Sequence[Record], costs: Sequence[dict[str, Any]], title: str, pictures: int = 4
) -> str:
    """The whole page.

    Args:
        records: runs; only those that ``tel run`` made with the paper's settings enter the tables.
        costs: from ``find_costs``.
        title: the page's title.
        pictures: largest number of panels in a figure.

    Raises:
        ValueError: a record belongs to no experiment, or a panel cannot be read; the message names
            it.
    """
    (ours, other_runs), (own_costs, other_costs) = sorted_out(records), costs_sorted_out(costs)
    parts = [f"<header><h1>{text(title)}</h1><p class='soft'>{text(EXPLANATION)}</p></header>"]
    for name, heading in TITLES.items():
        if name in ("T4", "T5"):
            content = _table(cost_table(name, own_costs), notes(name))
        elif name[0] == "T":
            content = _table(accuracy_table(name, ours), notes(name))
        elif name == "F7":
            content = _curves(ours)
        else:
            content = _panels(name, ours, pictures)
        parts.append(f"<section><h2>{text(heading)}</h2>{content}</section>")
    if other := [*other_runs, *other_costs]:
        items = "".join(
            f"<li><code>{text(run)}</code> {text(differences)}</li>" for run, differences in other
        )
        parts.append(
            "<section><h2>Runs with other settings</h2><p class='soft'>They do not appear in the"
            f" tables.</p><ul>{items}</ul></section>"
        )
    return document(title, parts)


def _table(table: Table, below: Sequence[str] = ()) -> str:
    """A table as HTML; the id is in small print below the description."""
    (_, *names), *rows = table
    body = "".join(
        f'<tr><th scope="row">{text(what)}<small>{text(id or "quoted")}</small></th>'
        + "".join(
            f'<td data-label="{text(name)}">{text(value)}</td>'
            for name, value in zip(names[1:], values, strict=True)
        )
        + "</tr>"
        for id, what, *values in rows
    )
    said = "".join(f"<p class='soft'><small>{text(note)}.</small></p>" for note in below)
    return (
        f'<div class="card scroll"><table class="rows">{head(map(text, names))}'
        f"<tbody>{body}</tbody></table></div>{said}"
    )


def _panels(name: str, ours: dict[str, list[Ours]], pictures: int) -> str:
    """Panels of the smallest seed: image, annotation, prediction, pseudo labels, truth."""
    parts = []
    for experiment in of_table(name):
        runs = runs_of(experiment.id, ours)
        parts.append(f"<h3><code>{experiment.id}</code> {text(experiment.title)}</h3>")
        if not runs:
            parts.append(f"<p class='soft'>Not run (<code>tel run {experiment.run}</code>).</p>")
            continue
        first = min(runs, key=lambda run: run.seed)
        for picture, path in list(first.panels.items())[:pictures]:
            parts.append(f'<img alt="{text(picture)}" src="{_picture(path)}" style="width:100%">')
    return "".join(parts)


def _picture(path: Path) -> str:
    try:
        with Image.open(path, formats=("PNG",)) as file:
            return uri(file.convert("RGB"), SIDE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be a panel, got: {error}") from error


def _curves(ours: dict[str, list[Ours]]) -> str:
    """Curves on the unlabelled pixels of the training batches, means over seeds."""
    runs = {experiment.id: runs_of(experiment.id, ours) for experiment in of_table("F7")}
    parts = ["<p class='soft'>On the unlabelled pixels of the training crops, in percent.</p>"]
    for metric, heading in _METRICS:
        curves: list[Curve] = [
            curve(runs[id], f"{metric}_{what}", color) for id, what, _, color in CURVES
        ]
        svg = draw(curves, f"f7-{metric}")
        parts.append(f"<h3>{heading}</h3>" + (f'<div class="card">{svg}</div>' if svg else ""))
    missing = [f"<code>tel run {e.run}</code>" for e in of_table("F7") if not runs[e.id]]
    if missing:
        parts.append(f"<p class='soft'>Not run: {', '.join(missing)}.</p>")
    parts.append(legend(((color, name) for _, _, name, color in CURVES), "line"))
    return "".join([*parts, _table(curves_table(ours), CURVES_NOTES)])
