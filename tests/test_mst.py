"""Minimum spanning trees: the right edges, the right root, the same bits everywhere."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from strategies import GRIDS, WEIGHTS, edge_lists, graphs, normal, photograph, snake, weights

import treefilter as tf
from treefilter import _ops


def chosen(tree, b=0):
    """The edges of tree b, sorted."""
    edge = tree.edge[b].cpu().numpy()
    return np.sort(edge[edge >= 0])


def ranks(weight):
    """Every edge's rank, from 1, in the order by (weight, index)."""
    value = weight.double().numpy() + 0.0
    place = np.empty(len(value))
    place[np.argsort(value, kind="stable")] = np.arange(1, len(value) + 1)
    return place


def scipy_forest(value, graph):
    """scipy's spanning forest for positive weights; of parallel edges it gets the least."""
    u, v = np.sort(graph.edge_index.numpy(), axis=0)
    # SciPy 1.15, the last one for Python 3.10, takes no other indices.
    u, v = u.astype(np.int32), v.astype(np.int32)
    proper = np.flatnonzero((u != v) & np.isfinite(value))
    first = proper[np.lexsort([value[proper], v[proper], u[proper]])]
    pair = u[first].astype(np.int64) * graph.num_nodes + v[first]
    first = first[np.r_[True, pair[1:] != pair[:-1]]] if len(first) else first
    shape = (graph.num_nodes, graph.num_nodes)
    return minimum_spanning_tree(sparse.csr_array((value[first], (u[first], v[first])), shape))


def check_against_scipy(tree, weight, graph):
    """Ranks are distinct and positive, so that scipy can neither choose nor drop an edge."""
    for b, row in enumerate(weight):
        place = np.where(np.isposinf(row.double().numpy()), np.inf, ranks(row))
        expected = np.sort(scipy_forest(place, graph).data)
        np.testing.assert_array_equal(np.sort(place[chosen(tree, b)]), expected)


@given(st.data(), graphs(), st.integers(1, 3))
def test_edges_are_those_of_kruskal(device, data, graph, batch):
    weight = data.draw(weights(graph, batch))
    tree = tf.mst(weight.to(device), graph.to(device))
    for b in range(batch):
        expected = oracle.kruskal(weight[b].numpy(), graph.edge_index.numpy(), graph.num_nodes)
        assert set(chosen(tree, b).tolist()) == expected


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize(("shape", "connectivity"), [*GRIDS, ((9, 33), 4), ((33, 9), 8)])
def test_every_kind_of_weight_on_every_kind_of_grid(device, shape, connectivity, kind):
    graph = tf.grid(*shape, connectivity=connectivity)
    values = WEIGHTS[kind](np.random.default_rng(7), (2, graph.num_edges))
    for weight in (torch.from_numpy(np.asarray(values)).double(), torch.from_numpy(values).float()):
        tree = tf.mst(weight.to(device), graph.to(device))
        for b in range(2):
            expected = oracle.kruskal(weight[b].numpy(), graph.edge_index.numpy(), graph.num_nodes)
            assert set(chosen(tree, b).tolist()) == expected


@pytest.mark.parametrize(
    ("shape", "connectivity"), [*GRIDS, ((300, 530), 4), ((260, 270), 8), ((70, 66, 68), 6)]
)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_edge_set_is_that_of_the_tree(device, shape, connectivity, kind):
    graph = tf.grid(*shape, connectivity=connectivity)
    listed = tf.graph(graph.edge_index.to(device), graph.num_nodes)
    values = WEIGHTS[kind](np.random.default_rng(8), (2, graph.num_edges))
    weight = torch.from_numpy(np.asarray(values)).float().to(device)
    tree = tf.mst(weight, graph)
    for g in (graph, listed):
        mask = _ops.mst_edges(weight, g._edges, g._layout, g.num_nodes)
        for b in range(2):
            expected = torch.from_numpy(chosen(tree, b)).long()
            assert torch.equal(mask[b].cpu().nonzero()[:, 0], expected)


@given(st.data(), graphs(), st.integers(0, 2))
def test_tree_is_that_of_the_reference(device, data, graph, batch):
    weight = data.draw(weights(graph, batch))
    root = torch.tensor(
        data.draw(st.lists(st.integers(0, graph.num_nodes - 1), min_size=batch, max_size=batch)),
        dtype=torch.int64,
    )
    tree = tf.mst(weight.to(device), graph.to(device), root=root.to(device))
    expected = tf.reference.mst(weight, graph, root=root)
    assert torch.equal(tree.parent.cpu(), expected.parent)
    assert torch.equal(tree.edge.cpu(), expected.edge)


