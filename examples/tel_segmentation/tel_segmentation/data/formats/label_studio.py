"""Label Studio: its JSON export, one file with all tasks.

https://labelstud.io/guide/export: of each task, ``data`` with the image's address, and
``annotations`` with a ``result`` for each region. Coordinates are in per cent of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tel_segmentation.data.formats import fields, runs
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Export,
    Geometry,
    Mask,
    Points,
    Polygon,
    Shape,
    Size,
    Stroke,
    ellipse,
    rectangle,
)
from tel_segmentation.data.image_files import IMAGE_SUFFIXES

PREFIX = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
PERCENT = 100


def read(source: Path) -> Export:
    """Reads an export, or several in a folder.

    Of the annotations of a task the last one counts that was not cancelled; predictions do not.

    Raises:
        ValueError: there is none, or one is not Label Studio's.
    """
    export = Export()
    for file in fields.files_of(source, [".json"]):
        content = fields.read_json(file)
        tasks = content if isinstance(content, list) else [content]
        for number, value in enumerate(tasks):
            where = f"{file}: task {number}"
            task = fields.table(value, where)
            if "annotations" not in task:
                raise ValueError(f"{where} must have annotations, got none: export as JSON")
            annotations = [
                fields.table(each, f"{where}.annotations")
                for each in fields.entries(task["annotations"], f"{where}.annotations")
            ]
            valid = [each for each in annotations if not each.get("was_cancelled")]
            if not valid:
                export.skipped["tasks without an annotation"] += 1
                continue
            if len(valid) > 1:
                export.skipped["annotations of a task before its last one"] += len(valid) - 1
            found = list(_shapes(valid[-1], where, export))
            size = found[0][1] if found else None
            if any(other != size for _, other in found):
                raise ValueError(f"{where} must have one size of the image, got several")
            shapes = tuple(shape for shape, _ in found)
            export.annotations.append(Drawn(_image(task, where), file, shapes, size))
    return export


def _image(task: dict[str, Any], where: str) -> str:
    """The image's file: the first address in ``data`` that ends like one."""
    for value in fields.table(task.get("data"), f"{where}.data").values():
        if isinstance(value, str):
            address = urlsplit(value)
            local = parse_qs(address.query).get("d")  # /data/local-files/?d=folder/photo.jpg
            path = local[0] if local else unquote(address.path)
            name = PurePosixPath(path)
            if name.suffix.lower() in IMAGE_SUFFIXES:
                return str(name.with_name(PREFIX.sub("", name.name)))
    raise ValueError(f"{where}.data must have the address of an image, has none")


def _shapes(
    annotation: dict[str, Any], where: str, export: Export
) -> Iterator[tuple[Shape, Size | None]]:
    results = fields.entries(annotation.get("result"), f"{where}.result")
    for number, entry in enumerate(results):
        place = f"{where}.result[{number}]"
        result = fields.table(entry, place)
        value = fields.table(result.get("value") or {}, f"{place}.value")
        labels = [key for key in value if key.endswith("labels")]
        if not labels:
            export.skipped["results without a label"] += 1
            continue
        names = fields.entries(value[labels[0]], f"{place}.{labels[0]}")
        if not names:
            export.skipped["results without a label"] += 1
            continue
        size = fields.size(result.get("original_width"), result.get("original_height"), place)
        if size is None:
            raise ValueError(f"{place} must have original_width and original_height, got none")
        if result.get("image_rotation"):
            raise ValueError(f"{place}.image_rotation must be 0: turn the image itself")
        geometry = _geometry(value, size, place)
        if geometry is None:
            export.skipped[f"results of type {str(result.get('type'))[:20]!r}"] += 1
            continue
        yield Shape(fields.text(names[0], f"{place}.{labels[0]}"), geometry), size


def _geometry(value: dict[str, Any], size: Size, where: str) -> Geometry | None:
    def of(name: str, side: int) -> float:
        return fields.number(value.get(name), f"{where}.{name}") * size[side] / PERCENT

    turn = fields.number(value.get("rotation") or 0, f"{where}.rotation")
    if "rle" in value:
        packed = fields.entries(value["rle"], f"{where}.rle")
        return Mask(0, 0, size, partial(runs.from_bits, packed, size, f"{where}.rle"))
    if "vertices" in value:
        listed = fields.entries(value["vertices"], f"{where}.vertices")
        corners = [[each.get("x"), each.get("y")] for each in listed if isinstance(each, dict)]
        points = fields.points(corners, f"{where}.vertices", 2) * size / PERCENT
        return Polygon((points,)) if value.get("closed") and len(points) > 2 else Stroke(points)
    if "points" in value:
        points = fields.points(value["points"], f"{where}.points", 3) * size / PERCENT
        return Polygon((points,))
    if "radiusX" in value:
        return ellipse(of("x", 0), of("y", 1), of("radiusX", 0), of("radiusY", 1), turn)
    if "height" in value:
        box = rectangle(0, 0, of("width", 0), of("height", 1))
        # It is turned around its first corner.
        corner, angle = np.array([of("x", 0), of("y", 1)]), np.radians(turn)
        cosine, sine = np.cos(angle), np.sin(angle)
        return Polygon((box.rings[0] @ np.array([[cosine, sine], [-sine, cosine]]) + corner,))
    if "x" in value:
        return Points(np.array([[of("x", 0), of("y", 1)]]))
    return None
