"""Cross entropy where there are labels, and naive self-training where there are none.

Partial cross entropy is Eq. 2 of the paper, the mean of -log P over the labelled pixels Ω_L; with
dense labels it is full supervision. If a crop has no label, the official code returns NaN; this
loss returns 0.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation.data.sample import size_of
from tel_segmentation.losses.inputs import LossInputs, LossOutput, known_labels, unlabelled_region
from tel_segmentation.runtime.distributed import mean_over
from tel_segmentation.runtime.precision import lifted


def partial_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    reduction: Literal["batch", "global"] = "batch",
    ignore_index: int | None = None,
) -> Tensor:
    """Mean cross entropy over the labelled pixels (paper, Eq. 2).

    Args:
        logits: (B, K, H, W) floating point; half precision is converted to float32.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        reduction: ``batch``: the mean over the labelled pixels of this process's batch;
            ``global``: over those of all processes.
        ignore_index: a further number that means unlabelled.

    Returns:
        A scalar; 0, with a gradient of 0, if nothing is labelled.

    Raises:
        ValueError: the shapes do not match, or a label has another number (on CUDA: see
            ``known_labels``).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2)
        >>> label = torch.tensor([[[0, -1]]])
        >>> round(partial_cross_entropy(logits, label).item(), 4)
        0.1269
    """
    if label.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            "partial_cross_entropy: label must be (B, H, W) with the logits' size"
            f" {tuple(logits.shape)}, got {tuple(label.shape)}"
        )
    label = known_labels("partial_cross_entropy", logits, label, ignore_index)
    with torch.autocast(logits.device.type, enabled=False):
        known = label >= 0
        terms = F.cross_entropy(
            lifted(logits), label.clamp_min(-1), ignore_index=-1, reduction="none"
        )
        return mean_over(terms.sum(), known.sum(), across_processes=reduction == "global")


class PartialCrossEntropy(nn.Module):
    """``partial_cross_entropy`` as a module; with dense labels it is full supervision."""

    def __init__(self, reduction: Literal["batch", "global"] = "batch") -> None:
        super().__init__()
        self.reduction: Literal["batch", "global"] = reduction

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of one batch."""
        return partial_cross_entropy(logits, label, reduction=self.reduction)


def naive_self_training(
    logits: Tensor, label: Tensor, *, threshold: float = 0.9, ignore_index: int | None = None
) -> LossOutput:
    """Cross entropy to the network's own confident predictions on Ω_U (paper, Tab. 6).

    The target is argmax P wherever max P > threshold; it gets no gradient. At threshold 1 no pixel
    is chosen and the loss is 0, so that only partial cross entropy is left.

    Args:
        logits: (B, K, h, w).
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        threshold: in [0, 1].
        ignore_index: a further number in ``label`` that means unlabelled.

    Returns:
        The mean over the confident unlabelled pixels; the softmax as pseudo label ``final``; in the
        logs, as ``confident``, the fraction of the unlabelled pixels that are confident.

    Raises:
        ValueError: the shapes do not match, the threshold is outside [0, 1], or the label has
            another number (on CUDA: see ``known_labels``).
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"naive_self_training: threshold must be in [0, 1], got {threshold}")
    label = known_labels("naive_self_training", logits, label, ignore_index)
    with torch.autocast(logits.device.type, enabled=False):
        single = lifted(logits)
        probability = single.detach().softmax(1)
        confidence, target = probability.max(1)
        region = unlabelled_region(label, size_of(logits))[:, 0]
        chosen = region & (confidence > threshold)
        terms = F.cross_entropy(single, target, reduction="none") * chosen
        count = chosen.sum()
        logs = {"confident": count / region.sum().clamp_min(1)}
        return LossOutput(mean_over(terms.sum(), count), {"final": probability}, logs)


class NaiveSelfTraining(nn.Module):
    """``naive_self_training`` as a module."""

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The term for one batch."""
        return naive_self_training(
            inputs.logits,
            inputs.label,
            threshold=self.threshold,
            ignore_index=inputs.ignore_index,
        )
