"""The tree filter whose kernel is the smallest affinity on a path.

In the dendrogram of the affinities, largest first, merge p is the bottleneck between the leaves of
its two children: A_ij is its affinity k_p. With S the sums of x over the leaves of every node,

    y_i = x_i + Σ k_p S_s over the ancestors p of i, where s is the child of p without i.

That is T_k x: linear in x, affine in k, and its own transpose. With a and b the children of p,

    d⟨g, T_k x⟩ / dk_p = S_a(g) S_b(x) + S_b(g) S_a(x).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops, _topology
from ._autograd import Function, call, constant, recorded, save
from ._filter_autograd import run
from ._take import take
from .affinity import gather_weight
from .dendrogram import order_of_passes
from .tree import Tree


def filter_by_bottleneck(x: Tensor, tree: Tree, a: Tensor, normalize: bool) -> Tensor:
    """The filter of ``x`` (B, C, *shape), with ``a`` (1 or B, G, N), in float64."""
    batch, channels = x.shape[:2]
    groups, nodes = a.shape[1:]
    parent, edge, a = _groups(tree, a, batch)
    up, number, children = constant(_ops.merges, -a.detach(), parent, edge, "filter")
    k = gather_weight(a.double().unsqueeze(1), number, "filter").squeeze(1)
    values = x.reshape(batch * groups, channels // groups, nodes).double()
    if not normalize:
        return _sums(values, up, children, k).reshape(x.shape)
    with_ones = torch.nn.functional.pad(values, (0, 0, 0, 1), value=1.0)  # all in the same pass
    y = _sums(with_ones, up, children, k)
    return (y[:, :-1] / y[:, -1:]).reshape(x.shape)


def _groups(tree: Tree, a: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Parents, vertices with a parent and affinities of the trees of all groups, as one batch."""
    groups, nodes = a.shape[1:]
    parent = tree.parent
    if groups > 1 or not a.shape[0] == parent.shape[0] == 1:
        parent = parent.unsqueeze(1).expand(batch, groups, nodes).reshape(-1, nodes)
        a = a.expand(batch, groups, nodes)
    own = torch.arange(nodes, dtype=torch.int32, device=a.device)
    edge = own.masked_fill(_topology.is_root(parent), -1)
    return parent, edge, a.reshape(-1, nodes)


def _sums(x: Tensor, parent: Tensor, children: Tensor, k: Tensor) -> Tensor:
    """T_k x."""
    if recorded(x, k):
        return call(_Sums, x, parent, children, k)
    return _ops.bottleneck_sums(x, parent, children, k)


class _Sums(Function):
    @staticmethod
    def forward(x: Tensor, parent: Tensor, children: Tensor, k: Tensor) -> Tensor:
        return _ops.bottleneck_sums(x, parent, children, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, parent, children, k = ctx.saved_tensors
        grad_x = _sums(grad, parent, children, k) if ctx.needs_input_grad[0] else None
        grad_k = None
        if ctx.needs_input_grad[3]:
            grad_k = _products(grad, x, parent, children)
            grad_k = grad_k.sum(0, keepdim=True) if k.shape[0] != grad.shape[0] else grad_k
        return grad_x, None, None, grad_k

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        x, parent, children, k = saved
        x_, _, _, k_ = tangents
        y_ = None if x_ is None else _sums(x_, parent, children, k)
        if k_ is not None:
            through_k = _sums(x, parent, children, k_) - x
            y_ = through_k if y_ is None else y_ + through_k
        assert y_ is not None
        return y_


def _products(g: Tensor, x: Tensor, parent: Tensor, children: Tensor) -> Tensor:
    """(B, N − 1): Σ_c S_a(g) S_b(x) + S_b(g) S_a(x) of the children a and b of every merge."""
    nodes = x.shape[2]
    order, _, plan = order_of_passes(parent)
    one = x.new_ones(1, 1, 2 * nodes - 1)
    both = torch.nn.functional.pad(torch.cat([g, x], 1), (0, nodes - 1))
    sums = run(both, one, parent, order, plan, _ops.LEAF_TO_ROOT)
    shape = (sums.shape[0], sums.shape[1], nodes - 1)
    (g_a, x_a), (g_b, x_b) = (
        take(sums, pair.long().clamp(min=0).unsqueeze(1).expand(shape)).chunk(2, 1)
        for pair in children.unbind(2)
    )
    return (g_a * x_b + g_b * x_a).sum(1).masked_fill(children[..., 0] < 0, 0)
