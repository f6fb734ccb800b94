"""Dendrograms in SciPy's form."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._autograd import constant, values_of
from .dendrogram import Dendrogram, checked_altitude


def linkage(weight: Tensor, h: Dendrogram) -> Tensor:
    """The hierarchies as SciPy's linkage matrices.

    ``scipy.cluster.hierarchy.fcluster``, ``dendrogram`` and the other functions there accept the
    matrix of one image as an array. On CUDA the call waits for the device, to check.

    Args:
        weight: (B, E), the weights that ``h`` was made of.
        h: The hierarchies, B of them or one for all, of connected graphs.

    Returns:
        (B, N−1, 4) float64: the two nodes that are merged, their weight, and the number of leaves
        of the new node. No gradient.

    Raises:
        ValueError: If shapes do not fit or a graph is not connected.
        TypeError: If ``weight`` is no floating-point tensor or ``h`` no Dendrogram.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[2.0, 1.0]])
        >>> tf.linkage(weight, tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 3))))
        tensor([[[1., 2., 1., 2.],
                 [0., 3., 2., 3.]]], dtype=torch.float64)
    """
    values = weight.detach() if isinstance(weight, Tensor) else weight
    heights = checked_altitude("linkage", values, h).double()
    edges = h.edge if h.device.type == "cuda" else values_of(h.edge)
    if edges is not None and not torch.compiler.is_compiling() and (edges < 0).any():
        components = int((edges < 0).sum(1).max()) + 1
        raise ValueError(f"linkage: h must be of a connected graph, got {components} components")
    tree, n = h.as_tree(), h.num_leaves
    own = torch.arange(2 * n - 1, device=h.device)
    leaf = (own < n).double().expand(h.parent.shape[0], 1, -1)
    a = torch.ones(1, 1, 2 * n - 1, dtype=torch.float64, device=h.device)
    topology = (tree.parent, tree.order, tree._plan)
    sizes = constant(_ops.propagate, leaf, *topology, a, _ops.LEAF_TO_ROOT)[:, 0, n:]
    children = h._children().double()
    batch = heights.shape[0]
    parts = [children[..., 0], children[..., 1], heights, sizes]
    return torch.stack([part.expand(batch, -1) for part in parts], 2)
