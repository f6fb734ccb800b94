"""Cosine dissimilarities and their derivatives, right for vectors of any length.

With u = f/|f| the unit vector of a vertex, the weight of an edge is ½ |u_a − u_b|². The derivative
of u along t is J(f) t = (t − u (u · t))/|f|, and J is symmetric. Vectors f and c f have the same u,
and J(c f) = J(f)/c: so lengths are brought to about 1 by powers of two.

The first derivative is computed in the type of the guide. All others are in float64, where the
products of float32 values that they consist of neither overflow nor vanish.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import call, recorded
from ._edge_weight_autograd import EdgeSum, Sum, inner, scatter
from .graph import Graph


def cosine(f: Tensor, graph: Graph) -> Tensor:
    """½ |u − v|² of the unit vectors at both ends of every edge."""
    edges, sum = graph._edges, Sum(graph._layout, graph.num_edges, _ops.IDENTITY)
    return call(_Cosine, f, edges, sum) if recorded(f) else _weight(f, edges, sum)


def _weight(f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    unit, _, _, _ = _unit_in_place(f)
    return 0.5 * _ops.edge_inner(unit, unit, edges, sum.layout, sum.num_edges, sum.psi)


def _unit(f: Tensor) -> tuple[Tensor, Tensor]:
    """The unit vector and |f|, for lengths of about 1; of a vector of zeros 0 and 1."""
    squared = f.square().sum(1, keepdim=True)
    length = torch.where(squared == 0, 1, squared).sqrt()
    return torch.where(squared == 0, 0, f / length), length


def _turned(t: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    """J t for a vector with that unit vector and length; 0 for a vector of zeros."""
    turned = (t - unit * (unit * t).sum(1, keepdim=True)) / length
    return torch.where((unit == 0).all(1, keepdim=True), 0, turned)


# The same where nothing is recorded: without copies that have channels.


def _unit_in_place(f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The unit vector, two numbers whose product is |f|, and whether f is 0: then they are 1."""
    f = f if f.dtype == torch.float64 else f.float()
    # The largest entry first: its square must neither overflow nor vanish.
    largest = _largest(f)
    zero = largest == 0
    size = largest.masked_fill(zero, 1)
    unit = f / size
    rest = _dot(unit, unit).masked_fill_(zero, 1).sqrt_()  # NaN stays NaN, as in all other metrics
    return unit.div_(rest), size, rest, zero


def _turned_in_place(t: Tensor, unit: Tensor, length: Tensor, zero: Tensor) -> Tensor:
    return t.sub_(unit * _dot(unit, t)).div_(length).masked_fill_(zero, 0)


def _largest(f: Tensor) -> Tensor:
    """The largest absolute value of each vector; 0 without channels."""
    if f.shape[1] == 0:
        return f.sum(1, keepdim=True)
    return torch.maximum(f.amax(1, keepdim=True), -f.amin(1, keepdim=True))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ a b over the channels, (B, C, …) to (B, 1, …), one channel after the other.

    torch.sum takes them in another order where its vector code does not reach, at the end of an
    image: an edge would have other bits in a tile than in the whole.
    """
    if a.shape[1] == 0:
        return (a * b).sum(1, keepdim=True)
    products = (x * y for x, y in zip(a.unbind(1), b.unbind(1), strict=True))
    return functools.reduce(torch.add, products).unsqueeze(1)


def _lengths(f: Tensor) -> tuple[Tensor, Tensor]:
    """``f`` in float64 with lengths of about 1, and the powers of two that make it so."""
    f = f.double()
    largest = _largest(f.detach())
    power = torch.exp2(-largest.log2().floor().clamp(-1022, 1022))
    power = torch.where((largest > 0) & largest.isfinite(), power, 1)
    return f * power, power


class _Cosine(EdgeSum):
    @staticmethod
    def forward(f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
        return _weight(f, edges, sum)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, edges = ctx.saved_tensors
        return _pulled(grad, f, edges, ctx.sum), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        f, edges = saved
        dtype = torch.promote_types(f.dtype, torch.float32)
        scaled, power = _lengths(f)
        unit, length = _unit(scaled)
        change = _turned(tangents[0].double() * power, unit, length)
        return inner(unit, change, edges, ctx.sum).to(dtype)


def _pulled(grad: Tensor, f: Tensor, edges: Tensor | None, sum: Sum) -> Tensor:
    """The gradient in f of the sum of the weights times ``grad``."""
    if not recorded(grad, f):
        unit, size, rest, zero = _unit_in_place(f)
        through = _ops.edge_scatter(0.5 * grad, unit, edges, sum.layout, sum.num_edges, sum.psi)
        return _turned_in_place(through, unit, rest, zero).div_(size).to(f.dtype)
    scaled, power = _lengths(f)
    unit, length = _unit(scaled)
    through = 0.5 * scatter(grad.double(), unit, edges, sum)
    return (_turned(through, unit, length) * power).to(f.dtype)
