"""Map and finish of the tree filter: what a tile tells the others, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..affinity import affinity as affinity_of
from ..filter import filter as tree_filter
from ..filter import leaf_to_root
from ..tree import Tree
from .candidates import Part, candidates_of
from .geometry import Array, Tile
from .local import LocalTree, Steiner, local_tree, steiner, tile_weight
from .reduce import Choice
from .skeleton import Forest, Skeleton, contract, kept_vertices

Sigma = float | Sequence[float]
# Channels that are filtered at a time: their float64 copies are most of the memory of a tile.
_CHANNELS = 4


def reduce_tile(
    x: Tensor,
    guide: Tensor,
    tile: Tile,
    *,
    sigma: Sigma,
    groups: int = 1,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> tuple[Part, Skeleton]:
    """All that other tiles need of a tile: its candidates, and its skeleton.

    Args:
        x: (C, *tile.shape) floating point: what is filtered.
        guide: As for :func:`candidates`.
        tile: Where it is.
        sigma: Positive: a number, or one for each group. Several for each, σ after σ, filter with
            each of them; then ``x`` has channels for all of these groups.
        groups: As for :class:`treefilter.nn.TreeFilter2d`: divides the channels of both.
        metric: As for :func:`candidates`.
        mask: Likewise.
    """
    local = local_tree("filter", guide, tile, metric, mask)
    spanning = steiner(local, local.border)
    part = candidates_of(local, guide, spanning)
    count = groups if isinstance(sigma, float | int) else len(sigma)
    if not len(spanning.vertex):
        return part, _nothing(part, len(x) + count, count)
    at = torch.from_numpy(spanning.vertex)
    along, sums = [], []
    affinities = _affinities(local, guide, sigma, groups, metric, mask)
    for a, channels in zip(affinities, _split(x, count), strict=True):
        along.append(a[:, at])
        a[:, at] = 0  # what hangs from these vertices does not contain what hangs from others
        sums += [leaf_to_root(of, local.tree, a)[:, :, at] for of, _ in _values(channels)]
    value = torch.cat(sums, 1)
    tree = Tree.from_parents(torch.from_numpy(spanning.parent)[None])
    nothing = torch.zeros_like(value)
    forest = Forest(tree, value, torch.stack(along, 1), nothing, nothing)
    return part, _skeleton(local, spanning, part, forest)


def _nothing(part: Part, values: int, groups: int) -> Skeleton:
    """The skeleton of a tile without neighbours."""
    none, affinity = np.empty(0, np.int64), np.empty((groups, 0))
    value, ends = np.empty((values, 0)), np.empty((2, 0), np.int64)
    toward = np.empty((2, values, 0))
    return Skeleton(none, none, part.features, value, ends, none, affinity, toward)


def _skeleton(local: LocalTree, spanning: Steiner, part: Part, forest: Forest) -> Skeleton:
    """The tile's skeleton, of the forest that spans its border."""
    candidate = local.tile.edges_in_tile(part.edge)
    border = spanning.at(local.border)
    ends = spanning.ends[:, np.searchsorted(spanning.edge, candidate)]
    whole = torch.ones(len(spanning.vertex), dtype=torch.bool)
    terminal = torch.from_numpy(np.concatenate([border, ends.ravel()]))
    keep = kept_vertices(forest.tree, whole, terminal)
    chains = contract(forest, whole, keep, forest.value)
    kept = keep.nonzero().flatten()
    position = torch.full((len(whole),), -1)
    position[kept] = torch.arange(len(kept))
    # The edge from each lower end upwards is a candidate or the first of a path without one.
    lower = spanning.vertex[chains.child.numpy()]
    edge = local.ends[1][lower].astype(np.int64)
    number = np.full(len(edge), -1)
    is_candidate = np.isin(edge, candidate)
    number[is_candidate] = local.tile.edges_in_image(edge[is_candidate])
    return Skeleton(
        vertex=local.tile.vertices_in_image(spanning.vertex[kept.numpy()]),
        terminal=position.numpy()[border],
        features=part.features,
        value=forest.value[0][:, kept].numpy(),
        ends=torch.stack([position[chains.child], position[chains.parent]]).numpy(),
        edge=number,
        affinity=chains.affinity,
        toward=chains.toward,
    )


