"""Distances along the paths of a tree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops
from ._autograd import Function, call, constant, recorded, save, unsaturated
from ._checks import (
    check_batch,
    check_choice,
    check_devices,
    check_edge_values,
    check_tensor,
    widen,
)
from ._checks import describe as _describe
from ._take import take
from .affinity import tree_weight
from .tree import Tree, check_tree

PATHS = ("sum", "max")
MATRIX_LIMIT = 2**28
"""The largest number of elements that :func:`distance_matrix` makes: 1 GiB of float32."""


def distance(weight: Tensor, tree: Tree, source: Tensor, path: str = "sum") -> Tensor:
    """The distance along the tree from each source to every vertex (Eq. 4 of Liang et al., 2022).

    O(N) a source. Saved for backward: one index per value of the result.

    Args:
        weight: (B, E) weights of the graph's edges.
        tree: The trees, B of them or one for all.
        source: (S,) or (B, S) integer tensor of vertices.
        path: ``"sum"``: Σ of the weights on the path. ``"max"``: the largest of them, i.e. the
            bottleneck or minimax distance, which no other path of the graph can improve.

    Returns:
        (B, S, N): 0 at the source, ``+inf`` in other components. In the dtype of ``weight``; of
        16-bit weights a sum is float32, and so is a maximum under autocast. A sum of finite weights
        beyond the largest number of its dtype is that number, with derivative 0; of weights of both
        signs, this holds for each vertex on the way, too. A NaN on the path gives NaN.
        Differentiable in ``weight``, twice; a maximum passes its gradient to the largest edge,
        among equals to the nearest to the source.

    Raises:
        ValueError: If shapes do not fit, a source is outside [0, N) or ``path`` is unknown.
        TypeError: If ``weight`` is no floating-point tensor, ``source`` no integer tensor, or
            ``tree`` no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[1.0, 2.0]])
        >>> tree = tf.mst(weight, tf.grid(1, 3))
        >>> tf.distance(weight, tree, torch.tensor([0, 1]))
        tensor([[[0., 1., 3.],
                 [1., 0., 2.]]])
    """
    return _distance("distance", weight, tree, source, path)


def _distance(function: str, weight: Tensor, tree: Tree, source: Tensor, path: str) -> Tensor:
    weights = _tree_weights(function, weight, tree, path)
    check_tensor(function, "source", source, "int")
    check_devices(function, "weight", weight, source=source)
    batch = weight.shape[0]
    if source.ndim not in (1, 2) or (source.ndim == 2 and source.shape[0] != batch):
        raise ValueError(
            f"{function}: source must have shape (S,) or ({batch}, S), got {tuple(source.shape)}"
        )
    sources = source.to(torch.int64).expand(batch, source.shape[-1])
    topology = (tree.parent, tree.order, tree._plan)
    if not recorded(weights):
        out, _, _ = _ops.distance(weights, *topology, sources, path == "max", function)
    else:
        out, via, bottleneck = constant(
            _ops.distance, weights.detach(), *topology, sources, path == "max", function
        )
        out = _along(weights, tree, out, via, bottleneck, path)
    return _rounded(out, weight, path)


def distance_transform(
    weight: Tensor, tree: Tree, seeds: Tensor, path: str = "sum"
) -> tuple[Tensor, Tensor]:
    """The distance along the tree from every vertex to its nearest seed, and which seed that is.

    Two passes, O(N), whatever the number of seeds. Saved for backward: one index per vertex.

    Args:
        weight: (B, E) weights of the graph's edges, not negative on the tree.
        tree: The trees, B of them or one for all.
        seeds: (B, *shape) or (B, N) bool.
        path: As for :func:`distance`.

    Returns:
        ``(distance, nearest)``, both (B, N): the distance, with dtype and derivatives as for
        :func:`distance`; and the nearest seed's vertex, int64. Of equal sums the lowest vertex is
        the nearest seed. Maxima compare by the strict order of :func:`treefilter.mst`, edge by
        edge: ``nearest`` is then the :func:`treefilter.watershed` of the seeds, and every vertex is
        connected to its seed by vertices with that seed. In a component without a seed: ``+inf``
        and −1.

    Raises:
        ValueError: If shapes do not fit, a weight of the tree is negative or NaN, or ``path`` is
            unknown.
        TypeError: If ``weight`` is no floating-point tensor, ``seeds`` no bool tensor or ``tree``
            no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[1.0, 5.0, 1.0]])
        >>> tree = tf.mst(weight, tf.grid(1, 4))
        >>> tf.distance_transform(weight, tree, torch.tensor([[True, False, False, True]]))
        (tensor([[0., 1., 1., 0.]]), tensor([[0, 0, 3, 3]]))
    """
    function = "distance_transform"
    weights = _tree_weights(function, weight, tree, path)
    check_tensor(function, "seeds", seeds, "bool")
    check_devices(function, "weight", weight, seeds=seeds)
    batch, shape = weight.shape[0], tuple(seeds.shape[1:])
    if seeds.ndim < 2 or seeds.shape[0] != batch or shape not in ((tree.num_nodes,), tree.shape):
        expected = _describe(str(batch), "", tree.shape, tree.num_nodes)
        raise ValueError(f"{function}: seeds must have shape {expected}, got {tuple(seeds.shape)}")
    arguments = [tree.parent, tree.order, tree._plan, seeds.flatten(1)]
    if path == "max":
        arguments += [weight.detach().to(weights.dtype), tree.edge]
    if not recorded(weights):
        out, nearest, _, _ = _ops.distance_transform(weights, *arguments)
    else:
        out, nearest, via, bottleneck = constant(
            _ops.distance_transform, weights.detach(), *arguments
        )
        bottleneck = bottleneck.unsqueeze(1) if path == "max" else bottleneck
        out = _along(weights, tree, out.unsqueeze(1), via.unsqueeze(1), bottleneck, path)
        out = out.squeeze(1)
    return _rounded(out, weight, path), nearest


def distance_matrix(weight: Tensor, tree: Tree, path: str = "sum") -> Tensor:
    """The distance between all pairs of vertices, for small graphs.

    Saved for backward: one index per value of the result.

    Args:
        weight: (B, E) weights of the graph's edges.
        tree: The trees, B of them or one for all.
        path: As for :func:`distance`.

    Returns:
        (B, N, N), row i holding the distances from vertex i.

    Raises:
        ValueError: If B·N² exceeds 2²⁸, besides what :func:`distance` raises.
        TypeError: As :func:`distance`.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[1.0, 2.0]])
        >>> tree = tf.mst(weight, tf.grid(1, 3))
        >>> tf.distance_matrix(weight, tree, path="max")
        tensor([[[0., 1., 2.],
                 [1., 0., 2.],
                 [2., 2., 0.]]])
    """
    function = "distance_matrix"
    check_tensor(function, "weight", weight, "float")
    check_tree(function, tree)
    check_edge_values(function, weight)
    n = tree.num_nodes
    if weight.shape[0] * n * n > MATRIX_LIMIT:
        raise ValueError(
            f"{function}: B * N * N must be at most 2**28, got {weight.shape[0]} * {n} * {n}"
        )
    return _distance(function, weight, tree, torch.arange(n, device=weight.device), path)


def _tree_weights(function: str, weight: Tensor, tree: Tree, path: str) -> Tensor:
    """(B, N) weights of the parent edges, in the type that distances are computed in."""
    check_tensor(function, "weight", weight, "float")
    check_tree(function, tree)
    check_choice(function, "path", path, PATHS)
    check_edge_values(function, weight)
    check_devices(function, "weight", weight, tree=tree)
    check_batch(function, "weight", weight, tree)
    values = weight.unsqueeze(1).to(_ops.sum_dtype(weight))
    return tree_weight(function, values, tree).squeeze(1)


def _rounded(distance: Tensor, weight: Tensor, path: str) -> Tensor:
    """A largest weight in the weights' dtype; a sum, which 16 bits may not hold, in float32."""
    return distance.to(widen(weight).dtype) if path == "max" else distance


