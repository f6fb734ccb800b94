"""The tree filter and the two linear passes that it consists of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._checks import (
    accumulate_in,
    check_batch,
    check_devices,
    check_flag,
    check_instance,
    check_tensor,
    describe,
    flatten_nodes,
    widen,
)
from ._take import take
from .tree import Tree


def filter(x: Tensor, tree: Tree, affinity: Tensor, *, normalize: bool = True) -> Tensor:
    """The tree filter: y_i = Σ_j A_ij x_j / Σ_j A_ij (Eq. 7 of Liang et al., CVPR 2022).

    A_ij is the product of the affinities on the tree path from i to j, A_ii = 1; j runs over the
    whole connected component of i. Exact, in two passes of O(N) a channel (Yang, CVPR 2012); a
    constant x stays the constant. Saved for backward: ``affinity`` and the tree, and, if the
    affinity needs a gradient, ``x``.

    Args:
        x: (B, C, *shape) or (B, C, N), floating point, any strides. 16-bit values are read as they
            are and computed with in float32.
        tree: The trees, B of them or one for all.
        affinity: (B, N), or (B, G, N) with C divisible by G: group g weighs the channels
            g·C/G … (g+1)·C/G − 1. A batch of 1 serves any B. From :func:`treefilter.affinity`, or
            any values ≥ 0. At roots it is ignored. Beyond 1 digits are lost, as many as the largest
            product of affinities on a path from a root has: at 10⁷ all of float32.
        normalize: If false, y_i = Σ_j A_ij x_j.

    Returns:
        The filtered tensor, shape, dtype and memory format of ``x`` (float32 under autocast,
        float64 if the affinity is). Differentiable in ``x`` and ``affinity``, twice.

    Raises:
        ValueError: If shapes do not fit each other.
        TypeError: If ``x`` or ``affinity`` is no floating-point tensor or ``tree`` no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[0.0, 9.0]])  # three pixels in a row, an edge after the second
        >>> tree = tf.mst(weight, tf.grid(1, 3))
        >>> a = tf.affinity(weight, tree, sigma=0.1)
        >>> tf.filter(torch.tensor([[[1.0, 3.0, 8.0]]]), tree, a)
        tensor([[[2., 2., 8.]]])
    """
    check_flag("filter", "normalize", normalize)
    return _apply("filter", x, tree, affinity, _ops.MEAN if normalize else _ops.SUM)


def leaf_to_root(x: Tensor, tree: Tree, affinity: Tensor) -> Tensor:
    """S_v = x_v + Σ a_c S_c over the children c of v: every vertex collects what lies below it.

    The transpose of :func:`root_to_leaf`. Arguments, result and errors as for
    :func:`treefilter.filter`. Saved for backward: ``affinity``, the tree and the result.

    Example:
        >>> import torch, treefilter as tf
        >>> tree = tf.mst(torch.zeros(1, 2), tf.grid(1, 3))
        >>> tf.leaf_to_root(torch.ones(1, 1, 3), tree, torch.tensor([[0.0, 0.5, 0.5]]))
        tensor([[[1.7500, 1.5000, 1.0000]]])
    """
    return _apply("leaf_to_root", x, tree, affinity, _ops.LEAF_TO_ROOT)


def root_to_leaf(x: Tensor, tree: Tree, affinity: Tensor) -> Tensor:
    """R_v = x_v + a_v R_parent: every vertex collects what lies above it.

    The transpose of :func:`leaf_to_root`. Arguments, result and errors as for
    :func:`treefilter.filter`. Saved for backward: ``affinity``, the tree and the result.

    Example:
        >>> import torch, treefilter as tf
        >>> tree = tf.mst(torch.zeros(1, 2), tf.grid(1, 3))
        >>> tf.root_to_leaf(torch.ones(1, 1, 3), tree, torch.tensor([[0.0, 0.5, 0.5]]))
        tensor([[[1.0000, 1.5000, 1.7500]]])
    """
    return _apply("root_to_leaf", x, tree, affinity, _ops.ROOT_TO_LEAF)


def _apply(function: str, x: Tensor, tree: Tree, affinity: Tensor, kind: int) -> Tensor:
    check_tensor(function, "x", x, "float")
    check_instance(function, "tree", tree, Tree)
    check_tensor(function, "affinity", affinity, "float")
    check_devices(function, "x", x, tree=tree, affinity=affinity)
    x = widen(x)
    flat = flatten_nodes(function, "x", x, tree.shape, tree.num_nodes)
    check_batch(function, "x", x, tree)
    a = _grouped(function, affinity, flat, tree)
    wide = accumulate_in(x, affinity)
    # 16-bit values go in as they are, whatever the affinity is: the native code sums in float32.
    if wide == torch.float64 and flat.dtype != wide:
        flat = flat.to(wide)
    if a.dtype != wide:
        a = a.to(wide)
    y = _run(flat, a, tree.parent, tree.order, tree._plan, kind)
    if x.dtype.itemsize == 2 and y.dtype != x.dtype:
        y = y.to(x.dtype)
    return y.view(x.shape)


def _grouped(function: str, affinity: Tensor, x: Tensor, tree: Tree) -> Tensor:
    """The affinity as (1 or B, G, N)."""
    batch, channels = x.shape[:2]
    a = affinity.unsqueeze(1) if affinity.ndim == 2 else affinity
    if a.ndim != 3 or a.shape[2] != tree.num_nodes or a.shape[0] not in (1, batch):
        expected = (
            f"{describe(str(batch), '', None, tree.num_nodes)} or ({batch}, G, {tree.num_nodes})"
        )
        raise ValueError(
            f"{function}: affinity must have shape {expected}, got {tuple(affinity.shape)}"
        )
    if a.shape[1] == 0 or channels % a.shape[1]:
        raise ValueError(
            f"{function}: affinity must have a number of groups that divides the {channels} "
            f"channels of x, got {a.shape[1]}"
        )
    return a


def _run(x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int) -> Tensor:
    """One pass or filter on (B, C, N) with affinities (1 or B, G, N), differentiable if need be."""
    if torch.is_grad_enabled() and (x.requires_grad or a.requires_grad):
        function = _Pass if kind in (_ops.LEAF_TO_ROOT, _ops.ROOT_TO_LEAF) else _Filter
        return function.apply(x, a, parent, order, plan, kind)
    return _ops.propagate(x, parent, order, plan, a, kind)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int
    ) -> Tensor:
        y: Tensor = _ops.propagate(x, parent, order, plan, a, kind)
        ctx.save_for_backward(a, parent, order, plan, y)
        ctx.kind = kind
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, parent, order, plan, y = ctx.saved_tensors
        up = ctx.kind == _ops.LEAF_TO_ROOT
        grad_x = _run(grad, a, parent, order, plan, _ops.ROOT_TO_LEAF if up else _ops.LEAF_TO_ROOT)
        grad_a = None
        if ctx.needs_input_grad[1]:
            above, below = (grad_x, y) if up else (y, grad_x)
            grad_a = _sum_to(_parent_dot(above, below, parent, a.shape[1]), a)
        return grad_x, grad_a, None, None, None, None


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor, kind: int
    ) -> Tensor:
        y: Tensor = _ops.propagate(x, parent, order, plan, a, kind)
        ctx.kind = kind
        if ctx.needs_input_grad[1]:
            ctx.save_for_backward(a, parent, order, plan, x)
        else:
            ctx.save_for_backward(a, parent, order, plan)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, parent, order, plan, *rest = ctx.saved_tensors
        x = rest[0] if rest else grad  # without a gradient in a, the values do not matter
        twice = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if twice and (grad.requires_grad or x.requires_grad or a.requires_grad):
            grad_x, grad_a = _composed_gradients(ctx, grad, x, a, parent, order, plan)
        else:
            wanted = ctx.needs_input_grad[1]
            grad_x, grad_a = _ops.filter_backward(grad, x, parent, order, plan, a, ctx.kind, wanted)
            grad_a = _sum_to(grad_a, a) if wanted else None
        return grad_x, grad_a, None, None, None, None


def _composed_gradients(
    ctx: Any, grad: Tensor, x: Tensor, a: Tensor, parent: Tensor, order: Tensor, plan: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients with a graph of their own, through the two passes."""
    inputs = [t for t, need in zip((x, a), ctx.needs_input_grad, strict=False) if need]
    if not ctx.needs_input_grad[1]:
        return _composed(grad, a, parent, order, plan, ctx.kind, adjoint=True), None
    with torch.enable_grad():
        y = _composed(x, a, parent, order, plan, ctx.kind)
        grads = list(torch.autograd.grad(y, inputs, grad, create_graph=True))
    return (grads.pop(0) if ctx.needs_input_grad[0] else None), grads.pop(0)


