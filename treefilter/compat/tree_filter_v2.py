"""The second learnable tree filter (Song et al., NeurIPS 2020).

The classes have the research code's names, arguments, defaults and parameters, so that its
checkpoints load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._checks import check_integer
from ..filter import filter
from ..graph import grid
from ..random_tree import random_tree
from ..tree import Tree
from ._ranks import edges_of, rooted
from .tree_filter import (
    Distance,
    Mapping,
    check_filter_arguments,
    check_image,
    grid_tree,
    grid_weight,
    norm2_distance,
    parent_distance,
)


class MinimumSpanningTree(nn.Module):
    """The minimum spanning trees of a guide's image grid, as raw trees.

    Args:
        distance_func: Distances of two slices of the guide (B, C, H', W'), as (B, H', W').
        mapping_func: Applied to the weights; without it they stay as they are.
    """

    def __init__(self, distance_func: Distance, mapping_func: Mapping | None = None) -> None:
        super().__init__()
        self.distance_func = distance_func
        self.mapping_func = mapping_func

    @torch.no_grad()
    def forward(self, guide_in: Tensor) -> Tensor:
        """``guide_in`` (B, C, H, W) → (B, N − 1, 2) int32."""
        check_image("MinimumSpanningTree", "guide_in", guide_in)
        weight = grid_weight(guide_in, self.distance_func)
        weight = weight if self.mapping_func is None else self.mapping_func(weight)
        return grid_tree(weight, *guide_in.shape[2:])


class RandomSpanningTree(nn.Module):
    """Random spanning trees of a guide's image grid, as raw trees.

    Args:
        distance_func: As for :class:`MinimumSpanningTree`.
        mapping_func: Applied to the negative weights; large values are preferred.
        method: As for :func:`treefilter.random_tree`: the research code's ``"tournament"``, or the
            much faster ``"race"``, which does not prefer edges of high number.
    """

    def __init__(
        self,
        distance_func: Distance,
        mapping_func: Mapping | None = None,
        method: str = "tournament",
    ) -> None:
        super().__init__()
        self.distance_func = distance_func
        self.mapping_func = mapping_func
        self.method = method

    @torch.no_grad()
    def forward(self, guide_in: Tensor) -> Tensor:
        """``guide_in`` (B, C, H, W) → (B, N − 1, 2) int32."""
        check_image("RandomSpanningTree", "guide_in", guide_in)
        weight = grid_weight(guide_in, self.distance_func).double()
        value = weight if self.mapping_func is None else self.mapping_func(-weight)
        smallest, largest = torch.finfo(torch.float32).tiny, torch.finfo(torch.float64).max
        graph = grid(*guide_in.shape[2:])
        tree = random_tree(graph, -value.clamp(smallest, largest).log(), method=self.method)
        return edges_of(tree, graph._ends(guide_in.device).T.unsqueeze(0))


class TreeFilter2D(nn.Module):
    """The sum over a raw tree, not divided by the mass; a vertex's own value may weigh less.

    Args:
        groups: Number of groups that the channels are split into.
        distance_func: Squared Euclidean distance by default.
        mapping_func: From negative distances to weights.
    """

    norm2_distance = staticmethod(norm2_distance)

    def __init__(
        self,
        groups: int = 1,
        distance_func: Distance | None = None,
        mapping_func: Mapping = torch.exp,
    ) -> None:
        super().__init__()
        self.groups = check_integer("TreeFilter2D", "groups", groups)
        self.mapping_func = mapping_func
        self.distance_func = norm2_distance if distance_func is None else distance_func

    def forward(
        self,
        feature_in: Tensor,
        embed_in: Tensor,
        tree: Tensor,
        guide_in: Tensor | None = None,
        self_dist_in: Tensor | None = None,
    ) -> Tensor:
        """A x + (s − 1) x with s = m(−|self_dist_in|²) and affinities m(−d) s."""
        joined = rooted("TreeFilter2D", tree)
        images = {"feature_in": feature_in, "embed_in": embed_in}
        optional = {"guide_in": guide_in, "self_dist_in": self_dist_in}
        images.update({name: t for name, t in optional.items() if t is not None})
        check_filter_arguments("TreeFilter2D", joined, self.groups, **images)
        a = self._affinity(embed_in, tree, joined)
        if guide_in is not None:
            a = a * self._affinity(guide_in, tree, joined)
        x = feature_in.flatten(2)
        if self_dist_in is None:
            return filter(x, joined, a, normalize=False).view(feature_in.shape)
        own = self_dist_in.reshape(x.shape[0] * self.groups, -1, joined.num_nodes)
        s = self.mapping_func(-self.distance_func(own, 0)).view(x.shape[0], self.groups, -1)
        y = filter(x, joined, a * s, normalize=False)
        y = y + (x.unflatten(1, (self.groups, -1)) * (s - 1).unsqueeze(2)).flatten(1, 2)
        return y.view(feature_in.shape)

    def _affinity(self, embed: Tensor, raw: Tensor, tree: Tree) -> Tensor:
        distance = parent_distance(embed, raw, tree, self.groups, self.distance_func)
        return self.mapping_func(-distance)


class TreeFilterV2(nn.Module):
    """The filter as a residual layer: x + γ · F(conf · x) / F(conf).

    Args:
        guide_channels: Channels of the guide.
        in_channels: Channels of the feature.
        embed_channels: Channels that both are projected to.
        num_groups: Number of groups.
        eps: Added to the denominator.
    """

    def __init__(
        self,
        guide_channels: int,
        in_channels: int,
        embed_channels: int,
        num_groups: int = 1,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.guide_channels = guide_channels
        self.in_channels = in_channels
        self.embed_channels = embed_channels
        self.num_groups = num_groups
        self.embed_layer = nn.Conv2d(in_channels, embed_channels, 1, bias=False)
        self.conf_layer = nn.Conv2d(in_channels, num_groups, 1, bias=False)
        self.guide_layer = nn.Conv2d(guide_channels, embed_channels, 1, bias=False)
        self.beta = nn.Parameter(torch.zeros(num_groups))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.rst_layer = RandomSpanningTree(norm2_distance, torch.exp)
        self.mst_layer = MinimumSpanningTree(norm2_distance, torch.exp)
        self.tree_filter_layer = TreeFilter2D(groups=num_groups)
        self.reset_parameter()

    def reset_parameter(self) -> None:
        """The initial values: the layer is the identity."""
        nn.init.constant_(self.conf_layer.weight, 0)
        nn.init.normal_(self.embed_layer.weight, std=0.01)
        nn.init.normal_(self.guide_layer.weight, std=0.01)
        nn.init.constant_(self.gamma, 0)
        nn.init.constant_(self.beta, 0)

    def forward(self, feature: Tensor, guide: Tensor) -> Tensor:
        """``feature`` (B, C, H, W) and ``guide`` (B, Cg, H', W') → like ``feature``.

        Trees are random in training, and minimum spanning trees otherwise.
        """
        embed = self.embed_layer(feature)
        guide = self.guide_layer(
            functional.adaptive_avg_pool2d(guide, (feature.shape[2], feature.shape[3]))
        )
        tree = (self.rst_layer if self.training else self.mst_layer)(guide)
        beta = self.beta.view(1, -1, 1, 1).expand(embed.shape[0], -1, *embed.shape[2:])
        conf = self.conf_layer(feature).sigmoid()
        mass = self.tree_filter_layer(conf, embed, tree, guide, beta)
        groups = (self.num_groups, -1)
        weighted = (feature.unflatten(1, groups) * conf.unsqueeze(2)).flatten(1, 2)
        total = self.tree_filter_layer(weighted, embed, tree, guide, beta)
        mean = total.unflatten(1, groups) / (self.eps + mass.unsqueeze(2))
        return self.gamma * mean.flatten(1, 2) + feature
