"""A picture that shows some annotations: image, dense label and annotation side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from tel_segmentation.data.regions import VOID
from tel_segmentation.evaluation.pictures import legend

VOID_COLOR = (255, 255, 255)
TILE = 320  # largest width of a picture, in pixels
GAP = 6
TEXT = 18


Picture = NDArray[np.uint8]


class Coloured(Protocol):
    """The names of classes and their colours."""

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]


def contact_sheet(
    data: Coloured, entries: Sequence[tuple[str, Picture, Picture, Picture]], grow: int = 0
) -> Image.Image:
    """Image, dense label and annotation of each entry, two entries per row, below a legend.

    Args:
        data: the data set, for its classes and colours.
        entries: name, image (H, W, 3), dense label (H, W) and annotation (H, W), uint8 with 255 for
            no class.
        grow: pixels by which labels of the annotation are enlarged on every side, so that points
            can be seen.
    """
    rows = [[_tile(picture) for picture in _pictures(data, *entry[1:], grow)] for entry in entries]
    width, height = (max(tile.size[axis] for row in rows for tile in row) for axis in (0, 1))
    across = 2 if len(rows) > 1 else 1
    step = (width + GAP, height + GAP + TEXT)
    names, colors = (*data.classes, "no class"), (*data.colors, VOID_COLOR)
    key = Image.fromarray(legend(names, colors, across * (3 * step[0] + GAP) - GAP))
    top = key.height + GAP
    down = -(-len(rows) // across)
    sheet = Image.new("RGB", (key.width, top + down * step[1]), "white")
    sheet.paste(key, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        x, y = number % across * (3 * step[0] + GAP), top + number // across * step[1]
        draw.text((x + 2, y), entries[number][0], "black", _font())
        for column, tile in enumerate(row):
            sheet.paste(tile, (x + column * step[0], y + TEXT))
    return sheet


def _pictures(
    data: Coloured, pixels: Picture, dense: Picture, annotation: Picture, grow: int
) -> tuple[Image.Image, Image.Image, Image.Image]:
    image = Image.fromarray(pixels)
    colors = np.full((VOID + 1, 3), VOID_COLOR, np.uint8)
    colors[: len(data.colors)] = data.colors
    marks = ndimage.maximum_filter((annotation + 1).astype(np.uint8), 2 * grow + 1)  # 255 → 0
    dimmed = np.asarray(image.convert("L"))[..., None] // 3
    drawn = np.where(marks[..., None] > 0, colors[marks.astype(int) - 1], dimmed.astype(np.uint8))
    return image, Image.fromarray(colors[dense]), Image.fromarray(drawn)


def _tile(picture: Image.Image) -> Image.Image:
    scale = min(1.0, TILE / picture.width)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BOX)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
