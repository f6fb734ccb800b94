"""Derivatives of the sums over channels of edge_weight.h.

With d = f_u − f_v of an edge {u, v}: D(f) = I(f, f) = Σ ψ(d) d is the weight, L(w, f) its
derivative. L has the factor 2 inside: so the first derivative makes nothing of the size of w.
Derivatives of both:

    ψ = identity:  dD/df = L(·, f), dL/dw = 2 I(f, ·), dL/df = L(w, ·),
                   dI/df = ½ L(·, t), dI/dt = ½ L(·, f)
    ψ = sign:      without the factors, and the derivatives of ψ are 0 almost everywhere.

Where a weight is the largest number of its type, which stands for all that lies beyond, it is taken
as constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, recorded, save
from .graph import Graph


def norm(f: Tensor, graph: Graph, psi: int) -> Tensor:
    """Σ_c ψ(f_u − f_v)(f_u − f_v) for every edge, ψ the identity or the sign."""
    edges, layout, num_edges = graph._edges, graph._layout, graph.num_edges
    if recorded(f):
        return call(_Norm, f, edges, Sum(layout, num_edges, psi))
    return _ops.edge_inner(f, f, edges, layout, num_edges, psi)


def largest(weight: Tensor) -> float:
    """The largest number of the weights' type."""
    return torch.finfo(weight.dtype).max


@dataclass(frozen=True)
class Sum:
    """Over which edges the sums are, and their ψ. No pytree: torch.vmap takes it as it is."""

    layout: list[int]
    num_edges: int
    psi: int


def _slope(psi: int) -> float:
    """The factor of edge_weight.h: L is the derivative of Σ ψ(d) d."""
    return 2.0 if psi == _ops.IDENTITY else 1.0


def inner(f: Tensor, t: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    if recorded(f, t):
        return call(_Inner, f, t, edges, sum)
    return _ops.edge_inner(f, t, edges, sum.layout, sum.num_edges, sum.psi)


def scatter(weight: Tensor, f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    if recorded(weight, f):
        return call(_Scatter, weight, f, edges, sum)
    return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, sum.psi)


def _masked(change: Tensor, weight: Tensor) -> Tensor:
    """``change``, 0 where the weight is the largest number of its type."""
    return change.masked_fill(weight == largest(weight), 0)


class EdgeSum(Function):
    """What D, L and I have in common: one or two tensors, then the edges and the sum."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.sum = inputs
        save(ctx, *tensors)


class EdgeNorm(Function):
    """What D and the Euclidean distance have in common: a tensor, the edges and the sum."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        f, edges, ctx.sum = inputs
        save(ctx, f, edges, output)


class _Norm(EdgeNorm):
    @staticmethod
    def forward(f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
        return _ops.edge_inner(f, f, edges, sum.layout, sum.num_edges, sum.psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, edges, weight = ctx.saved_tensors
        sum = ctx.sum
        if recorded(grad, f):
            return scatter(_masked(grad, weight), f, edges, sum), None, None
        args = edges, sum.layout, sum.num_edges, sum.psi
        return _ops.edge_scatter(grad, f, *args, weight), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        f, edges, weight = saved
        change = _slope(ctx.sum.psi) * inner(f, tangents[0], edges, ctx.sum)
        return _masked(change, weight)


class _Scatter(EdgeSum):
    @staticmethod
    def forward(weight: Tensor, f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
        return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, sum.psi)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, f, edges = ctx.saved_tensors
        grad = grad.to(f.dtype)
        grad_weight = grad_f = None
        if ctx.needs_input_grad[0]:
            grad_weight = _slope(ctx.sum.psi) * inner(f, grad, edges, ctx.sum)
        if ctx.needs_input_grad[1] and ctx.sum.psi == _ops.IDENTITY:
            grad_f = scatter(weight, grad, edges, ctx.sum)
        return grad_weight, grad_f, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        weight, f, edges = saved
        weight_, f_ = tangents[:2]
        parts = []
        if weight_ is not None:
            parts.append(scatter(weight_, f, edges, ctx.sum))
        if f_ is not None and ctx.sum.psi == _ops.IDENTITY:
            parts.append(scatter(weight, f_, edges, ctx.sum))
        return total(parts, f)


class _Inner(EdgeSum):
    @staticmethod
    def forward(f: Tensor, t: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
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
            grad_f = scatter(grad, t, edges, ctx.sum)
        if ctx.needs_input_grad[1]:
            grad_t = scatter(grad, f, edges, ctx.sum)
        return grad_f, grad_t, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        f, t, edges = saved
        f_, t_ = tangents[:2]
        parts = []
        if f_ is not None and ctx.sum.psi == _ops.IDENTITY:
            parts.append(inner(f_, t, edges, ctx.sum))
        if t_ is not None:
            parts.append(inner(f, t_, edges, ctx.sum))
        shape, dtype = ctx.like
        return sum(parts[1:], parts[0]) if parts else f.new_zeros(shape, dtype=dtype)


def total(parts: list[Tensor], like: Tensor) -> Tensor:
    """The sum of tensors like ``like``, of which there may be none."""
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)
