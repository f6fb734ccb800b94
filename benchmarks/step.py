"""A step of the tree energy loss on one thread, op by op, each beside a copy of as many bytes.

The last part of results/profile.md: ``make bench-profile``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from statistics import median
from time import perf_counter

import inputs
import torch
from report import table
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity

import treefilter as tf

BATCH, CLASSES, FEATURES, SIZE = 4, 21, 256, 128
STEPS = 20
RETURNED = 32 << 20
"""Larger blocks, the C library returns to the system: the next ones are fresh pages."""
INTRODUCTION = """\
`treefilter.losses.tree_energy` with an embedding, forward and backward: {batch} images of {size}²,
{classes} classes, {features} features, one thread, {total:.1f} ms a step. *Floor*: a copy that reads and
writes as many bytes as the op must, each once: at {existing:.1f} GB/s into existing memory, and,
for results beyond 32 MiB, which are fresh memory each time, at {huge:.1f} GB/s into the huge pages that
this library asks for, and {fresh:.1f} GB/s into the small ones that torch gets. Ops below 1 % of
the step are one line.
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
    """What an op took in all steps, and its floor, in seconds."""

    calls: int = 0
    taken: float = 0.0
    floor: float = 0.0


def step() -> Callable[[], object]:
    images = inputs.photographs(BATCH, SIZE)
    logits = inputs.features(BATCH, CLASSES, SIZE, SIZE).requires_grad_()
    embed = inputs.convolved(images, FEATURES).requires_grad_()
    label = torch.full((BATCH, SIZE, SIZE), -1)

    def call() -> object:
        loss = tf.losses.tree_energy(logits, images, label, embed)
        return torch.autograd.grad(loss, (logits, embed))

    return call


def seconds(call: Callable[[], object], rounds: int = 30) -> float:
    """The median of so many calls."""
    times = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times[3:])


def speeds() -> Speeds:
    """Of copies of as much as the features are."""
    x = inputs.features(BATCH, FEATURES, SIZE, SIZE)
    out, array = torch.empty_like(x), x.numpy()
    copies = (
        lambda: out.copy_(x),
        lambda: array.copy(),  # NumPy asks for huge pages
        lambda: x.clone(),
    )
    return Speeds(*(2 * x.nbytes / seconds(copy) for copy in copies))


def moved(name: str, shapes: list[list[int]]) -> tuple[int, int]:
    """Bytes that an op must read and write, of values of four bytes."""
    sizes = [4 * prod(shape) if shape else 0 for shape in shapes]
    nodes, edges = SIZE * SIZE, 2 * SIZE * (SIZE - 1)
    image = 4 * BATCH
    if name == "_edge_inner":
        return sizes[0], image * edges
    if name == "_edge_scatter":
        return sizes[0] + sizes[1], sizes[1]
    if name == "_mst":
        return sizes[0], 3 * image * nodes
    if name == "_propagate":  # x, and the tree's parents, order and affinities
        return sizes[0] + 3 * image * nodes, sizes[0]
    if name == "_filter_backward":  # the gradient and x
        return sizes[0] + sizes[1] + 3 * image * nodes, sizes[0] + image * nodes
    return sum(sizes), max(sizes, default=0)


def summed(events: Iterable[FunctionEvent], speed: Speeds) -> dict[str, Op]:
    """The ops of a profile by their names."""
    ops: dict[str, Op] = {}
    for event in events:
        space, _, name = event.name.partition("::")
        if space not in ("aten", "treefilter"):
            continue
        op = ops.setdefault(event.name, Op())
        op.calls += 1
        op.taken += event.self_cpu_time_total * 1e-6
        op.floor += speed.floor(space == "treefilter", *moved(name, event.input_shapes))
    return ops


def section() -> str:
    """Measures, and says it in Markdown."""
    torch.set_num_threads(1)
    call, speed = step(), speeds()
    total = seconds(call)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profile:
        for _ in range(STEPS):
            call()
    ops = summed(profile.events(), speed)
    rows, rest = [], total
    for name, op in sorted(ops.items(), key=lambda item: -item[1].taken):
        taken, floor = op.taken / STEPS, op.floor / STEPS
        if taken >= 0.01 * total:
            rest -= taken
            rows.append([f"`{name}`", str(op.calls // STEPS), milliseconds(taken),
                         milliseconds(floor), f"{taken / floor:.1f}×"])  # fmt: skip
    rows.append(["all others", "", milliseconds(rest), "", ""])
    introduction = INTRODUCTION.format(
        batch=BATCH, size=SIZE, classes=CLASSES, features=FEATURES, total=total * 1e3,
        **{name: value * 1e-9 for name, value in vars(speed).items()},
    )  # fmt: skip
    head = ["op", "calls", "ms a step", "floor, ms", "of the floor"]
    return "\n".join(["## A step of the tree energy loss", "", introduction, table(head, rows)])


def milliseconds(value: float) -> str:
    return f"{value * 1e3:.2f}"


if __name__ == "__main__":
    print(section())
