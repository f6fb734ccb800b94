"""Datumaro: a JSON file for each subset, which CVAT writes, too.

https://docs.cvat.ai/docs/dataset_management/formats/format-datumaro: ``categories`` and ``items``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tel_segmentation.data.formats import fields
from tel_segmentation.data.formats.coco import segmentation
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Export,
    Geometry,
    Points,
    Polygon,
    Shape,
    Size,
    Stroke,
    ellipse,
    rectangle,
)


def read(source: Path) -> Export:
    """Reads a file, or all of a folder; shapes are drawn in the order of their ``z_order``.

    Raises:
        ValueError: there is none, or one is not Datumaro's.
    """
    export = Export()
    for file, content in fields.json_tables(source, "items", "Datumaro", export.skipped):
        names = _names(content, file)
        export.names = tuple(dict.fromkeys((*export.names, *names)))
        for number, value in enumerate(fields.entries(content.get("items"), f"{file}: items")):
            where = f"{file}: items[{number}]"
            item = fields.table(value, where)
            name, size = _image(item, where)
            found = []
            listed = fields.entries(item.get("annotations"), f"{where}.annotations")
            for place, each in enumerate(listed):
                spot = f"{where}.annotations[{place}]"
                annotation = fields.table(each, spot)
                geometry = _geometry(annotation, size, spot)
                if geometry is None:
                    kind = str(annotation.get("type"))[:20]
                    export.skipped[f"annotations of type {kind!r}"] += 1
                    continue
                label = fields.whole(annotation.get("label_id"), f"{spot}.label_id")
                if label >= len(names):
                    raise ValueError(f"{spot}.label_id must be below {len(names)}, got {label}")
                order = fields.number(annotation.get("z_order") or 0, f"{spot}.z_order")
                found.append((order, Shape(names[label], geometry)))
            shapes = tuple(shape for _, shape in sorted(found, key=lambda pair: pair[0]))
            export.annotations.append(Drawn(name, file, shapes, size))
    return export


def _names(content: dict[str, Any], file: Path) -> list[str]:
    categories = fields.table(content.get("categories"), f"{file}: categories")
    label = fields.table(categories.get("label") or {}, f"{file}: categories.label")
    listed = fields.entries(label.get("labels") or [], f"{file}: categories.label.labels")
    return [
        fields.text(fields.table(each, str(file)).get("name"), f"{file}: a label's name")
        for each in listed
    ]


def _image(item: dict[str, Any], where: str) -> tuple[str, Size | None]:
    image = fields.table(item.get("image") or item.get("media") or {}, f"{where}.image")
    name = fields.text(image.get("path") or item.get("id"), f"{where}.id")
    size = image.get("size")
    if not size:
        return name, None
    sides = fields.entries(size, f"{where}.image.size")
    if len(sides) != 2:
        raise fields.wrong(f"{where}.image.size", "[height, width]", sides)
    return name, fields.size(sides[1], sides[0], where)


def _geometry(annotation: dict[str, Any], size: Size | None, where: str) -> Geometry | None:
    points = annotation.get("points")
    match annotation.get("type"):
        case "polygon":
            return Polygon((fields.points(points, f"{where}.points", 3),))
        case "polyline":
            return Stroke(fields.points(points, f"{where}.points"))
        case "points":
            found = fields.points(points, f"{where}.points")
            absent = annotation.get("visibility") or []  # 0: the point is not in the image
            shown = [i for i in range(len(found)) if i >= len(absent) or absent[i]]
            return Points(found[shown]) if shown else None
        case "ellipse":
            (left, top), (right, bottom) = fields.points(points, f"{where}.points", 2)[:2]
            radii = (right - left) / 2, (bottom - top) / 2
            return ellipse((left + right) / 2, (top + bottom) / 2, *radii)
        case "bbox":
            x, y, width, height = fields.points(annotation.get("bbox"), f"{where}.bbox", 2).flat[:4]
            attributes = annotation.get("attributes")
            turn = attributes.get("rotation") if isinstance(attributes, dict) else 0
            turned = fields.number(turn or 0, f"{where}.attributes.rotation")
            return rectangle(x, y, x + width, y + height, turned)
        case "mask":
            return segmentation(fields.table(annotation.get("rle"), where), size, f"{where}.rle")
    return None
