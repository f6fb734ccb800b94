"""Hierarchies: the order in which the edges of a tree join its vertices, lightest first."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Any

import torch
from torch import Tensor

from . import _ops, _topology
from ._autograd import values_of
from ._batch_index import Index, batch_index
from ._checks import (
    check_batch,
    check_devices,
    check_edge_values,
    check_instance,
    check_shape,
    check_target,
    check_tensor,
    has_nan,
    widen,
)
from ._pytree_node import register
from .affinity import gather_weight
from .tree import Tree, check_tree

MADE_HERE = object()
"""What code of this package passes for fields that are known to fit."""


@dataclass(frozen=True, eq=False)
class Dendrogram:
    """A batch of B single-linkage hierarchies (Kruskal trees, canonical binary partition trees).

    Nodes 0 … N−1 are the leaves, the vertices of the tree. Merge k makes node N + k of two nodes
    with lower numbers. Made by :func:`dendrogram`; the constructor is internal. It checks shapes,
    dtypes and devices, and on the CPU whether each merge has two children. A Dendrogram has no
    gradients, can be indexed like a Tree, pickled and copied, and is a pytree. Its tensors must not
    be changed in place.

    Attributes:
        parent: (B, 2N−1) int32, the parent of each node; a node without one is its own parent.
        edge: (B, N−1) int32, the graph's edge that made merge k. Of a forest the last ones are −1:
            there are no more merges, and those nodes have neither children nor a parent.
        shape: Shape of the grid, or ``None``.

    Raises:
        ValueError: If a shape, a device or a value does not fit ``parent``.
        TypeError: If ``parent`` or ``edge`` is no int32 tensor.
    """

    parent: Tensor
    edge: Tensor
    shape: tuple[int, ...] | None = None
    _made_by: InitVar[object] = None

    def __post_init__(self, _made_by: object) -> None:
        if _made_by is MADE_HERE:
            return
        for name in ("parent", "edge"):
            check_tensor("Dendrogram", name, getattr(self, name), "int32")
        parent, edge = self.parent, self.edge
        if parent.ndim != 2 or parent.shape[1] % 2 == 0:
            raise ValueError(
                f"Dendrogram: parent must have shape (B, 2N - 1), N > 0, got {tuple(parent.shape)}"
            )
        expected = (parent.shape[0], parent.shape[1] // 2)
        if edge.shape != expected or edge.device != parent.device:
            raise ValueError(
                f"Dendrogram: edge must have shape {expected} and be on {parent.device} like "
                f"parent, got {tuple(edge.shape)} on {edge.device}"
            )
        object.__setattr__(self, "shape", check_shape("Dendrogram", self.shape, self.num_leaves))
        if values_of(parent) is not None:
            _check_values(parent, edge)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.parent.device

    @property
    def num_leaves(self) -> int:
        """Number of leaves N: the vertices of the tree."""
        return self.parent.shape[1] // 2 + 1

    def as_tree(self) -> Tree:
        """The same hierarchies as a Tree of 2N−1 vertices, for passes over them.

        The edge of node v to its parent has number v. So :func:`treefilter.leaf_to_root` sums over
        the leaves of every node, :func:`treefilter.root_to_leaf` over the nodes above, with
        affinities (B, 2N−1).

        Example:
            >>> import torch, treefilter as tf
            >>> weight = torch.tensor([[2.0, 1.0]])
            >>> tree = tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 3))).as_tree()
            >>> leaf = torch.tensor([[[1.0, 1, 1, 0, 0]]])
            >>> tf.leaf_to_root(leaf, tree, torch.ones(1, 5))  # the areas
            tensor([[[1., 1., 1., 2., 3.]]])
        """
        root = _topology.is_root(self.parent)
        number = torch.arange(self.parent.shape[1], dtype=torch.int32, device=self.device)
        edge = torch.where(root, -1, number)
        return Tree(self.parent, edge, *order_of_passes(self.parent))

    def to(self, device: torch.device | str | int) -> Dendrogram:
        """The same hierarchies on another device; RuntimeError if it is not there."""
        target = check_target("Dendrogram.to", device, self.parent)
        parent = self.parent.to(target)
        if parent.device == self.parent.device:
            return self
        return Dendrogram(parent, self.edge.to(target), self.shape)

    def __len__(self) -> int:
        return self.parent.shape[0]

    def __getitem__(self, index: Index) -> Dendrogram:
        """Some of the hierarchies, as a Tree is indexed."""
        i = batch_index("Dendrogram", index, self.parent.shape[0], self.device)
        return Dendrogram(self.parent[i], self.edge[i], self.shape, MADE_HERE)

    def __repr__(self) -> str:
        return f"Dendrogram(batch={len(self)}, num_leaves={self.num_leaves}, shape={self.shape})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Dendrogram, (self.parent, self.edge, self.shape)

    def _children(self) -> Tensor:
        """(B, N−1, 2) int64: the two children of every merge, ascending; −1 where there is none."""
        merges = self.num_leaves - 1
        own = torch.arange(self.parent.shape[1], device=self.device).expand(self.parent.shape)
        to = torch.where(_topology.is_root(self.parent), merges, self.parent - self.num_leaves)
        lists = [
            own.new_full((own.shape[0], merges + 1), fill).scatter_reduce(1, to.long(), own, how)
            for fill, how in ((2 * merges + 1, "amin"), (-1, "amax"))
        ]
        return torch.stack(lists, 2)[:, :merges].masked_fill(self.edge.unsqueeze(2) < 0, -1)


def order_of_passes(parent: Tensor) -> tuple[Tensor, None, Tensor]:
    """A Tree's order, shape and plan for the nodes of dendrograms."""
    plan = _ops.plan(parent)
    if plan.shape[1]:
        return _ops.order(parent, plan)[0], None, plan
    root = _topology.is_root(parent)  # children have lower numbers
    return root.to(torch.uint8).argsort(dim=1, stable=True).int(), None, plan


