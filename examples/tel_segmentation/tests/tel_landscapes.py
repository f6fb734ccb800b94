"""Invented photographs of 12 megapixels with their true labels, and annotations of six tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

WIDTH, HEIGHT = 4000, 3000
CLASSES = ("sky", "field", "house")
NONE = 255
RADIUS = WIDTH / 500  # of a point, as tel import draws it
SCENE = 10  # a pixel of a scene is so many pixels of its photograph wide

Point = tuple[float, float]


class Mark(NamedTuple):
    """What was drawn: a point (one corner), a stroke (two), or a box (two opposite corners)."""

    name: str
    kind: str
    corners: tuple[Point, ...]


def scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (300, 400, 3) and label (300, 400): a house in a field, below the sky."""
    rng = np.random.default_rng(seed)
    height, width = HEIGHT // SCENE, WIDTH // SCENE
    y, x = np.mgrid[:height, :width]
    horizon = 130 + 12 * np.sin(x / rng.uniform(50, 90) + rng.uniform(0, 6)) + rng.uniform(-15, 15)
    label = np.where(y < horizon, 0, 1).astype(np.uint8)
    left, top = int(rng.integers(110, 220)), int(rng.integers(125, 150))
    label[top : top + 80, left : left + 90] = 2
    roof = (y >= top - 40) & (y < top) & (np.abs(x - left - 45) < 1.3 * (y - top + 40))
    label[roof] = 2
    clouds, grass, bricks = (
        ndimage.gaussian_filter(rng.normal(size=label.shape), sigma)
        for sigma in ((8, 22), (2, 1), (0.6, 3))
    )
    image = np.empty((*label.shape, 3))
    image[:] = [120, 160, 215] - 0.25 * y[..., None]
    image += np.clip(1500 * clouds, 0, 70)[..., None]
    image[label == 1] = [86, 128, 60] + (90 * grass[..., None] * [1, 1, 0.6])[label == 1]
    image[label == 2] = [168, 110, 84] + (70 * bricks[..., None] * [1, 1, 1])[label == 2]
    image[roof] *= 0.7
    for across in (12, 54):  # two windows
        image[top + 22 : top + 46, left + across : left + across + 24] = [60, 66, 84]
    image += rng.normal(scale=3, size=image.shape)
    return image.clip(0, 255).astype(np.uint8), label


def photograph(file: Path, seed: int) -> None:
    """Writes a photograph; ``truth`` has its label."""
    file.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(scene(seed)[0])
    small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR).save(file, quality=85)


def truth(seed: int) -> NDArray[np.uint8]:
    """The label of a photograph, in its size."""
    return np.kron(scene(seed)[1], np.ones((SCENE, SCENE), np.uint8))


def marks(seed: int, kinds: tuple[str, str, str] = ("point", "stroke", "box")) -> list[Mark]:
    """What a person draws on a photograph: in each class something of the given kind."""
    label = scene(seed)[1]
    rng = np.random.default_rng([seed, 1])
    drawn = []
    for number, (name, kind) in enumerate(zip(CLASSES, kinds, strict=True)):
        inside = ndimage.binary_erosion(label == number, np.ones((15, 15)))
        y, x = (SCENE * int(each) for each in rng.choice(np.argwhere(inside)))
        ends: tuple[Point, ...] = ((x, y),)
        if kind == "stroke":
            ends = ((x - 50, y + 0.25), (x + 60, y + 0.25))  # no pixel's centre is on its outline
        elif kind == "box":
            ends = ((x - 40, y - 30), (x + 50, y + 40))
        drawn.append(Mark(name, kind, ends))
    return drawn


def label_of(drawn: list[Mark], classes: tuple[str, ...] = CLASSES) -> NDArray[np.uint8]:
    """The label of these marks, by the distance of every pixel's centre from them."""
    label = np.full((HEIGHT, WIDTH), NONE, np.uint8)
    for name, kind, corners in drawn:
        (left, top), (right, bottom) = np.min(corners, 0), np.max(corners, 0)
        reach = 0 if kind == "box" else 2 * RADIUS
        rows = np.arange(max(0, int(top - reach)), min(HEIGHT, int(bottom + reach)))
        columns = np.arange(max(0, int(left - reach)), min(WIDTH, int(right + reach)))
        part = np.ix_(rows, columns)
        y, x = rows[:, None] + 0.5, columns[None] + 0.5
        away = np.hypot(
            np.maximum(0, np.maximum(left - x, x - right)),
            np.maximum(0, np.maximum(top - y, y - bottom)),
        )
        thickness = {"point": RADIUS, "stroke": RADIUS + 0.5, "box": 0}[kind]
        label[part] = np.where(away <= thickness, classes.index(name), label[part])
    return label


