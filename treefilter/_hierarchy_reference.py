"""The specification of hierarchies: the part of ``reference.py`` that begins with a dendrogram."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._checks import as_float, check_devices
from .dendrogram import Dendrogram
from .graph import Graph, grid
from .tree import Tree


def dendrogram(weight: Tensor, tree: Tree) -> Dendrogram:
    """The nodes that Kruskal's algorithm joins: merge k of the edges in ascending order, N + k.

    Edges are ordered by (weight, index); +inf joins nothing.

    ``weight`` (B, E) → B hierarchies.
    """
    check_devices("dendrogram", "weight", weight, tree=tree)
    n = tree.num_nodes
    parents, edges = [], []
    for b, image in enumerate(weight.detach()):
        joins, up = _joins("dendrogram", image, tree, b)
        parent, edge = list(range(2 * n - 1)), [-1] * (n - 1)
        for k, (w, e, v) in enumerate(joins):
            if w < torch.inf:
                parent[_top(parent, v)] = parent[_top(parent, up[v])] = n + k
                edge[k] = e
        parents.append(parent)
        edges.append(edge)

    parent_, edge_ = (
        torch.tensor(rows, dtype=torch.int32, device=weight.device).view(len(weight), length)
        for rows, length in ((parents, 2 * n - 1), (edges, n - 1))
    )
    return Dendrogram(parent_, edge_, tree.shape)


def altitude(weight: Tensor, h: Dendrogram) -> Tensor:
    """The weight of every merge's edge, +inf where there is none.

    ``weight`` (B, E) → (B, N − 1).
    """
    return _altitude("altitude", weight, h)


def _altitude(function: str, weight: Tensor, h: Dendrogram) -> Tensor:
    check_devices(function, "weight", weight, h=h)
    edge = h.edge.long().expand(len(weight), -1)
    padded = torch.cat([weight, weight.new_full((len(weight), 1), torch.inf)], 1)
    return padded.gather(1, edge % padded.shape[1])


def cut(
    h: Dendrogram,
    weight: Tensor | None = None,
    threshold: float | Tensor | None = None,
    *,
    num: int | None = None,
) -> Tensor:
    r"""The sets of leaves that merges make which are not heavier than the threshold.

    With ``num``, the merges but the last ``num`` − 1. Sets are counted by their lowest vertices.

    ``weight`` (B, E) → (B, \*shape) int64.
    """
    n = h.num_leaves
    if weight is None or threshold is None:
        assert num is not None
        kept = torch.arange(n - 1).expand(len(h), -1) < n - num
    else:
        limit = threshold.reshape(-1, 1) if isinstance(threshold, Tensor) else as_float(threshold)
        kept = _altitude("cut", weight, h) <= limit
    images = []
    for b, keep in enumerate(kept.tolist()):
        parent = h.parent[min(b, len(h) - 1)].tolist()
        parent = [p if p >= n and keep[p - n] else x for x, p in enumerate(parent)]
        names: dict[int, int] = {}
        images.append([names.setdefault(_top(parent, v), len(names)) for v in range(n)])
    labels = torch.tensor(images, dtype=torch.int64, device=h.device).view(len(kept), n)
    return labels if h.shape is None else labels.view(-1, *h.shape)


def linkage(weight: Tensor, h: Dendrogram) -> Tensor:
    """The two children of every merge, its weight and its number of leaves, in float64.

    ``weight`` (B, E) → (B, N − 1, 4).
    """
    n = h.num_leaves
    heights = _altitude("linkage", weight, h).double().tolist()
    images = []
    for b, weights in enumerate(heights):
        parent = h.parent[min(b, len(h) - 1)].tolist()
        rows: list[list[float]] = []
        for k, w in enumerate(weights):
            pair = [x for x, p in enumerate(parent) if p == n + k and x != p]
            rows.append([*pair, w, sum(1 if x < n else rows[x - n][3] for x in pair)])
        images.append(rows)
    return torch.tensor(images, dtype=torch.float64, device=h.device).view(len(heights), n - 1, 4)


def malis_pairs(h: Dendrogram, labels: Tensor) -> tuple[Tensor, Tensor]:
    r"""Of the pairs (i, j) that a merge joins: how many have equal labels, and how many different.

    Vertices of label 0 are in no pair.

    ``labels`` (B, \*shape) or (B, N) → (B, N − 1) float64, twice.
    """
    check_devices("malis_pairs", "h", h.parent, labels=labels)
    n = h.num_leaves
    positive, negative = torch.zeros(2, len(labels), n - 1, dtype=torch.float64)
    for b, label in enumerate(labels.flatten(1).tolist()):
        parent = h.parent[min(b, len(h) - 1)].tolist()
        below: list[list[int]] = [[v] if v < n else [] for v in range(2 * n - 1)]
        for x, p in enumerate(parent):
            for i in below[x]:
                for j in below[p] if p != x else []:
                    if label[i] and label[j]:
                        (positive if label[i] == label[j] else negative)[b, p - n] += 1
            if p != x:
                below[p] = below[p] + below[x]
    return positive.to(h.device), negative.to(h.device)


def persistence(
    values: Tensor, graph: Graph, *, dim: int = 0, superlevel: bool = False
) -> tuple[Tensor, Tensor]:
    r"""The pairs of the filtration in which vertices enter in the order (value, number).

    In dimension 0, vertex v joins the components of its neighbours that are there already, in the
    order of the edges: of two, the older one goes on and the other dies at v. Holes are the
    components of what is not there yet, with the other connectivity and one vertex outside, in the
    opposite order; they die where those are born. Pairs of equal values are left out. Padded by −1.

    ``values`` (B, \*shape) or (B, N) → (B, N) int64, twice.
    """
    n = graph.num_nodes
    ends = graph.edge_index.T.tolist()
    if dim == 1:
        height, width = graph.shape or (0, 0)
        ends = grid(
            height, width, connectivity=12 - (graph.connectivity or 0)
        ).edge_index.T.tolist()
        rows = [(y, x) for y in range(height) for x in range(width)]
        ends += [[y * width + x, n] for y, x in rows if y in (0, height - 1) or x in (0, width - 1)]
    births, deaths = [], []
    for image in values.detach().flatten(1).double():
        f = [*(-image if superlevel else image).tolist(), -torch.inf]
        order = sorted(range(n), key=lambda v: (f[v], v))
        if dim == 0:
            pairs, lasting = _elder_rule(order, ends)
            pairs = [(b, d) for b, d in pairs if f[b] != f[d]]
        else:
            pairs, lasting = _elder_rule([n, *reversed(order)], ends)
            pairs, lasting = [(d, b) for b, d in reversed(pairs) if f[b] != f[d]], []
        rest = n - len(pairs) - len(lasting)
        births.append([b for b, _ in pairs] + lasting + [-1] * rest)
        deaths.append([d for _, d in pairs] + [-1] * (len(lasting) + rest))
    birth, death = (
        torch.tensor(rows, dtype=torch.int64, device=values.device).view(-1, n)
        for rows in (births, deaths)
    )
    return birth, death


def _elder_rule(
    order: Sequence[int], ends: Sequence[Sequence[int]]
) -> tuple[list[tuple[int, int]], list[int]]:
    """(birth, death) of the components that die, in that order, and the births of the others."""
    age = {v: i for i, v in enumerate(order)}
    near: dict[int, list[int]] = {v: [] for v in order}
    for u, v in ends:
        near[u].append(v)
        near[v].append(u)
    oldest: dict[int, int] = {}  # of the vertices that are there, an older one of their component
    pairs = []
    for v in order:
        oldest[v] = v
        for u in near[v]:
            if u in oldest and _oldest(oldest, u) != _oldest(oldest, v):
                ends_of = (_oldest(oldest, u), _oldest(oldest, v))
                elder, younger = sorted(ends_of, key=age.__getitem__)
                oldest[younger] = elder
                pairs += [(younger, v)] if younger != v else []
    return pairs, [v for v in order if oldest[v] == v]


def _oldest(oldest: dict[int, int], v: int) -> int:
    while oldest[v] != v:
        v = oldest[v]
    return v


def watershed(weight: Tensor, tree: Tree, markers: Tensor) -> Tensor:
    r"""The labels after all edges that join a set without a label to another, in ascending order.

    ``weight`` (B, E), ``markers`` (B, \*shape) or (B, N) → like ``markers``.
    """
    check_devices("watershed", "weight", weight, tree=tree, markers=markers)
    labels = []
    for b, (image, given) in enumerate(zip(weight, markers.flatten(1), strict=True)):
        joins, up = _joins("watershed", image, tree, b)
        parent, label = list(range(tree.num_nodes)), given.tolist()
        for w, _, v in joins:
            a, c = _top(parent, v), _top(parent, up[v])
            if w < torch.inf and not (label[a] and label[c]):
                parent[a] = c
                label[c] = label[a] or label[c]
        labels.append([label[_top(parent, v)] for v in range(tree.num_nodes)])
    return torch.tensor(labels, dtype=markers.dtype, device=markers.device).view(markers.shape)


def _joins(
    function: str, image: Tensor, tree: Tree, b: int
) -> tuple[list[tuple[float, int, int]], list[int]]:
    """(weight, edge, vertex below it) of the edges of tree b, ascending, and the parents."""
    own = min(b, len(tree) - 1)
    number = tree.edge[own].tolist()
    for e in number:
        if not -1 <= e < len(image):
            raise ValueError(f"{function}: tree.edge must be in [-1, {len(image)}), got {e}")
    weight = (image.double() + 0.0).tolist()  # −0.0 + 0.0 = 0.0
    return sorted((weight[e], e, v) for v, e in enumerate(number) if e >= 0), tree.parent[
        own
    ].tolist()


def _top(parent: list[int], x: int) -> int:
    while parent[x] != x:
        x = parent[x]
    return x
