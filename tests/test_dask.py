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
        distributed.LocalCluster(
            2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
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


def counted(block, folder, dies=False, block_id=None):
    """The block; the file of its name has a line for each time it is read."""
    log = folder / "-".join(map(str, block_id))
    with log.open("a") as file:
        file.write("read\n")
    if dies and log.name == "0-1-2" and log.read_text() == "read\nread\n":
        os.kill(os.getpid(), signal.SIGKILL)
    return block


def test_each_chunk_is_read_twice(tmp_path):
    guide = chunked(PHOTO).map_blocks(counted, tmp_path, meta=np.empty((0, 0, 0), np.float32))
    y = tfd.filter(chunked(PHOTO), guide, sigma=0.02)
    assert list(tmp_path.iterdir()) == []  # nothing is computed yet
    y.compute(scheduler="threads")
    assert [log.read_text() for log in tmp_path.iterdir()] == ["read\nread\n"] * 9


def test_bits_depend_on_no_scheduler_and_survive_a_killed_worker(client, tmp_path):
    guide = chunked(PHOTO).map_blocks(
        counted, tmp_path, dies=True, meta=np.empty((0, 0, 0), np.float32)
    )
    x = chunked(np.random.default_rng(3).standard_normal((2, *PHOTO.shape[1:])), (2, *CHUNKS[1:]))
    results = [tfd.filter(x, guide, sigma=0.02).compute()]  # in processes, of which one is killed
    reads = [log.read_text().count("\n") for log in tmp_path.iterdir()]
    assert len(reads) == 9
    assert min(reads) == 2
    assert sum(reads) > 18
    y = tfd.filter(x, chunked(PHOTO), sigma=0.02)
    results += [y.compute()]
    results += [y.compute(scheduler="threads", num_workers=count) for count in (1, 2, 4)]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def broken(block, block_id=None):
    """A chunk that cannot be read."""
    if block_id == (0, 2, 1):
        raise OSError(f"no chunk {block_id}")
    return block


def test_a_missing_chunk_is_the_engines_error(client):
    guide = chunked(PHOTO).map_blocks(broken, meta=np.empty((0, 0, 0), np.float32))
    with pytest.raises(OSError, match=r"no chunk \(0, 2, 1\)"):
        tfd.filter(guide).compute()
    values = PHOTO.copy()
    values[1, 40, 21] = np.nan
    for call in (tfd.filter, lambda guide: tfd.mst(guide).edges):
        with pytest.raises(ValueError, match=r"must be finite, got NaN .* tile at \(39, 20\)"):
            call(chunked(values)).compute()


class FullDisk:
    """A store with room for some chunks."""

    def __init__(self, shape, room):
        self.values, self.room, self.lock = np.full(shape, -1.0), room, threading.Lock()

    def __setitem__(self, at, chunk):
        with self.lock:
            if self.room == 0:
                raise OSError("No space left on device")
            self.room -= 1
            self.values[at] = chunk


def test_what_was_written_before_a_full_disk_stays():
    y = tfd.filter(chunked(PHOTO), sigma=0.02)
    store = FullDisk(y.shape, 4)
    with pytest.raises(OSError, match="No space left"):
        y.store(store, scheduler="threads")
    written = store.values != -1
    np.testing.assert_array_equal(store.values[written], y.compute(scheduler="threads")[written])
    assert written.any()


GREY = da.zeros((1, 8, 8), chunks=(1, 4, 4), dtype=np.float32)
ERRORS = {  # what is wrong: the call, the error, its message
    "numpy": (lambda: tfd.filter(np.zeros((1, 8, 8))), TypeError, "x must be a dask array"),
    "integers": (
        lambda: tfd.mst(GREY.astype(np.uint8)),
        TypeError,
        "guide must have dtype float16",
    ),
    "axes": (
        lambda: tfd.mst(GREY[0]),
        ValueError,
        r"must have shape \(C, H, W\) or \(C, D, H, W\)",
    ),
    "channels": (
        lambda: tfd.mst(da.zeros((2, 8, 8), chunks=(1, 8, 8))),
        ValueError,
        r"all channels in one chunk, got \(1, 1\)",
    ),
    "chunks": (
        lambda: tfd.filter(GREY, GREY.rechunk((1, 8, 4))),
        ValueError,
        r"x must have the spatial chunks of the guide, \(\(8,\), \(4, 4\)\), got \(\(4, 4\)",
    ),
    "more axes": (
        lambda: tfd.filter(GREY[None], GREY),
        ValueError,
        "x must have the spatial chunks",
    ),
    "unknown": (lambda: tfd.mst(GREY[:, GREY[0, 0] > 0]), ValueError, "must have known sizes"),
    "empty": (lambda: tfd.mst(GREY[:, :0]), ValueError, "chunks must be at least 1 wide"),
    "connectivity": (
        lambda: tfd.mst(GREY, connectivity=6),
        ValueError,
        "connectivity must be 4 or",
    ),
    "metric": (lambda: tfd.filter(GREY, metric="l2"), ValueError, "metric must be one of"),
    "sigma": (lambda: tfd.filter(GREY, sigma=0), ValueError, "sigma must be positive, got 0"),
    "sigma NaN": (lambda: tfd.filter(GREY, sigma=np.nan), ValueError, "sigma must be positive"),
    "sigmas": (
        lambda: tfd.filter(GREY, sigma=[1, 2]),
        ValueError,
        "one for each of 1 groups, got 2",
    ),
    "groups": (
        lambda: tfd.filter(GREY, groups=2),
        ValueError,
        "groups must divide the channels of x",
    ),
    "tree": (lambda: tfd.filter(GREY, tree=1), TypeError, "tree must be of treefilter.dask.mst"),
    "both": (
        lambda: tfd.filter(GREY, GREY, tree=tfd.mst(GREY)),
        TypeError,
        "tree must be given without",
    ),
    "mask": (lambda: tfd.mst(GREY, mask=GREY[0]), TypeError, "mask must have dtype bool"),
    "markers": (
        lambda: tfd.watershed(GREY, GREY[0]),
        TypeError,
        "markers must have dtype an integer",
    ),
    "marker axes": (lambda: tfd.watershed(GREY, GREY.astype(int)), ValueError, "markers must have"),
}


@pytest.mark.parametrize("wrong", ERRORS)
def test_errors_are_raised_when_the_graph_is_built(wrong):
    call, error, message = ERRORS[wrong]
    with pytest.raises(error, match=message):
        call()
