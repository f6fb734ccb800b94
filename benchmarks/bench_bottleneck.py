"""The filter of smallest affinities beside that of products; its dendrogram is in the time."""

import inputs
import pytest
import torch
from race import Record

import treefilter as tf

PRODUCT = "treefilter, product"


@pytest.mark.parametrize("channels", [3, 21])
@pytest.mark.parametrize("shape", [(128, 128), (512, 512)])
def test_filter_of_smallest_affinities(race, device, shape, channels):
    weight = inputs.weights("photograph", *shape).to(device)
    tree = tf.mst(weight, tf.grid(*shape))
    a = tf.affinity(weight, tree, inputs.SIGMA)
    x = inputs.features(1, channels, *shape).to(device)
    calls = {
        "treefilter": lambda: tf.filter(x, tree, a, path="min"),
        PRODUCT: lambda: tf.filter(x, tree, a),
    }

    def check(results: dict) -> None:
        """A mean with kernels that are at least those of products: it varies less."""
        smooth, sharp = results["treefilter"].double(), results[PRODUCT].double()
        assert smooth.std() <= sharp.std()
        exact = tf.filter(x.double(), tree, a.double(), path="min")
        torch.testing.assert_close(smooth, exact, rtol=1e-5, atol=1e-5)

    name = f"{shape[0]}x{shape[1]}"
    items = channels * tree.num_nodes
    race(Record("filter, min", f"C={channels}", name, items, device.type), calls, check)
