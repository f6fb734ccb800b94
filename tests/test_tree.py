"""Trees: properties of every tree, and operations on batches."""

import copy
import io
import pickle

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import graphs, normal, photograph, uniform, weights
from torch.utils import _pytree

import treefilter as tf
from treefilter._native import _C


@given(st.data(), graphs(), st.integers(1, 3))
def test_invariants(device, data, graph, batch):
    weight = data.draw(weights(graph, batch))
    root = data.draw(st.integers(0, graph.num_nodes - 1))
    tree = tf.mst(weight.to(device), graph.to(device), root=root).to("cpu")
    everyone = np.arange(graph.num_nodes)
    for b in range(batch):
        parent, edge, order = (t[b].numpy() for t in (tree.parent, tree.edge, tree.order))
        np.testing.assert_array_equal(np.sort(order), everyone)
        place = np.argsort(order)
        is_root = parent == everyone
        assert (place[~is_root] < place[parent[~is_root]]).all()  # children before parents
        assert (edge[is_root] == -1).all()
        assert is_root[root]
        # The edge of a vertex joins it with its parent.
        ends = np.sort(graph.edge_index.numpy()[:, edge[~is_root]], axis=0)
        joined = np.sort([everyone[~is_root], parent[~is_root]], axis=0)
        np.testing.assert_array_equal(ends, joined)
        # One root per component: the requested one, and elsewhere the lowest vertex.
        top = oracle.components(parent)
        assert is_root[top].all()
        lowest = {r: np.flatnonzero(top == r)[0] for r in np.flatnonzero(is_root)}
        assert all(r in (root, low) for r, low in lowest.items())


@given(st.data(), graphs(), st.integers(1, 2))
def test_components_are_those_of_the_graph(device, data, graph, batch):
    weight = data.draw(weights(graph, batch, ("half infinite", "mostly infinite", "random")))
    tree = tf.mst(weight.to(device), graph.to(device))
    for b in range(batch):
        component = np.arange(graph.num_nodes)
        for u, v in graph.edge_index.T[weight[b] < torch.inf].numpy():
            component[component == component[u]] = component[v]
        top = oracle.components(tree.parent[b].cpu().numpy())
        np.testing.assert_array_equal(
            component[:, None] == component, top[:, None] == top, strict=True
        )


@given(st.data(), graphs())
def test_parents_are_those_of_the_edges(device, data, graph):
    weight = data.draw(weights(graph))
    root = data.draw(st.integers(0, graph.num_nodes - 1))
    tree = tf.mst(weight.to(device), graph.to(device), root=root)
    edge = tree.edge[0].cpu()
    ends = graph.edge_index.numpy()
    expected = oracle.hang(set(edge[edge >= 0].tolist()), ends, graph.num_nodes, root)
    np.testing.assert_array_equal(tree.parent[0].cpu(), expected[0])
    np.testing.assert_array_equal(edge, expected[1])


def in_chains(device) -> bool:
    """Whether trees there have CUDA's order (chain after chain), or the CPU's (interleaved)."""
    return device.type == "cuda" or _C.emulated


@given(st.data(), graphs())
def test_order_is_the_peeling_of_the_tree(device, data, graph):
    weight = data.draw(weights(graph))
    root = data.draw(st.integers(0, graph.num_nodes - 1))
    tree = tf.mst(weight.to(device), graph.to(device), root=root)
    order = oracle.strahler_order if in_chains(device) else oracle.order_by_turns
    assert tree.order[0].tolist() == order(tree.parent[0].cpu().numpy())


def test_order_of_a_binary_tree(device):
    # 0 ─ 1 ─ {3, 4}, 0 ─ 2 ─ {5, 6}, and 7, a child of 3
    ends = torch.tensor([[0, 0, 1, 1, 2, 2, 3], [1, 2, 3, 4, 5, 6, 7]])
    graph = tf.graph(ends.to(device), 8)
    tree = tf.mst(torch.ones(1, 7, device=device), graph)
    below = [4, 5, 6, 7, 3, 1, 2] if in_chains(device) else [4, 5, 6, 7, 2, 3, 1]
    assert tree.order[0].tolist() == [*below, 0]
    moved = tf.mst(torch.ones(1, 7, device=device), graph, root=7)
    assert moved.order[0].tolist() == [4, 5, 6, 2, 0, 1, 3, 7]


def test_order_of_large_trees(device):
    """CUDA's again, from Horton–Strahler numbers computed from the leaves up."""
    graph = tf.grid(257, 301)
    guide = torch.cat([photograph(257, 301), normal(2, 1, 3, 257, 301, dtype=torch.float32)])
    tree = tf.mst(tf.edge_weight(guide, graph).to(device), graph, root=40_000).to("cpu")
    for parent, order in zip(tree.parent.tolist(), tree.order.tolist(), strict=True):
        if not in_chains(device):
            assert order == oracle.order_by_turns(np.array(parent))
            continue
        vertices = range(len(parent))
        best, ties, below = [0 for _ in vertices], [0 for _ in vertices], [0 for _ in vertices]
        place = [(0, v, 0) for v in vertices]  # round, leaf, position
        for v, p in zip(order, map(parent.__getitem__, order), strict=True):
            if ties[v] == 1:  # one child has the highest number: its chain continues
                _, leaf, position = place[below[v]]
                place[v] = best[v], leaf, position + 1
            else:
                place[v] = best[v] + 1, v, 0
            if p != v and place[v][0] >= best[p]:
                ties[p] = ties[p] + 1 if place[v][0] == best[p] else 1
                best[p], below[p] = place[v][0], v
        roots = [v for v in vertices if parent[v] == v]
        rest = [v for v in vertices if parent[v] != v]
        assert order == sorted(rest, key=place.__getitem__) + roots


