"""Derivatives of Euclidean distances, right for edges of any length.

With d = f_u − f_v of an edge {u, v}, r = |d|, and n = d/r, a unit vector whatever the length of d:

    A(w, f), the sum of w n at u and of −w n at v, is the derivative of r,
    P(f, t) = n · (t_u − t_v) its transpose, and
    dA/df along t = ½ L(w/r, t) − A(w P(f, t)/r, f), which is symmetric in the two directions,

with L of _edge_weight_autograd.py. Where r is 0, or the largest number of its type, which stands
for all that lies beyond, it is taken as constant.

A is native, and never multiplies by 1/r. All else is computed in float64: products of float32
values are in its range, and those of float64 values are brought there by powers of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import call, recorded, values_of
from ._edge_weight_autograd import EdgeNorm, EdgeSum, Sum, inner, largest, scatter, total
from .graph import Graph


def euclidean(f: Tensor, graph: Graph) -> Tensor:
    """|f_u − f_v| for every edge."""
    edges, layout, num_edges = graph._edges, graph._layout, graph.num_edges
    if recorded(f):
        return call(_Euclidean, f, edges, Sum(layout, num_edges, _ops.IDENTITY))
    return _ops.edge_inner(f, f, edges, layout, num_edges, _ops.EUCLIDEAN)


class _Euclidean(EdgeNorm):
    @staticmethod
    def forward(f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
        return _ops.edge_inner(f, f, edges, sum.layout, sum.num_edges, _ops.EUCLIDEAN)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, edges, r = ctx.saved_tensors
        return _along(grad, f, r, edges, ctx.sum), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        f, edges, r = saved
        return _project(f, tangents[0], r, edges, ctx.sum)


def _along(weight: Tensor, f: Tensor, r: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    """A(weight, f). Its derivative in f is the whole one: r, a function of f, counts as given."""
    if recorded(weight, f):
        return call(_Along, weight, f, r, edges, sum)
    return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, _ops.EUCLIDEAN, r)


def _project(f: Tensor, t: Tensor, r: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    """P(f, t), in the type of r. As for :func:`_along`, r counts as given."""
    if recorded(f, t):
        return call(_Project, f, t, r, edges, sum)
    return _projected(f, t, r, edges, sum)


def _projected(f: Tensor, t: Tensor, r: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    f, t, length = f.double(), t.double(), r.double()
    result = torch.zeros_like(length)
    for power, here in _bands(r):
        args = edges, sum.layout, sum.num_edges, sum.psi
        product = _ops.edge_inner(f * power, t * power, *args) / (length * power) / power
        result = torch.where(here, product, result)
    return result.to(r.dtype)


def _bent(
    weight: Tensor, f: Tensor, t: Tensor, r: Tensor, edges: Tensor | None, sum: Sum
) -> Tensor:
    """The derivative of A(weight, f) in f along t."""
    projected, length = _project(f, t, r, edges, sum).double(), r.double()
    wide, t_wide = f.double(), t.double()
    parts = []
    for power, here in _bands(r):
        scale = torch.where(here, weight.double(), 0) / torch.where(here, length * power, 1)
        turned = _along(scale * projected, wide, length, edges, sum)
        parts.append((0.5 * scatter(scale, t_wide, edges, sum) - turned) * power)
    return total(parts, f).to(f.dtype)


def _bent_inner(
    f: Tensor, s: Tensor, t: Tensor, r: Tensor, edges: Tensor | None, sum: Sum
) -> Tensor:
    """The derivative of P(f, t) in f along s: (s · t − (n · s)(n · t))/r for every edge."""
    ps, pt = (_project(f, x, r, edges, sum).double() for x in (s, t))
    s, t, length = s.double(), t.double(), r.double()
    result = torch.zeros_like(length)
    for power, here in _bands(r):
        turned = inner(s * power, t, edges, sum) - (ps * power) * pt
        result = torch.where(here, turned / torch.where(here, length * power, 1), result)
    return result.to(r.dtype)


def _bands(r: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Powers of two, and for which edges, by their length, they bring products into range."""
    alive = (r != 0) & (r != largest(r))
    if r.dtype != torch.float64:
        yield 1.0, alive
        return
    short, long = r < 2.0**-300, r > 2.0**300
    yield 1.0, alive & ~(short | long)
    for power, here in ((2.0**600, alive & short), (2.0**-600, alive & long)):
        values = values_of(here)
        if values is None or values.any():  # hardly ever
            yield power, here


class _Along(EdgeSum):
    @staticmethod
    def forward(
        weight: Tensor, f: Tensor, r: Tensor, edges: Tensor | None, sum: Sum
    ) -> Tensor:  # fmt: skip
        return _ops.edge_scatter(weight, f, edges, sum.layout, sum.num_edges, _ops.EUCLIDEAN, r)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, f, r, edges = ctx.saved_tensors
        grad = grad.to(f.dtype)
        grad_weight = grad_f = None
        if ctx.needs_input_grad[0]:
            grad_weight = _project(f, grad, r, edges, ctx.sum)
        if ctx.needs_input_grad[1]:
            grad_f = _bent(weight, f, grad, r, edges, ctx.sum)
        return grad_weight, grad_f, None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        weight, f, r, edges = saved
        weight_, f_ = tangents[:2]
        parts = []
        if weight_ is not None:
            parts.append(_along(weight_, f, r, edges, ctx.sum))
        if f_ is not None:
            parts.append(_bent(weight, f, f_, r, edges, ctx.sum))
        return total(parts, f)


class _Project(EdgeSum):
    @staticmethod
    def forward(f: Tensor, t: Tensor, r: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
        return _projected(f, t, r, edges, sum)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, t, r, edges = ctx.saved_tensors
        grad_f = grad_t = None
        if ctx.needs_input_grad[0]:
            grad_f = _bent(grad, f, t, r, edges, ctx.sum)
        if ctx.needs_input_grad[1]:
            grad_t = _along(grad, f, r, edges, ctx.sum)
        return grad_f, grad_t, None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        f, t, r, edges = saved
        f_, t_ = tangents[:2]
        parts = []
        if f_ is not None:
            parts.append(_bent_inner(f, f_, t, r, edges, ctx.sum))
        if t_ is not None:
            parts.append(_project(f, t_, r, edges, ctx.sum))
        return total(parts, r)
