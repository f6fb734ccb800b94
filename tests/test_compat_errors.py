"""What the drop-in functions refuse, and what they take that the kernels do not."""

import importlib
from types import ModuleType

import pytest
import torch
from compat_oracle import N, grid_index, trees

import treefilter as tf
from treefilter.compat import _ranks, apro, tree_filter, tree_filter_v2, tree_scan


@pytest.fixture(scope="module", autouse=True)
def mean():
    tf.compat.install(["tree_filter_cuda"])
    import tree_filter_cuda

    yield tree_filter_cuda
    tf.compat.uninstall()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_features(mean, dtype):
    _, ranks = trees(mean)
    x, w = torch.rand(2, 3, N).to(dtype), torch.rand(2, N)
    y = mean.refine_forward(x, w, *ranks)[0]
    assert y.dtype == dtype
    want = mean.refine_forward(x.float(), w, *ranks)[0]
    torch.testing.assert_close(y.float(), want, rtol=1e-2, atol=1e-2)
    second = ModuleType("second")
    tf.compat.install(into=second)
    results = []
    for kind in (dtype, torch.float32):  # as autocast passes them: weights in float32
        given = x.to(kind), w, w.square(), *ranks
        y, *aggregates = second.tree_filter_refine_forward(*given)
        back = (*given, *aggregates, x.to(kind))
        names = ("feature", "edge_weight", "self_weight")
        backward = [getattr(second, f"tree_filter_refine_backward_{name}") for name in names]
        results.append([y, *(gradient(*back) for gradient in backward)])
        assert [t.dtype for t in results[-1]] == [kind, kind, torch.float32, torch.float32]
    for got, want in zip(*results, strict=True):
        assert (got - want).abs().max() <= 0.01 * want.abs().max()


def test_nothing_is_silent(mean):
    raw, ranks = trees(mean)
    index, x, w = grid_index(2), torch.rand(2, 3, N), torch.rand(2, N)
    with pytest.raises(ValueError, match="NaN"):
        mean.mst_forward(index, torch.full((2, 71), torch.nan), N)
    with pytest.raises(ValueError, match="must join all vertices, got 2 connected components"):
        mean.mst_forward(index, torch.rand(2, 71), N + 1)
    with pytest.raises(ValueError, match="edge_weight must have shape"):
        mean.mst_forward(index, torch.rand(2, 70), N)
    with pytest.raises(ValueError, match="rst_forward: edge_weight must have shape"):
        _ranks.rst_forward(index, torch.rand(2, 70), N)
    with pytest.raises(ValueError, match="mst_forward: edge_weight must be on cpu like edge_index"):
        mean.mst_forward(index, torch.rand(2, 71, device="meta"), N)
    with pytest.raises(ValueError, match="refine_forward: feature_in must be on cpu"):
        mean.refine_forward(x.to("meta"), w, *ranks)
    with pytest.raises(ValueError, match="bfs_forward: edge_index must join all vertices"):
        mean.bfs_forward(raw[:, :1].expand(-1, N - 1, -1), 4)
    star = torch.stack([torch.zeros(30), torch.arange(1, 31)], 1).int().unsqueeze(0)
    for most in (3, 20):
        with pytest.raises(ValueError, match="max_adj_per_node must be at least 30"):
            mean.bfs_forward(star, most)
    with pytest.raises(
        ValueError, match=r"bfs_forward: max_adj_per_node must be less than 2\*\*31"
    ):
        mean.bfs_forward(star, 2**70)
    with pytest.raises(ValueError, match="feature_in must have shape"):
        mean.refine_forward(x[:, :, 1:], w, *ranks)
    with pytest.raises(ValueError, match="edge_weight must have shape"):
        mean.refine_forward(x, w[:, 1:], *ranks)
    with pytest.raises(ValueError, match="must be those of bfs_forward"):
        mean.refine_forward(x, w, ranks[0] + 1, *ranks[1:])
    with pytest.raises(ValueError, match="must be those of bfs_forward"):
        mean.refine_forward(x, w, ranks[0], ranks[1].flip(1), ranks[2])
    with pytest.raises(ValueError, match="must be those of bfs_forward"):  # one vertex, all ranks
        mean.refine_forward(x, w, torch.zeros_like(ranks[0]), *ranks[1:])


def test_overflowing_weights_still_span(mean):
    weight = torch.exp(torch.linspace(80, 100, 71)).expand(2, -1)
    assert weight.isinf().any()
    check = mean.mst_forward(grid_index(2), weight, N)
    assert check.shape == (2, N - 1, 2)