def _along(
    weights: Tensor, tree: Tree, value: Tensor, via: Tensor, bottleneck: Tensor, path: str
) -> Tensor:
    """The distances ``value`` again, (B, S, N), as a differentiable function of the weights."""
    if path == "sum":
        sums = _sums(weights, tree.parent, tree.order, tree._plan, via)
        if unsaturated(value):  # nearly always, where all is in reach
            return sums
        return torch.where(value.abs() < torch.finfo(value.dtype).max, sums, value)
    flat = bottleneck.flatten(1).long()
    chosen = take(weights, flat.clamp(min=0)).masked_fill(flat < 0, 0)
    return torch.where(via < 0, value, chosen.view(bottleneck.shape))


def _sums(weight: Tensor, *indices: Tensor) -> Tensor:
    if recorded(weight):
        return call(_PathSums, weight, *indices)
    return _ops.path_sums(weight, *indices)


def _accumulated(grad: Tensor, *indices: Tensor) -> Tensor:
    if recorded(grad):
        return call(_AccumulatedSums, grad, *indices)
    return _ops.accumulate_sums(grad, *indices)


class _PathSums(Function):
    """Linear in the weights; each class is the other's transpose."""

    @staticmethod
    def forward(weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor) -> Tensor:
        return _ops.path_sums(weight, parent, order, plan, via)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _accumulated(grad, *ctx.saved_tensors), None, None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return _sums(tangents[0], *saved)


class _AccumulatedSums(Function):
    @staticmethod
    def forward(grad: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor) -> Tensor:
        return _ops.accumulate_sums(grad, parent, order, plan, via)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        save(ctx, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _sums(grad, *ctx.saved_tensors), None, None, None, None

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return _accumulated(tangents[0], *saved)
