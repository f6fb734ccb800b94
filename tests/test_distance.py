"""Distances along trees: from sources, to the nearest seed, between all pairs."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from strategies import SEEDS, forests, graphs, normal, photograph, snake, uniform, weights
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import treefilter as tf

PATHS = ["sum", "max"]


def on_tree(weight, tree, b):
    """(N,) float64: the weight of every vertex's edge to its parent."""
    edge = tree.edge[min(b, len(tree) - 1)].cpu().numpy()
    padded = np.append(weight[min(b, len(weight) - 1)].detach().double().cpu().numpy(), 0.0)
    return padded[edge]


def by_oracle(weight, tree, path):
    """(B, N, N) float64."""
    batch = max(len(weight), len(tree))
    parent = tree.parent.cpu().numpy()
    rows = [
        oracle.distances(parent[min(b, len(tree) - 1)], on_tree(weight, tree, b), path)
        for b in range(batch)
    ]
    return torch.from_numpy(np.stack(rows))


def transform_by_oracle(weight, tree, seeds, path):
    parent = tree.parent.cpu().numpy()
    rows = []
    for b, flags in enumerate(seeds.flatten(1).cpu().numpy()):
        up, w = parent[min(b, len(tree) - 1)], on_tree(weight, tree, b)
        shortest, nearest = oracle.distance_transform(up, w, flags, path)
        if path == "max":
            edge = tree.edge[min(b, len(tree) - 1)].cpu().numpy()
            rank = np.argsort(np.lexsort([edge, w]))
            nearest = np.where(nearest < 0, -1, oracle.region_seeds(up, rank, flags))
        rows.append((shortest, nearest))
    shortest, nearest = map(np.stack, zip(*rows, strict=True))
    return torch.from_numpy(shortest), torch.from_numpy(nearest)


@st.composite
def inputs(draw, kinds=("random", "ties"), max_nodes=40):
    """(weight (B, E), tree): own trees or one for all, also forests, with new weights."""
    batch = draw(st.integers(1, 3))
    graph, _, tree = draw(forests(max_nodes, draw(st.sampled_from([1, batch]))))
    return draw(weights(graph, batch, kinds)).double(), tree


