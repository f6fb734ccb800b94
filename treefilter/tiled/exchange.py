"""Reduce of the filter: one pass up and down the skeleton of the whole image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..filter import leaf_to_root, root_to_leaf
from ..tree import Tree
from .filter import Sigma, affinities
from .geometry import Array, Lattice
from .reduce import Choice, weights_between
from .skeleton import Forest, Skeleton, add_from_children, prune, rooted, times


def prune_tile(skeleton: Skeleton, choice: Choice, image: Lattice) -> Skeleton:
    """The skeleton of a tile without what its choice decides.

    Its terminals are the vertices with edges of the tree to other tiles.
    """
    ends = image.ends(choice.seams).ravel()
    terminal = np.flatnonzero(np.isin(skeleton.vertex[skeleton.terminal], ends))
    return prune(skeleton, choice.cut, terminal)


def exchange(
    skeletons: Sequence[Skeleton],
    choices: Sequence[Choice],
    image: Lattice,
    *,
    sigma: Sigma,
    groups: int = 1,
    metric: str = "sqeuclidean",
) -> list[tuple[Array, Array]]:
    """What comes to each tile from outside.

    Args:
        skeletons: Of all tiles, of :func:`prune_tile`.
        choices: Of all tiles.
        image: The numbers of the image, ``tiling.lattice``.
        sigma: As for :func:`reduce_tile`.
        groups: Likewise.
        metric: Likewise.

    Returns:
        Of each tile the image's numbers of vertices, and (V, vertices) what comes there.
    """
    sizes = [len(part.vertex) for part in skeletons]
    first = np.cumsum([0, *sizes])
    placed = list(zip(skeletons, first, strict=False))
    terminal = np.concatenate([part.terminal + at for part, at in placed])
    vertex = np.concatenate([part.vertex for part in skeletons])[terminal]
    if not len(terminal):
        return [(vertex, part.value[:, :0]) for part in skeletons]
    between = _seams(vertex, choices, image)
    features = np.concatenate([part.features for part in skeletons], 1)
    a = _seam_affinity(features, between, sigma, groups, metric)
    value = np.concatenate([part.value for part in skeletons], 1)
    ends = np.concatenate([*(part.ends + at for part, at in placed), terminal[between]], 1)
    affinity = np.concatenate([*(part.affinity for part in skeletons), a], 1)
    nothing = np.zeros((2, len(value), between.shape[1]))
    toward = np.concatenate([*(part.toward for part in skeletons), nothing], 2)
    forest, edge = rooted(first[-1], ends, value, affinity, toward)
    is_seam = forest.child & (edge >= ends.shape[1] - between.shape[1])
    outside = _arriving(forest, is_seam)[:, terminal].numpy()
    bounds = np.cumsum([0, *(len(part.terminal) for part in skeletons)])
    return [
        (vertex[start:stop], np.ascontiguousarray(outside[:, start:stop]))
        for start, stop in itertools.pairwise(bounds)
    ]


def _seams(vertex: Array, choices: Sequence[Choice], image: Lattice) -> Array:
    """(2, K) the ends of all chosen edges between tiles, as positions in ``vertex``."""
    edge = np.unique(np.concatenate([choice.seams for choice in choices]))
    by_number = np.argsort(vertex)
    return by_number[np.searchsorted(vertex, image.ends(edge), sorter=by_number)]


def group_weights_between(
    features: Array,
    vertex: Array,
    choices: Sequence[Choice],
    image: Lattice,
    groups: int,
    metric: str,
) -> Array:
    """(G, K): of all chosen edges between tiles, for features (C, n) at ``vertex``."""
    if not len(vertex):
        return np.empty((groups, 0))
    return _weights(features, _seams(vertex, choices, image), groups, metric)


def _weights(features: Array, ends: Array, groups: int, metric: str) -> Array:
    return np.stack(
        [
            weights_between(np.ascontiguousarray(of_group), ends, metric)
            for of_group in np.split(features, groups)
        ]
    )


def _seam_affinity(features: Array, ends: Array, sigma: Sigma, groups: int, metric: str) -> Array:
    """(S · G, K) float64."""
    weight = torch.from_numpy(_weights(features, ends, groups, metric))
    star = Tree.from_parents(torch.zeros(1, ends.shape[1] + 1, dtype=torch.int32))
    padded = torch.nn.functional.pad(weight, (1, 0))
    return affinities(padded, star, sigma)[0, :, 1:].numpy()


def _arriving(forest: Forest, is_seam: Tensor) -> Tensor:
    """(V, n): the sums that come to each vertex along edges between tiles."""
    tree, a = forest.tree, forest.affinity
    below = leaf_to_root(add_from_children(forest, forest.value, forest.child), tree, a)
    rest = below + forest.down - times(a, times(a, below) + forest.up)
    full = root_to_leaf(rest, tree, a)
    child = is_seam.nonzero().flatten()
    parent = forest.parent[child]
    upwards = times(a[:, :, child], below[:, :, child])
    downwards = times(a[:, :, child], full[:, :, parent] - upwards)
    arriving = torch.zeros_like(full).index_add(2, parent, upwards)
    return arriving.index_add(2, child, downwards)[0]
