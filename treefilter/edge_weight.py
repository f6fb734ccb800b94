"""Weights of a graph's edges: how dissimilar the feature vectors at their ends are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, constant, recorded, save
from ._checks import check_choice, check_instance, check_tensor, flatten_nodes, widen
from ._take import take
from .graph import Graph

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")


def edge_weight(guide: Tensor, graph: Graph, metric: str = "sqeuclidean") -> Tensor:
    """The dissimilarity of the two ends of every edge (Eq. 3 of Liang et al., CVPR 2022).

    ``sqeuclidean`` is |f_u − f_v|², summed over channels. The differences of single channels are
    never stored: the guide is read once, and once more for each derivative.

    Saved for backward: the guide itself; for ``euclidean`` also (B, E) values, for ``chebyshev``
    (B, E) indices, for ``cosine`` the unit vectors, a copy of the guide.

    Args:
        guide: (B, C, *shape) or (B, C, N) features, floating point, any strides (a guide that is
            not contiguous is copied). 16-bit features are read as they are and summed in float32.
        graph: The graph, from :func:`treefilter.grid` or :func:`treefilter.graph`.
        metric: Names of ``scipy.spatial.distance``: ``"sqeuclidean"``, ``"euclidean"`` (derivative
            0 at distance 0), ``"cityblock"`` (Σ|f_u − f_v|), ``"chebyshev"`` (max |f_u − f_v|, the
            derivative goes to the first channel that attains it) or ``"cosine"`` (half the squared
            Euclidean distance of the unit vectors; a zero vector stays zero, with derivative 0).

    Returns:
        (B, E) weights in the guide's dtype (float32 under autocast). Differentiable twice.

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
    return _METRICS[metric](f, graph).to(f.dtype)


def _sqeuclidean(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.IDENTITY)


def _euclidean(f: Tensor, graph: Graph) -> Tensor:
    squared = _sqeuclidean(f, graph)
    return call(_Root, squared) if recorded(squared) else squared.sqrt()


def _cityblock(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.SIGN)


def _chebyshev(f: Tensor, graph: Graph) -> Tensor:
    if f.shape[1] == 0:
        return _sqeuclidean(f, graph)
    channel = constant(_ops.edge_argmax, f.detach(), graph._edges, graph._layout, graph.num_edges)
    first, second = graph._ends(f.device)
    flat, offset = f.flatten(1), channel * graph.num_nodes
    wide = torch.float64 if f.dtype == torch.float64 else torch.float32
    ends = take(flat, offset + first).to(wide), take(flat, offset + second).to(wide)
    return (ends[0] - ends[1]).abs()


def _cosine(f: Tensor, graph: Graph) -> Tensor:
    wide = f if f.dtype == torch.float64 else f.float()
    # The largest entry first: its square must neither overflow nor vanish.
    size = wide.detach().abs().amax(1, keepdim=True) if f.shape[1] else wide.sum(1, keepdim=True)
    scaled = wide / torch.where(size > 0, size, 1)
    squared = scaled.square().sum(1, keepdim=True)
    unit = torch.where(squared > 0, scaled / torch.where(squared > 0, squared, 1).sqrt(), 0)
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
    sums = graph._edges, graph._layout, graph.num_edges, psi
    if recorded(f):
        return call(_Norm, f, *sums)
    return _ops.edge_inner(f, f, *sums)


# The sums of edge_weight.h: D(f) = I(f, f) is what is asked for, L(w, f) its derivative. L has
# the factor 2 inside: so the first derivative makes nothing of the size of w. Derivatives of both:
#   ψ = identity:  dD/df = L(·, f), dL/dw = 2 I(f, ·), dL/df = L(w, ·),
#                  dI/df = ½ L(·, t), dI/dt = ½ L(·, f)
#   ψ = sign:      without the factors, and the derivatives of ψ are 0 almost everywhere.


