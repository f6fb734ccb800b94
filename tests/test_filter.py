"""Affinities, the two passes and the filter: values, properties, accuracy, conventions."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from strategies import SEEDS, forests, normal, photograph, snake, uniform
from torch.testing import assert_close

import treefilter as tf

PASSES = ["leaf_to_root", "root_to_leaf", "sum", "mean"]


def apply(name, x, tree, affinity, module=tf):
    """One of the four linear maps."""
    if name in ("sum", "mean"):
        return module.filter(x, tree, affinity, normalize=name == "mean")
    return getattr(module, name)(x, tree, affinity)


def by_oracle(name, x, tree, affinity):
    """The same from dense matrices: x (B, C, N), float64."""
    x, parent, a = x.cpu().numpy(), tree.parent.cpu().numpy(), affinity.cpu().numpy()
    if name in ("sum", "mean"):
        return torch.from_numpy(oracle.batched(oracle.filter, x, parent, a, name == "mean"))
    return torch.from_numpy(oracle.batched(getattr(oracle, name), x, parent, a))


@st.composite
def inputs(draw):
    """(x, tree, affinity), also with forests, groups, shared trees and shared affinities."""
    batch = draw(st.integers(1, 3))
    _, _, tree = draw(forests(batch=draw(st.sampled_from([1, batch]))))
    groups = draw(st.sampled_from([None, 1, 2, 3, 5]))
    channels = draw(st.integers(1, 9)) if groups is None else groups * draw(st.integers(1, 3))
    affinity_batch = draw(st.sampled_from([1, batch]))
    shape = (affinity_batch, *([] if groups is None else [groups]), tree.num_nodes)
    seed = draw(SEEDS)
    affinity = uniform(seed, *shape, low=draw(st.sampled_from([0.0, 0.9])))
    if draw(st.booleans()):  # exact ends of the range
        affinity = affinity.round()
    return normal(seed + 1, batch, channels, tree.num_nodes), tree, affinity


# --- affinity -------------------------------------------------------------------------------------


def affinity_by_hand(weight, tree, sigma):
    """exp(−w/σ) for weight (B, G, E) and sigma (B, G), 0 at roots."""
    batch, groups, _ = weight.shape
    a = np.zeros((batch, groups, tree.num_nodes))
    for b, g, v in np.ndindex(*a.shape):
        edge = int(tree.edge[min(b, len(tree) - 1), v])
        if edge >= 0:
            a[b, g, v] = np.exp(-float(weight[b, g, edge]) / float(sigma[b, g]))
    return torch.from_numpy(a)


@given(drawn=forests(), batch=st.integers(1, 3), groups=st.integers(1, 3), seed=SEEDS)
def test_affinity_is_the_formula(device, drawn, batch, groups, seed):
    graph, _, tree = drawn
    weight = uniform(seed, batch, groups, graph.num_edges, high=3.0)
    sigma = uniform(seed + 1, batch, groups, low=0.5, high=2.0)
    expected = affinity_by_hand(weight, tree, sigma)
    tree = tree.to(device)
    actual = tf.affinity(weight.to(device), tree, sigma.to(device))
    assert_close(actual.cpu(), expected, rtol=1e-14, atol=0)
    single = tf.affinity(weight.float().to(device), tree, sigma.float().to(device))
    assert single.dtype == torch.float32
    assert_close(single.double().cpu(), expected, rtol=3e-6, atol=0)
    flat = tf.affinity(weight[:, 0].to(device), tree, 0.7)
    sigma = torch.full((batch, 1), 0.7, dtype=torch.float64)
    expected = affinity_by_hand(weight[:, :1], tree.to("cpu"), sigma)
    assert_close(flat.cpu(), expected[:, 0], rtol=1e-14, atol=0)


SIGMAS = {  # shape of sigma: shape of the result for weights (B, E) and (B, G, E), B = 2, G = 3
    (): ((2, 35), (2, 3, 35)),
    (1,): ((2, 35), (2, 3, 35)),
    (1, 1): ((2, 35), (2, 3, 35)),
    (2, 1): ((2, 35), (2, 3, 35)),
    (3,): ((2, 3, 35), (2, 3, 35)),
    (1, 3): ((2, 3, 35), (2, 3, 35)),
    (2, 3): ((2, 3, 35), (2, 3, 35)),
}


@pytest.mark.parametrize("trees", [1, 2])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("shape", SIGMAS)
def test_affinity_broadcasts_sigma(device, shape, grouped, trees):
    graph = tf.grid(5, 7)
    tree = tf.mst(normal(1, trees, graph.num_edges).to(device), graph, root=3)
    weight = uniform(2, *((2, 3) if grouped else (2,)), graph.num_edges)
    sigma = uniform(3, *shape, low=0.5)
    actual = tf.affinity(weight.to(device), tree, sigma.to(device))
    assert actual.shape == SIGMAS[shape][grouped]
    wide = weight if grouped else weight.unsqueeze(1).expand(2, 3, -1)
    expected = affinity_by_hand(wide, tree.to("cpu"), sigma.expand(2, 3))
    expected = expected if actual.ndim == 3 else expected[:, 0]
    assert_close(actual.cpu(), expected, rtol=1e-14, atol=0)


def test_affinity_takes_numbers_and_numbers_in_tensors(device):
    graph = tf.grid(3, 5)
    weight = uniform(2, 1, graph.num_edges, dtype=torch.float32).to(device)
    tree = tf.mst(weight, graph)
    expected = tf.affinity(weight, tree, torch.tensor(2.0, device=device))
    assert_close(tf.affinity(weight, tree, 2.0), expected)
    assert_close(tf.affinity(weight, tree, 2), expected)
    assert_close(tf.affinity(weight / 2, tree), expected)


def test_affinity_limits(device):
    graph = tf.grid(1, 5)
    weight = torch.tensor([[0.0, 1e30, torch.inf, -1.0]], dtype=torch.float64, device=device)
    tree = tf.mst(torch.ones_like(weight), graph)
    expected = torch.tensor([[0, 1, 0, 0, np.e]], dtype=torch.float64)
    assert_close(tf.affinity(weight, tree).cpu(), expected)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PASSES)
@given(drawn=inputs())
def test_equals_the_dense_matrix(device, name, drawn):
    x, tree, affinity = drawn
    expected = by_oracle(name, x, tree, affinity)
    x, tree, affinity = x.to(device), tree.to(device), affinity.to(device)
    assert_close(apply(name, x, tree, affinity).cpu(), expected, rtol=1e-11, atol=1e-11)
    single = apply(name, x.float(), tree, affinity.float())
    assert single.dtype == torch.float32
    assert_close(single.double().cpu(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70])
def test_any_number_of_channels(device, name, channels):
    graph = tf.grid(5, 7)
    tree = tf.mst(uniform(1, 2, graph.num_edges).to(device), graph, root=20)
    x = normal(2, 2, channels, 35).to(device)
    for groups in {1, channels, *([2] if channels % 2 == 0 else [])}:
        affinity = uniform(3, 2, groups, 35).to(device)
        expected = by_oracle(name, x, tree, affinity)
        assert_close(apply(name, x, tree, affinity).cpu(), expected, rtol=1e-11, atol=1e-11)
        single = apply(name, x.float(), tree, affinity.float())
        assert_close(single.double().cpu(), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", PASSES)
def test_image_layout_is_the_flat_one(device, name):
    for shape, connectivity in [((5, 7), 8), ((3, 4, 5), 26), ((1, 9), 4)]:
        graph = tf.grid(*shape, connectivity=connectivity)
        tree = tf.mst(uniform(1, 2, graph.num_edges).to(device), graph)
        x, affinity = normal(2, 2, 3, *shape).to(device), uniform(3, 2, graph.num_nodes).to(device)
        flat = apply(name, x.flatten(2), tree, affinity)
        assert torch.equal(apply(name, x, tree, affinity), flat.view_as(x))


@pytest.mark.parametrize("name", PASSES)
def test_affinities_beyond_one(device, name):
    graph = tf.grid(5, 5)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)
    x, affinity = normal(2, 1, 2, 25).to(device), uniform(3, 1, 25, high=1.6).to(device)
    expected = by_oracle(name, x, tree, affinity)
    assert_close(apply(name, x, tree, affinity).cpu(), expected, rtol=1e-9, atol=1e-9)


# --- properties -----------------------------------------------------------------------------------


@given(drawn=inputs())
def test_sum_is_made_of_the_two_passes(device, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    groups = 1 if affinity.ndim == 2 else affinity.shape[1]
    a = affinity.view(len(affinity), groups, -1).repeat_interleave(x.shape[1] // groups, 1)
    a = torch.where(tree.roots.unsqueeze(1), 0, a)
    composed = tf.root_to_leaf((1 - a * a) * tf.leaf_to_root(x, tree, affinity), tree, affinity)
    assert_close(tf.filter(x, tree, affinity, normalize=False), composed, rtol=1e-11, atol=1e-11)
    total = tf.filter(torch.ones_like(x), tree, affinity, normalize=False)
    assert_close(tf.filter(x, tree, affinity), composed / total, rtol=1e-11, atol=1e-11)


@given(drawn=inputs())
def test_passes_are_adjoint_and_the_sum_is_symmetric(device, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    y = normal(9, *x.shape).to(device)
    for one, other in (("leaf_to_root", "root_to_leaf"), ("sum", "sum")):
        left = (apply(one, x, tree, affinity) * y).sum()
        right = (x * apply(other, y, tree, affinity)).sum()
        assert_close(left, right, rtol=1e-10, atol=1e-9)


@given(st.data(), forests(), SEEDS)
def test_filter_does_not_depend_on_the_root(device, data, drawn, seed):
    graph, weight, tree = drawn
    graph, weight, sigma = graph.to(device), weight.to(device), 0.7
    moved = tf.mst(weight, graph, root=data.draw(st.integers(0, graph.num_nodes - 1)))
    x = normal(seed, 1, 3, graph.num_nodes).to(device)
    for normalize in (True, False):
        y, z = (
            tf.filter(x, t, tf.affinity(weight, t, sigma), normalize=normalize)
            for t in (tree.to(device), moved)
        )
        assert_close(y, z, rtol=1e-11, atol=1e-11)


@given(drawn=inputs())
def test_mean_keeps_constants_and_stays_within_the_range(device, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    for dtype, slack in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        values, a = x.to(dtype), affinity.to(dtype)
        constant = tf.filter(torch.full_like(values, 0.3), tree, a)
        assert_close(constant, torch.full_like(constant, 0.3), rtol=slack, atol=0)
        y = tf.filter(values, tree, a)
        slack = slack * values.abs().max()
        assert (y <= values.amax(2, keepdim=True) + slack).all()
        assert (y >= values.amin(2, keepdim=True) - slack).all()


@given(drawn=inputs())
def test_limits_of_the_affinity(device, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    assert torch.equal(tf.filter(x, tree, torch.zeros_like(affinity)), x)
    everyone = tf.filter(x, tree, torch.ones_like(affinity))
    for b in range(len(x)):
        top = oracle.components(tree.parent[min(b, len(tree) - 1)].cpu().numpy())
        for root in np.unique(top):
            inside = torch.from_numpy(top == root).to(device)
            mean = x[b][:, inside].mean(1, keepdim=True)
            assert_close(everyone[b][:, inside], mean.expand(-1, int(inside.sum())))


@pytest.mark.parametrize("name", PASSES)
@given(drawn=inputs())
def test_maps_are_linear(device, name, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    y = normal(9, *x.shape).to(device)
    both = apply(name, 2 * x - 3 * y, tree, affinity)
    apart = 2 * apply(name, x, tree, affinity) - 3 * apply(name, y, tree, affinity)
    assert_close(both, apart, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PASSES)
@given(drawn=inputs())
def test_affinity_of_a_root_is_ignored(device, name, drawn):
    x, tree, affinity = (t.to(device) for t in drawn)
    if len(affinity) < len(tree):
        affinity = affinity.expand(len(tree), *affinity.shape[1:])
    roots = tree.roots if affinity.ndim == 2 else tree.roots.unsqueeze(1)
    expected = apply(name, x, tree, torch.where(roots, 0, affinity))
    for value in (1.0, torch.nan, torch.inf):
        assert torch.equal(apply(name, x, tree, torch.where(roots, value, affinity)), expected)


@pytest.mark.parametrize("name", PASSES)
def test_shared_trees_and_affinities_equal_repeated_ones(device, name):
    graph = tf.grid(7, 9)
    tree = tf.mst(uniform(1, 1, graph.num_edges).to(device), graph)
    copies = tf.Tree(*(t.repeat(3, 1) for t in (tree.parent, tree.edge, tree.order)), tree.shape)
    for groups in ((), (1,), (2,), (4,)):
        x, affinity = normal(2, 3, 4, 63).to(device), uniform(3, 1, *groups, 63).to(device)
        repeated = affinity.repeat(3, *[1] * (affinity.ndim - 1))
        expected = apply(name, x, copies, repeated)
        for t, a in ((tree, affinity), (tree, repeated), (copies, affinity)):
            assert_close(apply(name, x, t, a), expected, rtol=1e-13, atol=1e-13)


# --- large images ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_images():
    photo = photograph(1024, 2048)
    noise = normal(3, 1, 3, 1024, 2048, dtype=torch.float32)
    return {"photograph": photo, "nearly constant": 0.5 + 1e-4 * noise}


@pytest.mark.parametrize("image", ["photograph", "nearly constant"])
def test_float32_is_accurate_on_large_images(device, large_images, image):
    guide = large_images[image]
    graph = tf.grid(1024, 2048)
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    affinity = tf.affinity(weight, tree, 0.02)
    x = guide[:, :2].flatten(2)
    exact = oracle.filter_by_levels(x[0].numpy(), tree.parent[0].numpy(), affinity[0].numpy())
    y = tf.filter(x.to(device), tree.to(device), affinity.to(device))
    error = np.abs(y[0].double().cpu().numpy() - exact).max()
    assert error <= 5e-6 * np.abs(exact).max()
    wide = tf.filter(x.double().to(device), tree.to(device), affinity.double().to(device))
    error = np.abs(wide[0].cpu().numpy() - exact).max()
    assert error <= 1e-12 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_snake_of_four_million_pixels(device, dtype):
    graph, weight, path = snake(2001, 2003)
    tree = tf.mst(weight.to(device), graph, root=int(path[0]))
    # x and the results along the path, on which the passes are recursive filters of scipy's
    along = normal(1, graph.num_nodes, dtype=dtype)
    x = torch.empty_like(along).index_put((path,), along).view(1, 1, -1).to(device)
    for a in (0.9, 0.9999):
        affinity = torch.full((1, graph.num_nodes), a, dtype=dtype, device=device)
        down, up = (lfilter([1], [1, -float(affinity[0, 0])], t) for t in (along, along.flip(0)))
        ones = lfilter([1], [1, -float(affinity[0, 0])], np.ones(len(path)))
        total = ones + ones[::-1] - 1
        summed = down + up[::-1] - along.double().numpy()
        expected = {"leaf_to_root": up[::-1], "root_to_leaf": down, "sum": summed}
        expected["mean"] = summed / total
        for name, values in expected.items():
            y = apply(name, x, tree, affinity)[0, 0].cpu()[path].double().numpy()
            tolerance = 2e-5 if dtype == torch.float32 else 1e-10
            assert np.abs(y - values).max() <= tolerance * np.abs(values).max()


def test_gradient_of_a_snake_of_four_million_pixels(device):
    graph, weight, path = snake(2001, 2003)
    tree = tf.mst(weight.to(device), graph, root=int(path[0]))
    x = normal(1, 1, 1, graph.num_nodes, dtype=torch.float32).to(device).requires_grad_()
    affinity = torch.full((1, graph.num_nodes), 0.9, device=device, requires_grad=True)
    grad = normal(2, 1, 1, graph.num_nodes, dtype=torch.float32).to(device)
    tf.filter(x, tree, affinity).backward(grad)
    ones = torch.ones_like(grad)
    total = tf.filter(ones, tree, affinity.detach(), normalize=False)
    expected = tf.filter(grad / total, tree, affinity.detach(), normalize=False)
    assert_close(x.grad, expected, rtol=1e-4, atol=1e-5)
    assert affinity.grad.isfinite().all()
    # A finite difference in one direction, in float64.
    step = 1e-6 * normal(3, 1, graph.num_nodes).to(device)
    wide = [t.detach().double() for t in (x, affinity, grad)]
    above, below = (tf.filter(wide[0], tree, wide[1] + s) for s in (step, -step))
    slope = ((above - below) * wide[2]).sum() / 2
    assert_close((affinity.grad.double() * step).sum(), slope, rtol=1e-3, atol=0)


# --- conventions ----------------------------------------------------------------------------------


@pytest.fixture
def small(device):
    """(x, tree, affinity): two images of 6×7, four channels in two groups, float64."""
    graph = tf.grid(6, 7)
    tree = tf.mst(uniform(1, 2, graph.num_edges).to(device), graph, root=20)
    return normal(2, 2, 4, 6, 7).to(device), tree, uniform(3, 2, 2, 42).to(device)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("affinity_in_half", [False, True])
def test_half_precision_is_rounded_once(small, name, dtype, affinity_in_half):
    x, tree, affinity = small
    x, affinity = x.to(dtype), affinity.to(dtype if affinity_in_half else torch.float32)
    y = apply(name, x, tree, affinity)
    assert y.dtype == dtype
    exact = by_oracle(name, x.double().flatten(2), tree, affinity.double()).view(x.shape)
    spacing = torch.finfo(dtype).eps * exact.abs().clamp(min=1e-3)
    assert ((y.cpu().double() - exact).abs() <= 0.51 * spacing + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_affinity_of_half_precision_weights(small, dtype):
    graph, tree = tf.grid(6, 7), small[1]
    weight = uniform(5, 2, graph.num_edges).to(dtype).to(tree.parent.device)
    a = tf.affinity(weight, tree, 0.5)
    assert a.dtype == dtype
    assert torch.equal(a, tf.affinity(weight.float(), tree, 0.5).to(dtype))


@pytest.mark.parametrize("name", PASSES)
def test_strided_inputs(small, name):
    x, tree, affinity = small
    expected = apply(name, x, tree, affinity)
    for strided in (
        x.to(memory_format=torch.channels_last),
        x.mT.contiguous().mT,
        x.transpose(0, 1).contiguous().transpose(0, 1),
        torch.stack([x, x], -1).flatten(3)[..., ::2],
        torch.cat([x, x], 1)[:, 2:6].roll(2, 1)[:, :],
    ):
        assert torch.equal(strided, x)
        assert torch.equal(apply(name, strided, tree, affinity), expected)
    for strided in (affinity.mT.contiguous().mT, torch.stack([affinity] * 2, -1)[..., 0]):
        assert not strided.is_contiguous()
        assert torch.equal(apply(name, x, tree, strided), expected)
    one, a = x[:1].expand(2, -1, -1, -1), affinity[:, :1].expand(-1, 4, -1)
    assert torch.equal(
        apply(name, one, tree, a), apply(name, one.contiguous(), tree, a.contiguous())
    )
    channel = x[:, :1].expand(-1, 4, -1, -1)
    assert torch.equal(
        apply(name, channel, tree, affinity), apply(name, channel.contiguous(), tree, affinity)
    )


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("shape", [(37, 41), (190, 180)])  # rows of 32 and of 16 channels
def test_channels_last_is_the_same(device, name, shape, at_thread_counts):
    graph = tf.grid(*shape)
    tree = tf.mst(uniform(1, 2, graph.num_edges).to(device), graph)
    x = normal(2, 2, 84, *shape, dtype=torch.float32).to(device)
    for groups in (1, 2, 21):
        affinity = uniform(3, 2, groups, graph.num_nodes).float().to(device)
        expected = apply(name, x, tree, affinity)
        strided = x.to(memory_format=torch.channels_last)
        for y in at_thread_counts(lambda s=strided, a=affinity: apply(name, s, tree, a)):
            assert torch.equal(y, expected)


def test_strided_affinity_inputs(small):
    graph, tree = tf.grid(6, 7), small[1]
    weight = uniform(5, 2, 3, graph.num_edges).to(tree.parent.device)
    expected = tf.affinity(weight, tree)
    assert torch.equal(tf.affinity(weight.mT.contiguous().mT, tree), expected)
    row = weight[:1, :1].expand(2, 3, -1)
    assert torch.equal(tf.affinity(row, tree), tf.affinity(row.contiguous(), tree))


@pytest.mark.parametrize("name", PASSES)
def test_inputs_are_unchanged(small, name):
    x, tree, affinity = small
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        leaves = [t.to(dtype, copy=True).requires_grad_() for t in (x, affinity)]
        before = [t.detach().clone() for t in leaves]
        topology = [t.clone() for t in (tree.parent, tree.edge, tree.order)]
        grad = torch.ones_like(x, dtype=dtype)
        apply(name, leaves[0], tree, leaves[1]).backward(grad)
        assert all(map(torch.equal, leaves, before))
        assert all(map(torch.equal, (tree.parent, tree.edge, tree.order), topology))
        assert torch.equal(grad, torch.ones_like(grad))


def test_inputs_of_affinity_are_unchanged(small):
    graph, tree = tf.grid(6, 7), small[1]
    weight = uniform(5, 2, graph.num_edges).to(tree.parent.device)
    sigma = uniform(6, 2, 3, low=0.5).to(tree.parent.device)
    leaves = [t.clone().requires_grad_() for t in (weight, sigma)]
    tf.affinity(leaves[0], tree, leaves[1]).sum().backward()
    assert torch.equal(leaves[0], weight)
    assert torch.equal(leaves[1], sigma)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(
    "shape", [(0, 3, 6, 7), (2, 0, 6, 7), (0, 0, 6, 7), (2, 3, 1, 1), (0, 2, 1, 1), (2, 3, 1, 9)]
)
@pytest.mark.parametrize("groups", [None, 1])
def test_smallest_sizes(device, name, shape, groups):
    graph = tf.grid(*shape[2:])
    tree = tf.mst(torch.rand(shape[0], graph.num_edges, device=device), graph)
    x = torch.rand(shape, device=device, requires_grad=True)
    a_shape = (shape[0], graph.num_nodes) if groups is None else (shape[0], 1, graph.num_nodes)
    affinity = torch.rand(a_shape, device=device, requires_grad=True)
    y = apply(name, x, tree, affinity)
    assert y.shape == shape
    if graph.num_nodes == 1:
        assert torch.equal(y, x)
    grads = torch.autograd.grad(y.sum(), (x, affinity), materialize_grads=True)
    assert [g.shape for g in grads] == [x.shape, affinity.shape]
    assert grads[1].isfinite().all()
    if graph.num_nodes == 1:
        assert torch.equal(grads[0], torch.ones_like(x))
        assert grads[1].abs().sum() == 0


def test_no_image_on_a_shared_tree(device):
    graph = tf.grid(5, 7)
    tree = tf.mst(torch.rand(1, graph.num_edges, device=device), graph)
    for name in PASSES:
        affinity = torch.rand(1, 35, device=device)
        y = apply(name, torch.empty(0, 3, 5, 7, device=device), tree, affinity)
        assert y.shape == (0, 3, 5, 7)


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (3, 1), (24, 1), (24, 24), (20, 4)])
def test_same_bits_at_any_thread_count_and_batch_position(
    device, name, channels, groups, assert_same_bits
):
    graph = tf.grid(129, 151)
    weight = uniform(4, 3, graph.num_edges, dtype=torch.float32)
    tree = tf.mst(weight.to(device), graph)
    inputs = normal(5, 3, channels, graph.num_nodes, dtype=torch.float32).to(device)
    affinities = uniform(6, 3, groups, graph.num_nodes, dtype=torch.float32).to(device)
    grads = normal(7, 3, channels, graph.num_nodes, dtype=torch.float32).to(device)

    def run(images=slice(None)):
        x, a = (t[images].clone().requires_grad_() for t in (inputs, affinities))
        y = apply(name, x, tree[images], a)
        return [y.detach(), *torch.autograd.grad(y, (x, a), grads[images])]

    assert_same_bits(run, batch=3)


def test_same_bits_of_affinity_at_any_thread_count_and_batch_position(device, assert_same_bits):
    graph = tf.grid(129, 151)
    weights = uniform(4, 3, 2, graph.num_edges, dtype=torch.float32).to(device)
    trees = tf.mst(weights[:, 0], graph)
    grads = normal(5, 3, 2, graph.num_nodes, dtype=torch.float32).to(device)

    def run(images=slice(None)):
        weight = weights[images].clone().requires_grad_()
        a = tf.affinity(weight, trees[images], 0.3)
        return [a.detach(), *torch.autograd.grad(a, weight, grads[images])]

    assert_same_bits(run, batch=3)


@pytest.mark.parametrize("name", PASSES)
def test_same_bits_of_a_shared_gradient_at_any_thread_count(device, name, at_thread_counts):
    """One tree and one affinity for seven images: its gradient is a sum over all of them."""
    graph = tf.grid(65, 77)
    tree = tf.mst(uniform(4, 1, graph.num_edges).to(device), graph)
    x = normal(5, 7, 6, graph.num_nodes, dtype=torch.float32).to(device)
    affinity = uniform(6, 1, 2, graph.num_nodes, dtype=torch.float32).to(device).requires_grad_()

    def run():
        return torch.autograd.grad(apply(name, x, tree, affinity).square().sum(), affinity)[0]

    one, two, four = at_thread_counts(run)
    assert torch.equal(one, two)
    assert torch.equal(one, four)


@pytest.mark.parametrize("name", PASSES)
def test_same_bits_at_any_batch_position_of_a_shared_tree(device, name):
    graph = tf.grid(33, 35)
    tree = tf.mst(uniform(4, 1, graph.num_edges).to(device), graph)
    affinity = uniform(6, 1, graph.num_nodes, dtype=torch.float32).to(device)
    x = normal(5, 5, 3, graph.num_nodes, dtype=torch.float32).to(device)
    together = apply(name, x, tree, affinity)
    for i in range(5):
        assert torch.equal(apply(name, x[i : i + 1], tree, affinity)[0], together[i])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-4)])
def test_small_values_keep_their_digits(device, dtype, tolerance):
    """The tiny values far from all seeds are right to the last digits."""
    graph = tf.grid(96, 128)
    image = photograph(96, 128).to(device)
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight.double(), tree, sigma=0.02)
    seeds = torch.zeros(1, 2, graph.num_nodes, dtype=torch.float64, device=device)
    seeds[0, 0, 5 * 128 + 9] = seeds[0, 1, 80 * 128 + 100] = 1
    # Sums of non-negative values lose no digits.
    sums = tf.filter(seeds, tree, a, normalize=False)
    mass = tf.filter(torch.ones_like(seeds), tree, a, normalize=False)
    expected = sums / mass
    got = tf.filter(seeds.to(dtype), tree, a.to(dtype)).double()
    normal = expected > 100 * torch.finfo(dtype).tiny
    assert normal.sum() > 10_000
    assert_close(got[normal], expected[normal], rtol=tolerance, atol=0)


@pytest.mark.parametrize("leaves", [127, 128, 5000])
@pytest.mark.parametrize("name", PASSES)
def test_hubs_with_many_children(name, leaves):
    """Two joined hubs, one with the root among its leaves; half of the leaves are closed."""
    size = 2 * leaves + 2
    near, far = torch.zeros(leaves, dtype=torch.int64), torch.ones(leaves, dtype=torch.int64)
    numbers = torch.arange(2, size)
    edges = torch.stack(
        [torch.cat([near, far, torch.zeros(1).long()]), torch.cat([numbers, torch.ones(1).long()])]
    )
    tree = tf.mst(torch.ones(1, size - 1), tf.graph(edges, size), root=size // 2)
    x, affinity = normal(1, 2, 3, size), uniform(2, 1, size)
    affinity[:, ::2] = 0
    expected = apply(name, x, tree, affinity, tf.reference)
    assert_close(apply(name, x, tree, affinity), expected, rtol=1e-12, atol=1e-12)
    single = apply(name, x.float(), tree, affinity.float())
    assert_close(single, expected.float(), rtol=1e-4, atol=1e-4)
