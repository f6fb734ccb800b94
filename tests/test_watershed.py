"""Seeded watersheds: scikit-image's, brute force over paths, and distance_transform's regions."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed as flood
from strategies import SEEDS, forests, photograph, snake, uniform, weights

import treefilter as tf


def draw_markers(seed, share, *shape, labels=4):
    """Labels from −1 to labels − 2 with 0 = none, at a share of the vertices."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, labels - 1, shape)
    return torch.from_numpy(np.where(rng.random(shape) < share, values, 0))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
@given(data=st.data(), drawn=forests(40, 2), seed=SEEDS)
def test_labels_are_those_of_brute_force_and_the_reference(device, share, data, drawn, seed):
    graph, _, tree = drawn
    kinds = ("random", "ties", "half infinite", "negative", "below float32")
    weight = data.draw(weights(graph, 2, kinds))
    tree = tf.mst(weight, graph, root=int(tree.roots[0].int().argmax()))
    markers = draw_markers(seed, share, 2, graph.num_nodes)
    labels = tf.watershed(weight.to(device), tree.to(device), markers.to(device)).cpu()
    assert labels.dtype == torch.int64
    assert torch.equal(labels, tf.reference.watershed(weight, tree, markers))
    for b in range(2):
        edge = tree.edge[b].numpy()
        w = np.append(weight[b].double().numpy() + 0.0, 0)[edge]
        rank = np.argsort(np.lexsort([edge, w]))
        source = oracle.region_seeds(tree.parent[b].numpy(), rank, markers[b].numpy() != 0)
        expected = np.where(source < 0, 0, markers[b].numpy()[source])
        np.testing.assert_array_equal(labels[b].numpy(), expected)


def test_grey_values_against_scikit_image(device):
    """On distinct grey values, edges of weight max(u, v) flood as scikit-image does."""
    height, width = 61, 73
    rng = np.random.default_rng(1)
    value = ndimage.gaussian_filter(rng.random((height, width)), 2)
    value = np.argsort(np.argsort(value, axis=None)).reshape(height, width).astype(np.float64)
    markers = np.zeros((height, width), np.int64)
    markers.flat[rng.choice(value.size, 12, replace=False)] = np.arange(1, 13)
    graph = tf.grid(height, width)
    u, v = graph.edge_index.numpy()
    weight = torch.from_numpy(np.maximum(value.flat[u], value.flat[v]))[None].to(device)
    tree = tf.mst(weight, graph)
    labels = tf.watershed(weight, tree, torch.from_numpy(markers)[None].to(device))[0].cpu().numpy()
    theirs = flood(value, markers)
    # Where a pixel is reached from two sides at its own value, either label is right: the levels
    # are unique, not the labels.
    at = torch.from_numpy(np.flatnonzero(markers.ravel()))
    level = tf.distance(weight, tree, at.to(device), "max")[0].cpu().numpy()
    place = np.argsort(markers.flat[at.numpy()])
    lowest = level.min(0)
    for result in (labels, theirs):
        for label in range(1, 13):
            assert ndimage.label(result == label)[1] == 1
        assert (result[markers > 0] == markers[markers > 0]).all()
        np.testing.assert_array_equal(level[place[result.ravel() - 1], np.arange(4453)], lowest)
    assert (labels == theirs).mean() > 0.5


@pytest.mark.parametrize("levels", [8, 256, None])
def test_regions_of_a_photograph_are_connected_to_their_seeds(device, levels):
    image = photograph(96, 112)
    image = image if levels is None else (image * (levels - 1)).round()
    graph = tf.grid(96, 112)
    weight = tf.edge_weight(image, graph).to(device)
    tree = tf.mst(weight, graph)
    seeds = uniform(1, 1, 96, 112) < 0.01
    _, nearest = tf.distance_transform(weight, tree, seeds.to(device), "max")
    markers = torch.arange(1, 96 * 112 + 1).view(1, 96, 112) * seeds
    labels = tf.watershed(weight, tree, markers.to(device))
    assert torch.equal(labels.view(1, -1) - 1, nearest)
    regions = nearest[0].cpu().numpy().reshape(96, 112)
    for seed in np.flatnonzero(seeds):
        found, count = ndimage.label(regions == seed)
        assert count == 1
        assert found.flat[seed] == 1


