"""Seeded watersheds along trees."""

from __future__ import annotations

from torch import Tensor

from . import _ops
from ._checks import check_devices, check_tensor, describe
from .dendrogram import checked_weight
from .tree import Tree


def watershed(weight: Tensor, tree: Tree, markers: Tensor) -> Tensor:
    """The seeded watershed: every vertex gets the label of the marker that it is joined to first.

    The minimum spanning forest rooted in the markers (Cousty et al., IEEE TPAMI 2009), if the trees
    are minimum spanning trees for these weights: of all paths to a marker, a vertex takes the one
    whose heaviest edge is the least. Edges compare in the strict order of :func:`treefilter.mst`,
    so that the result is unique, and every region is connected to a marker of its label. O(N) after
    a sort, whatever the number of markers. No gradient;
    ``distance_transform(…, path="max")`` gives the levels.

    Args:
        weight: (B, E) weights of the graph's edges. ``+inf`` joins nothing.
        tree: The trees, B of them or one for all.
        markers: (B, *shape) or (B, N) integer; 0 is no marker, as in SciPy and scikit-image. Any
            number of vertices may have the same label.

    Returns:
        The labels, in the shape and dtype of ``markers``; 0 in a component without a marker.

    Raises:
        ValueError: If shapes do not fit or a weight is NaN; on CUDA such an edge joins nothing.
        TypeError: If ``weight`` is no floating-point tensor, ``markers`` no integer tensor or
            ``tree`` no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[1.0, 5.0, 1.0]])  # four pixels in a row
        >>> tree = tf.mst(weight, tf.grid(1, 4))
        >>> tf.watershed(weight, tree, torch.tensor([[[7, 0, 0, 3]]]))
        tensor([[[7, 7, 3, 3]]])
    """
    values = checked_weight("watershed", weight, tree)
    check_tensor("watershed", "markers", markers, "int")
    check_devices("watershed", "weight", weight, markers=markers)
    batch, shape = weight.shape[0], tuple(markers.shape[1:])
    fits = shape in ((tree.num_nodes,), tree.shape)
    if markers.ndim < 2 or markers.shape[0] != batch or not fits:
        expected = describe(str(batch), "", tree.shape, tree.num_nodes)
        raise ValueError(
            f"watershed: markers must have shape {expected}, got {tuple(markers.shape)}"
        )
    labels = _ops.watershed(values, tree.parent, tree.edge, markers.flatten(1).long())
    return labels.to(markers.dtype).view(markers.shape)
