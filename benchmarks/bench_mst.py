"""Minimum spanning trees against scipy, higra, igraph, rustworkx and networkx."""

import functools
import math
from collections.abc import Callable

import inputs
import numpy as np
import peers
import pytest
import torch
import verify
from race import OURS, Record

import treefilter as tf
from treefilter import _ops

SMALL, MIDDLE, LARGE, HUGE = (128, 128), (512, 512), (1024, 2048), (4096, 4096)
BATCH = (16, *SMALL)
KINDS = ("photograph", "random", "8-bit")
HIGRA = ("higra", "higra, edge set only")
ALL_PEERS = ("scipy", *HIGRA, "igraph", "rustworkx")
full = pytest.mark.full


def name_of(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@functools.lru_cache(maxsize=2)
def problem(kind: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, tf.Graph, torch.Tensor]:
    batch = shape[0] if len(shape) == 3 else 1
    graph = tf.grid(*shape[-2:])
    return inputs.weights(kind, *shape[-2:], batch), graph, graph.edge_index


def edge_set(weight: torch.Tensor, graph: tf.Graph) -> Callable[[], torch.Tensor]:
    """The tree as a set of edges, without root and plan, as other libraries give it."""
    edges = None if graph._edges is None else graph._edges.to(weight.device)
    return lambda: _ops.mst_edges(weight, edges, graph._layout, graph.num_nodes)


def edge_set_cases() -> list:
    cases = [
        *(pytest.param(kind, SMALL, (*ALL_PEERS, "networkx")) for kind in KINDS),
        *(pytest.param(kind, BATCH, ("scipy", *HIGRA)) for kind in KINDS),
        *(pytest.param(kind, MIDDLE, ALL_PEERS) for kind in KINDS),
        pytest.param("photograph", LARGE, ("scipy", *HIGRA, "igraph")),
        *(pytest.param(kind, LARGE, ("scipy",)) for kind in KINDS[1:]),
        *(pytest.param(kind, LARGE, (*HIGRA, "igraph"), marks=full) for kind in KINDS[1:]),
        pytest.param("photograph", HUGE, ("scipy",)),
        *(pytest.param(kind, HUGE, ("scipy",), marks=full) for kind in KINDS[1:]),
    ]
    return cases


@pytest.mark.parametrize(("kind", "shape", "against"), edge_set_cases())
def test_edge_set(race, device, kind, shape, against):
    weight, graph, edge_index = problem(kind, shape)
    ours = edge_set(weight.to(device), graph)
    calls = {OURS: ours} | {
        name: peers.MST[name](weight, edge_index, graph.num_nodes)
        for name in against
        if peers.installed(name)
    }

    def check(results: dict) -> None:
        trees = [np.flatnonzero(mask) for mask in results.pop(OURS).cpu().numpy()]
        verify.minimum(weight, graph, trees, results)

    items = math.prod(shape)
    race(Record("mst, edge set", kind, name_of(shape), items, device.type), calls, check)


def rooted(race, device, record, weight, graph, more=()):
    """tf.mst against scipy's tree and breadth-first order: a rooted tree on both sides."""
    edge_index, on_device = graph.edge_index, weight.to(device)
    calls = {
        OURS: lambda: tf.mst(on_device, graph),
        "scipy, rooted": peers.scipy_rooted(weight, edge_index, graph.num_nodes),
        **dict(more),
    }

    def check(results: dict) -> None:
        trees = verify.edges_of(results[OURS], edge_index)
        scipy = {"scipy, rooted": results["scipy, rooted"]}
        verify.minimum(weight, graph, trees, scipy)

    race(record, calls, check)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *((kind, shape) for shape in (SMALL, BATCH, MIDDLE, LARGE) for kind in KINDS),
        *(("photograph", (size, size)) for size in (256, 1024, 2048)),  # for the plot over sizes
        ("photograph", HUGE),
        *(pytest.param(kind, HUGE, marks=full) for kind in KINDS[1:]),
    ],
)
def test_rooted(race, device, kind, shape):
    weight, graph, _ = problem(kind, shape)
    record = Record("mst", kind, name_of(shape), math.prod(shape), device.type)
    rooted(race, device, record, weight, graph)


@pytest.mark.parametrize("shape", [SMALL, MIDDLE, LARGE], ids=name_of)
@pytest.mark.parametrize("kind", ["constant", "ramp", "snake"])
def test_degenerate(race, device, kind, shape):
    """Patterns with many ties or the deepest trees, and for comparison the photograph."""
    photograph, graph, _ = problem("photograph", shape)
    photograph = photograph.to(device)
    weight = inputs.weights(kind, *shape)
    more = {"treefilter, photograph": lambda: tf.mst(photograph, graph)}
    record = Record("mst", kind, name_of(shape), math.prod(shape), device.type)
    rooted(race, device, record, weight, graph, more)


EDGE_LISTS = {
    "8 nearest neighbours": lambda: inputs.nearest_neighbours(100_000),
    "superpixels": lambda: inputs.superpixels(1024, 1024),
    "random graph": lambda: inputs.random_graph(100_000, 500_000),
}


@pytest.mark.parametrize("kind", EDGE_LISTS)
def test_edge_list(race, device, kind):
    edge_index, num_nodes, weight = EDGE_LISTS[kind]()
    graph = tf.graph(edge_index, num_nodes)
    shape = f"{num_nodes} vertices, {graph.num_edges} edges"
    record = Record("mst of an edge list", kind, shape, num_nodes, device.type)
    rooted(race, device, record, weight, graph)


@pytest.mark.parametrize(
    ("kind", "connectivity"),
    [("volume", 6), pytest.param("random", 6, marks=full), ("volume", 26)],
)
def test_volume(race, device, kind, connectivity):
    graph = tf.grid(128, 128, 128, connectivity=connectivity)
    if kind == "volume":
        weight = tf.edge_weight(inputs.volume(128), graph)
    else:
        weight = torch.rand(1, graph.num_edges, generator=inputs.generator("random weights"))
    task = "mst of a volume" if connectivity == 6 else "mst of a volume, 26 neighbours"
    record = Record(task, kind, "128x128x128", graph.num_nodes, device.type)
    rooted(race, device, record, weight, graph)


def memory_calls(kind: str, shape: list[int]) -> dict[str, Callable]:
    """The calls that test_memory measures, each in a process of its own."""
    weight, graph, edge_index = problem(kind, tuple(shape))
    return {
        OURS: lambda: tf.mst(weight, graph),
        "scipy, rooted": peers.scipy_rooted(weight, edge_index, graph.num_nodes),
    }


def test_memory(remember):
    record = Record("mst", "photograph", name_of(LARGE), math.prod(LARGE))
    remember(record, "memory_calls", [OURS, "scipy, rooted"], "photograph", list(LARGE))
