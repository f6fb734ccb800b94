"""Tree and dendrogram against higra, and single linkage of points against SciPy."""

import inputs
import numpy as np
import peers
import pytest
import torch
from race import OURS, Record
from scipy.spatial import cKDTree

import treefilter as tf

POINTS, NEIGHBOURS = 100_000, 16


@pytest.mark.parametrize("kind", ["photograph", "random"])
@pytest.mark.parametrize("shape", [(128, 128), (512, 512), (1024, 2048)])
def test_dendrogram(race, device, shape, kind):
    graph = tf.grid(*shape)
    on_host = inputs.weights(kind, *shape)
    weight = on_host.to(device)

    def ours():
        return tf.dendrogram(weight, tf.mst(weight, graph))

    calls = {OURS: ours}
    if peers.installed("higra") and device.type == "cpu":
        calls["higra"] = peers.higra_dendrogram(on_host, graph.edge_index, graph.num_nodes)

    def check(results: dict) -> None:
        heights = tf.altitude(weight, results[OURS])[0].double().cpu()
        assert (heights.diff() >= 0).all()
        if "higra" in results:
            altitudes = results["higra"][1][graph.num_nodes :]
            np.testing.assert_array_equal(heights.numpy(), altitudes)

    name = f"{shape[0]}x{shape[1]}"
    race(Record("dendrogram", kind, name, graph.num_nodes, device.type), calls, check)


def test_single_linkage_of_points(race, device):
    """Of a graph of nearest neighbours, from its distances to SciPy's linkage matrix."""
    points = torch.rand(POINTS, 2, generator=inputs.generator("points")).double().numpy()
    distance, index = cKDTree(points).query(points, NEIGHBOURS + 1)
    first = np.repeat(np.arange(POINTS), NEIGHBOURS)
    second, length = index[:, 1:].ravel(), distance[:, 1:].ravel()
    graph = tf.graph(torch.from_numpy(np.stack([first, second])), POINTS).to(device)
    weight = torch.from_numpy(length)[None].to(device)

    def ours():
        h = tf.dendrogram(weight, tf.mst(weight, graph))
        return tf.linkage(weight, h)

    calls = {OURS: ours, "scipy": peers.scipy_single_linkage(first, second, length, POINTS)}

    def check(results: dict) -> None:
        np.testing.assert_allclose(results[OURS][0].cpu().numpy()[:, 2], results["scipy"][:, 2])

    record = Record("single linkage", "100,000 points", "16 neighbours", POINTS, device.type)
    race(record, calls, check)
