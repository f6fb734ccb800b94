"""Persistent homology of functions on graphs and images, by minimum spanning trees."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops, _topology
from ._autograd import values_of
from ._checks import (
    check_flag,
    check_instance,
    check_integer,
    check_tensor,
    describe,
    has_nan,
)
from .graph import Graph, grid
from .graph import graph as edge_list
from .mst import mst

_OTHER = {4: 8, 8: 4}
"""The connectivity of what is left of an image, by that of a set of pixels."""


def persistence(
    values: Tensor, graph: Graph, *, dim: int = 0, superlevel: bool = False
) -> tuple[Tensor, Tensor]:
    """The persistence pairs of the sublevel filtration of a function on the vertices.

    Vertices enter in the order (value, vertex number); an edge exists as soon as both ends do. In
    dimension 0 classes are connected components: each is born at a minimum, and where two meet the
    younger one dies (elder rule). In dimension 1, on two-dimensional grids, classes are holes:
    components of the other vertices, with the other connectivity, that an outer component does not
    touch (duality). For connectivity 4 this is the cubical complex that has pixels as vertices; for
    8 it is the one that has pixels as squares. Pairs with equal values are left out. O(E) and a
    sort.

    The diagram is ``values.flatten(1).gather(1, birth)`` and the same of ``death``. Gradients reach
    ``values`` through these; the pairs themselves have none.

    Args:
        values: (B, *shape) or (B, N), floating point; +inf and −inf are allowed.
        graph: Which vertices are neighbours.
        dim: 0, or 1 for a two-dimensional grid.
        superlevel: If true, vertices enter in the order (−value, vertex number).

    Returns:
        ``(birth, death)``, both (B, N) int64: vertices, −1 behind the last pair. The pairs are in
        the order of their deaths (``dim=1``: births), those of one vertex in the order of the edges
        that join them. Components that never die are last, by birth, with death −1.

    Raises:
        ValueError: If shapes do not fit, a value is NaN (on CUDA it counts as +inf), ``dim`` is
            neither 0 nor 1, or 1 for another graph than a two-dimensional grid.
        TypeError: If ``values`` is no floating-point tensor or ``graph`` no Graph.

    Example:
        >>> import torch, treefilter as tf
        >>> values = torch.tensor([[[0.0, 3.0, 1.0]]])  # two minima, of which the higher one dies
        >>> birth, death = tf.persistence(values, tf.grid(1, 3))
        >>> birth.tolist(), death.tolist()
        ([[2, 0, -1]], [[1, -1, -1]])
        >>> bars = values.flatten(1)[:, death[0, 0]] - values.flatten(1)[:, birth[0, 0]]
    """
    check_tensor("persistence", "values", values, "float")
    check_instance("persistence", "graph", graph, Graph)
    check_flag("persistence", "superlevel", superlevel)
    dim = check_integer("persistence", "dim", dim)
    n = graph.num_nodes
    if values.ndim < 2 or tuple(values.shape[1:]) not in ((n,), graph.shape):
        expected = describe("B", "", graph.shape, n)
        raise ValueError(
            f"persistence: values must have shape {expected}, got {tuple(values.shape)}"
        )
    if dim not in (0, 1):
        raise ValueError(f"persistence: dim must be 0 or 1, got {dim}")
    if dim == 1 and graph.connectivity not in _OTHER:
        raise ValueError(
            f"persistence: graph must be a two-dimensional grid for dim=1, got {graph}"
        )
    known = values_of(values)
    if known is not None and has_nan(known):
        raise ValueError("persistence: values must not be NaN, got NaN")
    f = values.detach().flatten(1).to(_ops.sum_dtype(values))
    f = -f if superlevel else f
    f = f.masked_fill(f.isnan(), torch.inf)
    order = _ops.ascending(f.clamp(max=torch.finfo(f.dtype).max)).long()  # +inf is no vertex there
    if known is None or known.isinf().any():
        order = _infinite_last(order, f)
    rank = torch.empty_like(order)
    places = torch.arange(n, device=f.device).expand_as(order)
    rank = rank.scatter(1, order, places)
    if dim == 0:
        born, died, lasting = _pairs(rank, graph)
    else:
        # Vertices in the opposite order, after one outside of the image that is there first.
        outer = torch.zeros_like(rank[:, :1])
        filled, opened, _ = _pairs(torch.cat([n - rank, outer], 1), _dual(graph, f.device))
        born, died = (n - opened).flip(1), (n - filled).flip(1)
        lasting = None
    height = f.gather(1, order)
    return _listed(born, died, lasting, order, height)


def _infinite_last(order: Tensor, f: Tensor) -> Tensor:
    """``order`` with the vertices of +inf behind those of the largest number, else unchanged."""
    infinite = (f == torch.inf).gather(1, order)
    finite = infinite.logical_not()
    behind = finite.sum(1, keepdim=True) + infinite.cumsum(1)
    place = torch.where(infinite, behind, finite.cumsum(1)) - 1
    return torch.empty_like(order).scatter(1, place, order)


def _pairs(rank: Tensor, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    """Births, deaths and what never dies of the components of one filtration, as ranks.

    ``rank`` (B, N) int64 → (B, N−1) twice, in the order of deaths; where there is no merge, two
    equal ranks. And (B, N) bool: of each rank, whether a component that is born there lasts.
    """
    n = graph.num_nodes
    u, v = graph._ends(rank.device)
    later = torch.maximum(rank[:, u], rank[:, v])
    weight = _ops.weight_of_rank(later.int())
    tree = mst(weight, graph)
    parent, number, children = _ops.merges(weight, tree.parent, tree.edge, "persistence")
    first = _ops.lowest_leaf(rank.int(), children).long()
    pair = children.long().clamp(min=0)
    born = torch.maximum(first.gather(1, pair[..., 0]), first.gather(1, pair[..., 1]))
    died = born
    if graph.num_edges > 0:
        died = later.gather(1, number.long().clamp(min=0))
    died = torch.where(number < 0, born, died)
    top = _topology.is_root(parent) & (first < n)
    lasting = torch.zeros(rank.shape[0], n + 1, dtype=torch.bool, device=rank.device)
    lasting = lasting.scatter(1, torch.where(top, first, n), True)[:, :n]
    return born, died, lasting


def _dual(graph: Graph, device: torch.device) -> Graph:
    """The grid of the other connectivity, with one more vertex that joins all of its border."""
    assert graph.shape is not None
    assert graph.connectivity is not None
    height, width = graph.shape
    n = graph.num_nodes
    own = torch.arange(n, device=device)
    y, x = own // width, own % width
    border = (y == 0) | (y == height - 1) | (x == 0) | (x == width - 1)
    # An edge from every pixel, so that the number of edges does not depend on values: the others
    # are loops, which join nothing.
    outside = torch.stack([own, torch.where(border, n, own)])
    inside = grid(height, width, connectivity=_OTHER[graph.connectivity])._ends(device)
    return edge_list(torch.cat([inside, outside], 1), n + 1)


def _listed(
    born: Tensor, died: Tensor, lasting: Tensor | None, order: Tensor, height: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of ranks with different values as vertices, without gaps, then what lasts, then −1."""
    batch, n = order.shape
    counts = height.gather(1, born) != height.gather(1, died)
    births, deaths = order.gather(1, born), order.gather(1, died)
    if lasting is not None:
        counts = torch.cat([counts, lasting], 1)
        births = torch.cat([births, order], 1)
        deaths = torch.cat([deaths, torch.full_like(order, -1)], 1)
    to = torch.where(counts, counts.cumsum(1) - 1, n)
    lists = (
        torch.full((batch, n + 1), -1, device=order.device).scatter(1, to, values)[:, :n]
        for values in (births, deaths)
    )
    birth, death = lists
    return birth, death
