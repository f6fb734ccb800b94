"""The tree filter of dask arrays."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import torch
from dask.base import tokenize

from .. import tiled
from ._arrays import (
    FLOATS,
    check_chunks,
    check_features,
    check_mask,
    checked_groups,
    checked_sigma,
    tiling_of,
)
from ._graph import Stage, again, tensor
from .mst import Tree, choices_of


def filter(
    x: da.Array,
    guide: da.Array | None = None,
    *,
    sigma: float | Sequence[float] = 1.0,
    groups: int = 1,
    metric: str = "sqeuclidean",
    connectivity: int | None = None,
    mask: da.Array | None = None,
    tree: Tree | None = None,
) -> da.Array:
    """The tree filter of an image in chunks: that of the image in one piece.

    y_i = Σ_j A_ij x_j / Σ_j A_ij over all pixels j of the image, as
    :class:`treefilter.nn.TreeFilter2d` has it, to within rounding. The bits do not depend on the
    scheduler or the number of workers. Nothing is computed yet. Each chunk of x and of the guide is
    read twice, once to tell the others what is in it and once to finish it; where computing them
    takes long, ``persist`` them first.

    Args:
        x: (C, H, W) or (C, D, H, W) dask array, floating point, all channels in one chunk.
        guide: (Cg, H, W) or (Cg, D, H, W), with the chunks of x along these axes; x itself if
            neither a guide nor a tree is given.
        sigma: σ > 0, a number, or one for each group.
        groups: Number of groups, as in ``TreeFilter2d``; divides the channels of x and the guide.
        metric: As for :func:`mst`.
        connectivity: Likewise.
        mask: Likewise. What is masked is its own result.
        tree: Of :func:`mst`, in place of a guide and of its options.

    Returns:
        Like ``x``, with its chunks; float64 if the guide is and ``x`` has not 16 bits.

    Raises:
        ValueError: If shapes or chunks do not fit, or an option is unknown or out of range. When
            chunks are computed: for NaN or infinite features where the mask is true.
        TypeError: If an argument is no dask array of its type, or there are a tree and a guide.

    Example:
        >>> import dask.array as da
        >>> import treefilter.dask as tfd
        >>> image = da.random.default_rng(0).random((3, 60, 80), chunks=(3, 32, 32))
        >>> tfd.filter(image, sigma=0.05).compute().shape
        (3, 60, 80)
    """
    guide, mask, metric, tiling = _topology(x, guide, metric, connectivity, mask, tree)
    groups = checked_groups("filter", groups, x=x, guide=guide)
    options: dict[str, Any] = {
        "sigma": checked_sigma("filter", sigma, groups, guide),
        "groups": groups,
        "metric": metric,
    }
    token = tokenize(x, guide, mask, tiling, options, tree)
    first = Stage(f"filter-{token}", tiling)
    inputs = (first.chunks_of(x), first.chunks_of(guide), first.chunks_of(mask))
    both = first.each("reduce", partial(_reduce, **options), *inputs, tiling.tiles)
    parts, skeletons = (
        first.each(name, operator.getitem, both, [i] * len(both))
        for i, name in enumerate(("candidates", "skeleton"))
    )
    key = choices_of(first, parts, metric) if tree is None else first.reads(tree._choices)
    choices = first.item_of("choice", key)
    prune = partial(tiled.prune_tile, image=tiling.lattice)
    pruned = first.each("prune", prune, skeletons, choices)
    exchange = partial(tiled.exchange, image=tiling.lattice, **options)
    arriving = first.one(("exchange",), exchange, pruned, choices)
    done = first.delayed(first.one(("decided",), _pair, choices, arriving))

    second = Stage(f"finish-{token}", tiling)
    decided = second.item_of("outside", second.reads(done))
    read = [second.chunks_of(value) for value in again(done, x, guide, mask)]
    keys = second.each("finish", partial(_finish, **options), *read, tiling.tiles, decided)
    dtype = tiled.result_dtype(FLOATS[x.dtype], FLOATS[guide.dtype])
    return second.array(keys, torch.empty(0, dtype=dtype).numpy().dtype, x.shape[0])


def _topology(
    x: da.Array,
    guide: da.Array | None,
    metric: str,
    connectivity: int | None,
    mask: da.Array | None,
    tree: Tree | None,
) -> tuple[da.Array, da.Array | None, str, tiled.Tiling]:
    """Guide, mask, metric and tiles, of the arguments or of a tree."""
    check_features("filter", "x", x)
    if tree is None:
        guide = x if guide is None else guide
        check_features("filter", "guide", guide)
        check_mask("filter", mask, guide)
        tiling = tiling_of("filter", guide, metric, connectivity)
    elif not isinstance(tree, Tree):
        raise TypeError(f"filter: tree must be of treefilter.dask.mst, got {type(tree).__name__}")
    elif guide is not None or mask is not None or connectivity is not None:
        raise TypeError(
            "filter: tree must be given without a guide, mask or connectivity, got both"
        )
    else:
        guide, mask, metric, tiling = tree.guide, tree.mask, tree.metric, tree.tiling
    check_chunks("filter", "x", x, guide)
    if x.ndim != guide.ndim:
        raise ValueError(f"filter: x must have {guide.ndim} axes like the guide, got {x.ndim}")
    return guide, mask, metric, tiling


def _reduce(x: Any, guide: Any, mask: Any, tile: tiled.Tile, **options: Any) -> Any:
    return tiled.reduce_tile(tensor(x), tensor(guide), tile, mask=tensor(mask), **options)


def _finish(x: Any, guide: Any, mask: Any, tile: tiled.Tile, decided: Any, **options: Any) -> Any:
    choice, (vertex, outside) = decided
    return tiled.finish(
        *(tensor(x), tensor(guide), tile, choice, vertex, outside), mask=tensor(mask), **options
    ).numpy()


def _pair(choices: list[Any], arriving: list[Any]) -> list[Any]:
    return list(zip(choices, arriving, strict=True))
