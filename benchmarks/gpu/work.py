"""A case's tensors, and its stages as calls: on the GPU, on the CPU, or in plain torch."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import inputs
import torch
from torch import Tensor

import treefilter as tf
from gpu.cases import (
    AFFINITY,
    DISTANCE,
    FEATURES,
    FILTER,
    FILTER_BACKWARD,
    GUIDE_BACKWARD,
    IMAGE,
    KINDS,
    MST,
    ONE_TREE,
    STEP,
    TRANSFORM,
    Case,
    weight_of,
)

Result = list[Tensor]
SEEDED = 1000
"""One vertex of so many is a seed of distance_transform."""
FIXED_SCALE = 2.0**-9
"""Of weights that no guide makes, so that affinities are about 0.9; exact, so that trees stay."""
FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


def image_of(case: Case, rotation: int) -> Tensor:
    """Photographs, mirrored for the second to the fourth rotation; then moved along as well."""
    height, width = case.shape
    if case.batch > 1 or max(case.shape) <= 512:
        image = inputs.photographs(case.batch, max(case.shape))[..., :height, :width]
    else:
        image = inputs.photograph(height, width)
    image = image.flip(FLIPS[rotation % len(FLIPS)])
    return image.roll(rotation // len(FLIPS) * (width // 5), -1).contiguous()


class Work:
    """One set of inputs, and what every stage needs of the stages before it.

    The stages are methods, without arguments and without side effects, so that each can be timed,
    captured and repeated alone. ``module`` is the library, or its reference in plain torch.
    """

    def __init__(self, case: Case, device: torch.device, rotation: int = 0) -> None:
        self.case, self.module = case, tf
        self.graph = tf.grid(*case.shape)
        image = image_of(case, rotation).to(device)
        self.guides = {
            guide: image if guide == IMAGE else inputs.convolved(image, case.width)
            for guide in case.guides
            if guide not in KINDS
        }
        self.fixed = [
            FIXED_SCALE * inputs.weights(guide, *case.shape, case.batch).to(device)
            for guide in case.guides
            if guide in KINDS
        ]
        draw = inputs.generator("features").manual_seed(rotation)
        self.x = torch.rand(case.batch, case.channels, *case.shape, generator=draw).to(device)
        chosen = torch.rand(case.batch, case.nodes, generator=draw) < 1 / SEEDED
        chosen[:, 0] = True
        self.seeds = chosen.to(device)
        self.source = torch.zeros(1, dtype=torch.int64, device=device)
        self.grad = torch.randn(self.x.shape, generator=draw).to(device)
        widths = inputs.SIGMA * torch.linspace(0.5, 2, case.channels)
        self.sigma = widths.to(device) if case.per_channel else inputs.SIGMA
        self._prepare()

    def _prepare(self) -> None:
        """Runs the pipeline; in what is differentiated, recording."""
        self.x.requires_grad_(self.case.backward)
        if FEATURES in self.guides:
            self.guides[FEATURES].requires_grad_(self.case.backward)
        self.weights = [weight.detach() for weight in self._weights()]
        self.joined = _joined(self.weights)
        self.trees = self._trees(self.module.mst(self.joined, self.graph))
        self.a = [_moved(a, a.device) for a in self._affinity(self._weights())]
        self.record()

    def record(self) -> None:
        """Runs forward what the stages of the backward pass differentiate."""
        self.recorded = self._weights()
        self.recorded_a = self._affinity(self.recorded)
        self.y = self._filter(self.a)

    def to(self, device: torch.device | str, module: Any = tf, images: int | None = None) -> "Work":
        """The inputs of every stage elsewhere, bit by bit; or only those of the first images."""
        other = object.__new__(Work)
        size = self.case.batch if images is None else images
        other.case = replace(self.case, batch=size)
        other.graph, other.module = self.graph, module
        for name in ("x", "seeds", "grad"):
            setattr(other, name, _moved(getattr(self, name)[:size], device))
        other.source = self.source.to(device)
        other.sigma = _moved(self.sigma, device) if self.case.per_channel else self.sigma
        for name in ("fixed", "weights", "a"):
            setattr(other, name, [_moved(t[:size], device) for t in getattr(self, name)])
        other.joined = _joined(other.weights)
        other.guides = {name: _moved(guide[:size], device) for name, guide in self.guides.items()}
        other.trees = [tree[:size].to(device) for tree in self.trees]
        return other

    # --- the pipeline, with gradients where inputs have them ---

    def _weights(self) -> Result:
        found = [self.module.edge_weight(guide, self.graph) for guide in self.guides.values()]
        return found or self.fixed

    def _affinity(self, weights: Result) -> Result:
        return [
            self.module.affinity(weight, tree, self.sigma)
            for weight, tree in zip(weights, self.trees, strict=True)
        ]

    def _filter(self, affinities: Result) -> Result:
        y = self.x
        for tree, a in zip(self.trees, affinities, strict=True):
            y = self._along(y, tree, a)
        return [y]

    def _along(self, x: Tensor, tree: tf.Tree, a: Tensor) -> Tensor:
        if self.case.scan:
            return self.module.root_to_leaf(self.module.leaf_to_root(x, tree, a), tree, a)
        return self.module.filter(x, tree, a)

    def _trees(self, tree: tf.Tree) -> list[tf.Tree]:
        """A batch of trees for each guide."""
        size = self.case.batch
        return [tree[i : i + size] for i in range(0, len(tree), size)]

    # --- the stages ---

    def stage(self, name: str) -> Callable[[], Result]:
        stages = {
            weight_of(name): partial(self._weight_of, guide) for name, guide in self.guides.items()
        }
        stages |= {
            MST: lambda: self._tree_of(self.joined),
            ONE_TREE: lambda: self._tree_of(self.weights[0]),
            AFFINITY: lambda: self._no_grad(lambda: self._affinity(self.weights)),
            FILTER: lambda: self._no_grad(lambda: self._filter(self.a)),
            FILTER_BACKWARD: self.filter_backward,
            GUIDE_BACKWARD: self.guide_backward,
            DISTANCE: self.distance,
            TRANSFORM: self.distance_transform,
            STEP: self.step if self.case.backward else lambda: self._no_grad(self.forward),
        }
        return stages[name]

    def _weight_of(self, guide: Tensor) -> Result:
        with torch.no_grad():
            return [self.module.edge_weight(guide, self.graph)]

    @staticmethod
    def _no_grad(call: Callable[[], Result]) -> Result:
        with torch.no_grad():
            return call()

    def _tree_of(self, weight: Tensor) -> Result:
        tree = self.module.mst(weight, self.graph)
        return [tree.parent, tree.edge]

    def filter_backward(self) -> Result:
        """Gradients in x, and in the affinities that are learnt."""
        needed = [self.x, *(a for a in self.a if a.requires_grad)]
        return list(torch.autograd.grad(self.y, needed, [self.grad], retain_graph=True))

    def guide_backward(self) -> Result:
        """From the gradient in the affinities to that in the features."""
        learnt = [a for a in self.recorded_a if a.requires_grad]
        needed = [self.guides[FEATURES]]
        return list(torch.autograd.grad(learnt, needed, learnt, retain_graph=True))

    def distance(self) -> Result:
        return [self.module.distance(self.weights[0], self.trees[0], self.source)]

    def distance_transform(self) -> Result:
        return list(self.module.distance_transform(self.weights[0], self.trees[0], self.seeds))

    def forward(self) -> Result:
        """Everything from the guides to y."""
        weights = self._weights()
        together = _joined([weight.detach() for weight in weights])
        trees = self._trees(self.module.mst(together, self.graph))
        y = self.x
        for tree, weight in zip(trees, weights, strict=True):
            y = self._along(y, tree, self.module.affinity(weight, tree, self.sigma))
        return [y]

    def step(self) -> Result:
        """The loss Σ(x − y)² and its gradients in x and in the features.

        It costs what |x − y| does, whose derivative would be a matter of rounding wherever y is x.
        """
        (y,) = self.forward()
        loss = (self.x - y).square().sum()
        needed = [self.x, *([self.guides[FEATURES]] if FEATURES in self.guides else [])]
        return [loss.detach(), *torch.autograd.grad(loss, needed)]


def _joined(weights: Result) -> Tensor:
    """The trees of all guides are made in one call."""
    return torch.cat(weights) if len(weights) > 1 else weights[0]


def _moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    return tensor.detach().to(device).requires_grad_(tensor.requires_grad)
