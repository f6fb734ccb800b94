"""First and second derivatives of affinity, filter and the two passes."""

import pytest
import torch
from hypothesis import given
from strategies import normal, uniform
from test_filter import PASSES, apply, inputs
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import treefilter as tf

MULTIGRAPH = tf.graph(torch.tensor([[0, 1, 2, 2, 4], [1, 2, 2, 0, 1]]), 6)
# graph, share of absent edges; batches of x, trees and affinities; channels, groups (None: (B, N))
CASES = {
    "image": (tf.grid(3, 5), 0, (1, 1, 1), 2, None),
    "diagonals": (tf.grid(3, 3, connectivity=8), 0, (1, 1, 1), 1, None),
    "volume": (tf.grid(2, 3, 2), 0, (1, 1, 1), 2, 1),
    "batch": (tf.grid(2, 3), 0, (3, 3, 3), 3, None),
    "forest": (tf.grid(5, 3, connectivity=8), 0.6, (1, 1, 1), 2, None),
    "edge list": (MULTIGRAPH, 0, (1, 1, 1), 2, None),
    "groups": (tf.grid(3, 3), 0, (2, 2, 2), 4, 2),
    "group per channel": (tf.grid(3, 3), 0.3, (2, 2, 2), 3, 3),
    "shared tree and affinity": (tf.grid(3, 3), 0, (3, 1, 1), 2, None),
    "shared tree": (tf.grid(3, 3), 0.3, (3, 1, 3), 2, 2),
    "shared affinity": (tf.grid(3, 3), 0, (3, 3, 1), 2, None),
    "line": (tf.grid(1, 7), 0, (1, 1, 1), 2, None),
    "column": (tf.grid(7, 1), 0.3, (1, 1, 1), 2, None),
    "point": (tf.grid(1, 1), 0, (2, 2, 2), 2, None),
}


def build(case, device):
    """(x, tree, affinity) of a case; both tensors require gradients."""
    graph, absent, (batch, trees, affinities), channels, groups = CASES[case]
    weight = uniform(1, trees, graph.num_edges)
    weight[uniform(2, *weight.shape) < absent] = torch.inf
    tree = tf.mst(weight.to(device), graph.to(device), root=graph.num_nodes // 2)
    x = normal(3, batch, channels, *(graph.shape or [graph.num_nodes]))
    shape = (affinities, *([] if groups is None else [groups]), graph.num_nodes)
    affinity = uniform(4, *shape, low=0.1, high=0.9)
    return x.to(device).requires_grad_(), tree, affinity.to(device).requires_grad_()


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("case", CASES)
def test_derivatives_in_x_and_affinity(device, name, case):
    x, tree, affinity = build(case, device)

    def function(x, affinity):
        return apply(name, x, tree, affinity)

    assert gradcheck(function, (x, affinity))
    assert gradgradcheck(function, (x, affinity))


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("case", ["forest", "groups", "shared tree"])
def test_derivatives_in_one_of_the_two(device, name, case):
    x, tree, affinity = build(case, device)
    fixed_x, fixed_affinity = x.detach(), affinity.detach()
    for function, variable in (
        (lambda x: apply(name, x, tree, fixed_affinity), x),
        (lambda affinity: apply(name, fixed_x, tree, affinity), affinity),
    ):
        assert gradcheck(function, variable)
        assert gradgradcheck(function, variable)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("trees", [1, 2])
@pytest.mark.parametrize("shape", [None, (), (1,), (2, 1), (3,), (1, 3), (2, 3)])
def test_derivatives_of_affinity(device, shape, grouped, trees):
    graph = tf.grid(3, 3)
    topology = uniform(1, trees, graph.num_edges)
    topology[:, ::4] = torch.inf
    tree = tf.mst(topology.to(device), graph, root=4)
    weight = uniform(2, *((2, 3) if grouped else (2,)), graph.num_edges).to(device).requires_grad_()
    if shape is None:
        variables = (weight,)
    else:
        variables = (weight, uniform(3, *shape, low=0.5).to(device).requires_grad_())

    def function(weight, sigma=0.7):
        return tf.affinity(weight, tree, sigma)

    assert gradcheck(function, variables)
    assert gradgradcheck(function, variables)


@pytest.mark.parametrize("groups", [1, 2])
def test_derivatives_of_the_whole_pipeline(device, groups):
    graph = tf.grid(3, 3)
    guide = normal(1, 2, 2, 3, 3).to(device)
    tree = tf.mst(tf.edge_weight(guide, graph), graph)
    x = normal(2, 2, 2, 3, 3).to(device).requires_grad_()
    sigma = uniform(3, groups, low=0.5, high=2).to(device).requires_grad_()

    def function(guide, x, sigma):
        affinity = tf.affinity(tf.edge_weight(guide, graph), tree, sigma)
        return tf.filter(x, tree, affinity)

    assert gradcheck(function, (guide.requires_grad_(), x, sigma))
    assert gradgradcheck(function, (guide, x, sigma))


def derivatives(module, name, x, tree, affinity, grads):
    """y, both first derivatives, and all second derivatives along given directions."""
    x, affinity = (t.clone().requires_grad_() for t in (x, affinity))
    grad = grads[0].clone().requires_grad_()
    y = apply(name, x, tree, affinity, module)
    first = torch.autograd.grad(y, (x, affinity), grad, create_graph=True, materialize_grads=True)
    plain = torch.autograd.grad(y, (x, affinity), grad, retain_graph=True, materialize_grads=True)
    second = torch.autograd.grad(
        first, (x, affinity, grad), grads[1:], materialize_grads=True, allow_unused=True
    )
    return [t.detach().cpu() for t in (y, *first, *second)], [t.cpu() for t in plain]


@pytest.mark.parametrize("name", PASSES)
@given(drawn=inputs())
def test_derivatives_equal_those_of_the_reference(device, name, drawn):
    x, tree, affinity = (t.to("cpu") for t in drawn)
    grads = [normal(7, *x.shape), normal(8, *x.shape), normal(9, *affinity.shape)]
    expected, plain = derivatives(tf.reference, name, x, tree, affinity, grads)
    there = [t.to(device) for t in (x, tree, affinity)]
    actual, direct = derivatives(tf, name, *there, [g.to(device) for g in grads])
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)
    # With and without a graph of the gradient: two implementations of the same numbers.
    for a, b in zip(direct, plain, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PASSES)
