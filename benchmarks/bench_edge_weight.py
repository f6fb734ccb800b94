"""edge_weight against the expression that everyone writes: slice, subtract, square, sum."""

import pytest
import torch

import treefilter as tf


def slicing(guide):
    down = (guide[..., 1:, :] - guide[..., :-1, :]).square().sum(1).flatten(1)
    right = (guide[..., 1:] - guide[..., :-1]).square().sum(1).flatten(1)
    return torch.cat([down, right], 1)


@pytest.mark.parametrize("direction", ["forward", "forward+backward"])
@pytest.mark.parametrize("channels", [3, 64, 256])
@pytest.mark.parametrize("peer", ["treefilter", "torch slicing"])
def test_edge_weight(benchmark, peer, channels, direction):
    benchmark.group = f"edge_weight 128x128, {channels} channels, {direction}"
    generator = torch.Generator().manual_seed(2)
    guide = torch.randn(1, channels, 128, 128, generator=generator, requires_grad=True)
    graph = tf.grid(128, 128)
    function = slicing if peer != "treefilter" else lambda guide: tf.edge_weight(guide, graph)
    torch.testing.assert_close(function(guide), slicing(guide))
    if direction == "forward":
        benchmark(function, guide.detach())
    else:
        cotangent = torch.ones_like(slicing(guide))
        benchmark(lambda: torch.autograd.grad(function(guide), guide, cotangent))
