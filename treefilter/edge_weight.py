"""Weights of a graph's edges: how dissimilar the feature vectors at their ends are."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._autograd import constant, recorded, unsaturated
from ._checks import check_choice, check_instance, check_nodes, check_tensor, widen
from ._cosine_autograd import cosine
from ._edge_weight_autograd import largest, norm
from ._euclidean_autograd import euclidean
from ._take import take
from .graph import Graph

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")


def edge_weight(guide: Tensor, graph: Graph, metric: str = "sqeuclidean") -> Tensor:
    """The dissimilarity of the two ends of every edge (Eq. 3 of Liang et al., CVPR 2022).

    ``sqeuclidean`` is |f_u − f_v|², summed over channels. The differences of single channels are
    never stored: the guide is read once, and once more for each derivative.

    Saved for backward: the guide itself and the result; for ``chebyshev`` also (B, E) indices.

    Args:
        guide: (B, C, *shape) or (B, C, N) features, floating point, any strides (a guide that is
            not contiguous is copied). 16-bit features are read as they are and summed in float32.
        graph: The graph, from :func:`treefilter.grid` or :func:`treefilter.graph`, or a batch of B
            graphs.
        metric: Names of ``scipy.spatial.distance``: ``"sqeuclidean"``, ``"euclidean"`` (derivative
            0 at distance 0), ``"cityblock"`` (Σ|f_u − f_v|), ``"chebyshev"`` (max |f_u − f_v|, the
            derivative goes to the first channel that attains it) or ``"cosine"`` (half the squared
            Euclidean distance of the unit vectors; a zero vector stays zero, with derivative 0).

    Returns:
        (B, E) weights in float32, or float64 if the guide is. A finite guide has finite weights:
        what lies beyond the largest finite number of the dtype is that number, because ``+inf``
        means "no edge" for :func:`treefilter.mst`; its derivative is 0. NaN or infinite features
        give NaN. Differentiable twice.

    Raises:
        ValueError: If the shape does not fit the graph or the metric is unknown.
        TypeError: If ``guide`` is no floating-point tensor or ``graph`` no Graph.

    Example:
        >>> import torch, treefilter as tf
        >>> guide = torch.tensor([[[[0.0, 3.0], [4.0, 3.0]]]])  # (1, 1, 2, 2)
        >>> tf.edge_weight(guide, tf.grid(2, 2))
        tensor([[16.,  0.,  9.,  1.]])
    """
    check_tensor("edge_weight", "guide", guide, "float")
    check_instance("edge_weight", "graph", graph, Graph)
    check_choice("edge_weight", "metric", metric, METRICS)
    graph._edges_on("edge_weight", guide.device)
    f = widen(guide)
    check_nodes("edge_weight", "guide", f, graph.shape, graph.num_nodes)
    if graph.batch is None:
        return _METRICS[metric](f, graph)
    if f.shape[0] != graph.batch:
        raise ValueError(
            f"edge_weight: guide must have batch {graph.batch} like the graph, got {f.shape[0]}"
        )
    if graph.batch == 0:
        wide = torch.promote_types(f.dtype, torch.float32)
        return f.flatten(1).sum(1, keepdim=True).to(wide).expand(0, graph.num_edges)
    united = f.flatten(2).transpose(0, 1).reshape(1, f.shape[1], graph.batch * graph.num_nodes)
    return _METRICS[metric](united, graph._united).view(graph.batch, graph.num_edges)


def _sqeuclidean(f: Tensor, graph: Graph) -> Tensor:
    return norm(f, graph, _ops.IDENTITY)


def _cityblock(f: Tensor, graph: Graph) -> Tensor:
    return norm(f, graph, _ops.SIGN)


def _chebyshev(f: Tensor, graph: Graph) -> Tensor:
    if f.shape[1] == 0:
        return _sqeuclidean(f, graph)
    edges = graph._edges, graph._layout, graph.num_edges
    channel, distance = constant(_ops.edge_argmax, f.detach(), *edges)
    if not recorded(f):
        return distance
    # One gather for both ends, and one scatter in its gradient.
    ends = (channel * graph.num_nodes).unsqueeze(1) + graph._ends(f.device)
    u, v = take(f.flatten(1), ends.flatten(1)).to(distance.dtype).chunk(2, -1)
    difference = (u - v).abs()
    if unsaturated(distance):  # nearly always
        return difference
    return torch.where(distance < largest(distance), difference, distance)


_METRICS = {
    "sqeuclidean": _sqeuclidean,
    "euclidean": euclidean,
    "cityblock": _cityblock,
    "chebyshev": _chebyshev,
    "cosine": cosine,
}
