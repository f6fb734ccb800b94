"""Trees in the layout of the research code: raw edges, and vertices in the order of their ranks.

A raw tree is (B, N − 1, 2) int32, pairs of vertices. Ranked, vertex 0 has rank 0 and parents have
lower ranks than their children; ``sorted_index`` (B, N) holds the vertex of each rank,
``sorted_parent`` (B, N) the rank of its parent, ``sorted_child`` (B, N, max_adj) the ranks of its
children, 0 after the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _ops
from .._autograd import values_of
from .._checks import check_devices, check_integer, check_size, check_tensor
from ..graph import Graph, graph, grid
from ..mst import mst
from ..random_tree import random_tree
from ..tree import Tree
from ._records import Records

Ranking = tuple[Tensor, Tensor, Tensor]
_TREES: Records[Tree] = Records()  # by raw trees


def check_kind(function: str, name: str, value: Tensor, kind: str) -> None:
    """``check_tensor``, except where Dynamo traces a backward function: it refuses ``layout``."""
    if not torch.compiler.is_compiling():
        check_tensor(function, name, value, kind)


def check_edges(function: str, edge_index: Tensor) -> None:
    """ValueError if ``edge_index`` is not (B, E, 2)."""
    check_tensor(function, "edge_index", edge_index, "int")
    if edge_index.ndim != 3 or edge_index.shape[2] != 2:
        raise ValueError(
            f"{function}: edge_index must have shape (B, E, 2), got {tuple(edge_index.shape)}"
        )


def check_connected(function: str, tree: Tree) -> None:
    """ValueError if a tree does not reach all vertices; on CUDA the device asserts it."""
    if tree.num_nodes == 1:
        return
    joined = tree.edge[:, 1:].amin() >= 0  # vertex 0 is the root, and the only one
    known = values_of(joined)
    if known is not None and not known:
        number = int(tree.roots.sum(1).max())
        raise ValueError(
            f"{function}: edge_index must join all vertices, got {number} connected components"
        )
    if joined.is_cuda:
        torch._assert_async(joined, f"{function}: edge_index must join all vertices")


def graph_of(edge_index: Tensor, num_nodes: int) -> Graph:
    """The graph of (B, E, 2) edges: one for all images if they have the same list."""
    ends = edge_index.mT
    # One image, or an expanded view, as all of them pass it.
    shared = ends.shape[0] == 1 or (ends.shape[0] > 1 and edge_index.stride(0) == 0)
    if not shared and ends.shape[0] > 1:
        same = values_of((edge_index == edge_index[:1]).all())
        shared = same is not None and bool(same)
    if not shared:
        return graph(ends, num_nodes)
    known = _grid_of(ends[0], num_nodes)
    return graph(ends[0], num_nodes) if known is None else known


def _grid_of(ends: Tensor, num_nodes: int) -> Graph | None:
    """The image grid whose edges (2, E) are, in its order: for it trees are found faster."""
    given = values_of(ends)
    sides = 2 * num_nodes - ends.shape[1]  # H + W, and N is H W
    square = sides**2 - 4 * num_nodes
    if given is None or num_nodes < 4 or sides < 4 or square < 0:
        return None
    if math.isqrt(square) ** 2 != square:
        return None
    longer = (sides + math.isqrt(square)) // 2
    for height in {longer, sides - longer}:
        found = grid(height, sides - height)
        if found.num_nodes == num_nodes and torch.equal(found._ends(None).to(given.dtype), given):
            return found
    return None


def finite(weight: Tensor) -> Tensor:
    """``weight`` with +inf as the largest number: where exp overflows, there still is an edge."""
    return weight.detach().clamp(max=torch.finfo(weight.dtype).max)


def edges_of(tree: Tree, edge_index: Tensor) -> Tensor:
    """(B, N − 1, 2) int32: the rows of ``edge_index`` (1 or B, E, 2) that a tree consists of.

    The row of vertex v is v − 1.
    """
    chosen = tree.edge[:, 1:].clamp(min=0)
    if edge_index.shape[0] == 1 or edge_index.stride(0) == 0:
        rows = edge_index[0]
    else:
        rows = edge_index.flatten(0, 1)
        first = torch.arange(edge_index.shape[0], device=rows.device) * edge_index.shape[1]
        chosen = chosen + first.unsqueeze(1)
    edges = rows.index_select(0, chosen.flatten()).int().view(*chosen.shape, 2)
    _TREES.keep(tree, edges)
    return edges


def known_tree(edges: Tensor) -> Tree | None:
    """The tree, of the graph that it was found in, whose raw form ``edges`` is, if it is ours."""
    return _TREES.find(edges)


def rooted(function: str, edges: Tensor, shape: tuple[int, ...] | None = None) -> Tree:
    """Raw trees (B, N − 1, 2) as Trees with root 0; the edge of a vertex is its row."""
    check_edges(function, edges)
    known = known_tree(edges)
    if known is not None:
        row = torch.arange(-1, known.num_nodes - 1, dtype=torch.int32, device=edges.device)
        row = row.expand(known.parent.shape).contiguous()
        return Tree(known.parent, row, known.order, shape, known._plan)
    batch, size = edges.shape[:2]
    weight = torch.zeros(batch, size, device=edges.device)
    tree = mst(weight, graph_of(edges, size + 1))
    check_connected(function, tree)
    return Tree(tree.parent, tree.edge, tree.order, shape, tree._plan)


def _check_weights(function: str, edge_index: Tensor, edge_weight: Tensor, count: int) -> int:
    """The number of vertices, once all arguments fit."""
    check_edges(function, edge_index)
    check_tensor(function, "edge_weight", edge_weight, "float")
    check_devices(function, "edge_index", edge_index, edge_weight=edge_weight)
    if edge_weight.shape != edge_index.shape[:2]:
        raise ValueError(
            f"{function}: edge_weight must have shape {tuple(edge_index.shape[:2])}, "
            f"got {tuple(edge_weight.shape)}"
        )
    return check_integer(function, "vertex_count", count)


def mst_forward(edge_index: Tensor, edge_weight: Tensor, vertex_count: int) -> Tensor:
    """The minimum spanning trees of (B, E) weights, as raw trees.

    Edges are compared by (weight, number), as by the 2019 kernels; +inf counts as the largest
    number. Without a spanning tree, where those kernels never return, ValueError.
    """
    function = "mst_forward"
    count = _check_weights(function, edge_index, edge_weight, vertex_count)
    tree = mst(finite(edge_weight), graph_of(edge_index, count))
    check_connected(function, tree)
    return edges_of(tree, edge_index)


def rst_forward(edge_index: Tensor, edge_weight: Tensor, vertex_count: int) -> Tensor:
    """Random spanning trees of (B, E) positive weights, large ones preferred, as raw trees.

    The law is that of :func:`treefilter.random_tree` with ``method="tournament"``; the randomness
    is torch's, which ``torch.manual_seed`` sets.
    """
    function = "rst_forward"
    count = _check_weights(function, edge_index, edge_weight, vertex_count)
    weight = edge_weight.detach().double()
    # A weight of 0 is one whose exp was too small: the edge exists.
    cost = -weight.clamp(torch.finfo(torch.float32).tiny, torch.finfo(torch.float64).max).log()
    tree = random_tree(graph_of(edge_index, count), cost, method="tournament")
    check_connected(function, tree)
    return edges_of(tree, edge_index)


def bfs_forward(edge_index: Tensor, max_adj_per_node: int) -> Ranking:
    """Raw trees, ranked: ``sorted_index``, ``sorted_parent``, ``sorted_child``.

    ValueError if the edges are not those of trees, or a vertex has more than ``max_adj_per_node``
    children, where the 2019 kernels write out of bounds.
    """
    return ranking("bfs_forward", rooted("bfs_forward", edge_index), max_adj_per_node)


def ranking(function: str, tree: Tree, max_adj: int) -> Ranking:
    """A tree's ranks, in the reverse of the order in which leaves come first."""
    most = check_size(function, "max_adj_per_node", max_adj)
    index, parent, child, needed = _ops.ranks(tree.parent, tree.order, most)
    known = values_of(needed)
    if known is not None and len(known) and int(known.max()) > most:
        largest = int(known.max())
        raise ValueError(f"{function}: max_adj_per_node must be at least {largest}, got {most}")
    if needed.is_cuda:
        fits = (needed <= most).all()
        torch._assert_async(fits, f"{function}: max_adj_per_node is too small")
    _RANKED.keep(Ranked(tree, index.long()), index, parent)
    return index, parent, child


