"""Records of runs as files have them, checked: what a report may rely on.

A record is a folder with ``result.json``, ``history.jsonl`` or ``config.json``. What a finished run
must say is checked here, so that a malformed record is an error that names its file and not a gap
in a table. Runs without a result, or whose result says that they did not finish, are kept as such.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = ("result.json", "history.jsonl", "config.json")


@dataclass(frozen=True)
class Record:
    """One run."""

    folder: Path
    name: str
    experiment: str
    method: str
    seed: int
    finished: bool
    note: str
    """Why the run has no result, where it has none."""
    result: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)

    @property
    def metrics(self) -> dict[str, Any]:
        """Of the last iterate: mIoU, accuracy, boundary mIoU, IoU of each class."""
        return dict(self.result["evaluation"]["last"])

    @property
    def miou(self) -> float:
        """Of the last iterate: what is compared."""
        return float(self.metrics["miou"])

    @property
    def split(self) -> str:
        """What the run was evaluated on."""
        return str(self.result["evaluation"]["split"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.result["classes"])

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """(r, g, b) of each class."""
        return [(r, g, b) for r, g, b in self.result["colors"]]

    @property
    def kind(self) -> str:
        """The method in the configuration's words, such as ``partial`` or ``tel``."""
        return str(self.config.get("loss", {}).get("method", ""))

    @property
    def level(self) -> str:
        """The levels of the tree energy loss; empty for other methods."""
        loss = self.config.get("loss", {})
        return str(loss.get("tel", {}).get("level", "")) if self.kind == "tel" else ""

    @property
    def source(self) -> str:
        """The data set in the configuration's words."""
        return str(self.config.get("data", {}).get("source", ""))

    @property
    def panels(self) -> dict[str, Path]:
        """Pictures by their names."""
        return {path.stem: path for path in sorted((self.folder / "panels").glob("*.png"))}


