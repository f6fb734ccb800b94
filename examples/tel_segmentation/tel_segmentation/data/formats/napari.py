"""napari: what its layers are saved as.

A layer of labels is a label map: TIFF, PNG, npy or zarr. Points and shapes are CSV files
(https://napari.org/stable/howtos/layers/points.html), whose axes count rows first, and in which
(0, 0) is the centre of the first pixel. The file has the image's name: ``photo.tif``,
``photo-labels.tif``. A CSV file has the classes in a column ``label`` or ``class``; one that has no
such column is of one class, which its name says: ``photo.car.csv``.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

from tel_segmentation.data.formats import fields
from tel_segmentation.data.formats.label_maps import read_numbers
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Export,
    Geometry,
    LabelMap,
    Points,
    Polygon,
    Shape,
    Stroke,
)

MAPS = (".tif", ".tiff", ".npy", ".png", ".zarr")
COLUMNS = ("label", "class", "class_name", "category", "name")

Row = dict[str, str]


def read(source: Path) -> Export:
    """Reads a file, or all of a folder.

    Raises:
        ValueError: there is none, or a CSV file is not napari's.
    """
    export = Export()
    for file in _files(source):
        if file.suffix.lower() in MAPS:
            export.annotations.append(LabelMap(file.name, file, partial(read_numbers, file)))
            continue
        rows = _rows(file)
        column = _column(rows)
        image, _, only = file.stem.rpartition(".")
        if column is None and not image:
            raise ValueError(
                f"{file} must have a column {' or '.join(COLUMNS[:2])}, or be called"
                " IMAGE.CLASS.csv"
            )
        found = _shapes(rows, file) if rows and "shape-type" in rows[0] else _points(rows, file)
        shapes = [
            Shape(fields.text(row[column] if column else only, f"{file}: class"), geometry)
            for row, geometry in found
        ]
        name = file.stem if column else image
        export.annotations.append(Drawn(name, file, tuple(shapes)))
    return export


def _files(source: Path) -> list[Path]:
    if source.is_dir() and source.suffix.lower() == ".zarr":
        return [source]
    if not source.is_dir():
        return fields.files_of(source, [])
    arrays = [path for path in source.rglob("*.zarr") if path.is_dir()]
    inside = set(arrays)
    try:
        files = fields.files_of(source, [*MAPS, ".csv"])
    except ValueError:
        if not arrays:
            raise
        files = []
    return sorted([*arrays, *(file for file in files if not inside & set(file.parents))])


def _column(rows: list[Row]) -> str | None:
    """The column of the classes: of a usual name, or the only one that is not napari's own."""
    own = ("index", "shape-type", "vertex-index", "axis-0", "axis-1")
    others = [name for name in (rows[0] if rows else ()) if name not in own]
    usual = [name for name in COLUMNS if name in others]
    return usual[0] if usual else others[0] if len(others) == 1 else None


def _rows(file: Path) -> list[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            rows = list(reader)
            if not {"axis-0", "axis-1"} <= set(reader.fieldnames or ()):
                raise ValueError("no columns axis-0 and axis-1")
            if "axis-2" in (reader.fieldnames or ()):
                raise ValueError("more than two axes: save each image's layer by itself")
    except (csv.Error, ValueError, OSError) as error:
        raise ValueError(f"{file} must be a CSV file of napari, got: {error}") from error
    return rows


def _place(row: Row, where: str) -> list[float]:
    y, x = (fields.number(row[name], f"{where} {name}") for name in ("axis-0", "axis-1"))
    return [x + 0.5, y + 0.5]


def _points(rows: list[Row], file: Path) -> list[tuple[Row, Geometry]]:
    return [
        (row, Points(np.array([_place(row, f"{file}: row {number}")])))
        for number, row in enumerate(rows, 1)
    ]


def _shapes(rows: list[Row], file: Path) -> list[tuple[Row, Geometry]]:
    """Shapes have a row for each vertex; an ellipse has the corners of its box."""
    found: list[tuple[Row, Geometry]] = []
    groups: dict[str, list[tuple[int, Row]]] = {}
    for number, row in enumerate(rows, 1):
        groups.setdefault(row.get("index") or "", []).append((number, row))
    for members in groups.values():
        number, first = members[0]
        where = f"{file}: row {number}"
        listed = [_place(row, f"{file}: row {n}") for n, row in members]
        match first["shape-type"]:
            case "polygon" | "rectangle":
                found.append((first, Polygon((fields.points(listed, where, 3),))))
            case "path" | "line":
                found.append((first, Stroke(fields.points(listed, where, 2))))
            case "ellipse":
                corners = fields.points(listed, where, 4)
                center, across, down = (
                    corners[:4].mean(0),
                    (corners[1] - corners[0]) / 2,
                    (corners[3] - corners[0]) / 2,
                )
                angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)[:, None]
                ring = center + np.cos(angle) * across + np.sin(angle) * down
                found.append((first, Polygon((ring,))))
            case other:
                raise fields.wrong(f"{where} shape-type", "one of napari's", other)
    return found