def test_one_vertex(mean):
    raw = mean.mst_forward(torch.zeros(2, 0, 2, dtype=torch.int32), torch.zeros(2, 0), 1)
    ranks = mean.bfs_forward(raw, 4)
    x = torch.rand(2, 3, 1)
    assert torch.equal(mean.refine_forward(x, torch.ones(2, 1), *ranks)[0], x)


def test_classes_refuse_what_does_not_fit():
    guide, x = torch.rand(2, 3, 5, 6), torch.rand(2, 4, 5, 6)
    beta = torch.rand(2, 2, 5, 6)
    raw = tree_filter.MinimumSpanningTree(tree_filter.norm2_distance)(guide)
    mean, total = tree_filter.TreeFilter2D(2), tree_filter_v2.TreeFilter2D(2)
    with pytest.raises(ValueError, match="NaN"):
        tree_filter.MinimumSpanningTree(tree_filter.norm2_distance)(guide * torch.nan)
    with pytest.raises(ValueError, match="TreeFilter2D: feature_in must have batch 2, 30 pixels"):
        mean(x[..., 1:], x[..., 1:], raw)
    with pytest.raises(ValueError, match=r"embed_in must have .* channels divisible by 2"):
        mean(x, guide, raw)
    with pytest.raises(ValueError, match="TreeFilter2D: edge_index must join all vertices"):
        mean(x, x, torch.zeros_like(raw))
    with pytest.raises(ValueError, match="guide_in must have batch 2, 30 pixels"):
        total(x, x, raw, x[..., 1:])
    with pytest.raises(ValueError, match="self_dist_in must have batch 2, 30 pixels"):
        total(x, x, raw, x, beta[..., 1:])
    propagate = apro.Global_APro()
    with pytest.raises(ValueError, match=r"feature_in must have shape \(2, 1, 5, 6\)"):
        propagate(x[:, :2], guide, raw)
    with pytest.raises(ValueError, match="Global_APro: embed_in must have batch 2, 30 pixels"):
        propagate(x[:, :1, 1:], guide[:, :, 1:], raw)
    with pytest.raises(ValueError, match="gp_forward: edge_weight must not be NaN"):
        propagate(x[:, :1], guide * torch.nan, raw)
    sequence = torch.rand(2, 4, 30)
    one, channel = torch.rand(2, 1, 1, 30), torch.rand(4)
    with pytest.raises(ValueError, match="must have one state"):
        tree_scan.tree_scanning_core(
            sequence, sequence, torch.rand(4, 2), one, one, channel, channel, (2, 4, 5, 6)
        )
    with pytest.raises(ValueError, match=r"xs must have shape \(B, D, 25\) like origin_shape"):
        tree_scan.tree_scanning_core(
            sequence, sequence, torch.rand(4, 1), one, one, channel, channel, (2, 4, 5, 5)
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mean", "scan", "lan", "second"])
def test_gradients_of_16_bit_and_strided_inputs(name, dtype):
    """Close to those of float32, in the dtypes of their inputs, which stay as they are."""
    tf.compat.install()
    functions = importlib.import_module("test_compat_functions")
    names = {"mean": "tree_filter_cuda", "scan": "tree_scan", "lan": "tree_scan_lan"}
    if name == "second":
        extension = ModuleType(name)
        tf.compat.install(into=extension)
        operator, per_channel = functions.Confident, False
    else:
        module = importlib.import_module(names[name])
        extension = getattr(module, "_C", module)
        operator, per_channel = functions.FAMILIES[name]
    _, ranks = trees(extension, plus=1.0)
    x = torch.rand(2, N, 3).to(dtype).mT
    w = torch.rand(2, N, 3).to(dtype).mT if per_channel else torch.rand(N, 2).to(dtype).T
    given = (x, w, torch.rand(N, 2).to(dtype).T) if name == "second" else (x, w)
    before, results = [t.clone() for t in given], []
    for kind in (dtype, torch.float32):
        inputs = [t.to(kind).requires_grad_() for t in given]
        y = operator.apply(extension, *inputs, *ranks)
        grads = torch.autograd.grad(y, inputs, torch.ones((), dtype=y.dtype).expand(y.shape))
        assert all(t.dtype == kind for t in (y, *grads))
        results.append([t.float() for t in (y, *grads)])
    for got, want in zip(*results, strict=True):
        assert (got - want).abs().max() <= 0.02 * want.abs().max()
    assert all(map(torch.equal, given, before))
