"""QuPath: a GeoJSON file for each image, with the objects and their classifications.

https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. The file has the
image's name, as ``photo.geojson`` or ``photo.jpg.geojson``; QuPath writes no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tel_segmentation.data.formats import fields
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Export,
    Geometry,
    Points,
    Polygon,
    Shape,
    Stroke,
)


def read(source: Path) -> Export:
    """Reads a file, or all of a folder.

    Raises:
        ValueError: there is none, or one is not GeoJSON.
    """
    export = Export()
    for file in fields.files_of(source, [".geojson", ".json"]):
        content = fields.read_json(file)
        if isinstance(content, dict) and content.get("type") == "FeatureCollection":
            content = content.get("features")
        elif isinstance(content, dict):
            content = [content]
        shapes = []
        for number, value in enumerate(fields.entries(content, f"{file}: features")):
            where = f"{file}: features[{number}]"
            feature = fields.table(value, where)
            if feature.get("type") != "Feature":
                raise fields.wrong(f"{where}.type", "'Feature'", feature.get("type"))
            label = _label(feature, where)
            if label is None:
                export.skipped["objects without a classification"] += 1
                continue
            parts = _parts(feature.get("geometry"), f"{where}.geometry")
            if not parts:
                export.skipped["geometries of another type"] += 1
            shapes += [Shape(label, part) for part in parts]
        export.annotations.append(Drawn(file.stem, file, tuple(shapes)))
    return export


def _label(feature: dict[str, Any], where: str) -> str | None:
    """The class's name; a derived class, which has several names, is joined as QuPath shows it."""
    properties = fields.table(feature.get("properties") or {}, f"{where}.properties")
    found = properties.get("classification")
    if not found:
        return None
    if isinstance(found, str):
        return fields.text(found, f"{where}.classification")
    classification = fields.table(found, f"{where}.classification")
    if names := classification.get("names"):
        listed = fields.entries(names, f"{where}.classification.names")
        return ": ".join(fields.text(name, f"{where}.classification.names") for name in listed)
    return fields.text(classification.get("name"), f"{where}.classification.name")


def _parts(value: Any, where: str) -> list[Geometry]:
    geometry = fields.table(value, where)
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    spot = f"{where}.coordinates"

    def polygon(rings: Any) -> Polygon:
        listed = fields.entries(rings, spot)
        if not listed:
            raise fields.wrong(spot, "rings", rings)
        return Polygon(tuple(fields.points(ring, spot, 3) for ring in listed))

    match kind:
        case "Polygon":
            return [polygon(coordinates)]
        case "MultiPolygon":
            return [polygon(rings) for rings in fields.entries(coordinates, spot)]
        case "LineString":
            return [Stroke(fields.points(coordinates, spot, 2))]
        case "MultiLineString":
            lines = fields.entries(coordinates, spot)
            return [Stroke(fields.points(line, spot, 2)) for line in lines]
        case "Point" | "MultiPoint":
            return [Points(fields.points(coordinates, spot))]
        case "GeometryCollection":
            listed = fields.entries(geometry.get("geometries"), where)
            return [part for each in listed for part in _parts(each, where)]
    return []
