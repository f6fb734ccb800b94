"""What the drop-in functions refuse, and what they take that the kernels do not."""

import pytest
import torch
from compat_oracle import N, grid_index, trees

import treefilter as tf
from treefilter.compat import _ranks


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
