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


def test_single_linkage_of_a_graph(race, device):
    """Of a graph of nearest neighbours, from its distances to SciPy's linkage matrix."""
    first, second, length = nearest_neighbours(uniform_points())
    graph = tf.graph(torch.from_numpy(np.stack([first, second])), POINTS).to(device)
    weight = torch.from_numpy(length)[None].to(device)

    def ours():
        h = tf.dendrogram(weight, tf.mst(weight, graph))
        return tf.linkage(weight, h)

    calls = {OURS: ours, "scipy": peers.scipy_single_linkage(first, second, length, POINTS)}

    def check(results: dict) -> None:
        np.testing.assert_allclose(results[OURS][0].cpu().numpy()[:, 2], results["scipy"][:, 2])

    race(single_linkage("16 neighbours", device), calls, check)


def test_single_linkage_of_points(race, device):
    """From points to SciPy's linkage matrix: ours of their nearest neighbours, found by SciPy."""
    if not peers.installed("fast_hdbscan"):
        pytest.skip("fast_hdbscan is not installed")
    points = uniform_points()

    def ours():
        first, second, length = nearest_neighbours(points)
        graph = tf.graph(torch.from_numpy(np.stack([first, second])), POINTS).to(device)
        weight = torch.from_numpy(length)[None].to(device)
        return tf.linkage(weight, tf.dendrogram(weight, tf.mst(weight, graph)))

    calls = {OURS: ours, "fast_hdbscan": peers.fast_hdbscan_single_linkage(points)}

    def check(results: dict) -> None:  # its distances are those of float32 coordinates
        heights = results[OURS][0].cpu().numpy()[:, 2]
        np.testing.assert_allclose(heights, results["fast_hdbscan"][:, 2], rtol=1e-3, atol=1e-7)

    race(single_linkage("neighbours found inside", device), calls, check)


def uniform_points() -> np.ndarray:
    return torch.rand(POINTS, 2, generator=inputs.generator("points")).double().numpy()


def nearest_neighbours(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends and the lengths of the edges from every point to its neighbours."""
    distance, index = cKDTree(points).query(points, NEIGHBOURS + 1)
    return np.repeat(np.arange(POINTS), NEIGHBOURS), index[:, 1:].ravel(), distance[:, 1:].ravel()


def single_linkage(what: str, device: torch.device) -> Record:
    return Record("single linkage", "100,000 points", what, POINTS, device.type)
