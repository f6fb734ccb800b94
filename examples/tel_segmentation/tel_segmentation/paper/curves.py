"""Fig. 7 in numbers: how far TEL is above the baseline on the unlabelled pixels, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tel_segmentation.paper import numbers
from tel_segmentation.paper.experiments import find
from tel_segmentation.paper.tables import BLANK, Ours, Table
from tel_segmentation.report.records import Record

CURVES_NOTES = (
    "points at the end of the training, of ours the mean of its last tenth; the paper calls the"
    " same numbers precision in the figure and mIoU in the text",
)
_ROWS = (("prediction", "TEL's prediction"), ("pseudo", "TEL's soft label"))


def runs_of(id: str, ours: dict[str, list[Ours]]) -> list[Record]:
    """The runs of an experiment, by the official recipe and with published annotations if any."""
    groups = _groups(id, ours)
    return groups[0].records if groups else []


def _groups(id: str, ours: dict[str, list[Ours]]) -> list[Ours]:
    groups = ours.get(find(id).run, [])
    return sorted(groups, key=lambda group: (group.recipe != "official", group.annotations))


def curves_table(ours: dict[str, list[Ours]]) -> Table:
    """Points above the baseline's prediction, theirs and ours; blank where a run is missing.

    Compared are runs of one recipe and with the same annotations.

    Args:
        ours: of ``tables.sorted_out``.
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
    """The mean over the runs of a number at the end of the training."""
    ends = [run.end[name] for run in runs if name in run.end]
    return fmean(ends) if ends else None
