"""A batch of rooted spanning trees (or forests) and the order in which passes visit them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from . import _ops


@dataclass(frozen=True, eq=False)
class Tree:
    """A batch of B rooted spanning trees over the same N vertices, made by :func:`treefilter.mst`.

    Topology only: no weights, no gradients. Made once, it serves every channel, every pass, forward
    and backward. A batch of one serves any batch of data.

    Attributes:
        parent: (B, N) int32, the parent of each vertex; a root is its own parent.
        edge: (B, N) int32, the graph's edge from each vertex to its parent; −1 at a root.
        order: (B, N) int32, the vertices so that children come before their parents, and the
            roots, ascending, at last. Where a tree was made decides which of these orders it has;
            any will do. On the CPU several ways from leaves upwards are followed by turns, so that
            neighbours in the order are independent. On CUDA the paths of the tree's Strahler
            decomposition come one after the other: round 1 holds every maximal chain that hangs at
            a leaf, by ascending leaf; round 2 the same of what is left, and so on: at most
            log2(leaves) + 1 rounds whatever the depth.
        shape: Shape of the grid, or ``None``.
    """

    parent: Tensor
    edge: Tensor
    order: Tensor
    shape: tuple[int, ...] | None = None
    # What passes on CUDA read besides; on the CPU nothing.
    _plan: Tensor = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        plan: Tensor | None = self._plan
        if plan is None:
            object.__setattr__(self, "_plan", _ops.plan(self.parent))

    @property
    def num_nodes(self) -> int:
        """Number of vertices N."""
        return self.parent.shape[1]

    @property
    def roots(self) -> Tensor:
        """(B, N) bool: true where a vertex is a root. One per connected component."""
        return self.parent == torch.arange(
            self.num_nodes, dtype=torch.int32, device=self.parent.device
        )

    def to(self, device: torch.device | str | int) -> Tree:
        """The same trees on another device."""
        parent = self.parent.to(device)
        if parent.device == self.parent.device:
            return self
        return Tree(parent, self.edge.to(device), self.order.to(device), self.shape)

    def __len__(self) -> int:
        return self.parent.shape[0]

    def __getitem__(self, index: int | slice) -> Tree:
        """Some of the trees: ``tree[i]`` is a batch of one, ``tree[i:j]`` a batch of j − i."""
        if not isinstance(index, slice):
            if not -len(self) <= index < len(self):
                raise IndexError(f"Tree: index must be in [-{len(self)}, {len(self)}), got {index}")
            index = slice(index, index + 1 or None)
        tensors = (self.parent[index], self.edge[index], self.order[index])
        return Tree(*tensors, self.shape, self._plan[index])

    def __repr__(self) -> str:
        return f"Tree(batch={len(self)}, num_nodes={self.num_nodes}, shape={self.shape})"


_TENSORS = ("parent", "edge", "order", "_plan")


def _flatten(tree: Tree) -> tuple[list[Any], Any]:
    return [getattr(tree, name) for name in _TENSORS], tree.shape


def _flatten_with_keys(tree: Tree) -> tuple[list[tuple[Any, Any]], Any]:
    return [(_pytree.GetAttrKey(name), getattr(tree, name)) for name in _TENSORS], tree.shape


def _unflatten(children: Any, shape: Any) -> Tree:
    parent, edge, order, plan = children
    return Tree(parent, edge, order, None if shape is None else tuple(shape), plan)


_pytree.register_pytree_node(
    Tree,
    _flatten,
    _unflatten,
    serialized_type_name="treefilter.Tree",
    flatten_with_keys_fn=_flatten_with_keys,
    to_dumpable_context=lambda shape: shape,
    from_dumpable_context=lambda shape: shape,
)
