"""Whole images through treefilter.tiled, tile after tile; and what hypothesis draws for it."""

import numpy as np
import oracle
import torch
from hypothesis import strategies as st
from strategies import SEEDS

import treefilter as tf
from treefilter import tiled
from treefilter.nn.tree_filter import METRICS

FEATURES = {  # every entry: how to draw features of a shape
    "random": lambda rng, shape: rng.standard_normal(shape),
    "ties": lambda rng, shape: rng.integers(0, 3, shape),
    "constant": lambda rng, shape: np.full(shape, rng.standard_normal()),
    "huge": lambda rng, shape: rng.choice([0.0, 1e19, 2e19, -3e38], shape),
}


@st.composite
def tilings(draw, max_nodes=60, max_tiles=16):
    """Tilings of small images: equal tiles, down to single vertices, or uneven ones."""
    connectivity = draw(st.sampled_from([4, 8, 6, 26]))
    chunks, nodes, tiles = [], max_nodes, max_tiles
    for _ in range(2 if connectivity in (4, 8) else 3):
        size = draw(st.integers(1, min(nodes, 9)))
        if draw(st.booleans()):
            width = draw(st.integers(-(-size // tiles), size))
            bounds = [*range(0, size, width), size]
        else:
            inner = st.sets(st.integers(1, max(1, size - 1)), max_size=min(4, tiles - 1))
            bounds = sorted({0, size, *draw(inner)})
        chunks.append(tuple(np.diff(bounds).tolist()))
        nodes, tiles = nodes // size, tiles // len(chunks[-1])
    return tiled.Tiling(tuple(chunks), connectivity)


@st.composite
def images(draw, max_nodes=60, kinds=tuple(FEATURES), max_channels=3):
    """(tiling, guide (C, *shape), mask or None, metric)."""
    tiling = draw(tilings(max_nodes))
    rng = np.random.default_rng(draw(SEEDS))
    shape = (draw(st.integers(1, max_channels)), *tiling.shape)
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    guide = torch.from_numpy(FEATURES[draw(st.sampled_from(kinds))](rng, shape)).to(dtype)
    share = draw(st.sampled_from([None, 0.1, 0.5]))
    mask = None if share is None else torch.from_numpy(rng.random(tiling.shape) >= share)
    return tiling, guide, mask, draw(st.sampled_from(METRICS))


def cut(value, tile):
    """The tile of (C, *shape) or (*shape)."""
    if value is None:
        return None
    box = tuple(slice(a, a + n) for a, n in zip(tile.offset, tile.shape, strict=True))
    return value[(..., *box)]


def paste(pieces, tiling):
    """The reverse."""
    whole = pieces[0].new_empty((*pieces[0].shape[: -len(tiling.shape)], *tiling.shape))
    for piece, tile in zip(pieces, tiling.tiles, strict=True):
        cut(whole, tile)[...] = piece
    return whole


def pairwise(parts, image, metric):
    """Neighbours merged two by two, until one is left."""
    while len(parts) > 1:
        parts = [
            tiled.merge(parts[i : i + 2], image, metric=metric) for i in range(0, len(parts), 2)
        ]
    return parts[0]


def tree_of(guide, tiling, mask=None, metric="sqeuclidean", pair=False):
    """The choices for all tiles, and which edges are in the tree: (K, *shape) bool."""
    options = [{"metric": metric, "mask": cut(mask, tile)} for tile in tiling.tiles]
    tiles = list(zip(tiling.tiles, options, strict=True))
    parts = [tiled.candidates(cut(guide, tile), tile, **opts) for tile, opts in tiles]
    whole = (
        pairwise(parts, tiling.lattice, metric)
        if pair
        else tiled.merge(parts, tiling.lattice, metric=metric)
    )
    choices = tiled.choose(whole, parts, tiling)
    edges = [
        tiled.tree_edges(cut(guide, tile), tile, choice, **opts)
        for (tile, opts), choice in zip(tiles, choices, strict=True)
    ]
    return choices, paste(edges, tiling)


def whole_weight(guide, tiling, mask=None, metric="sqeuclidean"):
    """(graph, weight (B, E)) of the image in one piece, +inf where an end is masked."""
    graph = tf.grid(*tiling.shape, connectivity=tiling.connectivity)
    batch = guide if guide.ndim > len(tiling.shape) + 1 else guide[None]
    weight = tf.edge_weight(batch, graph, metric)
    if mask is not None:
        weight[:, ~mask.flatten()[graph.edge_index].all(0)] = torch.inf
    return graph, weight


def numbers(edges, tiling):
    """The numbers of the edges that (K, *shape) says, ascending."""
    shape = tiling.shape
    ends = oracle.grid_edges(shape, tiling.connectivity).T.tolist()
    number_of = {pair: e for e, pair in enumerate(map(tuple, ends))}
    found = []
    for direction, *at in edges.nonzero().tolist():
        to = np.add(at, oracle.DIRECTIONS[tiling.connectivity][direction])
        pair = (int(np.ravel_multi_index(tuple(end), shape)) for end in (at, to))
        found.append(number_of[tuple(pair)])
    return torch.tensor(sorted(found), dtype=torch.int64)


def filtered(x, guide, tiling, mask=None, **options):
    """Through all stages of the filter."""
    tiles = [
        (cut(x, tile), cut(guide, tile), tile, {"mask": cut(mask, tile), **options})
        for tile in tiling.tiles
    ]
    found = [tiled.reduce_tile(a, f, tile, **opts) for a, f, tile, opts in tiles]
    parts, skeletons = zip(*found, strict=True)
    image = tiling.lattice
    whole = tiled.merge(parts, image, metric=options["metric"])
    choices = tiled.choose(whole, parts, tiling)
    pruned = [tiled.prune_tile(s, c, image) for s, c in zip(skeletons, choices, strict=True)]
    outside = tiled.exchange(pruned, choices, image, **options)
    return paste(
        [
            tiled.finish(a, f, t, choice, *arriving, **opts)
            for (a, f, t, opts), choice, arriving in zip(tiles, choices, outside, strict=True)
        ],
        tiling,
    )


def whole_filtered(x, guide, tiling, mask=None, *, sigma, groups, metric):
    """The image in one piece."""
    graph, weight = whole_weight(guide, tiling, mask, metric)
    tree = tf.mst(weight, graph)
    if groups > 1:
        _, weight = whole_weight(guide.unflatten(0, (groups, -1)), tiling, mask, metric)
    sigma = weight.new_tensor(sigma) if isinstance(sigma, list) else sigma
    a = tf.affinity(weight[None] if groups > 1 else weight, tree, sigma)
    return tf.filter(x[None], tree, a)[0]


def labelled(guide, markers, tiling, mask=None, metric="sqeuclidean"):
    """Through all stages of the watershed."""
    tiles = [
        (cut(guide, tile), cut(markers, tile), tile, {"metric": metric, "mask": cut(mask, tile)})
        for tile in tiling.tiles
    ]
    parts = [tiled.flood_candidates(f, m, tile, **opts) for f, m, tile, opts in tiles]
    known = tiled.flood(parts, tiling.lattice, metric=metric)
    return paste(
        [
            tiled.finish_flood(f, m, tile, *at_border, **opts)
            for (f, m, tile, opts), at_border in zip(tiles, known, strict=True)
        ],
        tiling,
    )


def sigma_of(guide, tiling, mask=None, *, mass, groups=1, metric="sqeuclidean"):
    """(G,): through all rounds of the bisection."""
    image, shared = tiling.lattice, {"groups": groups, "metric": metric}
    choices, _ = tree_of(guide, tiling, mask, metric)
    tiles = [
        (cut(guide, tile), tile, choice, {"mask": cut(mask, tile), **shared})
        for tile, choice in zip(tiling.tiles, choices, strict=True)
    ]
    ranges = [tiled.weight_range(f, t, choice, **opts) for f, t, choice, opts in tiles]
    bracket = tiled.bracket(ranges, choices, image, mass=mass, **shared)
    while bracket.halvings:
        skeletons = [tiled.reduce_masses(f, t, c, bracket, **opts) for f, t, c, opts in tiles]
        outside = tiled.exchange(skeletons, choices, image, sigma=bracket.sigmas, **shared)
        counts = [
            tiled.count_masses(f, t, c, *arriving, bracket, **opts)
            for (f, t, c, opts), arriving in zip(tiles, outside, strict=True)
        ]
        bracket = tiled.narrow(bracket, counts)
    return bracket.sigma


def whole_sigma(guide, tiling, mask=None, *, mass, groups=1, metric="sqeuclidean"):
    """(G,) of the image in one piece."""
    graph, weight = whole_weight(guide, tiling, mask, metric)
    tree = tf.mst(weight, graph)
    if groups > 1:
        _, weight = whole_weight(guide.unflatten(0, (groups, -1)), tiling, mask, metric)
    counted = None if mask is None else mask.flatten()[None]
    return tf.sigma_for_mass(weight[None], tree, mass, counted=counted)[0]
