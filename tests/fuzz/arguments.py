"""Arguments for every public function: valid ones, and values that somebody might pass instead.

A valid call is drawn first. A nearly valid one has one argument changed a little, or taken from
another call; a hostile one has any object in any place.
"""

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


class Draw:
    """Draws arguments; the same ones for the same seed."""

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

    # ---- valid calls ----

    def grid(self) -> Call:
        connectivity = self.random.choice(list(GRIDS))
        integer = self.random.choice([int, np.int64, np.int32, np.uint8])
        sizes = [integer(self.random.randint(1, 9)) for _ in range(GRIDS[connectivity])]
        return Call("grid", sizes, {"connectivity": connectivity}, False)

    def edge_list(self) -> Call:
        nodes = self.random.randint(1, 9)
        ends = torch.randint(nodes, (2, self.random.randint(0, 9)), generator=self.torch)
        return Call("graph", [ends.to(self.random.choice(INTEGERS)), nodes], {}, False)

    def edge_weight(self) -> Call:
        graph = self.graph()
        shape = [self.random.randint(0, 3), self.random.randint(0, 4), *self.over_vertices(graph)]
        return Call("edge_weight", [self.values(*shape), graph, self.random.choice(METRICS)])

    def mst(self) -> Call:
        batch, graph = self.random.randint(0, 3), self.graph()
        root: Any = self.random.choice([int, np.int64])(self.random.randrange(graph.num_nodes))
        if self.random.random() < 0.3:
            root = torch.randint(graph.num_nodes, (batch,), generator=self.torch)
        return Call("mst", [self.weight(graph, batch), graph], {"root": root})

    def affinity(self) -> Call:
        batch, graph, tree = self.setting()
        groups = self.random.choice([[], [], [2]])
        weight = self.uniform(batch, *groups, graph.num_edges) * 9
        sigma = self.random.choice(
            [1.0, 2, 0.3, 1e-30, 1e30, 2**70, np.float32(0.5), np.int64(3), Fraction(1, 3)]
        )
        if self.random.random() < 0.3:
            shape = self.random.choice([(), (1,), (batch, 1), *([(2,)] if groups else [])])
            sigma = (0.1 + self.uniform(*shape)).to(self.random.choice(FLOATS))
        return Call("affinity", [weight.to(self.random.choice(FLOATS)), tree, sigma])

    def filter(self, name: str = "filter") -> Call:
        batch, graph, tree = self.setting()
        groups = self.random.choice([1, 2, 4])
        a = self.uniform(self.random.choice([1, batch]), groups, graph.num_nodes)
        if self.random.random() < 0.3:
            a = a.masked_fill(self.uniform(*a.shape) < 0.4, self.random.choice([0.0, 1.0]))
        x = 2 * self.uniform(batch, 4, *self.over_vertices(graph)) - 1
        x = x.to(self.random.choice(FLOATS))
        a = (a[:, 0] if groups == 1 and self.random.random() < 0.5 else a).to(
            self.random.choice(FLOATS)
        )
        keywords: dict[str, Any] = {}
        if name == "filter":
            path = self.random.choice(["product", "min"])
            keywords = {"normalize": self.random.random() < 0.5, "path": path}
        return Call(name, [self.strided(x), tree, self.strided(a)], keywords)

    def mass(self) -> Call:
        call = self.filter("mass")
        return Call("mass", call.arguments[1:])

    def leaf_to_root(self) -> Call:
        return self.filter("leaf_to_root")

    def root_to_leaf(self) -> Call:
        return self.filter("root_to_leaf")

    def distance(self, name: str = "distance") -> Call:
        batch, graph, tree = self.setting()
        weight = self.uniform(batch, graph.num_edges) * 9
        if self.random.random() < 0.4:
            weight = weight.floor()
        weight = self.strided(weight.to(self.random.choice(FLOATS)))
        path = self.random.choice(["sum", "max"])
        if name == "distance":
            shape = (self.random.randint(0, 3),)
            shape = shape if self.random.random() < 0.5 else (batch, *shape)
            source = torch.randint(graph.num_nodes, shape, generator=self.torch)
            return Call(name, [weight, tree, source, path])
        if name == "distance_transform":
            seeds = self.uniform(batch, *self.over_vertices(graph)) < self.random.random()
            return Call(name, [weight, tree, seeds, path])
        return Call(name, [weight, tree, path])

    def distance_transform(self) -> Call:
        return self.distance("distance_transform")

    def distance_matrix(self) -> Call:
        return self.distance("distance_matrix")

    def dendrogram(self) -> Call:
        batch, graph, tree = self.setting()
        return Call("dendrogram", [self.weight(graph, batch), tree])

    def hierarchy(self) -> tuple[torch.Tensor, tf.Dendrogram]:
        batch, graph, tree = self.setting()
        weight = self.weight(graph, batch)
        return weight, tf.dendrogram(weight, tree)

    def dendrogram_fields(self) -> Call:
        _, h = self.hierarchy()
        return Call("Dendrogram", [h.parent, h.edge, h.shape], {}, False)

    def altitude(self) -> Call:
        return Call("altitude", [*self.hierarchy()])

    def cut(self) -> Call:
        weight, h = self.hierarchy()
        if self.random.random() < 0.4:
            return Call("cut", [h], {"num": self.random.randint(1, h.num_leaves)})
        threshold = self.random.choice(
            [0, 0.5, np.float32(1), torch.tensor(0.25), math.inf, Fraction(1, 3)]
        )
        return Call("cut", [h, weight, threshold])

    def linkage(self) -> Call:
        graph = self.graph()
        graph = graph if graph.shape else tf.grid(3, 2)
        weight = self.values(self.random.randint(0, 3), graph.num_edges)
        return Call("linkage", [weight, tf.dendrogram(weight, tf.mst(weight, graph))])

    def watershed(self) -> Call:
        batch, graph, tree = self.setting()
        markers = (self.uniform(batch, *self.over_vertices(graph)) * 9 - 5).clamp(min=0)
        markers = self.strided(markers.to(self.random.choice(INTEGERS)))
        return Call("watershed", [self.weight(graph, batch), tree, markers])

    def malis_pairs(self) -> Call:
        _, h = self.hierarchy()
        labels = self.uniform(len(h), h.num_leaves) * self.random.choice([2, 9])
        return Call("malis_pairs", [h, labels.to(self.random.choice(INTEGERS))])

    def from_parents(self) -> Call:
        _, _, tree = self.setting()
        dtype = self.random.choice([torch.int64, torch.int32, torch.int16, torch.uint8])
        edge = self.random.choice([None, tree.edge, tree.edge.long()])
        return Call("Tree.from_parents", [tree.parent.to(dtype), edge, tree.shape], {}, False)

    def cat(self) -> Call:
        _, _, tree = self.setting()
        return Call("Tree.cat", [[tree] * self.random.randint(1, 3)], {}, False)

    def index(self) -> Call:
        _, _, tree = self.setting()
        batch = len(tree)
        numbers = [self.random.randrange(-batch, batch) for _ in range(3 if batch else 0)]
        mask = [self.random.random() < 0.5 for _ in range(batch)]
        index = self.random.choice(
            [slice(None), slice(0, 1), numbers, torch.tensor(numbers, dtype=torch.int64),
             np.array(numbers, dtype=np.int32), mask, torch.tensor(mask, dtype=torch.bool),
             *numbers[:1]]
        )  # fmt: skip
        return Call("Tree.__getitem__", [tree, index], {}, False)

    def tree_fields(self) -> Call:
        _, _, tree = self.setting()
        return Call("Tree", [tree.parent, tree.edge, tree.order, tree.shape], {}, False)

    def graph_fields(self) -> Call:
        g = self.graph()
        fields = [g.num_nodes, g.num_edges, g.shape, g.connectivity, g._edges]
        return Call("Graph", fields, {}, False)

    def layer(self) -> Call:
        groups = self.random.choice([1, 2, np.int64(1)])
        keywords = {
            "sigma": self.random.choice([0.1, np.float32(0.2), torch.tensor(0.3)]),
            "groups": groups,
            "metric": self.random.choice(METRICS),
            "connectivity": self.random.choice([4, 8]),
        }
        shape = [self.random.randint(0, 2), 2, self.random.randint(1, 4), self.random.randint(1, 4)]
        x, guide = (self.uniform(*shape).float() for _ in range(2))
        return Call("nn.TreeFilter2d", [x, self.random.choice([guide, None])], keywords, False)

    def valid(self) -> Call:
        kinds = [
            self.grid, self.edge_list, self.edge_weight, self.mst, self.affinity, self.filter,
            self.mass, self.leaf_to_root, self.root_to_leaf, self.distance, self.distance_transform,
            self.distance_matrix, self.from_parents, self.cat, self.index, self.tree_fields,
            self.graph_fields, self.layer, self.dendrogram, self.dendrogram_fields, self.altitude,
            self.cut, self.linkage, self.watershed, self.malis_pairs,
        ]  # fmt: skip
        return self.random.choice(kinds)()

    # ---- calls that are not ----

    def places(self, call: Call) -> list[Any]:
        """Numbers and names of its arguments; not the object of a method."""
        return [*range("__" in call.name, len(call.arguments)), *call.keywords]

    def nearly_valid(self) -> Call:
        """A valid call with one argument changed."""
        call = self.valid()
        places = self.places(call)
        place = self.random.choice(places)
        holder: Any = call.keywords if isinstance(place, str) else call.arguments
        holder[place] = self.changed(holder[place])
        call.like_reference = False
        return call

    def hostile(self) -> Call:
        """A valid call with anything in one to three of its places."""
        call = self.valid()
        places = self.places(call)
        for place in self.random.sample(places, self.random.randint(1, min(3, len(places)))):
            holder: Any = call.keywords if isinstance(place, str) else call.arguments
            holder[place] = self.anything()
        if self.random.random() < 0.1:
            call.arguments.append(self.anything())
        call.like_reference = False
        return call

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
