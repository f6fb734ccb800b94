"""What the functions require of dask arrays, all of it known before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import dask.array as da
import numpy as np
import torch

from .._checks import check_choice, check_integer, check_sigma
from ..edge_weight import METRICS
from ..graph import grid_for
from ..tiled import Tiling
from ..tiled.filter import Sigma

FLOATS = {np.dtype(t): getattr(torch, t) for t in ("float16", "float32", "float64")}


def check_array(function: str, name: str, value: Any, kinds: str) -> None:
    """TypeError or ValueError if ``value`` is no dask array of that kind with known sizes."""
    if not isinstance(value, da.Array):
        raise TypeError(f"{function}: {name} must be a dask array, got {type(value).__name__}")
    chunk = type(value._meta)
    if not issubclass(chunk, np.ndarray | np.generic) or issubclass(chunk, np.ma.MaskedArray):
        raise TypeError(
            f"{function}: {name} must have chunks that are NumPy arrays, got {chunk.__name__}"
        )
    dtype = value.dtype
    expected = {
        "f": "float16, float32 or float64",
        "iu": "an integer type up to int64",
        "b": "bool",
    }[kinds]
    if dtype.kind not in kinds or not dtype.isnative or dtype.itemsize > 8 or dtype == np.uint64:
        raise TypeError(f"{function}: {name} must have dtype {expected}, got {dtype}")
    if any(math.isnan(size) for size in value.shape):
        raise ValueError(
            f"{function}: {name} must have known sizes, got {value.shape} "
            "(compute_chunk_sizes() finds them)"
        )


def check_features(function: str, name: str, value: Any) -> None:
    """And if it is not (C, H, W) or (C, D, H, W) with all channels in a chunk."""
    check_array(function, name, value, "f")
    if value.ndim not in (3, 4):
        raise ValueError(
            f"{function}: {name} must have shape (C, H, W) or (C, D, H, W), got {value.shape}"
        )
    if value.numblocks[0] != 1:
        raise ValueError(
            f"{function}: {name} must have all channels in one chunk, got {value.chunks[0]} "
            "(rechunk({0: -1}) joins them)"
        )


def check_chunks(function: str, name: str, value: da.Array, guide: da.Array) -> None:
    """ValueError if the spatial chunks are not those of the guide."""
    chunks, expected = value.chunks[-guide.ndim + 1 :], guide.chunks[1:]
    spatial = value.ndim - (guide.ndim - 1)
    if chunks != expected or spatial not in (0, 1):
        raise ValueError(
            f"{function}: {name} must have the spatial chunks of the guide, {expected}, "
            f"got {chunks}"
        )


def check_mask(function: str, mask: Any, guide: da.Array) -> None:
    """What the masks must be, if there is one."""
    if mask is not None:
        check_array(function, "mask", mask, "b")
        if mask.ndim != guide.ndim - 1:
            raise ValueError(
                f"{function}: mask must have shape {guide.shape[1:]}, got {mask.shape}"
            )
        check_chunks(function, "mask", mask, guide)


def tiling_of(function: str, guide: da.Array, metric: str, connectivity: int | None) -> Tiling:
    """The tiles, which are the chunks."""
    check_choice(function, "metric", metric, METRICS)
    if connectivity is None:
        connectivity = 4 if guide.ndim == 3 else 6
    connectivity = check_integer(function, "connectivity", connectivity)
    try:
        tiling = Tiling(guide.chunks[1:], connectivity)
    except ValueError as error:
        raise ValueError(str(error).replace("Tiling", function, 1)) from None
    grid_for(function, tuple(map(max, tiling.chunks)), connectivity)  # a tile's numbers are int32
    return tiling


def checked_sigma(function: str, sigma: Any, groups: int, dtype: Any) -> Sigma | da.Array:
    """σ as a float, a tuple of one for each group, or a dask array of one chunk, not yet known."""
    if isinstance(sigma, da.Array):
        check_array(function, "sigma", sigma, "f")
        if sigma.shape not in ((), (groups,)):
            raise ValueError(
                f"{function}: sigma must have shape () or ({groups},), got {sigma.shape}"
            )
        return sigma.rechunk(-1)
    computed = torch.promote_types(FLOATS[np.dtype(dtype)], torch.float32)
    if isinstance(sigma, np.ndarray | torch.Tensor):
        sigma = sigma.tolist()
    if isinstance(sigma, Iterable) and not isinstance(sigma, str):
        values = tuple(check_sigma(function, s, computed) for s in sigma)
        if len(values) != groups:
            raise ValueError(
                f"{function}: sigma must be a number or one for each of {groups} groups, "
                f"got {len(values)}"
            )
        return values
    return check_sigma(function, sigma, computed)


def checked_groups(function: str, groups: Any, **arrays: da.Array) -> int:
    """The number of groups, which divides the channels of all arrays."""
    count = check_integer(function, "groups", groups)
    for name, value in arrays.items():
        if count < 1 or value.shape[0] % count:
            raise ValueError(
                f"{function}: groups must divide the channels of {name}, got {count} for "
                f"{value.shape[0]}"
            )
    return count
