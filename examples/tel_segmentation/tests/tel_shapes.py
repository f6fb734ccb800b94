"""One drawn scene, and its pixels by brute force, for the tests of the formats."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from matplotlib.path import Path as Outline

from tel_segmentation.data.formats.draw import Brush

FORMATS = Path(__file__).parent / "fixtures" / "formats"
spec = importlib.util.spec_from_file_location("make", FORMATS / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

SIZE = make.WIDTH, make.HEIGHT
X, Y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
SKY, ROAD, CAR, NONE = 0, 1, 2, 255
CLASSES = {"sky": SKY, "road": ROAD, "car": CAR}
BRUSH = Brush(radius=1.5, width=3)


def area(corners):
    """The pixels whose centres are inside, by matplotlib."""
    centers = np.stack([X, Y], -1).reshape(-1, 2)
    return Outline(corners).contains_points(centers).reshape(X.shape)


def near(points, reach):
    """The pixels whose centres are near a point, or near a segment between two."""
    place = np.stack([X, Y], -1)
    points = np.asarray(points, float)
    marked = np.zeros(X.shape, bool)
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        along = end - start
        part = ((place - start) @ along / max(along @ along, 1e-9)).clip(0, 1)
        marked |= np.linalg.norm(place - start - part[..., None] * along, axis=-1) <= reach
    return marked


def scene(*shapes):
    label = np.full(SIZE[::-1], NONE, np.uint8)
    for marked, number in shapes:
        label[marked] = number
    return label
