"""Sparse annotations made from dense labels: the labels that are farthest from an edge.

A label map is (H, W) integers, 0 to 254 a class and 255 void (no class). An annotation is (H, W)
uint8, 255 where a pixel is unlabelled; void is never labelled.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.regions import (
    VOID,
    Labels,
    Mask,
    Metric,
    check_label,
    components,
    depth,
    windows,
)

Scope = Literal["component", "class", "image"]
Ties = Literal["hash", "row-major"]


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
