"""Checks of a record: which names it must have, and the types of their values.

Every check raises a ValueError that names the file, or the line of a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

Place = Path | str


def check_config(config: dict[str, Any], where: Place) -> None:
    """Checks the parts of a run's configuration that reports read."""
    for name in ("loss", "data"):
        part = optional(config, name, dict, where) or {}
        optional(part, "tel", dict, where)


def check_identity(result: dict[str, Any], where: Place, needed: bool) -> None:
    """Checks name, experiment, method and seed; unless ``needed``, they may be missing."""
    for name in ("name", "experiment", "method"):
        if needed or name in result:
            need(result, name, str, where)
    if needed or "seed" in result:
        need(result, "seed", int, where)


def check_result(result: dict[str, Any], where: Place) -> None:
    """Checks the result of a finished run."""
    check_identity(result, where, needed=True)
    need(result, "iterations", int, where)
    classes = need(result, "classes", list, where)
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{where}: classes must be names, got {classes!r:.80}")
    colors = need(result, "colors", list, where)
    if len(colors) != len(classes) or not all(_is_color(color) for color in colors):
        raise ValueError(f"{where}: colors must be one [r, g, b] per class, got {colors!r:.80}")
    evaluation = need(result, "evaluation", dict, where)
    need(evaluation, "split", str, where)
    _check_metrics(need(evaluation, "last", dict, where), len(classes), where)
    for name in ("best", "ema"):
        metrics = optional(evaluation, name, dict, where)
        if metrics is not None:
            _check_metrics(metrics, len(classes), where)
    _check_failures(evaluation, len(classes), where)
    numbers = ("labelled_ratio", "wall_seconds", "seconds_per_iteration", "peak_memory_mb")
    for name in (*numbers, "parameters", "training_images"):
        _check_number(result.get(name), name, where, optional=True)
    for name, kind in (("device", str), ("weights", str), ("versions", dict), ("annotate", dict)):
        optional(result, name, kind, where)
    for name, value in (optional(result, "diagnostics", dict, where) or {}).items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(
                f"{where}: diagnostics must be numbers, got {value!r:.80} for {name!r}"
            )


def _check_metrics(metrics: dict[str, Any], classes: int, where: Place) -> None:
    for name in ("miou", "accuracy"):
        _check_number(metrics.get(name), name, where)
    _check_number(metrics.get("boundary_miou"), "boundary_miou", where, optional=True)
    ious = need(metrics, "iou", list, where)
    if len(ious) != classes:
        raise ValueError(f"{where}: iou must have {classes} values, got {len(ious)}")
    for value in ious:
        _check_number(value, "iou", where, optional=True)


def _check_failures(evaluation: dict[str, Any], classes: int, where: Place) -> None:
    """Checks the confusion matrix and the list of the worst images, where there are any."""
    matrix = optional(evaluation, "confusion", list, where)
    whole = matrix is None or (
        len(matrix) == classes
        and all(isinstance(row, list) and len(row) == classes for row in matrix)
        and all(type(count) is int and 0 <= count < 2**63 for row in matrix for count in row)
    )
    if not whole:
        raise ValueError(f"{where}: confusion must be {classes} × {classes} counts")
    for each in optional(evaluation, "failures", list, where) or []:
        if not isinstance(each, dict):
            raise ValueError(f"{where}: failures must be images, got {each!r:.80}")
        need(each, "name", str, where)
        _check_number(each.get("miou"), "miou", where)
        file = need(each, "file", str, where)
        if Path(file).name != file or not file.isprintable():
            raise ValueError(f"{where}: file must be a name, not a path, got {file!r:.80}")


def _check_number(value: Any, name: str, where: Place, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {name} must be a finite number, got {value!r:.80}")


def _is_color(color: Any) -> bool:
    return (
        isinstance(color, list)
        and len(color) == 3
        and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    )


def need(values: dict[str, Any], name: str, kind: type, where: Place) -> Any:
    """The value of a name, which must exist and have the type ``kind``."""
    value = values.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: {name} must be of type {kind.__name__}, got {value!r:.80}")
    return value


def optional(values: dict[str, Any], name: str, kind: type, where: Place) -> Any:
    """The value of a name, which must have the type ``kind``; None if it is missing or null."""
    return None if values.get(name) is None else need(values, name, kind, where)
