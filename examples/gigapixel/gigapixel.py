"""Filters and segments an image that need not fit into memory, and shows what blocks do instead.

    python gigapixel.py                               # 1536² pixels, gigapixel.png
    python gigapixel.py --size 40000 --chunk 2048     # 1.6 billion pixels: hours, some GB of memory

It makes a mosaic of photographs, zarr in ``--folder``, filters it along its tree, floods it from
markers, and writes the result as a pyramid, each level half as wide as the one before: an OME-Zarr.
Its description is a few attributes of a group. The package ome-zarr, which writes them, too, brings
clients for S3 and the web, and of its s3fs there is none for the fsspec that is used here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
import zarr
from dask.distributed import Client, LocalCluster

import treefilter as tf
import treefilter.dask as tfd

PHOTOGRAPHS = "astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry"
AXES = "c", "y", "x"
CELL = 288
"""Sides of the photographs in the mosaic. They are no multiples of the chunks."""


def mosaic(path: Path, size: int, chunk: int) -> None:
    """(3, size, size) uint8 in zarr, row after row of chunks: photographs, each a little noisy."""
    photos = [np.moveaxis(getattr(skimage.data, name)(), 2, 0) for name in PHOTOGRAPHS]
    store = zarr.create_array(
        path, shape=(3, size, size), chunks=(3, chunk, chunk), dtype="uint8", overwrite=True
    )
    rng = np.random.default_rng(0)
    rows = np.empty((3, 0, size), np.uint8)
    for top in range(0, size, chunk):
        while rows.shape[1] < min(chunk, size - top):
            cells = [_cell(photos, rng) for _ in range(-(-size // CELL))]
            rows = np.concatenate([rows, np.concatenate(cells, 2)[..., :size]], 1)
        height = min(chunk, size - top)
        store[:, top : top + height] = rows[:, :height]
        rows = rows[:, height:]


def _cell(photos: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A part of a photograph, with a brightness of its own."""
    photo = photos[rng.integers(len(photos))]
    top, left = (rng.integers(0, side - CELL + 1) for side in photo.shape[1:])
    part = photo[:, top : top + CELL, left : left + CELL] * rng.uniform(0.7, 1)
    return (part + rng.normal(0, 4, part.shape)).clip(0, 255).astype(np.uint8)


