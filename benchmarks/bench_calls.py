"""What a call costs: functions and the layer on four pixels.

Beyond "native" are the checks, the op and its outputs.
"""

from collections.abc import Callable

import inputs
import pytest
import torch
from race import OURS, Record

import treefilter as tf
from treefilter._native import _C

RECORDING = "treefilter, recording a gradient"
SIGMA = 0.5
Call = Callable[[], torch.Tensor]


class FourPixels:
    """Inputs and outputs of all calls."""

    def __init__(self) -> None:
        self.graph = tf.grid(2, 2)
        self.x = inputs.features(1, 1, 2, 2)
        self.weight = tf.edge_weight(self.x, self.graph)
        self.tree = tf.mst(self.weight, self.graph)
        self.a = tf.affinity(self.weight, self.tree, SIGMA)

    def edge_weight(self) -> tuple[Call, Call, Call]:
        """The call, the same recording a gradient, and the native call."""
        recorded, flat = self.x.clone().requires_grad_(), self.x.flatten(2)
        out = torch.empty_like(self.weight)
        layout = self.graph._layout
        return (
            lambda: tf.edge_weight(self.x, self.graph),
            lambda: tf.edge_weight(recorded, self.graph),
            lambda: _C.edge_inner(flat, flat, None, layout, _C.Psi.IDENTITY, out, 1) or out,
        )

    def mst(self) -> tuple[Call, None, Call]:
        outs = [torch.empty_like(self.tree.parent) for _ in range(3)] + [self.tree._plan.clone()]
        layout = self.graph._layout
        return (
            lambda: tf.mst(self.weight, self.graph).parent,
            None,
            lambda: _C.mst(self.weight, None, layout, 4, None, 0, *outs, 1) or outs[0],
        )

    def affinity(self) -> tuple[Call, Call, Call]:
        recorded, weight = self.weight.clone().requires_grad_(), self.weight[:, None]
        out = torch.empty(1, 1, 4)
        return (
            lambda: tf.affinity(self.weight, self.tree, SIGMA),
            lambda: tf.affinity(recorded, self.tree, SIGMA),
            lambda: _C.affinity(weight, self.tree.edge, None, SIGMA, out, 1) or out,
        )

    def filter(self) -> tuple[Call, Call, Call]:
        recorded, flat, a = self.x.clone().requires_grad_(), self.x.flatten(2), self.a[:, None]
        tree, out = (self.tree.parent, self.tree.order, self.tree._plan), torch.empty(1, 1, 4)
        return (
            lambda: tf.filter(self.x, self.tree, self.a),
            lambda: tf.filter(recorded, self.tree, self.a),
            lambda: _C.propagate(_C.Pass.MEAN, flat, *tree, a, None, out, 1) or out,
        )

    def distance(self) -> tuple[Call, Call, None]:
        recorded, source = self.weight.clone().requires_grad_(), torch.tensor([0])
        return (
            lambda: tf.distance(self.weight, self.tree, source),
            lambda: tf.distance(recorded, self.tree, source),
            None,
        )

    def layer(self) -> tuple[Call, Call, None]:
        recorded, layer = self.x.clone().requires_grad_(), tf.nn.TreeFilter2d(SIGMA)
        return lambda: layer(self.x), lambda: layer(recorded), None


@pytest.mark.parametrize("name", ["edge_weight", "mst", "affinity", "filter", "distance", "layer"])
def test_call(race, name):
    call, recording, native = getattr(FourPixels(), name)()
    calls = {OURS: call, RECORDING: recording, "native": native}

    def check(results: dict) -> None:
        for result in results.values():
            torch.testing.assert_close(result.flatten(), results[OURS].flatten())

    what = "nn.TreeFilter2d" if name == "layer" else name
    race(
        Record("a call", what, "2x2", 4),
        {name: each for name, each in calls.items() if each is not None},
        check,
    )
