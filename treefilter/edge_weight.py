"""Weights of a graph's edges: how dissimilar the feature vectors at their ends are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from . import _ops
from ._checks import check_choice, check_instance, check_tensor, flatten_nodes, widen
from ._take import take
from .graph import Graph

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")


def edge_weight(guide: Tensor, graph: Graph, metric: str = "sqeuclidean") -> Tensor:
    """The dissimilarity of the two ends of every edge (Eq. 3 of Liang et al., CVPR 2022).

    ``sqeuclidean`` is |f_u − f_v|², summed over channels. No difference per channel and edge is
    ever
    stored: the guide is read once, and so it is for derivatives. Saved for backward: the guide
        itself;
    for ``euclidean`` also (B, E) values, for ``chebyshev`` (B, E) indices, for ``cosine`` the unit
    vectors, a copy of the guide.

    Args:
        guide: (B, C, *shape) or (B, C, N) features, floating point, any strides (a guide that is
            not contiguous is copied). 16-bit features are read as they are and summed in float32.
        graph: The graph, from :func:`treefilter.grid` or :func:`treefilter.graph`.
        metric: Names of ``scipy.spatial.distance``: ``"sqeuclidean"``, ``"euclidean"`` (derivative
            0 at distance 0), ``"cityblock"`` (Σ|f_u − f_v|), ``"chebyshev"`` (max |f_u − f_v|, the
            derivative goes to the first channel that attains it) or ``"cosine"`` (half the squared
            Euclidean distance of the unit vectors; a zero vector stays zero,
            with derivative 0).

    Returns:
        (B, E) weights in float32, or float64 if the guide is. A finite guide has finite weights:
        what lies beyond the largest finite number of the dtype is that number, because ``+inf``
        means "no edge" for :func:`treefilter.mst`. NaN or infinite features give NaN.
        Differentiable twice.

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
    f = flatten_nodes("edge_weight", "guide", widen(guide), graph.shape, graph.num_nodes)
    return _METRICS[metric](f, graph)


def _sqeuclidean(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.IDENTITY)


def _euclidean(f: Tensor, graph: Graph) -> Tensor:
    if torch.is_grad_enabled() and f.requires_grad:
        return cast(Tensor, _Euclidean.apply(f, graph))
    return _inner(f, f, graph, _ops.EUCLIDEAN)


def _cityblock(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.SIGN)


def _chebyshev(f: Tensor, graph: Graph) -> Tensor:
    if f.shape[1] == 0:
        return _sqeuclidean(f, graph)
    of = f.detach(), graph._edges, graph._layout, graph.num_edges
    channel, distance = _ops.edge_argmax(*of)
    if not (torch.is_grad_enabled() and f.requires_grad):
        return distance
    first, second = graph._ends(f.device)
    flat, offset = f.flatten(1), channel * graph.num_nodes
    wide = torch.float64 if f.dtype == torch.float64 else torch.float32
    ends = take(flat, offset + first).to(wide), take(flat, offset + second).to(wide)
    difference = (ends[0] - ends[1]).abs()
    return torch.where(difference < torch.inf, difference, distance)


def _cosine(f: Tensor, graph: Graph) -> Tensor:
    wide = f if f.dtype == torch.float64 else f.float()
    # The largest entry first: its square must neither overflow nor vanish.
    size = wide.detach().abs().amax(1, keepdim=True) if f.shape[1] else wide.sum(1, keepdim=True)
    scaled = wide / torch.where(size == 0, 1, size)
    squared = scaled.square().sum(1, keepdim=True)  # NaN stays NaN, as in all other metrics
    unit = torch.where(squared == 0, 0, scaled / torch.where(squared == 0, 1, squared).sqrt())
    return 0.5 * _sqeuclidean(unit, graph)


_METRICS = {
    "sqeuclidean": _sqeuclidean,
    "euclidean": _euclidean,
    "cityblock": _cityblock,
    "chebyshev": _chebyshev,
    "cosine": _cosine,
}


