"""The numbers of a set of runs: means over seeds, and differences paired by seed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tel_segmentation.report.records import Compared, Record

_ORDER = {  # the order of methods in a table, from top to bottom
    kind: place
    for place, kind in enumerate(
        (
            "fill",
            "partial",
            "naive",
            "grid_crf",
            "norm_cut",
            "kernel_cut",
            "gated_crf",
            "dense_crf",
            "bilateral",
            "non_local",
            "tel",
            "seminar_lite",
            "",
            "full",
        )
    )
}
_LEVELS = ("none", "low", "high", "low+high")
_FULL_FOLDERS = ("dense", "full")
_LEAST_GAP = 0.01  # of mIoU; a fraction of a smaller gap is meaningless


class Spread(NamedTuple):
    """Mean and standard deviation (ddof 1; None for one value) over seeds."""

    mean: float
    std: float | None
    seeds: int


class Gain(NamedTuple):
    """The paired difference to partial cross entropy, over the seeds that both have."""

    mean: float
    margin: float | None
    """Twice the standard error; None for one seed."""
    positive: int
    seeds: int


@dataclass(frozen=True)
class Row:
    """A method within an experiment, over its seeds."""

    method: str
    runs: tuple[Record, ...]
    gain: Gain | None = None
    gap: float | None = None
    """Closed fraction of the gap between partial cross entropy and full supervision."""
    borrowed: str = ""
    """The experiment that the runs belong to, if it is another one."""

    @property
    def kind(self) -> str:
        """The method as the configuration names it."""
        return self.runs[0].kind

    @property
    def level(self) -> str:
        """The levels of the tree energy loss."""
        return self.runs[0].level

    @property
    def miou(self) -> float:
        """Mean mIoU over the seeds."""
        return fmean(run.miou for run in self.runs)

    def metric(self, name: str) -> Spread | None:
        """Mean and deviation of a metric of the last iterate over the seeds."""
        return spread(run.metrics.get(name) for run in self.runs)

    def value(self, name: str) -> Spread | None:
        """Mean and deviation of a number of the results, such as ``seconds_per_iteration``."""
        return spread(run.result.get(name) for run in self.runs)

    def iou(self) -> list[float | None]:
        """IoU of each class: the mean over the seeds that have the class."""
        columns = zip(*(run.metrics["iou"] for run in self.runs), strict=True)
        return [each.mean if (each := spread(column)) else None for column in columns]


@dataclass(frozen=True)
class Experiment:
    """All methods on one data set with one kind of annotation."""

    name: str
    split: str
    rows: tuple[Row, ...]

    @property
    def partial(self) -> Row | None:
        """The row of partial cross entropy."""
        return next((row for row in self.rows if row.kind == "partial"), None)

    @property
    def full(self) -> Row | None:
        """The row of full supervision."""
        return next((row for row in self.rows if row.kind == "full"), None)

    @property
    def headline(self) -> Row | None:
        """The row of the tree energy loss: with both trees as in the paper, else low, else high.

        The choice does not depend on the results: the best of several would be a biased estimate.
        """
        rows = [row for row in self.rows if row.kind == "tel"]
        return max(rows, key=lambda row: _HEADLINE.get(row.level, 0), default=None)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.rows[0].runs[0].classes


_HEADLINE = {"low+high": 3, "low": 2, "high": 1}


def best_rows(group: Experiment) -> dict[str, list[Row]]:
    """For each metric, by its name in tables, the rows with the best mean over their seeds.

    Full supervision is left out, since it is the goal; so is a metric that only one row has.
    """
    best: dict[str, list[Row]] = {}
    for title, name in METRICS.items():
        values = {
            place: metric.mean
            for place, row in enumerate(group.rows)
            if row.kind != "full" and (metric := row.metric(name))
        }
        if len(values) > 1:
            top = max(values.values())
            best[title] = [group.rows[place] for place, value in values.items() if value == top]
    return best


METRICS = {"mIoU": "miou", "accuracy": "accuracy", "boundary mIoU": "boundary_miou"}
"""The metrics of a table by their titles."""


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that are not None; None if there are none."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return Spread(fmean(present), stdev(present) if len(present) > 1 else None, len(present))


def experiments(records: Sequence[Record]) -> list[Experiment]:
    """Groups the finished runs into experiments; those with the tree energy loss come first.

    Runs of one experiment with other splits or classes cannot be compared: they are experiments of
    their own, whose names say what differs.

    An experiment without a row of partial cross entropy or of full supervision borrows it from an
    experiment on the same data: the one whose name is a prefix of its own (``a/b/point`` for
    ``a/b/point/sigma``). Full supervision also comes from experiments with ``dense`` or ``full``
    in place of a part of the name: ``a/b/dense/sigma`` first, then ``a/b/dense``.
    """
    groups: dict[Compared, dict[str, list[Record]]] = {}
    for record in records:
        if record.finished:
            methods = groups.setdefault(record.compared_with, {})
            methods.setdefault(record.method, []).append(record)
    rows = {
        key: [
            Row(method, tuple(sorted(runs, key=lambda run: run.seed)))
            for method, runs in methods.items()
        ]
        for key, methods in groups.items()
    }
    keys = sorted(rows, key=lambda key: (natural(key.experiment), *key[1:]))
    made = [_experiment(key, rows) for key in keys]
    return sorted(made, key=lambda group: group.headline is None)


def _experiment(key: Compared, every: dict[Compared, list[Row]]) -> Experiment:
    rows = list(every[key])
    if any(row.kind not in ("partial", "full") for row in rows):
        for kind in ("partial", "full"):
            if all(row.kind != kind for row in rows):
                rows += _borrow(kind, key, every)
    rows.sort(key=_row_order)
    name = ", ".join((key.experiment, *_differs(key, every)))
    bare = Experiment(name, key.split, tuple(rows))
    return Experiment(name, key.split, tuple(_compared(row, bare) for row in rows))


def _differs(key: Compared, every: Iterable[Compared]) -> Iterator[str]:
    """What tells an experiment from others of its name."""
    others = [other for other in every if other.experiment == key.experiment]
    if len({other.split for other in others}) > 1:
        yield f"evaluated on {key.split}"
    if len({other.classes for other in others}) > 1:
        shared = set.intersection(*(set(other.classes) for other in others))
        own = [name for name in key.classes if name not in shared]
        with_ = f" with {', '.join(own)}" if own else ""
        yield f"{len(key.classes)} classes{with_}"


def _borrow(kind: str, key: Compared, every: dict[Compared, list[Row]]) -> list[Row]:
    source = every[key][0].runs[0].source
    for other in _related(kind, key.experiment):
        for row in sorted(every.get(key._replace(experiment=other), []), key=_row_order):
            if row.kind == kind and row.runs[0].source == source:
                return [Row(row.method, row.runs, borrowed=other)]
    return []


def _related(kind: str, name: str) -> Iterator[str]:
    if kind == "full":
        parts = name.split("/")
        for i in reversed(range(len(parts))):
            yield from ("/".join([*parts[:i], folder, *parts[i + 1 :]]) for folder in _FULL_FOLDERS)
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
        if kind == "full":
            yield from (f"{name}/{folder}" for folder in _FULL_FOLDERS)


def _row_order(row: Row) -> tuple[Any, ...]:
    place = _ORDER.get(row.kind, _ORDER[""])
    level = _LEVELS.index(row.level) if row.level in _LEVELS else 0
    return place, level, natural(row.method)


def natural(text: str) -> list[tuple[int, float, str]]:
    """A key for sorting texts, in which numbers are ordered by their values."""
    parts = re.findall(r"\d+(?:\.\d+)?|\D+", text)
    return [(0, float(part), "") if part[0].isdecimal() else (1, 0.0, part) for part in parts]


def _compared(row: Row, experiment: Experiment) -> Row:
    partial, full = experiment.partial, experiment.full
    if partial is None or row.kind == "partial":
        return row
    base, mine = _by_seed(partial), _by_seed(row)
    seeds = sorted(base.keys() & mine.keys())
    if not seeds:
        return row
    gains = [mine[seed] - base[seed] for seed in seeds]
    margin = 2 * stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
    gain = Gain(fmean(gains), margin, sum(value > 0 for value in gains), len(gains))
    gap = None
    if full is not None and row.kind != "full":
        top = _by_seed(full)
        common = [seed for seed in seeds if seed in top]
        distance = sum(top[seed] - base[seed] for seed in common)
        if distance >= _LEAST_GAP * len(common) and common:
            gap = sum(mine[seed] - base[seed] for seed in common) / distance
    return Row(row.method, row.runs, gain, gap, row.borrowed)


def _by_seed(row: Row) -> dict[int, float]:
    return {run.seed: run.miou for run in row.runs}


def cost(row: Row, experiment: Experiment, name: str) -> float | None:
    """A number of the results as a ratio to partial cross entropy.

    The mean over pairs of runs with the same seed, device and number of threads.
    """
    if experiment.partial is None:
        return None
    base = {_machine(run): run.result.get(name) for run in experiment.partial.runs}
    pairs = [(run.result.get(name), base.get(_machine(run))) for run in row.runs]
    ratios = [mine / other for mine, other in pairs if mine is not None and other]
    return fmean(ratios) if ratios else None


def _machine(run: Record) -> tuple[Any, ...]:
    return run.seed, str(run.result.get("device")), str(run.result.get("threads"))
