"""From weights to affinities: how much of a value passes along each edge of a tree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, recorded, save, values_of
from ._checks import (
    check_batch,
    check_devices,
    check_sigma,
    check_sigma_values,
    check_tensor,
    widen,
)
from .tree import Tree, check_tree


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
    return affinity_for("affinity", weight, tree, sigma)


def affinity_for(function: str, weight: Tensor, tree: Tree, sigma: float | Tensor) -> Tensor:
    """:func:`affinity`, whose errors are those of ``function``."""
    check_tensor(function, "weight", weight, "float")
    check_tree(function, tree)
    check_devices(function, "weight", weight, tree=tree)
    weight = widen(weight)
    grouped = weight.ndim == 3
    if weight.ndim not in (2, 3):
        raise ValueError(
            f"{function}: weight must have shape (B, E) or (B, G, E), got {tuple(weight.shape)}"
        )
    check_batch(function, "weight", weight, tree)
    values = weight if grouped else weight.unsqueeze(1)
    sigmas, width, grouped = _sigma(function, sigma, values, grouped)
    wide = _ops.sum_dtype(values if sigmas is None else sigmas)
    result_dtype = weight.dtype if weight.dtype.itemsize == 2 else wide
    values = values if values.dtype is wide else values.to(wide)
    if recorded(values, sigmas):
        a = call(_Affinity, values, tree.edge, sigmas, width)
    else:
        a = _ops.affinity(values, tree.edge, sigmas, width)
    a = a if a.dtype is result_dtype else a.to(result_dtype)
    return a if grouped else a.squeeze(1)


def _sigma(
    function: str, sigma: float | Tensor, weight: Tensor, grouped: bool
) -> tuple[Tensor | None, float, bool]:
    """σ as values (B, G or 1) or as a number, and whether the result has groups."""
    if not isinstance(sigma, Tensor):
        return None, check_sigma(function, sigma, _ops.sum_dtype(weight)), grouped
    check_tensor(function, "sigma", sigma, "float")
    check_devices(function, "weight", weight, sigma=sigma)
    batch, groups = weight.shape[:2]
    rows, columns = (1, 1, *sigma.shape)[-2:]
    fits = rows in (1, batch) and (columns in (1, groups) if grouped else columns > 0)
    if sigma.ndim > 2 or not fits:
        expected = f"({batch}, {groups if grouped else 'G'})"
        raise ValueError(
            f"{function}: sigma must broadcast to {expected}, got {tuple(sigma.shape)}"
        )
    values = values_of(sigma)
    if values is not None:
        check_sigma_values(function, values)
    width = sigma.to(_ops.sum_dtype(weight, sigma)).reshape(rows, columns).expand(batch, columns)
    return width, 1.0, grouped or columns > 1


def tree_weight(function: str, weight: Tensor, tree: Tree) -> Tensor:
    """(B, G, E) weights of edges to (B, G, N) of the vertices' parent edges, 0 at roots."""
    return gather_weight(weight, tree.edge, function)


def gather_weight(weight: Tensor, edge: Tensor, function: str, name: str = "tree.edge") -> Tensor:
    """(B, G, E) weights to (B, G, N) of the edges (B or 1, N), 0 where an edge is −1.

    ``name`` is what the user calls the edges.
    """
    if recorded(weight):
        return call(_TreeWeight, weight, edge, function, name)
    return _ops.tree_weight(weight, edge, function, name)


def _scatter(grad: Tensor, edge: Tensor, num_edges: int, function: str) -> Tensor:
    if recorded(grad):
        return call(_GraphWeight, grad, edge, num_edges, function)
    return _ops.tree_weight_backward(grad, edge, num_edges, function)


class _TreeWeight(Function):
    """Linear; each class is the other's transpose."""

    @staticmethod
    def forward(weight: Tensor, edge: Tensor, function: str, name: str) -> Tensor:
        return _ops.tree_weight(weight, edge, function, name)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, edge, ctx.function, _ = inputs
        save(ctx, edge)
        ctx.num_edges = weight.shape[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (edge,) = ctx.saved_tensors
        return _scatter(grad, edge, ctx.num_edges, ctx.function), None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return gather_weight(tangents[0], saved[0], ctx.function)


class _GraphWeight(Function):
    @staticmethod
    def forward(grad: Tensor, edge: Tensor, num_edges: int, function: str) -> Tensor:
        return _ops.tree_weight_backward(grad, edge, num_edges, function)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, edge, ctx.num_edges, ctx.function = inputs
        save(ctx, edge)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (edge,) = ctx.saved_tensors
        return gather_weight(grad, edge, ctx.function), None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return _scatter(tangents[0], saved[0], ctx.num_edges, ctx.function)


class _Affinity(Function):
    """exp(−w/σ) of the vertices' edges.

    Where the result is 0, so are all derivatives. Composed of torch's operators, they would be
    0·∞ = NaN there, for a missing edge.
    """

    @staticmethod
    def forward(weight: Tensor, edge: Tensor, sigma: Tensor | None, width: float) -> Tensor:
        return _ops.affinity(weight, edge, sigma, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, edge, sigma, ctx.width = inputs
        ctx.shape = weight.shape[1:]
        # The weights are for the derivative by σ only.
        save(ctx, output, edge, *(() if sigma is None else (sigma, weight)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        a, edge, sigma, weight = _saved(ctx.saved_tensors)
        grad_weight = grad_sigma = None
        if ctx.needs_input_grad[0]:
            grad_weight = _by_weight(grad, a, edge, sigma, ctx.width, ctx.shape)
        if sigma is not None and weight is not None and ctx.needs_input_grad[2]:
            change = grad * a * _finite(weight, edge, a) / sigma.unsqueeze(2).square()
            grad_sigma = change.sum(2).sum_to_size(sigma.shape)
        return grad_weight, None, grad_sigma, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Tensor | None) -> Tensor:
        a, edge, sigma, weight = _saved(saved)
        weight_, _, sigma_, _ = tangents
        width = ctx.width if sigma is None else sigma.unsqueeze(2)
        change = (
            torch.zeros_like(a) if weight_ is None else -gather_weight(weight_, edge, "affinity")
        )
        if sigma_ is not None and weight is not None:
            change = change + _finite(weight, edge, a) / width * sigma_.unsqueeze(2)
        return a * (change / width)


def _saved(tensors: Any) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    a, edge, *rest = tensors
    sigma, weight = rest or (None, None)
    return a, edge, sigma, weight


def _finite(weight: Tensor, edge: Tensor, a: Tensor) -> Tensor:
    """The weights of the vertices' edges, and 0 where the affinity is."""
    return gather_weight(weight, edge, "affinity").masked_fill(a == 0, 0)


def _by_weight(
    grad: Tensor, a: Tensor, edge: Tensor, sigma: Tensor | None, width: float, shape: Any
) -> Tensor:
    """grad·a/−σ at the edges: (B, G, N) -> (B, *shape)."""
    if not recorded(grad, a):
        return _ops.affinity_backward(grad, a, edge, sigma, width, list(shape))
    change = grad * a / (-width if sigma is None else -sigma.unsqueeze(2))
    if change.shape[1] != shape[0]:
        change = change.sum(1, keepdim=True)
    return _scatter(change, edge, shape[1], "affinity")
