"""Every documented error once, with its message."""

import functools
import re

import numpy as np
import pytest
import torch

import treefilter as tf
from treefilter._native import _C

GRID = tf.grid(3, 4)
WEIGHT = torch.rand(2, GRID.num_edges)
TREE = tf.mst(WEIGHT, GRID)
A = tf.affinity(WEIGHT, TREE)
X = torch.rand(2, 4, 3, 4)
LOOPS = torch.zeros(2, 3, dtype=torch.long)
SEEDS = torch.zeros(2, 12, dtype=torch.bool)
NAN_WEIGHT = WEIGHT.clone().index_fill_(1, torch.tensor([5]), float("nan"))
FAR_EDGE = tf.Tree(TREE.parent, TREE.edge + 99, TREE.order, TREE.shape)
MERGES = tf.Dendrogram(TREE.parent.new_tensor([[2, 2, 2]]), TREE.edge.new_tensor([[98]]))
FAR_PARENT = tf.Tree(TREE.parent + 99, TREE.edge, TREE.order, TREE.shape)
NEGATIVE_ORDER = tf.Tree(TREE.parent, TREE.edge, TREE.order - 99, TREE.shape)

FLOATS = "a float32, float64, bfloat16 or float16 tensor"


def case(kind, message, function, *arguments, raised=("cpu", "emulated", "cuda"), **keywords):
    return pytest.param(kind, message, raised, function, arguments, keywords, id=message[:70])


# Cases of values that are not looked at everywhere, since a GPU may not be waited for: there they have
# a meaning. Some the native code sees on the CPU alone, others wherever a tensor is on the CPU.
seen = functools.partial(case, raised=("cpu",))
seen_here = functools.partial(case, raised=("cpu", "emulated"))


