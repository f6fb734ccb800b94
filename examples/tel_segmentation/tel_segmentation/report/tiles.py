"""Pictures in a row on the page, and the legend of their classes."""

from __future__ import annotations

from collections.abc import Sequence

from tel_segmentation.report.html import Colors, legend, swatch, text
from tel_segmentation.report.pictures import Tile
from tel_segmentation.report.records import Record

_MOST = 7  # most pictures in a row


def class_legend(run: Record) -> str:
    """The colours of the classes, as HTML."""
    return legend(
        (f"rgb({r},{g},{b})", name) for name, (r, g, b) in zip(run.classes, run.colors, strict=True)
    )


def strip(parts: Sequence[Tile], name: str, colors: Colors) -> str:
    """Pictures of the image of this name, in rows of about the same length."""
    figures = "".join(_figure(tile, name, colors) for tile in parts)
    columns = -(-len(parts) // -(-len(parts) // _MOST))
    style = f"--columns:{columns}"
    return f'<div class="strip card"><div class="tiles" style="{style}">{figures}</div></div>'


def _figure(tile: Tile, name: str, colors: Colors) -> str:
    kind = "photo" if tile.caption == "image" else "labels"
    return (
        f'<figure><img class="{kind}" src="{tile.uri}" alt="{text(tile.caption)} of {text(name)}">'
        f"<figcaption>{swatch(colors[tile.row.method]) if tile.row else ''}"
        f"{text(tile.caption)}</figcaption></figure>"
    )