def _check_values(parent: Tensor, edge: Tensor) -> None:
    nodes, merges = parent.shape[1], edge.shape[1]
    own = torch.arange(nodes, dtype=torch.int32)
    root = parent == own
    inside = root | ((parent > own) & (parent > merges) & (parent < nodes))
    if not inside.all():
        raise ValueError(
            f"Dendrogram: parent must be the node itself or a later merge below {nodes}, "
            "got a value that is not"
        )
    count = torch.zeros_like(parent).scatter_add(1, parent.long(), (~root).int())
    expected = 2 * (edge >= 0).int()
    if not torch.equal(count[:, merges + 1 :], expected) or (edge < -1).any():
        raise ValueError(
            "Dendrogram: edge must be -1 for nodes without children, and an edge's number for those"
            " with two, got another one"
        )


def dendrogram(weight: Tensor, tree: Tree) -> Dendrogram:
    """The single-linkage hierarchy of every tree of a batch.

    Edges are joined as Kruskal's algorithm does, in the strict order of :func:`treefilter.mst`: by
    weight, then by edge number. So the result is unique, and the same on every device. It is also
    the hierarchy of the whole graph, if the tree is its minimum spanning tree for these weights.
    On the CPU O(N) and a radix sort; on CUDA, for now, the merges of an image are made by one
    thread. No gradient; see :func:`altitude`.

    Args:
        weight: (B, E) weights of the graph's edges. ``+inf`` joins nothing.
        tree: The trees, B of them or one for all.

    Returns:
        A batch of B hierarchies.

    Raises:
        ValueError: If shapes do not fit or a weight is NaN; on CUDA such an edge joins nothing.
        TypeError: If ``weight`` is no floating-point tensor or ``tree`` no Tree.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[2.0, 1.0]])  # 0 ─ 1 ─ 2
        >>> h = tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 3)))
        >>> h.parent.tolist(), h.edge.tolist()
        ([[4, 3, 3, 4, 4]], [[1, 0]])
    """
    weight = checked_weight("dendrogram", weight, tree)
    parent, edge, _ = _ops.merges(weight, tree.parent, tree.edge, "dendrogram", with_children=False)
    return Dendrogram(parent, edge, tree.shape, MADE_HERE)


def checked_weight(function: str, weight: Tensor, tree: Tree) -> Tensor:
    """The weights that a tree's edges are sorted by, in float32 or float64, without derivatives."""
    check_tensor(function, "weight", weight, "float")
    check_tree(function, tree)
    check_edge_values(function, weight)
    check_devices(function, "weight", weight, tree=tree)
    check_batch(function, "weight", weight, tree)
    values = values_of(weight)
    if values is not None and has_nan(values):
        raise ValueError(f"{function}: weight must not be NaN, got NaN")
    return weight.detach().to(_ops.sum_dtype(weight))


def altitude(weight: Tensor, h: Dendrogram) -> Tensor:
    """The weight of every merge of a dendrogram.

    Args:
        weight: (B, E) weights of the graph's edges.
        h: The hierarchies, B of them or one for all.

    Returns:
        (B, N−1), in the dtype of ``weight`` (float32 under autocast); ``+inf`` where a forest has
        no more merges. Ascending for the weights that ``h`` was made of. Differentiable in
        ``weight``; nothing but ``h.edge`` is saved for backward.

    Raises:
        ValueError: If shapes do not fit.
        TypeError: If ``weight`` is no floating-point tensor or ``h`` no Dendrogram.

    Example:
        >>> import torch, treefilter as tf
        >>> weight = torch.tensor([[2.0, 1.0]])
        >>> tf.altitude(weight, tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 3))))
        tensor([[1., 2.]])
    """
    return checked_altitude("altitude", weight, h)


def checked_altitude(function: str, weight: Tensor, h: Dendrogram) -> Tensor:
    """:func:`altitude` for ``function``, which errors name."""
    check_tensor(function, "weight", weight, "float")
    check_instance(function, "h", h, Dendrogram)
    check_edge_values(function, weight)
    check_devices(function, "weight", weight, h=h)
    check_batch(function, "weight", weight, h, "dendrogram")
    wide = weight.unsqueeze(1).to(_ops.sum_dtype(weight))
    values = gather_weight(wide, h.edge, function, "h.edge").squeeze(1)
    return values.masked_fill(h.edge < 0, torch.inf).to(widen(weight).dtype)


register(Dendrogram, ("parent", "edge"))
torch.serialization.add_safe_globals([Dendrogram])  # its constructor checks what a file holds
