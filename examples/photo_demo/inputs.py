"""Read the photograph and its scribbles; every mistake in them becomes one clear sentence."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from PIL import Image, ImageColor, ImageDraw, ImageOps
from torch import Tensor

SCRIBBLES = Path(__file__).parent / "scribbles"
MIN_SIDE = 32  # pixels
MAX_SIDE = 800  # a larger photograph is scaled down, and its scribbles with it
NO_LABEL = -1


class InputError(Exception):
    """The user's input cannot be used; the message says which part and why."""


@dataclass(frozen=True)
class Scribbles:
    """Strokes drawn into label maps.

    Attributes:
        names: Class names, K of them.
        colours: Their colours, (K, 3) in [0, 1].
        label: (H, W) int64, the class of each scribbled pixel, −1 elsewhere.
        piece: (H, W) int64, the number of the straight piece that covers the pixel, −1 elsewhere.
        held_out: (H, W) int64 like ``label``, −1 on scribbles too; only used to check results.
        click: ``(x, y)`` of the clicked pixel.
    """

    names: list[str]
    colours: Tensor
    label: Tensor
    piece: Tensor
    held_out: Tensor
    click: tuple[int, int]


def load_photo(name: str, path: Path | None) -> tuple[Image.Image, tuple[int, int]]:
    """The image at ``path``, or scikit-image's photograph ``name``; and its size before scaling."""
    if path is None:
        known = sorted(file.stem for file in SCRIBBLES.glob("*.json"))
        if name not in known:
            raise InputError(f"no photograph is called {name!r}, choose from: {', '.join(known)}")
        photo = Image.fromarray(getattr(skimage.data, name)())
        return photo, photo.size
    if not path.exists():
        raise InputError(f"no such file: {path}")
    if not path.is_file():  # a FIFO would be waited for
        raise InputError(f"cannot read {path} as an image: not a file")
    try:
        photo = read_photo(path)
    except Exception as error:  # Pillow raises errors of many types for a broken file
        reason = str(error) or type(error).__name__
        raise InputError(f"cannot read {path} as an image: {reason}") from None
    if min(photo.size) < MIN_SIDE:
        size = f"{photo.width} × {photo.height}"
        raise InputError(f"{path} is {size} pixels, each side must be at least {MIN_SIDE}")
    scale = MAX_SIDE / max(photo.size)
    return (ImageOps.scale(photo, scale) if scale < 1 else photo), photo.size


