"""Formats numbers as text, and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tel_segmentation.report.records import Record
from tel_segmentation.report.table import Gain, Row, Spread, experiments, natural


def percent(value: Spread | float | None, digits: int = 1) -> str:
    """Formats a fraction in percent, for example ``41.1 ± 0.8``."""
    if value is None:
        return "–"
    if not isinstance(value, Spread):
        return _signless(100 * value, digits)
    text = _signless(100 * value.mean, digits)
    return text if value.std is None else f"{text} ± {100 * value.std:.{digits}f}"


def _signless(value: float, digits: int) -> str:
    """Formats a number; what is rounded to zero has no minus sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def points(gain: Gain | None) -> str:
    """Formats a difference in percentage points, for example ``+4.5 ± 0.6``."""
    if gain is None:
        return "–"
    text = f"{round(100 * gain.mean, 1) + 0.0:+.1f}".replace("-", "−")
    return text if gain.margin is None else f"{text} ± {100 * gain.margin:.1f}"


def part(gap: float | None) -> str:
    """Formats a fraction as a whole percentage, for example ``62 %``."""
    return "–" if gap is None else f"{round(100 * gap) + 0:d} %".replace("-", "−")


def positive(gain: Gain | None) -> str:
    """In how many seeds the difference is positive, for example ``3 of 3``."""
    return "–" if gain is None else f"{gain.positive} of {gain.seeds}"


HEADER = (
    "method",
    "seeds",
    "mIoU",
    "to partial CE",
    "better in",
    "gap closed",
    "accuracy",
    "boundary mIoU",
)


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, one for each column of ``HEADER``."""
    return (
        row.method,
        str(len(row.runs)),
        percent(row.metric("miou")),
        points(row.gain),
        positive(row.gain),
        part(row.gap),
        percent(row.metric("accuracy")),
        percent(row.metric("boundary_miou")),
    )


def markdown(records: Sequence[Record]) -> str:
    """The tables as Markdown; the text does not depend on the order of the records."""
    lines: list[str] = []
    for experiment in experiments(records):
        lines += [f"### {_plain(experiment.name)} ({_plain(experiment.split)})", ""]
        lines += ["| " + " | ".join(HEADER) + " |", "|---" + "|--:" * (len(HEADER) - 1) + "|"]
        for row in experiment.rows:
            texts = [_plain(text) for text in cells(row)]
            texts[0] += f" (from {_plain(row.borrowed)})" if row.borrowed else ""
            lines.append("| " + " | ".join(texts) + " |")
        lines.append("")
    lines += [
        "mIoU, accuracy and boundary mIoU of the last iterate in percent, mean ± standard deviation"
        " over seeds; differences to partial cross entropy are paired by seed, ± twice their"
        " standard error.",
        "",
    ]
    unfinished = sorted((record for record in records if not record.finished), key=_where)
    if unfinished:
        lines += [f"Not finished ({len(unfinished)} runs):", ""]
        lines += [f"- {_plain(run.name)}: {_plain(run.note)}" for run in unfinished]
        lines.append("")
    return "\n".join(lines)


def _where(record: Record) -> tuple[Any, ...]:
    return natural(record.name), str(record.folder)


def _plain(text: str) -> str:
    """Escapes what has a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", " ".join(text.split()))
