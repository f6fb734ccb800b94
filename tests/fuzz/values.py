"""Values, graphs and trees of every kind, and what somebody might pass instead."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import torch

import treefilter as tf

warnings.filterwarnings("ignore", message="The PyTorch API of")  # nested and masked tensors

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)
GRIDS = {4: 2, 8: 2, 6: 3, 26: 3}


@dataclass
class Call:
    """One call. ``like_reference``: the result must be that of ``tf.reference``."""

    name: str
    arguments: list[Any]
    keywords: dict[str, Any] = field(default_factory=dict)
    like_reference: bool = True


class Values:
    """Draws values; the same ones for the same seed."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)
        self.torch = torch.Generator().manual_seed(self.random.getrandbits(60))

    # ---- values ----

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.torch, dtype=torch.float64)

    def values(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Finite values of one kind, as distinct, equal, large or small as the type allows."""
        dtype = dtype or self.random.choice(FLOATS)
        largest, tiny = torch.finfo(dtype).max, torch.finfo(dtype).tiny
        numbers = self.uniform(*shape)
        kind = self.random.choice(["plain", "plain", "ties", "signed", "huge", "denormal", "wide"])
        if kind == "ties":
            numbers = (numbers * 4).floor()
        elif kind == "signed":
            numbers = 2 * numbers - 1
        elif kind == "huge":
            numbers = (2 * numbers - 1) * largest
        elif kind == "denormal":
            numbers = numbers * tiny
        elif kind == "wide":  # from the smallest to the largest magnitude
            numbers = 10 ** (math.log10(tiny) + numbers * math.log10(largest / tiny)).clamp(
                max=math.log10(largest)
            )
        return self.strided(numbers.clamp(-largest, largest).to(dtype))

    def strided(self, value: torch.Tensor) -> torch.Tensor:
        """The same values, sometimes in other strides."""
        kind = self.random.randrange(4)
        if kind == 0 and value.ndim > 1:
            return value.transpose(0, -1).contiguous().transpose(0, -1)
        if kind == 1:
            return torch.stack([value, value], -1)[..., 0]
        return value

    # ---- graphs and trees ----

    def graph(self) -> tf.Graph:
        if self.random.random() < 0.3:
            nodes, edges = self.random.randint(1, 12), self.random.randint(0, 24)
            ends = torch.randint(nodes, (2, edges), generator=self.torch)
            return tf.graph(ends.to(self.random.choice(INTEGERS)), nodes)
        connectivity = self.random.choice(list(GRIDS))
        sizes = [self.random.randint(1, 4) for _ in range(GRIDS[connectivity])]
        return tf.grid(*sizes, connectivity=connectivity)

    def weight(self, graph: tf.Graph, batch: int) -> torch.Tensor:
        weight = self.values(batch, graph.num_edges)
        if self.random.random() < 0.3:
            weight = weight.masked_fill(self.uniform(batch, graph.num_edges) < 0.4, torch.inf)
        return weight

    def setting(self) -> tuple[int, tf.Graph, tf.Tree]:
        """A batch's size, a graph, and a tree for that batch."""
        batch, graph = self.random.randint(0, 3), self.graph()
        trees = self.random.choice([1, batch])
        weight = self.weight(graph, trees)
        return batch, graph, tf.mst(weight, graph, root=self.random.randrange(graph.num_nodes))

    def over_vertices(self, graph: tf.Graph) -> list[int]:
        shape = graph.shape if graph.shape and self.random.random() < 0.5 else [graph.num_nodes]
        return list(shape)

    def hierarchy(self) -> tuple[torch.Tensor, tf.Dendrogram]:
        batch, graph, tree = self.setting()
        weight = self.weight(graph, batch)
        return weight, tf.dendrogram(weight, tree)

    # ---- what is not what it should be ----

    def changed(self, value: Any) -> Any:
        """Something much like it."""
        if isinstance(value, torch.Tensor):
            return self.changed_tensor(value)
        if isinstance(value, tf.Tree):
            tensors = [value.parent, value.edge, value.order]
            i = self.random.randrange(3)
            tensors[i] = tensors[i] + self.random.choice([-99, -1, 1, 99, 2**30])
            other = self.setting()[2]
            return self.random.choice([other, tf.Tree(*tensors, value.shape), value.to("meta")])
        if isinstance(value, tf.Dendrogram):
            return self.random.choice([self.hierarchy()[1], value.to("meta")])
        if isinstance(value, tf.Graph):
            return self.graph()
        if isinstance(value, bool | str) or value is None:
            return self.anything()
        if isinstance(value, int | float | np.generic | Fraction):
            value = float(value) if isinstance(value, float | np.floating) else int(value)
            offset = self.random.choice([-1, 1, -99, 99, 0.5])
            return self.random.choice([value + offset, -value, float(value), str(value), [value]])
        return self.anything()

    def changed_tensor(self, value: torch.Tensor) -> Any:
        change = self.random.randrange(11)
        if change == 0:
            return value.to("meta")
        if change == 1:
            return value.unsqueeze(self.random.randint(0, value.ndim))
        if change == 2 and value.ndim:
            return value.narrow(self.random.randrange(value.ndim), 0, 0)
        if change == 3 and value.ndim:
            return value[0] if len(value) else value
        if change == 4 and value.ndim:
            return torch.cat([value, value], self.random.randrange(value.ndim))
        if change == 5:
            return value.to(self.random.choice([*FLOATS, *INTEGERS, torch.bool, torch.complex64]))
        if change == 6:
            return value.mT if value.ndim > 1 else value.to_sparse()
        if change == 7:
            return value.numpy() if value.dtype != torch.bfloat16 else value.tolist()
        if change == 8 and value.numel():
            bad = self.random.choice([-1, 99, 2**31, -(2**63), math.nan, math.inf, -math.inf])
            if not value.is_floating_point():
                bad = -1 if not math.isfinite(bad) else bad
                bad = max(min(bad, torch.iinfo(value.dtype).max), torch.iinfo(value.dtype).min) \
                    if value.dtype != torch.bool else 1  # fmt: skip
            flat = value.clone().flatten()
            flat[self.random.randrange(len(flat))] = bad
            return flat.view(value.shape)
        if change == 9 and value.is_floating_point():
            return value.clone().requires_grad_()
        if value.dtype == torch.bool:
            return ~value
        return torch.nn.Parameter(value) if value.is_floating_point() else -value

    def anything(self) -> Any:
        kinds = [
            lambda: None, lambda: "sum", lambda: "", lambda: b"x", lambda: 0, lambda: 1,
            lambda: -1, lambda: 2**31, lambda: 2**70, lambda: 10**400, lambda: 1.5,
            lambda: math.nan, lambda: math.inf, lambda: -0.0, lambda: 1e-46, lambda: True,
            lambda: 1j, lambda: [], lambda: [1], lambda: [[]], lambda: (), lambda: (2, 2),
            lambda: (-3, -4), lambda: (0, 5), lambda: (2**40, 2**40), lambda: {}, object,
            lambda: tf.Graph, lambda: tf.Tree, lambda: len, lambda: torch.float32,
            lambda: torch.device("cpu"), lambda: torch.Size([2, 2]), lambda: slice(None),
            lambda: np.zeros(3), lambda: np.float32(1), lambda: np.int64(-1), lambda: np.array(2),
            lambda: np.bool_(True), lambda: Fraction(1, 3), lambda: torch.tensor(1.0),
            lambda: torch.tensor(1), lambda: torch.empty(0), lambda: torch.zeros(1, 1, 1, 1, 1),
            lambda: torch.zeros(2, 2, dtype=torch.complex64), lambda: torch.eye(3).to_sparse(),
            lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            lambda: torch.masked.masked_tensor(torch.zeros(2), torch.tensor([True, False])),
            lambda: torch.zeros(2, 12, device="meta"), lambda: torch.full((2, 12), math.nan),
            lambda: torch.zeros(2, 12, dtype=torch.float16, device="meta"),
            lambda: torch.zeros(3, 0), lambda: torch.zeros(2, 3).expand(4, 2, 3),
            lambda: self.values(2, 12), self.graph, lambda: self.setting()[2],
            lambda: self.setting()[2].to("meta"),
        ]  # fmt: skip
        return self.random.choice(kinds)()