@given(st.data(), graphs())
def test_total_weight_is_that_of_scipy(device, data, graph):
    kinds = [kind for kind in WEIGHTS if kind not in ("huge", "beyond float32", "below float32")]
    weight = data.draw(weights(graph, 1, kinds))
    tree = tf.mst(weight.to(device), graph.to(device))
    value = weight[0].double().numpy()
    # A shift by a constant keeps the tree and makes all weights positive: scipy reads a stored
    # zero as "no edge".
    finite = value[np.isfinite(value)]
    shift = 1 - finite.min(initial=0)
    expected = scipy_forest(value + shift, graph)
    assert len(chosen(tree)) == expected.nnz
    total = (value + shift)[chosen(tree)].sum()
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(257, 301), (64, 1031), (1031, 64), (130, 130), (1, 4099)])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_images_against_scipy(device, shape, connectivity):
    graph = tf.grid(*shape, connectivity=connectivity)
    photo = photograph(*shape)
    ramp = (torch.arange(shape[0])[:, None] + torch.arange(shape[1])[None]).float()
    images = [
        photo[0],  # natural, few ties
        photo[0].mul(8).round(),  # natural, many ties
        torch.zeros_like(photo[0]),
        (ramp / 8).expand(3, -1, -1),  # the deepest trees, all ties
        normal(1, 3, *shape, dtype=torch.float32),
    ]
    weight = tf.edge_weight(torch.stack(images), graph)
    weight[-1][::3] = torch.inf
    check_against_scipy(tf.mst(weight.to(device), graph.to(device)), weight, graph)


@pytest.mark.parametrize(("shape", "connectivity"), [((17, 33, 29), 6), ((13, 19, 23), 26)])
def test_volumes_against_scipy(device, shape, connectivity):
    graph = tf.grid(*shape, connectivity=connectivity)
    guide = normal(4, 2, 2, *shape, dtype=torch.float32)
    weight = tf.edge_weight(torch.cat([guide, guide.round()]), graph)
    check_against_scipy(tf.mst(weight.to(device), graph.to(device)), weight, graph)


@pytest.mark.parametrize("num_edges", [20_000, 300_000])
def test_general_graphs_against_scipy(device, num_edges):
    rng = np.random.default_rng(5)
    graph = tf.graph(torch.from_numpy(rng.integers(0, 30_011, (2, num_edges))), 30_011)
    weight = torch.from_numpy(
        np.stack([rng.random(num_edges), rng.integers(0, 9, num_edges)]).astype(np.float32)
    )
    check_against_scipy(tf.mst(weight.to(device), graph.to(device)), weight, graph)


@pytest.mark.parametrize("missing", [0.0, 0.7])
@pytest.mark.parametrize("per_vertex", [5, 40])
def test_many_edges_for_each_vertex(device, per_vertex, missing):
    """The light ones are joined first; some of the others are needed, or none, or exist."""
    num_nodes = 53
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        ends = torch.randint(num_nodes, (2, num_nodes * per_vertex), generator=random)
        weight = torch.randint(9, ends[:1].shape, generator=random).float()
        weight[torch.rand(weight.shape, generator=random) < missing] = torch.inf
        weight[:, (ends == seed).any(0)] += 20  # its lightest edge is a heavy one
        tree = tf.mst(weight.to(device), tf.graph(ends.to(device), num_nodes))
        expected = oracle.kruskal(weight[0].numpy(), ends.numpy(), num_nodes)
        assert set(chosen(tree, 0).tolist()) == expected


@given(st.data(), edge_lists())
def test_self_loops_are_never_chosen(device, data, graph):
    weight = data.draw(weights(graph))
    u, v = graph.edge_index
    weight = torch.where(u == v, -1e30, weight)
    tree = tf.mst(weight.to(device), graph.to(device))
    assert not (u == v)[chosen(tree)].any()


def test_of_equal_parallel_edges_the_first_is_chosen(device):
    graph = tf.graph(torch.tensor([[0, 1, 0, 1, 2, 1], [1, 0, 1, 2, 1, 2]], device=device), 3)
    weight = torch.tensor([[2.0, 1, 1, 3, 3, 3]], device=device)
    assert chosen(tf.mst(weight, graph)).tolist() == [1, 3]


