"""filter, forward and backward, against a copy of its input."""

from collections.abc import Callable

import inputs
import pytest
import torch
import verify
from race import OURS, Record

import treefilter as tf

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


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_memory(remember, backward):
    task = "filter, backward" if backward else "filter"
    record = record_of(task, 64, MIDDLE, "cpu")
    remember(record, "calls", [OURS], 64, False, backward, list(MIDDLE))
