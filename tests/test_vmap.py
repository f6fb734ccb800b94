"""torch.vmap: mapped calls have the bits of a loop, whatever is mapped, trees included."""

import pytest
import torch
from differentiable import (  # noqa: F401  fixtures
    MULTIGRAPH,
    by_loop,
    case_fixture,
    every_case,
    no_warnings_fixture,
    stacked,
)
from strategies import normal, uniform
from torch.func import jvp, vmap

import treefilter as tf

pytestmark = pytest.mark.usefixtures("no_warnings")


@every_case
def test_vmap_has_the_bits_of_a_loop(case):
    inputs = stacked(case)
    expected = by_loop(case.function, *inputs)
    assert torch.equal(vmap(case.function)(*inputs), expected)
    assert torch.equal(vmap(case.function, chunk_size=2)(*inputs), expected)
    with torch.no_grad():
        assert torch.equal(vmap(case.function)(*inputs), expected)
    leaves = [t.clone().requires_grad_() for t in inputs]
    assert torch.equal(vmap(case.function)(*leaves), expected)


@every_case
def test_every_dimension_and_every_argument(case):
    inputs = stacked(case)
    expected = by_loop(case.function, *inputs)
    for dim in range(-1, max(t.ndim for t in inputs)):
        dims = tuple(min(dim, t.ndim - 1) for t in inputs)
        moved = [t.movedim(0, d) for t, d in zip(inputs, dims, strict=True)]
        assert torch.equal(vmap(case.function, in_dims=dims)(*moved), expected)
    for dim in range(expected.ndim):
        got = vmap(case.function, out_dims=dim)(*inputs)
        assert torch.equal(got.movedim(dim, 0), expected)
    for argument in range(len(inputs)):  # the others the same for all
        dims = tuple(0 if i == argument else None for i in range(len(inputs)))
        rest = [t if d == 0 else t[0] for t, d in zip(inputs, dims, strict=True)]
        each = [t if d == 0 else t[:1].expand_as(t) for t, d in zip(inputs, dims, strict=True)]
        got = vmap(case.function, in_dims=dims)(*rest)
        assert torch.equal(got, by_loop(case.function, *each))


@every_case
def test_vmap_of_vmap(case):
    inputs = stacked(case)
    twice = tuple(torch.stack([t, t.flip(0)]) for t in inputs)
    expected = by_loop(case.function, *inputs)
    expected = torch.stack([expected, expected.flip(0)])
    assert torch.equal(vmap(vmap(case.function))(*twice), expected)
    crossed = vmap(vmap(case.function, in_dims=0), in_dims=1)
    assert torch.equal(crossed(*twice), expected.transpose(0, 1))


# --- trees ----------------------------------------------------------------------------------------

GRAPHS = {"grid": tf.grid(3, 4), "volume": tf.grid(2, 2, 3), "edge list": MULTIGRAPH}


def fields(tree):
    return tree.parent, tree.edge, tree.order, tree._plan


@pytest.fixture(params=GRAPHS)
def graph(request, device):
    return GRAPHS[request.param].to(device)


def test_trees_of_mapped_weights(device, graph):
    weight = uniform(1, 3, 2, graph.num_edges).to(device)
    weight[:, :, ::3] = torch.inf
    expected = by_loop(lambda w: fields(tf.mst(w, graph)), weight)
    got = fields(vmap(lambda w: tf.mst(w, graph))(weight))
    assert all(map(torch.equal, got, expected))
    crossed = fields(vmap(lambda w: tf.mst(w, graph), in_dims=2)(weight.movedim(0, 2)))
    assert all(map(torch.equal, crossed, expected))


def test_trees_of_mapped_roots(device, graph):
    weight = uniform(1, 2, graph.num_edges).to(device)
    roots = torch.tensor([[0, 1], [2, 3], [5, 4]], device=device)
    for mapped in (roots, roots[:, 0]):
        got = fields(vmap(lambda r: tf.mst(weight, graph, root=r))(mapped))
        expected = by_loop(lambda r: fields(tf.mst(weight, graph, root=r)), mapped)
        assert all(map(torch.equal, got, expected))


@pytest.mark.parametrize("tree_batch", [1, 2])
@pytest.mark.parametrize("mapped", ["x", "tree", "affinity", "x tree", "x tree affinity"])
def test_mapped_and_common_trees(device, graph, mapped, tree_batch):
    weight = uniform(1, 3, tree_batch, graph.num_edges).to(device)
    x = normal(2, 3, 2, 4, graph.num_nodes).to(device)
    affinity = uniform(3, 3, tree_batch, 2, graph.num_nodes).to(device)
    source = torch.tensor([[0, 2], [1, 1]], device=device)
    trees = vmap(lambda w: tf.mst(w, graph))(weight)

    def tree_of(parts):
        return tf.Tree(*parts[:3], graph.shape, parts[3])

    def run(x, affinity, edge_weight, *parts):
        tree = tree_of(parts)
        d = tf.distance(edge_weight.expand(2, -1), tree, source, "max")
        return tf.filter(x, tree, affinity), tf.leaf_to_root(x, tree, affinity), d

    words = mapped.split()
    dims = tuple(0 if name in words else None for name in ("x", "affinity", "tree"))
    dims = (*dims, *dims[-1:] * 4)
    arguments = [x, affinity, weight[:, :1], *fields(trees)]
    chosen = [t if d == 0 else t[0] for t, d in zip(arguments, dims, strict=True)]
    each = [t if d == 0 else t[:1].expand_as(t) for t, d in zip(arguments, dims, strict=True)]
    got, expected = vmap(run, in_dims=dims)(*chosen), by_loop(run, *each)
    assert all(map(torch.equal, got, expected))


def test_a_mapped_graph_is_refused(device):
    ends = torch.zeros(3, 2, 4, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match="same for all of vmap"):
        vmap(lambda e: tf.graph(e, 4)._edges)(ends)


@pytest.mark.parametrize(("batch", "channels"), [(0, 2), (2, 0)])
def test_empty(device, batch, channels):
    graph = tf.grid(2, 3)
    tree = tf.mst(uniform(1, batch, graph.num_edges).to(device), graph)
    a = uniform(2, batch, 6).to(device)
    x = normal(3, 3, batch, channels, 2, 3).to(device)
    assert vmap(lambda x: tf.filter(x, tree, a))(x).shape == x.shape
    assert jvp(lambda x, a: tf.filter(x, tree, a), (x[0], a), (x[0], a))[1].shape == x.shape[1:]
