"""The paper's tables, with our results beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from tel_segmentation.paper import numbers
from tel_segmentation.paper.experiment import DATASET_TITLES, NETWORK_TITLES, Experiment
from tel_segmentation.paper.experiments import experiments
from tel_segmentation.paper.sameness import cost_deviations, deviations
from tel_segmentation.report.records import Record

TITLES = {
    "T1": "Table 1: Pascal VOC, val, points and scribbles",
    "T2": "Table 2: Cityscapes and ADE20K, val, blocks",
    "T3": "Table 3: ablations on Pascal VOC with scribbles, val",
    "T4": "Table 4: memory of training",
    "T5": "Table 5: time of training",
    "T6": "Table 6: naive online self-training on Pascal VOC with scribbles, val",
    "T7": "Table 7: Pascal VOC, test, scribbles",
    "F5": "Figure 5: pseudo labels",
    "F6": "Figure 6: predictions",
    "F7": "Figure 7: precision on the unlabelled pixels while training",
}
PROTOCOLS = ("ss", "msf", "official")
BLANK = ""
Table = list[list[str]]
"""Rows of texts; the first row is the head."""


class Ours(NamedTuple):
    """Runs with the settings of one experiment, grouped by recipe and annotations."""

    recipe: str
    annotations: str
    """How the annotations were made, if they are not the published ones; empty if unknown."""
    records: list[Record]

    def miou(self, protocol: str = "") -> str:
        """Last / best in percent, mean over seeds; blank if not evaluated by ``protocol``."""
        evaluations = [record.result["evaluation"] for record in self.records]
        if protocol:
            evaluations = [each.get("protocols", {}).get(protocol) for each in evaluations]
        found = [each for each in evaluations if each is not None]
        texts = [_mean([each[name].get("miou") for each in found if name in each])
                 for name in ("last", "best")]  # fmt: skip
        return " / ".join(texts) if any(texts) else BLANK


NOTHING = Ours(BLANK, BLANK, [])


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * fmean(known):.1f}" if known else BLANK


def sorted_out(records: Sequence[Record]) -> tuple[dict[str, list[Ours]], list[tuple[str, str]]]:
    """Groups finished runs by id; returns, too, runs with other settings and their differences.

    Raises:
        ValueError: a record belongs to no experiment; the message names its folder.
    """
    own: dict[str, dict[tuple[str, str], list[Record]]] = {}
    other: list[tuple[str, str]] = []
    for record in records:
        paper = record.result.get("paper")
        if not record.finished or not isinstance(paper, dict):
            continue
        try:
            differences = deviations(record.result)
        except ValueError as error:
            raise ValueError(f"{record.folder}: {error}") from error
        if differences:
            score = f"mIoU {100 * record.miou:.1f}"
            other.append((record.name, "; ".join([score, *differences])))
        else:
            key = paper["recipe"], made_annotations(record.result)
            own.setdefault(paper["id"], {}).setdefault(key, []).append(record)
    grouped = {
        id: [Ours(*key, runs) for key, runs in sorted(each.items())] for id, each in own.items()
    }
    return grouped, other


def made_annotations(result: dict[str, Any]) -> str:
    """How ``tel annotate`` made a run's annotations, in words; empty if it did not.

    How the published annotations were made is not public, so these runs get rows of their own.
    """
    options = result.get("annotate")
    if not options:
        return ""
    return f"tel annotate: {', '.join(f'{name} {value}' for name, value in options.items())}"


def costs_sorted_out(
    costs: Sequence[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The same for measured time and memory; rehearsals, for example, have other settings.

    Raises:
        ValueError: a measurement belongs to no experiment.
    """
    own, other = [], []
    for cost in costs:
        if differences := cost_deviations(cost):
            other.append((cost["preset"], "; ".join(differences)))
        else:
            own.append(cost)
    return own, other