CASES = [
    # graph
    case(ValueError, "grid: shape must have 2 or 3 sizes, got 1: (3,)", tf.grid, 3),
    case(ValueError, "grid: sizes must be at least 1, got (0, 4)", tf.grid, 0, 4),
    case(TypeError, "grid: shape must be integers, got float", tf.grid, 3.0, 4),
    case(TypeError, "grid: shape must be integers, got bool", tf.grid, True, 4),
    case(ValueError, "grid: connectivity must be 4 or 8 for 2 sizes, got 6",
         tf.grid, 3, 4, connectivity=6),
    case(ValueError, "grid: connectivity must be 6 or 26 for 3 sizes, got 8",
         tf.grid, 3, 4, 5, connectivity=8),
    case(ValueError, "grid: vertices and edges must number at most 2**31 - 1, got 4294967296",
         tf.grid, 2**16, 2**16),
    case(TypeError, "graph: edge_index must be an integer tensor, got torch.float32",
         tf.graph, LOOPS.float(), 3),
    case(TypeError, "graph: edge_index must be an integer tensor, got list", tf.graph, [[0], [1]], 3),
    case(ValueError, "graph: edge_index must have shape (2, E) or (B, 2, E), got (3, 2)", tf.graph, LOOPS.mT, 3),
    case(ValueError, "graph: num_nodes must be at least 1, got 0", tf.graph, LOOPS, 0),
    case(TypeError, "graph: num_nodes must be an integer, got float", tf.graph, LOOPS, 3.0),
    seen_here(ValueError, "graph: edge_index must be in [0, 3), got 3", tf.graph, LOOPS + 3, 3),
    seen_here(ValueError, "graph: edge_index must be in [0, 3), got -1", tf.graph, LOOPS - 1, 3),
    seen_here(ValueError, "graph: edge_index must be in [0, 3), got 4294967296",
         tf.graph, LOOPS + 2**32, 3),
    case(ValueError, "graph: vertices and edges must number at most 2**31 - 1",
         tf.graph, LOOPS, 2**31),
    # edge_weight
    case(TypeError, f"edge_weight: guide must be {FLOATS}, got ndarray",
         tf.edge_weight, np.zeros((1, 1, 3, 4)), GRID),
    case(TypeError, f"edge_weight: guide must be {FLOATS}, got torch.uint8",
         tf.edge_weight, torch.zeros(1, 1, 3, 4, dtype=torch.uint8), GRID),
    case(TypeError, f"edge_weight: guide must be {FLOATS}, got torch.complex64",
         tf.edge_weight, torch.zeros(1, 1, 3, 4, dtype=torch.complex64), GRID),
    case(TypeError, "edge_weight: graph must be a treefilter.Graph, got tuple",
         tf.edge_weight, X, (3, 4)),
    case(ValueError, "edge_weight: guide must have shape (B, C, 3, 4) or (B, C, 12), got (2, 4, 4, 3)",
         tf.edge_weight, X.mT, GRID),
    case(ValueError, "edge_weight: guide must have shape (B, C, 3, 4) or (B, C, 12), got (3, 4)",
         tf.edge_weight, X[0, 0], GRID),
    case(ValueError, "edge_weight: metric must be one of sqeuclidean, euclidean, cityblock, chebyshev, "
         "cosine, got 'l2'", tf.edge_weight, X, GRID, "l2"),
    # mst
    case(TypeError, f"mst: weight must be {FLOATS}, got NoneType", tf.mst, None, GRID),
    case(TypeError, "mst: graph must be a treefilter.Graph, got Tensor", tf.mst, WEIGHT, WEIGHT),
    case(ValueError, "mst: weight must have shape (B, 17), got (2, 16)", tf.mst, WEIGHT[:, 1:], GRID),
    case(ValueError, "mst: weight must have shape (B, 17), got (17,)", tf.mst, WEIGHT[0], GRID),
    seen(ValueError, "mst: weight must not be NaN, got NaN", tf.mst, NAN_WEIGHT, GRID),
    case(ValueError, "mst: root must be in [0, 12), got 12", tf.mst, WEIGHT, GRID, root=12),
    case(ValueError, "mst: root must be in [0, 12), got -1", tf.mst, WEIGHT, GRID, root=-1),
    seen(ValueError, "mst: root must be in [0, 12), got 12",
         tf.mst, WEIGHT, GRID, root=torch.tensor([0, 12])),
    case(ValueError, "mst: root must have shape (2,), got (3,)",
         tf.mst, WEIGHT, GRID, root=torch.tensor([0, 1, 2])),
    case(TypeError, "mst: root must be an integer or a tensor, got float",
         tf.mst, WEIGHT, GRID, root=1.0),
    case(TypeError, "mst: root must be an integer tensor, got torch.float32",
         tf.mst, WEIGHT, GRID, root=torch.zeros(2)),
    # affinity
    case(TypeError, f"affinity: weight must be {FLOATS}, got torch.int64",
         tf.affinity, WEIGHT.long(), TREE),
    case(TypeError, "affinity: tree must be a treefilter.Tree, got Graph", tf.affinity, WEIGHT, GRID),
    case(ValueError, "affinity: weight must have shape (B, E) or (B, G, E), got (17,)",
         tf.affinity, WEIGHT[0], TREE),
    case(ValueError, "affinity: weight must have batch 2 like the tree, got 1",
         tf.affinity, WEIGHT[:1], TREE),
    case(ValueError, "affinity: sigma must be positive, got 0", tf.affinity, WEIGHT, TREE, 0),
    case(ValueError, "affinity: sigma must be positive, got nan",
         tf.affinity, WEIGHT, TREE, float("nan")),
    seen_here(ValueError, "affinity: sigma must be positive, got a value that is not",
         tf.affinity, WEIGHT, TREE, torch.tensor([1.0, -1.0])),
    case(ValueError, "affinity: sigma must broadcast to (2, G), got (3, 1)",
         tf.affinity, WEIGHT, TREE, torch.ones(3, 1)),
    case(ValueError, "affinity: sigma must broadcast to (2, 3), got (2,)",
         tf.affinity, WEIGHT[:, None].expand(2, 3, 17), TREE, torch.ones(2)),
    case(TypeError, "affinity: sigma must be a number or a tensor, got str",
         tf.affinity, WEIGHT, TREE, "auto"),
    case(TypeError, f"affinity: sigma must be {FLOATS}, got torch.int64",
         tf.affinity, WEIGHT, TREE, torch.tensor(1)),
    seen(ValueError, "affinity: tree.edge must be in [-1, 17), got 98",
         tf.affinity, WEIGHT, FAR_EDGE),
    # filter and passes
    case(TypeError, f"filter: x must be {FLOATS}, got torch.int32", tf.filter, X.int(), TREE, A),
    case(TypeError, "filter: tree must be a treefilter.Tree, got Tensor", tf.filter, X, A, TREE),
    case(TypeError, f"filter: affinity must be {FLOATS}, got float", tf.filter, X, TREE, 0.5),
    case(ValueError, "filter: x must have shape (B, C, 3, 4) or (B, C, 12), got (2, 4, 3, 3)",
         tf.filter, X[..., 1:], TREE, A),
    case(ValueError, "filter: x must have batch 2 like the tree, got 1", tf.filter, X[:1], TREE, A),
    case(ValueError, "filter: affinity must have shape (2, 12) or (2, G, 12), got (2, 11)",
         tf.filter, X, TREE, A[:, 1:]),
    case(ValueError, "filter: affinity must have a number of groups that divides the 4 channels of x, "
         "got 3", tf.filter, X, TREE, A[:, None].expand(2, 3, 12)),
    case(ValueError, "leaf_to_root: x must have shape (B, C, 3, 4) or (B, C, 12), got (2, 4, 7)",
         tf.leaf_to_root, torch.rand(2, 4, 7), TREE, A),
    case(ValueError, "root_to_leaf: x must have shape (B, C, 3, 4) or (B, C, 12), got (2, 4, 7)",
         tf.root_to_leaf, torch.rand(2, 4, 7), TREE, A),
    seen(ValueError, "filter: tree.parent must be in [0, 12), got 99", tf.filter, X, FAR_PARENT, A),
    seen(ValueError, "filter: tree.order must be in [0, 12), got -", tf.filter, X, NEGATIVE_ORDER, A),
    # distance
    case(TypeError, f"distance: weight must be {FLOATS}, got list", tf.distance, [1.0], TREE, LOOPS[0]),
    case(TypeError, "distance: source must be an integer tensor, got torch.bool",
         tf.distance, WEIGHT, TREE, SEEDS),
    case(ValueError, "distance: weight must have shape (B, E), got (2, 1, 17)",
         tf.distance, WEIGHT[:, None], TREE, LOOPS[0]),
    case(ValueError, "distance: source must have shape (S,) or (2, S), got (3, 2)",
         tf.distance, WEIGHT, TREE, LOOPS.mT),
    seen(ValueError, "distance: source must be in [0, 12), got 12",
         tf.distance, WEIGHT, TREE, LOOPS + 12),
    case(ValueError, "distance: path must be one of sum, max, got 'min'",
         tf.distance, WEIGHT, TREE, LOOPS[0], "min"),
    case(ValueError, "distance: weight must have batch 2 like the tree, got 1",
         tf.distance, WEIGHT[:1], TREE, LOOPS[0]),
    case(TypeError, "distance_transform: seeds must be a bool tensor, got torch.int64",
         tf.distance_transform, WEIGHT, TREE, SEEDS.long()),
    case(ValueError, "distance_transform: seeds must have shape (2, 3, 4) or (2, 12), got (2, 11)",
         tf.distance_transform, WEIGHT, TREE, SEEDS[:, 1:]),
    seen(ValueError, "distance_transform: weight must be >= 0 on the tree, got -",
         tf.distance_transform, -1 - WEIGHT, TREE, SEEDS),
    seen(ValueError, "distance_transform: weight must be >= 0 on the tree, got nan",
         tf.distance_transform, WEIGHT * float("nan"), TREE, SEEDS),
    seen(ValueError, "distance: tree.edge must be in [-1, 17), got 98",
         tf.distance, WEIGHT, FAR_EDGE, LOOPS[0]),
    seen(ValueError, "distance_transform: tree.edge must be in [-1, 17), got 98",
         tf.distance_transform, WEIGHT, FAR_EDGE, SEEDS),
    seen(ValueError, "sigma_for_mass: tree.edge must be in [-1, 17), got 98",
         tf.sigma_for_mass, WEIGHT, FAR_EDGE),
    seen(ValueError, "distance_matrix: tree.edge must be in [-1, 17), got 98",
         tf.distance_matrix, WEIGHT, FAR_EDGE),
    seen(ValueError, "distance_matrix: tree.parent must be in [0, 12), got 99",
         tf.distance_matrix, WEIGHT, FAR_PARENT),
    case(ValueError, "distance_matrix: weight must have batch 2 like the tree, got 1",
         tf.distance_matrix, WEIGHT[:1], TREE),
    case(ValueError, "distance_matrix: path must be one of sum, max, got 'min'",
         tf.distance_matrix, WEIGHT, TREE, "min"),
    case(ValueError, "distance_matrix: B * N * N must be at most 2**28, got 1 * 16385 * 16385",
         tf.distance_matrix, torch.rand(1, 16384), tf.mst(torch.rand(1, 16384), tf.grid(1, 16385))),
    # hierarchies; most of their errors are in their own tests
    seen(ValueError, "dendrogram: tree.edge must be in [-1, 17), got 98",
         tf.dendrogram, WEIGHT, FAR_EDGE),
    seen(ValueError, "watershed: tree.edge must be in [-1, 17), got 98",
         tf.watershed, WEIGHT, FAR_EDGE, SEEDS.long()),
    seen(ValueError, "filter: tree.parent must be in [0, 12), got 99",
         tf.filter, X, FAR_PARENT, A, path="min"),
    seen(ValueError, "distance_transform: tree.parent must be in [0, 12), got 99",
         tf.distance_transform, WEIGHT, FAR_PARENT, SEEDS, path="max"),
    case(ValueError, "dendrogram: tree.edge must be in [-1, 17), got 98",
         tf.reference.dendrogram, WEIGHT, FAR_EDGE),
    seen(ValueError, "altitude: h.edge must be in [-1, 17), got 98", tf.altitude, WEIGHT, MERGES),
    seen(ValueError, "cut: h.edge must be in [-1, 17), got 98", tf.cut, MERGES, WEIGHT, 0.5),
    seen(ValueError, "linkage: h.edge must be in [-1, 17), got 98", tf.linkage, WEIGHT, MERGES),
    # tree and module
    case(IndexError, "Tree: index must be in [-2, 2), got 2", TREE.__getitem__, 2),
    seen_here(ValueError, "Tree.depth: tree.parent must be in [0, 12), got ",
         lambda tree: tree.depth, FAR_PARENT),
    seen_here(ValueError, "Tree.components: tree.order must be in [0, 12), got -",
         lambda tree: tree.components, NEGATIVE_ORDER),
    case(ValueError, "affinity: tree.edge must be in [-1, 17), got 98",
         tf.reference.affinity, WEIGHT, FAR_EDGE),
    case(ValueError, "distance_matrix: tree.edge must be in [-1, 17), got 98",
         tf.reference.distance_matrix, WEIGHT, FAR_EDGE),
    case(ValueError, "TreeFilter2d: groups must be at least 1, got 0", tf.nn.TreeFilter2d, groups=0),
    case(ValueError, "TreeFilter2d: metric must be one of sqeuclidean", tf.nn.TreeFilter2d, metric="x"),
    case(ValueError, "TreeFilter2d: connectivity must be 4 or 8, got 6",
         tf.nn.TreeFilter2d, connectivity=6),
    case(ValueError, "TreeFilter2d: sigma must be positive, got -1", tf.nn.TreeFilter2d, sigma=-1),
    case(ValueError, "TreeFilter2d: guide must have shape (B, C, H, W) with C divisible by 3, got "
         "(2, 4, 3, 4)", tf.nn.TreeFilter2d(groups=3), X, X),
]  # fmt: skip


