"""Sample, data set and batch: the types that all other modules share."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

UNLABELLED = -1
PADDING = -2


class Sample(NamedTuple):
    """One image of a data set with its labels.

    Two tensors are made of ``image``: the *guide*, its colours in [0, 1], which losses compare, and
    the *image* that a network sees, which is normalised and, in training, jittered.
    """

    name: str
    image: Tensor  # (3, H, W) uint8, red, green, blue
    label: Tensor  # (H, W) int64: the labels for training; -1 unlabelled
    truth: Tensor  # (H, W) int64: dense; -1 where there is no class


class Source(Protocol):
    """A split of a data set; the order of its samples is fixed."""

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]  # of each class, for pictures

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Batch(NamedTuple):
    """A batch of augmented training samples."""

    names: list[str]
    image: Tensor  # (B, 3, h, w): jittered and normalised, what the network sees
    guide: Tensor  # (B, 3, h, w): colours in [0, 1], for the losses
    label: Tensor  # (B, h, w) int64: sparse; -1 unlabelled, -2 padding
    truth: Tensor  # (B, h, w) int64: dense labels, for diagnosis only

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        tensors = (x.to(device, non_blocking=True) for x in self[1:])
        return Batch(self.names, *tensors)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a tensor (…, H, W)."""
    return int(x.shape[-2]), int(x.shape[-1])
