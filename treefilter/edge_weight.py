"""Weights of a graph's edges: how dissimilar the feature vectors at their ends are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, constant, recorded, save
from ._checks import check_choice, check_instance, check_nodes, check_tensor, widen
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
        graph: The graph, from :func:`treefilter.grid` or :func:`treefilter.graph`, or a batch of B
            graphs.
        metric: Names of ``scipy.spatial.distance``: ``"sqeuclidean"``, ``"euclidean"`` (derivative
            0 at distance 0), ``"cityblock"`` (Σ|f_u − f_v|), ``"chebyshev"`` (max |f_u − f_v|, the
            derivative goes to the first channel that attains it) or ``"cosine"`` (half the squared
            Euclidean distance of the unit vectors; a zero vector stays zero, with derivative 0).

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
    f = widen(guide)
    check_nodes("edge_weight", "guide", f, graph.shape, graph.num_nodes)
    if graph.batch is None:
        return _METRICS[metric](f, graph)
    if f.shape[0] != graph.batch:
        raise ValueError(
            f"edge_weight: guide must have batch {graph.batch} like the graph, got {f.shape[0]}"
        )
    united = f.flatten(2).transpose(0, 1).reshape(1, f.shape[1], -1)
    return _METRICS[metric](united, graph._united).view(graph.batch, graph.num_edges)


def _sqeuclidean(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.IDENTITY)


def _euclidean(f: Tensor, graph: Graph) -> Tensor:
    edges, layout, num_edges = graph._edges, graph._layout, graph.num_edges
    if recorded(f):
        return call(_Euclidean, f, edges, _Sum(layout, num_edges, _ops.IDENTITY))
    return _ops.edge_inner(f, f, edges, layout, num_edges, _ops.EUCLIDEAN)


def _cityblock(f: Tensor, graph: Graph) -> Tensor:
    return _norm(f, graph, _ops.SIGN)


def _chebyshev(f: Tensor, graph: Graph) -> Tensor:
    if f.shape[1] == 0:
        return _sqeuclidean(f, graph)
    edges = graph._edges, graph._layout, graph.num_edges
    channel, distance = constant(_ops.edge_argmax, f.detach(), *edges)
    if not recorded(f):
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
    edges, layout, num_edges = graph._edges, graph._layout, graph.num_edges
    if recorded(f):
        return call(_Norm, f, edges, _Sum(layout, num_edges, psi))
    return _ops.edge_inner(f, f, edges, layout, num_edges, psi)


# The sums of edge_weight.h: D(f) = I(f, f) is what is asked for, L(w, f) its derivative. L has
# the factor 2 inside: so the first derivative makes nothing of the size of w. Derivatives of both:
#   ψ = identity:  dD/df = L(·, f), dL/dw = 2 I(f, ·), dL/df = L(w, ·),
#                  dI/df = ½ L(·, t), dI/dt = ½ L(·, f)
#   ψ = sign:      without the factors, and the derivatives of ψ are 0 almost everywhere.


def _slope(psi: int) -> float:
    """The factor of edge_weight.h: L is the derivative of Σ ψ(d) d."""
    return 2.0 if psi == _ops.IDENTITY else 1.0


@dataclass(frozen=True)
class _Sum:
    """Over which edges the sums are, and their ψ. No pytree: torch.vmap takes it as it is."""

    layout: list[int]
    num_edges: int
    psi: int


def _inner(f: Tensor, t: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
    if recorded(f, t):
        return call(_Inner, f, t, edges, sum)
    return _ops.edge_inner(f, t, edges, sum.layout, sum.num_edges, sum.psi)


def _scatter(weight: Tensor, f: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
    if recorded(weight, f):
        return call(_Scatter, weight, f, edges, sum)
    return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, sum.psi)


class _EdgeSum(Function):
    """What D, L and I have in common: one or two tensors, then the edges and the sum."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.sum = inputs
        save(ctx, *tensors)


class _Euclidean(Function):
    """√D, with derivative 0 at 0: there the distance is taken as constant."""

    @staticmethod
    def forward(f: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
        return _ops.edge_inner(f, f, edges, sum.layout, sum.num_edges, _ops.EUCLIDEAN)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        f, edges, ctx.sum = inputs
        save(ctx, f, edges, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, edges, root = ctx.saved_tensors
        sum = ctx.sum
        if recorded(grad, f):  # the fused sum has no derivative
            return _scatter(0.5 * grad / _no_zero(root), f, edges, sum), None, None
        sums = edges, sum.layout, sum.num_edges, _ops.EUCLIDEAN
        return _ops.edge_scatter(grad, f, *sums, root), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        f, edges, root = saved
        return _inner(f, tangents[0], edges, ctx.sum) / _no_zero(root)


def _no_zero(root: Tensor) -> Tensor:
    return torch.where(root == 0, torch.inf, root)


class _Norm(_EdgeSum):
    @staticmethod
    def forward(f: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
        return _ops.edge_inner(f, f, edges, sum.layout, sum.num_edges, sum.psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, edges = ctx.saved_tensors
        return _scatter(grad, f, edges, ctx.sum), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        f, edges = saved
        return _slope(ctx.sum.psi) * _inner(f, tangents[0], edges, ctx.sum)


class _Scatter(_EdgeSum):
    @staticmethod
    def forward(weight: Tensor, f: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
        return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, sum.psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, f, edges = ctx.saved_tensors
        grad = grad.to(f.dtype)
        grad_weight = grad_f = None
        if ctx.needs_input_grad[0]:
            grad_weight = _slope(ctx.sum.psi) * _inner(f, grad, edges, ctx.sum)
        if ctx.needs_input_grad[1] and ctx.sum.psi == _ops.IDENTITY:
            grad_f = _scatter(weight, grad, edges, ctx.sum)
        return grad_weight, grad_f, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        weight, f, edges = saved
        weight_, f_ = tangents[:2]
        change = None
        if weight_ is not None:
            change = _scatter(weight_, f, edges, ctx.sum)
        if f_ is not None and ctx.sum.psi == _ops.IDENTITY:
            through_f = _scatter(weight, f_, edges, ctx.sum)
            change = through_f if change is None else change + through_f
        return torch.zeros_like(f) if change is None else change


class _Inner(_EdgeSum):
    @staticmethod
    def forward(f: Tensor, t: Tensor, edges: Tensor | None, sum: _Sum) -> Tensor:
        return _ops.edge_inner(f, t, edges, sum.layout, sum.num_edges, sum.psi)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        f, t, edges, ctx.sum = inputs
        save(ctx, f, t, edges)
        ctx.like = output.shape, output.dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, t, edges = ctx.saved_tensors
        grad_f = grad_t = None
        grad = grad / _slope(ctx.sum.psi)
        if ctx.needs_input_grad[0] and ctx.sum.psi == _ops.IDENTITY:
            grad_f = _scatter(grad, t, edges, ctx.sum)
        if ctx.needs_input_grad[1]:
            grad_t = _scatter(grad, f, edges, ctx.sum)
        return grad_f, grad_t, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        f, t, edges = saved
        f_, t_ = tangents[:2]
        change = None
        if f_ is not None and ctx.sum.psi == _ops.IDENTITY:
            change = _inner(f_, t, edges, ctx.sum)
        if t_ is not None:
            through_t = _inner(f, t_, edges, ctx.sum)
            change = through_t if change is None else change + through_t
        if change is None:
            shape, dtype = ctx.like
            change = f.new_zeros(shape, dtype=dtype)
        return change
