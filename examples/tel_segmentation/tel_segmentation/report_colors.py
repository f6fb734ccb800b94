"""One colour per method, the same everywhere in a report."""

from __future__ import annotations

from collections.abc import Sequence

from tel_segmentation.report_table import Experiment, Row

_OF_KIND = {
    "partial": "#cc7a2f",
    "full": "#6b7a90",
    "tel low+high": "#1f8a5b",
    "tel low": "#86b03c",
    "tel high": "#1d9bb3",
    "naive": "#a2745a",
    "gated_crf": "#8c66c0",
    "dense_crf": "#d0558c",
    "grid_crf": "#5c7bd8",
    "norm_cut": "#b59b22",
    "kernel_cut": "#df6b58",
    "bilateral": "#4c9ad8",
    "non_local": "#a65fa6",
    "seminar_lite": "#116a7d",
}
_MORE = (
    "#3f8efc", "#e0883c", "#00a37a", "#c2477f", "#7f6ee0", "#9aa83a",
    "#d4574e", "#2bb3c0", "#b07d4f", "#6f8f5f", "#a05cc0", "#5f7f9f",
)  # fmt: skip


def method_colors(groups: Sequence[Experiment]) -> dict[str, str]:
    """A colour for each method's name: its kind's, and others where a kind has several names."""
    colors: dict[str, str] = {}
    spare = 0
    for row in (row for group in groups for row in group.rows):
        if row.method in colors:
            continue
        color = _OF_KIND.get(_key(row), "")
        if not color or color in colors.values():
            color, spare = _MORE[spare % len(_MORE)], spare + 1
        colors[row.method] = color
    return colors


def _key(row: Row) -> str:
    return f"{row.kind} {row.level}".strip()
