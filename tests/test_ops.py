"""The op layer: opcheck on every private op, compile, export, autocast."""

import functools

import pytest
import torch

import treefilter as tf
from treefilter import _ops

pytestmark = pytest.mark.usefixtures("tensors_on_device")
OPS = torch.ops.treefilter


def ops_of(dtype=torch.float32, height=5, width=4):
    """One call of every op: name -> (op, arguments)."""
    torch.manual_seed(7)
    graph = tf.grid(height, width, connectivity=8)
    guide = torch.rand(2, 3, height * width, dtype=dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    weight = torch.rand(2, graph.num_edges, dtype=wide)
    tree = tf.mst(weight, graph)
    affinity = torch.rand(2, 1, graph.num_nodes, dtype=wide)
    topology = (tree.parent, tree.order, tree._plan)
    shape = (None, graph._layout, graph.num_edges)
    edges = torch.randint(0, 9, (2, 14))
    listed = tf.graph(edges, 9)
    tree_weight = torch.rand(2, graph.num_nodes, dtype=wide)
    seeds = torch.rand(2, graph.num_nodes) > 0.8
    source = torch.tensor([[0, 3], [5, 1]])
    _, via, _ = _ops.distance(tree_weight, *topology, source, False, "distance")
    node, _, children = _ops.merges(weight.to(wide), tree.parent, tree.edge, "dendrogram")
    x = guide.clone()
    made = _ops.coefficients(*topology, affinity)
    y = _ops.propagate(x, *topology, affinity, _ops.MEAN, made)
    return {
        "edge_list": (OPS._edge_list, (edges, 9)),
        "edge_inner": (OPS._edge_inner, (guide, guide.flip(0), *shape, _ops.IDENTITY)),
        "edge_inner_list": (
            OPS._edge_inner,
            (guide[..., :9], guide[..., :9], listed._edges, [], 14, _ops.SIGN),
        ),
        "edge_scatter": (OPS._edge_scatter, (weight, guide, *shape, _ops.SIGN)),
        "edge_scatter_of_weights": (
            OPS._edge_scatter,
            (weight, guide, *shape, _ops.IDENTITY, weight.flip(0)),
        ),
        "edge_argmax": (OPS._edge_argmax, (guide, *shape)),
        "mst": (
            OPS._mst,
            (weight.float(), None, graph._layout, graph.num_nodes, torch.tensor([0, 3]), 0),
        ),
        "mst_same_root": (
            OPS._mst,
            (weight.float(), None, graph._layout, graph.num_nodes, None, 3),
        ),
        "mst_list": (OPS._mst, (torch.rand(2, 14), listed._edges, [], 9, torch.tensor([0, 3]), 0)),
        "merges": (OPS._merges, (weight.to(wide), tree.parent, tree.edge, "dendrogram")),
        "persistence": (OPS._persistence, (x[:, 0], None, graph._layout, True, False)),
        "persistence_list": (OPS._persistence, (x[:, 0, :9], listed._edges, [], False, True)),
        "count_pairs": (OPS._count_pairs, (node, children, seeds.int())),
        "bottleneck_sums": (
            OPS._bottleneck_sums,
            (x.double(), node, children, torch.rand(2, graph.num_nodes - 1).double()),
        ),
        "lowest_leaf": (OPS._lowest_leaf, (tree.parent, node)),
        "watershed": (OPS._watershed, (weight.to(wide), tree.parent, tree.edge, seeds.long())),
        "tree_weight": (OPS._tree_weight, (weight[:, None], tree.edge, "affinity")),
        "tree_weight_backward": (
            OPS._tree_weight_backward,
            (affinity, tree.edge, graph.num_edges, "affinity"),
        ),
        "affinity": (OPS._affinity, (weight[:, None], tree.edge, None, 0.5)),
        "affinity_of_groups": (
            OPS._affinity,
            (weight[:, None], tree.edge, 1 + affinity[:, 0, :3], 1),
        ),
        "affinity_backward": (
            OPS._affinity_backward,
            (affinity, affinity.flip(2), tree.edge, None, 0.5, [1, graph.num_edges]),
        ),
        "affinity_backward_of_groups": (
            OPS._affinity_backward,
            (
                affinity.expand(2, 3, -1),
                affinity.expand(2, 3, -1),
                tree.edge,
                1 + affinity[:, 0, :3],
                1,
                [1, graph.num_edges],
            ),
        ),
        "coefficients": (OPS._coefficients, (*topology, affinity)),
        "propagate": (OPS._propagate, (x, *topology, affinity, _ops.MEAN)),
        "propagate_made": (OPS._propagate, (x, *topology, affinity, _ops.MEAN, made)),
        "propagate_channels_last": (
            OPS._propagate,
            (x.transpose(1, 2).contiguous().transpose(1, 2), *topology, affinity, _ops.SUM),
        ),
        "filter_backward": (
            OPS._filter_backward,
            (y.flip(0), x, *topology, affinity, _ops.MEAN, True),
        ),
        "filter_backward_made": (
            OPS._filter_backward,
            (y.flip(0), x, *topology, affinity, _ops.MEAN, True, made),
        ),
        "filter_backward_x_only": (
            OPS._filter_backward,
            (y.flip(0), x, *topology, affinity, _ops.SUM, False),
        ),
        "plan": (OPS._plan, (tree.parent,)),
        "order": (OPS._order, (tree.parent, tree._plan)),
        "ranks": (OPS._ranks, (tree.parent, tree.order, 3)),
        "parent_dot": (OPS._parent_dot, (x, y, tree.parent, 3)),
        "distance": (OPS._distance, (tree_weight, *topology, source, False, "distance")),
        "distance_max": (OPS._distance, (tree_weight, *topology, source, True, "distance")),
        "distance_transform": (OPS._distance_transform, (tree_weight, *topology, seeds)),
        "distance_transform_max": (
            OPS._distance_transform,
            (tree_weight, *topology, seeds, weight.to(wide), tree.edge),
        ),
        "path_sums": (OPS._path_sums, (tree_weight, *topology, via)),
        "accumulate_sums": (
            OPS._accumulate_sums,
            (torch.rand(via.shape, dtype=wide), *topology, via),
        ),
        "l1_difference": (OPS._l1_difference, (x.to(wide), y.to(wide), True)),
        "l1_difference_without_signs": (OPS._l1_difference, (x.to(wide), y.to(wide), False)),
        "l1_difference_backward": (
            OPS._l1_difference_backward,
            (affinity, (x - y).sgn().to(torch.int8), True),
        ),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ops_of())
def test_opcheck(name, dtype):
    op, arguments = ops_of(dtype)[name]
    torch.library.opcheck(op.default, arguments)


def test_every_op_is_checked():
    checked = {op.default.name() for op, _ in ops_of().values()}
    defined = {
        schema.name
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("treefilter::")
    }
    assert checked == defined


def pipeline(guide, x, sigma, seeds):
    graph = tf.grid(*guide.shape[2:])
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree, sigma)
    y = tf.filter(x, tree, a)
    z = tf.root_to_leaf(tf.leaf_to_root(x, tree, a), tree, a)
    d = tf.distance(weight, tree, torch.tensor([0, 3]))
    transform, nearest = tf.distance_transform(weight, tree, seeds)
    return y, z, d, transform, nearest


