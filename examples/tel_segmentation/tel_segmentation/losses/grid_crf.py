"""Grid CRF loss: the relaxed Potts model on each pixel's eight neighbours, for gradient descent.

Marin, D., Tang, M., Ben Ayed, I., Boykov, Y.: Beyond Gradient Descent for Regularized Segmentation
Losses. CVPR 2019. This is the variant that they call GD; their better optimiser (ADM, with
α-expansion in the loop) is not implemented.
"""

from __future__ import annotations

import math

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
def grid_crf_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    sigma_rgb: float | None = None,
    ignore_index: int | None = None,
) -> LossOutput:
    """Σ_pq w_pq (1 - P_pᵀP_q) / Σ_pq 1 over the pairs of 8-neighbours, per image, then the mean.

    w_pq = exp(-½ |Δrgb|² / σ²) / |Δxy|. Pairs with a pixel in padding are left out.

    Args:
        logits: (B, K, h, w).
        guide: (B, 3, H, W), colours in [0, 1]; averaged over the area of a prediction's pixel.
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding, which alone is used.
        sigma_rgb: σ in units of colours in [0, 1]. By default each image has its own, as in the
            authors' code: the square root of the mean of |Δrgb|² over its pairs.
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, with neither pseudo labels nor logs.

    Raises:
        ValueError: the shapes do not match, the guide is not in [0, 1], the label has another
            number, or a width is ≤ 0. On CUDA a wrong value fails a device-side assertion instead.
    """
    widths = {} if sigma_rgb is None else {"sigma_rgb": sigma_rgb}
    label = check("grid_crf_loss", logits, guide, label, ignore_index, **widths)
    prob, averaged, valid, _ = coarse(logits, guide, label)

    def both(dy: int, dx: int) -> Tensor:
        first, second = ends(valid, dy, dx)
        return first * second

    def contrast(dy: int, dx: int) -> Tensor:
        first, second = ends(averaged, dy, dx)
        return (first - second).square().sum(dim=1, keepdim=True) * both(dy, dx)

    pairs = window_product(valid, both, 1).sum(dim=(1, 2, 3)).clamp_min(1)
    if sigma_rgb is None:
        variance = window_product(valid, contrast, 1).sum(dim=(1, 2, 3)) / pairs
    else:
        variance = torch.full_like(pairs, sigma_rgb**2)
    twice = 2 * variance.clamp_min(torch.finfo(prob.dtype).tiny)[:, None, None, None]

    def kernel(dy: int, dx: int) -> Tensor:
        return torch.exp(-contrast(dy, dx) / twice) * both(dy, dx) / math.hypot(dy, dx)

    product = window_product(torch.cat((prob.detach(), valid), dim=1), kernel, 1)
    difference = product[:, -1].sum(dim=(1, 2)) - quadratic(prob, product[:, :-1]).sum(dim=1)
    return LossOutput((difference / pairs).mean(), {}, {})


class GridCRFLoss(PairwiseLoss):
    """``grid_crf_loss`` as a module.

    The weight of 3.5 is the authors'. They too multiply the mean over pairs by it, but they sum
    over the 20 images of a batch, and fine-tune a network that partial cross entropy has trained
    before.
    """

    term = "grid_crf"
    default_weight: float = 3.5

    def __init__(self, options: Kernel) -> None:
        super().__init__(grid_crf_loss, options, ("sigma_rgb",))
