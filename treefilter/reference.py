"""The specification: what every function of the package means, in plain PyTorch.

The names, arguments and results are those of the package, derivatives of every order come from
ordinary autograd, and nothing is optimised: vertices are visited one by one in Python, and
arguments are not checked. Read it to learn what is computed; compare with it what was computed.

Notation: B images, C channels in G groups, N vertices, E edges; a_v and w_v are the affinity and
the weight of the edge from vertex v to its parent. Arithmetic is in float64 if an argument is,
otherwise in float32. Affinities, filters and maxima keep a first argument's half precision, to
which their result is rounded; edge weights and sums of them, which may exceed it, are float32 then.

The file is long because the whole specification is read in one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ._autograd import Function, call, save
from ._checks import check_devices
from ._hierarchy_reference import (
    altitude,
    cut,
    dendrogram,
    linkage,
    malis_pairs,
    persistence,
    watershed,
)
from .graph import Graph
from .tree import Tree

__all__ = [
    "affinity",
    "altitude",
    "cut",
    "dendrogram",
    "distance",
    "distance_matrix",
    "distance_transform",
    "edge_weight",
    "filter",
    "leaf_to_root",
    "linkage",
    "malis_pairs",
    "mass",
    "mst",
    "persistence",
    "root_to_leaf",
    "sigma_for_mass",
    "watershed",
]


def edge_weight(guide: Tensor, graph: Graph, metric: str = "sqeuclidean") -> Tensor:
    r"""How different the two ends u and v of every edge are, with d = guide_u − guide_v.

    - ``"sqeuclidean"``: Σ d²
    - ``"euclidean"``: √(Σ d²); its derivative at d = 0 is 0
    - ``"cityblock"``: Σ abs(d); the derivative of abs(d) at 0 is 0
    - ``"chebyshev"``: max abs(d); its derivative is that of the first channel that attains it
    - ``"cosine"``: ½ Σ d² between the unit vectors u/‖u‖ and v/‖v‖; a zero vector stays zero, with
      derivative 0

    The sums are over channels, and computed in float64. A result beyond the largest number of its
    type is that number, with derivative 0: +inf would mean that there is no edge. NaN or infinity
    in the guide gives NaN.

    ``guide`` (B, C, \*shape) or (B, C, N) → (B, E) in float32, or float64 if the guide is.
    """
    graph._edges_on("edge_weight", guide.device)
    x = guide.double().reshape(*guide.shape[:2], graph.num_nodes)
    x = torch.where(x.isinf(), torch.nan, x)
    if metric == "cosine":
        x = _unit(x)
    ends = graph.edge_index.to(guide.device).expand(len(x), 2, -1)
    u, v = ends.unsqueeze(2).expand(-1, -1, x.shape[1], -1).unbind(1)
    d = x.gather(2, u) - x.gather(2, v)
    dtype = _compute_dtype(guide)
    largest = torch.finfo(dtype).max
    beyond = (d.isinf().any(1) & ~d.isnan().any(1)) | (_size(d, metric).to(dtype) >= largest)
    d = torch.where(
        beyond.unsqueeze(1), 0, d
    )  # constant there, without infinite intermediate values
    return torch.where(beyond, largest, _size(d, metric).to(dtype))


def _size(d: Tensor, metric: str) -> Tensor:
    """(B, C, E) differences, for cosine those of unit vectors, to (B, E) weights."""
    if metric == "sqeuclidean":
        return d.square().sum(1)
    if metric == "euclidean":
        return call(_Length, d)
    if metric == "cosine":
        return d.square().sum(1) / 2
    if metric == "cityblock" or d.shape[1] == 0:
        return d.abs().sum(1)
    first_largest = d.abs().argmax(1, keepdim=True)
    return d.abs().gather(1, first_largest).squeeze(1)


def mst(weight: Tensor, graph: Graph, *, root: int | Tensor = 0) -> Tree:
    """The minimum spanning tree; a forest if the graph is not connected.

    Edges are ordered by (weight, index), so there is exactly one; +inf means "no such edge".
    Weights are compared as they are, those of float64 in float64. ``root`` is the root of its
    component, the lowest vertex that of any other.

    ``weight`` (B, E), ``root`` an integer or (B,) → B trees.
    """
    graph._edges_on("mst", weight.device)
    if isinstance(root, Tensor):
        check_devices("mst", "weight", weight, root=root)
    ends: list[list[list[int]]] = graph.edge_index.expand(len(weight), 2, -1).mT.tolist()
    roots = torch.as_tensor(root).expand(len(weight)).tolist()
    parents, edges, orders = [], [], []
    for image, pairs, first in zip(weight, ends, roots, strict=True):
        up, up_edge, depth = _hang(_kruskal(image, pairs, graph.num_nodes), pairs, first)
        parents.append(up)
        edges.append(up_edge)
        orders.append(sorted(range(graph.num_nodes), key=depth.__getitem__, reverse=True))
    parent, edge, order = (
        torch.tensor(rows, dtype=torch.int32, device=weight.device).view(-1, graph.num_nodes)
        for rows in (parents, edges, orders)
    )
    return Tree(parent, edge, order, graph.shape)


def affinity(weight: Tensor, tree: Tree, sigma: float | Tensor = 1.0) -> Tensor:
    """a_v = exp(−w_v / σ), and 0 at a root. Where it is 0, so are its derivatives.

    ``weight`` (B, E) and ``sigma`` a number → (B, N). With ``weight`` (B, G, E), or a ``sigma``
    tensor of more than one group, → (B, G, N). A ``sigma`` tensor is broadcast to (B, G).
    """
    dtype = _compute_dtype(weight, sigma)
    check_devices("affinity", "weight", weight, tree=tree)
    if isinstance(sigma, Tensor):
        check_devices("affinity", "weight", weight, sigma=sigma)
    else:
        sigma = torch.tensor(float(sigma), dtype=torch.float64, device=weight.device)
    sigma = sigma.to(dtype)
    grouped = weight.ndim == 3 or (sigma.ndim > 0 and sigma.shape[-1] > 1)
    w = _to_parent("affinity", weight.to(dtype), tree)
    w = w if weight.ndim == 3 else w.unsqueeze(1)  # (B, G, N)
    sigma = sigma.unsqueeze(-1)
    none = tree.roots.unsqueeze(1) | (torch.exp(-w / sigma) == 0)
    a = torch.where(none, 0, torch.exp(-torch.where(none, 0, w) / sigma))
    return _result(a if grouped else a.squeeze(1), weight)


def sigma_for_mass(
    weight: Tensor, tree: Tree, mass: float = 0.005, *, counted: Tensor | None = None
) -> Tensor:
    """The least σ at which more than half of the masses z_i = Σ_j exp(−D_ij/σ) are mass·N or more.

    i and j are the vertices that are ``counted``, (B or 1, N) bool, by default all N.
    In [w₁/128, 16·N·w₂], between the smallest and the largest of the positive finite weights of
    edges to parents; 1 if there is none, NaN if one is negative or NaN.

    ``weight`` (B, E) → (B,); (B, G, E) → (B, G).
    """
    if weight.ndim == 3:
        groups = [sigma_for_mass(w, tree, mass, counted=counted) for w in weight.unbind(1)]
        return torch.stack(groups, 1)
    nodes, result = tree.num_nodes, []
    limits = torch.finfo(_compute_dtype(weight))
    values = weight.detach().double()
    shrink = 2.0 ** -nodes.bit_length()  # a sum of weights would otherwise be the largest number
    distances = _matrix("sigma_for_mass", values * shrink, tree, "sum")
    everywhere = torch.ones(1, nodes, dtype=torch.bool, device=weight.device)
    inside = (everywhere if counted is None else counted).expand(len(distances), -1)
    parents = _to_parent("sigma_for_mass", values, tree)
    for w, matrix, i in zip(parents, distances, inside, strict=True):
        d, number = matrix[i][:, i], int(i.sum())
        positive = w[(w > 0) & w.isfinite()]
        if not (w >= 0).all():
            result.append(math.nan)
            continue
        if len(positive) == 0:
            result.append(1.0)
            continue
        low = max(math.log(positive.min()) - math.log(128), math.log(limits.tiny))
        high = min(math.log(positive.max()) + math.log(16 * nodes), math.log(limits.max))
        for _ in range(100):
            middle = (low + high) / 2
            masses = (-d / (math.exp(middle) * shrink)).exp().sum(1)
            enough = (masses >= mass * number).sum() * 2 > number
            low, high = (low, middle) if enough else (middle, high)
        result.append(math.exp(high))
    sigma = torch.tensor(result, dtype=torch.float64, device=weight.device)
    return sigma.clamp(limits.tiny, limits.max).to(_compute_dtype(weight))


def filter(
    x: Tensor, tree: Tree, affinity: Tensor, *, normalize: bool = True, path: str = "product"
) -> Tensor:
    r"""y_i = Σ_j A_ij x_j / Σ_j A_ij, with A_ij the product of the affinities on the path i…j.

    A_ii = 1, and A_ij = 0 between components. Without ``normalize``, the numerator alone. It is
    root_to_leaf((1 − a²) · leaf_to_root(x)): what a vertex gets from its parent, a_v y_p, contains
    a_v² S_v that came from the vertex itself.

    ``x`` (B, C, \*shape) or (B, C, N), ``affinity`` (B, N) or (B, G, N) → like ``x``. The channels
    are split into G consecutive groups of C/G; group g uses affinity g. The affinity of a root,
    which has no edge, is ignored. With ``path="min"``, A_ij is the smallest affinity on the path.
    """
    values, a = _by_channel("filter", x, tree, affinity)
    if path == "min":
        kernels = [_smallest(channel, tree) for channel in a.unbind(1)]
        kernel = torch.stack(kernels, 1) if kernels else a.unsqueeze(3)
        y = (kernel @ values.unsqueeze(3)).squeeze(3) if kernels else values
        if normalize:
            y = y / kernel.sum(3)
        return _result(y.reshape(x.shape), x)

    def sum_over_tree(values: Tensor) -> Tensor:
        return _root_to_leaf((1 - a) * (1 + a) * _leaf_to_root(values, tree, a), tree, a)

    y = sum_over_tree(values)
    if normalize:
        y = y / sum_over_tree(torch.ones_like(values))
    return _result(y.reshape(x.shape), x)


def mass(tree: Tree, affinity: Tensor) -> Tensor:
    """Σ_j A_ij: the normaliser of :func:`filter`. ``affinity`` (B, N) or (B, G, N) → likewise."""
    check_devices("mass", "affinity", affinity, tree=tree)
    groups = affinity.shape[1] if affinity.ndim == 3 else 1
    batch = len(affinity) if len(tree) == 1 else len(tree)
    ones = affinity.new_ones((batch, groups, tree.num_nodes))
    return filter(ones, tree, affinity, normalize=False).reshape(-1, *affinity.shape[1:])


def leaf_to_root(x: Tensor, tree: Tree, affinity: Tensor) -> Tensor:
    """S_v = x_v + Σ a_c S_c over the children c of v. Shapes as in :func:`filter`."""
    values, a = _by_channel("leaf_to_root", x, tree, affinity)
    return _result(_leaf_to_root(values, tree, a).reshape(x.shape), x)


def root_to_leaf(x: Tensor, tree: Tree, affinity: Tensor) -> Tensor:
    """R_v = x_v + a_v R_p with p the parent of v; R = x at a root. Shapes as in :func:`filter`."""
    values, a = _by_channel("root_to_leaf", x, tree, affinity)
    return _result(_root_to_leaf(values, tree, a).reshape(x.shape), x)


def distance(weight: Tensor, tree: Tree, source: Tensor, path: str = "sum") -> Tensor:
    """D_sv = Σ w, or max w, over the edges of the tree path from source s to vertex v.

    D_ss = 0, and D_sv = +inf in another component. A sum of finite weights beyond the largest
    number of its type is that number, with derivative 0. The derivative of the maximum is that of
    the largest weight on the path; of several, the one nearest to s.

    ``weight`` (B, E), ``source`` integer (S,) or (B, S) → (B, S, N).
    """
    return _distance("distance", weight, tree, source, path)


def _distance(function: str, weight: Tensor, tree: Tree, source: Tensor, path: str) -> Tensor:
    check_devices(function, "weight", weight, tree=tree, source=source)
    w = _to_parent(function, weight.to(_compute_dtype(weight)), tree)  # (B, N)
    shape = (len(w), source.shape[-1], tree.num_nodes)
    rows = [
        _path_lengths(w[b].unbind(), *_image(tree, b), s, path)
        for b, sources in enumerate(source.expand(shape[:2]).tolist())
        for s in sources
    ]
    d = torch.stack(rows).view(shape) if rows else w.new_empty(shape)
    return d if path == "sum" else _result(d, weight)


def distance_transform(
    weight: Tensor, tree: Tree, seeds: Tensor, path: str = "sum"
) -> tuple[Tensor, Tensor]:
    r"""The least D_sv over the seeds s, and the lowest s that attains it; +inf and −1 without any.

    Equal maxima are told apart by the strict order of edges: the seed s of v is its
    :func:`watershed`.

    ``weight`` (B, E), ``seeds`` bool (B, \*shape) or (B, N) → (B, N) and (B, N) int64.
    """
    check_devices("distance_transform", "weight", weight, tree=tree, seeds=seeds)
    wide = weight.to(_compute_dtype(weight))
    everywhere = _matrix("distance_transform", wide, tree, path)  # (B, N, N)
    seeds = seeds.reshape(len(everywhere), tree.num_nodes)
    d = torch.where(seeds.unsqueeze(2), everywhere, torch.inf)
    least = d.amin(1, keepdim=True)
    nearest = (d == least).int().argmax(1, keepdim=True)  # argmax gives the first, so the lowest
    if path == "max":
        own = torch.arange(1, tree.num_nodes + 1, device=seeds.device)
        nearest = (watershed(weight, tree, own * seeds) - 1).clamp(min=0).unsqueeze(1)
    shortest = d.gather(1, nearest)
    nearest = torch.where(least < torch.inf, nearest, -1)
    shortest = shortest.squeeze(1)
    return shortest if path == "sum" else _result(shortest, weight), nearest.squeeze(1)


def distance_matrix(weight: Tensor, tree: Tree, path: str = "sum") -> Tensor:
    """D_uv of :func:`distance` between all pairs of vertices: ``weight`` (B, E) → (B, N, N)."""
    return _matrix("distance_matrix", weight, tree, path)


def _matrix(function: str, weight: Tensor, tree: Tree, path: str) -> Tensor:
    every = torch.arange(tree.num_nodes, device=weight.device)
    return _distance(function, weight, tree, every, path)


def _kruskal(weight: Tensor, ends: Sequence[Sequence[int]], num_nodes: int) -> list[list[int]]:
    """The tree's edges at each vertex. In ascending order, one is kept if it joins two trees."""
    leader = list(range(num_nodes))

    def find(v: int) -> int:
        while leader[v] != v:
            leader[v] = leader[leader[v]]
            v = leader[v]
        return v

    value = weight.detach().double() + 0.0  # −0.0 + 0.0 = 0.0: the two zeros are one weight
    edges_at: list[list[int]] = [[] for _ in range(num_nodes)]
    for edge in value.sort(stable=True).indices.tolist():
        u, v = ends[edge]
        if value[edge] < torch.inf and find(u) != find(v):
            leader[find(u)] = find(v)
            edges_at[u].append(edge)
            edges_at[v].append(edge)
    return edges_at


