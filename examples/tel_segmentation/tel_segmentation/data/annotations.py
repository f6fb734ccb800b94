"""Sparse annotations made from dense labels: points, scribbles and blocks.

A label map is (H, W) integers, 0 to 254 a class and 255 void (no class). An annotation is (H, W)
uint8, 255 where a pixel is unlabelled; void is never labelled.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.regions import (
    VOID,
    Labels,
    Mask,
    Metric,
    Region,
    check_label,
    components,
    depth,
    objects,
    windows,
)

POINT = 3  # pixels across
SMALLEST = 12  # pixels that an object's largest piece must have to be annotated
LABELLED = 0.03  # of an image, by scribbles
INSIDE = 2.0  # pixels that a scribble's centre stays inside, where a piece is that thick
TURN = 0.15  # radians, standard deviation of a scribble's change of direction per pixel
LOOK_AHEAD = (4.0, 2.0, 1.0)  # pixels
# Deviations from the heading that are tried, the small ones first; beyond π/2 it would turn back.
SWERVES = tuple(sign * 0.2 * k for k in range(9) for sign in (1, -1))[1:]

Scope = Literal["component", "class", "image"]
Ties = Literal["hash", "row-major"]
Place = tuple[float, float]  # y, x


def points(label: Labels, instances: Labels | None, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One point for every object, as an annotator would click: well inside its largest piece.

    The pixel is drawn from those at least half as far from the outside as the deepest one, and
    marked by a disc 3 pixels across, clipped to the piece. Objects of which no piece has 12 pixels
    are left out.

    Args:
        label: (H, W) classes, 255 void.
        instances: (H, W), one number per object; negative: no object, which gets no point. By
            default every connected piece of a class is an object.
        rng: where the points are drawn from.

    Returns:
        (H, W) uint8, 255 unlabelled.

    Raises:
        TypeError, ValueError: maps that are not as described.
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

    A stroke wanders through the object's largest piece, bending smoothly, 2 pixels away from its
    edge where the piece is thick enough and never outside. Its length is in proportion to the root
    of the piece's area, but at least a dab of the brush. Objects of which no piece has 12 pixels
    are left out.

    Args:
        label: (H, W) classes, 255 void.
        instances: (H, W), as for ``points``.
        rng: where the strokes are drawn from.
        width: of the strokes, in pixels.

    Returns:
        (H, W) uint8, 255 unlabelled.

    Raises:
        TypeError, ValueError: maps that are not as described, a width below 1.
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


def blocks(
    label: Labels,
    ratio: float,
    scope: Scope = "component",
    metric: Metric = "edt",
    border: bool = False,
    seed: int = 0,
    ties: Ties = "hash",
) -> NDArray[np.uint8]:
    """The part of the labels that is farthest from the edges between classes.

    Labels are taken away from the edges inwards until the ratio is left (Liang et al., Tree Energy
    Loss, CVPR 2022; how the authors did it in detail is not public).

    Args:
        label: (H, W) classes, 255 void.
        ratio: part of the pixels with a class that keeps its label, in [0, 1].
        scope: of what the ratio is kept: every connected ``component`` (each keeps a core, of one
            pixel at least), every ``class``, or the ``image`` (small and thin objects vanish).
        metric: of the distance to the edge, see ``interior_distance``.
        border: whether the image's border is an edge too.
        seed: of the hash.
        ties: which of the pixels equally far from the edge come first: by a ``hash`` of their
            places, all over the scope, or those of the upper rows (``row-major``).

    Returns:
        (H, W) uint8, 255 unlabelled. Of n pixels of a scope, round(ratio · n) stay labelled.

    Raises:
        TypeError, ValueError: a map that is not as described, a ratio outside [0, 1], an unknown
            scope, metric or order of ties.
    """
    distance = interior_distance(label, metric, border)
    if not 0 <= ratio <= 1:
        raise ValueError(f"blocks: ratio must be in [0, 1], got {ratio}")
    if scope not in get_args(Scope):
        raise ValueError(f"blocks: scope must be one of {get_args(Scope)}, got {scope!r}")
    if ties not in get_args(Ties):
        raise ValueError(f"blocks: ties must be one of {get_args(Ties)}, got {ties!r}")
    y, x = np.nonzero(label != VOID)  # row-major
    unit = np.zeros(len(y), np.int64)
    if scope != "image":
        unit = (label if scope == "class" else components(label))[y, x].astype(np.int64)
    size = np.bincount(unit)
    keep = np.rint(ratio * size).astype(np.int64)
    if scope == "component" and ratio > 0:
        keep = np.maximum(keep, size > 0)

    kept, equal = _deepest(unit, distance[y, x], keep)
    order = _hash(y[equal], x[equal], seed) if ties == "hash" else equal
    tied = equal[np.lexsort((order, unit[equal]))]
    missing = keep - np.bincount(unit[kept], minlength=len(size))
    kept[tied[_rank(unit[tied], len(size)) < missing[unit[tied]]]] = True
    result = np.full(label.shape, VOID, np.uint8)
    result[y[kept], x[kept]] = label[y[kept], x[kept]]
    return result


def interior_distance(
    label: Labels, metric: Metric = "edt", border: bool = False
) -> NDArray[np.float64]:
    """How far every pixel is from the nearest pixel with another label (void counts as one).

    Args:
        label: (H, W) classes, 255 void.
        metric: ``edt`` (Euclidean), ``chessboard`` (steps of 8-connected erosion) or ``cityblock``
            (4-connected).
        border: whether the image's border counts as another label. It always does in an image with
            one label only, which has no other edge.

    Returns:
        (H, W) float64, in pixels: at least 1, and 0 for void pixels.

    Raises:
        TypeError, ValueError: a map that is not as described, an unknown metric.
    """
    check_label("interior_distance", label)
    if metric not in get_args(Metric):
        raise ValueError(
            f"interior_distance: metric must be one of {get_args(Metric)}, got {metric!r}"
        )
    number = components(label)
    distance = np.zeros(label.shape)
    for index, window in windows(number):
        inside = number[window] == index
        distance[window][inside] = depth(inside, metric, border)[inside]
    return distance


def blocks_above(distance: NDArray[np.float64], threshold: float) -> Mask:
    """Pixels that keep their label if one threshold holds for a whole data set.

    Args:
        distance: (H, W), of ``interior_distance``.
        threshold: in pixels; found from the histogram of all images' distances.

    Returns:
        (H, W) bool, false for void pixels at any threshold.
    """
    return (distance > 0) & (distance >= threshold)


def _pick(allowed: Mask, rng: np.random.Generator) -> Place:
    """A random pixel of those allowed."""
    y, x = np.nonzero(allowed)
    chosen = rng.integers(len(y))
    return float(y[chosen]), float(x[chosen])


def _wander(deep: NDArray[np.float64], length: float, rng: np.random.Generator) -> list[Place]:
    """A path of that length, if there is room: from a random pixel on, then the other way."""
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
    """A pixel on, as straight as that is free, if possible with room ahead; and the heading."""
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
    """Draw a path with a round brush, nowhere but inside the region."""
    reach = width // 2
    brush = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, 1, -1)
    brush = brush[..., (brush**2).sum((0, 1)) <= (width / 2) ** 2]
    y, x = (np.rint(np.array(path).T).astype(np.int64)[..., None] + brush).reshape(2, -1)
    bottom, right = np.array(region.inside.shape) - 1
    within = (y >= 0) & (y <= bottom) & (x >= 0) & (x <= right)
    within &= region.inside[y.clip(0, bottom), x.clip(0, right)]
    marked[region.window][y[within], x[within]] = region.value


def _deepest(
    unit: NDArray[np.int64], distance: NDArray[np.float64], keep: NDArray[np.int64]
) -> tuple[Mask, NDArray[np.int64]]:
    """Which pixels are surely among the deepest of their unit, and which are at the limit.

    Sorting by one number, and only those at the limit by more, is several times as fast as sorting
    everything by everything.

    Args:
        unit: (N,) of each pixel, from 0.
        distance: (N,) roots of integers, as all metrics have them.
        keep: (U,) pixels of each unit.

    Returns:
        (N,) bool, and the places of those of which ``keep`` has room for some.
    """
    squared = np.rint(distance**2).astype(np.int64)
    most = squared.max(initial=0)
    key = unit * (most + 1) + (most - squared)
    last = np.cumsum(np.bincount(unit)) - np.bincount(unit) + keep - 1
    limit = np.full(len(keep), -1)
    limit[keep > 0] = np.sort(key)[last[keep > 0]]
    return key < limit[unit], np.flatnonzero(key == limit[unit])


def _rank(unit: NDArray[np.int64], units: int) -> NDArray[np.int64]:
    """The place of each among those of its unit, from 0; ``unit`` is sorted."""
    size = np.bincount(unit, minlength=units)
    return np.arange(len(unit)) - np.repeat(np.cumsum(size) - size, size)


def _hash(y: NDArray[np.int64], x: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number for every pixel, of its place and the seed alone (the mixing of splitmix64)."""
    start = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (y << 32 | x).astype(np.uint64) + start
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


__all__ = [
    "VOID",
    "Metric",
    "Scope",
    "Ties",
    "blocks",
    "blocks_above",
    "components",
    "interior_distance",
    "points",
    "scribbles",
]