def pipeline_inputs(height=6, width=5):
    torch.manual_seed(3)
    guide = torch.rand(2, 3, height, width, requires_grad=True)
    x = torch.rand(2, 4, height, width, requires_grad=True)
    sigma = torch.tensor(0.3, requires_grad=True)
    return guide, x, sigma, torch.rand(2, height, width) > 0.7


def gradients(outputs, inputs):
    loss = sum(o.sin().sum() for o in outputs if o.is_floating_point())
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_fullgraph_forward_and_backward(dynamic):
    inputs = pipeline_inputs()
    compiled = torch.compile(pipeline, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    expected, got = pipeline(*inputs), compiled(*inputs)
    for e, g in zip(expected, got, strict=True):
        torch.testing.assert_close(g, e)
    for e, g in zip(gradients(expected, inputs[:3]), gradients(got, inputs[:3]), strict=True):
        torch.testing.assert_close(g, e)
    if dynamic:
        inputs = pipeline_inputs(7, 9)
        for e, g in zip(pipeline(*inputs), compiled(*inputs), strict=True):
            torch.testing.assert_close(g, e)


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "chebyshev", "cosine"])
def test_compile_every_metric(metric):
    guide = pipeline_inputs()[0]
    function = functools.partial(tf.edge_weight, graph=tf.grid(6, 5), metric=metric)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(guide), function(guide))
    for e, g in zip(
        gradients([function(guide)], guide), gradients([compiled(guide)], guide), strict=True
    ):
        torch.testing.assert_close(g, e)


