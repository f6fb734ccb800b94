"""Samples and batches: from a source's images and labels to what training and evaluation read.

Every random choice of a training sample (flip, scale, crop, brightness) is drawn from a generator
seeded by (seed, position), the sample's number in the whole run. So a run is the same for any number
of worker processes, on one process or several, and when it is resumed in the middle.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

UNLABELLED = -1
PADDING = -2


class Sample(NamedTuple):
    """One image as its source has it."""

    name: str
    image: Tensor  # (3, H, W) uint8
    label: Tensor  # (H, W) int64: what training may see; -1 unlabelled
    truth: Tensor  # (H, W) int64: dense; -1 where there is no class


class Source(Protocol):
    """A split of a data set, in a fixed order."""

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]  # of each class, for pictures

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
