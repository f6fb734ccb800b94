"""Reduce: the candidates of neighbouring tiles and the edges between them, decided.

Zones are contracted to their border vertices, so that the minimum spanning tree of what is left
chooses among the candidates and the *seams*, the edges between tiles. What is the largest edge on
a path between two vertices at the border of the merged tiles stays a candidate. Merging is
associative: parts may be merged pairwise, or all at once, and the result decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..edge_weight import edge_weight
from ..graph import graph
from .candidates import Part, decide
from .geometry import Array, Lattice, Tiling


def seams(vertex: Array, owner: Array, image: Lattice) -> tuple[Array, Array]:
    """Edges between vertices of different owners.

    Args:
        vertex: (n,) the image's numbers of vertices.
        owner: (n,) whose each is.
        image: The numbers.

    Returns:
        (2, K) positions in ``vertex``, and (K,) the edges' numbers.
    """
    by_number = np.argsort(vertex)
    ascending = vertex[by_number]
    lower = image.coordinates(ascending)
    ends, edges = [np.empty((2, 0), np.int64)], [np.empty(0, np.int64)]
    for direction, step in enumerate(image.directions):
        upper = lower + step[:, None]
        first = np.flatnonzero(image.contains(upper))
        sought = image.vertex(upper[:, first])
        second = np.searchsorted(ascending, sought).clip(max=len(vertex) - 1)
        found = ascending[second] == sought
        pair = np.stack([by_number[first[found]], by_number[second[found]]])
        apart = owner[pair[0]] != owner[pair[1]]
        ends.append(pair[:, apart])
        at = lower[:, first[found][apart]]
        edges.append(image.edge(np.full(at.shape[1], direction), at))
    return np.concatenate(ends, 1), np.concatenate(edges)


def weights_between(features: Array, ends: Array, metric: str) -> Array:
    """(K,) weights of the edges ``ends`` (2, K) between features (C, n)."""
    if not features.shape[1]:
        return np.empty(0, np.float64 if features.dtype == np.float64 else np.float32)
    joined = graph(torch.from_numpy(ends), features.shape[1])
    return edge_weight(torch.from_numpy(features)[None], joined, metric)[0].numpy()


def merge(parts: Sequence[Part], image: Lattice, *, metric: str = "sqeuclidean") -> Part:
    """One part for the tiles of several.

    Args:
        parts: What :func:`candidates` and merges gave for different tiles of one image, at least
            one.
        image: The numbers of the image, ``tiling.lattice``.
        metric: That of the parts.
    """
    vertex = np.concatenate([part.vertex for part in parts])
    features = np.concatenate([part.features for part in parts], 1)
    sizes = [len(part.vertex) for part in parts]
    first = np.cumsum([0, *sizes[:-1]])
    between, number = seams(vertex, np.repeat(np.arange(len(parts)), sizes), image)
    ends = [*(part.ends + at for part, at in zip(parts, first, strict=True)), between]
    weight = [*(part.weight for part in parts), weights_between(features, between, metric)]
    edge = np.concatenate([*(part.edge for part in parts), number])
    order = np.argsort(edge)
    edge, pair, values = (
        x[..., order] for x in (edge, np.concatenate(ends, 1), np.concatenate(weight))
    )
    still = np.concatenate([part.open for part in parts]).astype(np.int64)
    still -= np.bincount(between.ravel(), minlength=len(vertex))
    border = np.flatnonzero(still)
    decision = decide(len(vertex), pair, values, border)
    left = decision.undecided
    position = np.full(len(vertex) + 1, -1)
    position[border] = np.arange(len(border))
    return Part(
        vertex=vertex[border],
        open=still[border].astype(np.int8),
        features=features[:, border],
        ends=position[decision.zone[pair[:, left]]],
        weight=values[left],
        edge=edge[left],
        chosen=np.concatenate([*(part.chosen for part in parts), edge[decision.chosen & ~left]]),
    )


@dataclass
class Choice:
    """What is decided of a tile.

    Attributes:
        cut: int64, the image's numbers of the tile's candidates that are in no tree, ascending.
        seams: int64, those of the edges of the tree between it and other tiles, ascending.
    """

    cut: Array
    seams: Array


def choose(whole: Part, parts: Sequence[Part], tiling: Tiling) -> list[Choice]:
    """The decisions for every tile.

    Args:
        whole: The merged parts of all tiles.
        parts: The parts, in the order of ``tiling.tiles``.
        tiling: The tiles.
    """
    chosen = np.sort(np.concatenate([whole.chosen, whole.edge]))
    owners = np.stack([tiling.tile_of(end) for end in tiling.lattice.ends(chosen)])
    between = owners[0] != owners[1]
    joined, edge = owners[:, between], chosen[between]
    tile, edge = joined.ravel(), np.concatenate([edge, edge])
    order = np.lexsort([edge, tile])
    bounds = np.searchsorted(tile[order], np.arange(len(parts) + 1))
    edge = edge[order]
    return [
        Choice(np.setdiff1d(part.edge, chosen, assume_unique=True), edge[start:stop])
        for part, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True)
    ]
