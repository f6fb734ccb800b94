"""The tree filter from zarr to zarr: in one piece, over tiles, and larger than the memory allowed.

    python gigapixel.py                # all of it; the large image has 46341² pixels, 2.1 Gpx
    python gigapixel.py --side 16384   # or fewer
    python gigapixel.py --report       # the page and the plot again

Every run is in a process of its own, with its memory watched: what it and its workers have
resident. Writes ``results/tiled.json`` after each run, and of it ``tiled.md`` and ``tiled.png``.
Processor seconds are those of all its threads and workers: other programs count less.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

import gigapixel_page
import machine
from gigapixel_page import FILE, LIMIT

SIGMA = 0.02


def make(path: str, channels: int, side: int, tile: int) -> None:
    """A uint8 mosaic of photographs in zarr, each cell with its own brightness and noise."""
    import inputs
    import numpy as np
    import zarr

    cells = inputs.photograph(1200, 1600)[0, :channels].numpy()
    store = zarr.create_array(
        path, shape=(channels, side, side), chunks=(channels, tile, tile), dtype="uint8"
    )
    rng = np.random.default_rng(inputs.SEEDS["tiles"])
    for top in range(0, side, tile):
        for left in range(0, side, tile):
            size = (min(tile, side - top), min(tile, side - left))
            cell = np.tile(cells, (1, -(-size[0] // 1200), -(-size[1] // 1600)))
            cell = np.roll(cell, rng.integers(0, 1600, 2), (1, 2))[:, : size[0], : size[1]]
            noise = rng.normal(0, 2, cell.shape).astype(np.float32)
            value = cell * (255 * rng.uniform(0.6, 1)) + noise
            store[:, top : top + size[0], left : left + size[1]] = value.clip(0, 255).astype("u1")


def whole(source: str, target: str) -> None:
    """In one piece."""
    import torch
    import zarr

    import treefilter as tf

    torch.set_num_threads(1)
    image = torch.from_numpy(zarr.open(source, mode="r")[:])[None].float() / 255
    y = tf.nn.TreeFilter2d(SIGMA)(image)[0].numpy()
    chunks = zarr.open(source, mode="r").chunks
    zarr.create_array(target, shape=y.shape, chunks=chunks, dtype=y.dtype)[:] = y


def tiles(source: str, target: str) -> None:
    """Over the tiles that are the chunks of the source, one after the other."""
    import dask
    import dask.array as da
    import torch

    import treefilter.dask as tfd

    torch.set_num_threads(1)
    with dask.config.set(scheduler="sync"):
        image = da.from_zarr(source).astype("float32") / 255
        tfd.filter(image, sigma=SIGMA).to_zarr(target)


def limited(source: str, target: str) -> None:
    """By a worker with limited memory, a process of its own with two threads."""
    import dask.array as da
    from dask.distributed import Client, LocalCluster

    import treefilter.dask as tfd

    with (
        LocalCluster(
            1, threads_per_worker=2, memory_limit=LIMIT, dashboard_address=None
        ) as cluster,
        Client(cluster),
    ):
        image = da.from_zarr(source).astype("float32") / 255
        tfd.filter(image, sigma=SIGMA).to_zarr(target)


def watched(function: str, source: str, target: str) -> dict:
    """Runs one of the above in a new process; its times, and the memory over time."""
    import psutil

    command = [sys.executable, __file__, "--run", function, source, target]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    parent, start, memory, spent = psutil.Process(process.pid), time.monotonic(), [], {}
    while process.poll() is None:
        total = 0
        try:
            for one in (parent, *parent.children(recursive=True)):
                total += one.memory_info().rss
                spent[one.pid] = sum(one.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
        memory.append((round(time.monotonic() - start, 2), total))
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"gigapixel: {' '.join(command)} failed")
    step = max(1, len(memory) // 400)
    curve = [max(memory[i : i + step], key=lambda m: m[1]) for i in range(0, len(memory), step)]
    seconds = round(time.monotonic() - start, 1)
    peak = max(m for _, m in memory)
    return {
        "seconds": seconds,
        "processor": round(sum(spent.values()), 1),
        "peak": peak,
        "memory": curve,
    }


def messages() -> dict:
    """What tiles of 1024² tell each other, in bytes for a border pixel, and what a reduce takes."""
    import pickle
    from time import process_time

    import inputs
    import torch

    from treefilter import tiled

    torch.set_num_threads(1)
    image = inputs.photograph(4096, 4096)[0]
    tiling = tiled.Tiling(((1024,) * 4,) * 2, 4)
    tiles = [
        (tile, image[:, y : y + 1024, x : x + 1024])
        for tile in tiling.tiles
        for y, x in [tile.offset]
    ]
    found = [tiled.reduce_tile(f, f, tile, sigma=SIGMA) for tile, f in tiles]
    parts, skeletons = zip(*found, strict=True)
    start = process_time()
    choices = tiled.choose(tiled.merge(parts, tiling.lattice), parts, tiling)
    merged = process_time()
    pruned = [
        tiled.prune_tile(s, c, tiling.lattice) for s, c in zip(skeletons, choices, strict=True)
    ]
    before = process_time()
    outside = tiled.exchange(pruned, choices, tiling.lattice, sigma=SIGMA)
    end = process_time()
    border = sum(len(part.vertex) for part in parts)
    sizes = {
        "candidates": parts,
        "skeleton": skeletons,
        "pruned skeleton": pruned,
        "what is decided": (choices, outside),
    }
    return {
        "bytes": {name: len(pickle.dumps(value)) / border for name, value in sizes.items()},
        "seconds": {"merge": (merged - start) / border, "exchange": (end - before) / border},
    }


def difference(first: str, second: str) -> float:
    """The largest between two stores, chunk by chunk."""
    import dask.array as da

    return float(abs(da.from_zarr(first) - da.from_zarr(second)).max().compute(scheduler="sync"))


def measure(side: int, tile: int, compared: int) -> None:
    """All runs; the file is written after each."""
    content: dict = {"machine": machine.header(), "runs": []}

    def run(title: str, function: str, source: str, side: int, tile: int, channels: int) -> str:
        target = f"{source}-{function}"
        result = watched(function, source, target)
        result |= {"title": title, "side": side, "tile": tile, "channels": channels}
        content["runs"].append(result)
        FILE.write_text(json.dumps(content) + "\n", encoding="utf-8")
        print(f"measured {title}, {side}: {result['processor']} s", file=sys.stderr)
        return target

    with tempfile.TemporaryDirectory() as folder:
        size = min(1024, compared // 2)
        source = f"{folder}/compared"
        make(source, 3, compared, size)
        one = run("in one piece", "whole", source, compared, size, 3)
        many = run("tiles", "tiles", source, compared, size, 3)
        content["difference"] = difference(one, many)
        assert content["difference"] <= 2e-6, content["difference"]
        source = f"{folder}/large"
        make(source, 1, side, tile)
        run("limited memory", "limited", source, side, tile, 1)
        for count in (1, 2, 4):
            source = f"{folder}/weak-{count}"
            make(source, 1, 1024 * count, 1024)
            run("weak scaling", "tiles", source, 1024 * count, 1024, 1)
    content["messages"] = messages()
    FILE.write_text(json.dumps(content) + "\n", encoding="utf-8")
    gigapixel_page.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=46341, help="of the large image")
    parser.add_argument("--tile", type=int, default=2048, help="of its chunks")
    parser.add_argument("--compared", type=int, default=4096, help="side of what fits")
    parser.add_argument("--report", action="store_true", help="the page and the plot again")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        function, *paths = options.run
        globals()[function](*paths)
    elif options.report:
        gigapixel_page.write()
    else:
        measure(options.side, options.tile, options.compared)


if __name__ == "__main__":
    main()
