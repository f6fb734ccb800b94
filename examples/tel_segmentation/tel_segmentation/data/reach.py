"""How many labels reach the network: counted before a training, and by ``tel check-data``."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tel_segmentation import config
from tel_segmentation.data.aspect import size_for
from tel_segmentation.data.datasets.samples import size_of_sample
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.image_files import some
from tel_segmentation.data.loading import open_source
from tel_segmentation.data.parts import within
from tel_segmentation.data.sample import Source
from tel_segmentation.data.sparse_labels import (
    FARTHEST,
    Map,
    is_sparse,
    label_kind,
    marks_of,
    objects_of,
    places,
    resize_label,
)

NAMED = 2  # most frequent sizes that a line has, such as those of portraits and landscapes
LOOKED_AT = 50  # images of which labels are counted before a training

Size = tuple[int, int]


class Counted(NamedTuple):
    """Labels in the size of their file, and after the image is resized for the network."""

    pixels: int
    objects: int  # 0 for dense labels, whose objects are not counted
    kept_pixels: int
    kept_objects: int


class Reach:
    """Sums over images.

    Args:
        labels: as ``config.Data.labels``.
        sparse: whether the labels are an annotation beside dense ones.
    """

    def __init__(self, labels: config.Labels, sparse: bool) -> None:
        self.labels, self.sparse = labels, sparse
        self.total = Counted(0, 0, 0, 0)
        self.images = 0
        self.empty: list[str] = []
        self.sizes: Counter[Size] = Counter()

    def add(self, name: str, label: Map, size: Size | None) -> None:
        """Adds an image that is resized to this size; None: it is not resized."""
        counted = count(label, size, self.labels, self.sparse)
        self.add_counted(name, counted, size or (label.shape[0], label.shape[1]))

    def add_counted(self, name: str, counted: Counted, size: Size) -> None:
        """Adds an image whose labels are counted, and the size that the network sees."""
        self.total = Counted(*(a + b for a, b in zip(self.total, counted, strict=True)))
        self.images += 1
        if not counted.kept_pixels:
            self.empty.append(name)
        self.sizes[size] += 1

    def text(self) -> str:
        """The sums in one line.

        Raises:
            ValueError: no labelled pixel reaches the network.
        """
        pixels, objects, kept_pixels, kept_objects = self.total
        if self.images and not kept_pixels:
            raise ValueError(
                f"labels must reach the network, got none of {pixels:,} labelled pixels in"
                f" {self.images:,} images{self._size()}"
                f"{'; data.labels kept keeps one of every object' * (self.labels == 'nearest')}"
            )
        each = f"{_mean(kept_pixels, self.images)} pixels"
        before, after = f"{pixels:,} labelled pixels", f"{kept_pixels:,}"
        if objects:
            before += f" of {objects:,} objects"
            after += f" of {kept_objects:,}"
            each += f" of {_mean(kept_objects, self.images)} objects"
        line = (
            f"{before} in {self.images:,} images; {after} reach the network{self._size()}: {each}"
            " per image"
        )
        if self.empty:
            line += f"; none in {len(self.empty):,} images: {some(self.empty)}"
        return line

    def _size(self) -> str:
        if not self.sizes:
            return ""
        listed = sorted(self.sizes, key=lambda size: (-self.sizes[size], -size[1]))
        words = [f"{width} × {height}" for height, width in listed[:NAMED]]
        if more := len(listed[NAMED:]):
            words = [", ".join(words), f"{more:,} other size{'s' * (more > 1)}"]
        return f" at {' and '.join(words)}"


def count(label: Map, size: Size | None, labels: config.Labels, sparse: bool) -> Counted:
    """The labelled pixels and objects of a map, before and after it is resized."""
    pixels = int(np.count_nonzero(label >= 0))
    if not sparse and not is_sparse(label):
        small = label if size is None else resize_label(label, size, False)
        return Counted(pixels, 0, int(np.count_nonzero(small >= 0)), 0)
    marks = marks_of(label)
    component, objects = objects_of(label, marks)
    if size is None:
        return Counted(pixels, objects, pixels, objects)
    small = resize_label(label, size, label_kind(sparse, labels))
    rows, columns = np.divmod(places(marks, label.shape, size), size[1])
    reach = FARTHEST if labels == "kept" else 0
    padded = np.pad(small, reach, constant_values=-1)
    found = np.zeros(marks.value.size, bool)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            found |= padded[rows + down, columns + right] == marks.value
    kept = np.unique(component[found]).size
    return Counted(pixels, objects, int(np.count_nonzero(small >= 0)), kept)


def check_training(source: Source, options: config.Data, seed: int = 0) -> str:
    """Counts the labels of some training images, as a line of text.

    Args:
        source: the training images.
        options: that it was opened with.
        seed: likewise.

    Raises:
        ValueError: no label reaches the network, or a class of a user's data set has no label in
            any image, unless ``options.absent`` allows it.
    """
    reach = Reach(options.labels, options.annotation != "dense")
    missing = set(range(len(source.classes)))
    unlabelled = total = 0
    whole, _ = within(source)
    # Of a few images for a rehearsal, not all classes are expected.
    every = not options.absent and not options.limit
    own = whole if isinstance(whole, Folder) and every else None
    for number, (name, label, size) in enumerate(_labels(source, options, seed)):
        if number < LOOKED_AT or not reach.total.kept_pixels:
            reach.add(name, label, size)
        elif own is None or not missing:
            break
        missing -= _classes(label)
        unlabelled, total = unlabelled + int((label < 0).sum()), total + label.size
    line = reach.text()
    if own is not None and missing and len(source):
        absent = [source.classes[k] for k in sorted(missing)]
        raise ValueError(
            f"{options.source}: every class must have a label in train ({options.annotation}), none"
            f" of {len(source):,} images has {some(absent)};"
            f" {100 * unlabelled / max(1, total):.3g} % of the pixels have no class"
            f"{ignored_hint(own, sorted(missing))}. Take a class that does not occur out of"
            " the TOML file, or train without it: --data.absent"
        )
    return line


def ignored_hint(source: Folder, missing: list[int]) -> str:
    """What the values without a class may be, for a message."""
    values = ", ".join(map(str, source.info.ignore))
    if source.sparse or not values:
        return ""
    wanted = some(f"{k} for {source.classes[k]}" for k in missing)
    return f" (value {values}): if these are a class, write its number instead, {wanted}"


def absent_classes(source: Folder) -> list[str]:
    """The classes of which no label file of a split has a pixel."""
    missing = set(range(len(source.classes)))
    for index in range(len(source)):
        if not missing:
            break
        missing -= _classes(source.full_label(index))
    return [source.classes[k] for k in sorted(missing)]


def _classes(label: Map) -> set[int]:
    """The values of a label map from -1 on; ``np.unique`` takes ten times as long."""
    return set((np.flatnonzero(np.bincount(label.ravel() + 1)) - 1).tolist())


def check_truth(source: Source, split: str) -> None:
    """Raises a ValueError unless some image of a split has a pixel with a class."""
    for index in range(len(source)):
        if bool((source[index].truth >= 0).any()):
            return
    raise ValueError(
        f"{split} must have pixels with a class to compare with, got none in {len(source):,} images"
    )


def _labels(
    source: Source, options: config.Data, seed: int
) -> Iterator[tuple[str, Map, Size | None]]:
    """Name, label in its own size and size for the network, in a fixed random order."""
    whole, indices = within(source)
    order = np.random.default_rng(0).permutation(indices).tolist()
    if isinstance(whole, Folder):  # images need not be read
        for index in order:
            label = whole.full_label(index)
            size = size_for(label.shape, options.size, options.keep_aspect)
            yield whole.names[index], label, size
        return
    generated = options.source.startswith("scenes:")
    full = whole
    if not generated and (options.size or options.short_side):
        native = dataclasses.replace(options, size=None, short_side=None, holdout=0.0, limit=None)
        full = open_source(native, "train", seed)
    for index in order[:LOOKED_AT]:
        sample = full[index]
        label = sample.label.numpy()
        height, width = label.shape
        size = None if generated else size_of_sample(height, width, options, "train")
        yield sample.name, label, size


def _mean(total: int, images: int) -> str:
    mean = total / max(1, images)
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