def test_a_graph_and_its_grid_give_the_same_tree(device):
    grid = tf.grid(33, 41, connectivity=8)
    listed = tf.graph(grid.edge_index.to(device), grid.num_nodes)
    weight = normal(3, 2, grid.num_edges).round(decimals=1).to(device)
    a, b = tf.mst(weight, grid, root=7), tf.mst(weight, listed, root=7)
    assert torch.equal(a.parent, b.parent)
    assert torch.equal(a.edge, b.edge)
    assert torch.equal(a.order, b.order)
    assert (a.shape, b.shape) == ((33, 41), None)


def test_weights_are_compared_in_their_own_precision(device):
    graph = tf.graph(torch.tensor([[0, 0], [1, 1]], device=device), 2)
    close = torch.tensor([[1 + 2.0**-26, 1.0]], dtype=torch.float64, device=device)
    assert chosen(tf.mst(close, graph)).tolist() == [1]
    assert chosen(tf.mst(close.float(), graph)).tolist() == [0]  # equal in float32, so the first
    beyond = torch.tensor([[1e39, 3.0e38]], dtype=torch.float64, device=device)
    assert chosen(tf.mst(beyond, graph)).tolist() == [1]
    assert chosen(tf.mst(beyond[:, :1].expand(1, 2), graph)).tolist() == [0]  # not "no edge"


def test_both_zeros_are_equal_and_denormals_are_not_zero(device):
    graph = tf.graph(torch.tensor([[0, 0], [1, 1]], device=device), 2)
    tiny = 1.401298464324817e-45
    cases = [((0.0, -0.0), 0), ((-0.0, 0.0), 0), ((tiny, 0.0), 1), ((0.0, -tiny), 1)]
    for weight, expected in cases:
        tree = tf.mst(torch.tensor([weight], device=device), graph)
        assert chosen(tree).tolist() == [expected]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights(device, dtype):
    graph = tf.grid(21, 23)
    weight = normal(6, 2, graph.num_edges).to(dtype)
    tree = tf.mst(weight.to(device), graph.to(device))
    assert torch.equal(tree.parent.cpu(), tf.mst(weight.float(), graph).parent)
    check_against_scipy(tree, weight, graph)


# --- roots ----------------------------------------------------------------------------------------


def test_root_per_image(device):
    graph = tf.grid(5, 7)
    weight = normal(1, 3, graph.num_edges).to(device)
    for root in (torch.tensor([34, 0, 17]), torch.tensor([34, 0, 17], dtype=torch.int32)):
        tree = tf.mst(weight, graph, root=root.to(device))
        assert tree.roots.nonzero().tolist() == [[0, 34], [1, 0], [2, 17]]
    assert tf.mst(weight, graph).roots.nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]
    assert tf.mst(weight, graph, root=9).roots.nonzero().tolist() == [[0, 9], [1, 9], [2, 9]]


@given(st.data(), graphs())
def test_root_does_not_change_the_edges(device, data, graph):
    weight = data.draw(weights(graph)).to(device)
    root = data.draw(st.integers(0, graph.num_nodes - 1))
    graph = graph.to(device)
    moved = tf.mst(weight, graph, root=root)
    assert moved.parent[0, root] == root
    np.testing.assert_array_equal(chosen(moved), chosen(tf.mst(weight, graph)))


def test_components_are_rooted_at_their_lowest_vertex(device):
    graph = tf.grid(1, 7)
    weight = torch.tensor([[1.0, torch.inf, 1, 1, torch.inf, 1]], device=device)
    assert tf.mst(weight, graph).roots[0].nonzero().flatten().tolist() == [0, 2, 5]
    assert tf.mst(weight, graph, root=3).roots[0].nonzero().flatten().tolist() == [0, 3, 5]
    assert tf.mst(weight, graph, root=3).parent[0].tolist() == [0, 0, 3, 3, 3, 5, 5]


def test_without_any_edge_every_vertex_is_a_root(device):
    graph = tf.grid(3, 5)
    tree = tf.mst(torch.full((2, graph.num_edges), torch.inf, device=device), graph, root=4)
    assert tree.roots.all()
    assert (tree.edge == -1).all()
    assert tree.order.tolist() == [list(range(15))] * 2


# --- conventions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_one_vertex(device, batch):
    ends = torch.zeros(2, 1, dtype=torch.int64, device=device)
    for graph in (tf.grid(1, 1), tf.grid(1, 1, 1), tf.graph(ends[:, :0], 1)):
        tree = tf.mst(torch.empty(batch, 0, device=device), graph)
        assert len(tree) == batch
        assert tree.parent.tolist() == [[0]] * batch
        assert tree.edge.tolist() == [[-1]] * batch
        assert tree.order.tolist() == [[0]] * batch
    loop = tf.mst(torch.zeros(batch, 1, device=device), tf.graph(ends, 1))
    assert loop.edge.tolist() == [[-1]] * batch


