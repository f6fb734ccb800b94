import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, photograph, uniform
from tiles import (
    filtered,
    images,
    labelled,
    numbers,
    sigma_of,
    tree_of,
    whole_filtered,
    whole_sigma,
    whole_weight,
)

import treefilter as tf
from treefilter import tiled


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


# No share of them is a whole number of vertices: where a mass is the size of a component, σ depends
# on how sums are rounded.
@settings(max_examples=8)
@given(
    drawn=images(max_nodes=40),
    groups=st.integers(1, 2),
    mass=st.sampled_from([0.013, 0.113, 0.317, 0.871]),
)
def test_sigma_for_mass_is_that_of_the_whole_image(drawn, groups, mass):
    tiling, guide, mask, metric = drawn
    guide = torch.cat([guide.double() * (i + 1) for i in range(groups)])
    options = {"mass": mass, "groups": groups, "metric": metric}
    sigma = torch.from_numpy(sigma_of(guide, tiling, mask, **options))
    expected = whole_sigma(guide, tiling, mask, **options)
    torch.testing.assert_close(sigma, expected, rtol=1e-3, atol=0)


def test_sigma_of_a_photograph_is_bit_by_bit_that_of_one_piece():
    guide = photograph(40, 56)[0]
    tiling = tiled.Tiling(((13, 27), (9, 30, 17)), 4)
    for dtype, groups in ((torch.float32, 1), (torch.float64, 3)):
        options = {"mass": 0.01, "groups": groups}
        expected = whole_sigma(guide.to(dtype), tiling, **options).numpy()
        sigma = sigma_of(guide.to(dtype), tiling, **options)
        assert sigma.dtype == expected.dtype
        np.testing.assert_array_equal(sigma, expected)
