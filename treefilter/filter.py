"""The tree filter and the two linear passes that it consists of."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._checks import (
    check_batch,
    check_choice,
    check_devices,
    check_flag,
    check_nodes,
    check_tensor,
    describe,
    widen,
)
from ._filter_autograd import run
from .bottleneck import filter_by_bottleneck
from .tree import Tree, check_tree

PATHS = ("product", "min")


def filter(
    x: Tensor, tree: Tree, affinity: Tensor, *, normalize: bool = True, path: str = "product"
) -> Tensor:
    """The tree filter: y_i = Σ_j A_ij x_j / Σ_j A_ij (Eq. 7 of Liang et al., CVPR 2022).

    A_ij is the product of the affinities on the tree path from i to j, A_ii = 1; j runs over the
    whole connected component of i. Exact, in two passes of O(N) a channel (Yang, CVPR 2012); a
    constant x stays the constant. Saved for backward: ``affinity`` and the tree, and, if the
    affinity needs a gradient, ``x``; on CUDA, where all channels have the same affinity, also what
    is multiplied with, 36 bytes a vertex (float64: 56).

    With ``path="min"``, A_ij is the smallest affinity on the path, A_ii = 1 still: what passes the
    bottleneck (the minimax kernel of APro, Li et al., NeurIPS 2023). Two passes over the
    :func:`treefilter.dendrogram` of the affinities, which is made inside; computed in float64.
    Saved for backward: the sums of all its nodes. The gradient in the affinity goes to the
    bottleneck, among equals the one with the lowest vertex below it.

    Args:
        x: (B, C, *shape) or (B, C, N), floating point, any strides. 16-bit values are read as they
            are and computed with in float32.
        tree: The trees, B of them or one for all.
        affinity: (B, N), or (B, G, N) with C divisible by G: group g weighs the channels
            g·C/G … (g+1)·C/G − 1. A batch of 1 serves any B. From :func:`treefilter.affinity`, or
            any values ≥ 0. At roots it is ignored. Values above 1 cost precision: if the largest
            product along a path from a root is 10ᵏ, about k decimal digits of 7 (float32) are lost.
        normalize: If false, y_i = Σ_j A_ij x_j.
        path: ``"product"`` or ``"min"``: A_ij of the affinities on a path.

    Returns:
        The filtered tensor, shape, dtype and memory format of ``x`` (float32 under autocast,
        float64 if the affinity is). Differentiable in ``x`` and ``affinity``, twice.

    Raises:
        ValueError: If shapes do not fit each other or ``path`` is unknown.
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
    check_choice("filter", "path", path, PATHS)
    kind = _ops.MEAN if normalize else _ops.SUM
    return apply("filter", x, tree, affinity, kind, path == "min")


def mass(tree: Tree, affinity: Tensor) -> Tensor:
    """Σ_j A_ij: the number of vertices that the filter averages over at each vertex.

    The mean is the sum divided by it: ``filter(x, tree, a)`` is
    ``filter(x, tree, a, normalize=False) / mass(tree, a)``. :func:`treefilter.sigma_for_mass` finds
    the σ that gives a mass. Saved for backward: ``affinity``, the tree and ones like the affinity.

    Args:
        tree: The trees, B of them or one for all.
        affinity: (B, N) or (B, G, N), as for :func:`treefilter.filter`.

    Returns:
        (B, N) or (B, G, N), at least 1, in the dtype of the affinity (float32 under autocast).
        Differentiable in ``affinity``, twice.

    Raises:
        ValueError: If shapes or devices do not fit each other.
        TypeError: If ``affinity`` is no floating-point tensor or ``tree`` no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> tree = tf.mst(torch.zeros(1, 2), tf.grid(1, 3))
        >>> tf.mass(tree, torch.tensor([[0.0, 0.5, 0.5]]))
        tensor([[1.7500, 2.0000, 1.7500]])
    """
    check_tensor("mass", "affinity", affinity, "float")
    check_tree("mass", tree)
    check_devices("mass", "affinity", affinity, tree=tree)
    if affinity.ndim not in (2, 3) or affinity.shape[1] == 0:
        raise ValueError(
            f"mass: affinity must have shape {describe('B', '', None, tree.num_nodes)} or "
            f"(B, G, {tree.num_nodes}), got {tuple(affinity.shape)}"
        )
    grouped = affinity.ndim == 3
    groups = affinity.shape[1] if grouped else 1
    trees = tree.parent.shape[0]
    batch = affinity.shape[0] if trees == 1 else trees
    ones = affinity.new_ones((batch, groups, tree.num_nodes))
    y = apply("mass", ones, tree, affinity, _ops.SUM)
    return y if grouped else y.squeeze(1)


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
    return apply("leaf_to_root", x, tree, affinity, _ops.LEAF_TO_ROOT)


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
    return apply("root_to_leaf", x, tree, affinity, _ops.ROOT_TO_LEAF)


def apply(
    function: str, x: Tensor, tree: Tree, affinity: Tensor, kind: int, minimax: bool = False
) -> Tensor:
    """The pass or filter of that kind, whose errors are those of ``function``."""
    check_tensor(function, "x", x, "float")
    check_tree(function, tree)
    check_tensor(function, "affinity", affinity, "float")
    check_devices(function, "x", x, tree=tree, affinity=affinity)
    x = widen(x)
    check_nodes(function, "x", x, tree.shape, tree.num_nodes)
    check_batch(function, "x", x, tree)
    a = _grouped(function, affinity, x, tree)
    double = torch.float64
    wide = double if x.dtype is double or a.dtype is double else torch.float32
    # 16-bit values go in as they are, whatever the affinity is: the native code sums in float32.
    values = x.to(wide) if wide is double and x.dtype is not wide else x
    if a.dtype is not wide:
        a = a.to(wide)
    if minimax:
        y = filter_by_bottleneck(values, tree, a, kind == _ops.MEAN).to(wide)
    else:
        y = run(values, a, tree.parent, tree.order, tree._plan, kind)
    return y.to(x.dtype) if y.dtype is not x.dtype and x.dtype.itemsize == 2 else y


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
