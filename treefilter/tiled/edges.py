"""Finish: the edges of the image's tree, tile by tile."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .geometry import Tile
from .local import local_tree
from .reduce import Choice


def tree_edges(
    guide: Tensor,
    tile: Tile,
    choice: Choice,
    *,
    metric: str = "sqeuclidean",
    mask: Tensor | None = None,
) -> Tensor:
    """Which edges of the image's minimum spanning tree start in a tile.

    Args:
        guide: As for :func:`candidates`.
        tile: Where it is.
        choice: The tile's, of :func:`choose`.
        metric: As for :func:`candidates`.
        mask: Likewise.

    Returns:
        (K, *tile.shape) bool. K is half the connectivity: an edge leads from its lower vertex in
        one of K directions, in the order in which :func:`treefilter.grid` numbers edges.
    """
    local = local_tree("tree_edges", guide, tile, metric, mask)
    edge = local.tree.edge[0].numpy()
    inside = np.setdiff1d(edge[edge >= 0], tile.edges_in_tile(choice.cut))
    own = np.concatenate([tile.edges_in_image(inside), choice.seams])
    direction, lower = tile.image.lower(own)
    at = lower - np.array((0,) * (3 - len(tile.offset)) + tile.offset)[:, None]
    marked = np.zeros((len(tile.image.directions), *tile.graph._box), bool)
    here = ((at >= 0) & (at < np.array(tile.graph._box)[:, None])).all(0)
    marked[(direction[here], *at[:, here])] = True
    return torch.from_numpy(marked.reshape(-1, *tile.shape))