@dataclass(frozen=True)
class Ranked:
    """A tree with the vertices of its ranks: what the functions of a scan or a filter are given."""

    tree: Tree
    index: Tensor  # (B, N) int64, the vertex of each rank

    def to_vertices(self, values: Tensor) -> Tensor:
        """(B, N) or (B, C, N) by rank, to the same by vertex."""
        index = self._like(values)
        return torch.empty_like(values, memory_format=torch.contiguous_format).scatter_(
            -1, index, values
        )

    def to_ranks(self, values: Tensor) -> Tensor:
        """The same back."""
        return values.gather(-1, self._like(values))

    def _like(self, values: Tensor) -> Tensor:
        index = self.index if values.ndim == 2 else self.index.unsqueeze(1)
        return index.expand(values.shape)


_RANKED: Records[Ranked] = Records()  # by the vertices of ranks, and the ranks of parents


def ranked(function: str, sorted_index: Tensor, sorted_parent: Tensor) -> Ranked:
    """The tree that the ranks describe, checked."""
    for name, value in (("sorted_index", sorted_index), ("sorted_parent", sorted_parent)):
        check_kind(function, name, value, "int")
        if value.ndim != 2 or value.shape != sorted_index.shape or value.shape[1] < 1:
            raise ValueError(
                f"{function}: {name} must have shape (B, N), got {tuple(value.shape)} "
                f"beside {tuple(sorted_index.shape)}"
            )
    check_devices(function, "sorted_index", sorted_index, sorted_parent=sorted_parent)
    known = _RANKED.find(sorted_index, sorted_parent)
    return _checked(function, sorted_index, sorted_parent) if known is None else known


