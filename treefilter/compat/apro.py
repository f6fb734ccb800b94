"""Affinity propagation (Li et al., *Label-efficient segmentation via affinity propagation*, 2023).

The classes have the research code's names, arguments and defaults. There is no gradient, as there:
what comes out is a pseudo label. New code calls ``treefilter.filter(…, path="min")``: the same, for
all channels at once, with gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._autograd import values_of
from .._checks import check_devices, check_sigma, check_tensor
from ..affinity import affinity
from ..filter import filter
from ._ranks import rooted
from .tree_filter import check_filter_arguments, check_image, norm2_distance


def gp_forward(edges: Tensor, edge_weight: Tensor, prob: Tensor, sigma: float) -> Tensor:
    """y_i = Σ_j K_ij p_j / Σ_j K_ij with K_ij = exp(−M_ij / σ²), M_ij the largest weight on i…j.

    That is ``treefilter.filter(path="min")``, since exp falls: the smallest affinity on a path is
    that of the largest weight. The research code visits all pairs.

    Args:
        edges: (B, N − 1, 2) int32, raw trees.
        edge_weight: (B, N − 1), floating point.
        prob: (B, N), floating point.
        sigma: σ > 0.

    Returns:
        (B, N), like ``prob``. No gradient.
    """
    function = "gp_forward"
    tree = rooted(function, edges)
    for name, value, size in (
        ("edge_weight", edge_weight, tree.num_nodes - 1), ("prob", prob, tree.num_nodes),
    ):  # fmt: skip
        check_tensor(function, name, value, "float")
        expected = (tree.parent.shape[0], size)
        if value.shape != expected:
            raise ValueError(
                f"{function}: {name} must have shape {expected}, got {tuple(value.shape)}"
            )
        check_devices(function, "edges", edges, **{name: value})
    numbers = ~edge_weight.isnan().any()
    known = values_of(numbers)
    if known is not None and not known:
        raise ValueError(f"{function}: edge_weight must not be NaN, got NaN")
    if numbers.is_cuda:
        torch._assert_async(numbers, f"{function}: edge_weight must not be NaN")
    width = check_sigma(function, sigma, torch.float64) ** 2
    a = affinity(edge_weight.detach().double(), tree, width)
    return filter(prob.detach().unsqueeze(1), tree, a, path="min").squeeze(1).to(prob.dtype)


class Global_APro(nn.Module):  # noqa: N801  the research code's name
    """Propagation along a tree, weighted by the largest difference of ``embed_in`` on the path."""

    def forward(
        self, feature_in: Tensor, embed_in: Tensor, tree: Tensor, zeta_g: float = 0.01
    ) -> Tensor:
        """``feature_in`` (B, 1, H, W), ``embed_in`` (B, C, H, W), raw ``tree`` → (B, 1, H, W)."""
        check_image("Global_APro", "embed_in", embed_in)
        check_filter_arguments("Global_APro", rooted("Global_APro", tree), 1, embed_in=embed_in)
        batch, _, height, width = embed_in.shape
        if feature_in.numel() != batch * height * width:
            raise ValueError(
                f"Global_APro: feature_in must have shape {(batch, 1, height, width)}, "
                f"got {tuple(feature_in.shape)}"
            )
        embed = embed_in.flatten(2)
        ends = tree.long().unsqueeze(1).expand(-1, embed.shape[1], -1, -1)
        weight = norm2_distance(embed.gather(2, ends[..., 0]), embed.gather(2, ends[..., 1]))
        out = gp_forward(tree, weight, feature_in.reshape(batch, -1), zeta_g)
        return out.view(batch, 1, height, width)


class Local_APro(nn.Module):  # noqa: N801
    """Repeated averaging over a window, weighted by differences of colour."""

    def __init__(self, kernel_size: int = 5, zeta_s: float = 0.15, num_iter: int = 20) -> None:
        super().__init__()
        if kernel_size % 2 != 1:
            raise ValueError(f"Local_APro: kernel_size must be odd, got {kernel_size}")
        self.kernel_size = kernel_size
        self.zeta_s = zeta_s
        self.num_iter = num_iter

    @torch.no_grad()
    def forward(self, img: Tensor, feat: Tensor, masked_box: Tensor | None = None) -> Tensor:
        """``img`` (B, C, H, W) and ``feat`` (B, H, W), optionally a mask like it → (B, H, W)."""
        batch, height, width = feat.shape
        colours = img.float() + 10  # what lies outside is 0, and unlike any colour
        around = self._windows(colours).unflatten(1, (img.shape[1], -1))
        difference = around - colours.reshape(batch, -1, 1, height * width)
        affinity = torch.exp(-(difference.square() / self.zeta_s**2).sum(1))
        total = affinity.sum(1) + 1e-10
        mask = None if masked_box is None else masked_box.reshape(batch, height, width)
        feat = feat if mask is None else feat * mask
        for _ in range(self.num_iter):
            mean = (self._windows(feat.unsqueeze(1)) * affinity).sum(1) / total
            feat = mean.view(batch, height, width)
            feat = feat if mask is None else feat * mask
        return feat

    def _windows(self, x: Tensor) -> Tensor:
        return functional.unfold(x, self.kernel_size, padding=self.kernel_size // 2)
