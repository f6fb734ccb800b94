"""Dask arrays: the bits of any scheduler and after a killed worker, reads, errors, what is lazy."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from strategies import photograph

import treefilter as tf

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

import treefilter.dask as tfd  # noqa: E402

CHUNKS = (3, (16, 23, 9), (20, 5, 20))
PHOTO = photograph(48, 45)[0].numpy()


def chunked(value, chunks=CHUNKS):
    return da.from_array(value, chunks=chunks[-value.ndim :])


def markers(shape=PHOTO.shape[1:], count=12):
    values = np.zeros(shape, np.int32)
    values.flat[np.random.default_rng(1).choice(values.size, count, replace=False)] = range(
        1, count + 1
    )
    return values


@pytest.fixture(scope="module")
def client():
    """Two processes of one thread each."""
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def test_results_are_those_of_one_piece():
    guide = torch.from_numpy(PHOTO)
    y = tfd.filter(chunked(PHOTO), sigma=0.02)
    assert (y.dtype, y.chunks) == (np.float32, chunked(PHOTO).chunks)
    one = tf.nn.TreeFilter2d(0.02, connectivity=8, groups=3)(guide[None])[0]
    y = tfd.filter(chunked(PHOTO), sigma=[0.02] * 3, connectivity=8, groups=3).compute()
    np.testing.assert_allclose(y, one.numpy(), rtol=0, atol=2e-6)
    graph = tf.grid(48, 45)
    weight = tf.edge_weight(guide[None], graph, "cityblock")
    tree = tf.mst(weight, graph)
    labels = tfd.watershed(chunked(PHOTO), chunked(markers()), metric="cityblock")
    expected = tf.watershed(weight, tree, torch.from_numpy(markers())[None])[0]
    np.testing.assert_array_equal(labels.compute(), expected.numpy())
    edges = tfd.mst(chunked(PHOTO), metric="cityblock").edges.compute()
    vertical, horizontal = (np.flatnonzero(of) for of in (edges[0, :-1], edges[1, :, :-1]))
    number = np.sort(tree.edge[0].numpy())[1:]
    np.testing.assert_array_equal(np.append(vertical, horizontal + 47 * 45), number)


def test_a_tree_serves_many_filters():
    tree = tfd.mst(chunked(PHOTO)).persist()
    for sigma in (0.01, 0.1):
        y = tfd.filter(chunked(PHOTO), tree=tree, sigma=sigma)
        assert (y == tfd.filter(chunked(PHOTO), sigma=sigma)).all().compute()


def test_volumes_and_masks():
    rng = np.random.default_rng(0)
    volume, chunks = rng.random((2, 6, 7, 8)), (2, 3, 4, 5)
    mask = rng.random((6, 7, 8)) < 0.8
    volume[:, ~mask] = np.nan  # no data
    y = tfd.filter(
        chunked(volume, chunks) * 0 + 1, chunked(volume, chunks), mask=chunked(mask, chunks)
    )
    np.testing.assert_allclose(y.compute()[:, mask], 1, rtol=0, atol=1e-12)
