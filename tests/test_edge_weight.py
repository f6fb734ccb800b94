"""Edge weights: values, derivatives and conventions at kinks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from strategies import GRIDS, SEEDS, graphs, normal, photograph, uniform
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import treefilter as tf

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine"]
MULTIGRAPH = tf.graph(torch.tensor([[0, 1, 2, 2, 4, 4, 1], [1, 2, 2, 0, 1, 1, 3]]), 6)
SMALL_GRAPHS = [
    tf.grid(3, 5),
    tf.grid(3, 3, connectivity=8),
    tf.grid(2, 3, 2),
    tf.grid(3, 2, 2, connectivity=26),
    MULTIGRAPH,
]


def by_scipy(guide, graph, metric):
    """(B, E) float64: scipy's distance between the two ends of every edge."""
    u, v = graph.edge_index.numpy()
    rows = [cdist(x.T, x.T, metric)[u, v] for x in guide.double().flatten(2).numpy()]
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("metric", METRICS)
@given(graph=graphs(), channels=st.integers(1, 9), batch=st.integers(1, 3), seed=SEEDS)
def test_equals_scipy(device, metric, graph, channels, batch, seed):
    guide = normal(seed, batch, channels, *(graph.shape or [graph.num_nodes]))
    for dtype, rtol, atol in ((torch.float64, 1e-12, 1e-14), (torch.float32, 1e-5, 1e-6)):
        weight = tf.edge_weight(guide.to(device, dtype), graph.to(device), metric)
        assert weight.dtype == dtype
        expected = by_scipy(guide.to(dtype), graph, metric)
        assert_close(weight.double().cpu(), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("metric", METRICS)
@given(graph=graphs(), channels=st.integers(0, 5), seed=SEEDS, ties=st.booleans())
def test_equals_reference(device, metric, graph, channels, seed, ties):
    guide = normal(seed, 2, channels, graph.num_nodes)
    guide = guide.round() if ties else guide  # rounded: zero distances and zero vectors
    grad = normal(seed + 1, 2, graph.num_edges)
    results = []
    for module, where in ((tf.reference, "cpu"), (tf, device)):
        leaf = guide.to(where, copy=True).requires_grad_()
        weight = module.edge_weight(leaf, graph.to(where), metric)
        weight.backward(grad.to(where))
        results.append((weight.detach().cpu(), leaf.grad.cpu()))
    assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 16, 31, 64, 256, 301])
def test_any_number_of_channels(device, channels):
    graph = tf.grid(13, 19, connectivity=8)
    guide = normal(channels, 2, channels, 13, 19)
    for metric in METRICS:
        expected = by_scipy(guide, graph, metric)
        assert_close(tf.edge_weight(guide.to(device), graph, metric).cpu(), expected)
        single = tf.edge_weight(guide.float().to(device), graph, metric).cpu()
        assert_close(single.double(), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("shape", "connectivity"), GRIDS)
def test_flat_layout_is_the_same(device, metric, shape, connectivity):
    graph = tf.grid(*shape, connectivity=connectivity)
    guide = normal(5, 2, 3, *shape).to(device)
    assert torch.equal(
        tf.edge_weight(guide, graph, metric), tf.edge_weight(guide.flatten(2), graph, metric)
    )


def test_default_metric(device):
    guide = torch.tensor([[[[1.0, 3.0], [1.0, 7.0]]]], device=device)
    assert tf.edge_weight(guide, tf.grid(2, 2)).tolist() == [[0, 16, 4, 36]]


# --- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("graph", SMALL_GRAPHS, ids=repr)
def test_derivatives(device, metric, graph):
    guide = normal(11, 2, 3, graph.num_nodes).to(device).requires_grad_()
    graph = graph.to(device)

    def function(guide):
        return tf.edge_weight(guide, graph, metric)

    assert gradcheck(function, guide)
    assert gradgradcheck(function, guide)


@pytest.mark.parametrize("metric", METRICS)
def test_second_derivatives_equal_reference(device, metric):
    graph = tf.grid(5, 7, connectivity=8)
    results = []
    for module, where in ((tf.reference, "cpu"), (tf, device)):
        guide = normal(1, 2, 4, 5, 7).round().to(where).requires_grad_()  # kinks included
        grad_out = normal(2, 2, graph.num_edges).to(where).requires_grad_()
        weight = module.edge_weight(guide, graph, metric)
        (first,) = torch.autograd.grad(weight, guide, grad_out, create_graph=True)
        second = torch.autograd.grad(
            first, (guide, grad_out), normal(3, *guide.shape).to(where), materialize_grads=True
        )
        results.append([g.detach().cpu() for g in (first, *second)])
    assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_derivative_of_a_constant_image_is_zero(device, metric):
    guide = torch.full((1, 3, 4, 5), 0.5, device=device, requires_grad=True)
    weight = tf.edge_weight(guide, tf.grid(4, 5), metric)
    weight.sum().backward()
    assert_close(weight, torch.zeros_like(weight), rtol=0, atol=1e-7)
    assert_close(guide.grad, torch.zeros_like(guide), rtol=0, atol=1e-6)


def test_chebyshev_passes_the_gradient_to_the_first_largest_channel(device):
    guide = torch.tensor([[[0.0, 1], [0, -2], [0, 2]]], device=device, requires_grad=True)
    tf.edge_weight(guide, tf.grid(1, 2), "chebyshev").backward(torch.ones(1, 1, device=device))
    assert guide.grad.tolist() == [[[0, 0], [1, -1], [0, 0]]]


def test_euclidean_and_cityblock_have_zero_slope_at_zero(device):
    for metric in ("euclidean", "cityblock"):
        guide = torch.ones(1, 2, 1, 2, device=device, requires_grad=True)
        tf.edge_weight(guide, tf.grid(1, 2), metric).sum().backward()
        assert guide.grad.abs().max() == 0