def _hang(
    edges_at: Sequence[Sequence[int]], ends: Sequence[Sequence[int]], root: int
) -> tuple[list[int], list[int], list[int]]:
    """For every vertex, by breadth-first search: its parent, the edge to it, and its depth."""
    parent, edge, depth = [-1] * len(edges_at), [-1] * len(edges_at), [0] * len(edges_at)
    for start in (root, *range(len(edges_at))):
        if parent[start] < 0:
            parent[start] = start
            queue = [start]
            for v in queue:  # grows while it is read
                for e in edges_at[v]:
                    child = sum(ends[e]) - v
                    if parent[child] < 0:
                        parent[child], edge[child], depth[child] = v, e, depth[v] + 1
                        queue.append(child)
    return parent, edge, depth


def _leaf_to_root(x: Tensor, tree: Tree, a: Tensor) -> Tensor:
    """:func:`leaf_to_root` of (B, C, N) with one affinity per channel."""
    images = []
    for b, (values, scale) in enumerate(zip(x, a, strict=True)):
        s, a_ = list(values.unbind(-1)), scale.unbind(-1)
        parent, order = _image(tree, b)
        for v in order:  # children before parents: s[v] is complete when its turn comes
            if parent[v] != v:
                s[parent[v]] = s[parent[v]] + a_[v] * s[v]
        images.append(torch.stack(s, -1))
    return torch.stack(images) if images else x * a


