"""The reference against brute force, and its derivatives against finite differences."""

import inspect
import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import oracle
import pytest
import test_distance
import test_filter
import test_filter_derivatives
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, graphs, normal, uniform, weights
from test_edge_weight import METRICS, SMALL_GRAPHS, by_scipy
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import treefilter as tf
from treefilter import reference

FEW = settings(max_examples=25)  # it is slow
PASSES, PATHS = test_filter.PASSES, test_distance.PATHS


@pytest.mark.parametrize("name", reference.__all__)
def test_signatures_are_those_of_the_package(name):
    fast, slow = (inspect.signature(getattr(module, name)) for module in (tf, reference))
    assert slow == fast


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@given(graph=graphs(), channels=st.integers(1, 5), seed=SEEDS)
def test_edge_weight(metric, graph, channels, seed):
    guide = normal(seed, 2, channels, *(graph.shape or [graph.num_nodes]))
    weight = reference.edge_weight(guide, graph, metric)
    assert_close(weight, by_scipy(guide, graph, metric), rtol=1e-12, atol=1e-14)


@given(st.data(), graphs(), st.integers(0, 2))
def test_mst(data, graph, batch):
    weight = data.draw(weights(graph, batch))
    root = data.draw(st.integers(0, graph.num_nodes - 1))
    tree = reference.mst(weight, graph, root=root)
    assert tree.shape == graph.shape
    assert tree.parent.dtype == tree.edge.dtype == tree.order.dtype == torch.int32
    assert tree.parent.shape == tree.edge.shape == tree.order.shape == (batch, graph.num_nodes)
    ends, vertices = graph.edge_index.numpy(), range(graph.num_nodes)
    for b in range(batch):
        chosen = oracle.kruskal(weight[b].numpy(), ends, graph.num_nodes)
        parent, edge = oracle.hang(chosen, ends, graph.num_nodes, root)
        np.testing.assert_array_equal(tree.parent[b], parent)
        np.testing.assert_array_equal(tree.edge[b], edge)
        assert tree.order[b].tolist() == sorted(vertices, key=lambda v: -depth(parent, v))


def depth(parent, v):
    """The number of edges between a vertex and its root."""
    steps = 0
    while parent[v] != v:
        v, steps = parent[v], steps + 1
    return steps


def test_mst_takes_a_root_per_image():
    graph = tf.grid(3, 5)
    tree = reference.mst(normal(1, 3, graph.num_edges), graph, root=torch.tensor([14, 0, 7]))
    assert tree.roots.nonzero().tolist() == [[0, 14], [1, 0], [2, 7]]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("shape", test_filter.SIGMAS)