def test_cosine_of_zero_vectors(device):
    guide = torch.tensor([[[0.0, 0, 3, 4], [0, 0, 0, 3]]], device=device)
    weight = tf.edge_weight(guide, tf.grid(1, 4), "cosine")
    assert_close(weight.cpu(), torch.tensor([[0.0, 0.5, 0.2]]))


# --- conventions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(device, metric, dtype):
    graph = tf.grid(9, 11)
    guide = uniform(2, 2, 5, 9, 11).to(dtype).to(device).requires_grad_()
    weight = tf.edge_weight(guide, graph, metric)
    wide = guide.detach().float().requires_grad_()
    expected = tf.edge_weight(wide, graph, metric)
    assert weight.dtype == torch.float32
    assert torch.equal(weight, expected)
    weight.sum().backward()
    expected.sum().backward()
    assert guide.grad.dtype == dtype
    assert_close(guide.grad, wide.grad.to(dtype), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("channels", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_smallest_sizes(device, metric, batch, channels, shape):
    graph = tf.grid(*shape)
    guide = torch.ones(batch, channels, *shape, device=device, requires_grad=True)
    weight = tf.edge_weight(guide, graph, metric)
    assert_close(weight.cpu(), torch.zeros(batch, graph.num_edges), rtol=0, atol=1e-7)
    weight.sum().backward()
    assert guide.grad.shape == guide.shape


@pytest.mark.parametrize("metric", METRICS)
def test_strided_guides(device, metric):
    graph = tf.grid(6, 7)
    guide = normal(3, 2, 4, 6, 7).to(device)
    expected = tf.edge_weight(guide, graph, metric)
    wide = torch.stack([guide, guide], -1).flatten(3)
    for strided in (
        guide.to(memory_format=torch.channels_last),
        guide.mT.contiguous().mT,
        wide[..., ::2],
        guide.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        assert not strided.is_contiguous()
        strided = strided.detach().requires_grad_()
        weight = tf.edge_weight(strided, graph, metric)
        assert torch.equal(weight, expected)
        (grad,) = torch.autograd.grad(weight.sum(), strided)
        plain = guide.clone().requires_grad_()
        (expected_grad,) = torch.autograd.grad(tf.edge_weight(plain, graph, metric).sum(), plain)
        assert torch.equal(grad, expected_grad)
    one = guide[:1]
    assert torch.equal(
        tf.edge_weight(one.expand(3, -1, -1, -1), graph, metric),
        tf.edge_weight(one, graph, metric).expand(3, -1),
    )


@pytest.mark.parametrize("metric", METRICS)
def test_strided_gradients(device, metric):
    graph = tf.grid(6, 7)
    results = []
    for grad in (torch.ones(1).expand(2, graph.num_edges), torch.ones(2, graph.num_edges)):
        guide = normal(3, 2, 4, 6, 7).to(device).requires_grad_()
        tf.edge_weight(guide, graph, metric).backward(grad.double().to(device))
        results.append(guide.grad)
    assert torch.equal(*results)


@pytest.mark.parametrize("metric", METRICS)
def test_input_is_unchanged(device, metric):
    guide = normal(4, 2, 3, 5, 7).to(device)
    before = guide.clone()
    leaf = guide.requires_grad_()
    tf.edge_weight(leaf, tf.grid(5, 7), metric).sum().backward()
    assert torch.equal(leaf.detach(), before)


@pytest.mark.parametrize("metric", METRICS)
def test_same_bits_at_any_thread_count_and_batch_position(device, metric, at_thread_counts):
    graph = tf.grid(257, 301)
    images = torch.cat([photograph(257, 301), normal(1, 2, 3, 257, 301, dtype=torch.float32)])

    def run(images=images):
        guide = images.to(device).requires_grad_()
        weight = tf.edge_weight(guide, graph, metric)
        (grad,) = torch.autograd.grad(weight.square().sum(), guide)
        return weight.detach(), grad

    one, two, four = at_thread_counts(run)
    for a, b, c in zip(one, two, four, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    for i in range(3):
        alone = run(images[i : i + 1])
        assert torch.equal(alone[0][0], two[0][i])
        assert torch.equal(alone[1][0], two[1][i])


def test_volume(device):
    graph = tf.grid(7, 9, 11, connectivity=26)
    guide = normal(6, 1, 5, 7, 9, 11)
    for metric in METRICS:
        expected = by_scipy(guide, graph, metric)
        assert_close(tf.edge_weight(guide.to(device), graph, metric).cpu(), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_edge_has_the_same_bits_in_a_part_of_the_image(device, metric, dtype):
    """Over tiles, edges are weighed in their tile, and those between tiles as lists."""
    graph = tf.grid(7, 9, connectivity=8)
    image = normal(1, 1, 37, 7, 9, dtype=dtype).to(device)
    weight = tf.edge_weight(image, graph, metric)
    for rows, columns in ((2, 1), (3, 4), (1, 2), (7, 5)):
        tile = tf.edge_weight(
            image[..., :rows, :columns], tf.grid(rows, columns, connectivity=8), metric
        )
        inside = (torch.arange(9) < columns) & (torch.arange(7) < rows)[:, None]
        kept = inside.flatten()[graph.edge_index].all(0).to(device)
        assert torch.equal(tile, weight[:, kept])
    at = torch.arange(0, graph.num_edges, 7)
    vertex, ends = graph.edge_index[:, at].unique(return_inverse=True)
    part = image.flatten(2)[..., vertex.to(device)]
    few = tf.edge_weight(part, tf.graph(ends.to(device), len(vertex)), metric)
    assert torch.equal(few, weight[:, at.to(device)])
