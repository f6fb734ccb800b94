"""Derivatives of the filter and of the two passes.

With U for leaf_to_root and R for root_to_leaf, its transpose, both linear in x, and s = 1 − a² (1
at roots): the filter without normalisation is T = R s U, and the mean is y = T x / T 1. Fused
native code computes the first gradients. Everything else (tangents, second derivatives) is composed
of passes, elementwise operations and the two moves between a vertex and its parent.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _ops
from ._autograd import Function, call, constant, recorded, save
from ._take import give, take

Topology = tuple[Tensor, Tensor, Tensor]
"""Parent, order and plan of a tree."""


def run(x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int) -> Tensor:
    """One pass or filter on (B, C, *shape), with affinities (1 or B, G, N), and its derivatives."""
    if not recorded(x, a):
        return _ops.propagate(x, parent, order, plan, a, kind)
    if kind in (_ops.LEAF_TO_ROOT, _ops.ROOT_TO_LEAF):
        return call(_Pass, x, a, parent, order, plan, kind)
    made = _coefficients(a, parent, order, plan) if kind == _ops.MEAN else None
    return call(_Filter, x, a, parent, order, plan, kind, made)


def _coefficients(a: Tensor, parent: Tensor, order: Tensor, plan: Tensor) -> Tensor | None:
    """What the mean and its derivative have in common, on CUDA.

    Making it occupies a block for each image and group, while all else waits. With one group that
    is time on hardly any of a GPU, and memory of a few channels. With many groups it is neither.
    """
    if a.shape[1] != 1 or not _ops.planned(a):
        return None
    return constant(_ops.coefficients, parent, order, plan, a.detach())


class _Pass(Function):
    @staticmethod
    def forward(
        x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int
    ) -> Tensor:
        return _ops.propagate(x, parent, order, plan, a, kind)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, a, parent, order, plan, ctx.kind = inputs
        save(ctx, a, parent, order, plan, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, parent, order, plan, y = ctx.saved_tensors
        up = ctx.kind == _ops.LEAF_TO_ROOT
        grad_x = run(grad, a, parent, order, plan, _ops.ROOT_TO_LEAF if up else _ops.LEAF_TO_ROOT)
        grad_a = None
        if ctx.needs_input_grad[1]:
            above, below = (grad_x, y) if up else (y, grad_x)
            grad_a = _sum_to(_parent_dot(above, below, parent, a.shape[1]), a)
        return grad_x, grad_a, None, None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        x_, a_ = tangents[:2]
        a, parent, order, plan, y = saved
        if a_ is not None:
            tree = _Passes(a, (parent, order, plan))
            a_, flat = tree.without_roots(a_), _flat(y)
            if ctx.kind == _ops.LEAF_TO_ROOT:
                through_a = tree.below(_scale(flat, a_))
            else:
                through_a = _scale(tree.above(flat), a_)
            through_a = through_a.view(y.shape)
            x_ = through_a if x_ is None else x_ + through_a
        assert x_ is not None
        return run(x_, a, parent, order, plan, ctx.kind)


class _Filter(Function):
    @staticmethod
    def forward(
        x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int,
        made: Tensor | None,
    ) -> Tensor:  # fmt: skip
        return _ops.propagate(x, parent, order, plan, a, kind, made)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, a, parent, order, plan, ctx.kind, made = inputs
        if ctx.needs_input_grad[1] or forward_ad._current_level >= 0:
            save(ctx, a, parent, order, plan, made, x)
        else:
            save(ctx, a, parent, order, plan, made)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, parent, order, plan, made, *rest = ctx.saved_tensors
        x = rest[0] if rest else grad  # without a gradient in a, the values do not matter
        wanted = ctx.needs_input_grad[1]
        grads: tuple[Tensor, ...]
        again = torch.is_grad_enabled() and a.requires_grad
        if torch.compiler.is_compiling() or not (again or recorded(grad, x)):
            grads = _ops.filter_backward(grad, x, parent, order, plan, a, ctx.kind, wanted, made)
        elif forward_ad._current_level >= 0:
            grads = _gradients(grad, x, a, (parent, order, plan), ctx.kind, wanted)
        else:
            grads = call(_Gradients, grad, x, a, parent, order, plan, ctx.kind, wanted, made)
        return grads[0], _sum_to(grads[1], a) if wanted else None, *(None,) * 5

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        x_, a_ = tangents[:2]
        a, parent, order, plan, _, x = saved
        if a_ is None:
            assert x_ is not None
            return run(x_, a, parent, order, plan, ctx.kind)
        tree = _Passes(a, (parent, order, plan))
        values = _centred(_flat(x).to(a.dtype), ctx.kind)
        along = None if x_ is None else _flat(x_).to(a.dtype)
        total, total_ = tree.total_and_tangent(values, along, a_)
        if ctx.kind == _ops.MEAN:
            ones, ones_ = tree.total_and_tangent(tree.ones(), None, a_)
            inverse = 1 / ones
            total_ = _scale(total_ - _scale(total, ones_ * inverse), inverse)
        return total_.to(x.dtype).view(x.shape)


class _Gradients(Function):
    """The gradients of the filter in x and, if ``wanted``, in a, with derivatives of their own."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor,
        kind: int, wanted: bool, made: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        grads = _ops.filter_backward(grad, x, parent, order, plan, a, kind, wanted, made)
        return grads if wanted else grads[:1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.kind, ctx.wanted, _ = inputs
        save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad, x, a, parent, order, plan = ctx.saved_tensors

        def gradients(grad: Tensor, x: Tensor, a: Tensor) -> tuple[Tensor, ...]:
            return _gradients(grad, x, a, (parent, order, plan), ctx.kind, ctx.wanted)

        pull = torch.func.vjp(gradients, grad, x, a)[1]
        return *pull(grads), *(None,) * 6


def _gradients(
    grad: Tensor, x: Tensor, a: Tensor, topology: Topology, kind: int, wanted: bool
) -> tuple[Tensor, ...]:
    """What :class:`_Gradients` computes, composed of differentiable passes.

    T is its own transpose; so T g is the gradient in x, g being grad, divided by T 1 for the mean.
    The gradient in a of Σ g T x is the same with x and g exchanged. That of the mean has a second
    such term, for T 1.
    """
    tree = _Passes(a, topology)
    g = _flat(grad).to(a.dtype)
    ones = inverse = None
    if kind == _ops.MEAN:
        ones = tree.ones()
        inverse = 1 / tree.total(ones)
        g = _scale(g, inverse)
    if not wanted:
        return (tree.total(g).to(grad.dtype).view(grad.shape),)
    values = _centred(_flat(x).to(a.dtype), kind)
    y, grad_x, grad_a = tree.products(values, g)
    if ones is not None and inverse is not None:
        grad_ones = -_group_sum(g * _scale(y, inverse), a.shape[1])
        grad_a = grad_a + tree.products(ones.expand_as(grad_ones), grad_ones)[2]
    return grad_x.to(x.dtype).view(x.shape), tree.without_roots(grad_a)


def _centred(x: Tensor, kind: int) -> Tensor:
    """``x``, less a constant of its channel for the mean.

    The derivatives of the mean in a do not depend on a value that all vertices share, but would
    lose the digits that it takes.
    """
    if kind != _ops.MEAN:
        return x
    mean = x.mean(-1, keepdim=True)
    return x - torch.where(mean.isfinite(), mean, 0)


class _Passes:
    """Passes over (B, C, N) with given affinities, and what derivatives need besides."""

    def __init__(self, a: Tensor, topology: Topology) -> None:
        self.a = a
        self.topology = topology
        own = torch.arange(a.shape[2], device=a.device)
        self.roots = (topology[0] == own).unsqueeze(1)
        self.s = ((1 - a) * (1 + a)).masked_fill(self.roots, 1)

    def without_roots(self, a: Tensor) -> Tensor:
        """``a``, 0 at roots, whose affinity is ignored."""
        return a.masked_fill(self.roots, 0)

    def ones(self) -> Tensor:
        return torch.ones_like(self.s)

    def up(self, x: Tensor) -> Tensor:
        return run(x, self.a, *self.topology, _ops.LEAF_TO_ROOT)

    def down(self, x: Tensor) -> Tensor:
        return run(x, self.a, *self.topology, _ops.ROOT_TO_LEAF)

    def total(self, x: Tensor) -> Tensor:
        return self.down(_scale(self.up(x), self.s))

    def above(self, x: Tensor) -> Tensor:
        """The value of every vertex's parent."""
        return take(x, self._parents(x))

    def below(self, x: Tensor) -> Tensor:
        """The sum of the values of every vertex's children. At roots, x must be 0."""
        return give(x, self._parents(x))

    def _parents(self, x: Tensor) -> Tensor:
        return self.topology[0].long().unsqueeze(1).expand(x.shape)

    def total_and_tangent(self, x: Tensor, x_: Tensor | None, a_: Tensor) -> tuple[Tensor, Tensor]:
        """T x, and its derivative along (``x_``, ``a_``)."""
        a_ = self.without_roots(a_)
        up = self.up(x)
        y = self.down(_scale(up, self.s))
        from_below = self.below(_scale(up, a_))
        up_ = self.up(from_below if x_ is None else x_ + from_below)
        s_ = -2 * self.a * a_
        return y, self.down(_scale(up_, self.s) + _scale(up, s_) + _scale(self.above(y), a_))

    def products(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """T x, T g and the derivative of Σ g T x in a (B, G, N), at roots any value."""
        groups = self.a.shape[1]
        up_x, up_g = self.up(x), self.up(g)
        y, z = self.down(_scale(up_x, self.s)), self.down(_scale(up_g, self.s))
        passed = _group_sum(self.above(y) * up_g + self.above(z) * up_x, groups)
        return y, z, passed - 2 * self.a * _group_sum(up_g * up_x, groups)


def _flat(x: Tensor) -> Tensor:
    """(B, C, *shape) as (B, C, N). By reshape, which every vmap of torch knows."""
    return x if x.ndim == 3 else x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _scale(x: Tensor, by: Tensor) -> Tensor:
    """(B, C, N) times (1 or B, G, N), group by group."""
    return (_by_group(x, by.shape[1]) * by.unsqueeze(2)).reshape(x.shape).to(x.dtype)


def _group_sum(x: Tensor, groups: int) -> Tensor:
    """(B, C, N) to (B, G, N): the sum over the channels of every group."""
    return _by_group(x, groups).sum(2)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(B, C, N) as (B, G, C/G, N)."""
    batch, channels, nodes = x.shape
    return x.reshape(batch, groups, channels // groups, nodes)


def _parent_dot(p: Tensor, q: Tensor, parent: Tensor, groups: int) -> Tensor:
    """Σ_c p[c, parent(v)] q[c, v] over the channels of every group, 0 at roots."""
    if not recorded(p, q):
        return _ops.parent_dot(p, q, parent, groups)
    own = torch.arange(parent.shape[1], device=parent.device)
    p, q = _flat(p), _flat(q)
    above = take(p, parent.long().unsqueeze(1).expand(p.shape))
    return _group_sum(above * q, groups).masked_fill((parent == own).unsqueeze(1), 0)


def _sum_to(grad: Tensor, a: Tensor) -> Tensor:
    return grad if a.shape[0] == grad.shape[0] else grad.sum(0, keepdim=True)
