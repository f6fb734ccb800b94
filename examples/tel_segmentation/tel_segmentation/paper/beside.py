"""The paper's tables and our results as Markdown, for ``tel report --paper --markdown``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tel_segmentation.paper.curves import CURVES_NOTES, curves_table
from tel_segmentation.paper.tables import (
    EXPLANATION,
    TITLES,
    accuracy_table,
    cost_table,
    costs_sorted_out,
    markdown_table,
    notes,
    sorted_out,
)
from tel_segmentation.report.records import Record


def beside(records: Sequence[Record], costs: Sequence[dict[str, Any]]) -> str:
    """All tables as Markdown, our results beside the paper's; results not yet run are blank."""
    (ours, other_runs), (own_costs, other_costs) = sorted_out(records), costs_sorted_out(costs)
    parts = ["# The paper's tables and our results", "", EXPLANATION]
    for name, title in TITLES.items():
        if name[0] == "T":
            cost = name in ("T4", "T5")
            table = cost_table(name, own_costs) if cost else accuracy_table(name, ours)
            parts += ["", f"## {title}", "", markdown_table(table)]
            parts += ["", *(f"{note[0].upper()}{note[1:]}." for note in notes(name))]
    parts += ["", f"## {TITLES['F7']}", "", markdown_table(curves_table(ours))]
    parts += ["", *(f"{note[0].upper()}{note[1:]}." for note in CURVES_NOTES)]
    if other := [*other_runs, *other_costs]:
        parts += ["", "## Runs with other settings", "", "They do not appear in the tables.", ""]
        parts += [f"- {run}: {differences}" for run, differences in other]
    return "\n".join(parts) + "\n"