def accuracy_table(name: str, ours: dict[str, list[Ours]]) -> Table:
    """A table of mIoU; our columns are blank for experiments that were not run.

    Args:
        name: ``T1``, ``T2``, ``T3``, ``T6`` or ``T7``.
        ours: from ``sorted_out``.
    """
    val = " (val)" if name == "T7" else ""  # only the VOC server has the test images' labels
    rows = [["id", "what", "paper", "README", f"ours{val}",
             *(f"ours, {each}{val}" for each in PROTOCOLS), "recipe", "seeds",
             "annotations"]]  # fmt: skip
    for experiment in of_table(name):
        for group in ours.get(experiment.run, [NOTHING]):
            # The shared run was evaluated without the CRF.
            known = group if not experiment.crf else NOTHING
            rows.append([
                experiment.id,
                what(experiment),
                *(_number(value, ".1f") for value in (experiment.paper, experiment.readme)),
                known.miou(),
                *(known.miou(each) for each in PROTOCOLS),
                known.recipe,
                str(len(known.records) or BLANK),
                known.annotations,
            ])  # fmt: skip
    for each in numbers.QUOTED:
        if each.table == name:
            said = ", ".join(x for x in (each.method, each.annotation, each.network) if x)
            rows.append([BLANK, said, f"{each.miou:.1f}", *[BLANK] * 8])
    return rows


def what(experiment: Experiment) -> str:
    """The description of an experiment's row."""
    network = NETWORK_TITLES[experiment.network]
    if experiment.table == "T2":
        where = f"{DATASET_TITLES[experiment.dataset]}, {experiment.annotation}, {network}"
        return f"{experiment.title}: {where}"
    if experiment.table in ("T1", "T7"):
        return f"{experiment.title}, {experiment.annotation}, {network}"
    return f"{experiment.title}, {network}" if experiment.kind == "cost" else experiment.title


def notes(name: str) -> list[str]:
    """The notes below a table, with the ids that each one is about."""
    said: dict[str, list[str]] = {}
    for experiment in of_table(name):
        if experiment.note:
            said.setdefault(experiment.note, []).append(experiment.id)
    every = len(of_table(name))
    return [
        note if len(ids) == every else f"{', '.join(ids)}: {note}" for note, ids in said.items()
    ]


def cost_table(name: str, costs: Sequence[dict[str, Any]]) -> Table:
    """Table 4 or 5; our numbers are those that ``tel run`` measured (``cost.json``).

    Args:
        name: ``T4`` or ``T5``.
        costs: contents of these files, from ``costs_sorted_out``.
    """
    unit, value, ratio = (
        ("GB", "peak_mb", "peak_ratio") if name == "T4" else ("hours", "seconds", "time_ratio")
    )
    ours_unit = "MB" if name == "T4" else "s / iteration"
    rows = [["id", "what", f"paper, {unit}", "paper, ratio", f"ours, {ours_unit}",
             "ours, ratio", "device", "batch", "precision", "recipe"]]  # fmt: skip
    places = {"none": 0, "low": 1, "both": 2}
    for experiment in of_table(name):
        start, _, level = experiment.id.rpartition(".")
        theirs, base = experiment.paper or 0.0, numbers.PAPER[f"{start}.none"]
        said = [experiment.id, what(experiment),
                f"{theirs:g}", f"{theirs / base:.3f}"]  # fmt: skip
        found = [cost for cost in costs if cost["preset"] == experiment.run]
        for cost in found:
            row = cost["rows"][places[level]]
            form = ".0f" if name == "T4" else ".3f"
            rows.append([
                *said, _number(row.get(value), form), _number(row.get(ratio), ".3f"),
                str(cost["device"]), str(cost["batch"]), str(cost["amp"]), str(cost["recipe"]),
            ])  # fmt: skip
        if not found:
            rows.append([*said, *[BLANK] * 6])
    return rows


def _number(value: float | None, form: str) -> str:
    return BLANK if value is None else format(value, form)


def of_table(name: str) -> list[Experiment]:
    """The experiments of a table or a figure."""
    return [each for each in experiments().values() if each.table == name]


def markdown_table(table: Table) -> str:
    """The table as Markdown."""
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(x.replace("|", "\\|") for x in row) + " |" for row in lines)


EXPLANATION = (
    "mIoU is in percent. Our columns have last / best iterate, mean over seeds, by the recipe's own"
    " evaluation during training and by other protocols: ss (single scale, native aspect ratio),"
    " msf (multi-scale and flip, native aspect ratio), official (the official scripts' last"
    " evaluation: for Pascal VOC, multi-scale and flip on images resized without keeping the aspect"
    " ratio; otherwise the recipe's own). The paper does not say which protocol its tables use."
    " Rows without an id are results of others that the paper quotes; many of these methods add a"
    " CRF after the network, several stages, or further data. Blank cells were not run. The column"
    " “annotations” names annotations that tel annotate made instead of the published ones."
)
