"""torch.export and torch.compile with sizes that are not fixed, and what other exporters say."""

import unittest.mock

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim
from torch.testing import assert_close

import treefilter as tf
from treefilter import _ops
from treefilter._native import _C

pytestmark = pytest.mark.usefixtures("tensors_on_device")
BATCH, HEIGHT, WIDTH = Dim("batch", min=1), Dim("height"), Dim("width")
IMAGE = {0: BATCH, 2: HEIGHT, 3: WIDTH}
SIZES = [(2, 6, 5), (3, 9, 7), (1, 4, 4), (5, 2, 2), (2, 1, 8)]


def images(batch, height, width):
    torch.manual_seed(height)
    return torch.rand(batch, 4, height, width), torch.rand(batch, 2, height, width)


class Everything(torch.nn.Module):
    """Every function that a model may contain."""

    def forward(self, x, guide, seeds):
        graph = tf.grid(*guide.shape[2:])
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        a = tf.affinity(weight, tree, 0.3)
        source = torch.tensor([0, 3], device=x.device)
        return (
            tf.filter(x, tree, a),
            tf.root_to_leaf(tf.leaf_to_root(x, tree, a), tree, a),
            tf.distance(weight, tree, source),
            tf.distance(weight, tree, source, "max"),
            *tf.distance_transform(weight, tree, seeds),
            *tf.distance_transform(weight, tree, seeds, "max"),
        )


class Hierarchies(torch.nn.Module):
    """What is made of a dendrogram."""

    def forward(self, x, guide, seeds):
        graph = tf.grid(*guide.shape[2:])
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        h = tf.dendrogram(weight, tree)
        return (
            h.parent,
            tf.altitude(weight, h),
            tf.cut(h, weight, 0.2),
            tf.cut(h, num=2),
            tf.watershed(weight, tree, seeds.long()),
            tf.filter(x, tree, tf.affinity(weight, tree, 0.3), path="min"),
            *tf.persistence(x[:, 0], graph),
            *tf.persistence(x[:, 0], graph, dim=1),
            *tf.malis_pairs(h, seeds.long()),
        )


class Trees(torch.nn.Module):
    """What a tree says of itself, its parts, and trees of its parents."""

    def forward(self, guide):
        weight = tf.edge_weight(guide, tf.grid(*guide.shape[2:]))
        tree = tf.mst(weight, tf.grid(*guide.shape[2:]))
        same = tf.Tree.from_parents(tree.parent, tree.edge, tree.shape)
        parts = tf.Tree.cat([tree[:1], tree[-1], tree[[1, 0]], same[torch.tensor([0, -1])]])
        h = tf.dendrogram(weight, tree)
        return (
            *(parts.depth, parts.components, parts.order, same.edge_list(), tree.roots),
            *(h[0].parent, tf.mass(tree, tf.affinity(weight, tree))),
        )


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scan = tf.nn.TreeScan2d(2, 2)
        self.mrf = tf.nn.TreeFilterMRF2d(4, 2, 4, random="none")
        self.energy = tf.nn.TreeEnergyLoss(0.3)

    def forward(self, x, guide):
        label = (guide[:, 0] * 5).long() - 1
        return self.scan(guide), self.mrf(x, guide), self.energy(x, guide, label, guide)


class OneGraph(torch.nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def forward(self, x, weight):
        tree = tf.mst(weight, self.graph)
        return tf.filter(x, tree, tf.affinity(weight, tree))


def check(model, make, shapes, sizes=SIZES, **options):
    program = torch.export.export(model, make(*sizes[0]), dynamic_shapes=shapes, **options)
    for size in sizes:
        inputs = make(*size)
        assert_close(program.module()(*inputs), model(*inputs))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine"])
def test_layer_with_dynamic_sizes(metric, strict):
    model = tf.nn.TreeFilter2d(0.3, metric=metric)
    check(model, images, (IMAGE, IMAGE), SIZES[:4], strict=strict)


def test_sigma_of_a_mass_with_dynamic_sizes():
    check(tf.nn.TreeFilter2d("auto", mass=0.2), images, (IMAGE, IMAGE), SIZES[:2])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_layer_with_groups_and_diagonals(groups, connectivity):
    model = tf.nn.TreeFilter2d(0.3, groups=groups, connectivity=connectivity)
    check(model, images, (IMAGE, IMAGE), SIZES[:4])


@pytest.mark.parametrize(
    ("model", "strict"), [(Everything, False), (Everything, True), (Hierarchies, False)]
)
def test_every_function_with_dynamic_sizes(model, strict):
    def make(*size):
        return *images(*size), torch.rand(size) > 0.6

    seeds = {0: BATCH, 1: HEIGHT, 2: WIDTH}
    # Persistence in dimension 1 needs more than one square of pixels.
    sizes = SIZES[: 4 if model is Everything else 3]
    check(model(), make, (IMAGE, IMAGE, seeds), sizes, strict=strict)


@pytest.mark.parametrize("strict", [False, True])
def test_trees_with_dynamic_sizes(strict):
    shapes = ({0: Dim("batch", min=2), 2: HEIGHT, 3: WIDTH},)
    check(Trees(), lambda *size: images(*size)[1:], shapes, SIZES[:2], strict=strict)


def test_layers_with_dynamic_sizes():
    check(Layers(), images, (IMAGE, IMAGE), SIZES[:2])


@pytest.mark.parametrize("dims", [(0,), (2,), (3,), (0, 2, 3)])
def test_sizes_that_torch_chooses(dims):
    shapes = dict.fromkeys(dims, Dim.AUTO)
    sizes = [
        tuple(
            n if d in dims else first
            for d, n, first in zip((0, 2, 3), size, (2, 6, 5), strict=True)
        )
        for size in SIZES[:2]
    ]
    check(tf.nn.TreeFilter2d(0.3), images, (shapes, shapes), sizes)


def test_dynamic_batch_of_one_graph():
    graph = tf.graph(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), 4)

    def make(batch):
        return torch.rand(batch, 2, 4), torch.rand(batch, 4)

    check(OneGraph(graph), make, ({0: BATCH}, {0: BATCH}), [(2,), (1,), (5,)])


