"""The first learnable tree filter (Song et al., NeurIPS 2019) and that of the Tree Energy Loss.

The classes have the research code's names, arguments and defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .._checks import check_integer, check_tensor
from ..affinity import tree_weight
from ..edge_weight import edge_weight
from ..filter import filter
from ..graph import graph, grid
from ..mst import mst
from ..tree import Tree
from ._ranks import edges_of, finite, known_tree, rooted

Distance = Callable[..., Tensor]
Mapping = Callable[[Tensor], Tensor]


def norm2_distance(fm_ref: Tensor, fm_tar: Tensor | float) -> Tensor:
    """Σ_c (a − b)², the sum over dimension 1."""
    return (fm_ref - fm_tar).square().sum(1)


def grid_weight(fm: Tensor, distance_func: Distance) -> Tensor:
    """(B, E): the distance of vertical neighbours, then that of horizontal ones."""
    pairs = (fm[:, :, :-1], fm[:, :, 1:]), (fm[..., :-1], fm[..., 1:])
    lean = fm.is_contiguous() and not torch.compiler.is_compiling()
    if distance_func is norm2_distance and lean and not torch.is_grad_enabled():
        distances = _norm2_distances(pairs)
    else:
        distances = [distance_func(*pair) for pair in pairs]
    return torch.cat([d.reshape(fm.shape[0], -1) for d in distances], 1)


def _norm2_distances(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """``norm2_distance`` of each pair: the same bits, in the memory of one difference."""
    memory, distances = None, []
    for a, b in pairs:
        if memory is None or memory.numel() < a.numel():
            memory = a.new_empty(a.numel())
        difference = torch.sub(a, b, out=memory[: a.numel()].view(a.shape))
        distances.append(difference.square_().sum(1))
    return distances


def check_image(function: str, name: str, value: Tensor) -> None:
    """ValueError if ``value`` is not (B, C, H, W)."""
    check_tensor(function, name, value, "float")
    if value.ndim != 4:
        raise ValueError(
            f"{function}: {name} must have shape (B, C, H, W), got {tuple(value.shape)}"
        )


def grid_tree(weight: Tensor, height: int, width: int) -> Tensor:
    """The raw tree (B, N − 1, 2) int32 of weights of a grid."""
    neighbours = grid(height, width)
    tree = mst(finite(weight), neighbours)
    return edges_of(tree, neighbours._ends(weight.device).T.unsqueeze(0))


class MinimumSpanningTree(nn.Module):
    """The minimum spanning trees of a guide's image grid, as raw trees.

    Args:
        distance_func: Distances of two slices of the guide (B, C, H', W'), as (B, H', W').
        mapping_func: Applied to the weights; without it, 1 is added to them. Both in the guide's
            precision, before weights are compared: the sum makes ties of small differences.
    """

    def __init__(self, distance_func: Distance, mapping_func: Mapping | None = None) -> None:
        super().__init__()
        self.distance_func = distance_func
        self.mapping_func = mapping_func

    @torch.no_grad()
    def forward(self, guide_in: Tensor, label: Tensor | None = None) -> Tensor:
        """``guide_in`` (B, C, H, W) → (B, N − 1, 2) int32.

        Where the ``label`` (B, C', H, W) of two neighbours differs and is not 0 on both, their
        weight becomes its sigmoid: these edges come first.
        """
        check_image("MinimumSpanningTree", "guide_in", guide_in)
        guide = guide_in if guide_in.dtype.itemsize > 2 else guide_in.float()
        weight = grid_weight(guide, self.distance_func)
        weight = weight + 1 if self.mapping_func is None else self.mapping_func(weight)
        if label is not None:
            if label.ndim != 4 or (label.shape[0], *label.shape[2:]) != (
                guide.shape[0],
                *guide.shape[2:],
            ):
                raise ValueError(
                    f"MinimumSpanningTree: label must be (B, C, H, W) like guide_in, "
                    f"got {tuple(label.shape)}"
                )
            sums = grid_weight(label, lambda a, b: (a + b).sum(1))
            changes = grid_weight(label, self.distance_func) * sums > 0
            weight = torch.where(changes, weight.sigmoid(), weight)
        return grid_tree(weight, *guide.shape[2:])


class TreeFilter2D(nn.Module):
    """The tree filter, along raw trees.

    Args:
        groups: Number of groups that the channels of feature and embedding are split into.
        sigma: σ of the low level.
        distance_func: Squared Euclidean distance by default; of (B·groups, C/groups, N) tensors.
        enable_log: Taken, and without effect, as in the research code.
    """

    norm2_distance = staticmethod(norm2_distance)

    def __init__(
        self,
        groups: int = 1,
        sigma: float = 0.02,
        distance_func: Distance | None = None,
        enable_log: bool = False,
    ) -> None:
        super().__init__()
        self.groups = check_integer("TreeFilter2D", "groups", groups)
        self.sigma = sigma
        self.distance_func = norm2_distance if distance_func is None else distance_func
        self.enable_log = enable_log

    def forward(
        self, feature_in: Tensor, embed_in: Tensor, tree: Tensor, low_tree: bool = True
    ) -> Tensor:
        """``feature_in`` filtered along ``tree``, weighted by ``embed_in``.

        On the low level the affinities are exp(−d/σ) and have no gradient, otherwise exp(−d).
        """
        joined = rooted("TreeFilter2D", tree)
        images = {"feature_in": feature_in, "embed_in": embed_in}
        check_filter_arguments("TreeFilter2D", joined, self.groups, **images)
        embed = embed_in if embed_in.dtype.itemsize > 2 else embed_in.float()
        distance = parent_distance(embed, tree, joined, self.groups, self.distance_func)
        a = torch.exp(-distance / self.sigma).detach() if low_tree else torch.exp(-distance)
        return filter(feature_in.flatten(2), joined, a).view(feature_in.shape)


def check_filter_arguments(function: str, tree: Tree, groups: int, **images: Tensor) -> None:
    """ValueError if images do not have the size of the tree, or channels for the groups."""
    for name, value in images.items():
        check_image(function, name, value)
        size = value.shape[2] * value.shape[3]
        batch = tree.parent.shape[0]
        if size != tree.num_nodes or value.shape[0] != batch or value.shape[1] % groups:
            raise ValueError(
                f"{function}: {name} must have batch {batch}, {tree.num_nodes} pixels like the "
                f"tree and channels divisible by {groups}, got {tuple(value.shape)}"
            )


def parent_distance(
    embed: Tensor, raw: Tensor, tree: Tree, groups: int, distance_func: Distance
) -> Tensor:
    """(B, groups, N): the distance of every vertex to its parent in ``tree``, of edges ``raw``."""
    batch, channels = embed.shape[:2]
    if distance_func is norm2_distance:  # without two copies of the embedding
        parts = embed.reshape(batch * groups, channels // groups, tree.num_nodes)
        known = known_tree(raw)
        if known is not None and known.shape == embed.shape[2:]:
            weight = edge_weight(parts, grid(*known.shape)).view(batch, groups, -1)
            return tree_weight("TreeFilter2D", weight, known)
        own = torch.arange(tree.num_nodes, dtype=torch.int32, device=embed.device)
        ends = torch.stack([own.expand(tree.parent.shape), tree.parent], 1)
        ends = ends[0] if batch == 1 else ends.repeat_interleave(groups, 0)
        return edge_weight(parts, graph(ends, tree.num_nodes)).view(batch, groups, -1)
    own = embed.flatten(2)
    above = own.gather(2, tree.parent.long().unsqueeze(1).expand(-1, channels, -1))
    split = [t.reshape(batch * groups, channels // groups, -1) for t in (own, above)]
    return distance_func(*split).view(batch, groups, -1)
