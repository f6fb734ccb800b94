"""DenseCRF, normalised cut and kernel cut losses, which share one product with a Gaussian kernel.

Tang, M., Djelouah, A., Perazzi, F., Boykov, Y., Schroers, C.: Normalized Cut Loss for
Weakly-supervised CNN Segmentation. CVPR 2018.
Tang, M., Perazzi, F., Djelouah, A., Ben Ayed, I., Schroers, C., Boykov, Y.: On Regularized Losses
for Weakly-supervised CNN Segmentation. ECCV 2018 ("rloss").

W_ij = exp(-½ (|Δxy|² / σ_xy² + |Δrgb|² / σ_rgb²)) connects all pixels of an image except padding,
and includes i = j. By default σ_xy is 100 pixels and σ_rgb 15 grey levels of 255, as the authors
have them. The sum over pairs is exact. A prediction of more than 4096 pixels is first averaged down
to at most that many (rloss halves the image). Memory is bounded; time is quadratic in the number of
pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tel_segmentation.config import Kernel
from tel_segmentation.losses.inputs import LossOutput
from tel_segmentation.losses.pairwise import (
    PairwiseLoss,
    bilateral_features,
    check,
    coarse,
    gaussian_product,
    quadratic,
)
from tel_segmentation.runtime.precision import full_precision

SIGMA_XY = 100.0
SIGMA_RGB = 15 / 255
MOST_PIXELS = 4096


class Cut(NamedTuple):
    """The sums over pairs, per image."""

    association: Tensor  # (B, K): S_kᵀ W S_k
    degree: Tensor  # (B, K): dᵀ S_k with d = W1
    total: Tensor  # (B,): 1ᵀ W 1


def _cut(
    function: str,
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    sigma_xy: float,
    sigma_rgb: float,
    ignore_index: int | None,
) -> Cut:
    label = check(
        function, logits, guide, label, ignore_index, sigma_xy=sigma_xy, sigma_rgb=sigma_rgb
    )
    prob, averaged, valid, scale = coarse(logits, guide, label, MOST_PIXELS)
    prob = prob * valid
    features = bilateral_features(averaged, sigma_xy * scale, sigma_rgb)
    columns = torch.cat((prob.detach(), valid), dim=1)
    product = gaussian_product(features, columns.flatten(2).mT).mT.reshape(columns.shape)
    product, d = product[:, :-1], product[:, -1:]
    return Cut(quadratic(prob, product), (prob * d).sum(dim=(2, 3)), (valid * d).sum(dim=(1, 2, 3)))


def _dense_crf(cut: Cut) -> Tensor:
    return (_ratio(cut.total - cut.association.sum(dim=1), cut.total)).mean()


def _norm_cut(cut: Cut) -> Tensor:
    return _ratio(cut.degree - cut.association, cut.degree).sum(dim=1).mean()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole; 0 where the whole is 0, and so the part is too."""
    return part / whole.clamp_min(torch.finfo(whole.dtype).tiny ** 0.5)


@full_precision
def dense_crf_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    sigma_xy: float = SIGMA_XY,
    sigma_rgb: float = SIGMA_RGB,
    ignore_index: int | None = None,
) -> LossOutput:
    """DenseCRF loss 1 - Σ_k S_kᵀ W S_k / 1ᵀ W 1, per image, then the mean; in [0, 1].

    rloss minimises -Σ_k S_kᵀ W S_k, which is negative and grows with the square of the number of
    pixels.

    Args:
        logits: (B, K, h, w); S is their softmax.
        guide: (B, 3, H, W), colours in [0, 1].
        label: (B, H, W) integers; class, -1 unlabelled, -2 padding, which alone is used.
        sigma_xy: Width in pixels of the guide; it is scaled to pixels of the prediction.
        sigma_rgb: Width in units of colours in [0, 1].
        ignore_index: A further number in ``label`` that means unlabelled.

    Returns:
        The loss, with neither pseudo labels nor logs.

    Raises:
        ValueError: the shapes do not match, the guide is not in [0, 1], the label has another
            number, or a width is ≤ 0. On CUDA a wrong value fails a device-side assertion instead.
    """
    cut = _cut("dense_crf_loss", logits, guide, label, sigma_xy, sigma_rgb, ignore_index)
    return LossOutput(_dense_crf(cut), {}, {})


@full_precision
def norm_cut_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    sigma_xy: float = SIGMA_XY,
    sigma_rgb: float = SIGMA_RGB,
    ignore_index: int | None = None,
) -> LossOutput:
    """Normalised cut Σ_k S_kᵀ W (1 - S_k) / dᵀ S_k with d = W1, per image, then the mean.

    This is the authors' loss plus the constant K. They also write the known labels into S; this
    function does not.

    Arguments, result and errors are those of ``dense_crf_loss``.
    """
    cut = _cut("norm_cut_loss", logits, guide, label, sigma_xy, sigma_rgb, ignore_index)
    return LossOutput(_norm_cut(cut), {}, {})


@full_precision
def kernel_cut_loss(
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    *,
    sigma_xy: float = SIGMA_XY,
    sigma_rgb: float = SIGMA_RGB,
    balance: float = 0.25,
    ignore_index: int | None = None,
) -> LossOutput:
    """Kernel cut: the normalised cut plus ``balance`` times the DenseCRF loss.

    Both parts are computed from one product W·S. Arguments, result and errors are those of
    ``dense_crf_loss``; the logs contain both parts. The default of ``balance`` is the ratio of the
    default weights of the two losses, 0.4 / 1.6.
    """
    cut = _cut("kernel_cut_loss", logits, guide, label, sigma_xy, sigma_rgb, ignore_index)
    norm_cut, dense_crf = _norm_cut(cut), _dense_crf(cut)
    logs = {"norm_cut": norm_cut.detach(), "dense_crf": dense_crf.detach()}
    return LossOutput(norm_cut + balance * dense_crf, {}, logs)


class DenseCRFLoss(PairwiseLoss):
    """``dense_crf_loss`` as a module.

    rloss multiplies its sum, which is not normalised, by 2e-9; the equal weight here is
    2e-9 · 1ᵀW1. For photographs of 513 × 513 at half resolution, as rloss has them, 1ᵀW1 is
    2.0e8 ± 0.5e8 (measured on CamVid).
    """

    term = "dense_crf"
    default_weight: float = 0.4

    def __init__(self, options: Kernel) -> None:
        super().__init__(dense_crf_loss, options, ("sigma_xy", "sigma_rgb"))


class NormCutLoss(PairwiseLoss):
    """``norm_cut_loss`` as a module; the weight of 1.6 is the authors' for DeepLab-LargeFOV."""

    term = "norm_cut"
    default_weight: float = 1.6

    def __init__(self, options: Kernel) -> None:
        super().__init__(norm_cut_loss, options, ("sigma_xy", "sigma_rgb"))


class KernelCutLoss(PairwiseLoss):
    """``kernel_cut_loss`` as a module; the weight is that of the normalised cut."""

    term = "kernel_cut"
    default_weight: float = NormCutLoss.default_weight

    def __init__(self, options: Kernel) -> None:
        super().__init__(kernel_cut_loss, options, ("sigma_xy", "sigma_rgb"))
