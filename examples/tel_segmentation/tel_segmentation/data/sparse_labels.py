"""How labels are made smaller: every annotated object keeps at least one labelled pixel.

The only place with this rule. Readers, ``augment``, ``tel check-data``, the evaluation and the
losses use it. An *object* is a connected component (8 neighbours) of one class in the annotation: a
point, a stroke, a block.

- A map in which at least half of the pixels have a class is *dense*: each new pixel gets the label
  of the old pixel at its centre. So is every map along a side that grows, where no label is lost.
- Another map is *sparse*: a new pixel is labelled if any of the old pixels that it covers is. Of
  several classes, the one with the fewest labelled pixels in the image wins, of equally rare ones
  the one with the smaller number.
- An object whose new pixels all went to other classes is moved to the nearest new pixel without a
  label, at most ``FARTHEST`` pixels away. If there is none, it takes over one of its own pixels,
  provided that each object there keeps another one.

So an object is lost only where more of them meet than there are pixels around. The result depends
on nothing but the map and the size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from tel_segmentation.config import Labels
from tel_segmentation.data.image_files import nearest
from tel_segmentation.data.sample import PADDING, UNLABELLED

FARTHEST = 2
"""Pixels of the smaller map that an object is moved at most: farther away its label is wrong."""

Map = NDArray[np.int64]  # (H, W): a class, -1 unlabelled, -2 padding
Indices = NDArray[np.int64]


class Marks(NamedTuple):
    """The labelled pixels of a map, in the order of its rows."""

    y: Indices
    x: Indices
    value: Indices  # the class of each


def resize_label(label: Map, size: tuple[int, int], sparse: bool | None = None) -> Map:
    """Resizes a label map by the rule at the top of this file.

    Args:
        label: (H, W) int64: a class, -1 unlabelled, -2 padding.
        size: height and width of the result.
        sparse: whether the map is sparse; by default it is if fewer than half of its pixels have
            a class.

    Returns:
        (h, w) int64.

    Example:
        >>> points = np.full((4, 6), -1)
        >>> points[0, 1], points[1, 2] = 5, 7  # neither is at a centre, both in the first pixel
        >>> resize_label(points, (1, 2))
        array([[5, 7]])
    """
    result = nearest(label, size)
    if not (is_sparse(label) if sparse is None else sparse):
        return result
    full = max(label.shape[0], size[0]), max(label.shape[1], size[1])
    if full == tuple(size):
        return result
    larger = label if full == label.shape else nearest(label, full)
    marks = marks_of(larger)
    if marks.value.size == 0:
        return result
    rows = (2 * marks.y + 1) * size[0] // (2 * larger.shape[0])
    columns = (2 * marks.x + 1) * size[1] // (2 * larger.shape[1])
    place = rows * size[1] + columns
    flat = result.ravel()
    _vote(flat, place, marks.value)
    if (flat[place] != marks.value).any():
        _Rescue(result, place, marks, larger.shape[1]).run()
    return result


def resize_labels(label: Tensor, size: tuple[int, int]) -> Tensor:
    """The same for a batch (B, H, W) on any device: (B, h, w).

    The rule is applied on the CPU; a batch on a GPU is copied there and back.
    """
    if tuple(label.shape[-2:]) == tuple(size):
        return label
    smaller = label.new_empty((len(label), *size), dtype=torch.int64, device="cpu")
    for index, each in enumerate(label.detach().to("cpu", torch.int64).numpy()):
        smaller[index] = torch.from_numpy(resize_label(each, size))
    return smaller.to(label.device, label.dtype)


def label_kind(sparse: bool, labels: Labels) -> bool | None:
    """The argument ``sparse`` of ``resize_label`` for maps that a data set calls sparse, or not.

    Maps that it calls dense may be strokes all the same, so that each decides for itself.

    Args:
        sparse: whether they are an annotation beside dense labels.
        labels: as ``config.Data.labels``.
    """
    return False if labels == "nearest" else (sparse or None)


def is_sparse(label: Map) -> bool:
    """Whether fewer than half of a map's pixels, without padding, have a class."""
    return bool(2 * np.count_nonzero(label >= 0) < np.count_nonzero(label != PADDING))


