"""The σ of a mass over tiles: the bisection of :func:`treefilter.sigma_for_mass`, in rounds.

    once     each tile    weight_range
             all tiles    bracket
    round    each tile    reduce_masses     a skeleton, with the masses of several σ
             all tiles    exchange
             each tile    count_masses
             all tiles    narrow

One halving needs the masses of one σ, and they are a filter of ones along the tree of the image.
Which σ the next one needs depends on the result. A round has all σ of three halvings, seven for
each group, so that few rounds read the image. The values are those of the bisection in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..filter import filter as tree_filter
from ..sigma_for_mass import STEPS, interval, sigma_of
from .exchange import group_weights_between, prune_tile
from .filter import cut_affinities, group_weight, reduce_tile
from .geometry import Array, Lattice, Tile
from .local import local_tree
from .reduce import Choice
from .skeleton import Skeleton

_HALVINGS = 3  # in a round; more need fewer rounds, and memory for twice as many masses each
ROUNDS = -(-STEPS // _HALVINGS)


@dataclass
class Range:
    """What a tile knows of the weights of the image's tree; NumPy arrays, to be sent.

    Attributes:
        smallest: (G,) of the positive finite weights of edges in the tile, +inf without any.
        largest: (G,) of these, 0 without any.
        pixels: How many of its vertices are in the image.
        vertex: (n,) int64, the image's numbers of its vertices with edges of the tree to others.
        features: (C, n), the guide there.
    """

    smallest: Array
    largest: Array
    pixels: int
    vertex: Array
    features: Array


@dataclass
class Bracket:
    """Between which powers of two the σ of each group is.

    Attributes:
        low: (G,) log₂ of a σ that is too small.
        high: (G,) log₂ of one that is large enough.
        target: The mass that half of the image's vertices shall have.
        pixels: How many vertices these are.
        halvings: How many are to be done.
        dtype: That of σ.
    """

    low: Array
    high: Array
    target: float
    pixels: int
    halvings: int
    dtype: torch.dtype

    @property
    def bounds(self) -> Array:
        """(S + 2, G): log₂ of the ends, and of all σ that the next round may need."""
        bounds = np.stack([self.low, self.high])
        for _ in range(min(_HALVINGS, self.halvings)):
            finer = np.empty((2 * len(bounds) - 1, bounds.shape[1]))
            finer[::2], finer[1::2] = bounds, (bounds[:-1] + bounds[1:]) / 2
            bounds = finer
        return bounds

    @property
    def sigmas(self) -> tuple[float, ...]:
        """(S · G) σ of the next round, for all groups before the next σ."""
        return tuple(self._sigma(self.bounds[1:-1]).ravel().tolist())

    @property
    def sigma(self) -> Array:
        """(G,): the result, when no halvings are left."""
        return self._sigma(self.high)

    def _sigma(self, exponent: Array) -> Array:
        return sigma_of(torch.from_numpy(exponent), self.dtype).numpy()


def weight_range(
    guide: Tensor,
    tile: Tile,
    choice: Choice,
    *,
    groups: int = 1,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Range:
    """What the bisection has to know of a tile.

    Args:
        guide: As for :func:`candidates`.
        tile: Where it is.
        choice: The tile's, of :func:`choose`.
        groups: As for :func:`reduce_tile`.
        metric: As for :func:`candidates`.
        mask: Likewise.
    """
    local = local_tree("sigma_for_mass", guide, tile, metric, mask)
    edge = local.tree.edge[0].numpy()
    inside = np.setdiff1d(edge[edge >= 0], tile.edges_in_tile(choice.cut))
    weight = group_weight(local, guide, groups, metric, mask)[:, torch.from_numpy(inside)]
    vertex = tile.vertices_in_image(local.border)
    joined = np.isin(vertex, tile.image.ends(choice.seams).ravel())
    return Range(
        *_extremes(weight.numpy()),
        pixels=tile.graph.num_nodes if mask is None else int(mask.sum()),
        vertex=vertex[joined],
        features=guide.flatten(1).numpy()[:, local.border[joined]],
    )


def _extremes(weight: Array) -> tuple[Array, Array]:
    """(G,) the smallest and the largest of positive finite weights (G, E)."""
    positive = (weight > 0) & np.isfinite(weight)
    smallest = np.where(positive, weight, math.inf).min(1, initial=math.inf)
    return smallest, np.where(positive, weight, 0).max(1, initial=0)


def bracket(
    ranges: Sequence[Range],
    choices: Sequence[Choice],
    image: Lattice,
    *,
    mass: float,
    groups: int = 1,
    metric: str = "sqeuclidean",
) -> Bracket:
    """Where σ is before the first round: in the interval of the image in one piece.

    Args:
        ranges: Of all tiles.
        choices: Of all tiles.
        image: The numbers of the image, ``tiling.lattice``.
        mass: As for :func:`treefilter.sigma_for_mass`.
        groups: As for :func:`weight_range`.
        metric: Likewise.
    """
    vertex = np.concatenate([part.vertex for part in ranges])
    features = np.concatenate([part.features for part in ranges], 1)
    between = group_weights_between(features, vertex, choices, image, groups, metric)
    smallest, largest = (
        torch.from_numpy(np.stack(values))
        for values in zip(
            _extremes(between), *((part.smallest, part.largest) for part in ranges), strict=True
        )
    )
    low, high = interval(smallest.amin(0), largest.amax(0), int(image.box.prod()))
    pixels = sum(part.pixels for part in ranges)
    dtype = torch.float64 if features.dtype == np.float64 else torch.float32
    return Bracket(low.numpy(), high.numpy(), mass * pixels, pixels, STEPS, dtype)


def reduce_masses(
    guide: Tensor,
    tile: Tile,
    choice: Choice,
    bracket: Bracket,
    *,
    groups: int = 1,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Skeleton:
    """The pruned skeleton of a tile with the masses of a round, for :func:`exchange`.

    Args:
        guide: As for :func:`candidates`.
        tile: Where it is.
        choice: The tile's, of :func:`choose`.
        bracket: Where σ is known to be.
        groups: As for :func:`weight_range`.
        metric: Likewise.
        mask: Likewise.
    """
    sigma = bracket.sigmas
    _, skeleton = reduce_tile(
        *(guide[:0], guide, tile), sigma=sigma, groups=groups, metric=metric, mask=mask
    )
    return prune_tile(skeleton, choice, tile.image)


def count_masses(
    guide: Tensor,
    tile: Tile,
    choice: Choice,
    vertex: Array,
    outside: Array,
    bracket: Bracket,
    *,
    groups: int = 1,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Array:
    """(S · G,) int64: for how many vertices of a tile each σ of a round is large enough.

    Args:
        guide: As for :func:`candidates`.
        tile: Where it is.
        choice: The tile's, of :func:`choose`.
        vertex: The image's numbers of the vertices where something comes from outside.
        outside: (S · G, len(vertex)) what comes: both are the tile's, of :func:`exchange`.
        bracket: That of :func:`reduce_masses`.
        groups: As for :func:`weight_range`.
        metric: Likewise.
        mask: Likewise.
    """
    local = local_tree("sigma_for_mass", guide, tile, metric, mask)
    at = torch.from_numpy(tile.vertices_in_tile(vertex))
    given = (local, guide, choice, bracket.sigmas, groups, metric, mask)
    counts = []
    for a, arriving in zip(cut_affinities(*given), torch.from_numpy(outside), strict=True):
        values = torch.ones(1, 1, local.tree.num_nodes, dtype=torch.float64)
        values[0, 0, at] += arriving
        large = tree_filter(values, local.tree, a, normalize=False)[0, 0] >= bracket.target
        counts.append(int((large if mask is None else large & mask.flatten()).sum()))
    return np.array(counts)


def narrow(bracket: Bracket, counts: Sequence[Array]) -> Bracket:
    """What is left after a round.

    Args:
        bracket: That of the round.
        counts: Of all tiles, of :func:`count_masses`.
    """
    bounds = bracket.bounds
    group = np.arange(bounds.shape[1])
    enough = 2 * np.sum(counts, 0).reshape(-1, len(group)) > bracket.pixels
    low, high = np.zeros_like(group), np.full_like(group, len(bounds) - 1)
    halvings = min(_HALVINGS, bracket.halvings)
    for _ in range(halvings):
        middle = (low + high) // 2
        large = enough[middle - 1, group]
        low, high = np.where(large, low, middle), np.where(large, middle, high)
    left = bracket.halvings - halvings
    return replace(bracket, low=bounds[low, group], high=bounds[high, group], halvings=left)