def moved(value, device):
    """An argument with its tensors on the device."""
    with_device = isinstance(value, torch.Tensor | tf.Graph | tf.Tree | tf.Dendrogram)
    return value.to(device) if with_device else value


@pytest.mark.parametrize(("kind", "message", "raised", "function", "arguments", "keywords"), CASES)
def test_error(device, kind, message, raised, function, arguments, keywords):
    arguments = [moved(value, device) for value in arguments]
    keywords = {name: moved(value, device) for name, value in keywords.items()}
    if ("emulated" if _C.emulated else device.type) not in raised:
        function(*arguments, **keywords)  # and nothing is read out of bounds: see test-asan
        return
    with pytest.raises(kind, match=re.escape(message)):
        function(*arguments, **keywords)


def test_sparse_tensors_are_refused(device):
    with pytest.raises(TypeError, match=re.escape("filter: x must be")):
        tf.filter(X.to(device).to_sparse(), TREE.to(device), A.to(device))


def test_foreign_devices_are_refused_as_such(monkeypatch):
    from treefilter import _checks

    monkeypatch.setattr(_checks, "_DEVICES", ())
    with pytest.raises(RuntimeError, match=r"filter: x must be on the CPU.* got a tensor on cpu"):
        tf.filter(X, TREE, A)


