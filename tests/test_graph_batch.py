"""A batch of graphs, each with an edge list of its own."""

import copy
import pickle

import pytest
import torch

import treefilter as tf

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine")


def lists(batch=3, num_nodes=9, num_edges=20):
    return torch.randint(num_nodes, (batch, 2, num_edges))


def one_by_one(function, values, edges, num_nodes, **roots):
    """What the function gives for each image with its own graph."""
    graphs = [tf.graph(e, num_nodes) for e in edges]
    return [
        function(v.unsqueeze(0), g, **{k: int(r[i]) for k, r in roots.items()})
        for i, (v, g) in enumerate(zip(values, graphs, strict=True))
    ]


def test_lists_come_back_as_they_were_given():
    edges = lists()
    graph = tf.graph(edges.int(), 9)
    assert (graph.batch, graph.num_nodes, graph.num_edges) == (3, 9, 20)
    assert torch.equal(graph.edge_index, edges)
    for other in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), graph.to("cpu")):
        assert torch.equal(other.edge_index, edges)
        assert other.batch == 3


def test_trees_are_those_of_each_graph():
    for seed in range(10):
        torch.manual_seed(seed)
        edges, weight = lists(), torch.randint(4, (3, 20)).double()  # many ties
        weight[torch.rand(3, 20) < 0.3] = torch.inf
        roots = torch.randint(9, (3,))
        tree = tf.mst(weight, tf.graph(edges, 9), root=roots)
        one = tf.Tree.cat(one_by_one(tf.mst, weight, edges, 9, root=roots))
        assert torch.equal(tree.parent, one.parent)
        assert torch.equal(tree.edge, one.edge)
        assert torch.equal(tree.order, one.order)
        oracle = tf.reference.mst(weight, tf.graph(edges, 9), root=roots)
        assert torch.equal(tree.parent, oracle.parent)


@pytest.mark.parametrize("metric", METRICS)
def test_weights_are_those_of_each_graph(metric):
    edges = lists()
    guide = torch.rand(3, 4, 9, dtype=torch.float64, requires_grad=True)
    weight = tf.edge_weight(guide, tf.graph(edges, 9), metric)
    one = torch.cat(one_by_one(lambda f, g: tf.edge_weight(f, g, metric), guide, edges, 9))
    assert torch.equal(weight, one)
    torch.testing.assert_close(weight, tf.reference.edge_weight(guide, tf.graph(edges, 9), metric))
    sums = torch.rand_like(weight)
    grads = [torch.autograd.grad((w * sums).sum(), guide)[0] for w in (weight, one)]
    torch.testing.assert_close(*grads)


def test_no_images_and_no_edges():
    tree = tf.mst(torch.zeros(0, 5), tf.graph(torch.zeros(0, 2, 5, dtype=torch.int64), 4))
    assert tree.parent.shape == (0, 4)
    tree = tf.mst(torch.zeros(2, 0), tf.graph(torch.zeros(2, 2, 0, dtype=torch.int64), 3))
    assert tree.parent.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize(("batch", "channels"), [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("metric", METRICS)
def test_weights_of_nothing(metric, batch, channels):
    graph = tf.graph(lists(batch), 9)
    weight = tf.edge_weight(torch.zeros(batch, channels, 9), graph, metric)
    assert torch.equal(weight, torch.zeros(batch, 20))


def test_compiled_and_eager_trees_are_equal():
    edges, weight = lists(), torch.rand(3, 20)
    graph = tf.graph(edges, 9)
    compiled = torch.compile(lambda w: tf.mst(w, graph).parent, fullgraph=True, backend="eager")
    assert torch.equal(compiled(weight), tf.mst(weight, graph).parent)


def test_errors():
    graph = tf.graph(lists(), 9)
    with pytest.raises(ValueError, match=r"mst: weight must have batch 3 like the graph, got 2"):
        tf.mst(torch.zeros(2, 20), graph)
    with pytest.raises(ValueError, match=r"guide must have batch 3 like the graph, got 1"):
        tf.edge_weight(torch.zeros(1, 4, 9), graph)
    with pytest.raises(ValueError, match=r"mst: root must be in \[0, 9\), got 9"):
        tf.mst(torch.zeros(3, 20), graph, root=torch.tensor([0, 9, 1]))
    with pytest.raises(ValueError, match=r"\[0, 9\)"):
        tf.graph(lists() + 5, 9)
    with pytest.raises(ValueError, match="Graph: edges must join vertices of one image"):
        tf.Graph(3, 1, None, None, torch.tensor([[0, 1], [1, 4]], dtype=torch.int32), 2)
    with pytest.raises(ValueError, match="Graph: edges must be 2 for each of 2 images, got 2"):
        tf.Graph(3, 2, None, None, torch.tensor([[0, 1], [1, 4]], dtype=torch.int32), 2)


def test_the_mass_is_what_the_mean_divides_by():
    tree = tf.mst(torch.rand(2, 17), tf.grid(3, 4))
    a = torch.rand(2, 3, 12, dtype=torch.float64, requires_grad=True)
    x = torch.rand(2, 6, 3, 4, dtype=torch.float64)
    mass = tf.mass(tree, a)
    assert mass.shape == (2, 3, 12)
    torch.testing.assert_close(mass, tf.reference.mass(tree, a))
    total = tf.filter(x, tree, a, normalize=False)
    mean = total / mass.repeat_interleave(2, 1).view_as(x)
    torch.testing.assert_close(mean, tf.filter(x, tree, a))
    assert torch.autograd.gradcheck(lambda a: tf.mass(tree, a), a)
    assert tf.mass(tree[0], a[:, 0]).shape == (2, 12)
    assert tf.mass(tree, a[:1, 0]).shape == (2, 12)
    for shape in ((0, 12), (0, 3, 12)):
        none = tf.mass(tree[0], torch.ones(shape))
        assert none.shape == tf.reference.mass(tree[0], torch.ones(shape)).shape == shape
    for shape in ((), (12,), (3, 12), (2, 11), (2, 0, 12)):
        with pytest.raises(ValueError, match=r"^mass: affinity must have shape"):
            tf.mass(tree, torch.ones(shape))