@given(drawn=inputs())
def test_float32_derivatives_are_accurate(device, name, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    grad = normal(7, *x.shape).to(device)
    results = []
    for dtype in (torch.float64, torch.float32):
        leaves = [t.float().to(dtype).requires_grad_() for t in (x, affinity)]
        y = apply(name, leaves[0], tree, leaves[1])
        grads = torch.autograd.grad(y, leaves, grad.float().to(dtype), materialize_grads=True)
        results.append([t.double() for t in grads])
    for exact, single in zip(*results, strict=True):
        scale = exact.abs().max().clamp(min=1)
        assert (single - exact).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("case", CASES)
def test_affinity_of_a_root_has_no_gradient(device, name, case):
    x, tree, affinity = build(case, device)
    (grad,) = torch.autograd.grad(
        apply(name, x, tree, affinity).square().sum(), affinity, materialize_grads=True
    )
    everywhere = tree.roots.expand(len(x), -1).all(0) if len(affinity) == 1 else tree.roots
    everywhere = everywhere.view(-1, *[1] * (affinity.ndim - 2), affinity.shape[-1])
    assert grad[everywhere.expand_as(grad)].abs().sum() == 0


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_of_half_precision(device, name, dtype):
    x, tree, affinity = build("groups", device)
    half = [t.detach().to(dtype).requires_grad_() for t in (x, affinity)]
    wide = [t.detach().double().requires_grad_() for t in half]
    grad = normal(5, *x.shape).to(device, dtype)
    apply(name, half[0], tree, half[1]).backward(grad)
    apply(name, wide[0], tree, wide[1]).backward(grad.double())
    for a, b in zip(half, wide, strict=True):
        assert a.grad.dtype == dtype
        tolerance = 4 * torch.finfo(dtype).eps
        assert_close(a.grad.double(), b.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", PASSES)
def test_strided_gradients(device, name):
    x, tree, affinity = build("groups", device)
    y = apply(name, x, tree, affinity)
    grad = normal(6, *y.shape).to(device)
    expected = torch.autograd.grad(y, (x, affinity), grad, retain_graph=True)
    for strided in (grad.to(memory_format=torch.channels_last), grad.mT.contiguous().mT):
        assert not strided.is_contiguous()
        actual = torch.autograd.grad(y, (x, affinity), strided, retain_graph=True)
        assert all(map(torch.equal, actual, expected))
    ones = torch.autograd.grad(y, (x, affinity), torch.ones_like(y), retain_graph=True)
    summed = torch.autograd.grad(y.sum(), (x, affinity))  # an expanded gradient
    assert all(map(torch.equal, summed, ones))
