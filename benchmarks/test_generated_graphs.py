"""Trees of 200 random graphs from the generators of each peer, against that peer's own trees.

`make bench` runs this before it times anything, `make test` with the peers that are installed.
"""

import random
from collections.abc import Callable

import numpy as np
import peers
import pytest
import torch
import verify

import treefilter as tf

GRAPHS = 200
Edges = tuple[np.ndarray, int]
"""(2, E) ends and the number of vertices."""


def of_list(edges: list, num_nodes: int) -> Edges:
    return np.array(edges, np.int64).reshape(-1, 2).T, num_nodes


def networkx_graphs(n: int, seed: int) -> list[Edges]:
    networkx = pytest.importorskip("networkx")
    graphs = [
        networkx.gnm_random_graph(n, 2 * n, seed=seed),
        networkx.gnp_random_graph(n, 1.2 / n, seed=seed),  # many components
        networkx.barabasi_albert_graph(n, 2, seed=seed),
        networkx.watts_strogatz_graph(n, 4, 0.2, seed=seed),
        networkx.random_geometric_graph(n, 1.3 / n**0.5, seed=seed),
        networkx.star_graph(n - 1),
        networkx.path_graph(n),
        networkx.complete_graph(min(n, 40)),
    ]
    return [of_list(list(graph.edges), len(graph)) for graph in graphs]


def scipy_graphs(n: int, seed: int) -> list[Edges]:
    from scipy.sparse import random_array
    from scipy.spatial import Delaunay

    draw = np.random.default_rng(seed)
    triangles = Delaunay(draw.random((n, 2))).simplices
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    graphs = [
        of_list(np.unique(np.sort(sides, axis=1), axis=0), n)
    ]  # each side is of two triangles
    for density in (0.5 / n, 3 / n, 0.2):
        upper = np.triu(random_array((n, n), density=density, rng=draw).toarray(), 1)
        graphs.append((np.stack(np.nonzero(upper)), n))
    return graphs


def igraph_graphs(n: int, seed: int) -> list[Edges]:
    igraph = pytest.importorskip("igraph")
    igraph.set_random_number_generator(random.Random(seed))
    graphs = [
        igraph.Graph.Erdos_Renyi(n, m=2 * n),
        igraph.Graph.Barabasi(n, 3),
        igraph.Graph.GRG(n, 1.3 / n**0.5),
        igraph.Graph.Forest_Fire(n, 0.2),
        igraph.Graph.Lattice([4, max(1, n // 4)], circular=True).simplify(),
    ]
    return [of_list(graph.get_edgelist(), graph.vcount()) for graph in graphs]


def rustworkx_graphs(n: int, seed: int) -> list[Edges]:
    rustworkx = pytest.importorskip("rustworkx")
    generators = rustworkx.generators
    graphs = [
        rustworkx.undirected_gnm_random_graph(n, 2 * n, seed=seed),
        rustworkx.undirected_gnp_random_graph(n, 1.2 / n, seed=seed),
        rustworkx.barabasi_albert_graph(n, 2, seed=seed),
        generators.hexagonal_lattice_graph(max(1, n // 12), 3),
        generators.lollipop_graph(min(n, 20), n),
        generators.binomial_tree_graph(5),
    ]
    return [of_list(list(graph.edge_list()), graph.num_nodes()) for graph in graphs]


GENERATORS: dict[str, Callable[[int, int], list[Edges]]] = {
    "networkx": networkx_graphs,
    "scipy": scipy_graphs,
    "igraph": igraph_graphs,
    "rustworkx": rustworkx_graphs,
}


def generated(name: str) -> list[Edges]:
    draw, found = np.random.default_rng(0), []
    while len(found) < GRAPHS:
        found += GENERATORS[name](int(draw.integers(8, 150)), len(found))
    return found[:GRAPHS]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("name", GENERATORS)
def test_trees_of_generated_graphs(name, ties):
    draw = torch.Generator().manual_seed(1)
    for ends, num_nodes in generated(name):
        edge_index = torch.from_numpy(ends)
        graph = tf.graph(edge_index, num_nodes)
        weight = torch.rand(1, graph.num_edges, generator=draw) + 0.01
        if ties:
            weight = (weight * 4).ceil()
        trees = verify.edges_of(tf.mst(weight, graph), edge_index)
        theirs = peers.MST[name](weight, edge_index, num_nodes)()
        verify.minimum(weight, graph, trees, {name: theirs})
