"""affinity(): the exponential itself, and groups that share weights."""

import math

import numpy as np
import pytest
import torch
from strategies import uniform

import treefilter as tf


def exponentials(x):
    """exp(x) by affinity, of values in any order."""
    tree = tf.Tree.from_parents(torch.arange(len(x) + 1).sub(1).clamp(min=0)[None])
    tree.edge.copy_(torch.arange(len(x) + 1).sub(1))
    return tf.affinity(-x[None], tree)[0, 1:]


def in_ulps(got, expected, smallest_normal, eps):
    """Errors in units of the last place of ``expected``, which is more precise than ``got``."""
    exponent = np.floor(np.log2(np.maximum(np.abs(expected), smallest_normal)))
    return np.abs(got.astype(expected.dtype) - expected) / (np.exp2(exponent) * eps)


@pytest.mark.parametrize(
    ("dtype", "reference", "lowest"),
    [(torch.float32, np.float64, -104), (torch.float64, np.longdouble, -745)],
)
def test_exponential_within_two_ulps(dtype, reference, lowest):
    if np.finfo(reference).precision <= torch.finfo(dtype).resolution:
        pytest.skip("no type here is more precise")
    x = torch.cat(
        [
            torch.linspace(lowest, 88, 200_001, dtype=dtype),
            uniform(0, 50_000).to(dtype) - 1,
            -torch.logspace(-30, 2, 20_001, dtype=dtype),
        ]
    )
    limits = np.finfo(x.numpy().dtype)
    expected = np.exp(x.numpy().astype(reference))
    got = exponentials(x).numpy()
    assert in_ulps(got, expected, limits.tiny, limits.eps).max() <= 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponential_at_the_ends(dtype):
    x = torch.tensor([0.0, -0.0, -math.inf, -800.0, 800.0, math.nan], dtype=dtype)
    expected = torch.tensor([1, 1, 0, 0, math.inf, math.nan], dtype=dtype)
    assert torch.equal(exponentials(x)[:5], expected[:5])
    assert exponentials(x)[5].isnan()


@pytest.mark.parametrize("size", [1, 2, 511, 512, 513, 1500])
def test_position_in_a_block_does_not_matter(size):
    x = -uniform(1, size).float() * 20
    all_at_once = exponentials(x)
    one_by_one = torch.cat([exponentials(x[i : i + 1]) for i in range(0, size, 97)])
    assert torch.equal(all_at_once[::97], one_by_one)


def test_sigmas_of_groups_that_share_weights():
    graph = tf.grid(3, 4)
    weight = uniform(2, 2, graph.num_edges).requires_grad_()
    tree = tf.mst(weight, graph)
    sigma = uniform(3, 2, 3, low=0.3).requires_grad_()
    torch.autograd.gradcheck(lambda w, s: tf.affinity(w, tree, s), (weight, sigma))
    torch.autograd.gradgradcheck(lambda w, s: tf.affinity(w, tree, s), (weight, sigma))
    expanded = weight.unsqueeze(1).expand(2, 3, -1)
    assert torch.equal(tf.affinity(weight, tree, sigma), tf.affinity(expanded, tree, sigma))


@pytest.mark.parametrize("learnt", [False, True])
def test_missing_edges_have_no_derivative(learnt):
    graph = tf.grid(1, 3)
    weight = torch.tensor([[math.inf, 0.5]], requires_grad=True)
    tree = tf.mst(weight.detach(), graph)
    sigma = torch.tensor(0.5, requires_grad=True) if learnt else 0.5
    a = tf.affinity(weight, tree, sigma)
    a.sum().backward()
    torch.testing.assert_close(weight.grad, torch.tensor([[0, -2 * math.exp(-1)]]))
    if learnt:
        torch.testing.assert_close(sigma.grad, torch.tensor(2 * math.exp(-1)))
