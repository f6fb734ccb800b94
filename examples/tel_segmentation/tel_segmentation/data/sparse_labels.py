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

from functools import cached_property
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
from tel_segmentation.data.regions import VOID, components
from tel_segmentation.data.sample import PADDING, UNLABELLED

FARTHEST = 2
"""Pixels of the smaller map that an object is moved at most: farther away its label is wrong."""

Map = NDArray[np.int64]  # (H, W): a class, -1 unlabelled, -2 padding
Indices = NDArray[np.int64]


SPARSE = 30
"""Maps with fewer labelled pixels than one in so many are searched for neighbours one by one."""


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
    place = places(marks, larger.shape, size)
    _vote(result.reshape(-1), place, marks.value)
    if (result.reshape(-1)[place] != marks.value).any():
        _Rescue(larger, result, marks, place).run()
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


def places(marks: Marks, full: tuple[int, ...], size: tuple[int, int]) -> Indices:
    """The pixel of a smaller map that covers each labelled pixel, as a flat index.

    Args:
        marks: of the larger map.
        full: height and width of the larger map.
        size: of the smaller one.
    """
    rows = (2 * marks.y + 1) * size[0] // (2 * full[0])
    columns = (2 * marks.x + 1) * size[1] // (2 * full[1])
    return rows * size[1] + columns


def objects_of(label: Map, marks: Marks) -> tuple[Indices, int]:
    """The object of each labelled pixel, from 0, and the number of objects.

    Args:
        label: the map.
        marks: its labelled pixels.
    """
    if marks.value.size * SPARSE < label.size:
        return _linked(marks, label.shape[1])
    number = components(np.where(label < 0, VOID, label))
    return number[marks.y, marks.x].astype(np.int64) - 1, int(number.max(initial=0))


def _linked(marks: Marks, width: int) -> tuple[Indices, int]:
    """The same by links between neighbours: fast for few pixels."""
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
        label: the larger map.
        result: the smaller map, which is changed.
        marks: the labelled pixels of the larger map.
        place: the pixel of the smaller map that covers each of them.
    """

    def __init__(self, label: Map, result: Map, marks: Marks, place: Indices) -> None:
        self.label, self.result, self.flat = label, result, result.reshape(-1)
        self.marks, self.place = marks, place
        self.frequency = np.bincount(marks.value)

    def run(self) -> None:
        """The objects of the rarest classes first, of one class from the top."""
        objects = self._lost()
        values = [self.label[y[0], x[0]] for y, x in objects]
        for index in sorted(range(len(objects)), key=lambda k: (self.frequency[values[k]], k)):
            y, x = objects[index]
            own = np.unique(places(Marks(y, x, x), self.label.shape, self.result.shape))
            if not self._move(own, values[index]):
                self._take_over(own, values[index])

    def _lost(self) -> list[tuple[Indices, Indices]]:
        """The objects without a pixel: rows and columns in the larger map of each."""
        gone = self.flat[self.place] != self.marks.value
        y, x, value = (each[gone] for each in self.marks)
        component, count = _linked(Marks(y, x, value), self.label.shape[1])
        # A part is the whole object unless a neighbour of the same class has kept its pixel.
        whole = np.ones(count, bool)
        held = np.full((self.label.shape[0] + 2, self.label.shape[1] + 2), UNLABELLED)
        kept = Marks(*(each[~gone] for each in self.marks))
        held[kept.y + 1, kept.x + 1] = kept.value
        for down in range(3):
            for right in range(3):
                whole[component[held[y + down, x + right] == value]] = False
        lost = whole[component]
        y, x, component = y[lost], x[lost], component[lost]
        order = np.argsort(component, kind="stable")
        ends = np.flatnonzero(np.diff(component[order])) + 1
        if order.size == 0:
            return []
        pairs = zip(np.split(y[order], ends), np.split(x[order], ends), strict=True)
        return sorted(pairs, key=lambda pair: (pair[0][0], pair[1][0]))

    def _move(self, own: Indices, value: int) -> bool:
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
        window[nearest_free] = value
        return True

    def _take_over(self, own: Indices, value: int) -> None:
        """Labels one of the object's own pixels, if all objects there keep another one."""
        owner, place = self._pairs
        for each in own:
            here = owner[place == each]
            holders = here[self._value[here] == self.flat[each]]
            if holders.size and (self._support[holders] > 1).all():
                self._support[holders] -= 1
                self.flat[each] = value
                return

    @cached_property
    def _pairs(self) -> tuple[Indices, Indices]:
        """Each pair of an object and a pixel of the smaller map once."""
        component, _ = self._objects
        pairs = np.unique(np.stack((component, self.place), axis=1), axis=0)
        return pairs[:, 0], pairs[:, 1]

    @cached_property
    def _objects(self) -> tuple[Indices, int]:
        return objects_of(self.label, self.marks)

    @cached_property
    def _value(self) -> Indices:
        """The class of each object."""
        component, count = self._objects
        value = np.empty(count, np.int64)
        value[component] = self.marks.value
        return value

    @cached_property
    def _support(self) -> Indices:
        """The number of pixels that each object has in the smaller map."""
        owner, place = self._pairs
        held = self.flat[place] == self._value[owner]
        return np.bincount(owner[held], minlength=self._objects[1])
