"""Offsets beyond 2³¹: more values than an int32 can number."""

import os

import pytest
import torch

import treefilter as tf

pytestmark = pytest.mark.alone
CHANNELS, SHAPE = 66_000, (128, 256)  # 2.2e9 values, 4.3 GB of bfloat16


def available_memory(device):
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _enough_memory(device):
    if available_memory(device) < 12e9:
        pytest.skip("needs 12 GB of free memory")


def test_filter(device):
    graph = tf.grid(*SHAPE)
    weight = torch.rand(1, graph.num_edges, device=device)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree)
    plane = torch.rand(1, 1, *SHAPE, device=device).bfloat16()
    torch.set_num_threads(2)
    y = tf.filter(plane.expand(1, CHANNELS, *SHAPE), tree, a)
    assert y.numel() > 2**31
    torch.testing.assert_close(y[0, :1], tf.filter(plane, tree, a)[0], rtol=1e-2, atol=0)
    for channel in (CHANNELS // 2, CHANNELS - 2, CHANNELS - 1):
        assert torch.equal(y[0, channel], y[0, 0])


def test_edge_weight(device):
    graph = tf.grid(*SHAPE)
    guide = torch.zeros(1, CHANNELS, *SHAPE, dtype=torch.bfloat16, device=device)
    guide[0, -1] = torch.rand(SHAPE, device=device)
    torch.set_num_threads(2)
    got = tf.edge_weight(guide, graph)
    assert torch.equal(got, tf.edge_weight(guide[:, -1:].clone(), graph))
