"""A valid call of every public function."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from values import FLOATS, GRIDS, INTEGERS, METRICS, Call, Values

import treefilter as tf


class Calls(Values):
    """Each method draws the arguments of one function."""

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

    def sigma_for_mass(self) -> Call:
        batch, graph, tree = self.setting()
        groups = self.random.choice([[], [], [2]])
        weight = self.uniform(batch, *groups, graph.num_edges) * self.random.choice([1e-6, 1, 1e6])
        if self.random.random() < 0.3:
            weight = weight.masked_fill(
                self.uniform(*weight.shape) < 0.3, self.random.choice([0.0, math.inf])
            )
        mass = self.random.choice([0.005, 0.3, np.float32(0.5), Fraction(2, 3), 1])
        return Call("sigma_for_mass", [weight.to(self.random.choice(FLOATS)), tree, mass])

    def leaf_to_root(self) -> Call:
        return self.filter("leaf_to_root")

    def root_to_leaf(self) -> Call:
        return self.filter("root_to_leaf")

    def distance(self, name: str = "distance") -> Call:
        batch, graph, tree = self.setting()
        path = self.random.choice(["sum", "max"])
        weight = self.values(batch, graph.num_edges)
        if path == "sum" or name == "distance_transform":  # sums of both signs lose any digits
            weight = weight.abs()
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

    def persistence(self) -> Call:
        dim = self.random.choice([0, 0, 1, np.int64(1)])
        graph = self.graph()
        while dim == 1 and graph.connectivity not in (4, 8):
            graph = self.graph()
        values = self.values(self.random.randint(0, 3), *self.over_vertices(graph))
        if self.random.random() < 0.2:
            values = values.masked_fill(self.uniform(*values.shape) < 0.3, math.inf)
        keywords = {"dim": dim, "superlevel": self.random.random() < 0.5}
        return Call("persistence", [values, graph], keywords)

    def random_tree(self) -> Call:
        graph = self.graph()
        keywords: dict[str, Any] = {"method": self.random.choice(["race", "tournament"])}
        keywords["root"] = self.random.randrange(graph.num_nodes)
        keywords["generator"] = torch.Generator().manual_seed(self.random.randrange(99))
        if self.random.random() < 0.3:
            return Call(
                "random_tree", [graph], {**keywords, "batch": self.random.randint(0, 3)}, False
            )
        return Call("random_tree", [graph, self.weight(graph, 2)], keywords, False)

    def edge_lists(self) -> Call:
        """A batch of graphs, one for each image."""
        shape = self.random.randint(0, 3), 2, self.random.randint(0, 9)
        ends = torch.randint(7, shape, generator=self.torch)
        return Call("graph", [ends.to(self.random.choice(INTEGERS)), 7], {}, False)

    def tree_property(self) -> Call:
        name = self.random.choice(["depth", "components", "children", "edge_list", "roots"])
        return Call(f"Tree.{name}", [self.setting()[2]], {}, False)

    def device(self) -> Call:
        thing = self.random.choice([self.setting()[2], self.hierarchy()[1], self.graph()])
        device = self.random.choice(["cpu", torch.device("cpu"), "meta"])
        return Call(f"{type(thing).__name__}.to", [thing, device], {}, False)

    def nodes_as_tree(self) -> Call:
        return Call("Dendrogram.as_tree", [self.hierarchy()[1]], {}, False)

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
        if self.random.random() < 0.2:
            keywords |= {"sigma": "auto", "mass": self.random.choice([0.1, 0.9])}
        x, guide = (self.uniform(*shape).float() for _ in range(2))
        return Call("nn.TreeFilter2d", [x, self.random.choice([guide, None])], keywords, False)

    def scan_layer(self) -> Call:
        keywords = {
            "channels": 2,
            "d_state": self.random.choice([1, 2, np.int32(2)]),
            "metric": self.random.choice(METRICS),
            "maximum": self.random.random() < 0.5,
            "passes": self.random.choice(["both", "up"]),
            "connectivity": self.random.choice([4, 8]),
        }
        return Call("nn.TreeScan2d", [self.uniform(*self.image(), 3, 4).float()], keywords, False)

    def image(self) -> list[int]:
        """Batch and channels."""
        return [self.random.randint(0, 2), 2]

    def mrf_layer(self) -> Call:
        keywords: dict[str, Any] = {"in_channels": 2, "guide_channels": 2, "embed_channels": 4}
        keywords["groups"] = self.random.choice([1, 2])
        keywords["random"] = self.random.choice(["race", "tournament", "none"])
        shape = self.image()
        x, guide = self.uniform(*shape, 3, 4).float(), self.uniform(*shape, 6, 7).float()
        return Call("nn.TreeFilterMRF2d", [x, guide], keywords, False)

    def tree_energy(self, name: str = "losses.tree_energy") -> Call:
        batch, size = self.random.randint(0, 2), [self.random.randint(1, 4) for _ in range(2)]
        dtype = self.random.choice([torch.float32, torch.float64])
        logits = (self.uniform(batch, 3, *size) * 4).to(dtype)
        image = self.uniform(batch, 3, 2 * size[0], 2 * size[1]).float()
        label = torch.randint(-1, 3, (batch, 2 * size[0], 2 * size[1]), generator=self.torch)
        embed = self.random.choice([None, self.uniform(batch, 5, *size).to(dtype)])
        keywords = {
            "sigma": self.random.choice([0.02, np.float32(0.1), torch.tensor(0.3)]),
            "unlabelled": self.random.choice([-1, 2, np.int64(0)]),
            "aggregation": self.random.choice(["LH-C", "HL-C", "LH-P"]),
            "delta": self.random.choice(["l1", "l2", "ce", "dot"]),
            "reduction": self.random.choice(["batch", "image"]),
            "offset": self.random.choice([0.0, 1.0]),
        }
        return Call(name, [logits, image, label, embed], keywords, False)

    def energy_layer(self) -> Call:
        return self.tree_energy("nn.TreeEnergyLoss")

    def research_code(self) -> Call:
        """What stands for the research code's kernels, from weights to the filtered feature."""
        size = self.random.randint(2, 4), self.random.randint(2, 4)
        batch, edges = self.random.randint(1, 2), tf.grid(*size).edge_index.T.int().unsqueeze(0)
        edges = edges.expand(batch, -1, -1)
        n = size[0] * size[1]
        weight = self.uniform(batch, edges.shape[1]).float()
        name = self.random.choice(["mst_forward", "rst_forward", "bfs_forward", "refine_forward"])
        if name.endswith("st_forward"):
            return Call(f"compat._ranks.{name}", [edges, weight, n], {}, False)
        raw = tf.compat._ranks.mst_forward(edges, weight, n)
        if name == "bfs_forward":
            return Call(f"compat._ranks.{name}", [raw, 4], {}, False)
        ranks = tf.compat._ranks.bfs_forward(raw, 4)
        x, a = self.uniform(batch, 2, n).float(), self.uniform(batch, n).float()
        return Call(f"compat._filters.{name}", [x, a, *ranks], {}, False)
