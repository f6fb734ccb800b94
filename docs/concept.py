"""Draw the concept page's picture: image, weights, tree, one row of the affinities, result.

python docs/concept.py --output docs/concept.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import treefilter as tf

TOP, LEFT, SIDE = 96, 158, 36  # the excerpt: an eye of the cat
PIXEL = (15, 11)  # row and column in it
SIGMA = 0.004
FLOOR = 1e-3  # the smallest affinity with a colour of its own
INK = "#1d2733"


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    photo = skimage.data.chelsea()[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].double() / 255
    graph = tf.grid(SIDE, SIDE)
    weight = tf.edge_weight(image, graph)
    pixel = PIXEL[0] * SIDE + PIXEL[1]
    tree = tf.mst(weight, graph, root=pixel)
    a = tf.affinity(weight, tree, SIGMA)
    smooth = tf.filter(image, tree, a)
    row = torch.exp(-tf.distance(weight, tree, torch.tensor([pixel]))[0, 0] / SIGMA)

    figure = Figure(figsize=(10, 2.3), facecolor="white")
    titles = "image", "1  weights", "2  tree", "3  affinity to one pixel", "4  result"
    axes = []
    for i, title in enumerate(titles):
        axis = figure.add_axes((0.003 + i * 0.1995, 0.01, 0.196, 0.86))
        axis.set(xlim=(-0.7, SIDE - 0.3), ylim=(SIDE - 0.3, -0.7), aspect="equal")
        axis.set_axis_off()
        axis.set_title(title, color=INK, size=10, pad=4)
        axes.append(axis)
    axes[0].imshow(photo)
    ends = graph.edge_index.T.numpy()
    lines = np.stack([ends % SIDE, ends // SIDE], -1)
    norm = LogNorm(1e-4, weight.max().item(), clip=True)
    colours = LineCollection(
        lines, array=weight[0].clamp(min=1e-4), cmap="magma_r", norm=norm, lw=2.2
    )
    axes[1].add_collection(colours)
    below = torch.arange(SIDE * SIDE)
    kept = np.stack([below.numpy(), tree.parent[0].numpy()], 1)[below.numpy() != pixel]
    axes[2].imshow(photo, alpha=0.45)
    axes[2].add_collection(
        LineCollection(np.stack([kept % SIDE, kept // SIDE], -1), colors=INK, lw=1.1)
    )
    axes[3].imshow(row.view(SIDE, SIDE), cmap="inferno", norm=LogNorm(FLOOR, 1, clip=True))
    axes[4].imshow(smooth[0].permute(1, 2, 0).clamp(0, 1))
    for axis in (axes[0], axes[3]):
        axis.plot(*PIXEL[::-1], "o", ms=6, mfc="none", mec="white", mew=1.5)
    figure.savefig(path, dpi=150)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("concept.png"))
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
