"""Gated CRF loss: neighbours that look alike should be labelled alike.

Obukhov, A., Georgoulis, S., Dai, D., Van Gool, L.: Gated CRF Loss for Weakly Supervised Semantic
Image Segmentation. 2019 (arXiv:1906.04651).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tel_segmentation.config import Kernel
from tel_segmentation.losses.inputs import LossOutput
from tel_segmentation.losses.pairwise import (
    PairwiseLoss,
    check,
    coarse,
    ends,
    quadratic,
    window_product,
)
from tel_segmentation.runtime.precision import full_precision


@full_precision
def gated_crf_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    radius: int = 5,
    sigma_xy: float = 24.0,
    sigma_rgb: float = 0.0226,
    ignore_index: int | None = None,
) -> LossOutput:
    """Σ_ij k_ij m_i m_j (1 - P_iᵀP_j) / Σ m over the batch, j ≠ i in a window around i.

    k_ij = exp(-½ (|Δxy|² / sigma_xy² + |Δrgb|² / sigma_rgb²)) is computed on the guide averaged
    over the area of each pixel of the prediction; m is 0 where that area contains padding, else 1.

    The default widths are the authors', converted. Their sigma_xy is 6 pixels of a prediction at
    stride 4: 24 pixels of the guide. Their sigma_rgb is 0.1 in colours divided by the standard
    deviation, which for ImageNet is 0.226 of the range: 0.0226, or 5.8 grey levels of 255. Their
    code masks padding only for the neighbour j; this function masks it for both i and j.

    Args:
        logits: (B, K, h, w).
        guide: (B, 3, H, W), colours in [0, 1].
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding, which alone is used.
        radius: Radius of the window, in pixels of the prediction.
        sigma_xy: Width in pixels of the guide; h / H converts it to pixels of the prediction.
        sigma_rgb: Width in units of colours in [0, 1].
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, with neither pseudo labels nor logs.

    Raises:
        ValueError: the shapes do not match, the guide is not in [0, 1], the label has another
            number, or a width is ≤ 0. On CUDA a wrong value fails a device-side assertion instead.
    """
    label = check(
        "gated_crf_loss",
        logits,
        guide,
        label,
        ignore_index,
        radius=radius,
        sigma_xy=sigma_xy,
        sigma_rgb=sigma_rgb,
    )
    prob, averaged, valid, scale = coarse(logits, guide, label)
    colour = averaged / sigma_rgb

    def kernel(dy: int, dx: int) -> Tensor:
        (a, b), (valid_a, valid_b) = ends(colour, dy, dx), ends(valid, dy, dx)
        distance = (a - b).square().sum(dim=1, keepdim=True)
        distance += (dy * dy + dx * dx) / (sigma_xy * scale) ** 2
        return torch.exp(-0.5 * distance) * valid_a * valid_b

    product = window_product(torch.cat((prob.detach(), valid), dim=1), kernel, radius)
    difference = product[:, -1].sum() - quadratic(prob, product[:, :-1]).sum()
    return LossOutput(difference / valid.sum().clamp_min(1), {}, {})


class GatedCRFLoss(PairwiseLoss):
    """``gated_crf_loss`` as a module.

    The authors' weight of 0.1 needs no rescaling: the formula is theirs. They start the term after
    0.5 % of the training.
    """

    term = "gated_crf"
    default_weight: float = 0.1

    def __init__(self, options: Kernel) -> None:
        super().__init__(gated_crf_loss, options, ("radius", "sigma_xy", "sigma_rgb"))
