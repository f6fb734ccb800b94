"""The tree filter whose kernel is the smallest affinity on a path.

In the dendrogram of the affinities, largest first, merge p is the bottleneck between the leaves of
its two children: A_ij is its affinity k_p. With S the sums of x over the leaves of every node,

    y_i = x_i + Σ k_p S_s over the ancestors p of i, where s is the child of p without i.

So y takes one pass from the leaves to the roots, one product, and one pass back. All of it consists
of differentiable functions, and so do its derivatives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops, _topology
from ._autograd import constant
from ._filter_autograd import run
from ._take import take
from .affinity import gather_weight
from .dendrogram import MADE_HERE, Dendrogram
from .tree import Tree


def filter_by_bottleneck(x: Tensor, tree: Tree, a: Tensor, normalize: bool) -> Tensor:
    """The filter of ``x`` (B, C, *shape), with ``a`` (1 or B, G, N), in float64."""
    batch, channels = x.shape[:2]
    groups, nodes = a.shape[1:]
    values = x.reshape(batch * groups, channels // groups, nodes).double()
    if normalize:
        values = torch.cat([values, values.new_ones(1, 1, 1).expand(values.shape[0], 1, nodes)], 1)
    sums = _sums(values, *_groups(tree, a, batch))
    y = sums[:, :-1] / sums[:, -1:] if normalize else sums
    return y.reshape(x.shape)


def _groups(tree: Tree, a: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Parents, vertices with a parent and affinities of the trees of all groups, as one batch."""
    groups, nodes = a.shape[1:]
    parent = tree.parent
    if groups > 1 or not a.shape[0] == parent.shape[0] == 1:
        parent = parent.unsqueeze(1).expand(batch, groups, nodes).reshape(-1, nodes)
        a = a.expand(batch, groups, nodes)
    own = torch.arange(nodes, dtype=torch.int32, device=a.device)
    edge = own.masked_fill(_topology.is_root(parent), -1)
    return parent, edge, a.reshape(-1, nodes)


def _sums(x: Tensor, parent: Tensor, edge: Tensor, a: Tensor) -> Tensor:
    """Σ_j A_ij x_j of (B, C, N)."""
    nodes = x.shape[2]
    up, number, children = constant(_ops.merges, -a.detach(), parent, edge)
    tree = Dendrogram(up, number, None, MADE_HERE).as_tree()
    topology = (tree.parent, tree.order, tree._plan)
    one = x.new_ones(1, 1, 2 * nodes - 1)
    own = torch.arange(2 * nodes - 1, device=x.device)
    roots = _topology.is_root(up)
    leaves = torch.nn.functional.pad(x, (0, nodes - 1))
    sums = run(leaves, one, *topology, _ops.LEAF_TO_ROOT)
    if nodes == 1:
        return sums
    merge = (up.long() - nodes).clamp(min=0)
    sibling = children.sum(2).gather(1, merge) - own
    sibling = torch.where(roots, own, sibling).unsqueeze(1)
    k = gather_weight(a.double().unsqueeze(1), number)
    k = take(k, merge.unsqueeze(1)).masked_fill(roots.unsqueeze(1), 0)
    passed = take(sums, sibling.expand(x.shape[0], x.shape[1], -1)) * k
    return run(leaves + passed, one, *topology, _ops.ROOT_TO_LEAF)[..., :nodes]
