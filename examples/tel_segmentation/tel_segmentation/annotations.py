"""Sparse annotations made from dense labels: points, scribbles and blocks.

A label map is (H, W) integers, 0 to 254 a class and 255 void (no class). An annotation is
(H, W) uint8, 255 where a pixel is unlabelled; void is never labelled.

Regions are 8-connected: a diagonal line one pixel wide is one object.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VOID = 255
POINT = 3  # pixels across
SMALLEST = 12  # pixels that a region must have to be pointed at
LABELLED = 0.03  # of an image, by scribbles
DEPTH = 2.0  # pixels that a scribble's centre stays inside, where a region is that thick
TURN = 0.25  # radians, standard deviation of a scribble's change of direction per pixel
EIGHT = np.ones((3, 3), bool)

Scope = Literal["component", "class", "image"]
Metric = Literal["edt", "chessboard", "cityblock"]
Labels = NDArray[np.integer]


class _Region(NamedTuple):
    """One connected piece of an object, cut out of the image with a margin of one pixel."""

    value: int  # its class
    window: tuple[slice, slice]  # where it lies in the image
    inside: NDArray[np.bool_]
    depth: NDArray[np.float64]  # distance of its pixels to the nearest pixel outside


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
    marked = np.full(_check("points", label, instances).shape, VOID, np.uint8)
    for region in _objects(label, instances):
        _mark(marked, region, [_pick(region.depth, region.depth.max() / 2, rng)], POINT)
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
    if width < 1:
        raise ValueError(f"scribbles: width must be at least 1, got {width}")
    marked = np.full(_check("scribbles", label, instances).shape, VOID, np.uint8)
    regions = _objects(label, instances)
    root = [math.sqrt(np.count_nonzero(region.inside)) for region in regions]
    budget = LABELLED * np.count_nonzero(label != VOID) / max(1.0, sum(root))
    for region, share in zip(regions, root, strict=True):
        length = budget * share / width - (width - 1)  # the brush is round at both ends
        _mark(marked, region, _wander(region.depth, length, rng), width)
    return marked


def blocks(
    label: Labels,
    ratio: float,
    scope: Scope = "component",
    metric: Metric = "edt",
    border: bool = False,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """The part of the labels that is farthest from the edges between classes.

    Labels are taken away from the edges inwards until the ratio is left (Liang et al., CVPR 2022,
    section 4.1; their generator is not public).

    Args:
        label: (H, W) classes, 255 void.
        ratio: part of the labelled pixels that stays, in [0, 1].
        scope: of what the ratio is kept: every connected ``component`` (each keeps a core, of one
            pixel at least), every ``class``, or the ``image`` (small and thin objects vanish).
        metric: of the distance to the edge, see ``interior_distance``.
        border: whether the image's border is an edge too.
        seed: chooses among pixels equally far from the edge.

    Returns:
        (H, W) uint8, 255 unlabelled. Of n labelled pixels in the scope, round(ratio · n) stay.

    Raises:
        TypeError, ValueError: a map that is not as described, a ratio outside [0, 1], an unknown
            scope or metric.
    """
    _check("blocks", label, None)
    if not 0 <= ratio <= 1:
        raise ValueError(f"blocks: ratio must be in [0, 1], got {ratio}")
    if scope not in get_args(Scope):
        raise ValueError(f"blocks: scope must be one of {get_args(Scope)}, got {scope!r}")
    distance = interior_distance(label, metric, border)
    y, x = np.nonzero(label != VOID)
    if scope == "component":
        unit = components(label)[y, x] - 1
    else:
        unit = label[y, x].astype(np.int64) if scope == "class" else np.zeros(len(y), np.int64)
    total = np.bincount(unit, minlength=1)
    keep = np.rint(ratio * total).astype(np.int64)
    if scope == "component" and ratio > 0:
        keep = np.maximum(keep, 1)

    order = np.lexsort((_hash(y, x, seed), -distance[y, x], unit))
    rank = np.arange(len(y)) - np.repeat(np.cumsum(total) - total, total)
    kept = order[rank < np.repeat(keep, total)]
    return _copy(label, y[kept], x[kept])


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
    _check("interior_distance", label, None)
    if metric not in get_args(Metric):
        raise ValueError(
            f"interior_distance: metric must be one of {get_args(Metric)}, got {metric!r}"
        )
    number = components(label)
    distance = np.zeros(label.shape)
    for index, window in _windows(number, label.shape):
        inside = number[window] == index
        distance[window][inside] = _depth(inside, metric, border)[inside]
    return distance


def blocks_above(distance: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Pixels that stay labelled if one threshold holds for a whole data set.

    Args:
        distance: (H, W), of ``interior_distance``.
        threshold: in pixels; found from the histogram of all images' distances.

    Returns:
        (H, W) bool, false for void pixels at any threshold.
    """
    return (distance > 0) & (distance >= threshold)


