"""Records of runs, read from files and checked, so that a report can rely on them.

A record is the folder of a run, with ``result.json``, ``history.jsonl`` or ``config.json``, or a
line of a file ``runs.jsonl`` (see ``published``). A malformed record is an error that names its
file; it does not silently leave a gap in a table. Runs that did not finish are kept, and marked as
unfinished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tel_segmentation.report.checks import (
    Place,
    check_config,
    check_identity,
    check_result,
    need,
    optional,
)
from tel_segmentation.report.published import PUBLISHED, end_of_training, read_published
from tel_segmentation.report.settings import what_differs
from tel_segmentation.runtime.run_folder import CONFIG, FAILURES, HISTORY, PANELS, RESULT

FILES = (RESULT, HISTORY, CONFIG)


class Compared(NamedTuple):
    """Experiment, split and classes of the runs of one table."""

    experiment: str
    split: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """One run."""

    folder: Path
    """For a published run, the folder of its pictures, beside ``runs.jsonl``; it may not exist."""
    name: str
    experiment: str
    method: str
    seed: int
    finished: bool
    note: str
    """If the run has no result: why."""
    result: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    history: list[dict[str, Any]] = field(repr=False)
    """For a published run, thinned."""
    published_end: dict[str, float] | None = field(default=None, repr=False)
    """For a published run, ``end`` as it was before the history was thinned."""

    @property
    def end(self) -> dict[str, float]:
        """The mean of each number in a finished run's history over the end of the training."""
        if self.published_end is not None:
            return self.published_end
        return end_of_training(self.history, self.result["iterations"])

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of the last iterate: mIoU, accuracy, boundary mIoU, IoU of each class."""
        return dict(self.result["evaluation"]["last"])

    @property
    def miou(self) -> float:
        """The mIoU of the last iterate, which tables compare."""
        return float(self.metrics["miou"])

    @property
    def split(self) -> str:
        """The split on which the run was evaluated."""
        return str(self.result["evaluation"]["split"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.result["classes"])

    @property
    def compared_with(self) -> Compared:
        """What the runs that this one can be compared with have in common."""
        return Compared(self.experiment, self.split, self.classes)

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """(r, g, b) of each class."""
        return [(r, g, b) for r, g, b in self.result["colors"]]

    @property
    def kind(self) -> str:
        """The method as the configuration names it, such as ``partial`` or ``tel``."""
        return str(self.config.get("loss", {}).get("method", ""))

    @property
    def level(self) -> str:
        """The levels of the tree energy loss; empty for other methods."""
        loss = self.config.get("loss", {})
        return str(loss.get("tel", {}).get("level", "")) if self.kind == "tel" else ""

    @property
    def source(self) -> str:
        """The data set as the configuration names it."""
        return str(self.config.get("data", {}).get("source", ""))

    @property
    def panels(self) -> dict[str, Path]:
        """The files of panels by the names of the images."""
        return {path.stem: path for path in sorted((self.folder / PANELS).glob("*.png"))}

    @property
    def failures(self) -> list[tuple[str, float, Path]]:
        """Name, mIoU and picture of the images with the lowest mIoU, as far as there are files."""
        listed = self.result["evaluation"].get("failures") or []
        places = [(x["name"], x["miou"], self.folder / FAILURES / x["file"]) for x in listed]
        return [each for each in places if each[2].is_file()]

    @property
    def confusion(self) -> list[list[int]] | None:
        """Pixels of the last iterate's evaluation, truth × prediction."""
        counts: list[list[int]] | None = self.result["evaluation"].get("confusion")
        return counts


def find_records(paths: Iterable[Path]) -> list[Record]:
    """All records in folders, at any depth, in the order of their paths.

    Raises:
        ValueError: a path is no folder or holds no record; a record is malformed; or two finished
            runs of a table have the same method, settings and seed, so that one would count twice.
    """
    places: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path} must be a folder with records of runs, got no such folder")
        found = list(_places(path))
        if not found:
            raise ValueError(
                f"{path} must hold records of runs ({RESULT} or {PUBLISHED}), got none"
            )
        places |= {place.resolve(): place for place in found}
    records = [record for place in places.values() for record in _read(place)]
    records.sort(key=lambda record: record.folder.resolve())
    records = _told_apart(records)
    seen: dict[tuple[Compared, str, int], Path] = {}
    for record in records:
        if not record.finished:
            continue
        key = (record.compared_with, record.method, record.seed)
        if key in seen:
            raise ValueError(
                f"{record.folder} must be another run than {seen[key]}, got the same experiment,"
                f" method and seed: {record.experiment!r}, {record.method!r}, {record.seed}"
            )
        seen[key] = record.folder
    return records


def _told_apart(records: list[Record]) -> list[Record]:
    """Finished runs of one method and seed with other settings: its name says what differs."""
    groups: dict[tuple[Compared, str], list[int]] = {}
    for index, record in enumerate(records):
        if record.finished:
            groups.setdefault((record.compared_with, record.method), []).append(index)
    for members in groups.values():
        if len({records[index].seed for index in members}) < len(members):
            others = what_differs([records[index].config for index in members])
            for index, other in zip(members, others, strict=True):
                method = ", ".join(filter(None, (records[index].method, other)))
                records[index] = replace(records[index], method=method)
    return records


def has_results(path: Path) -> bool:
    """Whether a folder holds, at any depth, a run's result or published runs."""
    return any(RESULT in files or PUBLISHED in files for _, _, files in os.walk(path))


def _places(path: Path) -> Iterator[Path]:
    """Folders of runs, and files of published runs."""
    for folder, inner, files in os.walk(path):
        inner.sort()
        if PUBLISHED in files:
            yield Path(folder, PUBLISHED)
        if any(name in files for name in FILES):
            inner.clear()  # a run's sub-folders are not other runs
            yield Path(folder)


def _read(place: Path) -> Iterator[Record]:
    if place.name == PUBLISHED and place.is_file():
        for where, result, history, end in read_published(place):
            folder, config = place.parent / result["name"], optional(result, "config", dict, where)
            yield _record(folder, result, config or {}, history, where, where, end)
        return
    result_file, history_file, config_file = (place / name for name in FILES)
    result = _json(result_file) if result_file.exists() else {}
    finished = bool(result) and need(result, "finished", bool, result_file)
    config = optional(result, "config", dict, result_file)
    config_from = config_file if config is None else result_file
    if config is None:
        config = _json(config_file) if config_file.exists() else {}
    history = _history(history_file, finished) if history_file.exists() else []
    yield _record(place, result, config, history, result_file, config_from)


def _record(
    folder: Path,
    result: dict[str, Any],
    config: dict[str, Any],
    history: list[dict[str, Any]],
    where: Place,
    config_from: Place,
    end: dict[str, float] | None = None,
) -> Record:
    check_config(config, config_from)
    finished = bool(result) and need(result, "finished", bool, where)
    if finished:
        check_result(result, where)
    elif result:
        check_identity(result, where, needed=False)
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
        published_end=end,
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
    """The lines in the order of their iterations; a later line replaces one of its iteration.

    If the run was killed, the last line may be incomplete.
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
