"""The functions of treefilter.compat.install(), each against formulas in float64.

The classes below are what an adopter writes around an extension: an autograd function whose
forward and backward call it.
"""

from types import ModuleType

import compat_oracle as oracle
import pytest
import torch
from compat_oracle import N, grid_index, trees
from torch import Tensor
from torch.autograd import Function

import treefilter as tf

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The extensions, by name, as an import finds them."""
    names = tf.compat.install()
    assert names == ["tree_filter_cuda", "tree_scan._C", "tree_scan_lan._C", "GP_cuda"]
    import GP_cuda
    import tree_filter_cuda
    from tree_scan import _C as scan
    from tree_scan_lan import _C as lan

    yield {"mean": tree_filter_cuda, "scan": scan, "lan": lan, "gp": GP_cuda}
    tf.compat.uninstall()


def check_ranks(raw: Tensor, ranks) -> None:
    index, parent, child = ranks
    assert all(t.dtype == torch.int32 for t in ranks)
    for b in range(len(raw)):
        up, _ = oracle.hang(raw[b])
        assert sorted(index[b].tolist()) == list(range(N))
        assert index[b, 0] == parent[b, 0] == 0
        for r in range(1, N):
            assert parent[b, r] < r
            assert up[index[b, r]] == index[b, parent[b, r]]
        for r in range(N):
            mine = [c for c in range(1, N) if parent[b, c] == r]
            assert child[b, r].tolist() == mine + [0] * (child.shape[2] - len(mine))


@pytest.mark.parametrize("most", [4, 30])
@pytest.mark.parametrize("plus", [0.0, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_trees_and_ranks(modules, ties, plus, most):
    raw, _ = trees(modules["mean"], 3, ties=ties, plus=plus)
    check_ranks(raw, modules["mean"].bfs_forward(raw, most))


def test_more_edges_than_a_grid_has(modules):
    """Space-time grids, and pairs in both directions: the count alone may look like a grid's."""
    index = torch.cartesian_prod(torch.arange(4), torch.arange(4)).int()
    index = index[index[:, 0] != index[:, 1]].unsqueeze(0)
    for count in (12, 13):
        edges = torch.cat([index, index[:, :1]], 1)[:, :count]
        weight = torch.rand(1, count)
        raw = modules["mean"].mst_forward(edges, weight, 4)
        chosen = oracle.kruskal(edges[0], weight[0], 4)
        assert {tuple(edges[0, e].tolist()) for e in chosen} == {tuple(p) for p in raw[0].tolist()}


def test_plus_one_makes_ties_of_small_differences(modules):
    weight = torch.tensor([[2e-8, 1e-8, 0.5]])  # a triangle
    index = torch.tensor([[[0, 1], [1, 2], [0, 2]]], dtype=torch.int32)
    number = torch.tensor([[2e-8, 1e-8, 1.5e-8]])
    first = modules["mean"].mst_forward(index, number, 3)
    second = modules["mean"].mst_forward(index, number + 1, 3)
    assert {tuple(p) for p in first[0].tolist()} == {(1, 2), (0, 2)}
    assert {tuple(p) for p in second[0].tolist()} == {(0, 1), (1, 2)}
    assert modules["mean"].mst_forward(index, weight, 3).shape == (1, 2, 2)


class Mean(Function):
    @staticmethod
    def forward(ctx, extension, x, w, *ranks):
        out = extension.refine_forward(x, w, *ranks)
        ctx.extension = extension
        ctx.save_for_backward(x, w, *ranks, *out)
        return out[0]

    @staticmethod
    def backward(ctx, grad):
        saved = (*ctx.saved_tensors, grad)
        x = ctx.extension.refine_backward_feature(*saved)
        w = ctx.extension.refine_backward_weight(*saved)
        return None, x, w, None, None, None


