"""Map: which edges of a tile may be, and which are in every case, in the tree of the image.

By the cycle property an edge that is not in its tile's tree is in no tree. An edge of the tile's
tree can be displaced by a path outside of the tile only if it is the largest on the path between
two vertices at the border. In the order of Kruskal's algorithm it then joins two sets with border
vertices: such edges are the *candidates*, one fewer than border vertices. All others are decided.
Without the candidates each border vertex is in a tree of its own, its *zone*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..dendrogram import dendrogram
from ..filter import leaf_to_root
from ..graph import graph
from ..mst import mst
from .geometry import Array, Tile
from .local import LocalTree, Steiner, local_tree, steiner


@dataclass
class Part:
    """What is undecided in a tile, or in several that are merged; NumPy arrays, to be sent.

    Attributes:
        vertex: (n,) int64, the image's numbers of the border vertices. Each stands for its zone.
        open: (n,) int8: how many neighbours each has elsewhere.
        features: (C, n), the guide there.
        ends: (2, K): the zones that each candidate joins, as positions in ``vertex``.
        weight: (K,) of the candidates.
        edge: (K,) int64, their numbers in the image, ascending.
        chosen: int64: the edges that merges have decided to be in the tree.
    """

    vertex: Array
    open: Array
    features: Array
    ends: Array
    weight: Array
    edge: Array
    chosen: Array


def candidates(
    guide: Tensor, tile: Tile, *, metric: str = "sqeuclidean", mask: Tensor | None = None
) -> Part:
    """The candidates of a tile.

    Args:
        guide: (C, *tile.shape) floating point, on the CPU: the tile's features.
        tile: Where it is.
        metric: As for :func:`treefilter.edge_weight`.
        mask: (*tile.shape) bool: false where there is no image, if that is anywhere. Such a vertex
            is a tree of its own.

    Raises:
        ValueError: If a feature is NaN or infinite where the mask is true.
    """
    local = local_tree("candidates", guide, tile, metric, mask)
    return candidates_of(local, guide, steiner(local, local.border))


def candidates_of(local: LocalTree, guide: Tensor, part: Steiner) -> Part:
    """Of a tile whose tree is known, and the part of it that spans its border."""
    tile, border = local.tile, local.border
    weight = local.weight[0].numpy()[part.edge]
    decision = decide(len(part.vertex), part.ends, weight, part.at(border))
    chosen = decision.undecided
    number = np.full(len(part.vertex) + 1, -1)  # of a border vertex; the last is that of no zone
    number[part.at(border)] = np.arange(len(border))
    return Part(
        vertex=tile.vertices_in_image(border),
        open=local.open,
        features=guide.flatten(1).numpy()[:, border],
        ends=number[decision.zone[part.ends[:, chosen]]],
        weight=weight[chosen],
        edge=tile.edges_in_image(part.edge[chosen]),
        chosen=np.empty(0, np.int64),
    )


@dataclass
class Decision:
    """Of the edges of a graph: (K,) bool each.

    Attributes:
        chosen: The edges of its minimum spanning tree.
        undecided: Of these, the largest ones between two terminals.
        zone: (n,): the terminal that the other chosen edges join a vertex to, −1 for none.
    """

    chosen: Array
    undecided: Array
    zone: Array


def decide(num_nodes: int, ends: Array, weight: Array, terminal: Array) -> Decision:
    """For edges in the order of their numbers, and terminals, which are vertices."""
    if num_nodes == 0:
        none = np.zeros(0, bool)
        return Decision(none, none, np.zeros(0, np.int64))
    joined = graph(torch.from_numpy(ends), num_nodes)
    values = torch.from_numpy(weight)[None]
    tree = mst(values, joined)
    chosen = np.zeros(len(weight), bool)
    edge = tree.edge[0].numpy()
    chosen[edge[edge >= 0]] = True
    merges = dendrogram(values, tree)
    nodes = merges.parent.shape[1]
    is_terminal = torch.zeros(1, 1, nodes)
    is_terminal[..., torch.from_numpy(terminal)] = 1
    reaches = leaf_to_root(is_terminal, merges.as_tree(), torch.ones(1, nodes))[0, 0].numpy() > 0
    parent = merges.parent[0].numpy()
    reaches &= parent != np.arange(nodes)
    both = np.bincount(parent[reaches], minlength=nodes)[num_nodes:] == 2
    undecided = np.zeros(len(weight), bool)
    undecided[merges.edge[0].numpy()[both]] = True
    cut = torch.from_numpy(~chosen | undecided)
    component = mst(values.masked_fill(cut, torch.inf), joined).components[0].numpy()
    terminal_of = np.full(num_nodes, -1)
    terminal_of[component[terminal]] = terminal
    return Decision(chosen, undecided, terminal_of[component])
