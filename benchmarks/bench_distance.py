"""Distances along the tree against scipy's shortest paths on it."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

import treefilter as tf


@pytest.mark.parametrize("peer", ["treefilter", "scipy dijkstra"])
def test_distance(benchmark, photo, size, peer):
    _, _, weight, tree, _ = photo
    benchmark.group = f"distance from one source {size[0]}x{size[1]}"
    source = torch.tensor([tree.num_nodes // 2])
    child = np.arange(1, tree.num_nodes)
    values = np.maximum(weight[0, tree.edge[0, 1:].long()].double().numpy(), 1e-30)
    matrix = csr_array(
        (values, (child, tree.parent[0, 1:].numpy())), shape=(tree.num_nodes, tree.num_nodes)
    )
    expected = torch.from_numpy(dijkstra(matrix, directed=False, indices=source.item())).float()
    # float32 sums along paths of up to 15,000 edges
    distance = tf.distance(weight, tree, source)[0, 0]
    torch.testing.assert_close(distance, expected, rtol=1e-3, atol=1e-4)
    if peer == "treefilter":
        benchmark(tf.distance, weight, tree, source)
    else:
        benchmark(dijkstra, matrix, directed=False, indices=source.item())


@pytest.mark.parametrize("path", ["sum", "max"])
def test_distance_transform(benchmark, photo, size, path):
    _, _, weight, tree, _ = photo
    benchmark.group = f"distance_transform {size[0]}x{size[1]}"
    seeds = torch.rand(1, *size, generator=torch.Generator().manual_seed(6)) > 0.999
    distance, nearest = tf.distance_transform(weight, tree, seeds, path)
    assert (distance[0, seeds.flatten()] == 0).all()
    assert seeds.flatten()[nearest].all()
    benchmark(tf.distance_transform, weight, tree, seeds, path)
