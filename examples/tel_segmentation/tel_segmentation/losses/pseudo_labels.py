"""Pseudo labels from affinities without trees, with which the trees are compared.

Liang et al.: Tree Energy Loss. CVPR 2022, Tab. 3c: the tree energy loss with the low-level tree
replaced by a bilateral filter, and the high-level tree by a non-local block's embedded Gaussian
(Wang, X., Girshick, R., Gupta, A., He, K.: Non-local Neural Networks. CVPR 2018). The paper does
not state their parameters. All else is as in the tree energy loss by default: |P - Ỹ| is summed
over the classes and averaged over the unlabelled pixels of the batch, with gradients through both
P and Ỹ. Padding is left out. Sums over pairs are exact; they are computed in chunks, again in the
backward pass.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tel_segmentation.config import Kernel
from tel_segmentation.data.sample import PADDING, size_of
from tel_segmentation.losses.dense_crf import SIGMA_RGB, SIGMA_XY
from tel_segmentation.losses.inputs import (
    LossInputs,
    LossOutput,
    known_labels,
    nearest,
    unlabelled_region,
)
from tel_segmentation.losses.pairwise import (
    CHUNK,
    PairwiseLoss,
    bilateral_features,
    check,
    gaussian_product,
)
from tel_segmentation.runtime.precision import full_precision, probabilities


def _loss(prob: Tensor, pseudo: Tensor, label: Tensor) -> LossOutput:
    region = unlabelled_region(label, size_of(prob))
    count = region.sum()
    difference = ((prob - pseudo).abs() * region).sum()
    return LossOutput(
        difference / count.clamp_min(1), {"final": pseudo.detach()}, {"unlabelled": count}
    )


class _Bilateral(torch.autograd.Function):
    """D⁻¹ W x with d = W1, for the Gaussian kernel W of features; its transpose is W D⁻¹."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tensor, valid: Tensor) -> Tensor:
        product = gaussian_product(features, torch.cat((x * valid, valid), dim=2))
        d = product[:, :, -1:]
        ctx.save_for_backward(features, valid, d)
        return product[:, :, :-1] / d.clamp_min(torch.finfo(d.dtype).tiny)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        features, valid, d = ctx.saved_tensors
        tiny = torch.finfo(d.dtype).tiny
        return valid * gaussian_product(features, grad / d.clamp_min(tiny)), None, None


@full_precision
def bilateral_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    sigma_xy: float = SIGMA_XY,
    sigma_rgb: float = SIGMA_RGB,
    ignore_index: int | None = None,
) -> LossOutput:
    """|P - Ỹ| on the unlabelled pixels, where Ỹ is P filtered by a bilateral filter.

    Ỹ_i = Σ_j W_ij P_j / Σ_j W_ij with W_ij = exp(-½ (|Δxy|² / sigma_xy² + |Δrgb|² / sigma_rgb²)) of
    the guide, which is resized as for the trees (bilinear). The default widths are those of rloss
    (see ``dense_crf``).

    Args:
        logits: (B, K, h, w); P is their softmax.
        guide: (B, 3, H, W), colours in [0, 1].
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        sigma_xy: Width in pixels of the guide; it is scaled to pixels of the prediction.
        sigma_rgb: Width in units of colours in [0, 1].
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, the pseudo label "final", and the number of unlabelled pixels in the logs.

    Raises:
        ValueError: the shapes do not match, the guide is not in [0, 1], the label has another
            number, or a width is ≤ 0. On CUDA a wrong value fails a device-side assertion instead.
    """
    label = check(
        "bilateral_loss", logits, guide, label, ignore_index, sigma_xy=sigma_xy, sigma_rgb=sigma_rgb
    )
    prob = probabilities(logits)
    size = size_of(prob)
    resized = F.interpolate(guide.to(prob.dtype), size, mode="bilinear", align_corners=False)
    features = bilateral_features(resized, sigma_xy * size[0] / guide.shape[2], sigma_rgb)
    valid = nearest(label != PADDING, size).to(prob.dtype).flatten(2).mT
    pseudo = _Bilateral.apply(prob.flatten(2).mT, features, valid)
    return _loss(prob, pseudo.mT.reshape(prob.shape), label)


class BilateralLoss(PairwiseLoss):
    """``bilateral_loss`` as a module, with the tree energy loss's weight."""

    term = "bilateral"
    default_weight: float = 0.4

    def __init__(self, options: Kernel) -> None:
        super().__init__(bilateral_loss, options, ("sigma_xy", "sigma_rgb"))


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    return (query @ key.mT + bias).softmax(dim=2) @ value


@full_precision
def non_local_loss(
    logits: Tensor, theta: Tensor, phi: Tensor, label: Tensor, *, ignore_index: int | None = None
) -> LossOutput:
    """|P - Ỹ| on the unlabelled pixels, where Ỹ_i = Σ_j softmax_j(θ_iᵀ φ_j) P_j.

    Args:
        logits: (B, K, h, w); P is their softmax.
        theta: (B, D, h, w), the queries: an embedding of every pixel i.
        phi: (B, D, h, w), the keys: an embedding of every pixel j.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding.
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, differentiable in logits, theta and phi; the pseudo label "final"; and the number
        of unlabelled pixels in the logs.

    Raises:
        ValueError: the shapes do not match, or the label has another number (on CUDA: see
            ``known_labels``).
    """
    label = known_labels("non_local_loss", logits, label, ignore_index)
    for name, embedding in (("theta", theta), ("phi", phi)):
        expected = (len(logits), theta.shape[1], *logits.shape[2:])
        if embedding.shape != expected:
            raise ValueError(
                f"non_local_loss: {name} must have shape {expected}, got {tuple(embedding.shape)}"
            )
    prob = probabilities(logits)
    query, key, value = (x.to(prob.dtype).flatten(2).mT for x in (theta, phi, prob))
    padding = nearest(label == PADDING, size_of(prob)).flatten(2)
    bias = torch.zeros_like(padding, dtype=prob.dtype)
    bias.masked_fill_(padding, torch.finfo(prob.dtype).min / 2)  # -inf: NaN if all is padding
    rows = max(1, CHUNK // (len(prob) * query.shape[1]))
    pieces = [
        cast(
            Tensor,
            checkpoint(
                _attend, piece, key, value, bias, use_reentrant=False, preserve_rng_state=False
            ),
        )
        for piece in query.split(rows, dim=1)
    ]
    return _loss(prob, torch.cat(pieces, dim=1).mT.reshape(prob.shape), label)


class NonLocalLoss(nn.Module):
    """``non_local_loss`` of linear embeddings of F, which are trained with the network.

    θ and φ are 1×1 convolutions to a quarter of F's channels. The weight is the tree energy loss's.
    This module has the parameters of θ and φ; the optimiser must be given them.
    """

    term = "non_local"
    default_weight: float = 0.4

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 4, 1)
        self.phi = nn.Conv2d(channels, channels // 4, 1)

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch.

        Raises:
            ValueError: there is no embedding.
        """
        if inputs.embed is None:
            raise ValueError("NonLocalLoss: inputs.embed must be the embedding F, got None")
        with torch.autocast(inputs.embed.device.type, enabled=False):
            embed = inputs.embed.to(self.theta.weight.dtype)
            return non_local_loss(
                inputs.logits,
                self.theta(embed),
                self.phi(embed),
                inputs.label,
                ignore_index=inputs.ignore_index,
            )
