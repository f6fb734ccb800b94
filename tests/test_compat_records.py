"""What the drop-in functions know of tensors that they returned, until these are written to."""

import gc

import pytest
import torch
from compat_oracle import N, trees
from torch.testing import assert_close

import treefilter as tf
from treefilter import _ops
from treefilter.compat import _filters, _ranks


@pytest.fixture(scope="module", autouse=True)
def mean():
    tf.compat.install(["tree_filter_cuda"])
    import tree_filter_cuda

    yield tree_filter_cuda
    tf.compat.uninstall()


def test_ranks_do_not_depend_on_what_is_known(mean):
    raw, ranks = trees(mean, 3, ties=True, plus=1.0)
    again = mean.bfs_forward(raw.clone(), 4)
    assert all(map(torch.equal, ranks, again))
    x, w = torch.rand(3, 2, N), torch.rand(3, N)
    copies = [t.clone() for t in ranks]
    for got, want in zip(
        mean.refine_forward(x, w, *ranks), mean.refine_forward(x, w, *copies), strict=True
    ):
        assert torch.equal(got, want)


def test_what_is_written_to_is_looked_at_again(mean):
    raw, ranks = trees(mean, 2)
    other = raw.flip(0)
    raw.copy_(other)
    assert all(map(torch.equal, mean.bfs_forward(raw, 4), mean.bfs_forward(other.clone(), 4)))
    raw.data = other.flip(0)
    assert all(map(torch.equal, mean.bfs_forward(raw, 4), ranks))
    x, w = torch.rand(2, 2, N), torch.rand(2, N)
    index, parent, child = ranks
    swapped = [t.flip(0).contiguous() for t in ranks]
    want = mean.refine_forward(x, w, *swapped)[0]
    index.copy_(swapped[0])
    parent.copy_(swapped[1])
    assert torch.equal(mean.refine_forward(x, w, index, parent, child)[0], want)
    parent.zero_()
    star = mean.refine_forward(x, w, index, parent, child)[0]
    assert_close(star, mean.refine_forward(x, w, index.clone(), parent.clone(), child)[0])
    assert not torch.equal(star, want)
    index.add_(1)
    with pytest.raises(ValueError, match="must be those of bfs_forward"):
        mean.refine_forward(x, w, index, parent, child)


def test_the_gradient_of_the_weights_is_that_of_what_is_given(mean):
    _, ranks = trees(mean, 2)
    x, w, grad = torch.rand(2, 2, N), torch.rand(2, N), torch.rand(2, 2, N)
    out = mean.refine_forward(x, w, *ranks)

    def both(x, w, grad):
        saved = x, w, *ranks, *out, grad
        return mean.refine_backward_feature(*saved), mean.refine_backward_weight(*saved)

    want = both(x, w, grad)
    w.requires_grad_()  # now one pass computes both
    assert all(map(torch.equal, both(x, w, grad), want))
    assert all(map(torch.equal, both(x, w, grad), want))
    saved = x, w, *ranks, *out, grad
    mean.refine_backward_feature(*saved)
    grad.mul_(2)
    assert_close(mean.refine_backward_weight(*saved), 2 * want[1])
    mean.refine_backward_feature(*saved)
    x.mul_(3)
    assert_close(mean.refine_backward_weight(*saved), 6 * want[1], rtol=1e-4, atol=1e-5)


def test_records_end_with_their_tensors(mean):
    kept = _ranks._TREES, _ranks._RANKED, _filters._WEIGHT_GRADIENTS
    gc.collect()
    before = [len(records._of) for records in kept]
    raw, ranks = trees(mean, 2)
    x, w, grad = torch.rand(2, 2, N), torch.rand(2, N, requires_grad=True), torch.rand(2, 2, N)
    out = mean.refine_forward(x, w, *ranks)
    mean.refine_backward_feature(x, w, *ranks, *out, grad)
    wide = mean.refine_forward(x, w, *(t.long() for t in ranks))
    assert torch.equal(out[0], wide[0])
    assert len(_filters._WEIGHT_GRADIENTS._of) == before[2] + 1
    del raw, ranks, grad, out
    gc.collect()
    assert [len(records._of) for records in kept] == before


def test_inference_mode(mean):
    with torch.inference_mode():
        raw, ranks = trees(mean, 2)
        x, w = torch.rand(2, 2, N), torch.rand(2, N)
        y = mean.refine_forward(x, w, *ranks)[0]
    copies = mean.bfs_forward(raw.clone(), 4)
    assert_close(y, mean.refine_forward(x.clone(), w.clone(), *copies)[0])


@pytest.mark.parametrize("most", [1, 2, 4, 40])
def test_lists_of_children_are_those_of_other_devices(most):
    tree = tf.mst(torch.rand(3, 71), tf.grid(6, 7))
    _, above, children, needed = _ops.ranks(tree.parent, tree.order, most)
    lists, most_needed = _ops._children_of_ranks(above, most)
    assert torch.equal(children, lists)
    assert torch.equal(needed, most_needed)
    one = torch.zeros(2, 1, dtype=torch.int32)
    assert [t.tolist() for t in _ops.ranks(one, one, 2)[2:]] == [[[[0, 0]]] * 2, [0, 0]]
    assert [t.tolist() for t in _ops._children_of_ranks(one, 2)] == [[[[0, 0]]] * 2, [0, 0]]
