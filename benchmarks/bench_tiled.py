"""The tree filter in one piece and over tiles, by dask's scheduler for one thread."""

import dask.array as da
import inputs
import numpy as np
import pytest
from race import OURS, Record

import treefilter as tf
import treefilter.dask as tfd

WHOLE = "in one piece"


@pytest.mark.parametrize(("size", "tile"), [(1024, 512), (2048, 1024)])
def test_filter_over_tiles(race, size, tile):
    image = inputs.photograph(size, size)[0]
    chunks = da.from_array(image.numpy(), chunks=(3, tile, tile))
    layer = tf.nn.TreeFilter2d(inputs.SIGMA)
    calls = {
        OURS: lambda: tfd.filter(chunks, sigma=inputs.SIGMA).compute(scheduler="sync"),
        WHOLE: lambda: layer(image[None])[0],
    }

    def check(results: dict) -> None:
        whole = results[WHOLE].numpy()
        np.testing.assert_allclose(results[OURS], whole, rtol=0, atol=2e-6)

    name = f"tiles of {tile}x{tile}"
    race(Record("tiled filter", name, f"{size}x{size}", size * size, "cpu"), calls, check)
