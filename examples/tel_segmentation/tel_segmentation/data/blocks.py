"""Sparse annotations generated from dense labels: the labels that are farthest from an edge.

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
    """Keeps the labels that are farthest from the edges between classes.

    Labels are removed from the edges inwards until the ratio is left (Liang et al., Tree Energy
    Loss, CVPR 2022; the details of the authors' procedure are not public).

    Args:
        label: (H, W) classes, 255 void.
        ratio: fraction of the pixels with a class that keep their label, in [0, 1].
        scope: where the ratio holds: in every connected ``component`` (each keeps at least one
            pixel), in every ``class``, or in the ``image`` (small and thin objects vanish).
        metric: metric of the distance to the edge, see ``interior_distance``.
        border: whether the image's border is an edge too.
        seed: seed of the hash.
        ties: which of several pixels at the same distance from the edge are kept first: in the
            order of a ``hash`` of their positions, which spreads them over the scope, or the upper
            rows first (``row-major``).

    Returns:
        (H, W) uint8, 255 unlabelled. Of n pixels of a scope, round(ratio · n) stay labelled.

    Raises:
        TypeError, ValueError: the map is not as described, the ratio is outside [0, 1], or the
            scope, the metric or the order of ties is unknown.
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
    """The distance of every pixel to the nearest pixel with another label (void counts as one).

    Args:
        label: (H, W) classes, 255 void.
        metric: ``edt`` (Euclidean), ``chessboard`` (steps of 8-connected erosion) or ``cityblock``
            (4-connected).
        border: whether the image's border counts as another label. It always does in an image with
            a single label, which has no other edge.

    Returns:
        (H, W) float64, in pixels: at least 1, and 0 for void pixels.

    Raises:
        TypeError, ValueError: the map is not as described, or the metric is unknown.
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
    """The pixels that keep their label if one threshold is used for a whole data set.

    Args:
        distance: (H, W), from ``interior_distance``.
        threshold: in pixels; it is computed from the histogram of all images' distances.

    Returns:
        (H, W) bool, false for void pixels at any threshold.
    """
    return (distance > 0) & (distance >= threshold)


def _deepest(
    unit: NDArray[np.int64], distance: NDArray[np.float64], keep: NDArray[np.int64]
) -> tuple[Mask, NDArray[np.int64]]:
    """The pixels that are certainly among the deepest of their unit, and those tied at the limit.

    All pixels are sorted by one number, and the caller sorts only the tied ones by more: that is
    several times as fast as sorting all pixels by all criteria.

    Args:
        unit: (N,) the unit of each pixel, from 0.
        distance: (N,) square roots of integers, as in all metrics.
        keep: (U,) how many pixels of each unit are kept.

    Returns:
        (N,) bool, and the indices of the tied pixels, of which not all can be kept.
    """
    squared = np.rint(distance**2).astype(np.int64)
    most = squared.max(initial=0)
    key = unit * (most + 1) + (most - squared)
    last = np.cumsum(np.bincount(unit)) - np.bincount(unit) + keep - 1
    limit = np.full(len(keep), -1)
    limit[keep > 0] = np.sort(key)[last[keep > 0]]
    return key < limit[unit], np.flatnonzero(key == limit[unit])


def _rank(unit: NDArray[np.int64], units: int) -> NDArray[np.int64]:
    """The rank of each element within its unit, from 0; ``unit`` is sorted."""
    size = np.bincount(unit, minlength=units)
    return np.arange(len(unit)) - np.repeat(np.cumsum(size) - size, size)


def _hash(y: NDArray[np.int64], x: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A hash of every pixel's position and the seed (with the mixing function of splitmix64)."""
    start = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (y << 32 | x).astype(np.uint64) + start
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)
