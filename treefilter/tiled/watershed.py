"""Seeded watersheds over tiles.

The watershed is the minimum spanning forest that is rooted in the markers: the tree of the graph in
which all markers are one vertex. So a tile has candidates as for its tree, with its markers as one
more vertex at the border; of a zone that belongs to it, the label is known. The labels of all
border vertices follow from the candidates and the edges between tiles. With these vertices as
markers too, each tile is flooded alone, and no label changes: each is on a path of its region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..graph import graph
from ..mst import mst
from ..watershed import watershed
from .candidates import decide
from .geometry import Array, Lattice, Tile
from .local import local_tree, steiner
from .reduce import seams, weights_between


@dataclass
class Flood:
    """What is undecided of a tile's watershed; NumPy arrays, to be sent.

    Attributes:
        vertex: (n,) int64, the image's numbers of the border vertices.
        features: (C, n), the guide there.
        label: (n + m,) int64, 0 where it is not known. The m others are inside.
        ends: (2, K): what each candidate joins, as positions in ``label``.
        weight: (K,) of the candidates.
        edge: (K,) int64, their numbers in the image.
    """

    vertex: Array
    features: Array
    label: Array
    ends: Array
    weight: Array
    edge: Array


def flood_candidates(
    guide: Tensor,
    markers: Tensor,
    tile: Tile,
    *,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Flood:
    """The candidates of a tile's watershed.

    Args:
        guide: As for :func:`candidates`.
        markers: (*tile.shape) integer; 0 is no marker.
        tile: Where it is.
        metric: As for :func:`candidates`.
        mask: Likewise.
    """
    local = local_tree("watershed", guide, tile, metric, mask)
    given = markers.flatten().long()
    marked = np.flatnonzero(given.numpy())
    spanning = steiner(local, np.concatenate([local.border, marked]))
    count, border = len(spanning.vertex), spanning.at(local.border)
    united = np.arange(count)  # all markers are vertex number ``count``
    united[spanning.at(marked)] = count
    weight = local.weight[0].numpy()[spanning.edge]
    ends = united[spanning.ends]
    terminal = np.unique(np.append(united[border], count) if len(marked) else border)
    decision = decide(count + 1, ends, weight, terminal)
    left = np.flatnonzero(decision.undecided)
    labels = watershed(local.weight, local.tree, given[None])[0].numpy()

    position = np.full(count + 1, -1)
    position[border] = np.arange(len(border))
    zone = decision.zone[ends[:, left]].ravel()
    joined = position[zone]
    inside = zone == count
    joined[inside] = len(border) + np.arange(np.count_nonzero(inside))
    known = labels[spanning.vertex[spanning.ends[:, left].ravel()[inside]]]
    return Flood(
        vertex=tile.vertices_in_image(local.border),
        features=guide.flatten(1).numpy()[:, local.border],
        label=np.concatenate([given.numpy()[local.border], known]),
        ends=joined.reshape(2, -1),
        weight=weight[left],
        edge=tile.edges_in_image(spanning.edge[left]),
    )


def flood(
    parts: Sequence[Flood], image: Lattice, *, metric: str = "sqeuclidean"
) -> list[tuple[Array, Array]]:
    """The labels at the borders of all tiles.

    Args:
        parts: Of all tiles, of :func:`flood_candidates`.
        image: The numbers of the image, ``tiling.lattice``.
        metric: That of the parts.

    Returns:
        Of each tile the image's numbers of vertices, and their labels.
    """
    sizes = [len(part.vertex) for part in parts]
    first = np.cumsum([0, *(len(part.label) for part in parts)])
    placed = list(zip(parts, first, strict=False))
    vertex = np.concatenate([part.vertex for part in parts])
    if not len(vertex):
        return [(part.vertex, part.label) for part in parts]
    at = np.concatenate([np.arange(len(part.vertex)) + start for part, start in placed])
    between, number = seams(vertex, np.repeat(np.arange(len(parts)), sizes), image)
    features = np.concatenate([part.features for part in parts], 1)
    edge = np.concatenate([*(part.edge for part in parts), number])
    order = np.argsort(edge)
    ends = np.concatenate([*(part.ends + start for part, start in placed), at[between]], 1)
    weight = [*(part.weight for part in parts), weights_between(features, between, metric)]
    values = torch.from_numpy(np.concatenate(weight)[order])[None]
    tree = mst(values, graph(torch.from_numpy(ends[:, order]), int(first[-1])))
    label = np.concatenate([part.label for part in parts])
    labels = watershed(values, tree, torch.from_numpy(label)[None])[0].numpy()
    return [(part.vertex, labels[start : start + len(part.vertex)]) for part, start in placed]


def finish_flood(
    guide: Tensor,
    markers: Tensor,
    tile: Tile,
    vertex: Array,
    label: Array,
    *,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Tensor:
    """The labels of a tile, like ``markers``.

    Args:
        guide: As for :func:`candidates`.
        markers: As for :func:`flood_candidates`.
        tile: Where it is.
        vertex: The image's numbers of vertices, of :func:`flood`.
        label: Their labels.
        metric: As for :func:`candidates`.
        mask: Likewise.
    """
    local = local_tree("watershed", guide, tile, metric, mask)
    known = markers.flatten().long().clone()  # the caller keeps its own
    known[torch.from_numpy(tile.vertices_in_tile(vertex))] = torch.from_numpy(label)
    labels = watershed(local.weight, local.tree, known[None])[0]
    return labels.view(markers.shape).to(markers.dtype)