def test_volume_and_dtypes(device):
    graph = tf.grid(5, 6, 7)
    weight = uniform(2, 2, graph.num_edges).to(device)
    tree = tf.mst(weight, graph)
    markers = draw_markers(3, 0.1, 2, 5, 6, 7).to(device)
    expected = tf.watershed(weight, tree, markers)
    assert expected.shape == (2, 5, 6, 7)
    for dtype in (torch.int32, torch.int16, torch.int8):
        labels = tf.watershed(weight, tree, markers.to(dtype))
        assert labels.dtype == dtype
        assert torch.equal(labels.long(), expected)
    flat = tf.watershed(weight, tree, markers.flatten(1))
    assert torch.equal(flat, expected.flatten(1))
    strided = markers.mT.contiguous().mT
    assert torch.equal(tf.watershed(weight, tree, strided), expected)
    one = tree[:1]
    assert torch.equal(
        tf.watershed(weight, one, markers), tf.watershed(weight, one[[0, 0]], markers)
    )


@pytest.mark.parametrize("kind", ["noise", "ties", "constant"])
def test_same_bits_at_any_thread_count_and_batch_position(device, kind, assert_same_bits):
    graph = tf.grid(65, 77)
    weight = uniform(1, 3, graph.num_edges, dtype=torch.float32)
    weight = {"noise": weight, "ties": weight.mul(9).round(), "constant": weight * 0}[kind]
    weight[2, ::3] = torch.inf
    weight = weight.to(device)
    trees = tf.mst(weight, graph)
    markers = draw_markers(2, 0.01, 3, 65, 77, labels=9).to(device)

    def run(images=slice(None)):
        return [tf.watershed(weight[images], trees[images], markers[images])]

    assert_same_bits(run, batch=3)


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1)])
def test_smallest_sizes(device, batch, shape):
    graph = tf.grid(*shape)
    weight = torch.ones(batch, graph.num_edges, device=device)
    tree = tf.mst(weight, graph)
    markers = torch.zeros(batch, *shape, dtype=torch.int64, device=device)
    assert torch.equal(tf.watershed(weight, tree, markers), markers)
    markers[:, 0, 0] = 5
    assert torch.equal(tf.watershed(weight, tree, markers), torch.full_like(markers, 5))


def test_a_long_snake(device):
    graph, weight, path = snake(512, 512)
    weight = weight.to(device)
    markers = torch.zeros(1, 512, 512, dtype=torch.int64, device=device)
    markers.view(-1)[path[[0, -1]].to(device)] = torch.tensor([1, 2], device=device)
    labels = tf.watershed(weight, tf.mst(weight, graph), markers)
    assert (labels > 0).all()


ERRORS = {
    "watershed: weight must be a float32": lambda w, t, m: tf.watershed(w.long(), t, m),
    "watershed: tree must be a treefilter.Tree": lambda w, t, m: tf.watershed(w, w, m),
    "watershed: markers must be an integer tensor": lambda w, t, m: tf.watershed(w, t, m > 0),
    r"watershed: markers must have shape \(2, 2, 3\) or \(2, 6\), got \(2, 5\)": (
        lambda w, t, m: tf.watershed(w, t, m.flatten(1)[:, 1:])
    ),
    r"watershed: weight must have shape \(B, E\)": lambda w, t, m: tf.watershed(w[0], t, m),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(device, message):
    graph = tf.grid(2, 3)
    weight = torch.arange(2.0 * graph.num_edges, device=device).view(2, -1)
    markers = torch.ones(2, 2, 3, dtype=torch.int64, device=device)
    with pytest.raises((TypeError, ValueError), match=message):
        ERRORS[message](weight, tf.mst(weight, graph), markers)
