"""Brute force in numpy: every result, directly from its definition.

No code or method here is that of the package. Except for the last function everything is
dense, meant for at most some hundred vertices, and for one image: ``parent`` is (N,), ``a`` and
``w`` hold per vertex the affinity and the weight of the edge to its parent, ``x`` is (C, N).
"""

from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import numpy as np

DIRECTIONS = {
    4: [(1, 0), (0, 1)],
    8: [(1, 0), (0, 1), (1, 1), (1, -1)],
    6: [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    26: [
        *[(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        *[(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)],
        *[(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1)],
    ],
}


# --- graphs and trees -----------------------------------------------------------------------------


def grid_edges(shape: tuple[int, ...], connectivity: int) -> np.ndarray:
    """(2, E): direction after direction, in row-major order of the lower vertex."""
    number = {vertex: i for i, vertex in enumerate(np.ndindex(*shape))}
    edges = []
    for direction in DIRECTIONS[connectivity]:
        for vertex, i in number.items():
            other = tuple(np.add(vertex, direction).tolist())
            if other in number:
                edges.append((i, number[other]))
    return np.array(edges, dtype=np.int64).reshape(-1, 2).T


def kruskal(weight: np.ndarray, ends: np.ndarray, num_nodes: int) -> set[int]:
    """The minimum spanning forest by (weight, edge index), as a set of edges."""
    weight = np.asarray(weight)
    component = np.arange(num_nodes)
    chosen = set()
    for edge in sorted(range(len(weight)), key=lambda e: (float(weight[e]), e)):
        a, b = component[ends[0, edge]], component[ends[1, edge]]
        if a != b and weight[edge] != np.inf:
            component[component == a] = b
            chosen.add(edge)
    return chosen


def hang(
    chosen: set[int], ends: np.ndarray, num_nodes: int, root: int
) -> tuple[np.ndarray, np.ndarray]:
    """(parent, edge to it) of every vertex, breadth first from the roots."""
    parent, edge = np.full(num_nodes, -1), np.full(num_nodes, -1)
    for start in [root, *range(num_nodes)]:
        if parent[start] >= 0:
            continue
        parent[start] = start
        ring = {start}
        while ring:
            outer = set()
            for e in chosen:
                for v, child in (ends[:, e], ends[::-1, e]):
                    if v in ring and parent[child] < 0:
                        parent[child], edge[child] = v, e
                        outer.add(child)
            ring = outer
    return parent, edge


def order_by_turns(parent: np.ndarray) -> list[int]:
    """The CPU's order: eight paths from leaves upwards, interleaved, a vertex of each in turn.

    A path ends at a vertex that waits for another child; from there the last child's path goes on.
    Where a path ends, that of the next leaf begins, by ascending leaf. Roots stay.
    """
    children = np.bincount(parent, minlength=len(parent)).tolist()
    roots = [v for v in range(len(parent)) if parent[v] == v]
    for root in roots:
        children[root] = -1  # never 0
    leaves = iter([v for v in range(len(parent)) if children[v] == 0])
    paths = list(islice(leaves, 8))
    order = []
    while paths:
        for i, v in enumerate(paths):
            order.append(v)
            above = int(parent[v])
            children[above] -= 1
            paths[i] = above if children[above] == 0 else next(leaves, None)
        paths = [v for v in paths if v is not None]
    return order + roots


def strahler_order(parent: np.ndarray) -> list[int]:
    """Peel the tree: every round removes all maximal chains that end in a leaf; roots stay."""
    roots = {v for v in range(len(parent)) if parent[v] == v}
    rest = set(range(len(parent)))
    order = []
    while rest != roots:
        neighbours = {v: set() for v in rest}
        for v in rest - roots:
            neighbours[v].add(parent[v])
            neighbours[parent[v]].add(v)
        removed = []
        for leaf in sorted(v for v in rest - roots if len(neighbours[v]) == 1):
            v = leaf
            removed.append(v)
            while parent[v] not in roots and len(neighbours[parent[v]]) == 2:
                v = parent[v]
                removed.append(v)
        order += removed
        rest -= set(removed)
    return [int(v) for v in order] + sorted(roots)


def components(parent: np.ndarray) -> np.ndarray:
    """The root of every vertex."""
    top = np.arange(len(parent))
    while (parent[top] != top).any():
        top = parent[top]
    return top


# --- all pairs ------------------------------------------------------------------------------------


def edges_outward(parent: np.ndarray, start: int) -> Iterator[tuple[int, int, int]]:
    """Every tree edge reachable from ``start``, outward: (near end, far end, its lower vertex)."""
    neighbours = [[] for _ in parent]
    for v, p in enumerate(parent):
        if p != v:
            neighbours[v].append((int(p), v))
            neighbours[p].append((v, v))
    seen, todo = {start}, [start]
    while todo:
        v = todo.pop()
        for other, lower in neighbours[v]:
            if other not in seen:
                seen.add(other)
                todo.append(other)
                yield v, other, lower


def over_paths(
    parent: np.ndarray, value: np.ndarray, combine: Callable, itself: float, unreached: float
) -> np.ndarray:
    """M[i, j]: ``value`` of all edges on the path from i to j, combined, starting at i."""
    dense = np.full((len(parent), len(parent)), unreached, dtype=value.dtype)
    for i in range(len(parent)):
        for near, far, lower in edges_outward(parent, i):
            dense[i, far] = value[lower] if near == i else combine(dense[i, near], value[lower])
        dense[i, i] = itself
    return dense


def path_products(parent: np.ndarray, a: np.ndarray) -> np.ndarray:
    return over_paths(parent, a, np.multiply, 1, 0)


def path_sums(parent: np.ndarray, w: np.ndarray) -> np.ndarray:
    return over_paths(parent, w, np.add, 0, np.inf)


def path_maxima(parent: np.ndarray, w: np.ndarray) -> np.ndarray:
    return over_paths(parent, w, np.maximum, 0, np.inf)


def is_ancestor(parent: np.ndarray) -> np.ndarray:
    """M[v, j]: v is j or an ancestor of it."""
    dense = np.eye(len(parent), dtype=bool)
    for j in range(len(parent)):
        v = j
        while parent[v] != v:
            v = parent[v]
            dense[v, j] = True
    return dense


# --- results --------------------------------------------------------------------------------------


def filter(x: np.ndarray, parent: np.ndarray, a: np.ndarray, normalize: bool) -> np.ndarray:
    dense = path_products(parent, a)
    y = x @ dense.T
    return y / dense.sum(1) if normalize else y


def leaf_to_root(x: np.ndarray, parent: np.ndarray, a: np.ndarray) -> np.ndarray:
    return x @ (path_products(parent, a) * is_ancestor(parent)).T


def root_to_leaf(x: np.ndarray, parent: np.ndarray, a: np.ndarray) -> np.ndarray:
    return x @ (path_products(parent, a) * is_ancestor(parent))


def distances(parent: np.ndarray, w: np.ndarray, path: str) -> np.ndarray:
    return path_sums(parent, w) if path == "sum" else path_maxima(parent, w)


def distance_transform(
    parent: np.ndarray, w: np.ndarray, seeds: np.ndarray, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """(least distance, lowest seed at that distance) of every vertex; +inf and −1 without any."""
    dense = distances(parent, w, path)
    shortest, nearest = np.full(len(parent), np.inf, w.dtype), np.full(len(parent), -1)
    for seed in np.flatnonzero(seeds):
        closer = dense[seed] < shortest
        shortest[closer], nearest[closer] = dense[seed][closer], seed
    return shortest, nearest


def region_seeds(parent: np.ndarray, rank: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The nearest seed by the ranks of the edges on the paths, the largest first; −1 without any.

    ``rank`` (N,): the place of the edge to the parent in a strict order.
    """

    def above(v: int) -> list[int]:
        line = [v]
        while parent[line[-1]] != line[-1]:
            line.append(int(parent[line[-1]]))
        return line

    lines = [above(v) for v in range(len(parent))]
    nearest = np.full(len(parent), -1)
    for v in range(len(parent)):
        keys = []
        for seed in np.flatnonzero(seeds):
            if lines[v][-1] == lines[seed][-1]:
                path = set(lines[v]) ^ set(lines[seed])
                keys.append((sorted((rank[u] for u in path), reverse=True), seed))
        if keys:
            nearest[v] = min(keys)[1]
    return nearest


def batched(function: Callable, x: np.ndarray, parent: np.ndarray, a: np.ndarray, *rest: object):
    """``function`` of every image and channel: x (B, C, N), parent (B|1, N), a (B|1, [G,] N)."""
    batch, channels, num_nodes = x.shape
    a = a if a.ndim == 3 else a[:, None]
    size = channels // a.shape[1]
    y = np.empty((batch, channels, num_nodes), np.result_type(x, a))
    for b in range(batch):
        for g in range(a.shape[1]):
            p, a_ = parent[min(b, len(parent) - 1)], a[min(b, len(a) - 1), g]
            group = slice(g * size, (g + 1) * size)
            y[b, group] = function(x[b, group], p, a_, *rest)
    return y


# --- large trees ----------------------------------------------------------------------------------


def depths(parent: np.ndarray) -> np.ndarray:
    """The number of edges to the root, by pointer doubling."""
    depth = (parent != np.arange(len(parent))).astype(np.int64)
    jump = parent.astype(np.int64)
    while (jump != jump[jump]).any():
        depth += depth[jump]
        jump = jump[jump]
    return depth


def filter_by_levels(x: np.ndarray, parent: np.ndarray, a: np.ndarray) -> np.ndarray:
    """The normalised filter of a large image (C, N) in float64, one depth after the other.

    Sums S from the leaves up, then y_v = S_v + a_v (y_p − a_v S_v), of the image and of ones.
    """
    depth = depths(parent)
    by_depth = np.argsort(depth, kind="stable")
    place = np.argsort(by_depth)
    above = place[parent[by_depth]]  # everything below is in this order, whose levels are slices
    a = np.where(depth > 0, a, 0).astype(np.float64)[by_depth, None]
    s = np.concatenate([x.astype(np.float64), np.ones((1, x.shape[1]))]).T[by_depth]
    begin = np.searchsorted(depth[by_depth], np.arange(depth.max() + 2))
    levels = [slice(*ends) for ends in pairwise(begin[1:])]
    for level in reversed(levels):
        np.add.at(s, above[level], a[level] * s[level])
    for level in levels:
        s[level] += a[level] * (s[above[level]] - a[level] * s[level])
    return (s[:, :-1] / s[:, -1:]).T[:, place]
