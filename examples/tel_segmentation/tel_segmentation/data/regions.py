"""Connected components of label maps: their positions, and the depth of pixels inside them.

A label map is (H, W) integers, 0 to 254 a class and 255 void (no class). Components are
8-connected: a diagonal line one pixel wide is one component.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VOID = 255
EIGHT = np.ones((3, 3), bool)

Metric = Literal["edt", "chessboard", "cityblock"]
Labels = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]


class Region(NamedTuple):
    """A connected component, cut out of the image with a margin of one pixel."""

    value: int  # its class
    window: Window  # its position in the image
    inside: Mask
    depth: NDArray[np.float64]  # distance to the nearest pixel outside


def components(label: Labels) -> NDArray[np.int32]:
    """The connected components of each class, numbered from 1; void is 0.

    Args:
        label: (H, W) classes, 255 void.
    """
    number = np.zeros(label.shape, np.int32)
    last = 0
    for value in np.unique(label[label != VOID]):
        inside = label == value
        piece, count = ndimage.label(inside, EIGHT)
        number[inside] = piece[inside] + last
        last += count
    return number


def objects(label: Labels, instances: Labels | None, smallest: int) -> list[Region]:
    """The largest connected component of every object, unless it is too small.

    Args:
        label: (H, W) classes, 255 void.
        instances: (H, W), one number per object; negative: none. By default every connected
            component of a class is an object.
        smallest: the least number of pixels of a component.
    """
    if instances is None:
        number = components(label)
    else:
        pair = instances.astype(np.int64) * (VOID + 1) + label  # an object has one class
        pair[(label == VOID) | (instances < 0)] = -1
        names, inverse = np.unique(pair, return_inverse=True)
        number = inverse.reshape(label.shape) + (0 if names[0] < 0 else 1)
    regions = []
    for index, window in windows(number):
        inside = _largest(number[window] == index)
        if np.count_nonzero(inside) >= smallest:
            value = int(label[window][inside][0])
            regions.append(Region(value, window, inside, depth(inside)))
    return regions


def windows(number: Labels) -> Iterator[tuple[int, Window]]:
    """The number and the bounding box of every part, with a margin of one pixel in the image.

    Args:
        number: (H, W), the number of each pixel's part, from 1; 0: the pixel is in no part.
    """
    for index, window in enumerate(ndimage.find_objects(number), 1):
        if window is not None:
            rows, columns = window
            top, left = max(0, rows.start - 1), max(0, columns.start - 1)
            yield index, (slice(top, rows.stop + 1), slice(left, columns.stop + 1))


def depth(inside: Mask, metric: Metric = "edt", border: bool = False) -> NDArray[np.float64]:
    """The distance of every pixel inside to the nearest pixel outside; 0 for pixels outside.

    Args:
        inside: (H, W) bool.
        metric: Euclidean, or the number of steps of 8-connected or 4-connected erosion.
        border: whether everything beyond the image's border is outside. It always is if all pixels
            are inside.
    """
    if border or inside.all():
        return depth(np.pad(inside, 1), metric)[1:-1, 1:-1]
    if metric == "edt":
        return np.asarray(ndimage.distance_transform_edt(inside), np.float64)
    name = "taxicab" if metric == "cityblock" else metric
    return np.asarray(ndimage.distance_transform_cdt(inside, name), np.float64)


def check_map(function: str, name: str, value: Any) -> None:
    """Raises a TypeError or ValueError if the value is not a map of integers (H, W)."""
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.integer):
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{function}: {name} must be an array of integers, got {kind}")
    if value.ndim != 2 or value.size == 0:
        raise ValueError(f"{function}: {name} must be (H, W), got {value.shape}")


def check_label(function: str, label: Any, instances: Any = None) -> None:
    """Raises a TypeError or ValueError if they are not a label map and a map of instances."""
    check_map(function, "label", label)
    if label.min() < 0 or label.max() > VOID:
        raise ValueError(
            f"{function}: label must be in 0 to {VOID}, got {label.min()} to {label.max()}"
        )
    if instances is not None:
        check_map(function, "instances", instances)
        if instances.shape != label.shape:
            raise ValueError(
                f"{function}: instances must be {label.shape} like label, got {instances.shape}"
            )


def _largest(inside: Mask) -> Mask:
    """The largest connected component."""
    piece, count = ndimage.label(inside, EIGHT)
    if count == 1:
        return inside
    return np.asarray(piece == 1 + np.argmax(np.bincount(piece.ravel())[1:]))


__all__ = [
    "VOID",
    "Labels",
    "Mask",
    "Metric",
    "Region",
    "Window",
    "check_label",
    "check_map",
    "components",
    "depth",
    "objects",
    "windows",
]