# --- the batch ------------------------------------------------------------------------------------


@pytest.fixture
def graph():
    return tf.grid(5, 7)


@pytest.fixture
def tree(graph, device):
    return tf.mst(normal(3, 3, graph.num_edges).to(device), graph, root=11)


def same(a, b):
    return a.shape == b.shape and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("parent", "edge", "order")
    )


def filtered(tree, batch=3):
    """The tree is used."""
    x = normal(1, batch, 2, 5, 7).to(tree.parent.device)
    return tf.filter(x, tree, uniform(2, len(tree), 35).to(tree.parent.device))


def test_sizes(tree):
    assert len(tree) == 3
    assert tree.num_nodes == 35
    assert tree.shape == (5, 7)
    assert tree.roots.dtype == torch.bool
    assert tree.roots.nonzero().tolist() == [[0, 11], [1, 11], [2, 11]]


def test_index_gives_a_batch_of_one(tree):
    for i in (0, 1, 2, -1, -3):
        assert len(tree[i]) == 1
        assert torch.equal(tree[i].parent[0], tree.parent[i])
        assert torch.equal(tree[i].edge[0], tree.edge[i])
        assert torch.equal(tree[i].order[0], tree.order[i])
        assert tree[i].shape == tree.shape
    for i in (3, -4):
        with pytest.raises(IndexError):
            tree[i]


def test_slices(tree):
    assert torch.equal(tree[1:].parent, tree.parent[1:])
    assert torch.equal(tree[:0].parent, tree.parent[:0])
    assert len(tree[::2]) == 2
    assert torch.equal(tree[::2].order, tree.order[::2])
    assert [same(one, tree[i]) for i, one in enumerate(tree)] == [True] * 3


def test_parts_filter_like_the_whole(tree):
    x, a = normal(1, 3, 2, 5, 7), uniform(2, 3, 35)
    x, a = x.to(tree.parent.device), a.to(tree.parent.device)
    whole = tf.filter(x, tree, a)
    for i in range(3):
        assert torch.equal(tf.filter(x[i : i + 1], tree[i], a[i : i + 1])[0], whole[i])
    assert torch.equal(tf.filter(x[::2], tree[::2], a[::2]), whole[::2])


def test_pickle(tree):
    again = pickle.loads(pickle.dumps(tree))
    assert torch.equal(again.parent, tree.parent)
    assert torch.equal(again.edge, tree.edge)
    torch.testing.assert_close(filtered(again), filtered(tree), rtol=1e-12, atol=1e-12)


def test_torch_save(tree):
    file = io.BytesIO()
    torch.save(tree, file)
    file.seek(0)
    assert same(torch.load(file, weights_only=False), tree)


def test_copies(tree):
    for again in (copy.copy(tree), copy.deepcopy(tree)):
        assert same(again, tree)
        assert torch.equal(filtered(again), filtered(tree))


def test_pytree(tree):
    leaves, spec = _pytree.tree_flatten(tree)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    again = _pytree.tree_unflatten(leaves, spec)
    assert torch.equal(again.parent, tree.parent)
    assert torch.equal(again.edge, tree.edge)
    torch.testing.assert_close(filtered(again), filtered(tree), rtol=1e-12, atol=1e-12)
    first = _pytree.tree_map(lambda t: t[:1], tree)
    assert torch.equal(filtered(first, 1), filtered(tree[0], 1))


def test_moving(tree, device):
    assert same(tree.to(device), tree)
    assert same(tree.to("cpu").to(device), tree)
    assert tree.to("cpu").parent.device.type == "cpu"
    assert torch.equal(filtered(tree.to("cpu").to(device)), filtered(tree))


def test_trees_made_by_hand(graph, tree):
    """A tree is its three tensors; any order with children before parents is valid."""
    weight = normal(3, 3, graph.num_edges)
    slow = tf.reference.mst(weight, graph, root=11).to(tree.parent.device)
    again = tf.Tree(slow.parent, slow.edge, slow.order, (5, 7))
    assert torch.equal(again.parent, tree.parent)
    assert torch.equal(again.edge, tree.edge)
    torch.testing.assert_close(filtered(again), filtered(tree), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["parent", "edge", "order", "shape", "num_nodes", "roots"])
def test_tree_is_immutable(tree, name):
    with pytest.raises(AttributeError):
        setattr(tree, name, None)


def test_volume_keeps_its_shape(device):
    graph = tf.grid(2, 3, 5, connectivity=26)
    tree = tf.mst(torch.rand(1, graph.num_edges, device=device), graph)
    assert tree.shape == (2, 3, 5)