def _root_to_leaf(x: Tensor, tree: Tree, a: Tensor) -> Tensor:
    """:func:`root_to_leaf` of (B, C, N) with one affinity per channel."""
    images = []
    for b, (values, scale) in enumerate(zip(x, a, strict=True)):
        r, a_ = list(values.unbind(-1)), scale.unbind(-1)
        parent, order = _image(tree, b)
        for v in reversed(order):
            if parent[v] != v:
                r[v] = r[v] + a_[v] * r[parent[v]]
        images.append(torch.stack(r, -1))
    return torch.stack(images) if images else x * a


def _path_lengths(
    w: Sequence[Tensor], parent: Sequence[int], order: Sequence[int], source: int, path: str
) -> Tensor:
    """Distances (N,) from one source: up to its root first, then down to all other vertices."""
    d = {source: torch.zeros_like(w[source])}

    def beyond(v: int, step: Tensor) -> Tensor:
        if v == source:
            return step  # and not max(0, step): a weight may be negative
        if path == "sum":
            return _joined(d[v], step)
        return torch.where((step > d[v]) | step.isnan(), step, d[v])

    v = source
    while parent[v] != v:
        d[parent[v]] = beyond(v, w[v])
        v = parent[v]
    for v in reversed(order):
        if v not in d and parent[v] in d:
            d[v] = beyond(parent[v], w[v])
    unreached = torch.full_like(w[source], torch.inf)
    return torch.stack([d.get(v, unreached) for v in range(len(parent))])


