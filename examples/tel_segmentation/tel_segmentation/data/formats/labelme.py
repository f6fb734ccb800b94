"""labelme: a JSON file beside each image.

https://github.com/wkentaro/labelme: ``shapes`` with ``label``, ``points`` and ``shape_type``.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.data.formats import fields
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Export,
    Geometry,
    Mask,
    Points,
    Polygon,
    Shape,
    Stroke,
    ellipse,
    rectangle,
)


def read(source: Path) -> Export:
    """Reads a file or all files of a folder.

    Raises:
        ValueError: there is none, or one is not labelme's; the message names the file and field.
    """
    export = Export()
    for file, content in fields.json_tables(source, "shapes", "labelme", export.skipped):
        size = fields.size(content.get("imageWidth"), content.get("imageHeight"), str(file))
        shapes = []
        for number, value in enumerate(fields.entries(content.get("shapes"), f"{file}: shapes")):
            where = f"{file}: shapes[{number}]"
            shape = fields.table(value, where)
            kind = shape.get("shape_type") or "polygon"
            geometry = _geometry(str(kind), shape, where)
            if geometry is None:
                export.skipped[f"shapes of type {str(kind)[:20]!r}"] += 1
                continue
            shapes.append(Shape(fields.text(shape.get("label"), f"{where}.label"), geometry))
        image = content.get("imagePath") or file.with_suffix(".jpg").name
        image = fields.text(image, f"{file}: imagePath")
        export.annotations.append(Drawn(image, file, tuple(shapes), size))
    return export


def _geometry(kind: str, shape: dict[str, Any], where: str) -> Geometry | None:
    least = {"point": 1, "points": 1, "polygon": 3, "oriented_rectangle": 4}.get(kind, 2)
    kinds = ("polygon", "oriented_rectangle", "rectangle", "circle", "line", "linestrip")
    if kind not in (*kinds, "point", "points", "mask"):
        return None
    points = fields.points(shape.get("points"), f"{where}.points", least)
    match kind:
        case "polygon" | "oriented_rectangle":
            return Polygon((points,))
        case "rectangle":
            return rectangle(*points.min(0), *points.max(0))
        case "circle":
            radius = math.dist(points[0], points[1])
            return ellipse(points[0, 0], points[0, 1], radius, radius)
        case "line" | "linestrip":
            return Stroke(points)
        case "mask":
            # The corners are pixels of the mask, both included.
            (left, top), (right, bottom) = (np.round(p).astype(int).tolist() for p in points[:2])
            size = max(0, right - left + 1), max(0, bottom - top + 1)
            packed = fields.text(shape.get("mask"), f"{where}.mask")
            return Mask(left, top, size, partial(_picture, packed, size, f"{where}.mask"))
    return Points(points)


def _picture(packed: str, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """A mask from a PNG file in base64."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(packed, validate=True)), "r", ["PNG"]) as image:
            if image.size != size:
                raise ValueError(f"{image.size[0]} × {image.size[1]} pixels")
            return np.asarray(image.convert("L" if image.mode != "1" else "1")) > 0
    except (binascii.Error, ValueError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} must be a PNG of {size[0]} × {size[1]} ({error})") from error
