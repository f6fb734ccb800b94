"""Photographs with annotations of labelme, for the tests of tel import and tel init."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tel_folders import write_image

from tel_segmentation import cli

SIZE = 60, 40
SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def tel(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def labelme(file: Path, *shapes, size=SIZE, image: str | None = None) -> None:
    """A file of labelme; a shape is (class, points) or (class, points, type)."""
    listed = [
        {"label": shape[0], "points": shape[1], "shape_type": (*shape, "polygon")[2]}
        for shape in shapes
    ]
    content = {
        "shapes": listed,
        "imagePath": image or f"{file.stem}.jpg",
        "imageWidth": size[0],
        "imageHeight": size[1],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def annotated(folder: Path) -> Path:
    """Ten photographs, of which eight are annotated."""
    for number in range(10):
        write_image(folder / f"p{number}.jpg", SIZE[1], SIZE[0], number)
        if number < 8:
            car = ("car", [[30, 5 + number]], "point")
            labelme(folder / f"p{number}.json", ("sky", SQUARE), car)
    return folder


def label(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))
