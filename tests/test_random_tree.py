"""Random spanning trees: their law, against small cases that can be computed."""

import pytest
import torch

import treefilter as tf

PARALLEL = tf.graph(torch.tensor([[0, 0, 0], [1, 1, 1]]), 2)  # three edges, one of them is the tree
WEIGHT = torch.tensor([[0.3, 1.0, 0.1]], dtype=torch.float64)
METHODS = ("race", "tournament")


def shares(method, graph=PARALLEL, weight=WEIGHT, draws=20_000):
    """How often each edge of the first three is that of vertex 1."""
    generator = torch.Generator().manual_seed(1)
    tree = tf.random_tree(graph, weight.expand(draws, -1), method=method, generator=generator)
    return torch.bincount(tree.edge[:, 1].long(), minlength=3)[:3] / draws


def test_a_race_is_won_in_proportion():
    expected = torch.softmax(-WEIGHT[0], 0).float()
    torch.testing.assert_close(shares("race"), expected, atol=0.015, rtol=0)


def test_a_tournament_is_a_coin_for_each_later_edge():
    a = torch.exp(-WEIGHT[0])
    second = a[1] / (a[0] + a[1])
    in_hand = torch.stack([1 - second, second])
    replaced = a[2] / (a[:2] + a[2])
    expected = torch.cat([in_hand * (1 - replaced), (in_hand * replaced).sum().view(1)]).float()
    torch.testing.assert_close(shares("tournament"), expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_trees_span_and_the_generator_decides(method):
    graph, weight = tf.grid(6, 7), torch.rand(3, 71)
    weight[0, :4] = torch.inf

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return tf.random_tree(graph, weight, method=method, root=5, generator=generator)

    tree = draw(0)
    assert torch.equal(tree.parent, draw(0).parent)
    assert not torch.equal(tree.parent, draw(1).parent)
    assert torch.equal(tree.components, tf.mst(weight, graph).components)
    assert tree.parent[:, 5].tolist() == [5] * 3
    assert not (tree.edge[0].unsqueeze(1) == torch.arange(4)).any()  # none of the missing edges
    ends = graph.edge_index.T[tree.edge[1, tree.edge[1] >= 0].long()].sort().values
    own = torch.stack([torch.arange(42), tree.parent[1].long()], 1)[tree.edge[1] >= 0].sort().values
    assert torch.equal(ends, own)


@pytest.mark.parametrize("method", METHODS)
def test_of_a_batch_of_graphs(method):
    edges = torch.stack([tf.grid(3, 3).edge_index, tf.grid(3, 3).edge_index.flip(1)])
    tree = tf.random_tree(tf.graph(edges, 9), method=method)
    assert len(tree) == 2
    assert (tree.components == 0).all()


def test_without_weights_the_global_seed_decides():
    torch.manual_seed(3)
    first = tf.random_tree(tf.grid(4, 4), batch=2)
    torch.manual_seed(3)
    assert torch.equal(first.parent, tf.random_tree(tf.grid(4, 4), batch=2).parent)


def test_errors():
    graph = tf.grid(3, 3)
    with pytest.raises(ValueError, match=r"weight must have shape \(B, 12\), got \(1, 3\)"):
        tf.random_tree(graph, torch.rand(1, 3))
    with pytest.raises(ValueError, match="batch must not be given with a weight"):
        tf.random_tree(graph, torch.rand(1, 12), batch=2)
    with pytest.raises(ValueError, match="method must be one of race, tournament"):
        tf.random_tree(graph, method="uniform")
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator or None, got int"):
        tf.random_tree(graph, generator=3)
    with pytest.raises(ValueError, match="generator must be on meta like weight, got cpu"):
        tf.random_tree(graph, torch.rand(1, 12, device="meta"), generator=torch.Generator())
    for method in ("race", "tournament"):  # a shape alone
        assert tf.random_tree(graph, torch.rand(1, 12, device="meta"), method=method).parent.is_meta
    for method in METHODS:
        with pytest.raises(ValueError, match="NaN"):
            tf.random_tree(graph, torch.full((1, 12), torch.nan), method=method)
