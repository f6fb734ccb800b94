"""Trees that mst() did not make, parts and unions of trees, and what can be asked of a tree."""

import dataclasses
import io
import pickle
import time

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, graphs, normal, snake, uniform, weights
from torch.utils.data import DataLoader, default_collate

import treefilter as tf
from treefilter._native import _C

FIELDS = ("parent", "edge", "order")


def same(a, b):
    return a.shape == b.shape and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS
    )


def random_parents(seed, batch, num_nodes):
    """(B, N) forests of any depth with their vertices shuffled."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(batch):
        reach = rng.integers(1, num_nodes + 1)  # 1: a snake; N: a shallow tree
        above = np.maximum(np.arange(num_nodes) - rng.integers(1, reach + 1, num_nodes), 0)
        is_root = rng.random(num_nodes) < 0.1
        above = np.where(is_root, np.arange(num_nodes), above)
        name = rng.permutation(num_nodes)
        parent = np.empty(num_nodes, dtype=np.int64)
        parent[name] = name[above]
        rows.append(parent)
    return torch.from_numpy(np.stack(rows))


# --- from_parents ---------------------------------------------------------------------------------


@given(seed=SEEDS, batch=st.integers(1, 3), num_nodes=st.integers(1, 40))
def test_the_order_has_children_before_parents_and_roots_last(device, seed, batch, num_nodes):
    parent = random_parents(seed, batch, num_nodes)
    tree = tf.Tree.from_parents(parent.to(device))
    assert torch.equal(tree.parent.cpu().long(), parent)
    for up, order in zip(parent.numpy(), tree.order.cpu().numpy(), strict=True):
        np.testing.assert_array_equal(np.sort(order), np.arange(num_nodes))
        place = np.argsort(order)
        below = up != np.arange(num_nodes)
        assert (place[below] < place[up[below]]).all()
        roots = np.flatnonzero(~below)
        np.testing.assert_array_equal(order[num_nodes - len(roots) :], roots)


@given(st.data(), graphs(), st.integers(0, 3))
def test_the_tree_of_an_mst_is_the_same_again(device, data, graph, batch):
    weight = data.draw(weights(graph, batch)).to(device)
    tree = tf.mst(weight, graph, root=data.draw(st.integers(0, graph.num_nodes - 1)))
    assert same(tf.Tree.from_parents(tree.parent, tree.edge, tree.shape), tree)
    shape = None if tree.shape is None else list(tree.shape)
    assert same(tf.Tree.from_parents(tree.parent.long(), tree.edge.short(), shape), tree)


def test_a_filter_on_any_tree(device):
    """The same numbers as brute force."""
    parent = random_parents(7, 2, 33)
    tree = tf.Tree.from_parents(parent.to(device))
    x, a = normal(1, 2, 3, 33), uniform(2, 2, 33)
    y = tf.filter(x.to(device), tree, a.to(device))
    for b in range(2):
        right = oracle.filter(x[b].numpy(), parent[b].numpy(), a[b].numpy(), True)
        np.testing.assert_allclose(y[b].cpu(), right, rtol=1e-12)


def test_without_edges_a_weight_belongs_to_a_vertex(device):
    parent = random_parents(8, 2, 20).to(device)
    tree = tf.Tree.from_parents(parent)
    own = torch.arange(20, device=device)
    assert torch.equal(tree.edge.long(), torch.where(parent == own, -1, own))
    weight = uniform(3, 2, 20).to(device)
    expected = torch.exp(-weight).masked_fill(tree.roots, 0)
    torch.testing.assert_close(tf.affinity(weight, tree), expected)


def test_a_snake_of_a_million_vertices(device):
    graph, weight, path = snake(1000, 1000)
    tree = tf.mst(weight.to(device), graph)
    begin = time.process_time()
    again = tf.Tree.from_parents(tree.parent, tree.edge, tree.shape)
    depth = again.depth
    if device.type == "cpu" and not _C.emulated:
        assert time.process_time() - begin < 2  # about 0.05
    assert same(again, tree)
    assert torch.equal(depth[0, path.to(device)].cpu(), torch.arange(1_000_000).int())


def test_the_same_at_any_number_of_threads(at_thread_counts):
    parent = random_parents(9, 5, 30_000)
    one, two, four = at_thread_counts(lambda: tf.Tree.from_parents(parent))
    assert same(one, two)
    assert same(one, four)


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([[1, 2, 0, 3, 3]], "got a cycle through vertex 0 of tree 0"),
        ([[0, 1, 2, 3, 3], [0, 0, 4, 0, 2]], "got a cycle through vertex 2 of tree 1"),
        ([[0, 4, 1, 0, 3], [1, 0, 3, 2, 2]], "got a cycle through vertex 0 of tree 1"),
        ([[0, 2, 3, 4, 3]], "got a cycle through vertex 3 of tree 0"),  # 1 and 2 only lead into it
        ([[0, 1, 5, 3, 4]], "parent must be in [0, 5), got 5 at vertex 2 of tree 0"),
        ([[0, 0, 1, 2, 3], [0, 0, 0, -1, 0]], "got -1 at vertex 3 of tree 1"),
        ([[0, 2**32, 0, 0, 0]], f"got {2**32} at vertex 1 of tree 0"),
    ],
)
def test_what_is_no_tree_is_refused(device, parents, message):
    with pytest.raises(ValueError, match=r"Tree\.from_parents: parent must") as caught:
        tf.Tree.from_parents(torch.tensor(parents, device=device))
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("length", [2, 3, 4, 64, 1000])
def test_cycles_of_any_length(device, length):
    parent = torch.arange(1, length + 1).roll(0)
    parent[-1] = 0
    parent = torch.cat([parent, torch.tensor([length])])  # and one root
    with pytest.raises(ValueError, match="got a cycle through vertex 0 of tree 0"):
        tf.Tree.from_parents(parent[None].to(device))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 1, 2]], "edge must be -1 at a root, got 0 at vertex 0 of tree 0"),
        ([[-1, -1, 2]], "not negative, got -1 at vertex 1 of tree 0"),
        ([[-1, 2**40, 2]], f"got {2**40} at vertex 1 of tree 0"),
    ],
)
def test_edges_that_cannot_be(device, edges, message):
    parent, edge = torch.tensor([[0, 0, 1]], device=device), torch.tensor(edges, device=device)
    with pytest.raises(ValueError, match=r"Tree\.from_parents: edge must") as caught:
        tf.Tree.from_parents(parent, edge)
    assert str(caught.value).endswith(message)


def test_from_parents_without_values():
    tree = tf.Tree.from_parents(torch.zeros(2, 5, dtype=torch.int64, device="meta"))
    assert (tree.device.type, len(tree), tree.num_nodes) == ("meta", 2, 5)


# --- the constructor ------------------------------------------------------------------------------


@pytest.fixture
def tree(device):
    graph = tf.grid(5, 7)
    return tf.mst(normal(3, 3, graph.num_edges).to(device), graph, root=11)


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        *((name, lambda t: None, TypeError) for name in FIELDS),
        *((name, lambda t: t.long(), TypeError) for name in FIELDS),
        *((name, lambda t: t.tolist(), TypeError) for name in FIELDS),
        *((name, lambda t: t[0], ValueError) for name in FIELDS),
        *((name, lambda t: t[:2], ValueError) for name in ("edge", "order")),
        *((name, lambda t: t[:, 1:], ValueError) for name in ("edge", "order")),
        *((name, lambda t: t.to("meta"), ValueError) for name in FIELDS),
        ("parent", lambda t: t[:, :0], ValueError),
        ("shape", lambda s: (5, 8), ValueError),
        ("shape", lambda s: (-5, -7), ValueError),
        ("shape", lambda s: (), ValueError),
        ("shape", lambda s: 35, TypeError),
        ("shape", lambda s: (5.0, 7), TypeError),
    ],
)
def test_fields_that_do_not_fit(tree, name, change, error):
    fields = {field: getattr(tree, field) for field in (*FIELDS, "shape")}
    changed = change(fields[name])
    with pytest.raises(error, match=r"Tree: (parent|edge|order|shape) must"):
        tf.Tree(**fields | {name: changed})
    with pytest.raises(error, match=r"Tree: (parent|edge|order|shape) must"):
        dataclasses.replace(tree, **{name: changed})
    state = {**vars(tree), name: changed}  # as in a pickle of version 0.1.0
    with pytest.raises(error, match=r"Tree: (parent|edge|order|shape) must"):
        tf.Tree.__new__(tf.Tree).__setstate__(state)


def test_fields_are_taken_as_they_come(tree):
    strided = tf.Tree(*(getattr(tree, n).T.contiguous().T for n in FIELDS), [np.int64(5), 7])
    assert same(strided, tree)
    x, a = normal(1, 3, 2, 5, 7).to(tree.device), uniform(2, 3, 35).to(tree.device)
    assert torch.equal(tf.filter(x, strided, a), tf.filter(x, tree, a))


def test_pickles_of_version_0_1_0(tree):
    again = tf.Tree.__new__(tf.Tree)
    again.__setstate__(dict(vars(tree)))
    assert same(again, tree)


@pytest.mark.parametrize("make", [lambda t: t, lambda t: tf.grid(3, 4), lambda t: tf.grid(2, 3, 4)])
def test_weights_only(tree, make):
    thing = make(tree)
    file = io.BytesIO()
    torch.save({"thing": thing}, file)
    file.seek(0)
    again = torch.load(file, weights_only=True)["thing"]
    assert vars(again).keys() == vars(thing).keys()
    assert repr(again) == repr(thing)
    assert not isinstance(thing, tf.Tree) or same(again, thing)


def test_weights_only_of_an_edge_list(device):
    graph = tf.graph(torch.tensor([[0, 1], [1, 2]], device=device), 3)
    file = io.BytesIO()
    torch.save(graph, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True).edge_index, graph.edge_index)


def test_a_file_from_another_device_has_the_plan_of_this_one(tree):
    file = io.BytesIO()
    torch.save(tree, file)
    file.seek(0)
    again = torch.load(file, weights_only=True, map_location="cpu")
    assert same(again, tree.to("cpu"))
    assert "_plan" not in pickle.dumps(tree).decode("latin1")


def test_devices_that_are_not_there(tree, monkeypatch):
    with pytest.raises(ValueError, match=r"Tree\.to: device must be a torch\.device, got 'gpu'"):
        tree.to("gpu")
    with pytest.raises(TypeError, match=r"Tree\.to: device must be a torch\.device, got 1\.5"):
        tree.to(1.5)
    with pytest.raises(RuntimeError, match=r"Tree\.to: device must be .* got mps"):
        tree.to("mps")
    with pytest.raises(RuntimeError, match=r"Tree\.to: device must be .* got cuda:99"):
        tree.to("cuda:99")
    monkeypatch.setattr("treefilter._checks._DEVICES", ("cpu", "meta", "cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for thing in (tree, tf.graph(torch.zeros(2, 1, dtype=torch.int64), 1)):
        with pytest.raises(RuntimeError, match=r"to: device must be one that torch finds"):
            thing.to("cuda")
        with pytest.raises(ValueError, match=r"to: device must be meta as there are no"):
            thing.to("meta").to("cpu")


# --- parts and unions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ([2, 0], [2, 0]),
        ([-1], [2]),
        ([], []),
        ([True, False, True], [0, 2]),
        (np.int64(1), [1]),
        (np.int32(-1), [2]),
        (np.array([1, 1]), [1, 1]),
        (np.array([False, True, False]), [1]),
        (torch.tensor([2, 0, 2]), [2, 0, 2]),
        (torch.tensor([1], dtype=torch.uint8), [1]),
        (torch.tensor([], dtype=torch.int64), []),
        (torch.tensor([True, True, False]), [0, 1]),
        (slice(None, None, 2), [0, 2]),
    ],
)
def test_indexing(tree, index, rows):
    part = tree[index.to(tree.device) if isinstance(index, torch.Tensor) else index]
    assert len(part) == len(rows)
    for one, row in zip(part, rows, strict=True):
        assert same(one, tree[row])
    assert part.shape == tree.shape
    x, a = normal(1, 3, 2, 5, 7).to(tree.device), uniform(2, 3, 35).to(tree.device)
    assert torch.equal(tf.filter(x[rows], part, a[rows]), tf.filter(x, tree, a)[rows])


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, "index must be in [-3, 3), got 3"),
        (np.int64(-4), IndexError, "index must be in [-3, 3), got -4"),
        ([0, 3], IndexError, "index must be in [-3, 3), got 3"),
        (torch.tensor([-4]), IndexError, "index must be in [-3, 3), got -4"),
        ([True, False], ValueError, "index must have shape (3,), got (2,)"),
        (torch.zeros(2, 2).long(), ValueError, "index must have shape (K,), got (2, 2)"),
        (torch.zeros(1, device="meta").long(), ValueError, "got meta"),
        (torch.zeros(3, device="meta").bool(), ValueError, "got meta"),
        (torch.zeros(1), TypeError, "index must be an integer tensor, got torch.float32"),
        ([0, True], TypeError, "index must be a list of integers or of bools"),
        ([0.5], TypeError, "index must be a list of integers, got float"),
        (1.0, TypeError, "index must be an integer, a slice, a list"),
        (True, TypeError, "index must be an integer, a slice, a list"),
        (None, TypeError, "index must be an integer, a slice, a list"),
        ((0, 1), TypeError, "index must be an integer, a slice, a list"),
    ],
)
def test_indices_that_are_none(tree, index, error, message):
    with pytest.raises(error) as caught:
        tree[index]
    assert message in str(caught.value)


def test_cat(tree):
    assert same(tf.Tree.cat([tree]), tree)
    assert same(tf.Tree.cat([tree[0], tree[:0], tree[1:]]), tree)
    again = tf.Tree.cat(part for part in tree)
    assert same(again, tree)
    x, a = normal(1, 3, 2, 5, 7).to(tree.device), uniform(2, 3, 35).to(tree.device)
    assert torch.equal(tf.filter(x, again, a), tf.filter(x, tree, a))


def test_what_cannot_be_joined(tree):
    with pytest.raises(ValueError, match=r"Tree\.cat: trees must have at least one, got none"):
        tf.Tree.cat([])
    other = tf.mst(torch.rand(1, 58, device=tree.device), tf.grid(7, 5))
    with pytest.raises(ValueError, match=r"Tree\.cat: trees must have the same number of vertices"):
        tf.Tree.cat([tree, other])
    with pytest.raises(ValueError, match=r"Tree\.cat: trees must have the same .*meta"):
        tf.Tree.cat([tree, tree.to("meta")])
    for wrong in (tree, tree.parent, 3, [tree, tree.parent], [None]):
        with pytest.raises(TypeError, match=r"Tree\.cat: trees must be a list of treefilter\.Tree"):
            tf.Tree.cat(wrong)


def test_collating(tree):
    assert same(default_collate([tree[0], tree[1:]]), tree)
    batch = default_collate([{"tree": one, "number": i} for i, one in enumerate(tree)])
    assert same(batch["tree"], tree)
    assert batch["number"].tolist() == [0, 1, 2]


def test_collating_graphs():
    """Data of a batch have one graph."""
    ends = torch.tensor([[0, 1], [1, 2]])
    for graph in (tf.grid(3, 4), tf.graph(ends, 3)):
        batch = default_collate([{"graph": graph}, {"graph": pickle.loads(pickle.dumps(graph))}])
        assert batch["graph"] is graph
        for other in (tf.grid(4, 3), tf.grid(3, 4, connectivity=8), tf.graph(ends.flip(0), 3)):
            with pytest.raises(ValueError, match=r"^Graph: graphs of a batch must be equal, got"):
                default_collate([graph, other])


def test_a_data_loader_in_another_process(tree):
    tree = tree.to("cpu")
    loader = DataLoader([(one, i) for i, one in enumerate(tree)], batch_size=3, num_workers=1,
                        multiprocessing_context="spawn")  # fmt: skip
    ((got, numbers),) = loader
    assert same(got, tree)
    assert numbers.tolist() == [0, 1, 2]


# --- what can be asked ----------------------------------------------------------------------------


@given(seed=SEEDS, batch=st.integers(1, 3), num_nodes=st.integers(1, 40))
def test_depth_components_children_and_edges(device, seed, batch, num_nodes):
    parent = random_parents(seed, batch, num_nodes).numpy()
    tree = tf.Tree.from_parents(torch.from_numpy(parent).to(device))
    depth, components = tree.depth.cpu(), tree.components.cpu()
    children, edges = tree.children().cpu(), tree.edge_list().cpu()
    assert {t.dtype for t in (depth, components, children, edges)} == {torch.int32}
    most = 0
    for b, up in enumerate(parent):
        np.testing.assert_array_equal(depth[b], oracle.depths(up))
        labels = {}  # by lowest vertex: in the order in which they are met
        expected = [labels.setdefault(root, len(labels)) for root in oracle.components(up).tolist()]
        assert components[b].tolist() == expected
        below = [[c for c in range(num_nodes) if up[c] == v != c] for v in range(num_nodes)]
        assert [[c for c in row if c >= 0] for row in children[b].tolist()] == below
        assert all(row == sorted(row, key=lambda c: c < 0) for row in children[b].tolist())
        most = max(most, *map(len, below))
        pairs = [[int(up[c]), c] for c in range(num_nodes) if up[c] != c]
        assert edges[b].tolist() == pairs + [[-1, -1]] * (num_nodes - 1 - len(pairs))
    assert children.shape == (batch, num_nodes, most)
    assert edges.shape == (batch, num_nodes - 1, 2)


def test_components_are_those_of_the_graph(device):
    graph = tf.grid(2, 3)  # columns 0 and 2 hang together with nothing
    weight = torch.full((1, graph.num_edges), torch.inf, device=device)
    weight[0, :3] = 1.0
    tree = tf.mst(weight, graph, root=5)
    assert tree.components.tolist() == [[0, 1, 2, 0, 1, 2]]
    assert tree.depth.tolist() == [[0, 0, 1, 1, 1, 0]]


def test_what_a_tree_without_values_can_say(tree):
    meta = tree.to("meta")
    assert meta.depth.shape == meta.components.shape == (3, 35)
    assert meta.edge_list().shape == (3, 34, 2)
    assert len(meta[[0, 2]]) == 2
    with pytest.raises(ValueError, match=r"^Tree\.children: tree must have values"):
        meta.children()


def test_no_trees_at_all(tree):
    none = tree[:0]
    assert none.depth.shape == none.components.shape == (0, 35)
    assert none.children().shape == (0, 35, 0)
    assert none.edge_list().shape == (0, 34, 2)


def test_edges_of_a_tree_make_a_graph_with_the_same_tree(tree):
    edges = tree.edge_list()[0].T
    graph = tf.graph(edges, tree.num_nodes)
    again = tf.mst(torch.zeros(1, graph.num_edges, device=tree.device), graph, root=11)
    assert torch.equal(again.parent, tree[0].parent)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16])
def test_narrow_types_do_not_wrap_around(device, dtype):
    parent = torch.arange(600).sub(1).clamp(min=0) % 100
    parent = parent.to(dtype)[None].to(device)
    assert torch.equal(tf.Tree.from_parents(parent).parent, parent.int())
    with pytest.raises(ValueError, match=r"got -?\d+ at vertex 0 of tree 0"):
        tf.Tree.from_parents(torch.full((1, 7), 100, dtype=dtype, device=device))


def test_under_transformations(tree):
    """Topology has no derivatives, and asking for it inside of one is allowed."""
    depth, components = tree.depth, tree.components

    def function(x):
        assert torch.equal(tree.depth, depth)
        assert torch.equal(tree.components, components)
        return x

    x = torch.ones(3, device=tree.device)
    torch.func.jvp(function, (x,), (x,))
    torch.func.grad(lambda x: function(x).sum())(x)


@pytest.mark.parametrize("leaf", [lambda t: None, lambda t: t.shape, lambda t: t[0], str])
def test_a_pytree_of_anything(tree, leaf):
    mapped = torch.utils._pytree.tree_map(leaf, tree)
    assert isinstance(mapped, tf.Tree)
    assert repr(mapped.parent) == repr(leaf(tree.parent))
    assert mapped.shape == tree.shape
    if not isinstance(mapped.parent, torch.Tensor):
        x, a = torch.ones(3, 1, 35, device=tree.device), torch.ones(3, 35, device=tree.device)
        with pytest.raises(TypeError, match=r"^filter: tree must consist of tensors"):
            tf.filter(x, mapped, a)
