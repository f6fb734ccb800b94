"""How shapes of every kind become pixels, and run lengths that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tel_shapes import BRUSH, CAR, CLASSES, ROAD, SIZE, SKY, X, Y, area

from tel_segmentation.data.formats import runs
from tel_segmentation.data.formats.draw import Brush, draw
from tel_segmentation.data.formats.shapes import (
    Drawn,
    Mask,
    Points,
    Polygon,
    Shape,
    Stroke,
    ellipse,
    rectangle,
)


def shapes_of(*geometries, size=SIZE):
    listed = tuple(Shape("car", geometry) for geometry in geometries)
    return Drawn("photo.png", Path("photo.json"), listed, size)


@pytest.mark.parametrize("seed", range(8))
def test_polygons_against_matplotlib(seed):
    corners = np.random.default_rng(seed).uniform(-20, 80, (int(seed) + 3, 2))
    result = draw(shapes_of(Polygon((corners,))), CLASSES, SIZE, BRUSH)
    # matplotlib counts windings, which differ from parity where the outline crosses itself
    if seed < 1:
        assert ((result.label == CAR) == area(corners)).all()
    crossings = np.zeros(X.shape, int)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        crosses = (y0 > Y) != (y1 > Y)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossings += crosses & ((x1 - x0) * (Y - y0) / (y1 - y0) + x0 > X)
    assert ((result.label == CAR) == (crossings % 2 == 1)).all()


@pytest.mark.parametrize(
    "geometry",
    [
        Polygon((np.array([[10.6, 5.6], [10.9, 5.6], [10.8, 5.9]]),)),
        Points(np.array([[10.9, 5.9]])),
        Stroke(np.array([[10.9, 5.9], [10.95, 5.95]])),
        Mask(10, 5, (1, 1), lambda: np.full((1, 1), True)),
        rectangle(10.7, 5.7, 10.8, 5.8),
        ellipse(10.8, 5.8, 0.1, 0.1),
    ],
)
def test_no_object_vanishes(geometry):
    result = draw(shapes_of(geometry), CLASSES, SIZE, Brush(0.1, 0.1))
    assert np.argwhere(result.label == CAR).tolist() == [[5, 10]]
    half = draw(shapes_of(geometry), CLASSES, (SIZE[0] // 8, SIZE[1] // 8), Brush(0.1, 0.1))
    assert np.argwhere(half.label == CAR).tolist() == [[0, 1]]
    assert result[1:] == (0, 0, 0)


def test_what_happened_is_counted():
    first = Shape("sky", rectangle(0, 0, 10, 10))
    small = Shape("sky", rectangle(20, 0, 22, 2))
    outside = Shape("sky", rectangle(-20, -20, -10, -10))
    over = Shape("road", rectangle(5, 0, 30, 10))
    shapes = (first, small, outside, over, Shape("tree", rectangle(0, 0, 9, 9)))
    result = draw(Drawn("a", Path("a"), shapes, SIZE), CLASSES, SIZE, BRUSH)
    assert result[1:] == (50 + 4, 1, 1)
    assert (result.label[:10, 5:30] == ROAD).all()
    assert (result.label[:10, :5] == SKY).all()


def test_shapes_are_scaled_to_another_size():
    parts = (rectangle(10, 5, 20, 15), Mask(30, 10, (4, 6), lambda: np.full((6, 4), True)))
    double = draw(shapes_of(*parts), CLASSES, (SIZE[0] * 2, SIZE[1] * 2), BRUSH).label
    single = draw(shapes_of(*parts), CLASSES, SIZE, BRUSH).label
    assert (double == np.kron(single, np.ones((2, 2), np.uint8))).all()


def test_default_thickness_follows_the_image():
    assert Brush().for_size((4000, 3000)) == (8, 17)
    assert Brush().for_size((60, 40)) == (1, 3)
    assert Brush(radius=2).for_size((60, 40)) == (2, 5)


HOSTILE = {
    "compressed, of another size": (lambda: runs.from_text("0" * 50, (6, 4), "a"), "counts for"),
    "compressed, endless number": (lambda: runs.from_text("o" * 5000, (6, 4), "a"), "counts|run"),
    "counts of another size": (lambda: runs.from_counts([3, 4], (6, 4), True, "a"), "24|6 × 4"),
    "negative count": (lambda: runs.from_counts([30, -6], (6, 4), True, "a"), "counts"),
    "huge counts": (lambda: runs.from_counts([10**30], (6, 4), True, "a"), "counts"),
    "words": (lambda: runs.from_counts(["a"], (6, 4), True, "a"), "counts"),
    "bits of 4 GB": (lambda: runs.from_bits([255] * 20, (6, 4), "a"), "got 4294967295"),
    "bits that end": (lambda: runs.from_bits([0, 0, 0, 96], (6, 4), "a"), "end"),
    "no bytes": (lambda: runs.from_bits([300], (6, 4), "a"), "bytes"),
}


@pytest.mark.parametrize(("call", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_run_lengths_that_lie(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_run_lengths_of_extreme_masks():
    full = np.full((3, 5), True)
    for mask in (full, ~full):
        counts = [0, 15] if mask.any() else [15]
        assert (runs.from_counts(counts, (5, 3), True, "a") == mask).all()
