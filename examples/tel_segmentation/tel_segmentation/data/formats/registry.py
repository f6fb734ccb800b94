"""The formats that ``tel import`` reads, and how a folder's format is recognised."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

from tel_segmentation.data.formats import (
    coco,
    cvat,
    datumaro,
    ilastik,
    label_maps,
    label_studio,
    labelme,
    napari,
    qupath,
)
from tel_segmentation.data.formats.shapes import Export

Format = Literal[
    "labelme", "label-studio", "cvat", "datumaro", "coco", "napari", "qupath", "ilastik", "masks"
]

READERS: dict[Format, Callable[[Path], Export]] = {
    "labelme": labelme.read,
    "label-studio": label_studio.read,
    "cvat": cvat.read,
    "datumaro": datumaro.read,
    "coco": coco.read,
    "napari": napari.read,
    "qupath": qupath.read,
    "ilastik": ilastik.read,
    "masks": label_maps.read,
}

COUNTED_FROM_1 = ("napari", "ilastik")
"""Formats in which 0 is no label and the first class is 1."""

SIGNS: tuple[tuple[Format, str, str], ...] = (
    ("ilastik", ".ilp", ""),
    ("qupath", ".geojson", ""),
    ("cvat", ".xml", "<annotations>"),
    ("labelme", ".json", '"shapes"'),
    ("label-studio", ".json", '"original_width"'),
    ("datumaro", ".json", '"items"'),
    ("coco", ".json", '"categories"'),
    ("napari", ".csv", "axis-0"),
)
"""Format, suffix, and a text that such a file has."""


def recognise(folder: Path) -> Format | None:
    """The format of the annotations in a folder, by the first file that has the signs of one.

    Label maps are not recognised: they look like photographs.
    """
    for format_, suffix, sign in SIGNS:
        files = (path for path in sorted(folder.rglob(f"*{suffix}")) if path.is_file())
        for file in islice(files, 5):
            try:
                if not sign or sign in file.read_text(encoding="utf-8", errors="replace"):
                    return format_
            except OSError:
                continue
    return None