def _slope(psi: int) -> float:
    """The factor of edge_weight.h: L is the derivative of Σ ψ(d) d."""
    return 2.0 if psi == _ops.IDENTITY else 1.0


def _inner(f: Tensor, t: Tensor, *sums: Any) -> Tensor:
    if recorded(f, t):
        return call(_Inner, f, t, *sums)
    return _ops.edge_inner(f, t, *sums)


def _scatter(weight: Tensor, f: Tensor, *sums: Any) -> Tensor:
    if recorded(weight, f):
        return call(_Scatter, weight, f, *sums)
    return _ops.edge_scatter(weight, f, *sums)


class _Root(Function):
    """√, with derivative 0 at 0: there the distance is taken as constant."""

    @staticmethod
    def forward(squared: Tensor) -> Tensor:
        return squared.sqrt()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return 0.5 * grad / torch.where(root == 0, torch.inf, root)

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        return _Root.backward(ctx, tangents[0])


class _EdgeSum(Function):
    """What D, L and I have in common: two tensors, then the graph and ψ.

    D is I with both tensors the same; it is a class of its own because that costs one derivative
    instead of two.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        tensors = inputs[:-4]
        edges, ctx.layout, ctx.num_edges, ctx.psi = inputs[-4:]
        save(ctx, *tensors, edges)


class _Norm(_EdgeSum):
    @staticmethod
    def forward(
        f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int
    ) -> Tensor:
        return _ops.edge_inner(f, f, edges, layout, num_edges, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (f,), sums = _saved(ctx)
        return _scatter(grad, f, *sums), None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        (f,), sums = _saved(ctx)
        return _slope(ctx.psi) * _inner(f, tangents[0], *sums)


class _Scatter(_EdgeSum):
    @staticmethod
    def forward(
        weight: Tensor, f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int
    ) -> Tensor:
        return _ops.edge_scatter(weight, f, edges, layout, num_edges, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight, f), sums = _saved(ctx)
        grad = grad.to(f.dtype)
        grad_weight = grad_f = None
        if ctx.needs_input_grad[0]:
            grad_weight = _slope(ctx.psi) * _inner(f, grad, *sums)
        if ctx.needs_input_grad[1] and ctx.psi == _ops.IDENTITY:
            grad_f = _scatter(weight, grad, *sums)
        return grad_weight, grad_f, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        (weight, f), sums = _saved(ctx)
        parts = []
        if tangents[0] is not None:
            parts.append(_scatter(tangents[0], f, *sums))
        if tangents[1] is not None and ctx.psi == _ops.IDENTITY:
            parts.append(_scatter(weight, tangents[1], *sums))
        return _sum(parts) if parts else torch.zeros_like(f)


class _Inner(_EdgeSum):
    @staticmethod
    def forward(
        f: Tensor, t: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int
    ) -> Tensor:
        return _ops.edge_inner(f, t, edges, layout, num_edges, psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (f, t), sums = _saved(ctx)
        grad_f = grad_t = None
        grad = grad / _slope(ctx.psi)
        if ctx.needs_input_grad[0] and ctx.psi == _ops.IDENTITY:
            grad_f = _scatter(grad, t, *sums)
        if ctx.needs_input_grad[1]:
            grad_t = _scatter(grad, f, *sums)
        return grad_f, grad_t, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> Tensor:
        (f, t), sums = _saved(ctx)
        parts = []
        if tangents[0] is not None and ctx.psi == _ops.IDENTITY:
            parts.append(_inner(tangents[0], t, *sums))
        if tangents[1] is not None:
            parts.append(_inner(f, tangents[1], *sums))
        return _sum(parts) if parts else torch.zeros_like(_inner(f, t, *sums))


def _sum(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _saved(ctx: Any) -> tuple[list[Tensor], tuple[Any, ...]]:
    *tensors, edges = ctx.saved_tensors
    return tensors, (edges, ctx.layout, ctx.num_edges, ctx.psi)
