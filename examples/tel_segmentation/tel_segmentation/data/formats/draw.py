"""From shapes to a label map.

A pixel belongs to an area if its centre does. Pillow's polygons have corners on whole pixels and no
holes, and scikit-image compares every pixel with every edge; so polygons are filled here, row by
row. A stroke is made of rectangles with a disc at every point, a point is a disc. A shape that
covers no centre of a pixel keeps one pixel: no object vanishes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.formats.shapes import (
    Corners,
    Drawn,
    Mask,
    Points,
    Polygon,
    Shape,
    Size,
    Stroke,
)
from tel_segmentation.data.regions import VOID

RADIUS = 1 / 500  # of a point, by default, as a part of the image's longer side

Part = tuple[int, int, NDArray[np.bool_]]  # first row, first column, marked pixels


class Brush(NamedTuple):
    """How thick points and strokes are, in pixels; None: a part of the image's longer side."""

    radius: float | None = None
    width: float | None = None

    def for_size(self, size: Size) -> tuple[float, float]:
        """The radius of a point and the width of a stroke in an image of this size."""
        radius = max(1.0, RADIUS * max(size)) if self.radius is None else self.radius
        return radius, 2 * radius + 1 if self.width is None else self.width


class Drawing(NamedTuple):
    """A label map, and what happened to the shapes."""

    label: NDArray[np.uint8]
    """(H, W), 255 where nothing is drawn."""
    overlap: int
    """Pixels that a later shape of another class took from an earlier one."""
    hidden: int
    """Shapes of which later ones left nothing."""
    outside: int
    """Shapes that have no part in the image."""


def draw(drawn: Drawn, classes: Mapping[str, int], size: Size, brush: Brush) -> Drawing:
    """Draws the shapes of known classes; later ones cover earlier ones.

    Args:
        drawn: the shapes; those whose label is not in ``classes`` are left out.
        classes: the number of each class, 0 to 254.
        size: width and height of the label map. Shapes are scaled to it if they were drawn on an
            image of another size.
        brush: the thickness of points and strokes, in pixels of the label map.

    Raises:
        ValueError: a mask cannot be decoded, or its size is not plausible.
    """
    width, height = size
    label = np.full((height, width), VOID, np.uint8)
    owner = np.full((height, width), -1, np.int32)
    scale = np.array([1.0, 1.0] if drawn.size is None else np.divide(size, drawn.size))
    contested = np.zeros((height, width), np.bool_)
    outside = 0
    shown = []
    for number, shape in enumerate(drawn.shapes):
        if shape.label not in classes:
            continue
        drawn_part = False
        for row, column, marked in _parts(shape, scale, size, brush.for_size(size), drawn):
            window = np.s_[row : row + marked.shape[0], column : column + marked.shape[1]]
            before = label[window]
            contested[window] |= marked & (before != VOID) & (before != classes[shape.label])
            label[window][marked] = classes[shape.label]
            owner[window][marked] = number
            drawn_part |= bool(marked.any())
        outside += not drawn_part
        shown += [number] if drawn_part else []
    left = np.unique(owner)
    overlap = int(np.count_nonzero(contested))
    return Drawing(label, overlap, len(np.setdiff1d(shown, left)), outside)


def fill(rings: tuple[Corners, ...], size: Size) -> Part:
    """The pixels whose centres are enclosed by an odd number of rings, within the image.

    Args:
        rings: closed polygons, (N, 2) x and y each.
        size: width and height of the image.
    """
    corners = np.concatenate(rings)
    low = np.floor(corners.min(0)).clip(0, size).astype(int)
    high = np.ceil(corners.max(0)).clip(0, size).astype(int)
    (left, top), (columns, rows) = low, np.maximum(high - low, 0)
    toggles = np.zeros((rows, columns + 1), np.bool_)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            first, last = sorted((y0, y1))
            # The rows whose centres are at or below the upper end and above the lower end.
            begin, end = (min(max(math.ceil(y - 0.5 - top), 0), rows) for y in (first, last))
            if begin < end:
                crossed = np.arange(begin, end)
                x = x0 + (crossed + 0.5 + top - y0) * ((x1 - x0) / (y1 - y0))
                toggles[crossed, np.ceil(x - 0.5 - left).clip(0, columns).astype(int)] ^= True
    return int(top), int(left), np.logical_xor.accumulate(toggles, 1)[:, :columns]


def _parts(
    shape: Shape, scale: Corners, size: Size, brush: tuple[float, float], drawn: Drawn
) -> Iterator[Part]:
    """What a shape marks, in one or several rectangles; at least one pixel if it is inside."""
    radius, width = brush
    match shape.geometry:
        case Polygon(rings):
            part = fill(tuple(ring * scale for ring in rings), size)
            yield part if part[2].any() else _pixel(rings[0].mean(0) * scale, size)
        case Points(points):
            for point in points * scale:
                yield _disc(point, radius, size)
        case Stroke(points):
            scaled = points * scale
            for point in scaled:
                yield _disc(point, width / 2, size)
            for start, end in itertools.pairwise(scaled):
                if (length := math.dist(start, end)) > 0:
                    across = (end - start)[::-1] * (-1, 1) * (width / 2 / length)
                    ring = np.stack([start + across, end + across, end - across, start - across])
                    yield fill((ring,), size)
        case Mask() as mask:
            yield _mask(mask, scale, size, drawn)


def _disc(center: Corners, radius: float, size: Size) -> Part:
    """The pixels whose centres are at most the radius away; at least the one that has the point."""
    low = np.floor(center - radius).clip(0, size).astype(int)
    high = np.ceil(center + radius).clip(0, size).astype(int)
    x, y = (np.arange(a, b) + 0.5 for a, b in zip(low, high, strict=True))
    near = (x - center[0]) ** 2 + (y[:, None] - center[1]) ** 2 <= radius**2
    return (int(low[1]), int(low[0]), near) if near.any() else _pixel(center, size)


def _pixel(place: Corners, size: Size) -> Part:
    """The pixel at this place; nothing if it is outside of the image."""
    x, y = (math.floor(value) for value in place)
    inside = 0 <= x < size[0] and 0 <= y < size[1]
    return max(y, 0), max(x, 0), np.full((int(inside), int(inside)), True)


def _mask(mask: Mask, scale: Corners, size: Size, drawn: Drawn) -> Part:
    """A mask in the image, decoded if it is not larger than the image that it was drawn on."""
    whole = drawn.size or size
    if mask.size[0] > whole[0] or mask.size[1] > whole[1]:
        raise ValueError(
            f"{drawn.file} must have masks of at most {whole[0]} × {whole[1]} pixels for"
            f" {drawn.image}, got {mask.size[0]} × {mask.size[1]}"
        )
    pixels = mask.read()
    low = np.round(np.array([mask.left, mask.top]) * scale).astype(int)
    high = np.round(np.array([mask.left + mask.size[0], mask.top + mask.size[1]]) * scale)
    begin, end = low.clip(0, size), high.astype(int).clip(0, size)
    columns, rows = (
        ((np.arange(a, b) + 0.5) / factor - offset).astype(int).clip(0, side - 1)
        for a, b, factor, offset, side in zip(
            begin, end, scale, (mask.left, mask.top), mask.size, strict=True
        )
    )
    marked = pixels[rows[:, None], columns]
    if pixels.any() and not marked.any():  # lost when the mask is made smaller
        place = np.argwhere(pixels)[0][::-1] + np.array([mask.left, mask.top]) + 0.5
        return _pixel(place * scale, size)
    return int(begin[1]), int(begin[0]), marked
