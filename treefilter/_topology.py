"""What follows from the parents of a batch of trees: order, depth, components, lists.

Everything here is for all trees of the batch at once, without a loop over vertices. ``parent`` is
(B, N) int32 with a root its own parent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._autograd import constant, readable

_MAX_INDEX = 2**31 - 1


def is_root(parent: Tensor) -> Tensor:
    """(B, N) bool."""
    own = torch.arange(parent.shape[1], dtype=torch.int32, device=parent.device)
    return parent == own


def check_parents(function: str, parent: Tensor) -> None:
    """ValueError, naming the vertex, if a parent is no vertex. Waits for the device."""
    num_nodes, parent = parent.shape[1], parent.long()  # in a narrow type, N might wrap around
    wrong = _first((parent < 0) | (parent >= num_nodes), parent)
    if wrong:
        raise ValueError(f"{function}: parent must be in [0, {num_nodes}), got {wrong}")


def check_range(function: str, name: str, values: Tensor, num_nodes: int) -> None:
    """ValueError if values are not vertices."""
    outside = (values < 0) | (values >= num_nodes)
    if outside.any():
        got = int(values[outside][0])
        raise ValueError(f"{function}: {name} must be in [0, {num_nodes}), got {got}")


def _first(wrong: Tensor, value: Tensor) -> str:
    """Where the first true value of (B, N) is, and the other tensor's value there; "" if none is.

    Under torch.vmap, where vertices and trees are not those of the caller, what the value is.
    """
    found = readable(wrong)
    if found is None or not found.any():
        return ""
    if found is not wrong:
        return "one that is not, in a batch mapped by torch.vmap"
    b, v = wrong.nonzero()[0].tolist()
    return f"{value[b, v].item()} at vertex {v} of tree {b}"


def order_of(parent: Tensor, plan: Tensor) -> Tensor:
    """The order of passes, ``Tree.order``; ValueError, naming a vertex, if there is a cycle."""
    num_nodes = parent.shape[1]
    order, ordered = _ops.order(parent, plan)
    found = readable(ordered)
    if found is not None and (found < num_nodes).any():
        if found is not ordered:
            raise ValueError(
                "Tree.from_parents: parent must lead from every vertex to a root, got a cycle, in a"
                " batch mapped by torch.vmap"
            )
        b = int((ordered < num_nodes).nonzero()[0])
        on_cycle = torch.ones(num_nodes, dtype=torch.bool, device=parent.device)
        on_cycle[order[b, : int(ordered[b])].long()] = False  # all others are in the order
        raise ValueError(
            "Tree.from_parents: parent must lead from every vertex to a root, "
            f"got a cycle through vertex {int(on_cycle.nonzero()[0])} of tree {b}"
        )
    return order


def check_edges(parent: Tensor, edge: Tensor) -> None:
    """ValueError if ``edge`` is not −1 at roots and an edge's number elsewhere."""
    root, edge = is_root(parent), edge.long()
    at_root = _first(root & (edge != -1), edge)
    elsewhere = _first(~root & ((edge < 0) | (edge > _MAX_INDEX)), edge)
    for wrong, expected in (
        (at_root, "-1 at a root"),
        (elsewhere, "an edge's number, not negative"),
    ):
        if wrong:
            raise ValueError(f"Tree.from_parents: edge must be {expected}, got {wrong}")


def depth(parent: Tensor, order: Tensor, plan: Tensor) -> Tensor:
    """(B, N) int32, the number of edges to the root."""
    steps = (~is_root(parent)).double()
    return _down(steps, parent, order, plan).int()


def components(parent: Tensor, order: Tensor, plan: Tensor) -> Tensor:
    """(B, N) int32, the component of each vertex, counted from 0 by their lowest vertices."""
    num_nodes = parent.shape[1]
    own = torch.arange(num_nodes, device=parent.device).expand(parent.shape)
    top = _down(own.double() * is_root(parent), parent, order, plan).long()
    return numbered(top, num_nodes).int()


def numbered(top: Tensor, limit: int) -> Tensor:
    """The sets of the vertices, counted from 0 by their lowest vertices.

    ``top`` (B, N) int64 names the set of each vertex by a number below ``limit``.
    """
    own = torch.arange(top.shape[1], device=top.device).expand(top.shape)
    lowest = own.new_full((top.shape[0], limit), top.shape[1])
    lowest = lowest.scatter_reduce(1, top, own, "amin").gather(1, top)
    return ((lowest == own).cumsum(1) - 1).gather(1, lowest)


def children(parent: Tensor) -> Tensor:
    """(B, N, K) int32, ascending; −1 fills up. Waits for the device, which has to count first."""
    batch, num_nodes = parent.shape
    root = is_root(parent)
    above = parent.long().masked_fill(root, num_nodes)  # roots are the children of nobody
    by_parent = above.argsort(dim=1, stable=True)
    above = above.gather(1, by_parent)
    count = above.new_zeros(batch, num_nodes + 1).scatter_add(1, above, torch.ones_like(above))
    before = count.cumsum(1) - count
    place = torch.arange(num_nodes, device=parent.device) - before.gather(1, above)
    counts = readable(count[:, :-1])
    if counts is None:
        raise ValueError(
            "Tree.children: tree must have values, since they are the size of the result, got a "
            "tree on the meta device or one that is traced (Tree.edge_list has a fixed size)"
        )
    most = int(counts.max()) if counts.numel() else 0
    lists = parent.new_full((batch, num_nodes * most + num_nodes), -1)
    # What belongs to no list goes behind all of them.
    to = torch.where(above < num_nodes, above * most + place, num_nodes * most)
    lists = lists.scatter(1, to, by_parent.int())
    return lists[:, : num_nodes * most].reshape(batch, num_nodes, most)


def edge_list(parent: Tensor) -> Tensor:
    """(B, N − 1, 2) int32: (parent, child) by ascending child; −1 in place of further roots."""
    root = is_root(parent)
    child = root.int().argsort(dim=1, stable=True)[:, : parent.shape[1] - 1]
    ends = torch.stack([parent.gather(1, child), child.int()], 2)
    return ends.masked_fill(root.gather(1, child).unsqueeze(2), -1)


def _down(value: Tensor, parent: Tensor, order: Tensor, plan: Tensor) -> Tensor:
    """Sums of (B, N) values from the root to each vertex; exact below 2⁵³."""
    one = torch.ones(1, 1, parent.shape[1], dtype=value.dtype, device=value.device)
    x = value.unsqueeze(1)
    kind = _ops.ROOT_TO_LEAF
    return constant(_ops.propagate, x, parent, order, plan, one, kind).squeeze(1)
