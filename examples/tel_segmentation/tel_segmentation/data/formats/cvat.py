"""CVAT: the XML file of "CVAT for images" or "CVAT for video".

https://docs.cvat.ai/docs/manual/advanced/xml_format: elements of an ``image`` or of a ``track``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

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


def read(source: Path) -> Export:
    """Reads a file, or all of a folder.

    Shapes are drawn in the order of their ``z_order``. The frames of a video are called
    frame_000000 and so on, as CVAT names them when it writes them.

    Raises:
        ValueError: there is none, or one is not CVAT's.
    """
    export = Export()
    for file in fields.files_of(source, [".xml"]):
        root = _parse(file)
        names = [label.findtext("name", "") for label in root.iterfind("meta//labels/label")]
        export.names = tuple(dict.fromkeys((*export.names, *filter(None, names))))
        for image in root.iterfind("image"):
            name = fields.text(image.get("name"), f"{file}: the name of an image")
            where = f"{file}: image {name}"
            size = fields.size(image.get("width"), image.get("height"), where)
            listed = [found for each in image if (found := _shape(each, None, where, export))]
            export.annotations.append(Drawn(name, file, _in_order(listed), size))
        export.annotations += _frames(root, file, export)
    return export


def _parse(file: Path) -> Element:
    try:
        text = file.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:  # which could unpack to any length
            raise ValueError("a document type")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{file} must be an XML file of CVAT, got: {error}") from error
    if root.tag != "annotations":
        raise ValueError(f"{file} must have annotations of CVAT, got <{root.tag[:30]}>")
    return root


def _frames(root: Element, file: Path, export: Export) -> Iterator[Drawn]:
    """The frames of a video, with the shapes of its tracks that are visible in them."""
    frames: dict[int, list[tuple[int, Shape]]] = {}
    for track in root.iterfind("track"):
        for each in track:
            if each.get("outside") == "1":
                continue
            where = f"{file}: track {track.get('id')}"
            if found := _shape(each, track.get("label"), where, export):
                frame = fields.whole(each.get("frame"), f"{where} frame")
                frames.setdefault(frame, []).append(found)
    width, height = (root.findtext(f"meta//original_size/{name}") for name in ("width", "height"))
    size = fields.size(width, height, f"{file}: original_size")
    for frame, shapes in sorted(frames.items()):
        yield Drawn(f"frame_{frame:06d}.png", file, _in_order(shapes), size)


def _in_order(shapes: list[tuple[int, Shape]]) -> tuple[Shape, ...]:
    return tuple(shape for _, shape in sorted(shapes, key=lambda pair: pair[0]))


def _shape(
    element: Element, label: str | None, where: str, export: Export
) -> tuple[int, Shape] | None:
    """The shape of an element with its ``z_order``; None if it is of a kind that is not drawn."""
    where = f"{where}, {element.tag}"
    geometry = _geometry(element, where)
    if geometry is None:
        if element.tag != "tag":
            export.skipped[f"shapes of type {element.tag[:20]!r}"] += 1
        return None
    name = fields.text(label or element.get("label"), f"{where} label")
    order = fields.number(element.get("z_order") or 0, f"{where} z_order")
    return int(order), Shape(name, geometry)


def _geometry(element: Element, where: str) -> Geometry | None:
    def of(name: str) -> float:
        return fields.number(element.get(name), f"{where} {name}")

    turn = fields.number(element.get("rotation") or 0, f"{where} rotation")
    points = element.get("points") or ""
    match element.tag:
        case "polygon":
            return Polygon((fields.pairs(points, where, 3),))
        case "polyline":
            return Stroke(fields.pairs(points, where))
        case "points":
            return Points(fields.pairs(points, where))
        case "box":
            return rectangle(of("xtl"), of("ytl"), of("xbr"), of("ybr"), turn)
        case "ellipse":
            return ellipse(of("cx"), of("cy"), of("rx"), of("ry"), turn)
        case "mask":
            return _mask(element, where)
    return None


def _mask(element: Element, where: str) -> Mask:
    left, top, width, height = (
        fields.whole(element.get(name), f"{where} {name}")
        for name in ("left", "top", "width", "height")
    )
    try:
        counts = [int(count) for count in (element.get("rle") or "").split(",")]
    except ValueError as error:
        raise ValueError(f"{where} must have an rle of whole numbers, got: {error}") from error
    size: Size = width, height
    return Mask(left, top, size, partial(runs.from_counts, counts, size, False, where))
