"""The filter of the smallest affinities on paths, ``filter(path="min")``."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, forests, normal, photograph, snake, uniform
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import treefilter as tf


def by_pairs(x, parent, a):
    """(C, N): Σ_j A_ij x_j and Σ_j A_ij from all pairs of one image, in numpy."""
    n = len(parent)
    kernel = np.zeros((n, n))
    for i in range(n):
        kernel[i, i] = 1
        reached = [i]
        for v in reached:  # grows while it is read
            for u in range(n):
                if kernel[i, u] == 0 and u not in reached and (parent[u] == v or parent[v] == u):
                    step = a[u] if parent[u] == v else a[v]
                    kernel[i, u] = step if v == i else min(step, kernel[i, v])
                    reached.append(u)
    return x @ kernel.T, kernel.sum(1)


@pytest.mark.parametrize("kind", ["distinct", "ties"])
@given(data=st.data(), drawn=forests(24, 2), seed=SEEDS)
def test_equals_all_pairs(device, kind, data, drawn, seed):
    _, _, tree = drawn
    n = tree.num_nodes
    a = uniform(seed, 2, n, low=0.01)
    a = a.mul(3).ceil().div(3) if kind == "ties" else a
    x = normal(seed, 2, 3, n)
    normalize = data.draw(st.booleans())
    there = tree.to(device)
    y = tf.filter(x.to(device), there, a.to(device), normalize=normalize, path="min").cpu()
    assert y.dtype == torch.float64
    for b in range(2):
        total, mass = by_pairs(x[b].numpy(), tree.parent[b].numpy(), a[b].numpy())
        expected = total / mass if normalize else total
        np.testing.assert_allclose(y[b], expected, rtol=1e-11, atol=1e-11)
    expected = tf.reference.filter(x, tree, a, normalize=normalize, path="min")
    assert_close(y, expected, rtol=1e-11, atol=1e-11)
    single = tf.filter(x.float().to(device), there, a.to(device).float(), path="min")
    assert single.dtype == torch.float32


SHAPES = {  # graph, share of absent edges; batches of x, trees, affinities; channels, groups
    "batch": (tf.grid(2, 4), 0, (2, 2, 2), 2, None),
    "forest of groups": (tf.grid(3, 3), 0.4, (2, 2, 2), 4, 2),
    "one tree, groups": (tf.grid(2, 3), 0, (2, 1, 1), 2, 2),
    "one tree": (tf.grid(2, 2, connectivity=8), 0, (3, 1, 1), 1, 1),
    "one tree, affinities": (tf.grid(2, 3), 0, (2, 1, 2), 1, None),
    "one affinity": (tf.grid(2, 3), 0, (2, 2, 1), 1, None),
}


def build(shape, device):
    graph, absent, (batch, count, affinities), channels, groups = SHAPES[shape]
    topology = uniform(1, count, graph.num_edges)
    topology[uniform(2, *topology.shape) < absent] = torch.inf
    tree = tf.mst(topology.to(device), graph, root=graph.num_nodes // 2)
    x = normal(3, batch, channels, *graph.shape).to(device)
    sizes = (affinities, *([] if groups is None else [groups]), graph.num_nodes)
    return x, tree, uniform(4, *sizes, low=0.1, high=0.9).to(device)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives(device, shape, normalize):
    x, tree, a = build(shape, device)

    def function(x, a):
        return tf.filter(x, tree, a, normalize=normalize, path="min")

    expected = tf.reference.filter(
        x.cpu(), tree.to("cpu"), a.cpu(), normalize=normalize, path="min"
    )
    assert_close(function(x, a).cpu(), expected)
    inputs = (x.requires_grad_(), a.requires_grad_())
    assert gradcheck(function, inputs, check_forward_ad=True)
    if shape in ("batch", "one tree, groups"):
        assert gradgradcheck(function, inputs, atol=1e-4)


def test_torch_func(device):
    x, tree, a = build("batch", device)

    def function(x, a):
        return tf.filter(x, tree, a, path="min")

    xs, many = torch.stack([x, x * 2]), torch.stack([a, 1 - a])
    expected = torch.stack([function(*pair) for pair in zip(xs, many, strict=True)])
    assert_close(torch.vmap(function)(xs, many), expected)
    _, tangent = torch.func.jvp(function, (x, a), (torch.ones_like(x), torch.zeros_like(a)))
    assert_close(tangent, torch.ones_like(x))
    jacobian = torch.func.jacrev(function, 1)(x, a)
    assert_close(torch.func.jacfwd(function, 1)(x, a), jacobian)


def test_a_photograph_and_constants(device):
    """Float32 results are those of float64, and a constant stays exactly that."""
    image = photograph(90, 100).to(device)
    graph = tf.grid(90, 100)
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree, 0.05)
    y = tf.filter(image, tree, a, path="min")
    assert_close(y, tf.filter(image.double(), tree, a.double(), path="min").float())
    constant = torch.full_like(image, 0.3)
    assert torch.equal(tf.filter(constant, tree, a, path="min"), constant)
    assert torch.equal(tf.filter(image, tree, torch.zeros_like(a), path="min"), image)
    mean = tf.filter(image, tree, torch.ones_like(a), path="min")
    assert_close(mean, image.mean((2, 3), keepdim=True).expand_as(mean))
    half = tf.filter(image.half(), tree, a, path="min")
    assert half.dtype == torch.float16
    assert torch.equal(half, tf.filter(image.half().float(), tree, a, path="min").half())


def test_a_long_snake(device):
    graph, weight, _ = snake(300, 301)
    weight = weight.to(device)
    tree = tf.mst(weight, graph)
    a = uniform(1, 1, graph.num_nodes, dtype=torch.float32).to(device)
    x = normal(2, 1, 1, graph.num_nodes, dtype=torch.float32).to(device)
    assert tf.filter(x, tree, a, path="min").isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1)])
@pytest.mark.parametrize(("batch", "channels"), [(0, 2), (1, 0), (2, 1)])
def test_smallest_sizes(device, shape, batch, channels):
    graph = tf.grid(*shape)
    tree = tf.mst(torch.ones(batch, graph.num_edges, device=device), graph)
    x = torch.ones(batch, channels, *shape, device=device)
    a = torch.full((batch, graph.num_nodes), 0.5, device=device)
    assert torch.equal(tf.filter(x, tree, a, path="min"), x)


def test_same_bits_at_any_thread_count_and_batch_position(device, assert_same_bits):
    graph = tf.grid(33, 41)
    weight = uniform(1, 3, graph.num_edges, dtype=torch.float32).to(device)
    trees = tf.mst(weight, graph)
    x = normal(2, 3, 5, 33, 41, dtype=torch.float32).to(device)
    grads = normal(3, 3, 5, 33, 41, dtype=torch.float32).to(device)

    def run(images=slice(None)):
        a = tf.affinity(weight[images], trees[images]).detach().requires_grad_()
        y = tf.filter(x[images], trees[images], a, path="min")
        return [y.detach(), *torch.autograd.grad(y, a, grads[images])]

    assert_same_bits(run, batch=3)


def test_errors(device):
    x, tree, a = build("batch", device)
    with pytest.raises(ValueError, match="filter: path must be one of product, min, got 'max'"):
        tf.filter(x, tree, a, path="max")
    with pytest.raises(TypeError, match="filter: path must be a string, got NoneType"):
        tf.filter(x, tree, a, path=None)
