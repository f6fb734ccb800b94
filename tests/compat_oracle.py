"""Brute force for the research code's operators: dense matrices, in float64, from their formulas.

Everything is for one image whose vertices are in any order: ``parent`` is a list, ``a`` (C, N) the
weight of each vertex's edge to its parent. Derivatives are those of torch.
"""

import torch
from torch import Tensor

SHAPE = (6, 7)
N = 42


def kruskal(edges: Tensor, weight: Tensor, num_nodes: int) -> set[int]:
    """The edges (E, 2) of the minimum spanning tree, by (weight, number)."""
    label, weight = list(range(num_nodes)), weight.detach()
    chosen = set()
    for e in sorted(range(len(edges)), key=lambda e: (float(weight[e]), e)):
        u, v = label[int(edges[e, 0])], label[int(edges[e, 1])]
        if u != v:
            label = [u if x == v else x for x in label]
            chosen.add(e)
    return chosen


def hang(pairs: Tensor) -> tuple[list[int], list[int]]:
    """Parents of a tree (N − 1, 2) with root 0, and its vertices with parents first."""
    num_nodes = len(pairs) + 1
    near: list[list[int]] = [[] for _ in range(num_nodes)]
    for u, v in pairs.tolist():
        near[u].append(v)
        near[v].append(u)
    parent, order = [0] * num_nodes, [0]
    for v in order:
        for u in near[v]:
            if u != parent[v]:
                parent[u] = v
                order.append(u)
    assert len(order) == num_nodes
    return parent, order


def products(parent: list[int], order: list[int], a: Tensor) -> Tensor:
    """(C, N, N): the products of ``a`` on the paths."""
    k = a.new_ones(len(a), 1, 1)
    place = {0: 0}
    for r, v in enumerate(order[1:], 1):
        row = a[:, v].view(-1, 1, 1) * k[:, place[parent[v]]].unsqueeze(1)
        k = torch.cat(
            [torch.cat([k, row.mT], 2), torch.cat([row, row.new_ones(len(a), 1, 1)], 2)], 1
        )
        place[v] = r
    back = torch.tensor([place[v] for v in range(len(order))])
    return k[:, back][:, :, back]


def below(parent: list[int], order: list[int], a: Tensor) -> Tensor:
    """(C, N, N): the same where the second vertex lies below the first, else 0."""
    inside = torch.eye(len(order), dtype=torch.bool)
    for v in order[1:]:
        inside[:, v] |= inside[:, parent[v]]
    return products(parent, order, a) * inside


def largest(parent: list[int], order: list[int], weight: Tensor) -> Tensor:
    """(N, N): the largest weight (N,) on each path, 0 from a vertex to itself."""
    m = weight.new_zeros(len(order), len(order))
    seen = [0]
    for v in order[1:]:
        m[v, seen] = m[seen, v] = torch.maximum(weight[v], m[parent[v], seen])
        m[v, v] = 0
        seen.append(v)
    return m


# ---- trees that an extension makes ----


def grid_index(batch: int = 1) -> Tensor:
    """All vertical neighbours, then all horizontal ones; an expanded view, as adopters pass it."""
    number = torch.arange(N, dtype=torch.int32).view(SHAPE)
    down = torch.stack([number[:-1], number[1:]], 2).view(-1, 2)
    right = torch.stack([number[:, :-1], number[:, 1:]], 2).reshape(-1, 2)
    return torch.cat([down, right]).unsqueeze(0).expand(batch, -1, -1)


def trees(extension, batch: int = 2, *, ties: bool = False, plus: float = 0.0):
    """Raw trees of random guides, and their ranks."""
    guide = torch.rand(batch, 3, *SHAPE)
    guide = (guide * 3).round() if ties else guide
    index = grid_index(batch)
    ends = guide.flatten(2)
    weight = (ends[:, :, index[0, :, 0]] - ends[:, :, index[0, :, 1]]).square().sum(1) + plus
    raw = extension.mst_forward(index, weight, N)
    for b in range(batch):
        expected = kruskal(index[b], weight[b], N)
        rows = {tuple(index[b, e].tolist()) for e in expected}
        assert rows == {tuple(pair) for pair in raw[b].tolist()}
    assert raw.dtype == torch.int32
    return raw, extension.bfs_forward(raw, 4)[:3]
