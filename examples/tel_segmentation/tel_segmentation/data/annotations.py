"""Sparse annotations generated from dense labels: points and scribbles (see also ``blocks``).

A label map is (H, W) integers, 0 to 254 a class and 255 void (no class). An annotation is (H, W)
uint8, 255 where a pixel is unlabelled; void is never labelled.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.regions import (
    VOID,
    Labels,
    Mask,
    Region,
    check_label,
    objects,
)

POINT = 3  # diameter of a point, in pixels
SMALLEST = 12  # number of pixels that an object's largest component must have to be annotated
LABELLED = 0.03  # fraction of an image that scribbles label
INSIDE = 2.0  # pixels from a scribble's centre line to the component's edge, where it is that thick
TURN = 0.15  # standard deviation of a scribble's change of direction per pixel, in radians
LOOK_AHEAD = (4.0, 2.0, 1.0)  # distances at which pixels ahead must be free too, tried in order
# Deviations from the heading, tried in order; with more than π/2 the stroke would turn back.
SWERVES = tuple(sign * 0.2 * k for k in range(9) for sign in (1, -1))[1:]

Place = tuple[float, float]  # y, x


def points(label: Labels, instances: Labels | None, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One point for every object, as an annotator would click: well inside its largest component.

    The pixel is drawn at random from those at least half as far from the outside as the farthest
    one. It is marked by a disc with a diameter of 3 pixels, clipped to the component. Objects
    without a connected component of at least 12 pixels are left out.

    Args:
        label: (H, W) classes, 255 void.
        instances: (H, W), one number per object; negative: no object, so no point. By default every
            connected component of a class is an object.
        rng: the source of randomness.

    Returns:
        (H, W) uint8, 255 unlabelled.

    Raises:
        TypeError, ValueError: the maps are not as described.
    """
    check_label("points", label, instances)
    marked = np.full(label.shape, VOID, np.uint8)
    for region in objects(label, instances, SMALLEST):
        _mark(marked, region, [_pick(region.depth >= region.depth.max() / 2, rng)], POINT)
    return marked


def scribbles(
    label: Labels, instances: Labels | None, rng: np.random.Generator, width: int = 3
) -> NDArray[np.uint8]:
    """One stroke along every object; together they label about 3 % of the image.

    A stroke bends smoothly through the object's largest component. It stays 2 pixels away from the
    component's edge where the component is thick enough, and never leaves it. Its length is
    proportional to the square root of the component's area; the shortest stroke is one dot of the
    brush. Objects without a connected component of at least 12 pixels are left out.

    Args:
        label: (H, W) classes, 255 void.
        instances: (H, W), as for ``points``.
        rng: the source of randomness.
        width: width of the strokes, in pixels.

    Returns:
        (H, W) uint8, 255 unlabelled.

    Raises:
        TypeError, ValueError: the maps are not as described, or the width is below 1.
    """
    check_label("scribbles", label, instances)
    if width < 1:
        raise ValueError(f"scribbles: width must be at least 1, got {width}")
    marked = np.full(label.shape, VOID, np.uint8)
    regions = objects(label, instances, SMALLEST)
    root = [math.sqrt(np.count_nonzero(region.inside)) for region in regions]
    budget = LABELLED * np.count_nonzero(label != VOID)
    for region, share in zip(regions, root, strict=True):
        length = budget * share / sum(root) / width - (width - 1)  # the brush is round at the ends
        _mark(marked, region, _wander(region.depth, length, rng), width)
    return marked


def _pick(allowed: Mask, rng: np.random.Generator) -> Place:
    """A random pixel of the allowed ones."""
    y, x = np.nonzero(allowed)
    chosen = rng.integers(len(y))
    return float(y[chosen]), float(x[chosen])


def _wander(deep: NDArray[np.float64], length: float, rng: np.random.Generator) -> list[Place]:
    """A path of that length, if there is room; it starts at a random pixel.

    It goes in a random direction as far as it can, and then from the start in the opposite one.
    """
    free = deep >= min(INSIDE, deep.max())
    if np.count_nonzero(free) < length:
        free = deep > 0
    path = [_pick(free, rng)]
    start = rng.uniform(-math.pi, math.pi)
    for heading in (start, start + math.pi):
        place = path[0]
        while len(path) < length:
            step = _step(free, place, heading + TURN * rng.standard_normal())
            if step is None:
                break
            place, heading = step
            path.append(place)
    return path


def _step(free: Mask, place: Place, heading: float) -> tuple[Place, float] | None:
    """The next position, one pixel ahead, and the new heading; None if no free pixel is ahead.

    The step is as straight as possible; steps with more room ahead are preferred.
    """
    height, width = free.shape
    for ahead in LOOK_AHEAD:
        for swerve in SWERVES:
            dy, dx = math.sin(heading + swerve), math.cos(heading + swerve)
            for distance in (1.0, ahead):
                y, x = round(place[0] + distance * dy), round(place[1] + distance * dx)
                if not (0 <= y < height and 0 <= x < width and free[y, x]):
                    break
            else:
                return (place[0] + dy, place[1] + dx), heading + swerve
    return None


def _mark(marked: NDArray[np.uint8], region: Region, path: list[Place], width: int) -> None:
    """Draws a path with a round brush, clipped to the region."""
    reach = width // 2
    brush = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, 1, -1)
    brush = brush[..., (brush**2).sum((0, 1)) <= (width / 2) ** 2]
    y, x = (np.rint(np.array(path).T).astype(np.int64)[..., None] + brush).reshape(2, -1)
    bottom, right = np.array(region.inside.shape) - 1
    within = (y >= 0) & (y <= bottom) & (x >= 0) & (x <= right)
    within &= region.inside[y.clip(0, bottom), x.clip(0, right)]
    marked[region.window][y[within], x[within]] = region.value