class Scan(Function):
    @staticmethod
    def forward(ctx, extension, x, w, *ranks):
        coefficient = torch.full_like(ranks[0], 1, dtype=w.dtype) * 0.75
        out = extension.tree_scan_refine_forward(x, w, *ranks, coefficient)
        ctx.extension = extension
        ctx.save_for_backward(x, w, *ranks, *out, coefficient)
        return out[0]

    @staticmethod
    def backward(ctx, grad):
        *saved, coefficient = ctx.saved_tensors
        saved = (*saved, grad, coefficient)
        x = ctx.extension.tree_scan_refine_backward_feature(*saved)
        w = ctx.extension.tree_scan_refine_backward_edge_weight(*saved)
        return None, x, w, None, None, None


class Upwards(Function):
    @staticmethod
    def forward(ctx, extension, x, w, *ranks):
        out = extension.tree_scan_refine_forward(x, w, *ranks)
        ctx.extension = extension
        ctx.save_for_backward(out, w, *ranks)
        return out

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.extension.tree_scan_refine_backward_feature(*ctx.saved_tensors, grad)
        return None, x, w, None, None, None


class Confident(Function):
    @staticmethod
    def forward(ctx, extension, x, w, s, *ranks):
        out = extension.tree_filter_refine_forward(x, w, s, *ranks)
        ctx.extension = extension
        ctx.save_for_backward(x, w, s, *ranks, *out[1:])
        return out[0]

    @staticmethod
    def backward(ctx, grad):
        saved = (*ctx.saved_tensors, grad)
        x = ctx.extension.tree_filter_refine_backward_feature(*saved)
        w = ctx.extension.tree_filter_refine_backward_edge_weight(*saved)
        s = ctx.extension.tree_filter_refine_backward_self_weight(*saved)
        return None, x, w, s, None, None, None


def by_vertex(w: Tensor, index: Tensor) -> Tensor:
    """Weights by rank (…, N), of one image, at their vertices; the root's is not used."""
    return torch.zeros_like(w).index_copy(-1, index.long(), w)


def expected(kind: str, x: Tensor, w: Tensor, raw: Tensor, ranks) -> Tensor:
    """What an operator computes, from dense matrices."""
    images = []
    for b in range(len(x)):
        parent, order = oracle.hang(raw[b])
        a = by_vertex(w[b], ranks[0][b])
        a = a.unsqueeze(0) if a.ndim == 1 else a
        if kind == "lan":
            y = oracle.below(parent, order, a) @ x[b].unsqueeze(2)
        elif kind == "mean":
            k = oracle.products(parent, order, a)
            y = k @ x[b].unsqueeze(2) / k.sum(2, keepdim=True)
        else:  # the weights belong to the child, and the root is vertex 0: (1 − a²) S and down
            a = a * 0.75 if kind == "scan" else a
            up = oracle.below(parent, order, a)
            own = (1 - a.square()).masked_fill(torch.arange(N) == 0, 1).unsqueeze(2)
            y = up.mT @ (own * (up @ x[b].unsqueeze(2)))
        images.append(y.squeeze(2))
    return torch.stack(images)


FAMILIES = {"mean": (Mean, False), "scan": (Scan, True), "lan": (Upwards, True)}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_all_gradients(modules, family, ties, dtype):
    operator, per_channel = FAMILIES[family]
    raw, ranks = trees(modules[family], ties=ties, plus=1.0)
    x = torch.rand(2, 3, N, dtype=dtype, requires_grad=True)
    w = torch.rand((2, 3, N) if per_channel else (2, N), dtype=dtype, requires_grad=True)
    before = [t.detach().clone() for t in (x, w, *ranks)]
    y = operator.apply(modules[family], x, w, *ranks)
    grad = torch.rand_like(y)
    got = y, *torch.autograd.grad(y, (x, w), grad)
    exact = [t.detach().double().requires_grad_() for t in (x, w)]
    y_ = expected(family, *exact, raw, ranks)
    want = y_, *torch.autograd.grad(y_, exact, grad.double())
    for g, e in zip(got, want, strict=True):
        scale = e.abs().max()
        assert (g.double() - e).abs().max() <= TOLERANCE[dtype] * scale
    for t, b in zip((x, w, *ranks), before, strict=True):
        assert torch.equal(t, b)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ties", [False, True])
