"""Whole images through treefilter.tiled, tile after tile; and what hypothesis draws for it."""

import numpy as np
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
    weight = tf.edge_weight(guide if guide.ndim > len(tiling.shape) + 1 else guide[None], graph, metric)
    if mask is not None:
        weight[:, ~mask.flatten()[graph.edge_index].all(0)] = torch.inf
    return graph, weight


def numbers(edges, tiling):
    """The numbers of the edges that (K, *shape) says."""
    graph = tf.grid(*tiling.shape, connectivity=tiling.connectivity)
    found = []
    for (dz, dy, dx), of in zip(graph._directions, edges.view(-1, *graph._box), strict=True):
        d, h, w = graph._box
        box = of[: max(0, d - dz), max(0, -dy) : max(0, h - max(0, dy)), max(0, -dx) : max(0, w - max(0, dx))]
        assert of.sum() == box.sum()
        found.append(box.flatten())
    return torch.cat(found).nonzero().flatten()
