"""edge_weight against the usual torch expression: slice, subtract, square, sum."""

from collections.abc import Callable

import inputs
import peers
import pytest
import torch
from race import OURS, Record

import treefilter as tf

SLICING = "torch slicing"
SHAPE = (128, 128)


def calls(
    direction: str, batch: int, channels: int, shape: list[int], device: str = "cpu"
) -> dict[str, Callable]:
    graph = tf.grid(*shape)
    guide = inputs.features(batch, channels, *shape).to(device)
    functions = {OURS: lambda guide: tf.edge_weight(guide, graph), SLICING: peers.sliced_weight}
    if direction == "forward":
        return {name: lambda f=f: f(guide) for name, f in functions.items()}
    guide.requires_grad_()
    grad = torch.ones(batch, graph.num_edges, device=device)
    return {
        name: lambda f=f: torch.autograd.grad(f(guide), guide, grad)
        for name, f in functions.items()
    }


@pytest.mark.parametrize("direction", ["forward", "forward and backward"])
@pytest.mark.parametrize("channels", [3, 64, 256])
def test_edge_weight(race, device, channels, direction):
    record = Record(
        f"edge_weight, {direction}",
        f"C={channels}",
        "128x128",
        SHAPE[0] * SHAPE[1] * channels,
        device.type,
    )

    def check(results: dict) -> None:
        torch.testing.assert_close(results[OURS], results[SLICING])

    race(record, calls(direction, 1, channels, list(SHAPE), device.type), check)


def test_memory(remember):
    """Of a batch, because the operating system counts whole pages."""
    record = Record(
        "edge_weight, forward and backward", "C=256", "8x128x128", 8 * SHAPE[0] * SHAPE[1] * 256
    )
    remember(record, "calls", [OURS, SLICING], "forward and backward", 8, 256, list(SHAPE))