# --- distance -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@given(st.data(), inputs(kinds=("random", "ties", "negative", "negative ties")))
def test_distance_equals_the_walk(device, path, data, drawn):
    weight, tree = drawn
    num = st.integers(0, tree.num_nodes - 1)
    sources = data.draw(st.lists(num, min_size=1, max_size=4))
    expected = by_oracle(weight, tree, path)
    source, there = torch.tensor(sources, device=device), tree.to(device)
    d = tf.distance(weight.to(device), there, source, path)
    assert d.shape == (len(weight), len(sources), tree.num_nodes)
    assert_close(d.cpu(), expected[:, sources], rtol=1e-12, atol=1e-12)
    single = tf.distance(weight.float().to(device), there, source, path)
    assert single.dtype == torch.float32
    assert_close(single.double().cpu(), expected[:, sources], rtol=1e-5, atol=1e-5)
    own = torch.stack([source.roll(b) for b in range(len(weight))])
    d = tf.distance(weight.to(device), there, own, path)
    for b, row in enumerate(own.tolist()):
        assert_close(d[b].cpu(), expected[b, row], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@given(drawn=inputs(kinds=("random", "ties", "negative")))
def test_distance_matrix_equals_the_walk(device, path, drawn):
    weight, tree = drawn
    d = tf.distance_matrix(weight.to(device), tree.to(device), path)
    assert_close(d.cpu(), by_oracle(weight, tree, path), rtol=1e-12, atol=1e-12)
    everyone = torch.arange(tree.num_nodes, device=device)
    assert torch.equal(d, tf.distance(weight.to(device), tree.to(device), everyone, path))


def test_paths_and_defaults(device):
    graph = tf.grid(1, 4)
    weight = torch.tensor([[3.0, 1.0, 2.0]], device=device)
    tree = tf.mst(weight, graph)
    source = torch.tensor([0, 2], dtype=torch.int32, device=device)
    assert tf.distance(weight, tree, source).tolist() == [[[0, 3, 4, 6], [4, 1, 0, 2]]]
    assert tf.distance(weight, tree, source, "max").tolist() == [[[0, 3, 3, 3], [3, 1, 0, 2]]]
    assert tf.distance(-weight, tree, source, "max").tolist() == [
        [[0, -3, -1, -1], [-1, -1, 0, -2]]
    ]
    seeds = torch.tensor([[True, False, False, True]], device=device)
    d, nearest = tf.distance_transform(weight, tree, seeds)
    assert (d.tolist(), nearest.tolist()) == ([[0, 3, 2, 0]], [[0, 0, 3, 3]])
    d, nearest = tf.distance_transform(weight, tree, seeds, "max")
    assert (d.tolist(), nearest.tolist()) == ([[0, 2, 2, 0]], [[0, 3, 3, 3]])
    assert tf.distance_matrix(weight, tree)[0, 3].tolist() == [6, 3, 2, 0]


@pytest.mark.parametrize("path", PATHS)
@given(drawn=inputs())
def test_distance_is_a_metric(device, path, drawn):
    weight, tree = drawn
    d = tf.distance_matrix(weight.to(device), tree.to(device), path)
    assert_close(d, d.mT, rtol=1e-12, atol=0)
    assert (d.diagonal(dim1=1, dim2=2) == 0).all()
    via = d[:, :, :, None] + d[:, None] if path == "sum" else d[:, :, :, None].maximum(d[:, None])
    assert (d <= via.amin(2) * (1 + 1e-12)).all()


@given(st.data(), graphs(25))
def test_bottleneck_is_the_least_of_all_paths_of_the_graph(device, data, graph):
    """Along a minimum spanning tree the largest step is as small as on any path of the graph."""
    weight = data.draw(weights(graph, 1, ("random", "ties", "half infinite"))).double()
    n = graph.num_nodes
    least = np.full((n, n), np.inf)
    u, v = graph.edge_index.numpy()
    np.minimum.at(least, (u, v), weight[0].numpy())
    least = np.minimum(least, least.T)
    np.fill_diagonal(least, 0)
    for k in range(n):
        least = np.minimum(least, np.maximum(least[:, k : k + 1], least[k : k + 1]))
    weight = weight.to(device)
    d = tf.distance_matrix(weight, tf.mst(weight, graph.to(device)), "max")
    np.testing.assert_array_equal(d[0].cpu().numpy(), least)


@pytest.mark.parametrize("path", PATHS)
def test_sources_may_repeat_and_be_many(device, path):
    graph = tf.grid(9, 11)
    weight = uniform(1, 2, graph.num_edges)
    tree = tf.mst(weight, graph, root=3)
    source = torch.arange(200) * 7 % 99
    expected = by_oracle(weight, tree, path)[:, source]
    d = tf.distance(weight.to(device), tree.to(device), source.to(device), path)
    assert_close(d.cpu(), expected)


# --- distance transform ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("share", [0.03, 0.2, 0.7])
@given(drawn=inputs(), seed=SEEDS)
def test_distance_transform_is_the_least_distance(device, path, share, drawn, seed):
    weight, tree = drawn  # integers among them, for which equal distances are exactly equal
    seeds = uniform(seed, len(weight), tree.num_nodes) < share
    expected = transform_by_oracle(weight, tree, seeds, path)
    there = tree.to(device)
    d, nearest = tf.distance_transform(weight.to(device), there, seeds.to(device), path)
    assert nearest.dtype == torch.int64
    assert_close(d.cpu(), expected[0], rtol=1e-12, atol=0)
    assert torch.equal(nearest.cpu(), expected[1])
    single, _ = tf.distance_transform(weight.float().to(device), there, seeds.to(device), path)
    assert single.dtype == torch.float32
    assert_close(single.double().cpu(), expected[0], rtol=1e-5, atol=0)
    if tree.shape is not None:
        shaped = seeds.view(len(seeds), *tree.shape).to(device)
        again = tf.distance_transform(weight.to(device), there, shaped, path)
        assert torch.equal(again[0], d)
        assert torch.equal(again[1], nearest)


@pytest.mark.parametrize("path", PATHS)
def test_equal_distances(device, path):
    """Equal sums go to the lowest seed, equal maxima by the strict order of edges."""
    graph = tf.grid(13, 17)
    weight = uniform(3, 3, graph.num_edges).mul(4).round()
    tree = tf.mst(weight, graph, root=100)
    seeds = uniform(4, 3, 13, 17) < 0.05
    expected = transform_by_oracle(weight, tree, seeds, path)
    for dtype in (torch.float32, torch.float64, torch.float16):
        d, nearest = tf.distance_transform(
            weight.to(device, dtype), tree.to(device), seeds.to(device), path
        )
        assert torch.equal(d.double().cpu(), expected[0])
        assert torch.equal(nearest.cpu(), expected[1])


@pytest.mark.parametrize("path", PATHS)
def test_every_vertex_or_none_a_seed(device, path):
    graph = tf.grid(5, 7)
    weight = uniform(1, 2, graph.num_edges, low=0.1).to(device)
    tree = tf.mst(weight, graph)
    all_seeds = torch.ones(2, 5, 7, dtype=torch.bool, device=device)
    d, nearest = tf.distance_transform(weight, tree, all_seeds, path)
    assert (d == 0).all()
    assert torch.equal(nearest, torch.arange(35, device=device).expand(2, -1))
    d, nearest = tf.distance_transform(weight, tree, ~all_seeds, path)
    assert (d == torch.inf).all()
    assert (nearest == -1).all()


@pytest.mark.parametrize("path", PATHS)
def test_component_without_seed(device, path):
    graph = tf.grid(1, 6)
    weight = torch.tensor([[1.0, torch.inf, 1.0, torch.inf, 1.0]], device=device)
    tree = tf.mst(weight, graph)
    seeds = torch.tensor([[0, 1, 0, 0, 1, 0]], dtype=torch.bool, device=device)
    d, nearest = tf.distance_transform(weight, tree, seeds, path)
    assert d.tolist() == [[1, 0, torch.inf, torch.inf, 0, 1]]
    assert nearest.tolist() == [[1, 1, -1, -1, 4, 4]]


# --- derivatives ----------------------------------------------------------------------------------

CASES = {  # graph, share of absent edges, batches of weights and trees
    "image": (tf.grid(3, 5), 0, 2, 2),
    "forest": (tf.grid(5, 3, connectivity=8), 0.7, 1, 1),
    "shared tree": (tf.grid(3, 3), 0.2, 3, 1),
    "matrix": (tf.grid(2, 3), 0.2, 2, 2),
    "volume": (tf.grid(2, 3, 2), 0, 1, 1),
    "line": (tf.grid(1, 7), 0, 1, 1),
    "edge list": (tf.graph(torch.tensor([[0, 1, 2, 2, 4], [1, 2, 2, 0, 1]]), 6), 0, 1, 1),
}


def build(case, device):
    """(weight, tree, seeds); the weights are distinct and want gradients."""
    graph, absent, batch, trees = CASES[case]
    topology = uniform(1, trees, graph.num_edges)
    topology[uniform(2, *topology.shape) < absent] = torch.inf
    tree = tf.mst(topology.to(device), graph.to(device), root=graph.num_nodes // 2)
    weight = uniform(3, batch, graph.num_edges, low=0.5).to(device).requires_grad_()
    seeds = uniform(4, batch, graph.num_nodes) < 0.3
    return weight, tree, seeds.to(device)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_derivatives(device, path, case):
    weight, tree, seeds = build(case, device)
    source = torch.tensor([0, tree.num_nodes - 1, 0, tree.num_nodes // 3], device=device)
    own = torch.stack([source.roll(b) for b in range(len(weight))])

    def finite(d):
        return torch.where(d < torch.inf, d, 0)

    for function in (
        lambda weight: finite(tf.distance(weight, tree, source, path)),
        lambda weight: finite(tf.distance(weight, tree, own, path)),
        lambda weight: finite(tf.distance_transform(weight, tree, seeds, path)[0]),
    ):
        assert gradcheck(function, weight)
        # Distances are piecewise linear; their squares have second derivatives that are not 0.
        assert gradgradcheck(lambda weight, f=function: f(weight).square(), weight)


@pytest.mark.parametrize("path", PATHS)
def test_derivatives_of_the_matrix(device, path):
    weight, tree, _ = build("matrix", device)

    def function(weight):
        d = tf.distance_matrix(weight, tree, path)
        return torch.where(d < torch.inf, d, 0)

    assert gradcheck(function, weight)
    assert gradgradcheck(lambda weight: function(weight).square(), weight)


def gradient(module, call, weight, grad):
    leaf = weight.clone().requires_grad_()
    d = call(module, leaf)
    if not d.requires_grad:  # no edge at all
        return torch.zeros(weight.shape, dtype=weight.dtype)
    grad = torch.where(d < torch.inf, grad, 0)
    return torch.autograd.grad(d, leaf, grad, materialize_grads=True)[0].cpu()


@pytest.mark.parametrize("path", PATHS)
@given(drawn=inputs(("random", "ties", "negative ties"), max_nodes=20), seed=SEEDS)
def test_gradient_of_distance_equals_reference(device, path, drawn, seed):
    """Ties included: the gradient of a maximum goes to the largest weight nearest to the source."""
    weight, tree = drawn
    source = torch.from_numpy(np.random.default_rng(seed).integers(0, tree.num_nodes, 3))
    grad = normal(seed, len(weight), 3, tree.num_nodes)
    there, where = tree.to(device), source.to(device)
    actual = gradient(
        tf, lambda m, w: m.distance(w, there, where, path), weight.to(device), grad.to(device)
    )
    expected = gradient(tf.reference, lambda m, w: m.distance(w, tree, source, path), weight, grad)
    assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("path", "kind"), [("sum", "random"), ("sum", "ties"), ("max", "random")])
@given(st.data(), SEEDS)
def test_gradient_of_the_transform_equals_reference(device, path, kind, data, seed):
    weight, tree = data.draw(inputs((kind,), max_nodes=15))
    seeds = uniform(seed, len(weight), tree.num_nodes) < 0.15
    grad = normal(seed, len(weight), tree.num_nodes)
    there, where = tree.to(device), seeds.to(device)
    actual = gradient(
        tf,
        lambda m, w: m.distance_transform(w, there, where, path)[0],
        weight.to(device),
        grad.to(device),
    )
    expected = gradient(
        tf.reference, lambda m, w: m.distance_transform(w, tree, seeds, path)[0], weight, grad
    )
    assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def test_gradient_of_equal_maxima_goes_to_the_one_nearest_to_the_source(device):
    graph = tf.grid(1, 5)
    tree = tf.mst(torch.ones(1, 4, device=device), graph, root=2)
    weight = torch.tensor([[1.0, 2, 2, 1]], device=device, requires_grad=True)
    for source, expected in ((0, [0, 1, 0, 0]), (4, [0, 0, 1, 0])):
        d = tf.distance(weight, tree, torch.tensor([source], device=device), "max")
        (grad,) = torch.autograd.grad(d[0, 0, 4 - source], weight)
        assert grad.tolist() == [expected]


# --- large trees ----------------------------------------------------------------------------------


def test_large_image_against_dijkstra(device):
    graph = tf.grid(257, 301)
    weight = tf.edge_weight(photograph(257, 301), graph).double() + 1e-3
    tree = tf.mst(weight, graph)
    parent, w = tree.parent[0].numpy(), on_tree(weight, tree, 0)
    v = np.flatnonzero(parent != np.arange(len(parent)))
    links = sparse.csr_array((w[v], (v, parent[v])), shape=(len(parent),) * 2)
    source = np.array([0, 40_000, 77_000])
    expected = torch.from_numpy(dijkstra(links, directed=False, indices=source))
    there = tree.to(device)
    d = tf.distance(weight.to(device), there, torch.from_numpy(source).to(device))
    assert_close(d[0].cpu(), expected, rtol=1e-11, atol=0)
    seeds = torch.zeros(1, graph.num_nodes, dtype=torch.bool)
    seeds[0, source] = True
    d, nearest = tf.distance_transform(weight.to(device), there, seeds.to(device))
    assert_close(d[0].cpu(), expected.amin(0), rtol=1e-11, atol=0)
    assert torch.equal(nearest[0].cpu(), torch.from_numpy(source)[expected.argmin(0)])


@pytest.mark.parametrize("path", PATHS)
def test_snake_of_four_million_pixels(device, path):
    graph, weight, snake_path = snake(2001, 2003)
    tree = tf.mst(weight.to(device), graph.to(device), root=int(snake_path[1_000_000]))
    num_nodes = len(snake_path)
    place = torch.empty_like(snake_path)
    place[snake_path] = torch.arange(num_nodes)
    at = torch.tensor([17, 3_000_000])  # along the path
    weight = weight.double().to(device).requires_grad_()
    d = tf.distance(weight, tree, snake_path[at].to(device), path)
    steps = (place[None] - at[:, None]).abs()
    expected = steps if path == "sum" else (steps > 0)
    assert torch.equal(d[0].detach().cpu(), expected.double())
    seeds = torch.zeros(1, num_nodes, dtype=torch.bool)
    seeds[0, snake_path[at]] = True
    shortest, nearest = tf.distance_transform(weight, tree, seeds.to(device), path)
    assert torch.equal(shortest[0].detach().cpu(), expected.double().amin(0))
    named = nearest[0].cpu()[snake_path]
    if path == "max":  # all equal: each has a segment of the path that it is on
        assert named[at].tolist() == snake_path[at].tolist()
        assert len(named.unique_consecutive()) == 2
    else:
        tied = torch.where(
            steps[0] == steps[1], snake_path[at].min(), snake_path[at][steps.argmin(0)]
        )
        assert torch.equal(nearest[0].cpu(), tied)
    (grad,) = torch.autograd.grad(shortest.sum() + d.sum(), weight)
    assert_close(grad.sum().cpu(), expected.sum() + expected.amin(0).sum().double())


# --- conventions ----------------------------------------------------------------------------------


def calls(tree, path):
    """Every function as one of the weight."""
    source = torch.tensor([5, 0], device=tree.parent.device)
    seeds = (uniform(4, 2, tree.num_nodes) < 0.2).to(tree.parent.device)
    return [
        lambda weight: tf.distance(weight, tree, source, path),
        lambda weight: tf.distance_transform(weight, tree, seeds[: len(weight)], path)[0],
        lambda weight: tf.distance_matrix(weight, tree, path),
    ]


@pytest.fixture
def small(device):
    """(weight, tree): two images of 5×7."""
    graph = tf.grid(5, 7)
    weight = uniform(1, 2, graph.num_edges).to(device)
    return weight, tf.mst(weight, graph, root=20)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(small, path, dtype):
    weight, tree = small
    for function in calls(tree, path):
        d = function(weight.to(dtype))
        assert d.dtype == (torch.float32 if path == "sum" else dtype)  # a sum may exceed 16 bits
        assert torch.equal(d, function(weight.to(dtype).float()).to(d.dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_beyond_half_precision(device, dtype):
    graph = tf.grid(1, 100)
    weight = torch.full((1, 99), 1000.0, dtype=dtype, device=device, requires_grad=True)
    tree = tf.mst(weight, graph)
    d = tf.distance(weight, tree, torch.tensor([0], device=device))
    assert d[0, 0, -1] == 99 * weight[0, 0].item()
    (grad,) = torch.autograd.grad(d[0, 0, -1], weight)
    assert grad.dtype == dtype
    assert grad.sum() == 99


@pytest.mark.parametrize("path", PATHS)
def test_strided_inputs(small, path):
    weight, tree = small
    for function in calls(tree, path):
        for strided in (weight.T.contiguous().T, torch.stack([weight] * 2, -1)[..., 1]):
            assert not strided.is_contiguous()
            assert torch.equal(function(strided), function(weight))
        row = weight[:1].expand(2, -1)
        assert torch.equal(function(row), function(row.contiguous()))
    seeds = uniform(4, 2, 5, 7).to(weight.device) < 0.2
    source = torch.tensor([[1, 2], [3, 4], [5, 6]], device=weight.device)
    for strided in (seeds.mT.contiguous().mT, seeds[:1].expand(2, -1, -1)):
        actual = tf.distance_transform(weight, tree, strided, path)
        expected = tf.distance_transform(weight, tree, strided.contiguous(), path)
        assert all(map(torch.equal, actual, expected))
    expected = tf.distance(weight, tree, source.T.contiguous(), path)
    assert torch.equal(tf.distance(weight, tree, source.T, path), expected)


@pytest.mark.parametrize("path", PATHS)
def test_inputs_are_unchanged(small, path):
    weight, tree = small
    seeds = uniform(4, 2, 35).to(weight.device) < 0.2
    source = torch.tensor([3, 4], device=weight.device)
    leaf = weight.clone().requires_grad_()
    before = seeds.clone()
    topology = [t.clone() for t in (tree.parent, tree.edge, tree.order)]
    d = tf.distance(leaf, tree, source, path).sum() + tf.distance_matrix(leaf, tree, path).sum()
    (d + tf.distance_transform(leaf, tree, seeds, path)[0].sum()).backward()
    assert torch.equal(leaf, weight)
    assert torch.equal(seeds, before)
    assert source.tolist() == [3, 4]
    assert all(map(torch.equal, (tree.parent, tree.edge, tree.order), topology))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_smallest_sizes(device, path, batch, shape):
    graph = tf.grid(*shape)
    n = graph.num_nodes
    weight = torch.ones(batch, graph.num_edges, device=device, requires_grad=True)
    tree = tf.mst(weight, graph)
    source = torch.zeros(1, dtype=torch.int64, device=device)
    d = tf.distance(weight, tree, source, path)
    line = torch.arange(n) if path == "sum" else (torch.arange(n) > 0)
    assert torch.equal(d.detach().cpu(), line.float().expand(batch, 1, n))
    none = tf.distance(weight, tree, source[:0], path)
    assert none.shape == (batch, 0, n)
    seeds = torch.arange(n, device=device).expand(batch, n) == 0
    shortest, nearest = tf.distance_transform(weight, tree, seeds, path)
    assert torch.equal(shortest.detach().cpu(), line.float().expand(batch, n))
    assert torch.equal(nearest, torch.zeros_like(nearest))
    assert nearest.shape == (batch, n)
    assert tf.distance_matrix(weight, tree, path).shape == (batch, n, n)
    total = d.sum() + none.sum() + shortest.sum()
    if total.requires_grad:  # it need not raise where there is no edge
        (grad,) = torch.autograd.grad(total, weight, materialize_grads=True)
        assert grad.shape == weight.shape
        assert grad.sum() == 2 * batch * (line.sum())


@pytest.mark.parametrize("path", PATHS)
def test_same_bits_at_any_thread_count_and_batch_position(device, path, assert_same_bits):
    graph = tf.grid(65, 77)
    weights = uniform(1, 3, graph.num_edges, dtype=torch.float32).to(device)
    trees = tf.mst(weights, graph)
    source = torch.arange(0, 5000, 500, device=device)
    seeds = (uniform(2, 3, graph.num_nodes) < 0.01).to(device)
    grads = normal(3, 3, 10, graph.num_nodes, dtype=torch.float32).to(device)

    def run(images=slice(None)):
        w = weights[images].clone().requires_grad_()
        d = tf.distance(w, trees[images], source, path)
        shortest, nearest = tf.distance_transform(w, trees[images], seeds[images], path)
        results = [d.detach(), shortest.detach(), nearest]
        results += torch.autograd.grad(d, w, grads[images])
        return results + list(torch.autograd.grad(shortest, w, grads[images, 0]))

    assert_same_bits(run, batch=3)


@pytest.mark.parametrize("path", ["sum", "max"])
def test_infinite_weights_on_a_tree_from_elsewhere_are_missing_edges(device, path):
    graph = tf.grid(1, 4)
    tree = tf.mst(torch.zeros(1, 3, device=device), graph)
    weight = torch.tensor([[1.0, torch.inf, 2.0]], device=device, requires_grad=True)
    seeds = torch.tensor([[True, False, False, False]], device=device)
    distance, nearest = tf.distance_transform(weight, tree, seeds, path)
    assert distance.tolist() == [[0, 1, torch.inf, torch.inf]]
    assert nearest.tolist() == [[0, 0, -1, -1]]
    (grad,) = torch.autograd.grad(distance[0, 1], weight)
    assert grad.tolist() == [[1, 0, 0]]
    source = torch.tensor([3], device=device)
    got = tf.distance(weight, tree, source, path)
    assert got.tolist() == [[[torch.inf, torch.inf, 2, 0]]]


def test_a_hub_with_many_children():
    """A star whose centre has the nearest of many seeds among its leaves, and its gradient."""
    size, generator = 5000, torch.Generator().manual_seed(1)
    edges = torch.stack([torch.zeros(size - 1, dtype=torch.int64), torch.arange(1, size)])
    weight = torch.randint(1, 1000, (1, size - 1), generator=generator).double().requires_grad_()
    tree = tf.mst(weight.detach(), tf.graph(edges, size))
    seeds = torch.rand(1, size, generator=generator) < 0.3
    found, nearest = tf.distance_transform(weight, tree, seeds)
    lightest = int(torch.where(seeds[0, 1:], weight[0], torch.inf).argmin())
    assert nearest[0, 0] == lightest + 1
    assert found[0, 0] == weight[0, lightest]
    found[0, 0].backward()
    assert weight.grad.nonzero().tolist() == [[0, lightest]]
    weight.grad = None
    tf.distance(weight, tree, torch.tensor([0])).sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))
