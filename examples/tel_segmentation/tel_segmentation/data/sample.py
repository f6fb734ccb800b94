"""What a data set gives: a sample, its labels, and a batch of samples for training."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
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


class Batch(NamedTuple):
    """Training samples."""

    names: list[str]
    input: Tensor  # (B, 3, h, w): jittered, normalised, for the network
    guide: Tensor  # (B, 3, h, w): in [0, 1], for the losses
    label: Tensor  # (B, h, w) int64: sparse; -1 unlabelled, -2 padding
    truth: Tensor  # (B, h, w) int64: dense, for diagnosis only

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        tensors = (x.to(device, non_blocking=True) for x in self[1:])
        return Batch(self.names, *tensors)
