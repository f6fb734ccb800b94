"""A part of a data set: a few images of it, or those that are held out for validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tel_segmentation import config
from tel_segmentation.data.sample import Sample, Source


class Part:
    """Some samples of a source.

    Args:
        source: the whole.
        indices: of the samples.
        truth_from_label: where a sample has no dense label, compare with its annotation.
    """

    def __init__(
        self, source: Source, indices: Sequence[int], *, truth_from_label: bool = False
    ) -> None:
        self.source, self.indices = source, tuple(indices)
        self.truth_from_label = truth_from_label
        self.classes, self.colors = source.classes, source.colors
        self.annotation_folder: Path | None = getattr(source, "annotation_folder", None)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        """As the source's."""
        sample = self.source[self.indices[index]]
        if self.truth_from_label and not (sample.truth >= 0).any():
            return sample._replace(truth=sample.label.clone())
        return sample


def within(source: Source) -> tuple[Source, list[int]]:
    """The whole that a source is a part of, and the part's indices in it."""
    indices = list(range(len(source)))
    while isinstance(source, Part):
        indices = [source.indices[index] for index in indices]
        source = source.source
    return source, indices


def held_out(source: Source, options: config.Data, seed: int, split: str) -> Part:
    """The training images that are left to train on (``train``), or those that are held out.

    At least one is held out. The choice depends on the number of images and the seed alone.

    Raises:
        ValueError: no image is left to train on.
    """
    count = len(source)
    number = max(1, round(options.holdout * count))
    if number >= count:
        raise ValueError(
            f"data.holdout must leave images to train on, got {number} of {count} held out"
        )
    order = np.random.default_rng([seed, count, 2]).permutation(count)
    chosen = order[:number] if split == "val" else order[number:]
    return Part(source, sorted(map(int, chosen)), truth_from_label=split == "val")


def limited(source: Source, options: config.Data) -> Source:
    """The first images of a source, if there is a limit."""
    if options.limit is None or options.limit >= len(source):
        return source
    return Part(source, range(options.limit))
