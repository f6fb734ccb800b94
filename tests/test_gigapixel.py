"""The example that filters a mosaic over tiles, small."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import treefilter as tf

zarr = pytest.importorskip("zarr", "3")
pytest.importorskip("distributed")
FILE = Path(__file__).parents[1] / "examples" / "gigapixel" / "gigapixel.py"


def test_the_stores_are_those_of_the_whole_image(tmp_path):
    command = [sys.executable, FILE, "--size", "320", "--chunk", "192", "--workers", "1"]
    command += ["--folder", tmp_path, "--output", tmp_path / "out.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").stat().st_size > 50_000
    mosaic = torch.from_numpy(zarr.open(tmp_path / "mosaic")[:])
    guide = mosaic[None].float() / 255
    y = zarr.open(tmp_path / "filtered" / "0")[:]
    np.testing.assert_allclose(y, tf.nn.TreeFilter2d(0.05)(guide)[0], rtol=0, atol=2e-6)
    check_pyramid(zarr.open(tmp_path / "filtered"), y)
    labels = zarr.open(tmp_path / "labels")[:]
    graph = tf.grid(320, 320)
    weight = tf.edge_weight(guide, graph)
    markers = np.zeros_like(labels)
    markers[47::96, 47::96] = labels[47::96, 47::96]
    assert len(np.unique(markers)) == 10
    expected = tf.watershed(weight, tf.mst(weight, graph), torch.from_numpy(markers)[None])[0]
    np.testing.assert_array_equal(labels, expected)


def check_pyramid(group, image):
    """What OME-Zarr 0.5 requires, and that the levels are where it says."""
    assert group.attrs["ome"]["version"] == "0.5"
    (described,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in described["axes"]] == ["c", "y", "x"]
    assert [each["path"] for each in described["datasets"]] == ["0", "1"]
    for level, each in enumerate(described["datasets"]):
        array = group[each["path"]]
        assert array.metadata.dimension_names == ("c", "y", "x")
        scale, translation = each["coordinateTransformations"]
        assert (scale["type"], translation["type"]) == ("scale", "translation")
        # A ramp has at the centre of a block the mean of the block.
        width = int(scale["scale"][1])
        assert width == 2**level == scale["scale"][2]
        assert translation["translation"] == [0, *[np.arange(width).mean()] * 2]
        blocks = image.reshape(3, 320 // width, width, 320 // width, width)
        np.testing.assert_allclose(array[:], blocks.mean((2, 4)), rtol=0, atol=1e-6)
