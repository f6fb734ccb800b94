"""Persistence pairs of an image, components and holes together, against gudhi and cripser."""

import inputs
import numpy as np
import peers
import pytest
from race import OURS, Record

import treefilter as tf


@pytest.mark.parametrize("shape", [(128, 128), (512, 512)])
def test_persistence(race, device, shape):
    image = inputs.photograph(*shape).mean(1)
    values, graph = image.to(device), tf.grid(*shape)
    calls = {OURS: lambda: [tf.persistence(values, graph, dim=dim) for dim in (0, 1)]}
    calls |= peers.persistence(image[0].double().numpy())

    def check(results: dict) -> None:
        flat = np.append(image.double().numpy().ravel(), np.inf)
        for dim, (birth, death) in enumerate(results[OURS]):
            here = birth[0].cpu().numpy() >= 0
            bars = [flat[t[0].cpu().numpy()[here]] for t in (birth, death)]
            ours = np.array(sorted(zip(*bars, strict=True)))
            for name in set(results) - {OURS}:
                theirs = peers.bars(name, results[name], dim)
                np.testing.assert_allclose(ours, theirs, err_msg=name)

    name = f"{shape[0]}x{shape[1]}"
    race(Record("persistence", "photograph", name, graph.num_nodes, device.type), calls, check)
