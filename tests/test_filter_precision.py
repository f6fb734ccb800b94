"""Accuracy of the filter's mean and of its derivatives on deep trees."""

import numpy as np
import oracle
import pytest
import torch
from strategies import normal, uniform
from torch.testing import assert_close

import treefilter as tf

DEEP = {"path": (1, 20_000), "image": (64, 64)}


def deep_tree(name, device):
    graph = tf.grid(*DEEP[name])
    return tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("a", [0.9, 0.999, 0.99999, 1.0])
@pytest.mark.parametrize("name", DEEP)
def test_constants_stay_and_the_range_is_kept(device, name, a, groups):
    tree = deep_tree(name, device)
    x = uniform(2, 1, 8, tree.num_nodes, dtype=torch.float32)
    x[:, 0], x[:, 1], x[:, 2] = 0.3, 1000.1, -7e-9
    x[:, 5] += 1000
    affinity = torch.full((1, groups, tree.num_nodes), a, device=device)
    y = tf.filter(x.to(device), tree, affinity)[0].cpu().numpy()
    low, high = x[0].numpy().min(1), x[0].numpy().max(1)
    slack = 4 * np.spacing(np.abs(x[0].numpy()).max(1))
    assert (y >= (low - slack)[:, None]).all()
    assert (y <= (high + slack)[:, None]).all()


def gradient_in_affinity(x, tree, affinity, grad):
    affinity = affinity.clone().requires_grad_()
    y = tf.filter(x, tree, affinity)
    return torch.autograd.grad(y, affinity, grad.to(y.dtype))[0].double()


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 1), (8, 4), (21, 1)])
@pytest.mark.parametrize("name", DEEP)
def test_what_all_pixels_share_costs_the_gradient_no_digits(device, name, channels, groups):
    tree = deep_tree(name, device)
    x = 1000 + normal(2, 1, channels, tree.num_nodes, dtype=torch.float32).to(device)
    grad = normal(3, *x.shape, dtype=torch.float32).to(device)
    for low in (0.0, 0.99, 0.999):
        affinity = uniform(4, 1, groups, tree.num_nodes, low=low).float().to(device)
        exact = gradient_in_affinity(x.double(), tree, affinity.double(), grad)
        single = gradient_in_affinity(x, tree, affinity, grad)
        assert (single - exact).norm() <= 2e-5 * exact.norm()
        # The same for each element of what is differentiated with half of the digits to spare.
        moved = gradient_in_affinity(x.double() - 1000, tree, affinity.double(), grad)
        assert_close(exact, moved, rtol=1e-8, atol=1e-11 * float(exact.abs().max()))


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_gradient_in_affinity_equals_that_of_the_dense_matrix(device, name):
    graph = tf.grid(5, 7)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph, root=17)
    parent = tree.parent[0].cpu().numpy()
    affinity, x = uniform(2, 35, low=0.05), 50 + normal(3, 2, 35)
    grad = normal(4, 2, 35)

    def loss(a):
        y = oracle.filter(x.numpy(), parent, a.numpy(), name == "mean")
        return (torch.from_numpy(y) * grad).sum()

    steps = 1e-6 * torch.eye(35, dtype=torch.float64)
    expected = torch.stack([loss(affinity + s) - loss(affinity - s) for s in steps]) / 2e-6
    a = affinity.to(device)[None].requires_grad_()
    y = tf.filter(x.to(device)[None], tree, a, normalize=name == "mean")
    (actual,) = torch.autograd.grad(y, a, grad.to(device)[None])
    assert_close(actual[0].cpu(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 8])
@pytest.mark.parametrize("shape", [(1, 100), (1, 300), (12, 13)])
def test_affinities_beyond_one_cost_the_digits_of_their_product(device, shape, channels):
    graph = tf.grid(*shape)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)
    n, parent = graph.num_nodes, tree.parent[0].cpu().numpy()
    affinity = uniform(2, n, low=1.0, high=1.05).float()
    x = normal(3, channels, n, dtype=torch.float32)
    product = np.ones(n)
    for v in tree.order[0].flip(0).tolist():
        if parent[v] != v:
            product[v] = product[parent[v]] * float(affinity[v])
    assert product.max() > 2
    exact = torch.from_numpy(
        oracle.filter(x.double().numpy(), parent, affinity.double().numpy(), True)
    )
    for dtype in (torch.float32, torch.float64):
        there = [t.to(device, dtype)[None] for t in (x, affinity)]
        y = tf.filter(there[0], tree, there[1])[0].cpu().double()
        assert (y - exact).abs().max() <= 50 * torch.finfo(dtype).eps * product.max()


@pytest.mark.parametrize("channels", [2, 8, 40])
@pytest.mark.parametrize("groups", [1, 2])
def test_an_affinity_of_0_stops_a_nan_either_way(device, channels, groups):
    graph = tf.grid(1, 9)
    tree = tf.mst(torch.ones(1, 8).to(device), graph, root=0)
    affinity = uniform(1, 1, groups, 9, low=0.5).float().to(device)
    affinity[:, :, 4] = 0  # between pixels 3 and 4
    x = normal(2, 1, channels, 9, dtype=torch.float32).to(device)
    for name, inside in (("above", slice(0, 4)), ("below", slice(4, 9))):
        broken = x.clone()
        broken[:, :, {"above": 1, "below": 7}[name]] = torch.nan
        expected, y = tf.filter(x, tree, affinity), tf.filter(broken, tree, affinity)
        outside = slice(4, 9) if name == "above" else slice(0, 4)
        assert y[:, :, inside].isnan().all()
        assert torch.equal(y[:, :, outside], expected[:, :, outside])
