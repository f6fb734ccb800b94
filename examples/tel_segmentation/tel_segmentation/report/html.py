"""Parts that all pages share: the document, escaped text, colours of the methods."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib.resources import files

from tel_segmentation.report.table import Experiment, Row

Colors = dict[str, str]
"""The colour of each method, in CSS notation."""

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


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy of a page: no scripts, no external files."""


def document(title: str, parts: Iterable[str]) -> str:
    """A page as a single file: the parts in their order, without empty ones."""
    style = files("tel_segmentation.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def method_colors(groups: Sequence[Experiment]) -> Colors:
    """A colour for each method's name: that of its kind, or another if the kind's is taken."""
    colors: Colors = {}
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


def text(value: object) -> str:
    """Text from a file for use on the page: escaped, without control characters."""
    printable = "".join(each if each.isprintable() else " " for each in str(value))
    return html.escape(printable)


def swatch(color: str, kind: str = "") -> str:
    """A coloured dot; with the kind ``line``, a dash."""
    return f'<span class="swatch {kind}" style="background:{color}"></span>'


def legend(entries: Iterable[tuple[str, str]], kind: str = "") -> str:
    """A legend: colours with their names."""
    items = "".join(f"<li>{swatch(color, kind)}{text(name)}</li>" for color, name in entries)
    return f'<ul class="legend">{items}</ul>'


def breakable(name: str) -> str:
    """An experiment's name, in which a line may break after a slash."""
    return text(name).replace("/", "/<wbr>")


def head(names: Iterable[str]) -> str:
    """The head of a table, with the names of its columns."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"