def components(label: Labels) -> NDArray[np.int32]:
    """The connected pieces of equal class, numbered from 1; void is 0.

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


def _objects(label: Labels, instances: Labels | None) -> list[_Region]:
    """The largest piece of every object, in the order of their numbers."""
    known = label != VOID
    if instances is None:
        whole = components(label)
    else:
        known &= instances >= 0
        pairs = np.where(known, instances.astype(np.int64) * (VOID + 1) + label, -1)
        names, inverse = np.unique(pairs, return_inverse=True)
        whole = inverse.reshape(label.shape) + (0 if names[0] < 0 else 1)
    regions = []
    for index, window in _windows(whole, label.shape):
        inside = whole[window] == index
        if instances is not None:
            inside = _largest(inside)
        if np.count_nonzero(inside) >= SMALLEST:
            value = int(label[window][inside][0])
            regions.append(_Region(value, window, inside, _depth(inside, "edt", False)))
    return regions


def _largest(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    piece, count = ndimage.label(inside, EIGHT)
    if count == 1:
        return inside
    largest: NDArray[np.bool_] = piece == 1 + np.argmax(np.bincount(piece.ravel())[1:])
    return largest


def _windows(
    number: NDArray[np.integer], shape: tuple[int, ...]
) -> list[tuple[int, tuple[slice, slice]]]:
    """The smallest window of every numbered part, and a pixel more where the image has one."""
    return [
        (
            index,
            (
                slice(max(0, rows.start - 1), min(shape[0], rows.stop + 1)),
                slice(max(0, columns.start - 1), min(shape[1], columns.stop + 1)),
            ),
        )
        for index, (rows, columns) in (
            (index, window)
            for index, window in enumerate(ndimage.find_objects(number), 1)
            if window is not None
        )
    ]


def _depth(inside: NDArray[np.bool_], metric: Metric, border: bool) -> NDArray[np.float64]:
    """Distance to the nearest pixel that is not inside."""
    if border or inside.all():
        return _depth(np.pad(inside, 1), metric, False)[1:-1, 1:-1]
    if metric == "edt":
        distance = ndimage.distance_transform_edt(inside)
    else:
        name = "chessboard" if metric == "chessboard" else "taxicab"
        distance = ndimage.distance_transform_cdt(inside, name)
    return np.asarray(distance, np.float64)


def _pick(
    depth: NDArray[np.float64], least: float, rng: np.random.Generator
) -> tuple[float, float]:
    """A pixel at least that deep."""
    y, x = np.nonzero(depth >= least)
    chosen = rng.integers(len(y))
    return float(y[chosen]), float(x[chosen])


def _wander(
    depth: NDArray[np.float64], length: float, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """A path of about that length, from a random pixel on, and then from there the other way."""
    least = min(DEPTH, depth.max())
    if np.count_nonzero(depth >= least) < length:  # no room: as far inside as it is thick
        least = 1.0
    free = depth >= least
    path = [_pick(depth, least, rng)]
    forward = rng.uniform(-math.pi, math.pi)
    for heading in (forward, forward + math.pi):
        place = path[0]
        while len(path) < length:
            heading += TURN * rng.standard_normal()
            step = _step(free, place, heading)
            if step is None:
                break
            place, heading = step
            path.append(place)
    return path


# Deviations from the heading, the small ones first; beyond a right angle a stroke would turn back.
SWERVES = tuple(sign * 0.2 * k for k in range(9) for sign in (1, -1))[1:]
LOOK_AHEAD = (4.0, 2.0, 1.0)  # pixels


def _step(
    free: NDArray[np.bool_], place: tuple[float, float], heading: float
) -> tuple[tuple[float, float], float] | None:
    """One pixel on, as straight as it is free; farther ahead too if possible."""
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


def _mark(
    marked: NDArray[np.uint8], region: _Region, path: list[tuple[float, float]], width: int
) -> None:
    """Draw a path with a round brush, nowhere but inside the region."""
    reach = width // 2
    offset = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    offset = offset[:, (offset**2).sum(0) <= (width / 2) ** 2]
    centre = np.rint(np.array(path).T).astype(np.int64)
    y, x = (centre[:, :, None] + offset[:, None, :]).reshape(2, -1)
    height, width = region.inside.shape
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y, x = y[within], x[within]
    within = region.inside[y, x]
    marked[region.window][y[within], x[within]] = region.value


def _copy(label: Labels, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.uint8]:
    result = np.full(label.shape, VOID, np.uint8)
    result[y, x] = label[y, x]
    return result


def _hash(y: NDArray[np.int64], x: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A number for every pixel that looks random and depends on nothing else (splitmix64)."""
    mixed = y.astype(np.uint64) << np.uint64(32) | x.astype(np.uint64)
    for value in (np.uint64(seed % 2**64), np.uint64(0)):
        mixed = mixed + value * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


def _check(function: str, label: Labels, instances: Labels | None) -> Labels:
    if not isinstance(label, np.ndarray) or not np.issubdtype(label.dtype, np.integer):
        kind = label.dtype if isinstance(label, np.ndarray) else type(label).__name__
        raise TypeError(f"{function}: label must be an array of integers, got {kind}")
    if label.ndim != 2 or label.size == 0:
        raise ValueError(f"{function}: label must be (H, W), got {label.shape}")
    if label.min() < 0 or label.max() > VOID:
        raise ValueError(
            f"{function}: label must be in 0 to 255, got {label.min()} to {label.max()}"
        )
    if instances is not None:
        if not isinstance(instances, np.ndarray) or not np.issubdtype(instances.dtype, np.integer):
            raise TypeError(f"{function}: instances must be an array of integers")
        if instances.shape != label.shape:
            raise ValueError(
                f"{function}: instances must be {label.shape} like label, got {instances.shape}"
            )
    return label


__all__ = [
    "VOID",
    "blocks",
    "blocks_above",
    "components",
    "interior_distance",
    "points",
    "scribbles",
]
