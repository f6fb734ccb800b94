"""Seeded watersheds against scikit-image, in two and three dimensions; the tree is timed, too."""

import inputs
import numpy as np
import pytest
import torch
from race import OURS, Record
from skimage.segmentation import watershed

import treefilter as tf

MARKERS = 100


@pytest.mark.parametrize("shape", [(512, 512), (128, 128, 128)])
def test_watershed(race, device, shape):
    image = inputs.photograph(*shape).mean(1)[0] if len(shape) == 2 else inputs.volume(shape[0])
    value = (image.view(shape) * 255).round()
    graph = tf.grid(*shape)
    u, v = graph.edge_index
    weight = torch.maximum(value.flatten()[u], value.flatten()[v])[None].to(device)
    seeds = torch.randperm(value.numel(), generator=inputs.generator("seeds"))[:MARKERS]
    markers = torch.zeros(1, value.numel(), dtype=torch.int64)
    markers[0, seeds] = torch.arange(1, MARKERS + 1)
    there, on_host = markers.view(1, *shape).to(device), markers.view(shape).numpy()
    grey = value.numpy()
    calls = {
        OURS: lambda: tf.watershed(weight, tf.mst(weight, graph), there),
        "scikit-image": lambda: watershed(grey, on_host),
    }

    def check(results: dict) -> None:
        """Labels differ on plateaus; both give each marker and every pixel one."""
        ours, theirs = results[OURS][0].cpu().numpy(), results["scikit-image"]
        for labels in (ours, theirs):
            assert (labels > 0).all()
            np.testing.assert_array_equal(labels[on_host > 0], on_host[on_host > 0])

    name = "x".join(map(str, shape))
    race(Record("watershed", "100 markers", name, value.numel(), device.type), calls, check)
