"""filter, forward and backward, against a copy of its input; and what a call costs."""

import pytest
import torch

import treefilter as tf
from treefilter import _C

CHANNELS = [1, 3, 21, 64]


def features(channels, size):
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(5))


def check(photo, channels):
    """Against float64 in the other form: sums and one division."""
    _, _, _, tree, a = photo
    x = features(channels, tree.shape).double()
    sums = tf.filter(x, tree, a.double(), normalize=False)
    mass = tf.filter(torch.ones_like(x[:, :1]), tree, a.double(), normalize=False)
    torch.testing.assert_close(
        tf.filter(x.float(), tree, a), (sums / mass).float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("what", ["filter", "filter, channels last", "filter backward", "memcpy"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_filter(benchmark, photo, size, channels, what):
    _, _, _, tree, a = photo
    benchmark.group = f"filter {size[0]}x{size[1]}, {channels} channels"
    x = features(channels, size)
    if what == "memcpy":
        benchmark(torch.empty_like(x).copy_, x)
        return
    check(photo, channels)
    if what == "filter":
        benchmark(tf.filter, x, tree, a)
    elif what == "filter, channels last":
        benchmark(tf.filter, x.contiguous(memory_format=torch.channels_last), tree, a)
    else:
        inputs = x.requires_grad_(), a.clone().requires_grad_()
        y = tf.filter(inputs[0], tree, inputs[1])
        grad = torch.ones_like(y)
        benchmark(lambda: torch.autograd.grad(y, inputs, grad, retain_graph=True))


@pytest.mark.parametrize("call", ["native", "tf.filter", "tf.filter, recording a gradient"])
def test_overhead_of_a_call(benchmark, call):
    """The difference to "native" is the overhead: checks, the op, the output."""
    benchmark.group = "filter of 4 pixels: overhead of a call"
    graph = tf.grid(2, 2)
    weight = torch.rand(1, graph.num_edges)
    tree = tf.mst(weight, graph)
    a, x = tf.affinity(weight, tree), torch.rand(1, 1, 2, 2)
    if call == "native":
        flat, out, a3 = x.flatten(2), torch.empty(1, 1, 4), a[:, None]
        benchmark(_C.propagate, _C.Pass.MEAN, flat, tree.parent, tree.order, a3, out, 1)
        torch.testing.assert_close(out.view_as(x), tf.filter(x, tree, a))
    else:
        benchmark(tf.filter, x.requires_grad_(call != "tf.filter"), tree, a)
