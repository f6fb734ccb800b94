"""The pixels without a label, at the size of a prediction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .._checks import check_choice, check_integer, check_size, check_tensor
from ._checks import check_label

ROIS = ("any", "nearest")


def unlabelled_region(
    label: Tensor,
    size: tuple[int, int],
    *,
    unlabelled: int = -1,
    classes: int | None = None,
    roi: str = "any",
) -> Tensor:
    """The region Ω_U of pixels without a label, at the prediction's size: (B, 1, h, w) bool.

    Args:
        label: (B, H, W) integers.
        size: (h, w).
        unlabelled: The number that means that there is no label.
        classes: Classes are the numbers from 0 to ``classes`` − 1, or all others from 0.
        roi: A pixel of the prediction is labelled if any pixel that it covers has a class
            (``"any"``), so that no label vanishes, or else if the one at its upper left corner has
            another number (``"nearest"``), as in the research code. At a quarter of the resolution
            the latter misses most of the points and of the thin strokes.

    Example:
        >>> import torch, treefilter as tf
        >>> label = torch.full((1, 2, 4), -1)
        >>> label[0, 1, 1] = 3
        >>> tf.losses.unlabelled_region(label, (1, 2)).tolist()
        [[[[False, True]]]]
        >>> tf.losses.unlabelled_region(label, (1, 2), roi="nearest").tolist()
        [[[[True, True]]]]
    """
    function = "unlabelled_region"
    check_tensor(function, "label", label, "int")
    if label.ndim != 3:
        raise ValueError(f"{function}: label must have shape (B, H, W), got {tuple(label.shape)}")
    check_choice(function, "roi", roi, ROIS)
    unlabelled = check_label(function, unlabelled)
    classes = None if classes is None else check_size(function, "classes", classes)
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(f"{function}: size must be (h, w), got {size!r}")
    height, width = (check_integer(function, "size", length, "integers") for length in size)
    if height < 1 or width < 1:
        raise ValueError(f"{function}: size must be at least 1, got {(height, width)}")
    return region_of(label, (height, width), unlabelled, classes, roi)


def region_of(
    label: Tensor, size: tuple[int, int], unlabelled: int, classes: int | None, roi: str
) -> Tensor:
    """:func:`unlabelled_region` of arguments that are checked."""
    mask = (label == unlabelled).unsqueeze(1)
    region = functional.interpolate(mask.to(torch.uint8), size).bool()
    if roi == "nearest" or label.numel() == 0:
        return region
    known = (label >= 0) & (label != unlabelled)
    if classes is not None:
        known &= label < classes
    if torch.compiler.is_exporting():
        return region & ~_any_covered(_any_covered(known, 2, size[1]), 1, size[0]).unsqueeze(1)
    return region & (functional.adaptive_max_pool2d(known.unsqueeze(1).float(), size) == 0)


def _any_covered(known: Tensor, dim: int, size: int) -> Tensor:
    """Whether one is true of those that each of ``size`` larger pixels covers, along ``dim``.

    As adaptive_max_pool2d, which is faster, but for which torch.export takes sizes as constants.
    """
    number, length = torch.arange(size, device=known.device), known.shape[dim]
    first, last = number * length // size, ((number + 1) * length + size - 1) // size
    counts = functional.pad(
        known.cumsum(dim, dtype=torch.int32), (0, 0, 1, 0) if dim == 1 else (1, 0)
    )
    return counts.index_select(dim, last) > counts.index_select(dim, first)
