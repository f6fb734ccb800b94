"""Published runs: the file ``runs.jsonl``, which ``tel publish`` writes, one run a line.

A line has the run's ``result.json`` and, under ``history``, the part of its ``history.jsonl`` that
tables and curves need, by columns:

- ``logs``: at most ``POINTS`` points, as if the run had logged less often: a value is the mean over
  consecutive lines (for ``LATEST``, the last value), and its iteration is that of the last line;
- ``evaluations``: the numbers of each evaluation during training;
- ``end``: for each logged number, the mean over the end of the training.

Curves are rounded to ``DIGITS`` significant digits, since they are only drawn. Tables are made from
the result and from ``end``, which keep all digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

PUBLISHED = "runs.jsonl"
POINTS = 30
DIGITS = 5
LATEST = ("lr", "seconds")  # values of one iteration, not means since the last line
END = 0.1  # last fraction of the training over which means are taken: one line has few images

Line = dict[str, Any]
Columns = dict[str, list[Any]]


def published_line(result: Line, history: Sequence[Line], end: dict[str, float]) -> str:
    """A run as one line of JSON.

    Args:
        result: the contents of ``result.json``.
        history: the lines of ``history.jsonl`` in the order of their iterations.
        end: the result of ``end_of_training``.
    """
    logs = [_numbers(line) for line in history if "evaluation" not in line]
    evaluations = [
        {"iteration": line["iteration"]} | _numbers(line["evaluation"])
        for line in history
        if "evaluation" in line
    ]
    kept = {
        "logs": _columns(thinned(logs)),
        "evaluations": _columns([_rounded(line) for line in evaluations]),
        "end": end,
    }
    return json.dumps(result | {"history": kept}, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_published(file: Path) -> Iterator[tuple[str, Line, list[Line], dict[str, float]]]:
    """For each run: its line in words, the result, the history's lines, the end of training.

    Raises:
        ValueError: a line is not a run; the message has the file and the line's number.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} must be readable, got: {error}") from error
    for number, text in enumerate(lines, 1):
        if not text and number == len(lines):
            break
        place = f"{file}, line {number}"
        try:
            result = json.loads(text)
            history = result.pop("history")
            logs = _lines(history["logs"])
            evaluations = [
                {"iteration": line.pop("iteration"), "evaluation": line}
                for line in _lines(history["evaluations"])
            ]
            end = {str(name): float(value) for name, value in history["end"].items()}
            name = result["name"]
            if not name.strip(".") or Path(name).name != name:
                raise ValueError(f"name {name!r} is no folder's name")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{place} must be a published run, got: {error!r}") from error
        both = sorted([*logs, *evaluations], key=lambda line: line["iteration"])  # logs are first
        yield place, result, both, end


def end_of_training(history: Sequence[Line], iterations: int) -> dict[str, float]:
    """The mean of each logged number over the last part, ``END``, of the iterations."""
    start = (1 - END) * iterations
    values: dict[str, list[float]] = {}
    for line in history:
        if line["iteration"] > start and "evaluation" not in line:
            for name, value in _numbers(line).items():
                values.setdefault(name, []).append(value)
    values.pop("iteration", None)
    return {name: fmean(each) for name, each in values.items()}


def thinned(lines: Sequence[Line], points: int = POINTS) -> list[Line]:
    """At most ``points`` lines, each joined from equally many lines (the last from fewer).

    >>> thinned([{"iteration": i, "loss": i / 10} for i in (1, 2, 3)], points=2)
    [{'iteration': 2, 'loss': 0.15}, {'iteration': 3, 'loss': 0.3}]
    """
    step = -(-len(lines) // points) or 1
    return [_joined(lines[start : start + step]) for start in range(0, len(lines), step)]


def _joined(lines: Sequence[Line]) -> Line:
    names = dict.fromkeys(name for line in lines for name in line)
    joined: Line = {}
    for name in names:
        values = [line[name] for line in lines if name in line]
        latest = name == "iteration" or name in LATEST
        joined[name] = values[-1] if latest or len(values) == 1 else fmean(values)
    return _rounded(joined)


def _rounded(line: Line) -> Line:
    return {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in line.items()}


def _numbers(line: Line) -> Line:
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _columns(lines: Sequence[Line]) -> Columns:
    """A list of values for each name; None where a line has none."""
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [line.get(name) for line in lines] for name in names}


def _lines(columns: Columns) -> list[Line]:
    """The inverse of ``_columns``."""
    rows = zip(*columns.values(), strict=True)
    lines = [{k: v for k, v in zip(columns, row, strict=True) if v is not None} for row in rows]
    for line in lines:
        if not isinstance(line["iteration"], int):
            raise ValueError(f"iteration {line['iteration']!r}")
    return lines
