"""The report's last section: cost, diagnostics, settings, classes, runs, machines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tel_segmentation.report.format import percent
from tel_segmentation.report.html import breakable, text
from tel_segmentation.report.records import Record
from tel_segmentation.report.settings import settings
from tel_segmentation.report.table import Experiment, Row, cost, natural, spread

Table = list[list[str]]


def closing(records: Sequence[Record], groups: Sequence[Experiment]) -> str:
    """The section, as HTML."""
    settings = "Settings: how each method’s runs differ from partial cross entropy’s"
    parts = [
        ("What the losses cost", _cost(groups), True),
        ("Diagnostics at the end of the training", _diagnostics(groups), True),
        (settings, _settings(groups), False),
        ("IoU of each class, every method", _every_class(groups), False),
        ("Every run", _runs(records), False),
        ("Machines and versions", _machines(records), False),
    ]
    body = "".join(_details(title, table, shown) for title, table, shown in parts if len(table) > 1)
    return (
        f"<section><h2>Details</h2>{_inconsistent(groups)}{body}</section>"
        "<footer>Unless stated otherwise, numbers are of the last iterate;"
        " no run was left out.</footer>"
    )


def _details(title: str, table: Table, shown: bool) -> str:
    head, *rows = table
    kinds = [_kind(column) for column in zip(*rows, strict=True)]
    columns = "".join(
        f'<th scope="col" class="{kind}">{_breakable(cell)}</th>'
        for cell, kind in zip(head, kinds, strict=True)
    )
    body, above = "", ""
    for first, *rest in rows:
        cells = "".join(
            f'<td class="{kind}">{text(cell)}</td>'
            for cell, kind in zip(rest, kinds[1:], strict=True)
        )
        body += f'<tr><th scope="row">{breakable(first) if first != above else ""}</th>{cells}</tr>'
        above = first
    return (
        f"<details{' open' * shown}><summary>{title}</summary><div class='card scroll'><table>"
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _breakable(name: str) -> str:
    """A column's name, in which a line may break at an underscore: so the table fits its card."""
    return text(name).replace("_", "_<wbr>")


def _kind(column: Sequence[str]) -> str:
    """The CSS class of a column: numbers are aligned on the right, long texts may break."""
    if all(re.match(r"[–+−\d.]", cell) for cell in column):
        return ""
    return "text long" if max(map(len, column)) > 50 else "text"


def _own(groups: Sequence[Experiment]) -> Iterable[tuple[Experiment, Row]]:
    return ((group, row) for group in groups for row in group.rows if not row.borrowed)


def _cost(groups: Sequence[Experiment]) -> Table:
    table = [["experiment", "method", "s / iteration", "× partial CE", "peak memory",
              "× partial CE", "parameters", "iterations", "device"]]  # fmt: skip
    for group, row in _own(groups):
        seconds, memory = row.value("seconds_per_iteration"), row.value("peak_memory_mb")
        parameters = row.value("parameters")
        times = [cost(row, group, name) for name in ("seconds_per_iteration", "peak_memory_mb")]
        ratios = ["–" if value is None else f"{value:.2f}" for value in times]
        table.append([
            group.name,
            row.method,
            f"{seconds.mean:.3f}" if seconds else "–",
            ratios[0],
            f"{memory.mean:,.0f} MB" if memory else "–",
            ratios[1],
            f"{parameters.mean:,.0f}" if parameters else "–",
            _distinct(run.result.get("iterations") for run in row.runs),
            _distinct(run.result.get("device") for run in row.runs),
        ])  # fmt: skip
    return table


def _diagnostics(groups: Sequence[Experiment]) -> Table:
    rows = [(group, row) for group, row in _own(groups) if any(_diagnosis(row))]
    names = sorted({name for _, row in rows for each in _diagnosis(row) for name in each})
    table = [["experiment", "method", *names]]
    for group, row in rows:
        values = [spread(each.get(name) for each in _diagnosis(row)) for name in names]
        texts = [f"{value.mean:.4g}" if value else "–" for value in values]
        table.append([group.name, row.method, *texts])
    return table


def _diagnosis(row: Row) -> list[dict[str, Any]]:
    return [run.result.get("diagnostics") or {} for run in row.runs]


def _settings(groups: Sequence[Experiment]) -> Table:
    table = [["experiment", "method", "settings"]]
    for group, row in _own(groups):
        base = group.partial or group.rows[0]
        theirs, mine = _values(base.runs[0]), _values(row.runs[0])
        if row is not base and row.kind != "fill":  # which has no training
            table.append([group.name, row.method, _difference(theirs, mine) or "the same"])
    return table


def _values(run: Record) -> dict[str, str]:
    return settings(run.config)


def _difference(theirs: dict[str, str], mine: dict[str, str]) -> str:
    names = sorted(
        name for name in theirs.keys() | mine.keys() if theirs.get(name) != mine.get(name)
    )
    return ", ".join(f"{name} = {mine.get(name, 'absent')}" for name in names)


def _inconsistent(groups: Sequence[Experiment]) -> str:
    """A warning of rows whose runs differ in more than the seed, so that a mean is meaningless."""
    items = []
    for group, row in _own(groups):
        first = _values(row.runs[0])
        for run in row.runs[1:]:
            difference = _difference(first, _values(run))
            if difference:
                items.append((group.name, row.method, run.seed, difference))
    if not items:
        return ""
    lines = "".join(
        f"<li>{text(name)}, {text(method)}, seed {seed}: {text(difference)}</li>"
        for name, method, seed, difference in items
    )
    return (
        '<div class="warning"><h3>Runs of one row that differ in more than the seed</h3>'
        f"<ul>{lines}</ul></div>"
    )


def _every_class(groups: Sequence[Experiment]) -> Table:
    names = list(dict.fromkeys(name for group in groups for name in group.classes))
    table = [["experiment", "method", *names]]
    for group, row in _own(groups):
        values = dict(zip(group.classes, row.iou(), strict=True))
        table.append([group.name, row.method, *(percent(values.get(name)) for name in names)])
    return table


def _runs(records: Sequence[Record]) -> Table:
    table = [["run", "experiment", "method", "seed", "mIoU, last", "mIoU, best", "minutes",
              "weights", "commit"]]  # fmt: skip
    key = {id(run): (natural(run.experiment), natural(run.method), run.seed) for run in records}
    for run in sorted(records, key=lambda run: key[id(run)]):
        best = run.result["evaluation"].get("best") if run.finished else None
        seconds = run.result.get("wall_seconds") if run.finished else None
        table.append([
            run.name,
            run.experiment,
            run.method,
            str(run.seed) if run.seed >= 0 else "–",
            percent(run.metrics["miou"]) if run.finished else "–",
            percent(best["miou"]) if best else "–",
            f"{seconds / 60:.1f}" if seconds is not None else "–",
            str(run.result.get("weights") or "–"),
            str(run.result.get("git") or "–")[:12],
        ])  # fmt: skip
    return table


def _machines(records: Sequence[Record]) -> Table:
    finished = [{"versions": None} | run.result for run in records if run.finished]
    counts = Counter(
        (
            str(result.get("device") or "–"),
            str(result.get("threads") or "–"),
            ", ".join(
                f"{name} {each}" for name, each in sorted((result["versions"] or {}).items())
            ),
        )
        for result in finished
    )
    rows = [[device, threads, str(count), versions]
            for (device, threads, versions), count in sorted(counts.items())]  # fmt: skip
    return [["device", "threads", "runs", "versions"], *rows]


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or "–"
