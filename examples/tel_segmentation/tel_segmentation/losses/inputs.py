"""The inputs and the output of a loss.

The dense labels are not among the inputs: a batch has them for diagnosis only, and they never
reach a loss.
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
    void: Tensor | None = None  # (B, H, W) bool: pixels that have no class, if that is known


class LossOutput(NamedTuple):
    """A term of the loss, with its pseudo labels and the values to log."""

    loss: Tensor  # scalar, differentiable
    pseudo: dict[str, Tensor]  # (B, K, h, w), detached: the pseudo labels, as probabilities
    logs: dict[str, Tensor]  # scalars, detached


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples a mask (B, H, W) at the upper left corners of larger pixels: (B, 1, h, w) bool."""
    return F.interpolate(mask[:, None].to(torch.uint8), size=size, mode="nearest").bool()


def nearest_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples a label (B, H, W) at the same corners: (B, h, w)."""
    return F.interpolate(label[:, None].double(), size=size, mode="nearest")[:, 0].to(label.dtype)


def unlabelled_region(
    label: Tensor, size: tuple[int, int], roi: Literal["nearest", "any"] = "nearest"
) -> Tensor:
    """The region Ω_U of pixels without a label, at the prediction's resolution.

    Args:
        label: (B, H, W) int64; class, -1 unlabelled, -2 padding.
        size: (h, w) of the prediction.
        roi: ``nearest`` samples the mask as the official code does. It misses thin strokes: at a
            quarter of the resolution, a pixel counts as labelled only if the upper left one of the
            4 × 4 pixels that it covers is labelled. ``any``: a pixel also counts as labelled if any
            of the pixels that it covers is.

    Returns:
        (B, 1, h, w) bool.
    """
    region = nearest(label == UNLABELLED, size)
    if roi == "any":
        labelled = F.adaptive_max_pool2d((label >= 0)[:, None].float(), size) > 0
        region = region & ~labelled
    return region