def _ring(mark: Mark) -> list[list[float]]:
    (left, top), (right, bottom) = mark.corners
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def labelme(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """A file of labelme beside each photograph."""
    kinds = {"point": "point", "stroke": "line", "box": "rectangle"}
    for name, drawn in photographs.items():
        shapes = [
            {"label": mark.name, "shape_type": kinds[mark.kind], "points": mark.corners}
            for mark in drawn
        ]
        content = {
            "shapes": shapes, "imagePath": name, "imageWidth": WIDTH, "imageHeight": HEIGHT,
        }  # fmt: skip
        (folder / name).with_suffix(".json").write_text(json.dumps(content))
    return folder


def cvat(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """CVAT for images 1.1."""
    lines = ["<annotations><version>1.1</version>"]
    for number, (name, drawn) in enumerate(photographs.items()):
        lines.append(f'<image id="{number}" name="{name}" width="{WIDTH}" height="{HEIGHT}">')
        for mark in drawn:
            points = ";".join(f"{x},{y}" for x, y in mark.corners)
            if mark.kind == "box":
                (left, top), (right, bottom) = mark.corners
                place = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
            else:
                place = f'points="{points}"'
            tag = {"point": "points", "stroke": "polyline", "box": "box"}[mark.kind]
            lines.append(f'<{tag} label="{mark.name}" {place} z_order="0"></{tag}>')
        lines.append("</image>")
    file = folder / "annotations.xml"
    file.write_text("\n".join([*lines, "</annotations>"]))
    return file


def label_studio(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """Label Studio's JSON export, in percent of the sides; it has no strokes of two points."""
    tasks = []
    for name, drawn in photographs.items():
        results = []
        for mark in drawn:
            (left, top), (right, bottom) = np.min(mark.corners, 0), np.max(mark.corners, 0)
            value = {"x": 100 * left / WIDTH, "y": 100 * top / HEIGHT}
            kind = "keypointlabels" if mark.kind == "point" else "rectanglelabels"
            if mark.kind == "box":
                value |= {
                    "width": 100 * (right - left) / WIDTH,
                    "height": 100 * (bottom - top) / HEIGHT,
                    "rotation": 0,
                }
            results.append({
                "type": kind, "value": {**value, kind: [mark.name]},
                "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
            })  # fmt: skip
        tasks.append({
            "data": {"image": f"/data/upload/1/0123abcd-{name}"},
            "annotations": [{"result": results}],
        })  # fmt: skip
    file = folder / "project.json"
    file.write_text(json.dumps(tasks))
    return file


def coco(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """COCO's JSON: boxes as polygons, points as key points."""
    images, annotations = [], []
    for number, (name, drawn) in enumerate(photographs.items()):
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for mark in drawn:
            shape = {"segmentation": [np.ravel(_ring(mark)).tolist()]} if mark.kind == "box" else {
                "keypoints": [*mark.corners[0], 2], "num_keypoints": 1,
            }  # fmt: skip
            category = CLASSES.index(mark.name) + 1
            annotations.append({
                "id": len(annotations), "image_id": number, "category_id": category, "iscrowd": 0,
                **shape,
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    file = folder / "instances.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
    return file


def qupath(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """QuPath's GeoJSON, a file for each photograph."""
    for name, drawn in photographs.items():
        features = []
        for mark in drawn:
            geometry = {
                "point": lambda m: ("Point", m.corners[0]),
                "stroke": lambda m: ("LineString", m.corners),
                "box": lambda m: ("Polygon", [[*_ring(m), _ring(m)[0]]]),
            }[mark.kind](mark)
            features.append({
                "type": "Feature",
                "geometry": dict(zip(("type", "coordinates"), geometry, strict=True)),
                "properties": {
                    "objectType": "annotation", "classification": {"name": mark.name},
                },
            })  # fmt: skip
        content = {"type": "FeatureCollection", "features": features}
        (folder / f"{name}.geojson").write_text(json.dumps(content))
    return folder


def masks(folder: Path, photographs: dict[str, list[Mark]]) -> Path:
    """PNG files in which 0 is no label, and the first class has the number 1."""
    (folder / "masks").mkdir()
    for name, drawn in photographs.items():
        label = label_of(drawn)
        numbers = np.where(label == NONE, 0, label + 1).astype(np.uint8)
        Image.fromarray(numbers).save((folder / "masks" / name).with_suffix(".png"))
    return folder / "masks"


WRITERS: dict[str, Callable[[Path, dict[str, list[Mark]]], Path]] = {
    "labelme": labelme,
    "cvat": cvat,
    "label-studio": label_studio,
    "coco": coco,
    "qupath": qupath,
    "masks": masks,
}
