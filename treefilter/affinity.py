"""From weights to affinities: how much of a value passes along each edge of a tree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, recorded, save, values_of
from ._checks import (
    accumulate_in,
    check_batch,
    check_devices,
    check_instance,
    check_sigma,
    check_sigma_values,
    check_tensor,
    widen,
)
from .tree import Tree


def affinity(weight: Tensor, tree: Tree, sigma: float | Tensor = 1.0) -> Tensor:
    """exp(−weight/σ) of the edge from every vertex to its parent (Eq. 5 of Liang et al., 2022).

    Saved for backward: the result, and for a differentiable σ the weights of the tree's edges.

    Args:
        weight: (B, E), or (B, G, E) for G groups of channels with weights of their own.
        tree: The trees, B of them or one for all. They may come from other weights.
        sigma: σ > 0, a number (Python's or NumPy's) or a tensor that broadcasts to (B, G). The
            smallest σ is the smallest normal number of the type that is computed in, 1.18e-38 in
            float32 and 2.23e-308 in float64; the largest σ is that type's largest number.

    Returns:
        (B, N), or (B, G, N) where ``weight`` or ``sigma`` has groups; 0 at roots. In the dtype of
        ``weight`` (float64 for float32 weights and a float64 σ). Differentiable in ``weight`` and
        ``sigma``, twice.

    Raises:
        ValueError: If shapes or devices do not fit or σ is not positive or out of range.
        TypeError: If ``weight`` is no floating-point tensor, ``tree`` no Tree or σ neither a number
            nor a floating-point tensor.

    Example:
        >>> import torch, treefilter as tf
        >>> graph = tf.grid(1, 3)
        >>> weight = torch.tensor([[0.1, 0.2]])
        >>> tf.affinity(weight, tf.mst(weight, graph), sigma=0.1)
        tensor([[0.0000, 0.3679, 0.1353]])
    """
    check_tensor("affinity", "weight", weight, "float")
    check_instance("affinity", "tree", tree, Tree)
    check_devices("affinity", "weight", weight, tree=tree)
    weight = widen(weight)
    grouped = weight.ndim == 3
    if weight.ndim not in (2, 3):
        raise ValueError(
            f"affinity: weight must have shape (B, E) or (B, G, E), got {tuple(weight.shape)}"
        )
    check_batch("affinity", "weight", weight, tree)
    values = weight if grouped else weight.unsqueeze(1)
    width, grouped = _sigma(sigma, values, grouped)
    double = torch.float64
    wide = torch.float32
    if values.dtype is double or (isinstance(width, Tensor) and width.dtype is double):
        wide = double
    result_dtype = weight.dtype if weight.dtype.itemsize == 2 else wide
    weights = tree_weight(values.to(wide), tree)
    if isinstance(width, Tensor) and recorded(width):
        a = call(_Exponential, weights, width.to(wide))
    else:
        a = torch.exp(weights / -width)
    a = a.masked_fill(tree.roots.unsqueeze(1), 0).to(result_dtype)
    return a if grouped else a.squeeze(1)


def _sigma(sigma: float | Tensor, weight: Tensor, grouped: bool) -> tuple[float | Tensor, bool]:
    """σ as a number or a tensor that broadcasts to (B, G, 1), and whether the result has groups."""
    if isinstance(sigma, Tensor):
        check_tensor("affinity", "sigma", sigma, "float")
        check_devices("affinity", "weight", weight, sigma=sigma)
        batch, groups = weight.shape[:2]
        rows, columns = (1, 1, *sigma.shape)[-2:]
        fits = rows in (1, batch) and (columns in (1, groups) if grouped else columns > 0)
        if sigma.ndim > 2 or not fits:
            expected = f"({batch}, {groups if grouped else 'G'})"
            raise ValueError(
                f"affinity: sigma must broadcast to {expected}, got {tuple(sigma.shape)}"
            )
        values = values_of(sigma)
        if values is not None:
            check_sigma_values("affinity", values)
        width = sigma if sigma.dtype == torch.float64 else sigma.float()
        return width.reshape(rows, columns, 1), grouped or columns > 1
    return check_sigma("affinity", sigma, accumulate_in(weight)), grouped


def tree_weight(weight: Tensor, tree: Tree) -> Tensor:
    """(B, G, E) weights of edges to (B, G, N) of the vertices' parent edges, 0 at roots."""
    return gather_weight(weight, tree.edge)


def gather_weight(weight: Tensor, edge: Tensor) -> Tensor:
    """(B, G, E) weights to (B, G, N) of the edges (B or 1, N), 0 where an edge is −1."""
    if recorded(weight):
        return call(_TreeWeight, weight, edge)
    return _ops.tree_weight(weight, edge)


def _scatter(grad: Tensor, edge: Tensor, num_edges: int) -> Tensor:
    if recorded(grad):
        return call(_GraphWeight, grad, edge, num_edges)
    return _ops.tree_weight_backward(grad, edge, num_edges)


class _TreeWeight(Function):
    """Linear; each class is the other's transpose."""

    @staticmethod
    def forward(weight: Tensor, edge: Tensor) -> Tensor:
        return _ops.tree_weight(weight, edge)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, edge = inputs
        save(ctx, edge)
        ctx.num_edges = weight.shape[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (edge,) = ctx.saved_tensors
        return _scatter(grad, edge, ctx.num_edges), None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return gather_weight(tangents[0], saved[0])


class _GraphWeight(Function):
    @staticmethod
    def forward(grad: Tensor, edge: Tensor, num_edges: int) -> Tensor:
        return _ops.tree_weight_backward(grad, edge, num_edges)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, edge, ctx.num_edges = inputs
        save(ctx, edge)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (edge,) = ctx.saved_tensors
        return gather_weight(grad, edge), None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return _scatter(tangents[0], saved[0], ctx.num_edges)


class _Exponential(Function):
    """exp(−w/σ) for a σ with derivatives.

    Where the result is 0, so are all derivatives. Composed of torch's operators, they would be
    0·∞ = NaN there, for a missing edge.
    """

    @staticmethod
    def forward(weight: Tensor, width: Tensor) -> Tensor:
        return torch.exp(weight / -width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, *inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        weight, width, a = ctx.saved_tensors
        negative = -width
        grad_weight = grad * a / negative
        grad_width = None
        if ctx.needs_input_grad[1]:
            products = grad_weight * weight.masked_fill(a == 0, 0)
            grad_width = products.sum_to_size(width.shape) / negative
        return grad_weight, grad_width

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        weight, width, a = saved
        weight_, width_ = tangents
        change = torch.zeros_like(a) if weight_ is None else -weight_
        if width_ is not None:
            change = change + weight.masked_fill(a == 0, 0) / width * width_
        return a * (change / width)
