"""sigma_for_mass: the σ of a median mass."""

import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import uniform

import treefilter as tf


def masses(weight, tree, sigma):
    """(B, N), by brute force."""
    d = tf.reference.distance_matrix(weight.double(), tree)
    return (-d / sigma.double().view(-1, 1, 1)).exp().sum(2)


@given(
    st.integers(1, 6), st.integers(1, 6), st.floats(0.001, 1), st.floats(0, 0.5), st.integers(0, 99)
)
def test_reference(height, width, mass, absent, seed):
    graph = tf.grid(height, width)
    weight = uniform(seed, 2, graph.num_edges)
    weight[uniform(seed + 1, *weight.shape) < absent / 2] = 0
    weight[uniform(seed + 2, *weight.shape) < absent] = torch.inf
    tree = tf.mst(weight, graph)
    for counted in (None, uniform(seed + 3, 2, graph.num_nodes) < 0.7):
        sigma = tf.sigma_for_mass(weight, tree, mass, counted=counted)
        expected = tf.reference.sigma_for_mass(weight, tree, mass, counted=counted)
        torch.testing.assert_close(sigma, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("mass", [0.02, 0.1, 0.5])
def test_half_of_the_vertices_have_that_mass(dtype, mass):
    graph = tf.grid(12, 15)
    weight = tf.edge_weight(uniform(0, 3, 3, 12, 15), graph).to(dtype)
    tree = tf.mst(weight, graph)
    sigma = tf.sigma_for_mass(weight, tree, mass)
    assert sigma.shape == (3,)
    assert sigma.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    target = mass * graph.num_nodes
    above, below = (masses(weight, tree, sigma * f) for f in (1.001, 0.999))
    assert ((above >= target).sum(1) * 2 > graph.num_nodes).all()
    assert ((below >= target).sum(1) * 2 <= graph.num_nodes).all()


def test_what_fills_up_an_image_does_not_change_its_sigma():
    image = uniform(0, 1, 3, 12, 15)
    padded = torch.nn.functional.pad(image, (0, 9, 7, 0))  # one end of the tree is all padding
    inside = torch.nn.functional.pad(torch.ones(1, 12, 15), (0, 9, 7, 0)).bool()

    def sigma(guide, counted=None):
        graph = tf.grid(*guide.shape[2:])
        weight = tf.edge_weight(guide, graph)
        return tf.sigma_for_mass(weight, tf.mst(weight, graph), 0.1, counted=counted)

    alone = sigma(image)
    torch.testing.assert_close(sigma(padded, inside.flatten(1)), alone, rtol=0.02, atol=0)
    assert sigma(padded) < alone / 2


def test_groups_and_a_common_tree():
    graph = tf.grid(6, 7)
    weight = uniform(1, 2, 3, graph.num_edges)
    tree = tf.mst(weight[:1, 0], graph)
    sigma = tf.sigma_for_mass(weight, tree, 0.2)
    assert sigma.shape == (2, 3)
    for g in range(3):
        assert torch.equal(sigma[:, g], tf.sigma_for_mass(weight[:, g], tree, 0.2))
    assert torch.equal(sigma[1:], tf.sigma_for_mass(weight[1:], tree, 0.2))
    assert tf.affinity(weight, tree, sigma).shape == (2, 3, 42)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-20, 2.0**90])
