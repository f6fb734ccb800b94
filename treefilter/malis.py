"""Pairs of labels along a dendrogram, for losses on segmentations."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._checks import check_devices, check_instance, check_tensor, describe
from .dendrogram import Dendrogram


def malis_pairs(h: Dendrogram, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How many pairs of equally and of differently labelled vertices every merge joins.

    The counts of MALIS (Turaga et al., NeurIPS 2009): merge k is the maximin edge of the pairs that
    it joins. A loss is a sum over merges, ``positive`` and ``negative`` times functions of
    :func:`treefilter.altitude`. O(N log N). On CUDA one thread counts in each image.

    Args:
        h: The hierarchies, B of them or one for all.
        labels: (B, *shape) or (B, N) integer; vertices of label 0 are in no pair.

    Returns:
        ``(positive, negative)``, both (B, N−1) float64, exact up to 2⁵³; 0 where a forest has no
        more merges.

    Raises:
        ValueError: If shapes do not fit.
        TypeError: If ``labels`` is no integer tensor or ``h`` no Dendrogram.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[0.1, 0.9, 0.2]])  # four pixels in a row
        >>> h = tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 4)))
        >>> positive, negative = tf.malis_pairs(h, torch.tensor([[[1, 1, 2, 2]]]))
        >>> positive.tolist(), negative.tolist()
        ([[1.0, 1.0, 0.0]], [[0.0, 0.0, 4.0]])
        >>> height = tf.altitude(weight, h)  # pull equal labels together, push others apart
        >>> loss = (positive * height**2 + negative * (1 - height).clamp(min=0) ** 2).sum()
    """
    check_instance("malis_pairs", "h", h, Dendrogram)
    check_tensor("malis_pairs", "labels", labels, "int")
    check_devices("malis_pairs", "h", h.parent, labels=labels)
    n, trees = h.num_leaves, h.parent.shape[0]
    batch, shape = labels.shape[0] if labels.ndim else 0, tuple(labels.shape[1:])
    if labels.ndim < 2 or shape not in ((n,), h.shape) or trees not in (1, batch):
        expected = describe("B" if trees == 1 else str(trees), "", h.shape, n)
        raise ValueError(
            f"malis_pairs: labels must have shape {expected}, got {tuple(labels.shape)}"
        )
    flat = labels.flatten(1).long()
    parent = h.parent.expand(batch, -1)
    children = h._children().int().expand(batch, -1, -1)
    return _ops.count_pairs(parent, children, _counted(flat).masked_fill(flat == 0, -1))


def _counted(labels: Tensor) -> Tensor:
    """(B, N) int32: labels as numbers from 0, in each image."""
    ascending, vertex = labels.sort(dim=1)
    number = torch.zeros_like(labels)
    number[:, 1:] = (ascending[:, 1:] != ascending[:, :-1]).cumsum(1)
    return torch.zeros_like(labels).scatter(1, vertex, number).int()
