"""The tree filter of dask arrays."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import torch
from dask.base import tokenize

from .. import tiled
from ..sigma_for_mass import check_auto
from ..tiled.filter import Sigma
from ._arrays import FLOATS, check_chunks, check_features, checked_groups, checked_sigma
from ._graph import Stage, again, tensor
from .mst import Tree, choices_of, tree_of
from .sigma_for_mass import sigma_of_tree


def filter(
    x: da.Array,
    guide: da.Array | None = None,
    *,
    sigma: float | Sequence[float] | da.Array = 1.0,
    groups: int = 1,
    metric: str = "sqeuclidean",
    connectivity: int | None = None,
    mask: da.Array | None = None,
    mass: float | None = None,
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
        sigma: σ > 0, a number, or one for each group; or a () or (groups,) dask array, which is
            computed with the filter. ``"auto"``: that of :func:`sigma_for_mass`, which reads the
            guide 16 times more.
        groups: Number of groups, as in ``TreeFilter2d``; divides the channels of x and the guide.
        metric: As for :func:`mst`.
        connectivity: Likewise.
        mask: Likewise. What is masked is its own result.
        mass: For ``sigma="auto"``: the share of the image that its pixels average over, 0.005 if
            None.
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
    check_features("filter", "x", x)
    share = check_auto("filter", sigma, mass)
    is_decided = tree is not None or share is not None
    if tree is None and guide is None:
        guide = x
    tree = tree_of("filter", guide, metric, connectivity, mask, tree)
    guide = tree.guide
    check_chunks("filter", "x", x, guide)
    if x.ndim != guide.ndim:
        raise ValueError(f"filter: x must have {guide.ndim} axes like the guide, got {x.ndim}")
    groups = checked_groups("filter", groups, x=x, guide=guide)
    if share is None:
        checked = checked_sigma("filter", sigma, groups, guide.dtype)
    else:
        checked = sigma_of_tree(tree, share, groups)
    return _filtered(x, tree, is_decided, checked, groups)


def _filtered(
    x: da.Array, tree: Tree, is_decided: bool, sigma: Sigma | da.Array, groups: int
) -> da.Array:
    """Of checked arguments. The tree's choices are made anew unless that is done."""
    guide, mask, tiling = tree.guide, tree.mask, tree.tiling
    options: dict[str, Any] = {"groups": groups, "metric": tree.metric}
    token = tokenize(x, tree, is_decided, sigma, options)

    first = Stage(f"filter-{token}", tiling)
    inputs, given = [x, guide, mask], sigma
    if isinstance(sigma, da.Array):
        inputs, given = again(sigma, *inputs), first.reads(sigma)
    chunks = [first.chunks_of(value) for value in inputs]
    both = first.each("reduce", partial(_reduce, **options), *chunks, tiling.tiles, given)
    parts, skeletons = (
        [first.one((name, i), operator.getitem, key, at) for i, key in enumerate(both)]
        for at, name in enumerate(("candidates", "skeleton"))
    )
    choices = first.reads(tree._choices) if is_decided else choices_of(first, parts, tree.metric)
    pruned = first.each("prune", partial(_prune, image=tiling.lattice), skeletons, choices)
    exchange = partial(_exchange, image=tiling.lattice, **options)
    arriving = first.one(("exchange",), exchange, pruned, choices, given)
    done = first.delayed(first.one(("decided",), _triple, choices, arriving, given))

    second = Stage(f"finish-{token}", tiling)
    read = [second.chunks_of(value) for value in again(done, x, guide, mask)]
    finish = partial(_finish, **options)
    keys = second.each("finish", finish, *read, tiling.tiles, second.reads(done))
    dtype = tiled.result_dtype(FLOATS[x.dtype], FLOATS[guide.dtype])
    return second.array(keys, torch.empty(0, dtype=dtype).numpy().dtype, x.shape[0])


def _reduce(
    x: Any, guide: Any, mask: Any, tile: Any, sigma: Any, _: int, *, groups: int, metric: str
) -> Any:
    value = _numbers(sigma)
    if value is not sigma:  # it was not known before
        checked_sigma("filter", value, groups, guide.dtype)
    options: dict[str, Any] = {"sigma": value, "groups": groups, "metric": metric}
    return tiled.reduce_tile(tensor(x), tensor(guide), tile, mask=tensor(mask), **options)


def _prune(skeleton: Any, choices: list[Any], number: int, image: tiled.Lattice) -> Any:
    return tiled.prune_tile(skeleton, choices[number], image)


def _exchange(skeletons: Any, choices: Any, sigma: Any, **options: Any) -> list[Any]:
    return tiled.exchange(skeletons, choices, sigma=_numbers(sigma), **options)


def _triple(*decided: Any) -> tuple[Any, ...]:
    return decided


def _finish(
    x: Any, guide: Any, mask: Any, tile: Any, decided: Any, number: int, **options: Any
) -> Any:
    choices, arriving, sigma = decided
    return tiled.finish(
        *(tensor(x), tensor(guide), tile, choices[number], *arriving[number]),
        sigma=_numbers(sigma),
        mask=tensor(mask),
        **options,
    ).numpy()


def _numbers(sigma: Any) -> Any:
    """What is given, or was computed, without NumPy."""
    return sigma.tolist() if isinstance(sigma, np.ndarray | np.generic) else sigma