def find_records(paths: Iterable[Path]) -> list[Record]:
    """All records in folders, to any depth, in the order of their paths.

    Raises:
        ValueError: a path is no folder, holds no record, or a record is malformed; or two finished
            runs have the same experiment, method and seed, so that one would count twice.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path} must be a folder with records of runs, got no such folder")
        found = list(_folders(path))
        if not found:
            raise ValueError(f"{path} must hold records of runs (result.json), got none")
        folders |= {folder.resolve(): folder for folder in found}
    records = [_read(folder) for _, folder in sorted(folders.items())]
    seen: dict[tuple[str, str, int], Path] = {}
    for record in records:
        key = (record.experiment, record.method, record.seed)
        if record.finished and key in seen:
            raise ValueError(
                f"{record.folder} must be another run than {seen[key]}, got the same experiment,"
                f" method and seed: {record.experiment!r}, {record.method!r}, {record.seed}"
            )
        if record.finished:
            seen[key] = record.folder
    return records


def _folders(path: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(path):
        inner.sort()
        if any(name in files for name in FILES):
            inner.clear()  # what a run wrote into its folder is not another run
            yield Path(folder)


def _read(folder: Path) -> Record:
    result_file, history_file, config_file = (folder / name for name in FILES)
    result = _json(result_file) if result_file.exists() else {}
    finished = bool(result) and _need(result, "finished", bool, result_file)
    config = _optional(result, "config", dict, result_file)
    if config is None:
        config = _json(config_file) if config_file.exists() else {}
    _check_config(config, result_file if "config" in result else config_file)
    history = _history(history_file, finished) if history_file.exists() else []
    if finished:
        _check_result(result, result_file)
    elif result:
        _check_identity(result, result_file, needed=False)
    return Record(
        folder=folder,
        name=result.get("name", folder.name),
        experiment=result.get("experiment", ""),
        method=result.get("method", str(config.get("loss", {}).get("method", ""))),
        seed=result.get("seed", -1),
        finished=finished,
        note="" if finished else _note(result, history, config),
        result=result,
        config=config,
        history=history,
    )


def _note(result: dict[str, Any], history: list[dict[str, Any]], config: dict[str, Any]) -> str:
    reached = max((line["iteration"] for line in history), default=0)
    planned = config.get("iterations")
    text = f"stopped at iteration {reached}" + (f" of {planned}" if planned else "")
    return f"{text}: {result['error']}" if result.get("error") else text


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} must be JSON, got: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must be a JSON object, got {type(value).__name__}")
    return value


def _history(file: Path, finished: bool) -> list[dict[str, Any]]:
    """The lines in the order of their iterations; of two for one iteration the later one counts.

    The last line of a run that was killed may be cut off.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} must be readable, got: {error}") from error
    merged: dict[tuple[int, bool], dict[str, Any]] = {}
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            iteration = line["iteration"]
            if not isinstance(iteration, int):
                raise ValueError(f"iteration {iteration!r}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(lines) and not finished:
                break
            raise ValueError(
                f"{file}, line {number}, must be a JSON object with an iteration, got: {error!r}"
            ) from error
        merged[iteration, "evaluation" in line] = line
    return [merged[key] for key in sorted(merged)]


def _check_config(config: dict[str, Any], file: Path) -> None:
    for name in ("loss", "data"):
        part = _optional(config, name, dict, file) or {}
        _optional(part, "tel", dict, file)


def _check_identity(result: dict[str, Any], file: Path, needed: bool) -> None:
    for name in ("name", "experiment", "method"):
        if needed or name in result:
            _need(result, name, str, file)
    if needed or "seed" in result:
        _need(result, "seed", int, file)


def _check_result(result: dict[str, Any], file: Path) -> None:
    _check_identity(result, file, needed=True)
    _need(result, "iterations", int, file)
    classes = _need(result, "classes", list, file)
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{file}: classes must be names, got {classes!r:.80}")
    colors = _need(result, "colors", list, file)
    if len(colors) != len(classes) or not all(_is_color(color) for color in colors):
        raise ValueError(f"{file}: colors must be one [r, g, b] per class, got {colors!r:.80}")
    evaluation = _need(result, "evaluation", dict, file)
    _need(evaluation, "split", str, file)
    _check_metrics(_need(evaluation, "last", dict, file), len(classes), file)
    for name in ("best", "ema"):
        metrics = _optional(evaluation, name, dict, file)
        if metrics is not None:
            _check_metrics(metrics, len(classes), file)
    numbers = ("labelled_ratio", "wall_seconds", "seconds_per_iteration", "peak_memory_mb")
    for name in (*numbers, "parameters", "training_images"):
        _check_number(result.get(name), name, file, optional=True)
    for name, kind in (("device", str), ("weights", str), ("versions", dict), ("annotate", dict)):
        _optional(result, name, kind, file)
    for name, value in (_optional(result, "diagnostics", dict, file) or {}).items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{file}: diagnostics must be numbers, got {value!r:.80} for {name!r}")


def _check_metrics(metrics: dict[str, Any], classes: int, file: Path) -> None:
    for name in ("miou", "accuracy"):
        _check_number(metrics.get(name), name, file)
    _check_number(metrics.get("boundary_miou"), "boundary_miou", file, optional=True)
    ious = _need(metrics, "iou", list, file)
    if len(ious) != classes:
        raise ValueError(f"{file}: iou must have {classes} values, got {len(ious)}")
    for value in ious:
        _check_number(value, "iou", file, optional=True)


def _check_number(value: Any, name: str, file: Path, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{file}: {name} must be a finite number, got {value!r:.80}")


def _is_color(color: Any) -> bool:
    return (
        isinstance(color, list)
        and len(color) == 3
        and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    )


def _need(values: dict[str, Any], name: str, kind: type, file: Path) -> Any:
    value = values.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{file}: {name} must be of type {kind.__name__}, got {value!r:.80}")
    return value


def _optional(values: dict[str, Any], name: str, kind: type, file: Path) -> Any:
    return None if values.get(name) is None else _need(values, name, kind, file)
