"""Pairs of labels that merges join: brute force over all pairs of vertices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, forests, photograph, snake, uniform

import treefilter as tf


def draw_labels(seed, *shape, labels):
    return torch.from_numpy(np.random.default_rng(seed).integers(-1, labels, shape))


@pytest.mark.parametrize("labels", [2, 4, 1000])
@given(drawn=forests(30, 2), seed=SEEDS)
def test_pairs_are_those_of_all_pairs(device, labels, drawn, seed):
    _, weight, tree = drawn
    h = tf.dendrogram(weight.to(device), tree.to(device))
    label = draw_labels(seed, 2, tree.num_nodes, labels=labels)
    counts = [t.cpu() for t in tf.malis_pairs(h, label.to(device))]
    expected = tf.reference.malis_pairs(h.to("cpu"), label)
    for a, b in zip(counts, expected, strict=True):
        assert a.dtype == torch.float64
        assert torch.equal(a, b)
    # The merge of a pair is its maximin edge: of the pairs at each level there are as many.
    heights = tf.altitude(weight.to(device), h).cpu()
    level = tf.distance_matrix(weight, tree, "max")
    for b in range(2):
        both = (label[b] != 0)[:, None] & (label[b] != 0) & (level[b] < torch.inf)
        both &= torch.ones_like(both).triu(1)
        same = label[b][:, None] == label[b]
        for value in heights[b].unique().tolist():
            at = heights[b] == value
            if value < torch.inf:
                assert counts[0][b, at].sum() == (both & same & (level[b] == value)).sum()
                assert counts[1][b, at].sum() == (both & ~same & (level[b] == value)).sum()


@given(st.integers(1, 400), SEEDS)
def test_all_pairs_are_counted_once(n, seed):
    graph = tf.grid(1, n)
    weight = uniform(seed, 1, n - 1)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    label = draw_labels(seed, 1, n, labels=5)
    positive, negative = tf.malis_pairs(h, label)
    sizes = label[label != 0].unique(return_counts=True)[1].double()
    total = sizes.sum() * (sizes.sum() - 1) / 2
    assert positive.sum() == (sizes * (sizes - 1) / 2).sum()
    assert negative.sum() == total - positive.sum()


def test_a_photograph_and_a_snake(device):
    graph = tf.grid(120, 130)
    weight = tf.edge_weight(photograph(120, 130), graph).to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    label = (photograph(120, 130)[:, 0] * 9).long() + 1
    for labels in (label, label * 0 + 1, torch.arange(1, 15601).view(1, 120, 130)):
        positive, negative = tf.malis_pairs(h, labels.to(device))
        assert (positive + negative).sum() == 15600 * 15599 / 2
        narrow = tf.malis_pairs(h, labels.to(device, torch.int32))
        assert torch.equal(narrow[0], positive)
    graph, weight, _ = snake(257, 259)
    h = tf.dendrogram(weight.to(device), tf.mst(weight.to(device), graph))
    labels = torch.arange(graph.num_nodes, device=device)[None] % 3
    positive, negative = tf.malis_pairs(h, labels)
    count = int((labels > 0).sum())
    assert (positive + negative).sum() == count * (count - 1) / 2


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1)])
def test_smallest_sizes(device, batch, shape):
    graph = tf.grid(*shape)
    weight = torch.ones(batch, graph.num_edges, device=device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    labels = torch.ones(batch, *shape, dtype=torch.int64, device=device)
    positive, negative = tf.malis_pairs(h, labels)
    assert positive.shape == negative.shape == (batch, graph.num_nodes - 1)
    assert (negative == 0).all()


def test_same_bits_at_any_thread_count_and_batch_position(device, assert_same_bits):
    graph = tf.grid(65, 77)
    weight = uniform(1, 3, graph.num_edges, dtype=torch.float32).to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    labels = draw_labels(2, 3, 65, 77, labels=30).to(device)

    def run(images=slice(None)):
        return list(tf.malis_pairs(h[images], labels[images]))

    assert_same_bits(run, batch=3)
    one = tf.malis_pairs(h[:1], labels)
    assert torch.equal(one[0], tf.malis_pairs(h[[0, 0, 0]], labels)[0])


def test_errors(device):
    graph = tf.grid(2, 3)
    weight = torch.arange(14.0, device=device).view(2, 7)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    labels = torch.ones(2, 2, 3, dtype=torch.int64, device=device)
    with pytest.raises(TypeError, match="malis_pairs: h must be a treefilter"):
        tf.malis_pairs(weight, labels)
    with pytest.raises(TypeError, match="malis_pairs: labels must be an integer tensor"):
        tf.malis_pairs(h, labels.float())
    with pytest.raises(ValueError, match=r"malis_pairs: labels must have shape \(2, 2, 3\) or"):
        tf.malis_pairs(h, labels[:1])
