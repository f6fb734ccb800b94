"""The tree energy loss; the package's docstring has the formula."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .._autograd import values_of
from .._checks import (
    autocast_device,
    check_choice,
    check_devices,
    check_number,
    check_tensor,
)
from ..sigma_for_mass import check_auto
from ._checks import check_label, check_map
from .difference import DELTAS, difference
from .pseudo_labels import AGGREGATIONS, Level, pseudo_labels, tree_affinities
from .region import ROIS, region_of

REDUCTIONS = ("batch", "image")
COLOUR_RANGE = (-0.1, 1.5)  # excludes images normalised by mean and deviation, or from 0 to 255


def tree_energy(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    embed: Tensor | None = None,
    *,
    sigma: float | Tensor | Literal["auto"] = 0.02,
    mass: float | None = None,
    unlabelled: int = -1,
    aggregation: str = "LH-C",
    delta: str = "l1",
    reduction: str = "batch",
    offset: float = 0.0,
    roi: str = "any",
) -> Tensor:
    r"""The tree energy loss (Liang et al., CVPR 2022, Eq. 9).

    Where a network's prediction has no label to learn from, it learns to agree with itself along
    trees of similar pixels. To be added, times 0.4 in the paper, to the cross entropy of the
    labelled pixels. Computed in float32 (float64 if the logits are), also under autocast.

    Args:
        logits: (B, K, h, w), the prediction.
        guide: (B, C, H, W), the image as colours in [0, 1], neither normalised nor jittered;
            resized to (h, w) bilinearly.
        label: (B, H, W) integers: classes, ``unlabelled``, or others, of pixels to leave out.
        embed: (B, C', h, w), an embedding of the network for the high level; without it there is
            only the low level.
        sigma: σ of the low level: 0.02 for Pascal VOC, 0.002 for Cityscapes in the paper.
            ``"auto"``: for each image the σ of :func:`treefilter.sigma_for_mass`, at the
            prediction's size. The high level has no σ in either case: the network scales its
            embedding itself, and a σ by mass would undo what it learns.
        mass: For ``sigma="auto"``: the share of an image that its pixels average over, 0.005 if
            None.
        unlabelled: The number in ``label`` that means that there is none. Only these pixels have a
            loss.
        aggregation: Low then high (``"LH-C"``), high then low (``"HL-C"``) or both in parallel
            (``"LH-P"``).
        delta: ``"l1"``, ``"l2"``, ``"ce"`` or ``"dot"``, see :func:`difference`.
        reduction: Mean over the unlabelled pixels of the ``"batch"``, or mean over the images of
            the mean over each ``"image"``.
        offset: Added to the weights while trees are built; 1 makes the research code's ties.
        roi: Whether a pixel of the prediction is labelled if ``"any"`` pixel that it covers has a
            class, or the one at its upper left corner (``"nearest"``), as in the research code; see
            :func:`unlabelled_region`.

    Returns:
        A scalar; 0 if every pixel has a label. Differentiable in ``logits`` and ``embed``.

    Raises:
        ValueError: If shapes do not fit, a name is unknown, ``mass`` is not in (0, 1] or beside a
            given σ, or (on the CPU) the guide has values outside of [−0.1, 1.5]: σ is for colours
            in [0, 1].
        TypeError: If an argument is of the wrong type.

    Example:
        Two pixels with edge affinity a: the loss is a / (1 + a) · \|P1 − P2\|.

        >>> import torch, treefilter as tf
        >>> logits = torch.tensor([[0.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)
        >>> guide = torch.zeros(1, 3, 1, 2)  # equal colours: a = 1
        >>> tf.losses.tree_energy(logits, guide, torch.full((1, 1, 2), -1))
        tensor(0.3808)
    """
    _check(logits, guide, label, embed)
    share = check_auto("tree_energy", sigma, mass)
    check_choice("tree_energy", "aggregation", aggregation, AGGREGATIONS)
    check_choice("tree_energy", "delta", delta, DELTAS)
    check_choice("tree_energy", "reduction", reduction, REDUCTIONS)
    check_choice("tree_energy", "roi", roi, ROIS)
    offset = check_number("tree_energy", "offset", offset)
    unlabelled = check_label("tree_energy", unlabelled)
    classes, size = logits.shape[1], (logits.shape[2], logits.shape[3])
    region = region_of(label, size, unlabelled, classes, roi)
    with torch.autocast(autocast_device(logits), enabled=False):
        wide = torch.promote_types(logits.dtype, torch.float32)
        probability = logits.to(wide).softmax(1)
        with torch.no_grad():
            small = functional.interpolate(guide.to(wide), size, mode="bilinear")
        levels = {"low": Level(small, sigma, share)}
        if embed is not None:
            levels["high"] = Level(embed.to(wide))
        affinities = tree_affinities(levels, offset)
        _, targets = pseudo_labels(probability, affinities, aggregation)
        losses = []
        for pseudo in targets:
            inside = (difference(probability, pseudo, delta) * region).flatten(1).sum(1)
            count = region.flatten(1).sum(1)
            if reduction == "image":
                losses.append((inside / count.clamp_min(1)).mean())
            else:
                losses.append(inside.sum() / count.sum().clamp_min(1))
        return torch.stack(losses).mean()


def _check(logits: Tensor, guide: Tensor, label: Tensor, embed: Tensor | None) -> None:
    name = "tree_energy"
    check_tensor(name, "logits", logits, "float")
    check_tensor(name, "guide", guide, "float")
    check_tensor(name, "label", label, "int")
    check_devices(name, "logits", logits, guide=guide, label=label)
    for what, value in (("logits", logits), ("guide", guide)):
        check_map(name, what, value, logits.shape[0] if what == "guide" else None)
    if guide.shape[1] == 0:
        raise ValueError(f"{name}: guide must have channels, got {tuple(guide.shape)}")
    if logits.shape[1] == 0:
        raise ValueError(f"{name}: logits must have classes, got {tuple(logits.shape)}")
    if label.shape != (guide.shape[0], *guide.shape[2:]):
        raise ValueError(
            f"{name}: label must have shape (B, H, W) like the guide {tuple(guide.shape)}, "
            f"got {tuple(label.shape)}"
        )
    if embed is not None:
        check_tensor(name, "embed", embed, "float")
        check_devices(name, "logits", logits, embed=embed)
        expected = (logits.shape[0], *logits.shape[2:])
        if embed.ndim != 4 or (embed.shape[0], *embed.shape[2:]) != expected:
            raise ValueError(
                f"{name}: embed must have shape (B, C, h, w) like the logits "
                f"{tuple(logits.shape)}, got {tuple(embed.shape)}"
            )
    values = values_of(guide.detach())
    if values is not None and values.numel():
        low, high = (v.item() for v in values.aminmax())
        if not (low >= COLOUR_RANGE[0] and high <= COLOUR_RANGE[1]):
            raise ValueError(
                f"{name}: guide must have values in [0, 1], neither normalised by mean and "
                f"deviation nor 0 to 255, got values from {low:.3g} to {high:.3g}"
            )
