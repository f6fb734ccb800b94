"""Minimum spanning trees of dask arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import persist, tokenize
from dask.delayed import Delayed

from .. import tiled
from ._arrays import check_features, check_mask, tiling_of
from ._graph import Key, Stage, again, tensor


@dataclass(frozen=True, eq=False)
class Tree:
    """The minimum spanning tree of an image, in parts; made by :func:`mst`.

    It is lazy, and holds for each chunk what the others decide about its edges. What is inside of a
    chunk is found again from the guide when it is needed.

    Attributes:
        guide: The guide.
        mask: Where there is an image, or None.
        metric: That of the edge weights.
        tiling: The chunks as tiles, with the connectivity.
        edges: (K, *shape) bool dask array: the tree's edges. Each leads from its lower vertex in
            one of K directions, in the order of :func:`treefilter.grid`; K is half the
            connectivity. Chunks as those of the guide.
    """

    guide: da.Array
    mask: da.Array | None
    metric: str
    tiling: tiled.Tiling
    _choices: Delayed

    @property
    def edges(self) -> da.Array:
        """See above."""
        stage = Stage(f"edges-{tokenize(self._choices)}", self.tiling)
        given = [stage.chunks_of(of) for of in again(self._choices, self.guide, self.mask)]
        choices = stage.reads(self._choices)
        edges = partial(_edges, metric=self.metric)
        keys = stage.each("edges", edges, *given, self.tiling.tiles, choices)
        return stage.array(keys, bool, len(self.tiling.lattice.directions))

    def persist(self, **options: Any) -> Tree:
        """The same tree, whose choices are computed now; ``options`` as for ``dask.persist``."""
        (choices,) = persist(self._choices, **options)
        return replace(self, _choices=choices)


def mst(
    guide: da.Array,
    *,
    metric: str = "sqeuclidean",
    connectivity: int | None = None,
    mask: da.Array | None = None,
) -> Tree:
    """The minimum spanning tree of an image in chunks: exactly that of the image in one piece.

    Nothing is computed yet. Each chunk of the guide is read once for the decisions, and once more
    for whatever is done with the tree.

    Args:
        guide: (C, H, W) or (C, D, H, W) dask array, floating point, all channels in one chunk.
        metric: As for :func:`treefilter.edge_weight`.
        connectivity: 4 (default) or 8 for images, 6 (default) or 26 for volumes.
        mask: (H, W) or (D, H, W) bool dask array with the guide's chunks: false where there is no
            image. Such a pixel has no edges.

    Returns:
        The tree. :func:`filter` takes it in place of a guide.

    Raises:
        ValueError: If shapes or chunks do not fit or an option is unknown. When chunks are
            computed: for NaN or infinite features where the mask is true.
        TypeError: If an argument is no dask array of its type.

    Example:
        >>> import dask.array as da
        >>> import treefilter.dask as tfd
        >>> guide = da.random.default_rng(0).random((3, 60, 80), chunks=(3, 32, 32))
        >>> tree = tfd.mst(guide)
        >>> int(tree.edges.sum().compute())
        4799
    """
    return _mst("mst", guide, metric, connectivity, mask)


def _mst(
    function: str, guide: da.Array, metric: str, connectivity: int | None, mask: da.Array | None
) -> Tree:
    check_features(function, "guide", guide)
    check_mask(function, mask, guide)
    tiling = tiling_of(function, guide, metric, connectivity)
    stage = Stage(f"mst-{tokenize(guide, mask, tiling, metric)}", tiling)
    parts = stage.each(
        "candidates",
        partial(_candidates, metric=metric),
        *(stage.chunks_of(guide), stage.chunks_of(mask), tiling.tiles),
    )
    choices = choices_of(stage, parts, metric)
    return Tree(guide, mask, metric, tiling, stage.delayed(choices))


def tree_of(
    function: str,
    guide: da.Array | None,
    metric: str,
    connectivity: int | None,
    mask: da.Array | None,
    tree: Tree | None,
) -> Tree:
    """The tree that is given, or that of a guide."""
    if tree is None:
        if guide is None:
            raise TypeError(f"{function}: guide must be a dask array, or there must be a tree")
        return _mst(function, guide, metric, connectivity, mask)
    if not isinstance(tree, Tree):
        raise TypeError(
            f"{function}: tree must be of treefilter.dask.mst, got {type(tree).__name__}"
        )
    if guide is not None or mask is not None or connectivity is not None:
        raise TypeError(
            f"{function}: tree must be given without a guide, mask or connectivity, got both"
        )
    if metric not in ("sqeuclidean", tree.metric):
        raise ValueError(
            f"{function}: metric must be that of the tree, {tree.metric}, got {metric!r}"
        )
    return tree


def choices_of(stage: Stage, parts: list[Key], metric: str) -> Key:
    """The decisions of all tiles, from their candidates."""
    tiling = stage.tiling
    merge = partial(tiled.merge, image=tiling.lattice, metric=metric)
    whole = stage.merged("merge", parts, merge)
    return stage.one(("choose",), partial(tiled.choose, tiling=tiling), whole, parts)


def _candidates(guide: Any, mask: Any, tile: tiled.Tile, _: int, *, metric: str) -> tiled.Part:
    return tiled.candidates(tensor(guide), tile, metric=metric, mask=tensor(mask))


def _edges(
    guide: Any, mask: Any, tile: tiled.Tile, choices: list[Any], number: int, *, metric: str
) -> np.ndarray:
    options: dict[str, Any] = {"metric": metric, "mask": tensor(mask)}
    return tiled.tree_edges(tensor(guide), tile, choices[number], **options).numpy()
