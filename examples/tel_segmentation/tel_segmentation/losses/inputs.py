"""The inputs and the output of a loss.

The dense labels are not among the inputs: a batch has them for diagnosis only, and they never
reach a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import treefilter.losses
from tel_segmentation.data.sample import PADDING, UNLABELLED

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class LossInputs(NamedTuple):
    """Everything that a term of the loss may use."""

    logits: Tensor  # (B, K, h, w): the main prediction
    embed: Tensor | None  # (B, 256, h, w): the high-level embedding F
    guide: Tensor  # (B, 3, H, W): colours in [0, 1], not normalised, not jittered
    label: Tensor  # (B, H, W) int64: class, -1 unlabelled, -2 padding
    iteration: int = 0
    teachers: tuple[Tensor, ...] = ()  # (B, K, h, w) each: logits of the networks that teach
    void: Tensor | None = None  # (B, H, W) bool: pixels that have no class, if that is known
    ignore_index: int | None = None  # a further number in label that means unlabelled


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


def known_labels(
    function: str, logits: Tensor, label: Tensor, ignore_index: int | None = None
) -> Tensor:
    """The label with ``ignore_index`` as unlabelled, checked: a loss knows no other numbers.

    Otherwise a label of another library, which has 255 or -100 for "no label", would leave nothing
    unlabelled, and a loss on the unlabelled pixels would be 0.

    Args:
        function: the loss's name, for messages.
        logits: (B, K, h, w).
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding, or ``ignore_index``.
        ignore_index: a further number that means unlabelled.

    Returns:
        (B, H, W) int64.

    Raises:
        ValueError: the label is not one map of integers for each image, or has another number. On
            CUDA another number fails a device-side assertion instead, which a later operation
            reports as a RuntimeError, because this function does not wait for the device.
    """
    if label.ndim != 3 or len(label) != len(logits) or label.dtype not in INTEGERS:
        raise ValueError(
            f"{function}: label must be integers of shape ({len(logits)}, H, W),"
            f" got {label.dtype} of {tuple(label.shape)}"
        )
    label = label.to(torch.int64)
    if ignore_index is not None:
        label = label.masked_fill(label == ignore_index, UNLABELLED)
    if label.numel() == 0:
        return label
    least, most = label.aminmax()
    classes = logits.shape[1]
    expected = (
        f"{function}: label must be 0 to {classes - 1}, {UNLABELLED} (unlabelled) or {PADDING}"
        " (padding)" + ("" if ignore_index is None else f", or {ignore_index}")
    )
    require(
        (least >= PADDING) & (most < classes),
        expected,
        lambda: (
            f"has also {_listed(label[(label < PADDING) | (label >= classes)])}: ignore_index is"
            " the number that means no label"
        ),
    )
    return label


def require(condition: Tensor, message: str, got: Callable[[], str]) -> None:
    """Raises a ValueError unless a scalar is true; on CUDA by an asynchronous assertion.

    Args:
        condition: a scalar, bool.
        message: what must hold.
        got: what there is instead, for the ValueError only: it may wait for the device.
    """
    if condition.is_cuda:
        torch._assert_async(condition, message)
    elif not condition:
        raise ValueError(f"{message}; {got()}")


def _listed(values: Tensor, most: int = 5) -> str:
    numbers = values.unique().tolist()
    return ", ".join([*map(str, numbers[:most]), *(["…"] if len(numbers) > most else [])])


def unlabelled_region(
    label: Tensor, size: tuple[int, int], roi: Literal["nearest", "any"] = "any"
) -> Tensor:
    """The region Ω_U of pixels without a label, at the prediction's resolution.

    Args:
        label: (B, H, W) int64; class, -1 unlabelled, -2 padding.
        size: (h, w) of the prediction.
        roi: see ``treefilter.losses.unlabelled_region``.

    Returns:
        (B, 1, h, w) bool.
    """
    return treefilter.losses.unlabelled_region(label, size, unlabelled=UNLABELLED, roi=roi)