def test_scales_with_the_weights(scale):
    graph = tf.grid(8, 8)
    weight = uniform(2, 1, graph.num_edges).float()
    tree = tf.mst(weight, graph)
    small = tf.sigma_for_mass(weight * scale, tree, 0.1) / scale
    torch.testing.assert_close(small, tf.sigma_for_mass(weight, tree, 0.1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_weights_give_a_sigma_that_affinity_takes(dtype):
    graph = tf.grid(3, 4)
    limits = torch.finfo(dtype)
    for value in (limits.smallest_normal * limits.eps, limits.tiny, limits.max):
        weight = torch.full((1, graph.num_edges), value, dtype=dtype)
        tree = tf.mst(weight, graph)
        for mass in (1e-9, 0.3, 1):
            sigma = tf.sigma_for_mass(weight, tree, mass)
            tf.affinity(weight, tree, sigma[:, None])


def test_where_no_sigma_gives_the_mass():
    graph = tf.grid(1, 4)
    weight = torch.tensor([[0.5, math.inf, 2.0], [0.0, 0.0, math.inf], [0.5, 0.25, 2.0]])
    tree = tf.mst(weight, graph)
    largest = tf.sigma_for_mass(weight, tree, 1)
    torch.testing.assert_close(largest, torch.tensor([16 * 4 * 2.0, 1, 16 * 4 * 2.0]))
    smallest = tf.sigma_for_mass(weight, tree, 0.25)
    torch.testing.assert_close(smallest, torch.tensor([0.5, 128, 0.25]) / 128, rtol=1e-4, atol=0)
    one = tf.grid(1, 1)
    empty = torch.zeros(2, 0)
    assert tf.sigma_for_mass(empty, tf.mst(empty, one)).tolist() == [1, 1]


def test_negative_weights_and_nan_give_nan():
    graph = tf.grid(1, 4)
    tree = tf.mst(torch.rand(1, 3), graph)
    weight = torch.tensor([[0.1, math.nan, 0.2], [0.1, -0.1, 0.2], [0.1, 0.1, 0.2]])
    for function in (tf.sigma_for_mass, tf.reference.sigma_for_mass):
        assert function(weight, tree).isnan().tolist() == [True, True, False]


def test_has_no_derivative_and_does_not_change_its_input():
    graph = tf.grid(4, 4)
    weight = uniform(3, 1, graph.num_edges).requires_grad_()
    tree = tf.mst(weight, graph)
    before = weight.detach().clone()
    assert not tf.sigma_for_mass(weight, tree).requires_grad
    assert torch.equal(before, weight)


def test_threads_and_position_in_the_batch():
    graph = tf.grid(30, 30)
    weight = uniform(4, 3, graph.num_edges)
    tree = tf.mst(weight, graph)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(tf.sigma_for_mass(weight, tree, 0.01))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], each) for each in results)
    for b in range(3):
        alone = tf.sigma_for_mass(weight[b : b + 1], tree[b], 0.01)
        assert torch.equal(alone, results[0][b : b + 1])


@pytest.mark.skipif(os.name == "nt", reason="torch.compile needs a compiler")
def test_compiles_maps_and_traces_shapes():
    graph = tf.grid(5, 6)
    weight = uniform(5, 2, 2, graph.num_edges)
    tree = tf.mst(weight[:, 0], graph)

    def run(w):
        return tf.sigma_for_mass(w, tree, 0.1)

    expected = run(weight)
    assert torch.equal(torch.compile(run, fullgraph=True, backend="aot_eager")(weight), expected)
    mapped = torch.vmap(run, in_dims=1, out_dims=1)(weight)
    assert torch.equal(mapped, expected)
    assert tf.sigma_for_mass(weight.to("meta"), tree.to("meta")).shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mass": 0}, ValueError, r"mass must be in \(0, 1\], got 0"),
        ({"mass": 1.5}, ValueError, r"mass must be in \(0, 1\], got 1.5"),
        ({"mass": math.nan}, ValueError, r"mass must be in \(0, 1\], got nan"),
        ({"mass": "1"}, TypeError, "mass must be a number, got str"),
        ({"mass": torch.ones(())}, TypeError, "mass must be a number, got Tensor"),
        ({"weight": torch.ones(7)}, ValueError, r"weight must have shape \(B, E\) or \(B, G, E\)"),
        ({"weight": torch.ones(1, 7).int()}, TypeError, "weight must be"),
        ({"tree": None}, TypeError, "tree must be a treefilter.Tree"),
        ({"weight": torch.ones(3, 4)}, ValueError, "weight must have batch 2 like the tree, got 3"),
        ({"counted": torch.ones(2, 4)}, TypeError, "counted must be a bool tensor"),
        (
            {"counted": torch.ones(4, dtype=torch.bool)},
            ValueError,
            r"counted must have shape \(2, 4\), got \(4,\)",
        ),
        ({"weight": torch.ones(2, 4, device="meta")}, ValueError, "tree must be on meta"),
    ],
)
def test_errors(arguments, error, message):
    weight = torch.ones(2, 4)
    tree = tf.mst(weight, tf.grid(2, 2))
    with pytest.raises(error, match=f"^sigma_for_mass: {message}"):
        tf.sigma_for_mass(**{"weight": weight, "tree": tree, "mass": 0.1, **arguments})


def test_the_largest_sigma_is_finite():
    graph = tf.grid(5, 6)
    weight = uniform(1, 1, graph.num_edges, low=0.5).float() * 3e38
    tree = tf.mst(weight, graph)
    largest = torch.finfo(torch.float32).max
    for module in (tf, tf.reference):
        assert module.sigma_for_mass(weight, tree, 0.9).tolist() == [largest]


def test_paths_longer_than_the_largest_number():
    largest = torch.finfo(torch.float64).max
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.7, 1.0, 0.5, 0.9]], dtype=torch.float64)
    tree = tf.mst(weight, tf.grid(1, 5))
    expected = tf.reference.sigma_for_mass(weight, tree, 0.3) * largest
    for module in (tf, tf.reference):
        sigma = module.sigma_for_mass(weight * largest, tree, 0.3)
        torch.testing.assert_close(sigma, expected, rtol=1e-4, atol=0)