def test_dynamic_batch_of_trees():
    class Model(torch.nn.Module):
        def forward(self, x, tree, a):
            return tf.filter(x, tree, a)

    graph = tf.grid(6, 5)

    def make(batch):
        tree = tf.mst(torch.rand(batch, graph.num_edges), graph)
        return torch.rand(batch, 2, 6, 5), tree, torch.rand(batch, 30)

    shapes = ({0: BATCH}, [{0: BATCH}] * 4, {0: BATCH})
    check(Model(), make, shapes, [(3,), (1,), (5,)])


def test_saved_and_loaded(tmp_path):
    model, inputs = tf.nn.TreeFilter2d(0.3), images(2, 6, 5)
    program = torch.export.export(model, inputs, dynamic_shapes=(IMAGE, IMAGE))
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    for size in SIZES[:3]:
        assert_close(loaded(*images(*size)), model(*images(*size)))


@pytest.mark.parametrize("nodes", [1, 2, 7, 1000, 2**31 - 1])
def test_size_of_a_plan_is_the_native_one(nodes):
    assert _ops.plan_size(nodes) == _C.plan_size(nodes)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (3, 4), (2, 3, 4), (1, 1, 1)])
def test_ends_of_a_traced_graph(shape):
    for connectivity in (4, 8) if len(shape) == 2 else (6, 26):
        graph = tf.grid(*shape, connectivity=connectivity)
        with unittest.mock.patch("torch.compiler.is_compiling", return_value=True):
            traced = graph.edge_index
        assert torch.equal(traced, graph.edge_index)


class Network(torch.nn.Module):
    """A layer between convolutions, guided by the image."""

    def __init__(self):
        super().__init__()
        self.before = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.smooth = tf.nn.TreeFilter2d(0.3)
        self.after = torch.nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image):
        features = self.before(image).relu()
        return self.after(self.smooth(features, image))


class Pointwise(torch.nn.Module):
    """Without convolutions, which Inductor compiles for every size anew."""

    def __init__(self):
        super().__init__()
        self.before = torch.nn.Parameter(torch.rand(4, 3, 1, 1))
        self.smooth = tf.nn.TreeFilter2d(0.3)

    def forward(self, image):
        features = (self.before * image.unsqueeze(1)).sum(2).relu()
        return self.smooth(features, features).square()


@pytest.mark.parametrize("kind", [Network, Pointwise])
def test_training_with_dynamic_sizes(kind):
    torch.manual_seed(0)
    network = kind()
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(network, dynamic=True, fullgraph=True, backend=counter)
    graphs = []
    for size in ((2, 3, 8, 9), (3, 3, 12, 7)):
        image = torch.rand(size)
        results = []
        for run in (network, compiled):
            network.zero_grad()
            y = run(image)
            y.square().sum().backward()
            results.append([y, *(p.grad.clone() for p in network.parameters())])
        for expected, got in zip(*results, strict=True):
            assert_close(got, expected, rtol=1e-4, atol=1e-4)
        graphs.append(counter.frame_count)
    assert kind is Network or graphs[0] == graphs[1]


def test_ahead_of_time(tmp_path):
    graph = tf.grid(3, 4)

    class Model(torch.nn.Module):
        def forward(self, weight, x):
            tree = tf.mst(weight, graph)
            a = tf.affinity(weight, tree, 0.3)
            return tf.filter(x, tree, a), tf.distance(weight, tree, torch.tensor([5]))

    def make(batch):
        return torch.rand(batch, 17), torch.rand(batch, 2, 3, 4)

    program = torch.export.export(Model(), make(2), dynamic_shapes=({0: BATCH}, {0: BATCH}))
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "x.pt2"))
    loaded = torch._inductor.aoti_load_package(path)
    for batch in (3, 1):
        inputs = make(batch)
        assert_close(loaded(*inputs), Model()(*inputs))


@pytest.mark.filterwarnings("ignore")
def test_torchscript_traces_are_refused():
    x, guide = images(1, 4, 5)
    graph = tf.grid(4, 5)
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree)
    calls = {
        "edge_weight": (lambda guide: tf.edge_weight(guide, graph), guide),
        "mst": (lambda weight: tf.mst(weight, graph).parent, weight),
        "affinity": (lambda weight: tf.affinity(weight, tree), weight),
        "filter": (lambda x: tf.filter(x, tree, a), x),
        "distance": (lambda weight: tf.distance(weight, tree, torch.tensor([0])), weight),
    }
    for function, argument in calls.values():
        with pytest.raises(RuntimeError, match=r"torch\.export\.export"):
            torch.jit.trace(function, (argument,))


def test_onnx_export_says_what_to_do_instead():
    with (
        unittest.mock.patch("torch.onnx.is_in_onnx_export", return_value=True),
        pytest.raises(Exception, match=r"torch\.export\.export, got torch\.onnx\.export"),
    ):
        torch.export.export(tf.nn.TreeFilter2d(0.3), images(1, 4, 5))
