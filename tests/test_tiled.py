import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiles import images, numbers, tree_of, whole_weight

import treefilter as tf


@settings(max_examples=100)
@given(drawn=images(max_channels=9), pair=st.booleans())
def test_edges_are_those_of_the_whole_image(drawn, pair):
    tiling, guide, mask, metric = drawn
    _, edges = tree_of(guide, tiling, mask, metric, pair)
    graph, weight = whole_weight(guide, tiling, mask, metric)
    edge = tf.mst(weight, graph).edge[0]
    assert torch.equal(numbers(edges, tiling), edge[edge >= 0].sort().values.long())