def _norm(f: Tensor, graph: Graph, psi: int) -> Tensor:
    """Σ_c ψ(f_u − f_v)(f_u − f_v) for every edge, ψ the identity or the sign."""
    if torch.is_grad_enabled() and f.requires_grad:
        return _Norm.apply(f, graph, psi)
    return _inner(f, f, graph, psi)


def _inner(f: Tensor, t: Tensor, graph: Graph, psi: int) -> Tensor:
    return _ops.edge_inner(f, t, graph._edges, graph._layout, graph.num_edges, psi)


def _scatter(weight: Tensor, f: Tensor, graph: Graph, psi: int) -> Tensor:
    return _ops.edge_scatter(weight, f, graph._edges, graph._layout, graph.num_edges, psi)


# The sums of edge_weight.h: D(f) = I(f, f) is what is asked for, L(w, f) its derivative. L has
# the factor 2 inside: so the first derivative makes nothing of the size of w. Derivatives of both:
#   ψ = identity:  dD/df = L(·, f), dL/dw = 2 I(f, ·), dL/df = L(w, ·),
#                  dI/df = ½ L(·, t), dI/dt = ½ L(·, f)
#   ψ = sign:      without the factors, and the derivatives of ψ are 0 almost everywhere.


def _slope(psi: int) -> float:
    """The factor of edge_weight.h: L is the derivative of Σ ψ(d) d."""
    return 2.0 if psi == _ops.IDENTITY else 1.0


class _Euclidean(torch.autograd.Function):
    """√D, with derivative 0 at 0: there the distance is taken as constant."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, graph: Graph) -> Tensor:
        root = _inner(f, f, graph, _ops.EUCLIDEAN)
        ctx.save_for_backward(f, root)
        ctx.graph = graph
        return root

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, root = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is made: in the sums that have one
            half = 0.5 * grad / torch.where(root == 0, torch.inf, root)
            return _Scatter.apply(half, f, ctx.graph, _ops.IDENTITY), None
        graph = ctx.graph
        sums = graph._edges, graph._layout, graph.num_edges, _ops.EUCLIDEAN
        return _ops.edge_scatter(grad, f, *sums, root), None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, graph: Graph, psi: int) -> Tensor:
        ctx.save_for_backward(f)
        ctx.graph, ctx.psi = graph, psi
        return _inner(f, f, graph, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (f,) = ctx.saved_tensors
        return _Scatter.apply(grad, f, ctx.graph, ctx.psi), None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, f: Tensor, graph: Graph, psi: int) -> Tensor:
        ctx.save_for_backward(weight, f)
        ctx.graph, ctx.psi = graph, psi
        return _scatter(weight, f, graph, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, f = ctx.saved_tensors
        grad = grad.to(f.dtype)
        grad_weight = grad_f = None
        if ctx.needs_input_grad[0]:
            grad_weight = _slope(ctx.psi) * _Inner.apply(f, grad, ctx.graph, ctx.psi)
        if ctx.needs_input_grad[1] and ctx.psi == _ops.IDENTITY:
            grad_f = _Scatter.apply(weight, grad, ctx.graph, ctx.psi)
        return grad_weight, grad_f, None, None


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, t: Tensor, graph: Graph, psi: int) -> Tensor:
        ctx.save_for_backward(f, t)
        ctx.graph, ctx.psi = graph, psi
        return _inner(f, t, graph, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, t = ctx.saved_tensors
        grad_f = grad_t = None
        grad = grad / _slope(ctx.psi)
        if ctx.needs_input_grad[0] and ctx.psi == _ops.IDENTITY:
            grad_f = _Scatter.apply(grad, t, ctx.graph, ctx.psi)
        if ctx.needs_input_grad[1]:
            grad_t = _Scatter.apply(grad, f, ctx.graph, ctx.psi)
        return grad_f, grad_t, None, None
