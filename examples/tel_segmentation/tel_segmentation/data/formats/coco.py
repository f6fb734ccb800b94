"""COCO: a JSON file with ``images``, ``categories`` and ``annotations``.

https://cocodataset.org/#format-data: an annotation has a ``segmentation``, as polygons or as run
lengths, or ``keypoints``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

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
)


def read(source: Path) -> Export:
    """Reads a file, or all of a folder.

    A box is where an object is, not which pixels it has: annotations that have nothing else are
    left out. Keypoints count if there is no segmentation, and if they are labelled (v > 0).

    Raises:
        ValueError: there is none, or one is not COCO's.
    """
    export = Export()
    for file, content in fields.json_tables(source, "images", "COCO", export.skipped):
        categories = _by_id(content, "categories", file)
        names = {
            key: fields.text(each.get("name"), f"{file}: category {key}")
            for key, each in categories.items()
        }
        export.names = tuple(dict.fromkeys((*export.names, *names.values())))
        images = _by_id(content, "images", file)
        shapes: dict[Any, list[Shape]] = {key: [] for key in images}
        for number, value in enumerate(fields.entries(content.get("annotations"), str(file))):
            where = f"{file}: annotations[{number}]"
            annotation = fields.table(value, where)
            image, category = _key(annotation.get("image_id")), _key(annotation.get("category_id"))
            if image not in images or category not in names:
                raise ValueError(f"{where} must have an image_id and a category_id that exist")
            parts = _parts(annotation, _size(images[image], str(file)), where)
            if not parts:
                export.skipped["annotations without segmentation or keypoints"] += 1
            shapes[image] += [Shape(names[category], part) for part in parts]
        for key, image_entry in images.items():
            name = fields.text(image_entry.get("file_name"), f"{file}: file_name of image {key}")
            size = _size(image_entry, f"{file}: image {key}")
            export.annotations.append(Drawn(name, file, tuple(shapes[key]), size))
    return export


def segmentation(value: dict[str, Any], size: Size | None, where: str) -> Mask:
    """A mask from run lengths: ``size`` [height, width] and ``counts``, a list or compressed text.

    Raises:
        ValueError: it is not such a table, or its size is not that of the image.
    """
    sides = fields.entries(value.get("size"), f"{where}.size")
    if len(sides) != 2:
        raise fields.wrong(f"{where}.size", "[height, width]", sides)
    own = fields.size(sides[1], sides[0], where)
    assert own is not None
    if size is not None and own != size:
        raise ValueError(
            f"{where}.size must be that of the image, {size[0]} × {size[1]}, got"
            f" {own[0]} × {own[1]}"
        )
    counts = value.get("counts")
    if isinstance(counts, str):
        return Mask(0, 0, own, partial(runs.from_text, counts, own, where))
    listed = fields.entries(counts, f"{where}.counts")
    return Mask(0, 0, own, partial(runs.from_counts, listed, own, True, where))


def _parts(annotation: dict[str, Any], size: Size | None, where: str) -> list[Geometry]:
    """The parts of one object: where polygons overlap, there is no hole."""
    found = annotation.get("segmentation")
    if isinstance(found, dict):
        return [segmentation(found, size, f"{where}.segmentation")]
    if found:
        rings = fields.entries(found, f"{where}.segmentation")
        rings = rings if isinstance(rings[0], list) else [rings]
        return [Polygon((fields.points(ring, f"{where}.segmentation", 3),)) for ring in rings]
    if keypoints := annotation.get("keypoints"):
        listed = fields.entries(keypoints, f"{where}.keypoints")
        pairs = [listed[i : i + 2] for i in range(0, len(listed) - 2, 3) if listed[i + 2]]
        return [Points(fields.points(pairs, f"{where}.keypoints"))] if pairs else []
    return []


def _size(image: dict[str, Any], where: str) -> Size | None:
    return fields.size(image.get("width"), image.get("height"), where)


def _key(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else None


def _by_id(content: dict[str, Any], name: str, file: Path) -> dict[Any, dict[str, Any]]:
    found = {}
    for number, value in enumerate(fields.entries(content.get(name), f"{file}: {name}")):
        entry = fields.table(value, f"{file}: {name}[{number}]")
        key = _key(entry.get("id"))
        if key is None or key in found:
            raise ValueError(f"{file}: {name}[{number}] must have an id of its own")
        found[key] = entry
    return found
