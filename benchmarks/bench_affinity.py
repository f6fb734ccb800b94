"""affinity against its definition in torch."""

import pytest
import torch

import treefilter as tf


def gathered(weight, tree):
    edge = tree.edge.long()
    return (-weight.gather(1, edge.clamp(min=0)) / 0.02).exp().masked_fill(edge < 0, 0)


@pytest.mark.parametrize("peer", ["treefilter", "torch gather"])
def test_affinity(benchmark, photo, size, peer):
    _, _, weight, tree, a = photo
    benchmark.group = f"affinity {size[0]}x{size[1]}"
    torch.testing.assert_close(a, gathered(weight, tree))
    if peer == "treefilter":
        benchmark(tf.affinity, weight, tree, 0.02)
    else:
        benchmark(gathered, weight, tree)
