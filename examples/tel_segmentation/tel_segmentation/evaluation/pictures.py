"""Pictures of labels: colours, overlays, legends, and the panels that the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tel_segmentation.data.sparse_labels import is_sparse

Color = tuple[int, int, int]
Rgb = NDArray[np.uint8]  # (H, W, 3)

VOID: Color = (226, 226, 222)
"""The colour of pixels without a class."""
COLUMNS = ("image", "annotation", "prediction", "pseudo label, low", "pseudo label, final", "truth")
"""A panel's columns, from left to right."""
FAILURE = ("image", "truth", "prediction", "errors")
"""The columns of ``failure``."""
ERROR: Color = (214, 39, 40)
"""The colour of a pixel whose predicted class is wrong."""

_STRIP = 64  # rows that are mixed at a time, so that they stay in the cache
_GAP = 6
_TITLE = 22
_SIDE = 192  # a small image is enlarged until its shorter side has about this length


def as_rgb(image: Any) -> Rgb:
    """Converts an image, (3, H, W) or (H, W, 3), uint8 or floats in [0, 1], to (H, W, 3) uint8."""
    array = _array(image)
    if array.ndim != 3 or 3 not in (array.shape[0], array.shape[-1]):
        raise ValueError(f"as_rgb: image must be (3, H, W) or (H, W, 3), got {array.shape}")
    if array.shape[0] == 3:
        array = np.moveaxis(array, 0, -1)
    if np.issubdtype(array.dtype, np.floating):
        array = np.round(np.clip(array, 0, 1) * 255)
    return np.ascontiguousarray(array, dtype=np.uint8)


def colorize(label: Any, colors: Sequence[Color]) -> Rgb:
    """Label values (H, W) as colours; values that are no class (negative or ≥ K) get ``VOID``."""
    values = _array(label).astype(np.int64)
    if values.ndim != 2:
        raise ValueError(f"colorize: label must be (H, W), got {values.shape}")
    table = np.array([*colors, VOID], dtype=np.uint8)
    known = (values >= 0) & (values < len(colors))
    return table[np.where(known, values, len(colors))]


def overlay(
    image: Any, label: Any, colors: Sequence[Color], opacity: float = 0.5, outline: int = 0
) -> Rgb:
    """The label's colours over the image; the image alone where there is no class.

    Args:
        image: as for ``as_rgb``.
        label: (H, W) integers.
        colors: of each class.
        opacity: of the colours, in [0, 1].
        outline: thickness in pixels of a line in full colour around every region, on its inside.
    """
    picture, values = as_rgb(image), _array(label)
    if picture.shape[:2] != values.shape:
        raise ValueError(
            f"overlay: label must have the image's size {picture.shape[:2]}, got {values.shape}"
        )
    border = _border(values, outline)
    mixed = np.empty_like(picture)
    for top in range(0, len(picture), _STRIP):
        part = slice(top, top + _STRIP)
        share = np.where(border[part], 1.0, opacity)
        share[(values[part] < 0) | (values[part] >= len(colors))] = 0.0
        share = share[..., None]
        both = (1 - share) * picture[part] + share * colorize(values[part], colors)
        mixed[part] = np.round(both)
    return mixed


