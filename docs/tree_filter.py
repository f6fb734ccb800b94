"""Draw the README's picture: how much each pixel counts for one pixel, in three filters.

    python docs/tree_filter.py --output docs/tree_filter.png

The weights of the guided filter and of the tree filter are the derivatives of one output pixel in
the input; those of the bilateral filter are its definition.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

import treefilter as tf

PIXEL = (240, 110)  # row and column
REACH = 48  # pixels, of the bilateral and of the guided filter
SIGMA_SPACE, SIGMA_COLOUR = REACH / 2, 0.1
RADIUS = REACH // 2  # of the guided filter's windows: it takes means of means
EPSILON = 1e-3  # of the guided filter
SIGMA = 0.01  # of the tree filter
FLOOR = 1e-4  # the smallest weight with a colour of its own, as a share of the largest
INK, MUTED = "#1d2733", "#6b7785"


def bilateral_weights(image: Tensor) -> Tensor:
    """exp(−|p_i − p_j|²/2s² − |f_i − f_j|²/2r²) in a square window, (H, W)."""
    height, width = image.shape[-2:]
    rows, columns = torch.arange(height)[:, None] - PIXEL[0], torch.arange(width) - PIXEL[1]
    space = (rows**2 + columns**2) / SIGMA_SPACE**2
    colour = (image - image[..., PIXEL[0], PIXEL[1], None, None]).pow(2).sum(1)[0] / SIGMA_COLOUR**2
    inside = (rows.abs() <= REACH) & (columns.abs() <= REACH)
    return torch.exp(-(space + colour) / 2) * inside


def guided_filter(x: Tensor, guide: Tensor) -> Tensor:
    """He, Sun and Tang's filter with a grey guide, (1, 1, H, W)."""

    def mean(value: Tensor) -> Tensor:
        return F.avg_pool2d(value, 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)

    covariance = mean(guide * x) - mean(guide) * mean(x)
    a = covariance / (mean(guide**2) - mean(guide) ** 2 + EPSILON)
    b = mean(x) - a * mean(guide)
    return mean(a) * guide + mean(b)


def tree_filter(x: Tensor, guide: Tensor) -> Tensor:
    """The library's filter, (1, 1, H, W)."""
    graph = tf.grid(*guide.shape[-2:])
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    return tf.filter(x, tree, tf.affinity(weight, tree, SIGMA))


def derivative(y: Tensor, x: Tensor) -> Tensor:
    """Of the output at the pixel in every pixel of the input, (H, W)."""
    return torch.autograd.grad(y[0, 0, PIXEL[0], PIXEL[1]], x)[0][0, 0]


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    photo = skimage.data.coffee()
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].double() / 255
    grey = image.mean(1, keepdim=True)
    x = grey.clone().requires_grad_()
    panels = {
        "bilateral filter": bilateral_weights(image),
        "guided filter": derivative(guided_filter(x, grey), x),
        "tree filter": derivative(tree_filter(x, image), x),
    }
    figure = Figure(figsize=(10, 2.15), facecolor="white")
    for i, title in enumerate(["one pixel of a photograph", *panels]):
        axes = figure.add_axes((0.005 + i * 0.2485, 0.005, 0.2435, 0.875))
        axes.set_axis_off()
        axes.set_title(title, color=INK, size=10, pad=4)
        if i == 0:
            axes.imshow(photo, aspect="auto")
        else:
            axes.imshow(0.35 * grey[0, 0], cmap="gray", vmin=0, vmax=1, aspect="auto")
            weight = np.abs(panels[title].numpy())
            norm = LogNorm(FLOOR, 1, clip=True)
            share = weight / weight.max()
            axes.imshow(share, norm=norm, cmap="inferno", alpha=norm(share).data, aspect="auto")
        ring = axes.plot(*PIXEL[::-1], "o", ms=7, mfc="none", mec="white", mew=1.5)[0]
        ring.set_path_effects([withStroke(linewidth=3, foreground=INK)])
    figure.savefig(path, dpi=110)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("tree_filter.png"))
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
