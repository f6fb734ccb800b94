"""Seeded watersheds of dask arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
from dask.base import tokenize

from .. import tiled
from ._arrays import check_array, check_chunks, check_features, check_mask, tiling_of
from ._graph import Stage, again, tensor


def watershed(
    guide: da.Array,
    markers: da.Array,
    *,
    metric: str = "sqeuclidean",
    connectivity: int | None = None,
    mask: da.Array | None = None,
) -> da.Array:
    """The seeded watershed of an image in chunks: exactly that of the image in one piece.

    :func:`treefilter.watershed` along the minimum spanning tree of the guide. Nothing is computed
    yet. Each chunk is read twice.

    Args:
        guide: As for :func:`mst`.
        markers: (H, W) or (D, H, W) integer dask array with the guide's chunks; 0 is no marker.
        metric: As for :func:`mst`.
        connectivity: Likewise.
        mask: Likewise.

    Returns:
        The labels, like ``markers``; 0 where no marker can be reached.

    Raises:
        ValueError: If shapes or chunks do not fit or an option is unknown. When chunks are
            computed: for NaN or infinite features where the mask is true.
        TypeError: If an argument is no dask array of its type.

    Example:
        >>> import dask.array as da, numpy as np
        >>> import treefilter.dask as tfd
        >>> guide = da.from_array(np.array([[[0.0, 0.1, 0.9, 1.0]]]), chunks=(1, 1, 2))
        >>> markers = da.from_array(np.array([[7, 0, 0, 3]]), chunks=(1, 2))
        >>> tfd.watershed(guide, markers).compute()
        array([[7, 7, 3, 3]])
    """
    check_features("watershed", "guide", guide)
    check_array("watershed", "markers", markers, "iu")
    check_mask("watershed", mask, guide)
    check_chunks("watershed", "markers", markers, guide)
    if markers.ndim != guide.ndim - 1:
        raise ValueError(
            f"watershed: markers must have shape {guide.shape[1:]}, got {markers.shape}"
        )
    tiling = tiling_of("watershed", guide, metric, connectivity)
    token = tokenize(guide, markers, mask, tiling, metric)
    first = Stage(f"watershed-{token}", tiling)
    inputs = (first.chunks_of(guide), first.chunks_of(markers), first.chunks_of(mask))
    parts = first.each("candidates", partial(_candidates, metric=metric), *inputs, tiling.tiles)
    flood = partial(tiled.flood, image=tiling.lattice, metric=metric)
    known = first.delayed(first.one(("flood",), flood, parts))

    second = Stage(f"finish-{token}", tiling)
    read = [second.chunks_of(value) for value in again(known, guide, markers, mask)]
    labels, finish = second.reads(known), partial(_finish, metric=metric)
    keys = second.each("finish", finish, *read, tiling.tiles, labels)
    return second.array(keys, markers.dtype)


def _candidates(guide: Any, markers: Any, mask: Any, tile: Any, _: int, **options: Any) -> Any:
    return tiled.flood_candidates(
        tensor(guide), tensor(markers), tile, mask=tensor(mask), **options
    )


def _finish(
    guide: Any, markers: Any, mask: Any, tile: Any, labels: Any, number: int, **options: Any
) -> Any:
    return tiled.finish_flood(
        *(tensor(guide), tensor(markers), tile, *labels[number]), mask=tensor(mask), **options
    ).numpy()