def _checked(function: str, sorted_index: Tensor, sorted_parent: Tensor) -> Ranked:
    index, above = sorted_index.long(), sorted_parent.long()
    ranks = torch.arange(index.shape[1], device=index.device)
    fits = (index >= 0) & (index < index.shape[1]) & (above >= 0)
    fits &= torch.where(ranks > 0, above < ranks, above == 0)
    named = torch.zeros_like(fits).scatter(1, index.clamp(0, index.shape[1] - 1), True)
    fits &= named  # every vertex has a rank
    known = values_of(fits)
    if known is not None and not known.all():
        raise ValueError(
            f"{function}: sorted_index and sorted_parent must be those of bfs_forward, got others"
        )
    if fits.is_cuda:
        torch._assert_async(fits.all(), f"{function}: sorted_index and sorted_parent must fit")
    parent = sorted_index.new_zeros(index.shape, dtype=torch.int32)
    parent.scatter_(1, index, index.gather(1, above).int())
    own = torch.arange(index.shape[1], dtype=torch.int32, device=index.device)
    edge = torch.where(parent == own, -1, own)
    tree = Tree(parent, edge, sorted_index.int().flip(1), None, _ops.plan(parent))
    found = Ranked(tree, index)
    if index is not sorted_index:
        _RANKED.keep(found, sorted_index, sorted_parent)
    return found
