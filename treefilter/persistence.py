"""Persistent homology of functions on graphs and images."""

from __future__ import annotations

from torch import Tensor

from . import _ops
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
            neither 0 nor 1, or 1 for another graph than a two-dimensional grid, or ``graph`` is a
            batch of edge lists.
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
    if graph.batch is not None:
        raise ValueError(f"persistence: graph must be one for all images, got {graph}")
    if dim not in (0, 1):
        raise ValueError(f"persistence: dim must be 0 or 1, got {dim}")
    if dim == 1 and graph.connectivity not in _OTHER:
        raise ValueError(
            f"persistence: graph must be a two-dimensional grid for dim=1, got {graph}"
        )
    known = values_of(values)
    if known is not None and has_nan(known):
        raise ValueError("persistence: values must not be NaN, got NaN")
    edges, layout = graph._edges_on("persistence", values.device), graph._layout
    if dim == 1:
        assert graph.shape is not None
        assert graph.connectivity is not None
        layout = grid(*graph.shape, connectivity=_OTHER[graph.connectivity])._layout
    return _ops.persistence(values.detach().flatten(1), edges, layout, dim == 1, superlevel)
