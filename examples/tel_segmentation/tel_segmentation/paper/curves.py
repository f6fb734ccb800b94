"""Fig. 7 in numbers: on unlabelled pixels, how far TEL is above the baseline at the end."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tel_segmentation.paper import numbers
from tel_segmentation.paper.experiments import find
from tel_segmentation.paper.tables import BLANK, Ours, Table
from tel_segmentation.report.records import Record

CURVES_NOTES = (
    "in percentage points at the end of the training; our values are means over its last tenth; the"
    " paper calls the same numbers precision in the figure and mIoU in the text",
)
_ROWS = (("prediction", "TEL's prediction"), ("pseudo", "TEL's soft label"))


def runs_of(id: str, ours: dict[str, list[Ours]]) -> list[Record]:
    """The runs of an experiment; official recipe and published annotations are preferred."""
    groups = _groups(id, ours)
    return groups[0].records if groups else []


def _groups(id: str, ours: dict[str, list[Ours]]) -> list[Ours]:
    groups = ours.get(find(id).run, [])
    return sorted(groups, key=lambda group: (group.recipe != "official", group.annotations))


def curves_table(ours: dict[str, list[Ours]]) -> Table:
    """Percentage points above the baseline's prediction, in the paper and in our runs.

    Only runs with the same recipe and annotations are compared. Without such runs, cells are blank.

    Args:
        ours: from ``tables.sorted_out``.
    """
    tel, baseline = (
        {(group.recipe, group.annotations): group.records for group in _groups(f"f7.{name}", ours)}
        for name in ("tel", "baseline")
    )
    both = next((key for key in tel if key in baseline), None)
    table = [["id", "above the baseline's prediction", "paper", "ours, accuracy", "ours, mIoU"]]
    for (what, title), theirs in zip(_ROWS, numbers.CURVES["f7.tel"], strict=True):
        cells = []
        for metric in ("accuracy", "miou"):
            own = _end(tel[both], f"{metric}_{what}") if both else None
            base = _end(baseline[both], f"{metric}_prediction") if both else None
            known = own is not None and base is not None
            cells.append(f"{100 * (own - base):+.1f}" if known else BLANK)  # type: ignore[operator]
        table.append(["f7.tel", title, f"{theirs:+.1f}", *cells])
    return table


def _end(runs: Sequence[Record], name: str) -> float | None:
    """A number at the end of the training: its mean over the runs, None if no run has it."""
    ends = [run.end[name] for run in runs if name in run.end]
    return fmean(ends) if ends else None