def test_confidence_weighted_sums(ties, dtype):
    extension = ModuleType("cvpods_C")
    assert len(tf.compat.install(into=extension)) == 7
    raw, ranks = trees(extension, ties=ties)
    x, w, s = (
        torch.rand(*shape, N, dtype=dtype, requires_grad=True) for shape in ((2, 3), (2,), (2,))
    )
    before = [t.detach().clone() for t in (x, w, s, *ranks)]
    y = Confident.apply(extension, x, w, s, *ranks)
    grad = torch.rand_like(y)
    got = y, *torch.autograd.grad(y, (x, w, s), grad)
    exact = [t.detach().double().requires_grad_() for t in (x, w, s)]
    y_ = expected("v2", *exact[:2], raw, ranks) + (exact[2] - 1).unsqueeze(1) * exact[0]
    want = y_, *torch.autograd.grad(y_, exact, grad.double())
    for g, e in zip(got, want, strict=True):
        assert (g.double() - e).abs().max() <= TOLERANCE[dtype] * e.abs().max()
    assert all(map(torch.equal, (x, w, s, *ranks), before))
    tree = extension.rst_forward(grid_index(2), torch.rand(2, 71), N)
    check_ranks(tree, extension.bfs_forward(tree, 4))


def test_what_else_the_mean_returns(modules):
    raw, ranks = trees(modules["mean"])
    x, w = torch.rand(2, 3, N, dtype=torch.float64), torch.rand(2, N, dtype=torch.float64)
    out, aggregate, up, mass, mass_up = modules["mean"].refine_forward(x, w, *ranks)
    torch.testing.assert_close(aggregate / mass.unsqueeze(1), out)
    assert (up.shape, mass.shape, mass_up.shape) == ((2, 3, N), (2, N), (2, N))
    for b in range(2):
        parent, order = oracle.hang(raw[b])
        a, index = by_vertex(w[b], ranks[0][b]).unsqueeze(0), ranks[0][b].long()
        lower = oracle.below(parent, order, a)[0]
        torch.testing.assert_close(mass_up[b], lower.sum(1)[index])
        torch.testing.assert_close(up[b], (x[b] @ lower.T)[:, index])
        torch.testing.assert_close(mass[b], oracle.products(parent, order, a)[0].sum(1))


def test_minimax_means(modules):
    raw, _ = trees(modules["gp"])
    weight, p = torch.rand(2, N - 1, dtype=torch.float64), torch.rand(2, N, dtype=torch.float64)
    before = [t.clone() for t in (raw, weight, p)]
    got = modules["gp"].gp_forward(raw, weight, p, 0.4)
    assert all(map(torch.equal, (raw, weight, p), before))
    for b in range(2):
        parent, order = oracle.hang(raw[b])
        by_child = torch.zeros(N, dtype=torch.float64)
        for (u, v), w in zip(raw[b].tolist(), weight[b], strict=True):
            by_child[u if parent[u] == v else v] = w
        k = torch.exp(-oracle.largest(parent, order, by_child) / 0.4**2)
        torch.testing.assert_close(got[b], k @ p[b] / k.sum(1), rtol=1e-10, atol=1e-12)


def test_trees_picked_by_an_index_and_strides(modules):
    raw, _ = trees(modules["mean"], 3)
    pick = torch.tensor([2, 0, 0, 1, 2])
    ranks = modules["mean"].bfs_forward(raw[pick], 4)
    x = torch.rand(5, N, 4).transpose(1, 2)  # channels last
    w = torch.rand(N, 5).T
    got = modules["mean"].refine_forward(x, w, *ranks)
    want = modules["mean"].refine_forward(x.contiguous(), w.contiguous(), *ranks)
    assert all(map(torch.equal, got, want))
    exact = expected("mean", x.double(), w.double(), raw[pick], ranks)
    torch.testing.assert_close(got[0].double(), exact, rtol=1e-5, atol=1e-6)
