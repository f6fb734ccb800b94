"""The minimum spanning tree of one tile, and the part of it that joins its border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..edge_weight import edge_weight
from ..filter import leaf_to_root
from ..mst import mst
from ..tree import Tree
from .geometry import Array, Tile


@dataclass
class LocalTree:
    """A tile with its tree.

    Attributes:
        weight: (1, E) of the tile's edges.
        tree: The tile's own minimum spanning tree.
        border: The tile's vertices with neighbours in other tiles, ascending, without masked ones.
        open: How many such neighbours each has.
    """

    tile: Tile
    weight: Tensor
    tree: Tree
    border: Array
    open: Array

    @property
    def ends(self) -> tuple[Array, Array]:
        """Parent and edge of each vertex."""
        return self.tree.parent[0].numpy(), self.tree.edge[0].numpy()


def local_tree(
    function: str, guide: Tensor, tile: Tile, metric: str, mask: Tensor | None
) -> LocalTree:
    """The tree of a tile of a guide (C, *shape); ``mask`` (*shape) is false where there is none."""
    weight = tile_weight(guide, tile, metric, mask)
    border, number = tile.border()
    if mask is not None:
        inside = mask.flatten().numpy()[border]
        border, number = border[inside], number[inside]
    # A root at the border is a vertex that the skeleton has anyway.
    root = int(border[0]) if len(border) else 0
    wrong = f"{function}: guide must be finite, got NaN or an infinity in the tile at {tile.offset}"
    if not guide.flatten(1)[:, torch.from_numpy(border)].isfinite().all():
        raise ValueError(wrong)
    try:
        tree = mst(weight, tile.graph, root=root)
    except ValueError:
        raise ValueError(wrong) from None
    return LocalTree(tile, weight, tree, border, number)


def tile_weight(guide: Tensor, tile: Tile, metric: str, mask: Tensor | None) -> Tensor:
    """(B, E) weights of a tile's edges; +inf where an end is masked. Guide (C or B, C, *shape)."""
    guide = guide if guide.ndim > len(tile.shape) + 1 else guide[None]
    weight = edge_weight(guide, tile.graph, metric)
    return weight if mask is None else weight.masked_fill(~_both_ends(mask, tile), torch.inf)


def _both_ends(mask: Tensor, tile: Tile) -> Tensor:
    """(E,) bool: the edges of which neither end is masked."""
    graph, box = tile.graph, mask.reshape(tile.graph._box)
    kept = []
    for step in graph._directions:
        sizes = zip(step, box.shape, strict=True)
        lower, upper = zip(*(_slices(by, size) for by, size in sizes), strict=True)
        kept.append((box[lower] & box[upper]).flatten())
    return torch.cat(kept)


def _slices(by: int, size: int) -> tuple[slice, slice]:
    """Lower and upper ends of the edges with that step along an axis."""
    low, high = max(0, -by), max(0, size - max(0, by))
    return slice(low, high), slice(low + by, max(high + by, low + by))


@dataclass
class Steiner:
    """The part of a tile's tree that joins its terminals, with vertices from 0.

    Attributes:
        vertex: (n,) the tile's vertices, ascending.
        parent: (n,) the parent of each, itself at a root.
        ends, edge: (2, K) child and parent, and (K,) the tile's edge, ascending.
    """

    vertex: Array
    parent: Array
    ends: Array
    edge: Array

    def at(self, vertex: Array) -> Array:
        """Which of its vertices the tile's vertices are."""
        return np.searchsorted(self.vertex, vertex)


def steiner(local: LocalTree, terminal: Array) -> Steiner:
    """Of the paths between ``terminal``, the tile's vertices, and from them to the roots."""
    tree = local.tree
    vertex = np.flatnonzero(spanned(tree, torch.from_numpy(terminal)).numpy())
    up, number = local.ends
    parent = np.searchsorted(vertex, up[vertex])
    child = np.flatnonzero(number[vertex] >= 0)
    child = child[np.argsort(number[vertex[child]])]
    ends = np.stack([child, parent[child]])
    return Steiner(vertex, parent, ends, number[vertex[child]].astype(np.int64))


def spanned(tree: Tree, terminal: Tensor) -> Tensor:
    """(n,) bool: the vertices on paths between terminals, and from them to the roots."""
    reached = torch.zeros(1, 1, tree.num_nodes)
    reached[..., terminal] = 1
    return leaf_to_root(reached, tree, torch.ones(1, tree.num_nodes))[0, 0] > 0