def draw_annotation(image: Any, label: Any, colors: Sequence[Color]) -> Rgb:
    """Draws a sparse annotation over the faded grey image.

    Marks are made thicker by 1/120 of the image's longer side, so that points are visible on a
    photograph. Images below 120 pixels keep the original marks.
    """
    grey = as_rgb(image).mean(axis=-1, keepdims=True)
    faded = np.repeat(150 + 0.4 * grey, 3, axis=-1).clip(0, 255).astype(np.uint8)
    values = _thicken(_array(label).astype(np.int64), max(grey.shape[:2]) // 120)
    known = ((values >= 0) & (values < len(colors)))[..., None]
    return np.where(known, colorize(values, colors), faded)


def panel(
    image: Any,
    annotation: Any,
    prediction: Any,
    pseudo_low: Any | None,
    pseudo_final: Any | None,
    truth: Any,
    colors: Sequence[Color],
) -> Image.Image:
    """One row of pictures with a title over each; ``COLUMNS`` has their order.

    Small images are enlarged (nearest neighbour), so that details are visible. Every column has
    the same size, so that ``tiles`` can separate them again.

    Args:
        image: (3, H, W) or (H, W, 3), uint8 or floats in [0, 1]; tensor or array.
        annotation: (H, W) integers, negative where nothing is labelled.
        prediction: (H, W) integers. Prediction, truth and pseudo labels may have another
            resolution; they are resized to the image's by nearest neighbour.
        pseudo_low: (h, w) integers: pseudo labels after the first filter; None if the method has
            none.
        pseudo_final: (h, w) integers: the pseudo labels that the loss uses; None if it has none.
        truth: (H, W) integers, negative where there is no class.
        colors: (r, g, b) in 0..255 of each class.
    """
    rgb = as_rgb(image)
    size = (rgb.shape[1], rgb.shape[0])
    return _beside(
        COLUMNS,
        [
            rgb,
            draw_annotation(rgb, _fit(annotation, size), colors),
            *(
                None if label is None else colorize(_fit(label, size), colors)
                for label in (prediction, pseudo_low, pseudo_final, truth)
            ),
        ],
    )


def failure(image: Any, truth: Any, prediction: Any, colors: Sequence[Color]) -> Image.Image:
    """Image, truth, prediction and errors beside each other, as ``panel``; see ``FAILURE``.

    Wrong pixels have the colour ``ERROR`` over the faded image; pixels without truth are ``VOID``.

    Args:
        image: as for ``panel``.
        truth: (H, W) integers, negative where there is no class; a sparse one is drawn over the
            image.
        prediction: (H, W) integers.
        colors: of each class.
    """
    rgb = as_rgb(image)
    size = (rgb.shape[1], rgb.shape[0])
    true, found = _fit(truth, size), _fit(prediction, size)
    sparse = is_sparse(true)
    state = np.where(true < 0, -1 if sparse else 1, np.where(found != true, 0, -1))
    return _beside(
        FAILURE,
        [
            rgb,
            draw_annotation(rgb, true, colors) if sparse else colorize(true, colors),
            colorize(found, colors),
            draw_annotation(rgb, state, (ERROR, VOID)),
        ],
    )


def _beside(titles: Sequence[str], pictures: Sequence[Rgb | None]) -> Image.Image:
    """Pictures of one size in a row, a title over each; None: there is none."""
    height, width = next(picture.shape[:2] for picture in pictures if picture is not None)
    scale = max(1, round(_SIDE / min(width, height)))
    width, height = width * scale, height * scale
    whole = Image.new("RGB", (_GAP + len(titles) * (width + _GAP), _TITLE + height + _GAP), "white")
    draw = ImageDraw.Draw(whole)
    for column, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
        left = _GAP + column * (width + _GAP)
        draw.text((left, 4), title, fill=(70, 70, 70), font=ImageFont.load_default(12))
        if picture is None:
            draw.rectangle((left, _TITLE, left + width - 1, _TITLE + height - 1), fill=(246,) * 3)
            draw.text((left + 8, _TITLE + 6), "none", fill=(150,) * 3)
        else:
            tile = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
            whole.paste(tile, (left, _TITLE))
    return whole


def tiles(whole: Image.Image, columns: Sequence[str] = COLUMNS) -> dict[str, Image.Image]:
    """Separates a panel into its columns; the keys are their names.

    Raises:
        ValueError: the picture does not have the layout of a panel.
    """
    width, left_over = divmod(whole.width - _GAP - len(columns) * _GAP, len(columns))
    height = whole.height - _TITLE - _GAP
    if left_over or width < 1 or height < 1:
        raise ValueError(f"tiles: the picture must be a panel, got one of {whole.size}")
    lefts = (_GAP + column * (width + _GAP) for column in range(len(columns)))
    return {
        name: whole.crop((left, _TITLE, left + width, _TITLE + height))
        for name, left in zip(columns, lefts, strict=True)
    }


def legend(names: Sequence[str], colors: Sequence[Color], width: int, size: int = 13) -> Rgb:
    """Names beside their colours, in as many lines as the width needs.

    Args:
        names: of the classes.
        colors: of each of them.
        width: of the picture, in pixels.
        size: of the letters, in pixels.
    """
    font, line = ImageFont.load_default(size), round(1.4 * size)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, y = [], 2, 2
    for name in names:
        length = round(line + 4 + measure.textlength(name, font) + size)
        if x + length > width and x > 2:
            x, y = 2, y + line + 2
        places.append((x, y))
        x += length
    picture = Image.new("RGB", (width, y + line + 2), "white")
    draw = ImageDraw.Draw(picture)
    for name, color, (x, y) in zip(names, colors, places, strict=True):
        side = line - 4
        draw.rectangle((x, y + 2, x + side, y + side), color, "black")
        draw.text((x + line, y), name, "black", font)
    return np.asarray(picture)


def indexed(label: Any, colors: Sequence[Color]) -> Image.Image:
    """Label values (H, W) in 0..K-1 as a picture of mode P whose palette is the colours."""
    values = _array(label)
    if len(colors) > 256 or values.min(initial=0) < 0 or values.max(initial=0) >= len(colors):
        raise ValueError(
            f"indexed: label must be in 0..{min(len(colors), 256) - 1},"
            f" got {values.min(initial=0)}..{values.max(initial=0)}"
        )
    picture = Image.fromarray(values.astype(np.uint8))
    picture.putpalette([channel for color in colors for channel in color])
    return picture


def _array(values: Any) -> NDArray[Any]:
    """Converts a tensor on any device, or anything that numpy accepts, to an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _fit(label: Any, size: tuple[int, int]) -> NDArray[np.int64]:
    values = _array(label).astype(np.int32)
    if values.ndim != 2:
        raise ValueError(f"panel: a label must be (H, W), got {values.shape}")
    picture = Image.fromarray(values).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture, dtype=np.int64)


def _border(label: NDArray[np.int64], thickness: int) -> NDArray[np.bool_]:
    """The pixels that are less than ``thickness`` away from a pixel of another class."""
    border = np.zeros(label.shape, bool)
    for step in range(1, thickness + 1):
        for axis in (0, 1):
            one, other = (np.moveaxis(each, axis, 0) for each in (label, border))
            differ = one[step:] != one[:-step]
            other[step:] |= differ
            other[:-step] |= differ
    return border


def _thicken(label: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """Grows the labelled pixels by ``radius`` into the unlabelled ones."""
    thick = label.copy()
    for axis in (0, 1) * radius:
        for step in (1, -1):
            moved = np.roll(thick, step, axis)
            edge = [slice(None)] * 2
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            moved[tuple(edge)] = -1
            thick = np.where(thick < 0, moved, thick)
    return thick