def test_compile_with_inductor():
    inputs = pipeline_inputs()
    compiled = torch.compile(pipeline, fullgraph=True)
    for e, g in zip(pipeline(*inputs), compiled(*inputs), strict=True):
        torch.testing.assert_close(g, e)


def test_compile_takes_and_returns_trees():
    guide, x, _, _ = pipeline_inputs()
    graph = tf.grid(6, 5)

    def build(weight):
        return tf.mst(weight, graph)

    def apply(x, tree, a):
        return tf.filter(x, tree, a)

    weight = tf.edge_weight(guide, graph).detach()
    tree = torch.compile(build, fullgraph=True, backend="aot_eager")(weight)
    expected = tf.mst(weight, graph)
    assert isinstance(tree, tf.Tree)
    assert torch.equal(tree.order, expected.order)
    assert tree.shape == (6, 5)
    a = tf.affinity(weight, expected)
    got = torch.compile(apply, fullgraph=True, backend="aot_eager")(x, tree, a)
    torch.testing.assert_close(got, tf.filter(x, expected, a))


def test_compile_edge_list_graph():
    graph = tf.graph(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), 4)

    def run(x, weight):
        tree = tf.mst(weight, graph)
        return tf.filter(x, tree, tf.affinity(weight, tree))

    x, weight = torch.rand(1, 2, 4), torch.rand(1, 4)
    got = torch.compile(run, fullgraph=True, backend="aot_eager")(x, weight)
    torch.testing.assert_close(got, run(x, weight))


def test_export():
    class Model(torch.nn.Module):
        def forward(self, guide, x, seeds):
            return pipeline(guide, x, 0.3, seeds)

    guide, x, _, seeds = pipeline_inputs()
    inputs = (guide.detach(), x.detach(), seeds)
    program = torch.export.export(Model(), inputs)
    for e, g in zip(Model()(*inputs), program.module()(*inputs), strict=True):
        torch.testing.assert_close(g, e)


def test_export_with_a_tree_as_input():
    class Model(torch.nn.Module):
        def forward(self, x, tree, a):
            return tf.filter(x, tree, a)

    weight = torch.rand(1, tf.grid(4, 4).num_edges)
    tree = tf.mst(weight, tf.grid(4, 4))
    inputs = (torch.rand(1, 2, 4, 4), tree, tf.affinity(weight, tree))
    program = torch.export.export(Model(), inputs)
    torch.testing.assert_close(program.module()(*inputs), Model()(*inputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_results_are_those_of_float32(dtype):
    guide, x, _, seeds = pipeline_inputs()
    guide, x = guide.detach().to(dtype), x.detach().to(dtype)
    expected = pipeline(guide.float(), x.float(), 0.3, seeds)
    with torch.autocast(guide.device.type, dtype=torch.bfloat16):
        got = pipeline(guide, x, 0.3, seeds)
    for e, g in zip(expected, got, strict=True):
        assert g.dtype == e.dtype
        assert torch.equal(g, e)


def test_autocast_around_the_module():
    layer = torch.nn.Conv2d(3, 4, 1)
    image = torch.rand(1, 3, 6, 5)
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        features = layer(image)
        y = tf.nn.TreeFilter2d(0.1)(features, image)
    assert features.dtype == torch.bfloat16
    assert y.dtype == torch.float32
    y.sum().backward()
    assert layer.weight.grad.isfinite().all()