def _joined(a: Tensor, b: Tensor) -> Tensor:
    """Sum of lengths a + b, the largest number where that is beyond it, as a constant."""
    total, largest = a + b, torch.finfo(a.dtype).max
    beyond = (total.detach().abs() >= largest) & a.isfinite() & b.isfinite()
    return torch.where(beyond, total.detach().clamp(-largest, largest), total)


def _image(tree: Tree, b: int) -> tuple[list[int], list[int]]:
    """Parent and order of tree b, or of the only one."""
    b = min(b, len(tree) - 1)
    return tree.parent[b].tolist(), tree.order[b].tolist()


def _to_parent(function: str, weight: Tensor, tree: Tree) -> Tensor:
    """w_v, 0 at a root: (B, …, E) → (B, …, N)."""
    num_edges = weight.shape[-1]
    outside = (tree.edge < -1) | (tree.edge >= num_edges)
    if len(weight) > 0 and outside.any():
        got = int(tree.edge[outside][0])
        raise ValueError(f"{function}: tree.edge must be in [-1, {num_edges}), got {got}")
    padded = functional.pad(weight, (0, 1))  # a root's edge, −1, reads this 0
    edge = tree.edge.long() % padded.shape[-1]
    edge = edge.view(len(tree), *[1] * (weight.ndim - 2), tree.num_nodes)
    shape = (len(weight) if len(tree) == 1 else len(tree), *weight.shape[1:-1])
    return padded.expand(*shape, -1).gather(-1, edge.expand(*shape, -1))


