"""Dask arrays: the bits of any scheduler and after a killed worker, reads, errors, what is lazy."""

import os
import re
import signal
import threading
import weakref

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


@pytest.mark.parametrize("call", [tfd.filter, tfd.sigma_for_mass, lambda g: tfd.mst(g).edges])
def test_the_same_call_has_the_same_keys(call):
    first, second = (call(chunked(PHOTO)).__dask_graph__().to_dict() for _ in range(2))
    assert first.keys() == second.keys()


def test_sigma_of_a_mass():
    guide, x = chunked(PHOTO), chunked(PHOTO)
    for groups in (1, 3):
        layer = tf.nn.TreeFilter2d("auto", mass=0.02, groups=groups)
        one = layer(torch.from_numpy(PHOTO)[None])[0].numpy()
        y = tfd.filter(x, sigma="auto", mass=0.02, groups=groups)
        sigma = tfd.sigma_for_mass(guide, 0.02, groups=groups)
        assert (sigma.shape, sigma.dtype) == ((3,) if groups > 1 else (), np.float32)
        same = tfd.filter(x, sigma=sigma, groups=groups)
        y, same = da.compute(y, same, scheduler="threads")
        np.testing.assert_array_equal(y, same)
        np.testing.assert_allclose(y, one, rtol=0, atol=2e-6)


def test_sigma_of_a_mass_counts_what_is_not_masked():
    mask = np.random.default_rng(2).random(PHOTO.shape[1:]) < 0.9
    tree = tfd.mst(chunked(PHOTO), metric="euclidean", connectivity=8, mask=chunked(mask))
    graph = tf.grid(48, 45, connectivity=8)
    weight = tf.edge_weight(torch.from_numpy(PHOTO)[None], graph, "euclidean")
    inside = torch.from_numpy(mask).flatten()[None]
    weight[:, ~inside[0][graph.edge_index].all(0)] = torch.inf
    expected = tf.sigma_for_mass(weight, tf.mst(weight, graph), 0.1, counted=inside)
    sigma = tfd.sigma_for_mass(tree=tree, mass=0.1).compute(scheduler="threads")
    assert sigma == expected.numpy()


def test_sixteen_bits_are_those_of_one_piece():
    half = PHOTO.astype(np.float16)
    y = tfd.filter(chunked(half), sigma=0.02).compute(scheduler="threads")
    one = tf.nn.TreeFilter2d(0.02)(torch.from_numpy(half)[None])[0].numpy()
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, one, rtol=0, atol=2**-11)


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


@pytest.mark.parametrize(("sigma", "reads"), [(0.02, 2), ("auto", 18)])
def test_each_chunk_is_read_twice(tmp_path, sigma, reads):
    guide = chunked(PHOTO).map_blocks(counted, tmp_path, meta=np.empty((0, 0, 0), np.float32))
    y = tfd.filter(chunked(PHOTO), guide, sigma=sigma)
    assert list(tmp_path.iterdir()) == []  # nothing is computed yet
    y.compute(scheduler="threads")
    assert [log.read_text() for log in tmp_path.iterdir()] == ["read\n" * reads] * 9


@pytest.mark.parametrize("call", ["filter", "auto", "watershed", "edges"])
def test_few_chunks_are_in_memory_at_a_time(call):
    alive, most = set(), []

    def seen(block):
        value = np.array(block)
        alive.add(id(value))
        weakref.finalize(value, alive.discard, id(value))
        most.append(len(alive))
        return value

    chunks = (3, 12, 15)  # 12 of them
    guide = chunked(PHOTO, chunks).map_blocks(seen, meta=np.empty((0, 0, 0), np.float32))
    result = {
        "filter": lambda: tfd.filter(guide, sigma=0.02),
        "auto": lambda: tfd.filter(guide, sigma="auto"),
        "watershed": lambda: tfd.watershed(guide, chunked(markers(), chunks)),
        "edges": lambda: tfd.mst(guide).edges,
    }[call]()
    result.store(np.empty(result.shape, result.dtype), scheduler="sync")
    assert len(most) >= 24
    assert max(most) <= 2


def test_bits_depend_on_no_scheduler_and_survive_a_killed_worker(client, tmp_path):
    guide = chunked(PHOTO).map_blocks(
        counted, tmp_path, dies=True, meta=np.empty((0, 0, 0), np.float32)
    )
    x = chunked(np.random.default_rng(3).standard_normal((2, *PHOTO.shape[1:])), (2, *CHUNKS[1:]))
    before = set(client.scheduler_info()["workers"])
    results = [tfd.filter(x, guide, sigma=0.02).compute()]  # in processes, of which one is killed
    reads = [log.read_text().count("\n") for log in tmp_path.iterdir()]
    assert len(reads) == 9
    assert min(reads) >= 2
    assert sum(reads) > 18
    y = tfd.filter(x, chunked(PHOTO), sigma=0.02)
    survivor = before & set(client.scheduler_info()["workers"])
    assert len(survivor) == 1
    results += [y.compute(workers=list(survivor)), y.compute()]
    client.cluster.scale(4)
    client.wait_for_workers(4)
    results.append(y.compute())
    results += [y.compute(scheduler="threads", num_workers=count) for count in (1, 2, 4)]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_a_broken_chunk_is_the_engines_error(client, tmp_path):
    zarr = pytest.importorskip("zarr", "3")
    chunks = (3, 24, 20)
    zarr.create_array(tmp_path / "guide", data=PHOTO, chunks=chunks)
    file = tmp_path / "guide" / "c" / "0" / "1" / "2"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RuntimeError, match="decompression error"):
        tfd.filter(da.from_zarr(tmp_path / "guide")).compute()
    logs = str(client.get_worker_logs())
    assert re.search(r"Compute Failed\\nKey: +\(\\?'from-zarr-\w+\\?', 0, 1, 2\)", logs), logs


def test_nan_is_an_error_with_its_place():
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
    "empty": (lambda: tfd.mst(GREY[:, :0]), ValueError, "^mst: chunks must be at least 1 wide"),
    "large": (
        lambda: tfd.mst(da.zeros((1, 50_000, 50_000), chunks=-1, dtype=np.float32)),
        ValueError,
        "^mst: ",
    ),
    "masked": (
        lambda: tfd.mst(da.ma.masked_greater(GREY, 1)),
        TypeError,
        "chunks that are NumPy arrays, got MaskedArray",
    ),
    "no guide": (lambda: tfd.sigma_for_mass(), TypeError, "guide must be a dask array, or there"),
    "mass": (lambda: tfd.filter(GREY, sigma=0.1, mass=0.1), ValueError, "mass must be None"),
    "no mass": (
        lambda: tfd.sigma_for_mass(GREY, 0),
        ValueError,
        r"mass must be in \(0, 1\], got 0",
    ),
    "auto": (lambda: tfd.filter(GREY, sigma="all"), ValueError, "sigma must be one of auto"),
    "lazy sigma": (
        lambda: tfd.filter(GREY, sigma=da.ones(2)),
        ValueError,
        r"sigma must have shape \(\) or \(1,\), got \(2,\)",
    ),
    "other metric": (
        lambda: tfd.filter(GREY, tree=tfd.mst(GREY), metric="cosine"),
        ValueError,
        "metric must be that of the tree, sqeuclidean, got 'cosine'",
    ),
    "connectivity": (
        lambda: tfd.mst(GREY, connectivity=6),
        ValueError,
        "^mst: connectivity must be 4 or",
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