def test_the_native_layer_checks_for_itself(device):
    """A call of the native module itself cannot make a wrong pointer either."""
    out = torch.empty(2, 4, 12, device=device)
    tree, x, a = TREE.to(device), X.to(device).flatten(2), A.to(device)[:, None]
    kind = "CPU" if device.type == "cpu" else str(x.device)

    def propagate(x=x, parent=tree.parent, order=tree.order, a=a, out=out):
        _C.propagate(_C.Pass.SUM, x, parent, order, tree._plan, a, None, out, 1)

    propagate()
    expected = f"out must be a float32 {kind} tensor of shape [2, 4, 12]"
    with pytest.raises(ValueError, match=re.escape(expected)):
        propagate(out=out.double())
    with pytest.raises(ValueError, match=re.escape(expected)):
        propagate(out=out[:, :3])
    with pytest.raises(ValueError, match=r"tree\.parent must be a contiguous tensor"):
        propagate(parent=tree.parent[:, ::2], order=tree.order[:, ::2])
    with pytest.raises(ValueError, match="x must be a floating point tensor"):
        propagate(x=x.long())
    expected = (
        "affinity must have batch 1 or 2 and groups that divide the 4 channels, got [2, 3, 12]"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        propagate(a=a.expand(2, 3, 12).contiguous())


@pytest.mark.parametrize(
    "channels", [1, 4, 60_000]
)  # the last so many that visits are put in order
def test_a_cycle_in_place_of_a_tree_stays_inside_the_tensors(device, channels):
    """Vertices without a root get meaningless values; all other vertices get theirs."""
    parent = torch.arange(280).sub(1).clamp(min=0)[None].int()
    parent[0, 270] = 279
    order = torch.arange(279, -1, -1)[None].int()
    tree = tf.Tree(parent, parent.clamp(max=0), order, (14, 20)).to(device)
    x = torch.ones(1, channels, 280, device=device)
    a = torch.full((1, 280), 0.5, device=device)
    a[0, 270] = 0
    y = tf.filter(x, tree, a)
    torch.testing.assert_close(y[..., :270], x[..., :270])