def marks_of(label: Map) -> Marks:
    """The labelled pixels of a map."""
    place = np.flatnonzero(label >= 0)  # several times as fast as nonzero in two dimensions
    y, x = np.divmod(place, label.shape[1])
    return Marks(y, x, label[y, x])


def objects_of(marks: Marks, width: int) -> tuple[Indices, int]:
    """The object of each labelled pixel, from 0, and the number of objects.

    Args:
        marks: of a map.
        width: of the map.
    """
    count = marks.value.size
    stride = width + 2  # a margin, so that the ends of two rows are no neighbours
    position = (marks.y + 1) * stride + marks.x + 1
    links = []
    for step in (1, stride - 1, stride, stride + 1):
        other = np.searchsorted(position, position + step).clip(max=max(count - 1, 0))
        linked = position[other] == position + step
        linked &= marks.value[other] == marks.value
        links.append((np.flatnonzero(linked), other[linked]))
    one, other = (np.concatenate(ends) for ends in zip(*links, strict=True))
    graph = coo_array((np.ones(one.size, bool), (one, other)), shape=(count, count))
    number, component = connected_components(graph, directed=False)
    return component.astype(np.int64), int(number)


def _vote(flat: Map, place: Indices, value: Indices) -> None:
    """Writes the rarest of the classes that fall into each new pixel."""
    order = np.argsort(np.bincount(value), kind="stable")  # the rarest class first
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    best = np.full(flat.size, order.size)
    np.minimum.at(best, place, rank[value])
    found = best < order.size
    flat[found] = order[best[found]]


class _Rescue:
    """Gives a pixel to every object that has none left.

    Args:
        result: the smaller map, which is changed.
        place: the new pixel of each labelled pixel, as an index of the flattened map.
        marks: the labelled pixels of the larger map.
        width: of the larger map.
    """

    def __init__(self, result: Map, place: Indices, marks: Marks, width: int) -> None:
        self.result, self.flat = result, result.reshape(-1)
        component, count = objects_of(marks, width)
        # Each pair of an object and a new pixel once, sorted by object.
        pairs = np.unique(np.stack((component, place), axis=1), axis=0)
        self.owner, self.place = pairs[:, 0], pairs[:, 1]
        self.value = np.empty(count, np.int64)
        self.value[component] = marks.value
        held = self.flat[self.place] == self.value[self.owner]
        self.support = np.bincount(self.owner[held], minlength=count)
        self.frequency = np.bincount(marks.value)

    def run(self) -> None:
        """The objects of the rarest classes first, of one class from the top."""
        lost = np.flatnonzero(self.support == 0)
        for index in lost[np.lexsort((lost, self.frequency[self.value[lost]]))]:
            first, last = np.searchsorted(self.owner, [index, index + 1])
            own = self.place[first:last]
            if not self._move(index, own):
                self._take_over(index, own)

    def _move(self, index: int, own: Indices) -> bool:
        """Labels the nearest free pixel, if one is near enough."""
        y, x = np.divmod(own, self.result.shape[1])
        top, left = max(0, y.min() - FARTHEST), max(0, x.min() - FARTHEST)
        window = self.result[top : y.max() + FARTHEST + 1, left : x.max() + FARTHEST + 1]
        outside = np.ones(window.shape, bool)
        outside[y - top, x - left] = False
        distance = np.asarray(ndimage.distance_transform_edt(outside))
        distance[window != UNLABELLED] = np.inf
        nearest_free = np.unravel_index(distance.argmin(), window.shape)
        if distance[nearest_free] > FARTHEST:
            return False
        window[nearest_free] = self.value[index]
        return True

    def _take_over(self, index: int, own: Indices) -> None:
        """Labels one of the object's own pixels, if all objects there keep another one."""
        for place in own:
            here = self.owner[self.place == place]
            holders = here[self.value[here] == self.flat[place]]
            if holders.size and (self.support[holders] > 1).all():
                self.support[holders] -= 1
                self.flat[place] = self.value[index]
                return