def _composed(
    x: Tensor,
    a: Tensor,
    parent: Tensor,
    order: Tensor,
    plan: Tensor,
    kind: int,
    adjoint: bool = False,
) -> Tensor:
    """The filter, or its transpose, made of differentiable passes."""
    own = torch.arange(parent.shape[1], device=parent.device)
    share = ((1 - a) * (1 + a)).masked_fill((parent == own).unsqueeze(1), 1)

    def total(values: Tensor) -> Tensor:
        below = _run(values, a, parent, order, plan, _ops.LEAF_TO_ROOT)
        return _run(_scale(below, share), a, parent, order, plan, _ops.ROOT_TO_LEAF)

    if kind == _ops.SUM:
        return total(x)
    ones = x.new_ones((), dtype=a.dtype).expand(x.shape[0], a.shape[1], x.shape[2])
    inverse = 1 / total(ones)
    return total(_scale(x, inverse)) if adjoint else _scale(total(x), inverse)


def _scale(x: Tensor, by: Tensor) -> Tensor:
    """(B, C, N) times (1 or B, G, N), group by group."""
    groups = by.shape[1]
    return (x.unflatten(1, (groups, -1)) * by.unsqueeze(2)).flatten(1, 2).to(x.dtype)


def _parent_dot(p: Tensor, q: Tensor, parent: Tensor, groups: int) -> Tensor:
    """Σ_c p[c, parent(v)] q[c, v] over the channels of every group, 0 at roots."""
    if not (torch.is_grad_enabled() and (p.requires_grad or q.requires_grad)):
        return _ops.parent_dot(p, q, parent, groups)
    own = torch.arange(parent.shape[1], device=parent.device)
    above = take(p, parent.long().unsqueeze(1).expand(p.shape))
    dot = (above * q).unflatten(1, (groups, -1)).sum(2)
    return dot.masked_fill((parent == own).unsqueeze(1), 0)


def _sum_to(grad: Tensor, a: Tensor) -> Tensor:
    return grad if a.shape[0] == grad.shape[0] else grad.sum(0, keepdim=True)
