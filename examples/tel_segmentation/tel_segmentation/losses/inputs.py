"""What a loss may look at, and what it gives back.

The dense truth is not here: it is carried beside the batch for diagnosis and never reaches a loss.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tel_segmentation.data.sample import UNLABELLED


class LossInputs(NamedTuple):
    """Everything that a term of the loss may use."""

    logits: Tensor  # (B, K, h, w): the main prediction
    embed: Tensor | None  # (B, 256, h, w): the high-level embedding F
    guide: Tensor  # (B, 3, H, W): colours in [0, 1], not normalised, not jittered
    label: Tensor  # (B, H, W) int64: class, -1 unlabelled, -2 padding
    iteration: int = 0
    teachers: tuple[Tensor, ...] = ()  # (B, K, h, w) each: logits of the networks that teach
    void: Tensor | None = None  # (B, H, W) bool: pixels of no class, where they are known


class LossOutput(NamedTuple):
    """A term of the loss with what it is worth to look at."""

    loss: Tensor  # scalar, differentiable
    pseudo: dict[str, Tensor]  # (B, K, h, w), detached: the pseudo labels, as probabilities
    logs: dict[str, Tensor]  # scalars, detached


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask (B, H, W) at the corner of every pixel of a smaller grid: (B, 1, h, w) bool."""
    return F.interpolate(mask[:, None].to(torch.uint8), size=size, mode="nearest").bool()


def nearest_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """The label (B, H, W) at the same corners: (B, h, w)."""
    return F.interpolate(label[:, None].double(), size=size, mode="nearest")[:, 0].to(label.dtype)


def unlabelled_region(
    label: Tensor, size: tuple[int, int], roi: Literal["nearest", "any"] = "nearest"
) -> Tensor:
    """The region Ω_U of pixels without a label, at the prediction's resolution.

    Args:
        label: (B, H, W) int64; class, -1 unlabelled, -2 padding.
        size: (h, w) of the prediction.
        roi: ``nearest`` samples the mask as the official code does, which misses thin strokes: at a
            quarter of the resolution a pixel counts as labelled only if its upper left one is.
            ``any``: also if any pixel that it stands for is.

    Returns:
        (B, 1, h, w) bool.
    """
    region = nearest(label == UNLABELLED, size)
    if roi == "any":
        labelled = F.adaptive_max_pool2d((label >= 0)[:, None].float(), size) > 0
        region = region & ~labelled
    return region