def marked(block_info: dict | None = None) -> np.ndarray:
    """A chunk of markers: one for 96² pixels, each with its own number."""
    info = (block_info or {})[None]
    (top, bottom), (left, right) = info["array-location"]
    rows, columns = np.mgrid[top:bottom, left:right]
    here = (rows % 96 == 47) & (columns % 96 == 47)
    return np.where(here, 1 + rows // 96 * 100_000 + columns // 96, 0)


def blockwise_filter(block: np.ndarray, sigma: float) -> np.ndarray:
    """What each chunk would be alone."""
    return tf.nn.TreeFilter2d(sigma)(torch.from_numpy(block)[None])[0].numpy()


def blockwise_watershed(block: np.ndarray, markers: np.ndarray) -> np.ndarray:
    """Likewise."""
    graph = tf.grid(*markers.shape)
    weight = tf.edge_weight(torch.from_numpy(block)[None], graph)
    tree = tf.mst(weight, graph)
    return tf.watershed(weight, tree, torch.from_numpy(markers)[None])[0].numpy()


def pyramid(path: Path, value: da.Array, least: int = 256) -> int:
    """Writes an image and its halves as an OME-Zarr, ``path/0``, ``path/1``, …; says how many."""
    group = zarr.create_group(path, overwrite=True)
    level = 0
    while True:
        array = group.create_array(
            str(level),
            shape=value.shape,
            chunks=value.chunksize,
            dtype=value.dtype,
            dimension_names=AXES,
        )
        value.store(array, lock=False, compute=True)
        value = da.from_zarr(array)
        level += 1
        if max(value.shape) <= least:
            break
        halved = da.coarsen(np.mean, value, {1: 2, 2: 2}, trim_excess=True)
        value = halved.rechunk(value.chunksize)
    group.attrs["ome"] = multiscales(path.name, level)
    return level


def multiscales(name: str, levels: int) -> dict:
    """What OME-Zarr 0.5 says of a pyramid: viewers as napari find the levels by it."""
    datasets = []
    for level in range(levels):
        # The first pixel of a level is the mean of 2^level of the image, with this centre.
        scale, centre = 2.0**level, (2.0**level - 1) / 2
        moves = [
            {"type": "scale", "scale": [1.0, scale, scale]},
            {"type": "translation", "translation": [0.0, centre, centre]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    types = {"c": "channel", "y": "space", "x": "space"}
    axes = [{"name": axis, "type": types[axis]} for axis in AXES]
    image = {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}
    return {"version": "0.5", "multiscales": [image]}


def crop(value: da.Array, chunk: int) -> np.ndarray:
    """The surroundings of a corner where four chunks meet."""
    half = min(chunk, 160)
    box = slice(max(0, chunk - half), chunk + half)
    return value[..., box, box].compute()


def figure(path: Path, panels: dict[str, np.ndarray], chunk: int) -> None:
    """All panels, with the borders of chunks drawn at their edges."""
    drawing, axes = plt.subplots(2, 3, figsize=(10.5, 7.2), layout="constrained")
    for axis, (title, picture) in zip(axes.flat, panels.items(), strict=True):
        shown = axis.imshow(picture, cmap="magma" if picture.ndim == 2 else None)
        if picture.ndim == 2:
            drawing.colorbar(shown, ax=axis, fraction=0.046)
        at = min(chunk, 160) - 0.5
        axis.set(title=title, xticks=[at], yticks=[at], xticklabels=[], yticklabels=[])
        axis.tick_params(length=9, width=2, color="tab:red")
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long it took."""
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:7.1f} s  {what}", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1536, help="height and width in pixels")
    parser.add_argument("--chunk", type=int, default=512, help="height and width of the chunks")
    parser.add_argument("--sigma", type=float, default=0.05)
    parser.add_argument("--folder", type=Path, default=Path("runs/gigapixel"))
    parser.add_argument("--output", type=Path, default=Path("gigapixel.png"))
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    options = parser.parse_args()
    chunk, sigma, folder = options.chunk, options.sigma, options.folder
    if options.size <= chunk:
        parser.error(f"--size must be larger than --chunk, got {options.size} and {chunk}")
    folder.mkdir(parents=True, exist_ok=True)
    with timed(f"a mosaic of {options.size}² pixels"):
        mosaic(folder / "mosaic", options.size, chunk)
    with (
        LocalCluster(
            options.workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        image = da.from_zarr(str(folder / "mosaic")).astype(np.float32) / 255
        markers = da.map_blocks(marked, chunks=image.chunks[1:], dtype=np.int64)
        with timed("filtered, with its pyramid"):
            levels = pyramid(folder / "filtered", tfd.filter(image, sigma=sigma))
        with timed("segmented"):
            tfd.watershed(image, markers).to_zarr(str(folder / "labels"), overwrite=True)
        print(f"{folder}: mosaic, filtered/0 … {levels - 1}, labels")
        alone = image.map_blocks(blockwise_filter, sigma, dtype=np.float32)
        flooded = da.map_blocks(
            blockwise_watershed, image, markers, drop_axis=0, dtype=np.int64, meta=markers._meta
        )
        near = {
            "photographs": crop(image, chunk),
            "each block alone": crop(alone, chunk),
            "over tiles: the exact filter": crop(da.from_zarr(str(folder / "filtered/0")), chunk),
        }
        labels = {
            "watershed of each block": crop(flooded, chunk),
            "watershed over tiles": crop(da.from_zarr(str(folder / "labels")), chunk),
        }
    panels = {title: np.moveaxis(value, 0, 2) for title, value in near.items()}
    _, blocks, exact = near.values()
    panels["error of blocks"] = abs(blocks - exact).max(0)
    colours = np.random.default_rng(1).random((509, 3))
    panels |= {title: colours[value % 509] for title, value in labels.items()}
    figure(options.output, panels, chunk)
    print(options.output)


if __name__ == "__main__":
    main()
