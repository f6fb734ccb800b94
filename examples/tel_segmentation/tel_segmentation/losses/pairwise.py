"""The common part of the losses on pairs of pixels: inputs at one resolution, sums over pairs.

The losses are quadratic in the prediction S, ``Σ_k S_kᵀ W S_k`` with a symmetric W that depends on
the image alone. Only the product ``W·S`` is computed, in chunks and without an autograd graph; it
is also half of the gradient (``quadratic``). So the memory depends on the size of the prediction,
not on that of W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tel_segmentation.config import Kernel
from tel_segmentation.data.sample import PADDING
from tel_segmentation.losses.inputs import LossInputs, LossOutput, known_labels, require
from tel_segmentation.runtime.precision import full_precision, probabilities

CHUNK = 2**22
"""The most elements of a dense kernel that are in memory at a time (16 MiB in float32)."""


class Coarse(NamedTuple):
    """Prediction, guide and validity at the prediction's resolution."""

    prob: Tensor  # (B, K, h, w), float32 or float64
    guide: Tensor  # (B, 3, h, w): mean of the pixels that each one covers
    valid: Tensor  # (B, 1, h, w): 1 where none of the covered pixels is padding, else 0
    scale: float  # h / H: converts a width from pixels of the image to pixels of prob


def coarse(logits: Tensor, guide: Tensor, label: Tensor, most: int | None = None) -> Coarse:
    """Brings all inputs to the prediction's resolution, or a lower one of at most ``most`` pixels.

    Args:
        logits: (B, K, h, w).
        guide: (B, 3, H, W), colours in [0, 1].
        label: (B, H, W) integers; -2 is padding.
        most: Largest number of pixels; a larger prediction is averaged over areas.
    """
    prob = probabilities(logits)
    height, width = prob.shape[2:]
    if most is not None and height * width > most:
        shrink = 2
        while -(-height // shrink) * -(-width // shrink) > most:
            shrink += 1
        height, width = -(-height // shrink), -(-width // shrink)
        prob = F.adaptive_avg_pool2d(prob, (height, width))
    with torch.no_grad():
        averaged = F.adaptive_avg_pool2d(guide.to(prob.dtype), (height, width))
        padded = F.adaptive_max_pool2d((label == PADDING)[:, None].to(prob.dtype), (height, width))
    return Coarse(prob, averaged, 1 - padded, height / guide.shape[2])


def quadratic(x: Tensor, product: Tensor) -> Tensor:
    """xᵀWx over the last two dimensions for a symmetric W, from product = Wx, which has no graph.

    The gradient with respect to x is 2Wx, as if the product were differentiated too.
    """
    value = (x * product).sum(dim=(-2, -1))
    return 2 * value - value.detach()


@full_precision  # a backward pass may run under autocast
@torch.no_grad()
def gaussian_product(features: Tensor, x: Tensor) -> Tensor:
    """W·x with W_ij = exp(-½ |f_i - f_j|²), exactly, some rows of W at a time.

    Args:
        features: (B, N, D).
        x: (B, N, C), the same dtype.

    Returns:
        (B, N, C).
    """
    batch, count = features.shape[:2]
    rows = max(1, CHUNK // (batch * count))
    out = torch.empty_like(x)
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        distance = torch.cdist(
            features[:, some], features, compute_mode="donot_use_mm_for_euclid_dist"
        )
        out[:, some] = distance.square_().mul_(-0.5).exp_() @ x
    return out


@torch.no_grad()
def bilateral_features(guide: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """Positions / sigma_xy and colours / sigma_rgb of a guide (B, 3, h, w), as (B, hw, 5)."""
    rows, columns = (
        torch.arange(n, dtype=guide.dtype, device=guide.device) / sigma_xy for n in guide.shape[2:]
    )
    position = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return (
        torch.cat((position.expand(len(guide), -1, -1, -1), guide / sigma_rgb), dim=1).flatten(2).mT
    )


def offsets(radius: int, size: torch.Size) -> Iterator[tuple[int, int]]:
    """The steps (rows, columns) in a window, without their opposites, that fit into the image."""
    height, width = size
    for dy in range(min(radius, height - 1) + 1):
        reach = min(radius, width - 1)
        for dx in range(-reach if dy else 1, reach + 1):
            yield dy, dx


def ends(x: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Views of x (…, h, w) at both pixels of every pair that is dy ≥ 0 rows, dx columns apart."""
    height, width = x.shape[-2:]
    left, right = slice(max(0, -dx), width - max(0, dx)), slice(max(0, dx), width + min(0, dx))
    return x[..., : height - dy, left], x[..., dy:, right]


@torch.no_grad()
def window_product(x: Tensor, kernel: Callable[[int, int], Tensor], radius: int) -> Tensor:
    """W·x for a symmetric W with entries inside a window, without the centre.

    Args:
        x: (B, C, h, w).
        kernel: Returns W for all pairs that are a step (dy, dx) apart, (B, 1, h - dy, w - |dx|).
        radius: Radius of the square window.

    Returns:
        (B, C, h, w).
    """
    product = torch.zeros_like(x)
    for dy, dx in offsets(radius, x.shape[2:]):
        weight = kernel(dy, dx)
        (first, second), (to_first, to_second) = ends(x, dy, dx), ends(product, dy, dx)
        to_first += weight * second
        to_second += weight * first
    return product


class PairwiseLoss(nn.Module):
    """A loss on pairs of pixels as a module: the function, with those options that are not None."""

    term: str
    """The loss's name in logs."""
    default_weight: float
    """The loss's factor when it is added to partial cross entropy."""

    def __init__(
        self, function: Callable[..., LossOutput], options: Kernel, names: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.function = function
        values = {name: getattr(options, name) for name in names}
        self.options = {name: value for name, value in values.items() if value is not None}

    def forward(self, inputs: LossInputs) -> LossOutput:
        """The loss of a batch."""
        return self.function(
            inputs.logits,
            inputs.guide,
            inputs.label,
            ignore_index=inputs.ignore_index,
            **self.options,
        )


def check(
    function: str,
    logits: Tensor,
    guide: Tensor,
    label: Tensor,
    ignore_index: int | None = None,
    **positive: float,
) -> Tensor:
    """The label with ``ignore_index`` as unlabelled, once all arguments are checked.

    Raises:
        ValueError: shapes do not match, the guide is not in [0, 1], the label has another number
            than ``known_labels`` allows, or a width is ≤ 0. On CUDA a wrong value of the guide or
            the label fails a device-side assertion instead.
    """
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(
            f"{function}: logits must be floating point of shape (B, K, h, w), "
            f"got {logits.dtype} of {tuple(logits.shape)}"
        )
    if guide.ndim != 4 or len(guide) != len(logits) or guide.shape[1] != 3:
        raise ValueError(
            f"{function}: guide must have shape ({len(logits)}, 3, H, W), got {tuple(guide.shape)}"
        )
    label = known_labels(function, logits, label, ignore_index)
    if label.shape[1:] != guide.shape[2:]:
        raise ValueError(
            f"{function}: label must have the guide's height and width {tuple(guide.shape[2:])}, "
            f"got {tuple(label.shape[1:])}"
        )
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"{function}: {name} must be positive, got {value}")
    if guide.numel():
        low, high = guide.detach().aminmax()
        require(
            (low >= -0.1) & (high <= 1.5),
            f"{function}: guide must be colours in [0, 1], neither 0 to 255 nor"
            " normalised by mean and standard deviation",
            lambda: f"got values from {low.item():.3g} to {high.item():.3g}",
        )
    return label