def test_affinity(shape, grouped):
    graph = tf.grid(5, 7)
    tree = reference.mst(normal(1, 2, graph.num_edges), graph, root=3)
    weight = uniform(2, *((2, 3) if grouped else (2,)), graph.num_edges)
    sigma = uniform(3, *shape, low=0.5)
    a = reference.affinity(weight, tree, sigma)
    assert a.shape == test_filter.SIGMAS[shape][grouped]
    wide = weight if grouped else weight.unsqueeze(1).expand(2, 3, -1)
    expected = test_filter.affinity_by_hand(wide, tree, sigma.expand(2, 3))
    assert_close(a, expected if a.ndim == 3 else expected[:, 0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", PASSES)
@FEW
@given(drawn=test_filter.inputs())
def test_filter_and_passes(name, drawn):
    x, tree, affinity = drawn
    y = test_filter.apply(name, x, tree, affinity, reference)
    assert_close(y, test_filter.by_oracle(name, x, tree, affinity), rtol=1e-11, atol=1e-11)
    single = test_filter.apply(name, x.float(), tree, affinity.float(), reference)
    assert single.dtype == torch.float32


@pytest.mark.parametrize("path", PATHS)
@FEW
@given(drawn=test_distance.inputs(kinds=("random", "ties", "negative")), seed=SEEDS)
def test_distances(path, drawn, seed):
    weight, tree = drawn
    expected = test_distance.by_oracle(weight, tree, path)
    d = reference.distance_matrix(weight, tree, path)
    assert_close(d, expected, rtol=1e-12, atol=1e-12)
    source = np.random.default_rng(seed).integers(0, tree.num_nodes, (len(weight), 2))
    own = reference.distance(weight, tree, torch.from_numpy(source), path)
    shared = reference.distance(weight, tree, torch.from_numpy(source[0]), path)
    for b in range(len(weight)):
        assert_close(own[b], expected[b, source[b]], rtol=1e-12, atol=1e-12)
        assert_close(shared[b], expected[b, source[0]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@FEW
@given(drawn=test_distance.inputs(), seed=SEEDS)
def test_distance_transform(path, drawn, seed):
    weight, tree = drawn
    seeds = uniform(seed, len(weight), tree.num_nodes) < 0.15
    d, nearest = reference.distance_transform(weight, tree, seeds, path)
    expected = test_distance.transform_by_oracle(weight, tree, seeds, path)
    assert_close(d, expected[0], rtol=1e-12, atol=0)
    assert torch.equal(nearest, expected[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    graph = tf.grid(3, 5)
    guide = uniform(1, 2, 3, 3, 5).to(dtype)
    weight = reference.edge_weight(guide, graph).to(dtype)
    tree = reference.mst(weight, graph)
    affinity = reference.affinity(weight, tree, 0.5)
    source, seeds = torch.tensor([1]), torch.ones(2, 3, 5, dtype=torch.bool)
    bounded = [
        lambda x, w, a: reference.affinity(w, tree, 0.5),
        lambda x, w, a: reference.filter(x, tree, a),
        lambda x, w, a: reference.leaf_to_root(x, tree, a),
        lambda x, w, a: reference.root_to_leaf(x, tree, a),
        lambda x, w, a: reference.distance(w, tree, source, "max"),
        lambda x, w, a: reference.distance_transform(w, tree, seeds, "max")[0],
        lambda x, w, a: reference.distance_matrix(w, tree, "max"),
    ]
    sums = [
        lambda x, w, a: reference.edge_weight(x, graph),
        lambda x, w, a: reference.distance(w, tree, source),
        lambda x, w, a: reference.distance_transform(w, tree, seeds)[0],
        lambda x, w, a: reference.distance_matrix(w, tree),
    ]
    for function in (*bounded, *sums):
        half = function(guide, weight, affinity)
        wide = function(guide.float(), weight.float(), affinity.float())
        assert wide.dtype == torch.float32
        assert half.dtype == (torch.float32 if function in sums else dtype)
        assert torch.equal(half, wide.to(half.dtype))


# --- extreme values -------------------------------------------------------------------------------

TINY = {torch.float32: 2.0**-149, torch.float64: 2.0**-1074}
PAIR = tf.grid(1, 2)


def exactly(u, v, metric):
    """The dissimilarity of two vectors in rational numbers, and its root to 60 digits."""
    getcontext().prec, getcontext().Emax, getcontext().Emin = 60, 10**6, -(10**6)
    u, v = ([Decimal(number) for number in row] for row in (u, v))
    if metric == "cosine":
        lengths = [sum(x * x for x in row).sqrt() for row in (u, v)]
        u, v = ([x / (size or 1) for x in row] for row, size in zip((u, v), lengths, strict=True))
    d = [abs(a - b) for a, b in zip(u, v, strict=True)]
    squares = sum((x * x for x in d), Decimal(0))
    return {
        "sqeuclidean": squares,
        "euclidean": squares.sqrt(),
        "cityblock": sum(d, Decimal(0)),
        "chebyshev": max(d),
        "cosine": squares / 2,
    }[metric]


def extremes(dtype):
    """Pairs of vectors with entries of every magnitude, by which sums overflow and vanish."""
    largest, tiny = torch.finfo(dtype).max, TINY[dtype]
    values = [0.0, tiny, 7 * tiny, tiny**0.5, 1.0, 1.5, 20.0]
    values += [largest**0.5 * 3, largest / 2, largest]
    values = [float(torch.tensor(v, dtype=dtype)) for v in values]
    values += [-v for v in values[1:]]
    rng = np.random.default_rng(5)
    yield from (([a], [b]) for a in values for b in values)
    yield from (rng.choice(values, (2, 3)).tolist() for _ in range(300))


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize("metric", METRICS)
def test_edge_weight_at_extreme_values(metric, dtype):
    """Against 60 digits. What is beyond the type is its largest number, and never infinite."""
    largest = torch.finfo(dtype).max
    for u, v in extremes(dtype):
        guide = torch.tensor([u, v], dtype=dtype).T[None]
        got = reference.edge_weight(guide, PAIR, metric).item()
        right = exactly(u, v, metric)
        if metric == "cosine":  # which loses digits where vectors are nearly the same
            assert abs(got - float(right)) <= (1e-6 if dtype == torch.float32 else 1e-14), (u, v)
        elif right > Decimal(largest):
            assert got == largest, (u, v)
        else:
            assert got == pytest.approx(float(right), rel=4e-7 if dtype == torch.float32 else 1e-14,
                                        abs=TINY[dtype]), (u, v)  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_guides_have_float32_weights(metric, dtype):
    """256 channels around 20 became infinite: 120 trees where there is one."""
    guide = (uniform(1, 1, 256, 10, 12) * 40).to(dtype)
    graph = tf.grid(10, 12)
    weight = reference.edge_weight(guide, graph, metric)
    assert weight.dtype == torch.float32
    assert torch.equal(weight, reference.edge_weight(guide.float(), graph, metric))
    assert reference.mst(weight, graph).roots.sum() == 1


@pytest.mark.parametrize("metric", METRICS)
def test_nan_stays_nan(metric):
    for double in (False, True):
        guide = torch.tensor([[[1.0, math.nan, 3.0], [0.0, 0.0, 0.0]]])
        weight = reference.edge_weight(guide.double() if double else guide, tf.grid(1, 3), metric)
        assert weight.isnan().all()


@pytest.mark.parametrize("metric", METRICS)
def test_nan_beside_a_difference_beyond_the_range_stays_nan(metric):
    for first in (math.nan, math.inf):
        guide = torch.tensor([[[first, 1.0], [1.5e308, -1.5e308]]], dtype=torch.float64)
        for edge_weight in (reference.edge_weight, tf.edge_weight):
            assert edge_weight(guide, tf.grid(1, 2), metric).isnan().all()


@pytest.mark.parametrize("path", ["sum", "max"])
@pytest.mark.parametrize("distance_matrix", [reference.distance_matrix, tf.distance_matrix])
def test_nan_on_a_path_stays_nan(distance_matrix, path):
    tree = tf.mst(torch.zeros(1, 4), tf.grid(1, 5), root=2)
    number = torch.arange(5)
    for edge in range(4):
        weight = torch.ones(1, 4)
        weight[0, edge] = math.nan
        across = (number <= edge).unsqueeze(1) != (number <= edge)
        assert torch.equal(distance_matrix(weight, tree, path).isnan()[0], across)


@pytest.mark.parametrize("metric", METRICS)
def test_infinity_is_no_feature(metric):
    """+inf would mean "no edge"; NaN is refused by mst."""
    guide = torch.tensor([[[1.0, math.inf, math.inf]]])
    for edge_weight in (reference.edge_weight, tf.edge_weight):
        assert edge_weight(guide, tf.grid(1, 3), metric).isnan().all()


def test_mst_compares_float64_as_it_is():
    graph = tf.graph(torch.tensor([[0, 1, 0], [1, 2, 2]]), 3)
    weight = torch.tensor([[2.0**24 + 1, 2.0**24, 2.0**24]], dtype=torch.float64)
    assert sorted(reference.mst(weight, graph).edge[0].tolist()) == [-1, 1, 2]
    rounded = reference.mst(weight.float(), graph)
    assert sorted(rounded.edge[0].tolist()) == [-1, 0, 1]


def test_finite_weights_are_never_missing():
    graph = tf.grid(1, 4)
    weight = torch.tensor([[1e300, 1e39, 1.7e308]], dtype=torch.float64)
    assert reference.mst(weight, graph).roots.sum() == 1


@pytest.mark.parametrize(
    "sigma", [0.1, 1 / 3, 2**70, 2.0**70, 1e-300, 1e300, np.float32(0.1), Fraction(1, 3)]
)
def test_affinity_in_float64(sigma):
    """σ was rounded to float32: 9e-7 off; integers beyond 2⁶³ raised."""
    graph = tf.grid(1, 3)
    for w in (0.0, 1e-301, 0.7, 3e5):
        weight = torch.tensor([[w, w]], dtype=torch.float64)
        a = reference.affinity(weight, reference.mst(weight, graph), sigma)
        exact = math.exp(-float(Fraction(w) / Fraction(float(sigma))))
        assert a[0].tolist() == pytest.approx([0.0, exact, exact], rel=1e-13, abs=0)


# --- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("graph", SMALL_GRAPHS, ids=repr)
def test_derivatives_of_edge_weight(metric, graph):
    guide = normal(11, 1, 3, graph.num_nodes).requires_grad_()

    def function(guide):
        return reference.edge_weight(guide, graph, metric)

    assert gradcheck(function, guide)
    assert gradgradcheck(function, guide)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("case", ["forest", "groups", "shared tree", "shared affinity"])
def test_derivatives_of_filter_and_passes(name, case):
    x, tree, affinity = test_filter_derivatives.build(case, "cpu")

    def function(x, affinity):
        return test_filter.apply(name, x, tree, affinity, reference)

    assert gradcheck(function, (x, affinity), fast_mode=True)
    assert gradgradcheck(function, (x, affinity), fast_mode=True)


@pytest.mark.parametrize("shape", [(), (2, 1), (3,), (2, 3)])
def test_derivatives_of_affinity(shape):
    graph = tf.grid(3, 3)
    tree = reference.mst(uniform(1, 1, graph.num_edges), graph, root=4)
    weight = uniform(2, 2, graph.num_edges).requires_grad_()
    sigma = uniform(3, *shape, low=0.5).requires_grad_()

    def function(weight, sigma):
        return reference.affinity(weight, tree, sigma)

    assert gradcheck(function, (weight, sigma))
    assert gradgradcheck(function, (weight, sigma))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", ["forest", "shared tree"])
def test_derivatives_of_distances(path, case):
    weight, tree, seeds = test_distance.build(case, "cpu")
    source = torch.tensor([0, tree.num_nodes - 1])
    for function in (
        lambda weight: reference.distance(weight, tree, source, path),
        lambda weight: reference.distance_transform(weight, tree, seeds, path)[0],
    ):
        assert gradcheck(lambda weight, f=function: f(weight).nan_to_num(posinf=0), weight)