def finish(
    x: Tensor,
    guide: Tensor,
    tile: Tile,
    choice: Choice,
    vertex: Array,
    outside: Array,
    *,
    sigma: Sigma,
    groups: int = 1,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Tensor:
    """The filtered tile.

    Args:
        x: As for :func:`reduce_tile`.
        guide: Likewise.
        tile: Where it is.
        choice: The tile's, of :func:`choose`.
        vertex: The image's numbers of the vertices where something comes from outside.
        outside: (V, len(vertex)) what comes: both are the tile's, of :func:`exchange`.
        sigma: As for :func:`reduce_tile`.
        groups: Likewise.
        metric: Likewise.
        mask: Likewise.

    Returns:
        Like ``x``; in float64 if the guide is and ``x`` has not 16 bits.
    """
    count = groups if isinstance(sigma, float | int) else len(sigma)
    local = local_tree("filter", guide, tile, metric, mask)
    at = torch.from_numpy(tile.vertices_in_tile(vertex))
    arriving = torch.from_numpy(outside)
    out = torch.empty(x.shape, dtype=result_dtype(x.dtype, guide.dtype))
    done, mass = 0, torch.empty(0)
    affinities = cut_affinities(local, guide, choice, sigma, groups, metric, mask)
    for a, channels, result in zip(affinities, _split(x, count), _split(out, count), strict=True):
        first = 0
        for values, with_mass in _values(channels):
            values[0, :, at] += arriving[done : done + values.shape[1]]
            done += values.shape[1]
            sums = tree_filter(values, local.tree, a, normalize=False)[0]
            if with_mass:
                mass, sums = sums[0], sums[1:]
            result[first : first + len(sums)] = sums / mass
            first += len(sums)
    return out


def result_dtype(x: torch.dtype, guide: torch.dtype) -> torch.dtype:
    """Of the filter's result, as for :class:`treefilter.nn.TreeFilter2d`."""
    if x.itemsize == 2 or guide != torch.float64:
        return x
    return torch.float64


def cut_affinities(
    local: LocalTree,
    guide: Tensor,
    choice: Choice,
    sigma: Sigma,
    groups: int,
    metric: str,
    mask: Tensor | None,
) -> Iterator[Tensor]:
    """Those of :func:`_affinities`, 0 at the candidates that are not in the image's tree."""
    cut = torch.zeros(local.weight.shape[1] + 1, dtype=torch.bool)
    cut[torch.from_numpy(local.tile.edges_in_tile(choice.cut))] = True
    is_cut = cut[local.tree.edge.long()]  # of a root the edge is −1, and the last entry
    for a in _affinities(local, guide, sigma, groups, metric, mask):
        yield a.masked_fill_(is_cut, 0)


def _affinities(
    local: LocalTree, guide: Tensor, sigma: Sigma, groups: int, metric: str, mask: Tensor | None
) -> Iterator[Tensor]:
    """(1, N) float64 for each σ and group, with the values that the image in one piece has."""
    weight = group_weight(local, guide, groups, metric, mask)
    sigmas = [sigma] * groups if isinstance(sigma, float | int) else sigma
    for i, one in enumerate(sigmas):
        yield affinities(weight[i % groups][None], local.tree, one)[0]


def group_weight(
    local: LocalTree, guide: Tensor, groups: int, metric: str, mask: Tensor | None
) -> Tensor:
    """(G, E) weights of a tile's edges."""
    if groups == 1:
        return local.weight
    return tile_weight(guide.unflatten(0, (groups, -1)), local.tile, metric, mask)


def affinities(weight: Tensor, tree: Tree, sigma: Sigma) -> Tensor:
    """(1, S·G, N) float64 of weights (G, E): S is how many σ each group has."""
    if isinstance(sigma, float | int):
        return affinity_of(weight[None], tree, sigma).double()
    repeated = weight.repeat(len(sigma) // len(weight), 1)
    return affinity_of(repeated[None], tree, weight.new_tensor(sigma)).double()


def _split(x: Tensor, groups: int) -> Tensor:
    """(C, *shape) to (groups, C / groups, N), where C may be 0."""
    flat = x.flatten(1)
    return flat.view(groups, len(flat) // groups, flat.shape[1])


def _values(channels: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """Of a group (C, N): (1, k, N) float64 values, and whether a mass comes first.

    The values are ones and the channels, a few at a time.
    """
    for first in range(0, max(1, len(channels)), _CHANNELS):
        piece, with_mass = channels[first : first + _CHANNELS], first == 0
        size = (1, len(piece) + with_mass, channels.shape[1])
        values = piece.new_ones(size, dtype=torch.float64)
        values[0, int(with_mass) :] = piece
        yield values, with_mass
