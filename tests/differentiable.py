"""Every differentiable function in every argument, small enough for numerical derivatives."""

import warnings

import pytest
import torch
from strategies import normal, uniform
from test_filter import PASSES, apply

import treefilter as tf

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine"]
MULTIGRAPH = tf.graph(torch.tensor([[0, 1, 2, 2, 4], [1, 2, 2, 0, 1]]), 6)


class Case:
    """``function`` of ``inputs``; ``reference`` is the same in the reference implementation."""

    def __init__(self, run, *inputs):
        self.run, self.inputs = run, inputs

    def function(self, *inputs):
        return self.run(tf, *inputs)

    def reference(self, *inputs):
        return self.run(tf.reference, *inputs)


def trees(device, graph, batch, absent=0.0):
    """Weights (batch, E), of which some are missing, and their trees."""
    weight = uniform(1, batch, graph.num_edges, low=0.1)
    topology = weight.clone()
    topology[uniform(2, *weight.shape) < absent] = torch.inf
    return weight.to(device), tf.mst(topology.to(device), graph, root=graph.num_nodes // 2)


def passes(device):
    shapes = {  # graph, share of absent edges; batches of x, trees, affinities; channels, groups
        "batch": (tf.grid(2, 3), 0, (2, 2, 2), 2, None),
        "forest of groups": (tf.grid(3, 2), 0.4, (2, 2, 2), 4, 2),
        "shared tree": (tf.grid(2, 2, connectivity=8), 0, (3, 1, 1), 1, 1),
    }
    for shape, (graph, absent, (batch, count, affinities), channels, groups) in shapes.items():
        _, tree = trees(device, graph, count, absent)
        x = normal(3, batch, channels, *graph.shape).to(device)
        sizes = (affinities, *([] if groups is None else [groups]), graph.num_nodes)
        affinity = uniform(4, *sizes, low=0.1, high=0.9).to(device)
        for name in PASSES:

            def run(module, x, affinity, name=name, tree=tree):
                return apply(name, x, tree, affinity, module)

            yield f"{name}, {shape}", Case(run, x, affinity)


def affinities(device):
    graph = tf.grid(2, 3)
    weight, tree = trees(device, graph, 2, 0.2)
    grouped = uniform(5, 2, 2, graph.num_edges).to(device)
    yield "affinity", Case(lambda m, w: m.affinity(w, tree, 0.75), weight)
    yield "affinity, groups", Case(lambda m, w: m.affinity(w, tree[:1], 0.75), grouped)
    for shape in ((), (2,), (2, 1)):
        sigma = uniform(6, *shape, low=0.5).to(device)
        name = f"affinity, sigma {shape}"
        yield name, Case(lambda m, w, s: m.affinity(w, tree, s), weight, sigma)


def distances(device):
    graph = tf.grid(2, 3)
    weight, tree = trees(device, graph, 2, 0.2)
    _, one = trees(device, graph, 1)
    source = torch.tensor([[0, 4], [5, 1]], device=device)
    seeds = torch.tensor([[True, False, False, False, True, False]] * 2, device=device)
    for path in ("sum", "max"):
        yield (
            f"distance {path}",
            Case(lambda m, w, p=path: m.distance(w, tree, source, p), weight),
        )
        yield (
            f"distance_transform {path}",
            Case(lambda m, w, p=path: m.distance_transform(w, tree, seeds, p)[0], weight),
        )
        yield (
            f"distance_matrix {path}, shared tree",
            Case(lambda m, w, p=path: m.distance_matrix(w, one, p), weight),
        )


def hierarchies(device):
    graph = tf.grid(2, 3)
    weight, tree = trees(device, graph, 2, 0.2)
    h = tf.dendrogram(weight, tree)
    yield "altitude", Case(lambda m, w: m.altitude(w, h), weight)
    x = normal(3, 2, 4, *graph.shape).to(device)
    affinity = uniform(4, 2, 2, graph.num_nodes, low=0.1, high=0.9).to(device)
    yield "filter min", Case(lambda m, x, a: m.filter(x, tree, a, path="min"), x, affinity)


def edge_weights(device):
    graph, listed = tf.grid(2, 2, connectivity=8), MULTIGRAPH.to(device)
    guide = normal(7, 2, 3, 2, 2).to(device)
    vertices = normal(8, 1, 2, 6).to(device)
    for metric in METRICS:
        yield metric, Case(lambda m, f, k=metric: m.edge_weight(f, graph, k), guide)
        yield (
            f"{metric}, edge list",
            Case(lambda m, f, k=metric: m.edge_weight(f, listed, k), vertices),
        )


def losses(device):
    x, y = (normal(seed, 2, 3, 2, 2).to(device) for seed in (12, 13))

    def run(module, x, y):
        if module is tf.reference:
            return (x - y).abs().sum(1, keepdim=True)
        return module.losses.difference(x, y)

    yield "l1 difference", Case(run, x, y)


def cases(device="cpu"):
    """Name → :class:`Case`, float64. Unreached distances are infinite: losses see them as 0."""
    return {
        name: case
        for kind in (passes, affinities, distances, hierarchies, edge_weights, losses)
        for name, case in kind(torch.device(device))
    }


NAMES = list(cases())
every_case = pytest.mark.parametrize("case", NAMES, indirect=True)


@pytest.fixture(name="case")
def case_fixture(request, device):
    return cases(device)[request.param]


@pytest.fixture(name="no_warnings")
def no_warnings_fixture():
    """UserWarnings are what torch says where it maps by a loop or an op has no derivative."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def finite(y):
    """``y`` without infinities, for numerical derivatives."""
    return torch.where(y.isinf(), 0, y)


def loss(case, *inputs):
    """A number whose second derivatives are none of them 0 by chance."""
    y = finite(case.function(*inputs))
    return (y.sin() * torch.linspace(0.5, 1.5, y.numel(), device=y.device).view(y.shape)).sum()


def directions(case, seed=9):
    return tuple(normal(seed + i, *t.shape).to(t.device) for i, t in enumerate(case.inputs))


def stacked(case, count=3):
    """Inputs with a leading dimension to map over; all are in the range of those of the case."""
    return tuple(torch.stack([t * (1 - 0.1 * i) for i in range(count)]) for t in case.inputs)


def by_loop(function, *inputs):
    results = [function(*row) for row in zip(*inputs, strict=True)]
    if isinstance(results[0], torch.Tensor):
        return torch.stack(results)
    return tuple(map(torch.stack, zip(*results, strict=True)))
