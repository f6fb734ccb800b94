"""The tree filter as one writes it in PyTorch alone: a tree from SciPy, passes level by level.

A batch of trees is one forest of B·N vertices. All vertices of a level, of all images, are handled
by one operator, so that the number of operators is the largest depth.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor


class Levels(NamedTuple):
    """Vertices by level, and for each where its parent is in the level above."""

    index: list[Tensor]
    parent: list[Tensor]
    back: Tensor  # the places of the vertices in the concatenated levels


def differences(image: Tensor) -> Tensor:
    """(B, E): squared distances of vertical neighbours, then of horizontal ones."""
    down = (image[:, :, 1:] - image[:, :, :-1]).square().sum(1)
    right = (image[..., 1:] - image[..., :-1]).square().sum(1)
    return torch.cat([down.flatten(1), right.flatten(1)], 1)


def grid_ends(height: int, width: int) -> np.ndarray:
    """(2, E) int64, in the same order."""
    number = np.arange(height * width).reshape(height, width)
    pairs = (number[:-1], number[1:]), (number[:, :-1], number[:, 1:])
    return np.stack([np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1)])


def levels_of(weight: Tensor, ends: np.ndarray, num_nodes: int) -> Levels:
    """The minimum spanning trees of (B, E) weights, rooted at vertex 0."""
    depths, parents = [], []
    for image, w in enumerate(weight.detach().numpy()):
        rank = np.empty(len(w))  # of equal weights, the edge of the lower number comes first
        rank[np.argsort(w, kind="stable")] = np.arange(1, len(w) + 1)
        graph = csr_array((rank, tuple(ends)), shape=(num_nodes, num_nodes))
        tree = minimum_spanning_tree(graph)
        order, up = breadth_first_order(tree, 0, directed=False)
        depth = np.zeros(num_nodes, np.int64)
        for v in order[1:]:
            depth[v] = depth[up[v]] + 1
        up[0] = 0
        depths.append(depth)
        parents.append(up.astype(np.int64) + image * num_nodes)
    depth, parent = np.concatenate(depths), np.concatenate(parents)
    by_level = np.argsort(depth, kind="stable")
    first = np.searchsorted(depth[by_level], np.arange(depth.max() + 2))
    place = np.empty_like(by_level)
    place[by_level] = np.arange(len(by_level))
    inside = torch.from_numpy(place - first[depth])
    index = [torch.from_numpy(part) for part in np.split(by_level, first[1:-1])]
    up = torch.from_numpy(parent)
    return Levels(index, [inside[up[v]] for v in index], torch.from_numpy(place))


def filter_sum(x: Tensor, levels: Levels, a: Tensor, *, up_only: bool = False) -> Tensor:
    """Σ_j A_ij x_j of (C, B·N) values; ``a`` (C or 1, B·N) belongs to the edge to the parent."""
    own = [x[:, v] for v in levels.index]
    weights = [a[:, v] for v in levels.index]
    for k in range(len(own) - 1, 0, -1):
        own[k - 1] = own[k - 1].index_add(1, levels.parent[k], weights[k] * own[k])
    if not up_only:
        out = [own[0]]
        for k in range(1, len(own)):
            from_above = out[-1][:, levels.parent[k]]
            out.append((1 - weights[k] ** 2) * own[k] + weights[k] * from_above)
        own = out
    return torch.cat(own, 1)[:, levels.back]


def to_forest(x: Tensor) -> Tensor:
    """(B, C, …) as (C, B·N)."""
    return x.flatten(2).transpose(0, 1).flatten(1)


def from_forest(y: Tensor, like: Tensor) -> Tensor:
    """The same back."""
    return y.unflatten(1, (len(like), -1)).transpose(0, 1).reshape(like.shape)


def parent_of(levels: Levels) -> Tensor:
    """(B·N,): the parent of each vertex in the forest."""
    parent = torch.empty_like(levels.back)
    above = levels.index[0]
    parent[above] = above
    for index, place in zip(levels.index[1:], levels.parent[1:], strict=True):
        parent[index] = above[place]
        above = index
    return parent


def largest(levels: Levels, d: Tensor) -> Tensor:
    """(N, N): the largest of ``d`` (N,), each vertex's edge to its parent, on every path."""
    m = d.new_zeros(len(d), len(d))
    parent, seen = parent_of(levels), levels.index[0]
    for index in levels.index[1:]:
        up = parent[index]
        above = m[up][:, seen].maximum(d[index, None])
        m[index[:, None], seen] = above
        m[seen[:, None], index] = above.T
        within = m[up][:, up].maximum(d[index, None]).maximum(d[index])
        m[index[:, None], index] = within.fill_diagonal_(0)
        seen = torch.cat([seen, index])
    return m
