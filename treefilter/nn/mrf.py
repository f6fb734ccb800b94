"""The tree filter as inference in a Markov random field, with a confidence for every vertex."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._checks import (
    autocast_device,
    check_choice,
    check_devices,
    check_number,
    check_size,
    check_tensor,
)
from ..affinity import affinity
from ..edge_weight import edge_weight
from ..filter import filter
from ..graph import grid
from ..mst import mst
from ..random_tree import METHODS, random_tree
from ._layer import Layer

NO_RANDOM = "none"


class TreeFilterMRF2d(Layer):
    """The confidence-weighted tree filter as a residual layer (Song et al., NeurIPS 2020).

        y = x + γ · F(c · x) / F(c),   c = sigmoid(a linear function of x), one per group

    F is the sum over the tree with affinities exp(−|e_u − e_v|² − |g_u − g_v|² − β²) between
    neighbours, e a linear function of x and g of the guide. A larger β² gives neighbours less
    weight. A vertex's own value has the weight exp(−β²). Trees are those of g. A new layer is the
    identity: γ, β and the confidence's weights are 0.

    Args:
        in_channels: Channels C of x.
        guide_channels: Channels of the guide.
        embed_channels: Channels of e and g.
        groups: Number of groups; must divide C and ``embed_channels``.
        random: Trees in training: ``"race"`` or ``"tournament"``, the method of
            :func:`treefilter.random_tree` (neighbours that are alike are joined more often), or
            ``"none"``: minimum spanning trees as in evaluation.
        eps: Added to the denominator.

    Shape:
        x (B, C, H, W) and guide (B, Cg, H', W') give (B, C, H, W); the guide is averaged to the
        size of x. Differentiable in both and in the parameters; trees have no gradient.

    Raises:
        ValueError: In the constructor for sizes below 1, groups that do not divide, or an unknown
            name; in ``forward`` for shapes that do not fit.
        TypeError: For arguments of the wrong type.

    Example:
        >>> import torch, treefilter as tf
        >>> layer = tf.nn.TreeFilterMRF2d(16, 3, embed_channels=8, groups=4)
        >>> layer(torch.rand(2, 16, 6, 7), torch.rand(2, 3, 12, 14)).shape
        torch.Size([2, 16, 6, 7])
    """

    def __init__(
        self,
        in_channels: int,
        guide_channels: int,
        embed_channels: int,
        groups: int = 1,
        random: str = "race",
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        name = "TreeFilterMRF2d"
        sizes = {
            "in_channels": in_channels,
            "guide_channels": guide_channels,
            "embed_channels": embed_channels,
            "groups": groups,
        }
        sizes = {size: check_size(name, size, value) for size, value in sizes.items()}
        in_channels, guide_channels, embed_channels, groups = sizes.values()
        for size in ("in_channels", "embed_channels"):
            if sizes[size] % groups:
                raise ValueError(
                    f"{name}: {size} must be divisible by groups, got {sizes[size]} and {groups}"
                )
        check_choice(name, "random", random, (*METHODS, NO_RANDOM))
        self.groups, self.random, self.eps = groups, random, check_number(name, "eps", eps)
        self.embed = nn.Conv2d(in_channels, embed_channels, 1, bias=False)
        self.guide = nn.Conv2d(guide_channels, embed_channels, 1, bias=False)
        self.confidence = nn.Conv2d(in_channels, groups, 1, bias=False)
        self.beta = nn.Parameter(torch.zeros(groups))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values, with which the layer is the identity."""
        for conv in (self.embed, self.guide):
            nn.init.normal_(conv.weight, std=0.01)
        for parameter in (self.confidence.weight, self.beta, self.gamma):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """``x`` (B, C, H, W) plus its filtered values."""
        for name, value, conv in (("x", x, self.embed), ("guide", guide, self.guide)):
            self._check(name, value, conv.in_channels, x)
        check_devices("TreeFilterMRF2d", "x", x, guide=guide, parameters=self.gamma)
        size = x.shape[2], x.shape[3]
        embed = self.embed(x)
        guide = self.guide(functional.adaptive_avg_pool2d(guide, size))
        confidence = self.confidence(x).sigmoid()
        with torch.autocast(autocast_device(x), enabled=False):
            graph = grid(*size)
            joint = edge_weight(guide.detach(), graph)
            if self.training and self.random != NO_RANDOM:
                tree = random_tree(graph, joint, method=self.random)
            else:
                tree = mst(joint, graph)
            # The distances of e and g add up to that of both side by side, group by group.
            both = torch.cat([t.unflatten(1, (self.groups, -1)) for t in (embed, guide)], 2)
            weight = edge_weight(both.flatten(0, 1), graph).unflatten(0, (-1, self.groups))
            own = torch.exp(-self.beta.square()).to(weight.dtype).view(-1, 1)
            a = affinity(weight, tree) * own
            values = x.to(a.dtype).flatten(2).unflatten(1, (self.groups, -1))
            conf = confidence.to(a.dtype).flatten(2).unsqueeze(2)
            signal = torch.cat([values * conf, conf], 2)  # (B, G, C/G + 1, N)
            total = filter(signal.flatten(1, 2), tree, a, normalize=False).view(signal.shape)
            total = total + (own - 1).unsqueeze(1) * signal
            mean = total[:, :, :-1] / (self.eps + total[:, :, -1:])
            return x + (self.gamma * mean.reshape(x.shape)).to(x.dtype)

    def _check(self, name: str, value: Tensor, channels: int, x: Tensor) -> None:
        function = "TreeFilterMRF2d"
        check_tensor(function, name, value, "float")
        fits = value.ndim == 4 and value.shape[:2] == (x.shape[0], channels)
        if not fits or 0 in value.shape[2:]:
            raise ValueError(
                f"{function}: {name} must have shape (B, {channels}, H, W) with H, W > 0, "
                f"got {tuple(value.shape)}"
            )
        own = self.embed.weight.dtype
        mixed = not value.is_meta and torch.is_autocast_enabled(value.device.type)
        if value.dtype != own and (not mixed or torch.float64 in (value.dtype, own)):
            raise TypeError(
                f"{function}: {name} must be {own} like the layer's parameters, got {value.dtype}"
            )

    def extra_repr(self) -> str:
        """The configuration, for ``print``."""
        return f"groups={self.groups}, random={self.random!r}"
