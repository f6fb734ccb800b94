"""A batch of rooted spanning trees (or forests) and the order in which passes visit them.

What is computed from a tree's structure is in ``_topology.py``. This file is long because a tree is
also indexed, joined, moved, pickled, collated and a pytree, and each of these is a few lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from . import _ops, _topology
from ._autograd import values_of
from ._batch_index import Index, batch_index
from ._checks import check_instance, check_shape, check_target, check_tensor
from ._pytree_node import register


@dataclass(frozen=True, eq=False)
class Tree:
    """A batch of B rooted spanning trees over the same N vertices.

    :func:`treefilter.mst` makes minimum spanning trees, :meth:`from_parents` makes a Tree of
    parents from elsewhere. The constructor is internal: it checks shapes, dtypes and devices, but
    not whether the values are those of a tree; a wrong order gives wrong results.

    Topology only: no weights, no gradients. Made once, it serves every channel, every pass, forward
    and backward. A batch of one serves any batch of data.

    The tensors must not be changed in place. While a function of this package runs in one thread,
    no other thread may write to them: the native code checks the values before it uses them, and a
    value that changes in between can crash the process.

    A Tree can be pickled, copied, saved by ``torch.save`` and loaded by
    ``torch.load(weights_only=True)``. ``torch.utils.data.default_collate`` puts Trees together as
    :meth:`cat` does.

    Attributes:
        parent: (B, N) int32, the parent of each vertex; a root is its own parent.
        edge: (B, N) int32, the graph's edge from each vertex to its parent; −1 at a root.
        order: (B, N) int32, the vertices so that children come before their parents, and the roots
            last, in ascending order. Which of these orders it is depends on where the tree was
            made; any one will do. On the CPU, several paths from leaves upwards are interleaved,
            so that neighbours in the order are independent. On CUDA the chains of the tree's
            Strahler decomposition follow each other: round 0 holds every maximal chain that ends
            in a leaf, by ascending leaf; round 1 the same of what is left, and so on: at most
            log2(leaves) + 1 rounds whatever the depth.
        shape: Shape of the grid, or ``None``.

    Raises:
        ValueError: If a shape or a device does not fit those of ``parent``.
        TypeError: If ``parent``, ``edge`` or ``order`` is no int32 tensor.
    """

    parent: Tensor
    edge: Tensor
    order: Tensor
    shape: tuple[int, ...] | None = None
    # The plan of fields that are known to fit; only code of this package passes it.
    _made_with: InitVar[Tensor | None] = None
    # What passes on CUDA read besides; on the CPU nothing.
    _plan: Tensor = field(init=False, repr=False)

    def __post_init__(self, _made_with: Tensor | None) -> None:
        plan = _made_with
        if plan is None:
            object.__setattr__(self, "shape", self._check_fields())
            plan = _ops.plan(self.parent)
        object.__setattr__(self, "_plan", plan)

    def _check_fields(self) -> tuple[int, ...] | None:
        """Checks all but values. Returns the shape as a tuple of Python's integers."""
        for name in ("parent", "edge", "order"):
            check_tensor("Tree", name, getattr(self, name), "int32")
        expected = self.parent.shape
        if self.parent.ndim != 2 or expected[1] < 1:
            raise ValueError(f"Tree: parent must have shape (B, N), N > 0, got {tuple(expected)}")
        for name in ("edge", "order"):
            value = getattr(self, name)
            if value.shape != expected or value.device != self.device:
                raise ValueError(
                    f"Tree: {name} must have shape {tuple(expected)} and be on {self.device} like "
                    f"parent, got {tuple(value.shape)} on {value.device}"
                )
        return check_shape("Tree", self.shape, self.num_nodes)

    @classmethod
    def from_parents(
        cls, parent: Tensor, edge: Tensor | None = None, shape: tuple[int, ...] | None = None
    ) -> Tree:
        """Trees that were made elsewhere, checked, with an order computed for them.

        O(N), with the order that :func:`treefilter.mst` would give these trees. On CUDA it waits
        for the device, since it raises errors for values.

        Args:
            parent: (B, N) integer tensor, the parent of each vertex; a root is its own parent.
            edge: (B, N) integer tensor, the number of the edge from each vertex to its parent; −1
                at a root. Without it, the edge of vertex v has number v, so that weights are
                (B, N), one per vertex; those of roots are not used.
            shape: Shape of the grid whose vertices these are, or ``None``.

        Returns:
            A batch of B trees.

        Raises:
            ValueError: If a shape does not fit, a parent is outside [0, N), parents lead around a
                cycle, or an edge is negative where it must not be. The message names the vertex.
            TypeError: If ``parent`` or ``edge`` is no integer tensor or ``shape`` no tuple.

        Example:
            >>> import torch, treefilter as tf
            >>> tree = tf.Tree.from_parents(torch.tensor([[1, 1, 1, 2]]))  # 3 ─ 2 ─ 1 ─ 0
            >>> weight = torch.tensor([[1.0, 0.0, 2.0, 3.0]])  # of each vertex's edge to its parent
            >>> tf.distance(weight, tree, torch.tensor([0]))
            tensor([[[0., 1., 3., 6.]]])
        """
        function = "Tree.from_parents"
        check_tensor(function, "parent", parent, "int")
        if parent.ndim != 2 or parent.shape[1] < 1:
            raise ValueError(
                f"{function}: parent must have shape (B, N), N > 0, got {tuple(parent.shape)}"
            )
        if edge is not None:
            check_tensor(function, "edge", edge, "int")
            if edge.shape != parent.shape or edge.device != parent.device:
                raise ValueError(
                    f"{function}: edge must have shape {tuple(parent.shape)} and be on "
                    f"{parent.device} like parent, got {tuple(edge.shape)} on {edge.device}"
                )
        shape = check_shape(function, shape, parent.shape[1])
        if parent.is_meta:  # no values to look at
            up, number = parent.int(), (parent if edge is None else edge).int()
            return cls(up, number, torch.empty_like(up), shape)
        _topology.check_parents(function, parent)
        up = parent.int().contiguous()
        if edge is None:
            number = torch.arange(parent.shape[1], dtype=torch.int32, device=parent.device)
            number = number.masked_fill(_topology.is_root(up), -1)
        else:
            _topology.check_edges(up, edge)
            number = edge.int().contiguous()
        plan = _ops.plan(up)
        return cls(up, number, _topology.order_of(up, plan), shape, plan)

    @classmethod
    def cat(cls, trees: Iterable[Tree]) -> Tree:
        """One batch of all the trees of several, like ``torch.cat`` along the batch.

        Args:
            trees: Trees with the same vertices, shape and device; at least one.

        Raises:
            ValueError: If there is none, or they do not fit each other.
            TypeError: If one is no Tree.

        Example:
            >>> import torch, treefilter as tf
            >>> trees = tf.mst(torch.rand(3, 7), tf.grid(2, 3))
            >>> tf.Tree.cat([trees[0], trees[1:]])
            Tree(batch=3, num_nodes=6, shape=(2, 3))
        """
        if isinstance(trees, Tensor | Tree | np.ndarray) or not isinstance(trees, Iterable):
            raise TypeError(
                f"Tree.cat: trees must be a list of treefilter.Tree, got {type(trees).__name__}"
            )
        parts = list(trees)
        for part in parts:
            if not isinstance(part, Tree):
                raise TypeError(
                    f"Tree.cat: trees must be a list of treefilter.Tree, got {type(part).__name__}"
                )
        if not parts:
            raise ValueError("Tree.cat: trees must have at least one, got none")
        first = parts[0]
        expected = (first.num_nodes, first.shape, str(first.device))
        for part in parts[1:]:
            given = (part.num_nodes, part.shape, str(part.device))
            if given != expected:
                raise ValueError(
                    "Tree.cat: trees must have the same number of vertices, shape and device, "
                    f"got {expected} and {given}"
                )
        parent, edge, order, plan = (
            torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS
        )
        return cls(parent, edge, order, first.shape, plan)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.parent.device

    @property
    def num_nodes(self) -> int:
        """Number of vertices N."""
        return self.parent.shape[1]

    @property
    def roots(self) -> Tensor:
        """(B, N) bool: true where a vertex is a root. One per connected component."""
        return _topology.is_root(self.parent)

    @property
    def depth(self) -> Tensor:
        """(B, N) int32: the number of edges from each vertex to its root. O(N) at each access."""
        check_tree("Tree.depth", self, values=True)
        return _topology.depth(self.parent, self.order, self._plan)

    @property
    def components(self) -> Tensor:
        """(B, N) int32: the connected component of each vertex, counted by their lowest vertices.

        Component 0 is that of vertex 0, component 1 that of the lowest vertex outside of it, and so
        on. Without missing edges (weights of ``+inf``) all is 0. O(N) at each access.
        """
        check_tree("Tree.components", self, values=True)
        return _topology.components(self.parent, self.order, self._plan)

    def children(self) -> Tensor:
        """The children of each vertex, as lists of equal length.

        Returns:
            (B, N, K) int32 with K the largest number of children of a vertex: a vertex's children
            in ascending order, then −1. On CUDA it waits for the device, since K depends on values.

        Example:
            >>> import torch, treefilter as tf
            >>> tf.Tree.from_parents(torch.tensor([[0, 0, 0, 1]])).children().tolist()
            [[[1, 2], [3, -1], [-1, -1], [-1, -1]]]
        """
        check_tree("Tree.children", self, values=True)
        return _topology.children(self.parent)

    def edge_list(self) -> Tensor:
        """The edges of each tree as pairs of vertices.

        Returns:
            (B, N − 1, 2) int32: (parent, child), in ascending order of the child. A forest has
            fewer edges; its list ends with (−1, −1).

        Example:
            >>> import torch, treefilter as tf
            >>> tf.Tree.from_parents(torch.tensor([[0, 0, 0, 1]])).edge_list().tolist()
            [[[0, 1], [0, 2], [1, 3]]]
        """
        check_tree("Tree.edge_list", self)
        return _topology.edge_list(self.parent)

    def to(self, device: torch.device | str | int) -> Tree:
        """The same trees on another device; RuntimeError if it is not there."""
        target = check_target("Tree.to", device, self.parent)
        parent = self.parent.to(target)
        if parent.device == self.parent.device:
            return self
        return Tree(parent, self.edge.to(target), self.order.to(target), self.shape)

    def __len__(self) -> int:
        return self.parent.shape[0]

    def __getitem__(self, index: Index) -> Tree:
        """Some of the trees.

        ``tree[i]`` is a batch of one, ``tree[i:j]`` a batch of j − i. A list or a one-dimensional
        tensor of integers gives a batch of these trees in that order, one of B bools those that are
        true. Whether an index tensor on CUDA is in range is checked by torch, on the device.
        """
        check_tree("Tree", self)
        i = batch_index("Tree", index, self.parent.shape[0], self.device)
        return Tree(self.parent[i], self.edge[i], self.order[i], self.shape, self._plan[i])

    def __repr__(self) -> str:
        return f"Tree(batch={len(self)}, num_nodes={self.num_nodes}, shape={self.shape})"

    # The plan is made again where the trees are loaded, which may be on another device.
    def __reduce__(self) -> tuple[Any, ...]:
        return Tree, (self.parent, self.edge, self.order, self.shape)

    def __setstate__(self, state: dict[str, Any]) -> None:  # pickles of version 0.1.0
        self.__init__(state["parent"], state["edge"], state["order"], state["shape"])  # type: ignore[misc]


def check_tree(function: str, tree: Any, *, values: bool = False) -> None:
    """TypeError or ValueError if ``tree`` is no batch of trees, as torch.vmap makes them of one.

    ``values``: also if parents or the order, where they can be read without waiting, are no
    vertices.
    """
    check_instance(function, "tree", tree, Tree)
    ndim = getattr(tree.parent, "ndim", 2)  # other things than tensors: see check_devices
    if ndim != 2:
        raise ValueError(
            f"{function}: tree must be a batch of trees with parents (B, N), got "
            f"{tuple(tree.parent.shape)} (torch.vmap may map weights or a tree's tensors, not its"
            " batch)"
        )
    if values:
        for name in ("parent", "order"):
            numbers = values_of(getattr(tree, name))
            if numbers is not None:
                _topology.check_range(function, f"tree.{name}", numbers, tree.num_nodes)


_TENSORS = ("parent", "edge", "order", "_plan")
register(Tree, _TENSORS)
torch.serialization.add_safe_globals([Tree])  # its constructor checks what a file holds
default_collate_fn_map[Tree] = lambda batch, *, collate_fn_map=None: Tree.cat(batch)
