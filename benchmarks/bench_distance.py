"""Distances along the tree against scipy's shortest paths on it."""

import inputs
import numpy as np
import peers
import pytest
import torch
from race import OURS, Record

import treefilter as tf

SHAPES = pytest.mark.parametrize("shape", [(128, 128), (512, 512), (1024, 2048)])


def trees(shape: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, tf.Tree]:
    weight = inputs.weights("photograph", *shape).to(device)
    return weight, tf.mst(weight, tf.grid(*shape))


@SHAPES
def test_distance(race, device, shape):
    weight, tree = trees(shape, device)
    source = torch.tensor([tree.num_nodes // 2], device=device)
    on_host = weight[0].cpu(), tree.parent[0].cpu(), tree.edge[0].cpu()
    calls = {
        OURS: lambda: tf.distance(weight, tree, source),
        "scipy dijkstra": peers.scipy_distance(*on_host, source.item()),
    }

    def check(results: dict) -> None:
        # float32 sums along paths of up to 15,000 edges
        expected = torch.from_numpy(results["scipy dijkstra"]).float()
        torch.testing.assert_close(results[OURS][0, 0].cpu(), expected, rtol=1e-3, atol=1e-4)

    name = f"{shape[0]}x{shape[1]}"
    race(
        Record("distance, one source", "photograph", name, tree.num_nodes, device.type),
        calls,
        check,
    )


@SHAPES
@pytest.mark.parametrize("path", ["sum", "max"])
def test_distance_transform(race, device, shape, path):
    weight, tree = trees(shape, device)
    seeds = torch.rand(1, *shape, generator=inputs.generator("seeds")) > 0.999
    seeds = seeds.to(device)
    calls = {OURS: lambda: tf.distance_transform(weight, tree, seeds, path)}
    if path == "max":
        calls["treefilter, sums"] = lambda: tf.distance_transform(weight, tree, seeds)

    def check(results: dict) -> None:
        """Seeds are at 0, and distances at an edge's ends differ by at most its weight."""
        distance, nearest = (result[0].double().cpu() for result in results[OURS])
        flat = seeds.flatten().cpu()
        assert (distance[flat] == 0).all()
        assert flat[nearest.long()].all()
        edge, parent = tree.edge[0].cpu().long(), tree.parent[0].cpu().long()
        along = weight[0].double().cpu()[edge.clamp(min=0)]
        ends = torch.stack([distance, distance[parent]])[:, edge >= 0]
        along = along[edge >= 0]
        far, near = ends.max(0).values, ends.min(0).values
        limit = near + along if path == "sum" else torch.maximum(near, along)
        assert np.all((far <= limit * (1 + 1e-6) + 1e-9).numpy())

    name = f"{shape[0]}x{shape[1]}"
    record = Record(f"distance_transform, {path}", "0.1 % seeds", name, tree.num_nodes, device.type)
    race(record, calls, check)