def read_photo(path: Path) -> Image.Image:
    """An upright RGB image with 8 bits, as `tel` reads it (tel_segmentation.data.image_files).

    Grey values of more bits, or of floating point, are scaled by their own range.
    """
    with Image.open(path) as stored:
        raw = str(stored.tile)
        stored.load()
    photo = ImageOps.exif_transpose(stored)
    if photo.mode == "F" or photo.mode.startswith("I"):  # Pillow would clip it to 8 bits
        photo = Image.fromarray(eight_bits(np.asarray(photo)))
    photo = photo.convert("RGB")
    if ";16" in raw and max(high for _, high in photo.getextrema()) < 2**6:
        raise InputError("only the lower of its 16 bits a channel are used, save it with 8 bits")
    return photo


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values as 0…255; white is the smallest usual one that no value exceeds."""
    least, most = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError("values that are infinite or not a number")
    ones = (1,) if np.issubdtype(values.dtype, np.floating) else ()
    usual = (*ones, *(2**bits - 1 for bits in (8, 10, 12, 14, 16)))
    black, white = min(0.0, least), next((float(w) for w in usual if most <= w), most)
    return ((values.astype(np.float64) - black) * (255 / (white - black))).round().astype(np.uint8)


def load_scribbles(path: Path, photo: Image.Image, full: tuple[int, int]) -> Scribbles:
    """The scribbles at ``path``, made for an image of ``full`` size, drawn at ``photo``'s size."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    except (OSError, ValueError, RecursionError):
        raise InputError(f"cannot read {path} as JSON text") from None
    try:
        return _parse(content, photo, full)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parse(content: Any, photo: Image.Image, full: tuple[int, int]) -> Scribbles:
    scale = photo.width / full[0]
    classes = _field(content, "classes", dict)
    if len(classes) < 2:
        raise InputError("'classes' must name at least two classes")
    if "size" in content and content["size"] != [full[1], full[0]]:
        raise InputError(
            f"made for an image of size {content['size']}, this one is {[full[1], full[0]]} "
            "([height, width])"
        )
    names = list(classes)
    if odd := [name for name in names if not name.isprintable()]:
        raise InputError(f"class {odd[0]!r} must have a printable name")
    drawn = _strokes(content, "scribbles", names, full)
    checks = _strokes(content, "held_out", names, full) if "held_out" in content else []
    piece, label = _draw(drawn, photo.size, scale)
    for number, name in enumerate(names):
        if not (label == number).any():
            raise InputError(f"class {name!r} has no scribble that other strokes leave visible")
    click = (full[0] // 2, full[1] // 2)
    if "click" in content:
        (click,) = _points([content["click"]], "'click'", full)
    return Scribbles(
        names=names,
        colours=torch.tensor([_colour(classes[name]) for name in names]) / 255,
        label=label,
        piece=piece,
        held_out=_draw(checks, photo.size, scale)[1].masked_fill(label >= 0, NO_LABEL),
        click=(
            min(photo.width - 1, int(click[0] * scale)),
            min(photo.height - 1, int(click[1] * scale)),
        ),
    )


@dataclass(frozen=True)
class _Stroke:
    label: int
    width: int
    points: list[tuple[float, float]]


def _strokes(content: Any, key: str, names: list[str], size: tuple[int, int]) -> list[_Stroke]:
    strokes = []
    for number, item in enumerate(_field(content, key, list), start=1):
        where = f"{key} {number}"
        name, width = _field(item, "class", str, where), item.get("width", 3)
        if name not in names:
            raise InputError(f"{where} has class {name!r}, expected one of: {', '.join(names)}")
        if type(width) is not int or not 1 <= width <= max(size):
            raise InputError(
                f"{where} has width {width!r}, expected an integer from 1 to {max(size)}"
            )
        points = _points(_field(item, "points", list, where), where, size)
        if len(points) < 2:
            raise InputError(f"{where} needs at least two points")
        strokes.append(_Stroke(names.index(name), width, points))
    return strokes


def _points(points: list[Any], where: str, size: tuple[int, int]) -> list[tuple[Any, Any]]:
    for point in points:
        if not (isinstance(point, list) and [type(v) in (int, float) for v in point] == [True] * 2):
            raise InputError(f"{where} has the point {point!r}, expected [x, y]")
        if not (0 <= point[0] < size[0] and 0 <= point[1] < size[1]):
            raise InputError(
                f"{where} has the point {point}, outside the image of {size[0]} × {size[1]} pixels"
            )
    return [(x, y) for x, y in points]


def _field(item: Any, key: str, kind: type, where: str = "the file") -> Any:
    if not isinstance(item, dict) or not isinstance(item.get(key), kind):
        raise InputError(f"{where} must have {key!r}, a JSON {_JSON_NAME[kind]}")
    return item[key]


_JSON_NAME: dict[type, str] = {dict: "object", list: "array", str: "string"}


def _colour(text: Any) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(text)[:3]
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{text!r} is not a colour, expected for instance '#4e79a7'") from None


def _draw(strokes: list[_Stroke], size: tuple[int, int], scale: float) -> tuple[Tensor, Tensor]:
    """Two maps: the number of the straight piece on each pixel, and its class."""
    canvas = Image.new("I", size, NO_LABEL)
    draw = ImageDraw.Draw(canvas)
    labels: list[int] = []
    for stroke in strokes:
        points = [(x * scale, y * scale) for x, y in stroke.points]
        for ends in itertools.pairwise(points):
            draw.line(ends, fill=len(labels), width=max(1, round(stroke.width * scale)))
            labels.append(stroke.label)
    piece = torch.from_numpy(np.array(canvas, dtype=np.int64))
    return piece, torch.tensor([*labels, NO_LABEL])[piece]  # piece −1 picks the last entry
