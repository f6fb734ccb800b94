"""The baseline's step of the tree energy loss: the same results as ``Work.step``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu.baseline.launch import Launcher, OnGpu, OnHost, spanning_trees
from gpu.cases import FEATURES, IMAGE
from gpu.work import Work

DEGREE = 4  # kernels.cu
Passes = tuple[Tensor, Tensor]
"""Sums from the leaves and totals from the root, (B, C, N) by position."""


class Steps(NamedTuple):
    """A step to be timed, and its results on the trees that ours have found."""

    call: Callable[[], list[Tensor]]
    results: list[Tensor]


def steps(work: Work, on_host: bool) -> Steps:
    """Both for the inputs of a case; MissingError if something that is needed is not here."""
    launch: Launcher = OnHost() if on_host else OnGpu()
    ends = work.graph.edge_index.T.contiguous().int()
    baseline = Baseline(launch, ends)
    # Our weights differ from its own in their last bits, and then a tie may go another way.
    given = dict(zip(work.guides, work.weights, strict=True))
    return Steps(lambda: baseline.step(work), baseline.step(work, given))


@dataclass(frozen=True)
class Order:
    """Trees in breadth-first order, (B, N) each but ``child`` (B, N, DEGREE)."""

    order: Tensor
    parent: Tensor
    children: Tensor
    child: Tensor


class Baseline:
    def __init__(self, launch: Launcher, ends: Tensor) -> None:
        self.launch = launch
        self.ends = ends  # (E, 2), on the host

    def step(self, work: Work, given: dict[str, Tensor] | None = None) -> list[Tensor]:
        """The loss and its gradients; trees are of ``given`` weights, or of its own."""
        y = work.x
        for guide in (IMAGE, FEATURES):
            features = work.guides[guide]
            weight = _grid_weight(features.detach()) if given is None else given[guide]
            tree = self.order(weight, work.case.nodes)
            affinity = _affinity(features.flatten(2), tree, work.sigma)
            y = _Filter.apply(y.flatten(2), affinity, tree, self).view_as(work.x)
        loss = (work.x - y).square().sum()
        needed = [work.x, work.guides[FEATURES]]
        return [loss.detach(), *torch.autograd.grad(loss, needed)]

    def order(self, weight: Tensor, vertices: int) -> Order:
        """To the host and back; then both kernels of the order."""
        batch, device = weight.shape[0], weight.device
        ends = self.ends.to(device).repeat(batch, 1, 1).cpu()[0]  # the edges are copied, too
        found = spanning_trees(ends.contiguous(), weight.cpu().contiguous(), vertices).to(device)

        def empty(*size: int) -> Tensor:
            return torch.zeros(batch, vertices, *size, dtype=torch.int32, device=device)

        count, neighbour = empty(), empty(DEGREE)
        tree = Order(empty(), empty(), empty(), empty(DEGREE))
        blocks = (batch, 1)
        self.launch("neighbours", blocks, found, vertices, count, neighbour)
        self.launch(
            "breadth_first", blocks, count, neighbour, vertices,
            tree.order, tree.parent, tree.children, tree.child,
        )  # fmt: skip
        return tree

    def passes(self, x: Tensor, weight: Tensor, tree: Order) -> tuple[Tensor, Tensor, Tensor]:
        """Both passes of (B, C, N): sums and totals by position, totals by vertex."""
        x = x.contiguous()
        batch, channels, vertices = x.shape
        sums, totals, out = (torch.empty_like(x) for _ in range(3))
        flags = torch.zeros(2, *x.shape, dtype=torch.uint8, device=x.device)
        blocks = (channels, batch)
        self.launch(
            "leaf_to_root", blocks, x, weight, tree.order, tree.children, tree.child, vertices,
            sums, flags[0],
        )  # fmt: skip
        self.launch(
            "root_to_leaf", blocks, sums, weight, tree.order, tree.parent, vertices,
            totals, out, flags[1],
        )  # fmt: skip
        return sums, totals, out

    def weight_gradient(
        self,
        of_x: Passes,
        of_grad: Passes,
        weight: Tensor,
        tree: Order,
    ) -> Tensor:
        """(B, N), from the sums and totals of x (or of ones) and those of a gradient."""
        out = torch.empty_like(of_grad[0])
        batch, channels, vertices = out.shape
        shared = int(of_x[0].shape[1] == 1 < channels)
        self.launch(
            "weight_gradient", (channels, batch), *of_x, shared, *of_grad, weight, tree.parent,
            vertices, out,
        )  # fmt: skip
        return out.sum(1)


class _Filter(torch.autograd.Function):
    """The normalised filter: 4 passes; 2 more for the gradient in x, 4 for that in w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, tree: Order, baseline: Baseline) -> Tensor:
        sums, totals, out = baseline.passes(x, weight, tree)
        ones = torch.ones_like(x[:, :1])
        one_sums, one_totals, mass = baseline.passes(ones, weight, tree)
        y = out / mass
        ctx.save_for_backward(weight, sums, totals, one_sums, one_totals, mass, y)
        ctx.tree, ctx.baseline = tree, baseline
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, sums, totals, one_sums, one_totals, mass, y = ctx.saved_tensors
        tree, baseline = ctx.tree, ctx.baseline
        scaled = grad / mass
        grad_x = baseline.passes(scaled, weight, tree)[2]
        if not ctx.needs_input_grad[1]:
            return grad_x, None, None, None
        of_scaled = baseline.passes(scaled, weight, tree)[:2]  # the same again, as described
        of_mass = baseline.passes(-scaled * y, weight, tree)[:2]
        grad_weight = baseline.weight_gradient((sums, totals), of_scaled, weight, tree)
        grad_weight += baseline.weight_gradient((one_sums, one_totals), of_mass, weight, tree)
        return grad_x, grad_weight, None, None


def _grid_weight(features: Tensor) -> Tensor:
    """(B, E): squared distances of all neighbours, vertical edges first."""
    parts = [features.diff(dim=dim).square().sum(1).flatten(1) for dim in (2, 3)]
    return torch.cat(parts, 1)


def _affinity(features: Tensor, tree: Order, sigma: float) -> Tensor:
    """(B, N) by position, from features that are gathered into the breadth-first order."""
    channels = features.shape[1]
    order = tree.order.long()
    above = order.gather(1, tree.parent.long())
    own, upper = (
        features.gather(2, index.unsqueeze(1).expand(-1, channels, -1)) for index in (order, above)
    )
    return (-(own - upper).square().sum(1) / sigma).exp().contiguous()
