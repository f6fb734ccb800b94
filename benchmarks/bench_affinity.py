"""affinity against its definition in torch."""

import inputs
import peers
import pytest
import torch
from race import OURS, Record

import treefilter as tf

GATHER = "torch gather"


@pytest.mark.parametrize("shape", [(128, 128), (512, 512), (1024, 2048)])
def test_affinity(race, device, shape):
    weight = inputs.weights("photograph", *shape).to(device)
    tree = tf.mst(weight, tf.grid(*shape))
    calls = {
        OURS: lambda: tf.affinity(weight, tree, inputs.SIGMA),
        GATHER: lambda: peers.gathered_affinity(weight, tree.edge, inputs.SIGMA),
    }

    def check(results: dict) -> None:
        torch.testing.assert_close(results[OURS], results[GATHER])

    name = f"{shape[0]}x{shape[1]}"
    race(Record("affinity", "photograph", name, tree.num_nodes, device.type), calls, check)