def _smallest(a: Tensor, tree: Tree) -> Tensor:
    """(B, N, N): the smallest of the affinities (B, N) on each path, 1 on none, 0 without any."""
    own = torch.arange(tree.num_nodes, dtype=torch.int32, device=a.device)
    edge = torch.where(tree.roots, -1, own)
    weight = _matrix("filter", -a, Tree(tree.parent, edge, tree.order), "max")
    alone = torch.eye(tree.num_nodes, dtype=a.dtype, device=a.device)
    return torch.where(weight < torch.inf, -weight, 0) + alone


def _by_channel(function: str, x: Tensor, tree: Tree, affinity: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` as (B, C, N) and the affinity of each of its channels, 0 at roots."""
    check_devices(function, "x", x, tree=tree, affinity=affinity)
    dtype = _compute_dtype(x, affinity)
    values = x.to(dtype).reshape(*x.shape[:2], tree.num_nodes)
    a = affinity.to(dtype) if affinity.ndim == 3 else affinity.to(dtype).unsqueeze(1)
    a = torch.where(tree.roots.unsqueeze(1), 0, a)
    a = a.repeat_interleave(values.shape[1] // a.shape[1], 1)
    return values, a.expand(values.shape)


class _Length(Function):
    """√(Σ d²) over the channels, with derivatives that are right for d of any magnitude."""

    @staticmethod
    def forward(d: Tensor) -> Tensor:
        largest = _largest(d)
        scaled = d / torch.where(largest == 0, 1, largest)
        return (largest * scaled.square().sum(1, keepdim=True).sqrt()).squeeze(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (d,) = ctx.saved_tensors
        return grad.unsqueeze(1) * _unit(d)

    @staticmethod
    def tangent(ctx: Any, saved: list[Any], *tangents: Any) -> Tensor:
        return (_unit(saved[0]) * tangents[0]).sum(1)


def _unit(x: Tensor) -> Tensor:
    """x/‖x‖ over the channels, 0 with derivative 0 at 0."""
    largest = _largest(x)
    x = x / torch.where(largest == 0, 1, largest)  # squares neither overflow nor vanish
    squared = x.square().sum(1, keepdim=True)
    return torch.where(squared == 0, 0, x / torch.where(squared == 0, 1, squared).sqrt())


def _largest(x: Tensor) -> Tensor:
    """(B, 1, …), the largest magnitude over the channels: a scale, for the result a constant."""
    return x.detach().abs().amax(1, keepdim=True) if x.shape[1] else x.sum(1, keepdim=True)


def _compute_dtype(*arguments: object) -> torch.dtype:
    double = any(isinstance(t, Tensor) and t.dtype == torch.float64 for t in arguments)
    return torch.float64 if double else torch.float32


def _result(y: Tensor, first: Tensor) -> Tensor:
    """Half precision in, half precision out."""
    return y.to(first.dtype) if first.dtype in (torch.float16, torch.bfloat16) else y
