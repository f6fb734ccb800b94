"""The σ of a mass, of dask arrays."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed

from .. import tiled
from ..sigma_for_mass import DEFAULT_MASS, check_mass
from ..tiled.sigma_for_mass import ROUNDS
from ._arrays import checked_groups
from ._graph import Stage, again, tensor
from .mst import Tree, tree_of


def sigma_for_mass(
    guide: da.Array | None = None,
    mass: float = DEFAULT_MASS,
    *,
    groups: int = 1,
    metric: str = "sqeuclidean",
    connectivity: int | None = None,
    mask: da.Array | None = None,
    tree: Tree | None = None,
) -> da.Array:
    """The σ at which the median mass of an image's pixels is a given share of the image.

    That of :func:`treefilter.sigma_for_mass` for the image in one piece, with the same tolerance, a
    relative error of 10⁻⁴. Nothing is computed yet. The 20 halvings of the bisection are done in 7
    rounds, each with the masses of 7 σ. A round reads the guide twice and takes a little longer
    than a filter of 7 channels; 16 readings in all. So find the σ of similar images once:
    ``float(tfd.sigma_for_mass(guide))`` is a number for any number of filters.

    Args:
        guide: As for :func:`mst`.
        mass: The median mass, as a share of the image's pixels, in (0, 1].
        groups: As for :func:`filter`.
        metric: As for :func:`mst`.
        connectivity: Likewise.
        mask: Likewise. What is masked is not counted.
        tree: Of :func:`mst`, in place of a guide and of its options.

    Returns:
        () dask array, or (groups,) for several groups; float64 if the guide is, else float32.
        :func:`filter` takes it as its σ.

    Raises:
        ValueError: If shapes or chunks do not fit or an option is unknown or out of range. When it
            is computed: for NaN or infinite features where the mask is true.
        TypeError: If an argument is no dask array of its type, or there are a tree and a guide.

    Example:
        >>> import dask.array as da
        >>> import treefilter.dask as tfd
        >>> image = da.random.default_rng(0).random((3, 60, 80), chunks=(3, 32, 32))
        >>> sigma = tfd.sigma_for_mass(image, mass=0.01)
        >>> tfd.filter(image, sigma=sigma).shape
        (3, 60, 80)
    """
    function = "sigma_for_mass"
    share = check_mass(function, mass)
    tree = tree_of(function, guide, metric, connectivity, mask, tree)
    groups = checked_groups(function, groups, guide=tree.guide)
    return sigma_of_tree(tree, share, groups)


def sigma_of_tree(tree: Tree, mass: float, groups: int) -> da.Array:
    """Of checked arguments."""
    token = tokenize(tree, mass, groups)
    options: dict[str, Any] = {"groups": groups, "metric": tree.metric}
    stage = Stage(f"weight-range-{token}", tree.tiling)
    choices = stage.reads(tree._choices)
    given = _tiles(stage, tree, tree._choices)
    ranges = stage.each("range", partial(_range, **options), *given, choices)
    bracket = partial(tiled.bracket, image=tree.tiling.lattice, mass=mass, **options)
    found = stage.delayed(stage.one(("bracket",), bracket, ranges, choices))
    for number in range(ROUNDS):
        found = _round(tree, found, f"{number}-{token}", options)
    dtype = np.float64 if tree.guide.dtype == np.float64 else np.float32
    last = Stage(f"sigma-{token}", tree.tiling)
    return last.small(_result, found, () if groups == 1 else (groups,), dtype)


def _tiles(stage: Stage, tree: Tree, after: Delayed) -> list[Any]:
    """Guide, mask and tile of each tile; the chunks are read when ``after`` is there."""
    chunks = [stage.chunks_of(value) for value in again(after, tree.guide, tree.mask)]
    return [*chunks, tree.tiling.tiles]


def _round(tree: Tree, bracket: Delayed, name: str, options: dict[str, Any]) -> Delayed:
    """What is left of the bracket."""
    first = Stage(f"masses-{name}", tree.tiling)
    key, choices = first.reads(bracket), first.reads(tree._choices)
    given = _tiles(first, tree, bracket)
    skeletons = first.each("skeleton", partial(_masses, **options), *given, choices, key)
    exchange = partial(_exchange, image=tree.tiling.lattice, **options)
    arriving = first.delayed(first.one(("exchange",), exchange, skeletons, choices, key))

    second = Stage(f"counts-{name}", tree.tiling)
    key, choices = second.reads(bracket), second.reads(tree._choices)
    outside = second.reads(arriving)
    given = _tiles(second, tree, arriving)
    counts = second.each("count", partial(_counts, **options), *given, choices, key, outside)
    return second.delayed(second.one(("narrow",), tiled.narrow, key, counts))


def _range(
    guide: Any, mask: Any, tile: Any, choices: list[Any], number: int, **options: Any
) -> tiled.Range:
    return tiled.weight_range(tensor(guide), tile, choices[number], mask=tensor(mask), **options)


def _masses(
    guide: Any, mask: Any, tile: Any, choices: list[Any], bracket: Any, number: int, **options: Any
) -> tiled.Skeleton:
    given = (tensor(guide), tile, choices[number], bracket)
    return tiled.reduce_masses(*given, mask=tensor(mask), **options)


def _exchange(skeletons: Any, choices: Any, bracket: tiled.Bracket, **options: Any) -> list[Any]:
    return tiled.exchange(skeletons, choices, sigma=bracket.sigmas, **options)


def _counts(
    guide: Any,
    mask: Any,
    tile: Any,
    choices: list[Any],
    bracket: Any,
    outside: list[Any],
    number: int,
    **options: Any,
) -> np.ndarray:
    given = (tensor(guide), tile, choices[number], *outside[number], bracket)
    return tiled.count_masses(*given, mask=tensor(mask), **options)


def _result(bracket: tiled.Bracket) -> np.ndarray:
    sigma = bracket.sigma
    return sigma if len(sigma) > 1 else sigma[0]
