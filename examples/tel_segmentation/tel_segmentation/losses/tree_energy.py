"""The tree energy loss on what tel gives its losses; ``treefilter.losses`` has the formula.

The equations are the paper's 3 to 9 (the sign in Eq. 9 is a misprint). The gradient of the
high-level affinities reaches the embedding F and the backbone. Where the paper and its official
code differ, ``config.TreeEnergy`` has an option.

Everything is computed in float32 (in float64 if the logits are), also under autocast: in half
precision, small differences of embeddings and their squares would be flushed to 0.
"""

from __future__ import annotations

import typing

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation.config import TreeEnergy
from tel_segmentation.data.sample import PADDING, size_of
from tel_segmentation.losses.inputs import (
    LossInputs,
    LossOutput,
    known_labels,
    nearest,
    require,
    unlabelled_region,
)
from tel_segmentation.runtime.distributed import mean_over
from tel_segmentation.runtime.precision import probabilities
from treefilter.losses import TreeAffinity, difference, pseudo_labels
from treefilter.losses.pseudo_labels import Level, tree_affinities
from treefilter.losses.tree_energy import COLOUR_RANGE


def tree_energy_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    embed: Tensor | None = None,
    options: TreeEnergy = TreeEnergy(),  # noqa: B008 (frozen)
    void: Tensor | None = None,
    ignore_index: int | None = None,
) -> LossOutput:
    """The tree energy loss (Liang et al., CVPR 2022, Eq. 9) with its pseudo labels.

    Args:
        logits: (B, K, h, w), the main prediction.
        guide: (B, 3, H, W), colours in [0, 1], neither normalised nor jittered. Other
            numbers of channels work too.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        embed: (B, C, h, w), the embedding F; needed for the high level.
        options: see ``config.TreeEnergy``.
        void: (B, H, W) bool; pixels that have no class, needed for ``options.exclude_void``.
        ignore_index: a further number in ``label`` that means unlabelled, as 255 and -100 do in
            other libraries.

    Returns:
        The loss (a scalar, not yet multiplied by λ; 0 if every pixel is labelled); the pseudo
        labels ``final`` and, if they exist, ``low`` and ``high``; the logs ``affinity_low``,
        ``affinity_high`` (mean affinity of the trees' edges), their medians, ``unlabelled``
        (|Ω_U|), and ``sigma`` (median over the images) if it is ``auto``.

    Raises:
        ValueError: the shapes do not match; the guide is outside [0, 1] (σ is chosen for that
            range: in a normalised image, squared distances are about twenty times as large); the
            label has another number; or F is missing for the high level. On CUDA, a guide out of
            range and another number fail a device-side assertion instead, which a later operation
            reports as a RuntimeError, because this function does not wait for the device.

    Example:
        Two pixels with edge affinity a: the loss is a / (1 + a) · |P1 - P2|.

        >>> logits = torch.tensor([[0.0, 2.0], [0.0, 0.0]]).view(1, 2, 1, 2)
        >>> guide = torch.zeros(1, 3, 1, 2)  # equal colours: a = 1
        >>> label = torch.full((1, 1, 2), -1)
        >>> out = tree_energy_loss(logits, guide, label, options=TreeEnergy(level="low"))
        >>> round(out.loss.item(), 4)
        0.3808
    """
    _check(logits, guide, label, embed, options, void)
    label = known_labels("tree_energy_loss", logits, label, ignore_index)
    size = size_of(logits)
    region = unlabelled_region(label, size, options.roi)
    if options.exclude_void and void is not None:
        region = region & ~nearest(void, size)
    logs = {"unlabelled": region.sum()}
    if options.level == "none":
        return LossOutput(logits.sum() * 0, {}, logs)
    with torch.autocast(logits.device.type, enabled=False):
        probability = probabilities(logits)
        padding = nearest(label == PADDING, size)
        outside = padding if options.mask_padding else None
        levels = {}
        if "low" in options.level:
            small = _resized(guide, size, probability.dtype, options)
            away = padding.roll(1, dims=0) if options.shuffle_guide else padding
            mass = options.mass if options.sigma == "auto" else None
            levels["low"] = Level(small, options.sigma, mass, outside, away)
        if embed is not None and "high" in options.level:
            features = embed.to(probability.dtype)
            features = features.detach() if options.detach == "affinity" else features
            levels["high"] = Level(features, outside=outside)
        affinities = tree_affinities(levels, options.mst_offset)
        for level, affinity in affinities.items():
            logs |= _logs(level, affinity)
        if options.sigma == "auto" and "low" in affinities:
            logs["sigma"] = torch.as_tensor(affinities["low"].sigma).median()
        pseudo, targets = pseudo_labels(probability, affinities, options.aggregation)
        terms = [_reduced(_difference(probability, y, options), region, options) for y in targets]
        loss = torch.stack(terms).sum()
        if options.parallel == "mean":
            loss = loss / len(terms)
    return LossOutput(loss, {name: y.detach() for name, y in pseudo.items()}, logs)


