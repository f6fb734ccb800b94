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
    assert zarr.open(tmp_path / "filtered" / "1").shape == (3, 160, 160)
    labels = zarr.open(tmp_path / "labels")[:]
    graph = tf.grid(320, 320)
    weight = tf.edge_weight(guide, graph)
    markers = np.zeros_like(labels)
    markers[47::96, 47::96] = labels[47::96, 47::96]
    assert len(np.unique(markers)) == 10
    expected = tf.watershed(weight, tf.mst(weight, graph), torch.from_numpy(markers)[None])[0]
    np.testing.assert_array_equal(labels, expected)
