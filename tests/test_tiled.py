import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, uniform
from tiles import filtered, images, labelled, numbers, tree_of, whole_filtered, whole_weight

import treefilter as tf


@settings(max_examples=80)
@given(drawn=images(max_channels=9), pair=st.booleans())
def test_edges_are_those_of_the_whole_image(drawn, pair):
    tiling, guide, mask, metric = drawn
    _, edges = tree_of(guide, tiling, mask, metric, pair)
    graph, weight = whole_weight(guide, tiling, mask, metric)
    edge = tf.mst(weight, graph).edge[0]
    assert torch.equal(numbers(edges, tiling), edge[edge >= 0].sort().values.long())


@settings(max_examples=40)
@given(drawn=images(kinds=("random", "ties", "constant")), data=st.data())
def test_filter_is_that_of_the_whole_image(drawn, data):
    tiling, guide, mask, metric = drawn
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    guide = torch.cat([guide * (i + 1) + i for i in range(groups)])
    channels = data.draw(st.integers(1, 2)) * groups
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    x = uniform(channels, channels, *tiling.shape, dtype=dtype)
    one = st.sampled_from([1e-3, 0.3, 2.0, 1e3])
    sigma = data.draw(one if groups == 1 else st.lists(one, min_size=groups, max_size=groups))
    options = {"sigma": sigma, "groups": groups, "metric": metric}
    y = filtered(x, guide, tiling, mask, **options)
    expected = whole_filtered(x, guide, tiling, mask, **options)
    assert y.dtype == expected.dtype
    accuracy = 1e-12 if expected.dtype == torch.float64 else 2e-6
    torch.testing.assert_close(y, expected, rtol=0, atol=accuracy)


@given(drawn=images(), share=st.sampled_from([0, 0.02, 0.2, 1.0]), seed=SEEDS)
def test_watershed_is_that_of_the_whole_image(drawn, share, seed):
    tiling, guide, mask, metric = drawn
    rng = np.random.default_rng(seed)
    markers = rng.integers(-2, 7, tiling.shape) * (rng.random(tiling.shape) < share)
    markers = torch.from_numpy(markers).to(torch.int16)
    labels = labelled(guide, markers, tiling, mask, metric)
    graph, weight = whole_weight(guide, tiling, mask, metric)
    expected = tf.watershed(weight, tf.mst(weight, graph), markers[None])[0]
    assert labels.dtype == torch.int16
    assert torch.equal(labels, expected)
