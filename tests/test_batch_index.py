"""Trees of a batch by all kinds of indices, also under torch.vmap and without values."""

import numpy as np
import pytest
import torch
from strategies import uniform
from torch._subclasses import FakeTensorMode
from torch.func import vmap

import treefilter as tf


@pytest.fixture
def tree(device):
    graph = tf.grid(3, 4)
    return tf.mst(uniform(1, 3, graph.num_edges).to(device), graph)


def read_only(values):
    array = np.array(values)
    array.flags.writeable = False
    return array


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(None, None, -1), [2, 1, 0]),
        (slice(1, None, -2), [1]),
        (slice(np.int64(1), np.int32(3)), [1, 2]),
        (slice(torch.tensor(1), None), [1, 2]),
        (slice(5, 9), []),
        (np.array([0, 1, 2])[::-1], [2, 1, 0]),
        (np.array([0, 9, 2, 9])[::2], [0, 2]),
        (np.array([2, 0], dtype=">i8"), [2, 0]),
        (np.array([2, 0], dtype=">u2"), [2, 0]),
        (np.array([2, 1], dtype=np.uint64), [2, 1]),
        (np.array([-1, 0], dtype=np.int8), [2, 0]),
        (read_only([1, 2]), [1, 2]),
        (np.array([True, False, True])[::-1], [0, 2]),
        ([np.bool_(True), False, False], [0]),
        ([np.uint8(2)], [2]),
    ],
    ids=repr,
)
def test_indices(tree, index, rows):
    part = tree[index]
    assert torch.equal(part.parent, tree.parent[rows])
    assert torch.equal(part.order, tree.order[rows])


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (slice(0.5, None), TypeError, "index must be a slice of integers, got float"),
        (slice(None, "2"), TypeError, "index must be a slice of integers, got str"),
        (slice(torch.tensor(0.5), 2), TypeError, "index must be a slice of integers, got Tensor"),
        (slice(None, None, 0), ValueError, "index must be a slice with a step other than 0, got 0"),
        ([2**70], IndexError, f"index must be in [-3, 3), got {2**70}"),
        ([0, -(2**70)], IndexError, f"index must be in [-3, 3), got {-(2**70)}"),
        (2**70, IndexError, f"index must be in [-3, 3), got {2**70}"),
        (np.array([2**64 - 1], dtype=np.uint64), IndexError, "must be less than 2**63"),
        (np.array([3]), IndexError, "index must be in [-3, 3), got 3"),
        (np.array([0.5]), TypeError, "integers or bools, got a NumPy array of float64"),
        (np.array([0, 1], dtype=object), TypeError, "got a NumPy array of object"),
        (np.array(["0"]), TypeError, "got a NumPy array of <U1"),
        (np.array(1), ValueError, "index must have shape (K,), got ()"),
        (np.ma.array([0, 1], mask=[0, 1]), TypeError, "got a masked NumPy array of int64"),
        (torch.tensor([0, 1]).to_sparse(), TypeError, "index must be an integer tensor"),
    ],
    ids=repr,
)
def test_indices_that_are_none(tree, index, error, message):
    with pytest.raises(error, match=r"^Tree: index must ") as caught:
        tree[index]
    assert message in str(caught.value)


def test_mapped_indices(tree):
    index = torch.tensor([[0, 2], [1, -1]], device=tree.device)
    assert torch.equal(vmap(lambda i: tree[i].parent)(index), tree.parent[index])
    with pytest.raises(IndexError, match=r"^Tree: index must be in \[-3, 3\), got 3"):
        vmap(lambda i: tree.to("cpu")[i].parent)(index.cpu() + 1)
    with pytest.raises(ValueError, match=r"^Tree: index must be integers under torch\.vmap"):
        vmap(lambda i: tree[i].parent)(index.new_ones(2, 3, dtype=torch.bool))


def test_indices_without_values(device):
    graph = tf.grid(3, 4)
    with FakeTensorMode():
        tree = tf.mst(torch.rand(3, graph.num_edges, device=device), graph)
        for index in (1, slice(None, None, -1), [0, 1], torch.tensor([0, 1]), [True, False, True]):
            assert tree[index].num_nodes == 12
        with pytest.raises(ValueError, match=r"^Tree: index must be integers .* got bools"):
            tree[torch.tensor([True, False, True])]


# --- trees from elsewhere, and what can be asked of them ------------------------------------------


def test_parents_may_be_mapped(tree):
    def fields(parent):
        again = tf.Tree.from_parents(parent)
        return again.parent, again.order, again.children(), again.depth, again.edge_list()

    expected = [
        torch.stack(f) for f in zip(*map(fields, (tree.parent, tree.parent.flip(0))), strict=True)
    ]
    got = vmap(fields)(torch.stack([tree.parent, tree.parent.flip(0)]))
    assert all(map(torch.equal, got, expected))
    got = vmap(fields, in_dims=2)(torch.stack([tree.parent, tree.parent.flip(0)], 2))
    assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([[0, 0, 1], [0, 0, 9]], r"parent must be in \[0, 3\), got one .*torch\.vmap"),
        ([[0, 0, 1], [1, 0, 0]], r"parent must lead .* got a cycle, .*torch\.vmap"),
    ],
)
def test_mapped_parents_are_checked(device, parents, message):
    parents = torch.tensor(parents, device=device)[:, None]
    with pytest.raises(ValueError, match=rf"^Tree\.from_parents: {message}"):
        vmap(lambda p: tf.Tree.from_parents(p).order)(parents)


def test_trees_without_values(device):
    with FakeTensorMode():
        parent = torch.zeros(2, 5, dtype=torch.int32, device=device)
        tree = tf.Tree.from_parents(parent, torch.zeros_like(parent))
        assert tree.order.shape == tree.depth.shape == tree.components.shape == (2, 5)
        assert tree.edge_list().shape == (2, 4, 2)
        with pytest.raises(ValueError, match=r"^Tree\.children: tree must have values"):
            tree.children()


def test_a_batch_of_trees_is_no_argument_of_vmap(tree):
    a = uniform(2, 3, 12).to(tree.device)
    x = uniform(3, 3, 1, 2, 12).to(tree.device)
    weight = uniform(4, 3, 1, 17).to(tree.device)
    mapped = vmap(lambda w: tf.mst(w, tf.grid(3, 4)))(weight)
    for function in (
        lambda: vmap(lambda x, t: tf.filter(x, t, a))(x, tree),
        lambda: vmap(lambda t: t.depth)(tree),
        lambda: vmap(lambda t: t[0].parent)(tree),
        lambda: tf.filter(x[:, 0], mapped, a),
    ):
        with pytest.raises(
            ValueError, match=r"tree must be a batch of trees with parents \(B, N\)"
        ):
            function()
    assert (
        vmap(lambda x, t: tf.filter(x, t, a[:1]), in_dims=(0, None))(x, tree[:1]).shape == x.shape
    )
