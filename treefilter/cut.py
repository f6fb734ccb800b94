"""Partitions of the vertices: the levels of a dendrogram."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _ops, _topology
from ._autograd import constant, values_of
from ._checks import (
    NUMBER_TYPES,
    as_float,
    check_devices,
    check_instance,
    check_integer,
    check_tensor,
    has_nan,
)
from .dendrogram import Dendrogram, checked_altitude


def cut(
    h: Dendrogram,
    weight: Tensor | None = None,
    threshold: float | Tensor | None = None,
    *,
    num: int | None = None,
) -> Tensor:
    """The partition of the vertices at one level of a dendrogram.

    With ``weight`` and ``threshold``: the connected components of the edges that are not heavier
    than the threshold (quasi-flat zones). With ``num``: the components that are left when the
    num − 1 last merges are undone; a forest of more components stays as it is.

    Args:
        h: The hierarchies.
        weight: (B, E), the weights that ``h`` was made of.
        threshold: A number, or a (B,) tensor. ``+inf`` joins all that can be joined.
        num: How many components, from 1 to N.

    Returns:
        (B, *shape) int64, or (B, N) without a shape: labels from 0 in the order of the components'
        lowest vertices.

    Raises:
        ValueError: If shapes do not fit, the threshold is NaN, ``num`` is out of range, or not
            exactly one of ``threshold`` and ``num`` is given.
        TypeError: If an argument has another type.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[0.0, 9.0, 1.0]])  # four pixels in a row
        >>> h = tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 4)))
        >>> tf.cut(h, weight, 0.5), tf.cut(h, num=2)
        (tensor([[[0, 0, 1, 2]]]), tensor([[[0, 0, 1, 1]]]))
    """
    check_instance("cut", "h", h, Dendrogram)
    if (num is None) == (threshold is None) or (weight is None) != (threshold is None):
        raise ValueError(
            "cut: arguments must be weight and threshold, or num alone, "
            f"got weight={'given' if weight is not None else None}, "
            f"threshold={'given' if threshold is not None else None}, num={num}"
        )
    n = h.num_leaves
    if num is not None:
        count = check_integer("cut", "num", num)
        if not 1 <= count <= n:
            raise ValueError(f"cut: num must be in [1, {n}], got {count}")
        kept = torch.arange(n - 1, device=h.device).expand(h.parent.shape[0], -1) < n - count
    else:
        assert weight is not None
        values = weight.detach() if isinstance(weight, Tensor) else weight
        heights = checked_altitude("cut", values, h)
        limit = _limit(threshold, heights)
        kept = (heights <= limit) & (h.edge >= 0)
    labels = _topology.numbered(_tops(h, kept), h.parent.shape[1])[:, :n]
    return labels if h.shape is None else labels.reshape(-1, *h.shape)


def _limit(threshold: Any, heights: Tensor) -> float | Tensor:
    """The threshold, checked, as a number or (B, 1)."""
    if isinstance(threshold, Tensor):
        check_tensor("cut", "threshold", threshold, "float")
        check_devices("cut", "h", heights, threshold=threshold)
        if threshold.shape not in ((), heights.shape[:1]):
            raise ValueError(
                f"cut: threshold must be a number or have shape ({heights.shape[0]},), "
                f"got {tuple(threshold.shape)}"
            )
        values = values_of(threshold)
        if values is not None and has_nan(values):
            raise ValueError("cut: threshold must not be NaN, got NaN")
        return threshold.detach().reshape(-1, 1)
    if isinstance(threshold, bool) or not isinstance(threshold, NUMBER_TYPES):
        raise TypeError(
            f"cut: threshold must be a number or a tensor, got {type(threshold).__name__}"
        )
    if threshold != threshold:
        raise ValueError("cut: threshold must not be NaN, got NaN")
    return as_float(threshold)


def _tops(h: Dendrogram, kept: Tensor) -> Tensor:
    """(B, 2N−1) int64: the highest node that every node is part of, of the merges that are kept."""
    batch, n = kept.shape[0], h.num_leaves
    tree = h.as_tree()
    # A merge that is not kept has none above it that is kept, so each node's own merge decides.
    above = (h.parent.long() - n).clamp(min=0).expand(batch, -1)
    joined = (~tree.roots).expand(batch, -1)
    if n > 1:
        joined = joined & kept.gather(1, above)
    own = torch.arange(2 * n - 1, device=h.device).double()
    starts = torch.where(joined, 0, own).unsqueeze(1)
    a = joined.double().unsqueeze(1)
    topology = (tree.parent, tree.order, tree._plan)
    return constant(_ops.propagate, starts, *topology, a, _ops.ROOT_TO_LEAF).squeeze(1).long()
