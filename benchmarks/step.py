"""A step of the tree energy loss on one thread, op by op, each beside a copy of as many bytes.

The last part of results/profile.md: ``make bench-profile``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import inputs
import torch
from report import table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import treefilter as tf

BATCH, CLASSES, FEATURES, SIZE = 4, 21, 256, 128
WARM_UP, STEPS = 3, 40
RETURNED = 32 << 20
"""Larger blocks, the C library returns to the system: the next ones are fresh pages."""
SMALLEST = 0.01
"""The share of the step from which an op has a row."""
INTRODUCTION = """\
`treefilter.losses.tree_energy` with an embedding, forward and backward: {batch} images of
{size}², {classes} classes, {features} features, one thread, {total:.1f} ms a step. *Floor*: a copy
that reads and writes as many bytes as the op must, each once. Copies run at {existing:.1f} GB/s
into existing memory. Results beyond 32 MiB are fresh memory each time: at {huge:.1f} GB/s into the
huge pages that this library requests, at {fresh:.1f} GB/s into the small ones that torch gets.
Ops below {smallest:g} % of the step are one line.
"""


@dataclass
class Speeds:
    """Bytes a second, read and written, of copies."""

    existing: float
    huge: float
    fresh: float

    def floor(self, ours: bool, read: int, written: int) -> float:
        """Seconds for so many bytes."""
        fresh = self.huge if ours else self.fresh
        return (read + written) / (fresh if written > RETURNED else self.existing)


@dataclass
class Op:
    """What the calls of an op took and moved: seconds, bytes."""

    taken: list[float] = field(default_factory=list)
    moved: list[tuple[int, int]] = field(default_factory=list)


class Clock(TorchDispatchMode):
    """Times every op. Beside the thread of torch's profiler, fresh memory costs twice as much."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: dict[str, Op] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        start = perf_counter()
        result = func(*args, **(kwargs or {}))
        taken = perf_counter() - start
        op = self.ops.setdefault(func._schema.name, Op())
        op.taken.append(taken)
        op.moved.append((size(args), size(result)))
        return result


def size(tensors: Any) -> int:
    """The bytes of all tensors in there, of expanded ones those that exist."""
    return sum(
        min(leaf.nbytes, leaf.untyped_storage().nbytes())
        for leaf in tree_leaves(tensors)
        if isinstance(leaf, torch.Tensor)
    )


def step() -> Callable[[], object]:
    images = inputs.photographs(BATCH, SIZE)
    logits = inputs.features(BATCH, CLASSES, SIZE, SIZE).requires_grad_()
    embed = inputs.convolved(images, FEATURES).requires_grad_()
    label = torch.full((BATCH, SIZE, SIZE), -1)

    def call() -> object:
        loss = tf.losses.tree_energy(logits, images, label, embed)
        return torch.autograd.grad(loss, (logits, embed))

    return call


def seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def measured() -> tuple[float, Speeds, dict[str, Op]]:
    """The step, copies of as much as the features are, and the ops of a step.

    In turns: within seconds, neighbours of a virtual machine make memory half as fast or twice.
    """
    call, clock, x = step(), Clock(), inputs.features(BATCH, FEATURES, SIZE, SIZE)
    out, array = torch.empty_like(x), x.numpy()

    def clocked() -> None:
        with clock:
            call()

    calls = (
        call,
        lambda: out.copy_(x),
        lambda: array.copy(),  # NumPy requests huge pages
        lambda: x.clone(),
        clocked,
    )
    rounds = [[seconds(each) for each in calls] for _ in range(WARM_UP + STEPS)]
    total, *copies, _ = map(median, zip(*rounds[WARM_UP:], strict=True))
    return total, Speeds(*(2 * x.nbytes / copy for copy in copies)), clock.ops


def section() -> str:
    """Measures, and says it in Markdown."""
    torch.set_num_threads(1)
    total, speed, ops = measured()
    rows, small, rest = [], 0.0, total
    for name, op in sorted(ops.items(), key=lambda item: -sum(item[1].taken)):
        calls = len(op.taken) // (WARM_UP + STEPS)
        taken = sum(median(op.taken[i::calls]) for i in range(calls))  # each call of a step
        floor = sum(speed.floor("treefilter" in name, *moved) for moved in op.moved[-calls:])
        rest -= taken
        if taken >= SMALLEST * total:
            rows.append([f"`{name}`", str(calls), milliseconds(taken), milliseconds(floor),
                         f"{taken / floor:.1f}×" if floor else "–"])  # fmt: skip
        else:
            small += taken
    rows.append(["all others", "", milliseconds(small), "", ""])
    rows.append(["between ops: autograd, Python, memory", "", milliseconds(rest), "", ""])
    introduction = INTRODUCTION.format(
        batch=BATCH, size=SIZE, classes=CLASSES, features=FEATURES, total=total * 1e3,
        smallest=100 * SMALLEST,
        **{name: value * 1e-9 for name, value in vars(speed).items()},
    )  # fmt: skip
    head = ["op", "calls", "ms a step", "floor, ms", "of the floor"]
    return "\n".join(["## A step of the tree energy loss", "", introduction, table(head, rows)])


def milliseconds(value: float) -> str:
    return f"{value * 1e3:.2f}"


if __name__ == "__main__":
    print(section())
