"""Edge-preserving smoothing of a photograph: times and a picture side by side.

The other filters compute something else, so the page gives no ratio.
"""

import inputs
import matplotlib.pyplot as plt
import numpy as np
import peers
import pytest
import torch
import verify
from race import OURS, Record

import treefilter as tf

SIZES = (256, 512)
SIGMA = 0.004
"""Smaller than elsewhere: 0.02 removes fine structure."""
LAYER = "treefilter, nn.TreeFilter2d"
PICTURE = "smoothing.png"
CROP = slice(40, 300), slice(110, 370)


def pipeline(image: torch.Tensor) -> torch.Tensor:
    """From the image to the smoothed image: weights, tree, affinities, filter."""
    graph = tf.grid(*image.shape[-2:])
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    return tf.filter(image, tree, tf.affinity(weight, tree, SIGMA))


@pytest.mark.parametrize("size", SIZES)
def test_smoothing(race, device, request, tmp_path, size):
    image = inputs.photograph(size, size)
    on_device = image.to(device)
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    graph = tf.grid(size, size)
    layer = tf.nn.TreeFilter2d(sigma=SIGMA)
    weight = tf.edge_weight(on_device, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree, SIGMA)
    calls = {
        OURS: lambda: pipeline(on_device),
        LAYER: lambda: layer(on_device),
        "treefilter, tree known": lambda: tf.filter(on_device, tree, a),
        **peers.smoothers(pixels),
    }
    pictures = {"photograph": pixels}

    def check(results: dict) -> None:
        for name in (OURS, LAYER, "treefilter, tree known"):
            result = results.pop(name)
            verify.filtered(result, on_device, tree, a)
        pictures[OURS] = result[0].permute(1, 2, 0).cpu().numpy()
        for name, picture in results.items():
            assert picture.shape == pixels.shape
            assert np.isfinite(picture).all()
            assert np.abs(picture - pixels).mean() < 0.1  # smoothed, and still that photograph
            pictures[name] = picture

    record = Record("smoothing", "photograph", f"{size}x{size}", size * size, device.type)
    race(record, calls, check)
    if size == SIZES[-1]:
        draw(pictures, (request.config.getoption("--results") or tmp_path) / PICTURE)


def draw(pictures: dict[str, np.ndarray], path) -> None:
    columns = 4
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(13, 3.55 * rows), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, picture) in zip(axes.flat, pictures.items(), strict=False):
        axis.imshow(picture[CROP].clip(0, 1), interpolation="nearest")
        axis.set_title(name, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
    plt.close(figure)
