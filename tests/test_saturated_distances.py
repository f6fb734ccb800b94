"""Sums of finite weights beyond the largest number are that number, not "out of reach"."""

from fractions import Fraction

import pytest
import torch
from strategies import normal, uniform
from torch.func import jvp

import treefilter as tf

DTYPES = [torch.float32, torch.float64]
GRAPHS = {
    "line": (tf.grid(1, 40), 0.0),
    "image": (tf.grid(6, 7), 0.0),
    "forest": (tf.grid(6, 7), 0.6),
    "edge list": (tf.graph(torch.tensor([[0, 1, 2, 2, 4], [1, 2, 2, 0, 1]]), 6), 0.0),
}


@pytest.fixture(params=GRAPHS)
def drawn(request, device):
    """dtype ↦ weights of up to half of the largest number, and their trees."""
    graph, absent = GRAPHS[request.param]

    def draw(dtype):
        largest = torch.finfo(dtype).max
        size = 0.5 ** (1 + 3 * uniform(1, 2, graph.num_edges))
        weight = size.to(dtype) * largest
        topology = weight.masked_fill(uniform(2, *weight.shape) < absent, torch.inf)
        return weight.to(device), tf.mst(topology.to(device), graph.to(device), root=2)

    return draw


def exact_distances(weight, tree):
    """(B, N, N) by rational numbers, at most the largest number; None: another component."""
    largest = Fraction(torch.finfo(weight.dtype).max)
    images = []
    for w, parent, edge in zip(
        weight.tolist(), tree.parent.tolist(), tree.edge.tolist(), strict=True
    ):
        paths = []  # from each vertex to its root: {vertex: length}
        for v in range(len(parent)):
            path, length = {v: Fraction(0)}, Fraction(0)
            while parent[v] != v:
                length += Fraction(w[edge[v]])
                v = parent[v]
                path[v] = length
            paths.append(path)
        images.append([
            [min((p[v] + q[v] for v in p.keys() & q.keys()), default=None) for q in paths]
            for p in paths
        ])  # fmt: skip
    return [[[d if d is None else min(d, largest) for d in row] for row in rows] for rows in images]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recorded", [False, True])
def test_distances_are_exact_sums_up_to_the_largest_number(drawn, dtype, recorded):
    weight, tree = drawn(dtype)
    weight.requires_grad_(recorded)
    largest = torch.finfo(dtype).max
    matrix = tf.distance_matrix(weight, tree)
    saturated = 0
    for got, right in zip(matrix.tolist(), exact_distances(weight, tree), strict=True):
        for row, exact in zip(got, right, strict=True):
            for d, e in zip(row, exact, strict=True):
                assert d == (torch.inf if e is None else pytest.approx(float(e), rel=1e-5))
                saturated += d == largest
    assert saturated or tree.num_nodes == 6
    specified = tf.reference.distance_matrix(weight.detach().cpu(), tree.to("cpu"))
    torch.testing.assert_close(matrix.detach().cpu(), specified, rtol=1e-5, atol=0)

    seeds = torch.zeros(2, tree.num_nodes, dtype=torch.bool, device=weight.device)
    seeds[:, [0, 3]] = True
    shortest, nearest = tf.distance_transform(weight, tree, seeds)
    assert torch.equal(shortest.isinf(), nearest < 0)
    expected = matrix[:, [0, 3]].amin(1)
    torch.testing.assert_close(shortest, expected, rtol=1e-5, atol=0)
    reached = matrix.gather(1, nearest.clamp(min=0).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(reached[nearest >= 0], expected[nearest >= 0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_are_0_where_the_sum_is_the_largest_number(drawn, dtype):
    weight, tree = drawn(dtype)
    seeds = torch.arange(tree.num_nodes, device=weight.device).expand(2, -1) == 1
    there = tree.to("cpu"), seeds.cpu()
    for run in (
        lambda m, w, tree, seeds: m.distance(w, tree, torch.tensor([0, 4], device=w.device)),
        lambda m, w, tree, seeds: m.distance_matrix(w, tree),
        lambda m, w, tree, seeds: m.distance_transform(w, tree, seeds)[0],
    ):
        x = weight.clone().requires_grad_()
        y = run(tf, x, tree, seeds)
        probe = normal(4, *y.shape).to(y).masked_fill(y.detach().isinf(), 0)
        (grad,) = torch.autograd.grad(y, x, probe, create_graph=True)
        assert grad.isfinite().all()
        x_ = weight.cpu().requires_grad_()
        y_ = run(tf.reference, x_, *there)
        (expected,) = torch.autograd.grad(y_, x_, probe.cpu())
        torch.testing.assert_close(grad.detach().cpu(), expected, rtol=1e-4, atol=1e-5)
        # Forward mode is the transpose.
        tangent = normal(5, *weight.shape).to(weight)
        _, along = jvp(lambda w, run=run: run(tf, w, tree, seeds), (weight,), (tangent,))
        torch.testing.assert_close(
            (along * probe).sum(), (grad.detach() * tangent).sum(), rtol=1e-3, atol=1e-3
        )
        constant = y.detach() == torch.finfo(dtype).max
        assert (along[constant] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_weights_and_negative_sums(device, dtype):
    """−inf stays −inf, +inf no edge, and a negative sum has the same bound."""
    largest = torch.finfo(dtype).max
    graph = tf.grid(1, 6)
    tree = tf.mst(torch.zeros(1, 5, device=device), graph)
    weight = torch.tensor([[-largest, -largest, -torch.inf, 1.0, torch.inf]], dtype=dtype)
    source = torch.tensor([0], device=device)
    for recorded in (False, True):
        w = weight.to(device).requires_grad_(recorded)
        d = tf.distance(w, tree, source)
        expected = [0, -largest, -largest, -torch.inf, -torch.inf, torch.inf]
        assert d.tolist() == [[expected]]
    assert (
        tf.reference.distance(weight, tree.to("cpu"), source.cpu())[0, 0, :5].tolist()
        == expected[:5]
    )
