"""Draw the picture of the page on tiles: what each step of the filter knows of an image.

python docs/tiled.py --output docs/tiled.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from treefilter import tiled

CROP = slice(24, 132), slice(120, 264)  # of the photograph
TILE = 36
SIGMA = 0.02
INK, LINE, CANDIDATE, SEAM = "#1d2733", "#7fd4ff", "#ff5c5c", "#ffd23f"


def parts_of(image: torch.Tensor) -> dict:
    """What the steps of a filter of ``image`` (C, H, W) give."""
    chunks = tuple((TILE,) * (size // TILE) for size in image.shape[1:])
    tiling = tiled.Tiling(chunks, 4)
    pieces = [
        image[:, y : y + TILE, x : x + TILE] for y, x in (tile.offset for tile in tiling.tiles)
    ]
    pairs = list(zip(tiling.tiles, pieces, strict=True))
    found = [tiled.reduce_tile(f, f, tile, sigma=SIGMA) for tile, f in pairs]
    parts, skeletons = zip(*found, strict=True)
    choices = tiled.choose(tiled.merge(parts, tiling.lattice), parts, tiling)
    pruned = [
        tiled.prune_tile(part, choice, tiling.lattice)
        for part, choice in zip(skeletons, choices, strict=True)
    ]
    outside = tiled.exchange(pruned, choices, tiling.lattice, sigma=SIGMA)
    result = np.empty(image.shape, np.float32)
    for (tile, f), choice, came in zip(pairs, choices, outside, strict=True):
        (y, x), done = tile.offset, tiled.finish(f, f, tile, choice, *came, sigma=SIGMA)
        result[:, y : y + TILE, x : x + TILE] = done
    seams = np.unique(np.concatenate([choice.seams for choice in choices]))
    return {
        "tiling": tiling,
        "skeletons": skeletons,
        "pruned": pruned,
        "seams": seams,
        "result": result,
    }


def lines(lattice: tiled.Lattice, ends: np.ndarray) -> np.ndarray:
    """(K, 2, 2): x and y of both ends (2, K), numbers of vertices."""
    _, y, x = lattice.coordinates(ends.ravel())
    return np.stack([x, y], -1).reshape(*ends.shape, 2).transpose(1, 0, 2)


def draw_skeletons(axes: Axes, lattice: tiled.Lattice, skeletons: list) -> None:
    """Contracted paths, and candidates."""
    for part in skeletons:
        where = lines(lattice, part.vertex[part.ends])
        paths, candidates = where[part.edge < 0], where[part.edge >= 0]
        axes.add_collection(LineCollection(paths, colors=LINE, linewidths=0.5))
        axes.add_collection(LineCollection(candidates, colors=CANDIDATE, linewidths=1.6))


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    photo = skimage.data.chelsea()[CROP]
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255
    found = parts_of(image)
    lattice = found["tiling"].lattice
    titles = "tiles", "map: what each tells", "reduce: what is decided", "finish: no borders"
    figure = Figure(figsize=(11.2, 2.45), facecolor="white")
    for i, title in enumerate(titles):
        axes = figure.add_axes((0.004 + i * 0.249, 0.01, 0.245, 0.87))
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, color=INK, size=10, pad=4)
        shown = photo if i == 0 else photo // 4
        axes.imshow(shown if i < 3 else found["result"].transpose(1, 2, 0).clip(0, 1))
        if i == 1:
            draw_skeletons(axes, lattice, found["skeletons"])
        if i == 2:
            draw_skeletons(axes, lattice, found["pruned"])
            between = lines(lattice, lattice.ends(found["seams"]))
            axes.add_collection(LineCollection(between, colors=SEAM, linewidths=1.8))
        if i < 3:
            for at in range(TILE, photo.shape[0], TILE):
                axes.axhline(at - 0.5, color="white", lw=0.8, alpha=0.6)
            for at in range(TILE, photo.shape[1], TILE):
                axes.axvline(at - 0.5, color="white", lw=0.8, alpha=0.6)
    figure.savefig(path, dpi=110)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("tiled.png"))
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
