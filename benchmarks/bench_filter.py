"""filter, forward and backward, against a copy of its input; and the overhead of a call."""

from collections.abc import Callable

import inputs
import pytest
import torch
import verify
from race import OURS, Record

import treefilter as tf
from treefilter._native import _C

SMALL, MIDDLE, LARGE = (128, 128), (512, 512), (1024, 2048)
MEMCPY, FORWARD = "memcpy", "treefilter, forward"


def trees(shape: tuple[int, int], device: str) -> tuple[tf.Tree, torch.Tensor]:
    weight = inputs.weights("photograph", *shape).to(device)
    tree = tf.mst(weight, tf.grid(*shape))
    return tree, tf.affinity(weight, tree, inputs.SIGMA)


def calls(
    channels: int, last: bool, backward: bool, shape: list[int], device: str = "cpu"
) -> dict[str, Callable]:
    """The filter, and a copy of x into existing memory of the same layout."""
    tree, a = trees(tuple(shape), device)
    x = inputs.features(1, channels, *shape).to(device)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    target = torch.empty_like(x)
    copy = {MEMCPY: lambda: target.copy_(x)}
    if not backward:
        return {OURS: lambda: tf.filter(x, tree, a)} | copy
    needed = x.clone().requires_grad_(), a.clone().requires_grad_()
    y = tf.filter(needed[0], tree, needed[1])
    grad = torch.ones_like(y)
    return {
        OURS: lambda: torch.autograd.grad(y, needed, grad, retain_graph=True),
        FORWARD: lambda: tf.filter(x, tree, a),
    } | copy


def record_of(task: str, channels: int, shape: tuple[int, int], device: str) -> Record:
    name = f"{shape[0]}x{shape[1]}"
    return Record(task, f"C={channels}", name, shape[0] * shape[1] * channels, device)


CASES = [
    *((SMALL, channels) for channels in (1, 3, 21, 64, 256)),
    *((MIDDLE, channels) for channels in (1, 3, 21, 64, 256)),
    *((LARGE, channels) for channels in (1, 3, 64)),
]


@pytest.mark.parametrize(("shape", "channels"), CASES)
def test_filter(race, device, shape, channels):
    tree, a = trees(shape, device.type)
    x = inputs.features(1, channels, *shape).to(device)
    record = record_of("filter", channels, shape, device.type)
    race(
        record,
        calls(channels, False, False, list(shape), device.type),
        lambda results: verify.filtered(results[OURS], x, tree, a),
    )


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("shape", [SMALL, MIDDLE])
def test_channels_last(race, device, shape, channels):
    tree, a = trees(shape, device.type)
    x = inputs.features(1, channels, *shape).to(device)

    def check(results: dict) -> None:
        assert results[OURS].is_contiguous(memory_format=torch.channels_last)
        verify.filtered(results[OURS], x, tree, a)

    record = record_of("filter, channels last", channels, shape, device.type)
    race(record, calls(channels, True, False, list(shape), device.type), check)


@pytest.mark.parametrize(("shape", "channels"), [(SMALL, 21), (SMALL, 64), (MIDDLE, 64)])
def test_backward(race, device, shape, channels):
    """Gradients in x and in the affinity."""
    tree, a = trees(shape, device.type)
    x = inputs.features(1, channels, *shape).to(device)

    def check(results: dict) -> None:
        verify.filtered(results[FORWARD], x, tree, a)
        verify.gradients(results[OURS], x, tree, a)

    record = record_of("filter, backward", channels, shape, device.type)
    race(record, calls(channels, False, True, list(shape), device.type), check)


def test_overhead_of_a_call(race):
    """A filter of 4 pixels: beyond "native" are the checks, the op and the output."""
    graph = tf.grid(2, 2)
    weight = torch.rand(1, graph.num_edges, generator=inputs.generator("random weights"))
    tree = tf.mst(weight, graph)
    a, x = tf.affinity(weight, tree), torch.rand(1, 1, 2, 2)
    recording = x.clone().requires_grad_()
    flat, out, a3 = x.flatten(2), torch.empty(1, 1, 4), a[:, None]

    def native() -> torch.Tensor:
        _C.propagate(_C.Pass.MEAN, flat, tree.parent, tree.order, tree._plan, a3, None, out, 1)
        return out

    def check(results: dict) -> None:
        for result in results.values():
            torch.testing.assert_close(result.flatten(), results["native"].flatten())

    several = {
        OURS: lambda: tf.filter(x, tree, a),
        "treefilter, recording a gradient": lambda: tf.filter(recording, tree, a),
        "native": native,
    }
    race(Record("filter, overhead of a call", "C=1", "2x2", 4), several, check)


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_memory(remember, backward):
    task = "filter, backward" if backward else "filter"
    record = record_of(task, 64, MIDDLE, "cpu")
    remember(record, "calls", [OURS], 64, False, backward, list(MIDDLE))