def test_no_image(device):
    graph = tf.grid(5, 7)
    for root in (3, torch.empty(0, dtype=torch.int64, device=device)):
        tree = tf.mst(torch.empty(0, graph.num_edges, device=device), graph, root=root)
        assert tree.parent.shape == tree.edge.shape == tree.order.shape == (0, 35)


def test_result_has_no_gradient_and_the_documented_types(device):
    graph = tf.grid(3, 5)
    weight = torch.rand(2, graph.num_edges, device=device, requires_grad=True)
    tree = tf.mst(weight, graph)
    for tensor in (tree.parent, tree.edge, tree.order):
        assert tensor.dtype == torch.int32
        assert tensor.shape == (2, 15)
        assert tensor.device == weight.device
        assert not tensor.requires_grad
    assert tree.shape == (3, 5)


def test_strided_weights(device):
    graph = tf.grid(6, 7)
    weight = normal(8, 2, graph.num_edges).to(device)
    expected = tf.mst(weight, graph).parent
    assert torch.equal(tf.mst(weight.T.contiguous().T, graph).parent, expected)
    assert torch.equal(tf.mst(torch.stack([weight] * 2, -1)[..., 0], graph).parent, expected)
    assert torch.equal(tf.mst(weight[:1].expand(3, -1), graph).parent, expected[:1].expand(3, -1))


def test_input_is_unchanged(device):
    graph = tf.grid(33, 35)
    for dtype in (torch.float32, torch.float64, torch.float16):
        weight = normal(9, 2, graph.num_edges).to(device, dtype)
        weight[:, ::5] = -0.0
        weight[:, ::7] = torch.inf
        root = torch.tensor([5, 0], device=device)
        before, root_before = weight.clone(), root.clone()
        tf.mst(weight, graph, root=root)
        assert torch.equal(weight, before)
        assert torch.equal(weight.signbit(), before.signbit())
        assert torch.equal(root, root_before)


@pytest.mark.parametrize("connectivity", [4, 8, None])
def test_same_bits_at_any_thread_count_and_batch_position(device, connectivity, at_thread_counts):
    graph = tf.grid(257, 301, connectivity=connectivity or 4)
    guide = torch.cat([photograph(257, 301), torch.zeros(1, 3, 257, 301)])
    guide = torch.cat([guide, normal(1, 2, 3, 257, 301, dtype=torch.float32)])
    weight = tf.edge_weight(guide, graph).to(device)
    weight[2, ::2] = torch.inf
    if connectivity is None:
        graph = tf.graph(graph.edge_index.to(device), graph.num_nodes)

    def run(weight=weight):
        tree = tf.mst(weight, graph, root=1000)
        return torch.stack([tree.parent, tree.edge, tree.order])

    one, two, four = at_thread_counts(run)
    assert torch.equal(one, two)
    assert torch.equal(one, four)
    for i in range(4):
        assert torch.equal(run(weight[i : i + 1])[:, 0], one[:, i])


def test_path_of_four_million_vertices(device):
    num_nodes = 4_000_000
    path = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(0))
    graph = tf.graph(torch.stack([path[:-1], path[1:]]).to(device), num_nodes)
    weight = torch.linspace(1, 2, num_nodes - 1)[None].to(device)
    tree = tf.mst(weight, graph, root=int(path[0]))
    assert torch.equal(tree.order[0].cpu().long(), path.flip(0))
    assert torch.equal(tree.parent[0].cpu().long()[path[1:]], path[:-1])
    assert torch.equal(tree.edge[0].cpu().long()[path[1:]], torch.arange(num_nodes - 1))


@pytest.mark.parametrize("root", ["begin", "end", "middle"])
def test_snake_of_four_million_pixels(device, root):
    graph, weight, path = snake(2001, 2003)
    at = {"begin": 0, "end": len(path) - 1, "middle": 1_234_567}[root]
    tree = tf.mst(weight.to(device), graph.to(device), root=int(path[at]))
    parent = tree.parent[0].cpu().long()
    assert torch.equal(parent[path[at + 1 :]], path[at:-1])
    assert torch.equal(parent[path[:at]], path[1 : at + 1])
    order = tree.order[0].cpu().long()
    place = torch.empty_like(order).index_put_((order,), torch.arange(len(path)))
    assert (place[path[:at]].diff() > 0).all()
    assert (place[path[at:]].diff() < 0).all()