def _check(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    embed: Tensor | None,
    options: TreeEnergy,
    void: Tensor | None,
) -> None:
    """Checks the options' values, the shapes, the guide's range and the inputs that are needed."""
    for name, hint in typing.get_type_hints(TreeEnergy).items():
        known, value = typing.get_args(hint), getattr(options, name)
        if typing.get_origin(hint) is typing.Literal and value not in known:
            raise ValueError(f"tree_energy_loss: {name} must be one of {known}, got {value!r}")
    if logits.dim() != 4 or not logits.is_floating_point():
        raise ValueError(
            "tree_energy_loss: logits must be floating point (B, K, h, w),"
            f" got {logits.dtype} {tuple(logits.shape)}"
        )
    batch = logits.shape[0]
    if guide.dim() != 4 or guide.shape[0] != batch or not guide.is_floating_point():
        raise ValueError(
            f"tree_energy_loss: guide must be floating point ({batch}, 3, H, W),"
            f" got {guide.dtype} {tuple(guide.shape)}"
        )
    for name, mask in (("label", label), ("void", void)):
        if mask is not None and mask.shape != guide.shape[:1] + guide.shape[2:]:
            raise ValueError(
                f"tree_energy_loss: {name} must be (B, H, W) like the guide"
                f" {tuple(guide.shape)}, got {tuple(mask.shape)}"
            )
    if "high" in options.level and (
        embed is None or embed.shape[:1] + embed.shape[2:] != logits.shape[:1] + logits.shape[2:]
    ):
        got = "none" if embed is None else tuple(embed.shape)
        raise ValueError(
            f"tree_energy_loss: embed must be (B, C, h, w) with the logits' {tuple(logits.shape)}"
            f" for the level {options.level!r}, got {got}"
        )
    if options.exclude_void and void is None:
        raise ValueError("tree_energy_loss: void must be given with exclude_void, got none")
    if options.shuffle_guide and batch < 2:
        raise ValueError("tree_energy_loss: shuffle_guide must have a batch of 2, got 1 image")
    if "low" in options.level:
        _check_range(guide, options.guide_range or COLOUR_RANGE)


def _check_range(guide: Tensor, limits: tuple[float, float]) -> None:
    if guide.numel() == 0:
        return
    low, high = guide.detach().aminmax()
    inside = (low >= limits[0]) & (high <= limits[1])  # false for NaN
    message = (
        f"tree_energy_loss: guide must have values in [{limits[0]}, {limits[1]}]:"
        " colours in [0, 1], neither normalised by mean and deviation nor 0 to 255, unless"
        " guide_range allows it"
    )
    require(inside, message, lambda: f"got values from {low.item():.3g} to {high.item():.3g}")


def _resized(
    guide: Tensor, size: tuple[int, int], dtype: torch.dtype, options: TreeEnergy
) -> Tensor:
    """The guide at the prediction's resolution; by default resized as in the official code."""
    with torch.no_grad():
        if options.resize == "area":
            small = F.interpolate(guide.to(dtype), size=size, mode="area")
        else:
            smooth = options.resize == "antialias"
            small = F.interpolate(guide.to(dtype), size, mode="bilinear", antialias=smooth)
        return small.roll(1, dims=0) if options.shuffle_guide else small


def _logs(level: str, affinity: TreeAffinity) -> dict[str, Tensor]:
    """Mean and median affinity of the trees' edges; a GPU is not waited for."""
    if affinity.tree.num_nodes == 1:
        return {}
    edges = affinity.edges.detach().masked_fill(affinity.tree.edge < 0, torch.nan)
    return {f"affinity_{level}": edges.nanmean(), f"affinity_{level}_median": edges.nanmedian()}


def _difference(probability: Tensor, pseudo: Tensor, options: TreeEnergy) -> Tensor:
    """δ(P, Ỹ) at every pixel, (B, 1, h, w)."""
    pseudo = pseudo.detach() if options.detach == "target" else pseudo
    total = difference(probability, pseudo, options.delta)
    return total / probability.shape[1] if options.classes == "mean" else total


def _reduced(term: Tensor, region: Tensor, options: TreeEnergy) -> Tensor:
    """The mean over Ω_U."""
    inside = term * region
    if options.reduction == "image":
        count = region.flatten(1).sum(1).clamp_min(1)
        return (inside.flatten(1).sum(1) / count).mean()
    everywhere = options.reduction == "global"
    return mean_over(inside.sum(), region.sum(), across_processes=everywhere)


class TreeEnergyLoss(nn.Module):
    """``tree_energy_loss`` as a module."""

    default_weight: float = 0.4  # λ of the paper, Eq. 1

    def __init__(self, options: TreeEnergy | None = None) -> None:
        super().__init__()
        self.options = options or TreeEnergy()

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The term for one batch."""
        return tree_energy_loss(
            inputs.logits,
            inputs.guide,
            inputs.label,
            inputs.embed,
            self.options,
            inputs.void,
            inputs.ignore_index,
        )
