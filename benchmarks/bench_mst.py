"""Rooted minimum spanning trees against scipy's tree and breadth-first order."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

import treefilter as tf


def csr(weight, graph):
    """The graph as scipy wants it; zeros, which scipy drops, become tiny."""
    first, second = graph.edge_index.numpy()
    values = np.maximum(weight[0].double().numpy(), 1e-30)
    return csr_array((values, (first, second)), shape=(graph.num_nodes, graph.num_nodes))


def rooted_by_scipy(matrix):
    tree = minimum_spanning_tree(matrix)
    return tree, breadth_first_order(tree, 0, directed=False)


@pytest.mark.parametrize("peer", ["treefilter", "scipy"])
def test_mst(benchmark, problem, size, kind, peer):
    _, graph, weight, tree, _ = problem
    benchmark.group = f"mst {size[0]}x{size[1]}, {kind}"
    matrix = csr(weight, graph)
    total = weight[0, tree.edge[0, 1:].long()].double().sum().item()
    assert total == pytest.approx(minimum_spanning_tree(matrix).sum(), rel=1e-6, abs=1e-12)
    if peer == "treefilter":
        benchmark(tf.mst, weight, graph)
    else:
        benchmark(rooted_by_scipy, matrix)


@pytest.mark.parametrize("threads", [1, 2])
def test_mst_of_a_batch(benchmark, threads):
    benchmark.group = "mst 16 x 128x128, threads"
    torch.set_num_threads(threads)
    graph = tf.grid(128, 128)
    weight = torch.rand(16, graph.num_edges, generator=torch.Generator().manual_seed(3))
    benchmark(tf.mst, weight, graph)


@pytest.mark.parametrize("peer", ["treefilter", "scipy"])
def test_mst_of_an_edge_list(benchmark, peer):
    benchmark.group = "mst of a random graph, 100000 vertices, 500000 edges"
    generator = torch.Generator().manual_seed(4)
    edges = torch.randint(0, 100_000, (2, 500_000), generator=generator)
    edges = torch.unique(edges.sort(0)[0], dim=1)  # scipy adds parallel edges up
    edges = edges[:, edges[0] != edges[1]]
    graph = tf.graph(edges, 100_000)
    weight = torch.rand(1, graph.num_edges, generator=generator)
    matrix = csr(weight, graph)
    tree = tf.mst(weight, graph)
    total = weight[0, tree.edge[tree.edge >= 0].long()].double().sum().item()
    assert total == pytest.approx(minimum_spanning_tree(matrix).sum(), rel=1e-6)
    if peer == "treefilter":
        benchmark(tf.mst, weight, graph)
    else:
        benchmark(rooted_by_scipy, matrix)
