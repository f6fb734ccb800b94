"""Inputs of the benchmarks: real photographs and the patterns that are hardest on trees.

Photographs ship with scikit-image; larger ones are mosaics. One thread, unless a benchmark says so:
every peer has one. Compare only numbers of one run, as ratios of medians: machines drift.
"""

import numpy as np
import pytest
import skimage
import torch

import treefilter as tf

SIZES = [(128, 128), (512, 512), (1024, 2048)]
KINDS = ["photograph", "random", "constant"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def photograph(height, width):
    """(1, 3, H, W) in [0, 1]: four photographs side by side, repeated as often as needed."""
    photos = [
        getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    tiles = [photo[:300, :400] for photo in photos]
    mosaic = np.block([[[tiles[0]], [tiles[1]]], [[tiles[2]], [tiles[3]]]])
    repeats = (-(-height // mosaic.shape[0]), -(-width // mosaic.shape[1]), 1)
    image = np.tile(mosaic, repeats)[:height, :width]
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def image_of(kind, height, width):
    if kind == "photograph":
        return photograph(height, width)
    if kind == "random":
        return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    return torch.full((1, 3, height, width), 0.5)


@pytest.fixture(params=SIZES, ids=lambda size: "x".join(map(str, size)), scope="session")
def size(request):
    return request.param


@pytest.fixture(params=KINDS, scope="session")
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def problem(size, kind):
    """(image, graph, weight, tree, affinity) of one input."""
    image, graph = image_of(kind, *size), tf.grid(*size)
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    return image, graph, weight, tree, tf.affinity(weight, tree, sigma=0.02)


@pytest.fixture(scope="session")
def photo(size):
    """The same of the photograph alone."""
    image, graph = photograph(*size), tf.grid(*size)
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    return image, graph, weight, tree, tf.affinity(weight, tree, sigma=0.02)
