"""Forests that are contracted to the vertices that matter outside: the skeletons of tiles.

A path of a tree between two vertices that are kept becomes one edge. It has the product of the
affinities along it, and the sums of what hangs from its inner vertices, as each of its two ends
receives them:

    to p = affinity · (what comes from s) + up      to s = affinity · (what comes from p) + down

for an edge from s to its parent p. An edge of the image has sums of 0. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..filter import leaf_to_root, root_to_leaf
from ..graph import graph
from ..mst import mst
from ..tree import Tree
from .geometry import Array
from .local import spanned


@dataclass
class Skeleton:
    """A forest whose edges may be contracted paths; NumPy arrays, to be sent.

    Attributes:
        vertex: (n,) int64, the image's numbers.
        terminal: The positions in ``vertex`` of those with neighbours in other tiles.
        features: (C, terminals), the guide there.
        value: (V, n) what hangs from each vertex, it included: channels of x, and a mass, of each
            group.
        ends: (2, K) positions of both ends of each edge.
        edge: (K,) int64, the image's number of a candidate, −1 for a contracted path.
        affinity: (G, K), of each group.
        toward: (2, V, K), the sums that the two ends receive from the inner vertices.
    """

    vertex: Array
    terminal: Array
    features: Array
    value: Array
    ends: Array
    edge: Array
    affinity: Array
    toward: Array


@dataclass
class Forest:
    """A rooted forest with values (1, V, n) at its vertices, and at each the edge to its parent."""

    tree: Tree
    value: Tensor
    affinity: Tensor  # (1, G, n)
    up: Tensor  # (1, V, n)
    down: Tensor

    @property
    def parent(self) -> Tensor:
        """(n,) int64."""
        return self.tree.parent[0].long()

    @property
    def child(self) -> Tensor:
        """(n,) bool: the vertices that have a parent."""
        return ~self.tree.roots[0]


def rooted(
    num_nodes: int, ends: Array, value: Array, affinity: Array, toward: Array
) -> tuple[Forest, Tensor]:
    """The forest with these edges, of a skeleton's form, and the edge of each vertex to its parent.

    The root of a tree is its lowest vertex.
    """
    weight = torch.zeros(1, ends.shape[1])
    tree = mst(weight, graph(torch.from_numpy(ends), num_nodes))
    edge = tree.edge[0].long().clamp(min=0)
    if not ends.shape[1]:
        none = torch.zeros(1, len(value), num_nodes, dtype=torch.float64)
        a = none.new_zeros(1, len(affinity), num_nodes)
        return Forest(tree, torch.from_numpy(value)[None], a, none, none), edge
    is_second = torch.from_numpy(ends)[1, edge] == torch.arange(num_nodes)
    first, second = torch.from_numpy(toward)[:, None, :, edge]
    up, down = torch.where(is_second, first, second), torch.where(is_second, second, first)
    a = torch.from_numpy(affinity)[None, :, edge]
    child = ~tree.roots[0]
    return Forest(tree, torch.from_numpy(value)[None], a * child, up * child, down * child), edge


def times(affinity: Tensor, sums: Tensor) -> Tensor:
    """(1, G, n) · (1, V, n): each group has V/G values."""
    return (affinity.unsqueeze(2) * sums.unflatten(1, (affinity.shape[1], -1))).flatten(1, 2)


def add_from_children(forest: Forest, value: Tensor, which: Tensor) -> Tensor:
    """``value``, with ``up`` of the vertices ``which``, (n,) bool, added at their parents."""
    at = which.nonzero().flatten()
    return value.index_add(2, forest.parent[at], forest.up[:, :, at])


def hanging(forest: Forest, marked: Tensor) -> Tensor:
    """(1, V, n): at marked vertices, what hangs from them, all but marked subtrees."""
    child = forest.child & ~marked
    return leaf_to_root(
        add_from_children(forest, forest.value, child), forest.tree, forest.affinity * ~marked
    )


def kept_vertices(tree: Tree, marked: Tensor, terminal: Tensor) -> Tensor:
    """(n,) bool: the marked vertices that are terminals, roots or where paths part."""
    root, parent = tree.roots[0], tree.parent[0].long()
    branches = torch.bincount(parent[marked & ~root], minlength=tree.num_nodes)
    keep = marked & (root | (branches > 1))
    keep[terminal] = True
    return keep


@dataclass
class Chains:
    """The edges of a contracted forest: of each, the lower vertex ``child`` and ``parent``."""

    child: Tensor
    parent: Tensor
    affinity: Array
    toward: Array


def contract(forest: Forest, marked: Tensor, keep: Tensor, value: Tensor) -> Chains:
    """The paths between vertices that are kept, contracted.

    Args:
        forest: With at least the marked vertices.
        marked: (n,) bool, closed under parents. Those that are not kept have one marked child.
        keep: (n,) bool, of marked vertices.
        value: (1, V, n), what hangs from marked vertices.
    """
    tree, parent, up, down = forest.tree, forest.parent, forest.up, forest.down
    inner, child = marked & ~keep, forest.child & marked
    a = forest.affinity * inner
    below = add_from_children(forest, value * inner, child & inner[parent])
    # From below, at each inner vertex: what its parent receives of it and the inner ones below.
    sums_up = leaf_to_root(below * inner, tree, a)
    # From above: what its marked child receives of it and the inner ones above.
    sums_down = root_to_leaf((value + down) * inner, tree, a)
    product = root_to_leaf(keep.double().expand(a.shape), tree, a)
    number = torch.arange(tree.num_nodes, dtype=torch.float64)
    uppermost = inner & keep[parent]
    carried = torch.stack([number * keep, number * uppermost])[None]
    through = torch.stack([inner, inner & ~uppermost])[None].double()
    kept_above, top = root_to_leaf(carried, tree, through)[0].long()

    s = (child & keep).nonzero().flatten()
    p = parent[s]
    is_path = inner[p]
    t = torch.where(is_path, top[p], s)
    through_top = times(forest.affinity[:, :, t], sums_up[:, :, t])
    toward_parent = up[:, :, t] + torch.where(is_path, through_top, 0)
    toward_child = down[:, :, s] + times(forest.affinity[:, :, s], sums_down[:, :, p])
    return Chains(
        child=s,
        parent=kept_above[p],
        affinity=(forest.affinity[:, :, s] * product[:, :, p])[0].numpy(),
        toward=torch.cat([toward_child, toward_parent]).numpy(),
    )


def prune(skeleton: Skeleton, cut: Array, terminal: Array) -> Skeleton:
    """What is left of a skeleton when the tree of the image is known.

    Args:
        skeleton: Of a tile.
        cut: The candidates that are not in the tree.
        terminal: Positions in ``skeleton.terminal``: the vertices with edges to other tiles.
    """
    if not len(skeleton.vertex):
        return skeleton
    left = ~np.isin(skeleton.edge, cut)
    count = len(skeleton.vertex)
    forest, _ = rooted(
        count,
        skeleton.ends[:, left],
        skeleton.value,
        skeleton.affinity[:, left],
        skeleton.toward[..., left],
    )
    at = torch.from_numpy(skeleton.terminal[terminal])
    marked = spanned(forest.tree, at)
    keep = kept_vertices(forest.tree, marked, at)
    value = hanging(forest, marked)
    chains = contract(forest, marked, keep, value)
    kept = keep.nonzero().flatten()
    position = torch.full((count,), -1)
    position[kept] = torch.arange(len(kept))
    return Skeleton(
        vertex=skeleton.vertex[kept.numpy()],
        terminal=position[at].numpy(),
        features=skeleton.features[:, terminal],
        value=value[0][:, kept].numpy(),
        ends=torch.stack([position[chains.child], position[chains.parent]]).numpy(),
        edge=np.full(len(chains.child), -1),
        affinity=chains.affinity,
        toward=chains.toward,
    )
