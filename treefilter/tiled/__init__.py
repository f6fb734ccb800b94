"""Images larger than memory: exact trees, filters and watersheds, tile by tile.

Pure functions of one tile, or of what all tiles tell each other, for any engine that runs tasks;
:mod:`treefilter.dask` is a front on them for dask. Nothing is held between calls. What is passed
on are NumPy arrays, a few for each pixel at the border of a tile.

    map      each tile      candidates     reduce_tile             flood_candidates
    reduce   all tiles      merge, choose  prune_tile, exchange    flood
    finish   each tile      tree_edges     finish                  finish_flood
                            (the tree)     (its filter)            (the watershed)

The σ of a mass is found by rounds of these stages: ``weight_range`` and ``bracket``, then
``reduce_masses``, ``exchange``, ``count_masses`` and ``narrow`` while ``bracket.halvings``.

The results are those of the image in one piece: trees and labels bit by bit, filtered values to
within rounding. ``docs/tiled.md`` says why.

Example: two tiles of a small image.
    >>> import torch, treefilter as tf
    >>> from treefilter import tiled
    >>> tiling = tiled.Tiling(((6,), (4, 4)), connectivity=4)
    >>> image = torch.rand(3, 6, 8)
    >>> tiles = list(zip(tiling.tiles, image.split(4, 2)))
    >>> found = [tiled.reduce_tile(f, f, tile, sigma=0.1) for tile, f in tiles]
    >>> parts, skeletons = zip(*found)
    >>> whole = tiled.merge(parts, tiling.lattice)
    >>> choices = tiled.choose(whole, parts, tiling)
    >>> pruned = [tiled.prune_tile(s, c, tiling.lattice) for s, c in zip(skeletons, choices)]
    >>> outside = tiled.exchange(pruned, choices, tiling.lattice, sigma=0.1)
    >>> y = torch.cat([
    ...     tiled.finish(f, f, tile, choice, *arriving, sigma=0.1)
    ...     for (tile, f), choice, arriving in zip(tiles, choices, outside)
    ... ], 2)
    >>> torch.allclose(y, tf.nn.TreeFilter2d(0.1)(image[None])[0], atol=2e-6)
    True
"""

from .candidates import Part, candidates
from .edges import tree_edges
from .exchange import exchange, prune_tile
from .filter import finish, reduce_tile, result_dtype
from .geometry import Lattice, Tile, Tiling
from .reduce import Choice, choose, merge
from .sigma_for_mass import (
    Bracket,
    Range,
    bracket,
    count_masses,
    narrow,
    reduce_masses,
    weight_range,
)
from .skeleton import Skeleton
from .watershed import Flood, finish_flood, flood, flood_candidates

__all__ = [
    "Bracket",
    "Choice",
    "Flood",
    "Lattice",
    "Part",
    "Range",
    "Skeleton",
    "Tile",
    "Tiling",
    "bracket",
    "candidates",
    "choose",
    "count_masses",
    "exchange",
    "finish",
    "finish_flood",
    "flood",
    "flood_candidates",
    "merge",
    "narrow",
    "prune_tile",
    "reduce_masses",
    "reduce_tile",
    "result_dtype",
    "tree_edges",
    "weight_range",
]
