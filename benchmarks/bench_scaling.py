"""How the times depend on image size, channels, threads and batch size."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import inputs
import pytest
import torch
import verify
from race import OURS, Record

import treefilter as tf

full = pytest.mark.full
MIDDLE, LARGE = (512, 512), (1024, 2048)
THREADS = [n for n in (2, 4, 8, 16, 32, 64) if n <= (os.cpu_count() or 1)]


@full
def test_64_megapixels(race, device):
    """Sizes at which scipy's graph would not fit into memory; smaller ones are in bench_mst.py."""
    size = 8192
    weight, graph = inputs.weights("photograph", size, size), tf.grid(size, size)
    on_device = weight.to(device)

    def check(results: dict) -> None:
        verify.weight_of_forests(weight, graph, verify.edges_of(results[OURS], graph.edge_index))

    record = Record("mst", "photograph", f"{size}x{size}", size * size, device.type)
    race(record, {OURS: lambda: tf.mst(on_device, graph)}, check)


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16, 32, 64, 128, pytest.param(256, marks=full)])
def test_channels(race, device, channels):
    weight = inputs.weights("photograph", *MIDDLE).to(device)
    tree = tf.mst(weight, tf.grid(*MIDDLE))
    a = tf.affinity(weight, tree, inputs.SIGMA)
    x = inputs.features(1, channels, *MIDDLE).to(device)
    last = x.contiguous(memory_format=torch.channels_last)
    target = torch.empty_like(x)
    calls = {
        OURS: lambda: tf.filter(x, tree, a),
        "treefilter, channels last": lambda: tf.filter(last, tree, a),
        "memcpy": lambda: target.copy_(x),
    }

    def check(results: dict) -> None:
        verify.filtered(results[OURS], x, tree, a)
        verify.filtered(results["treefilter, channels last"], x, tree, a)

    items = math.prod(MIDDLE) * channels
    race(Record("scaling, channels", f"C={channels}", "512x512", items, device.type), calls, check)


def threaded(call: Callable, threads: int) -> Callable:
    def run() -> object:
        torch.set_num_threads(threads)
        try:
            return call()
        finally:
            torch.set_num_threads(1)

    return run


def mst_of(shape: tuple[int, ...]) -> Callable:
    batch = shape[0] if len(shape) == 3 else 1
    weight, graph = inputs.weights("photograph", *shape[-2:], batch), tf.grid(*shape[-2:])
    return lambda: tf.mst(weight, graph).parent


def filter_of(channels: int) -> Callable:
    weight = inputs.weights("photograph", *MIDDLE)
    tree = tf.mst(weight, tf.grid(*MIDDLE))
    a, x = tf.affinity(weight, tree, inputs.SIGMA), inputs.features(1, channels, *MIDDLE)
    return lambda: tf.filter(x, tree, a)


THREADED = {
    "mst 1024x2048": lambda: mst_of(LARGE),
    "mst 16x128x128": lambda: mst_of((16, 128, 128)),
    "filter C=32 512x512": lambda: filter_of(32),
    "filter C=64 512x512": lambda: filter_of(64),
}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("what", THREADED)
def test_threads(race, what, threads):
    """Beside each, arithmetic that fits the caches: it shows how many cores are really free."""
    call = THREADED[what]()
    values = torch.rand(2**18, generator=inputs.generator("features"))
    target = torch.empty_like(values)
    arithmetic = lambda: torch.lgamma(values, out=target)  # noqa: E731
    calls = {
        OURS: threaded(call, threads),
        "treefilter, 1 thread": threaded(call, 1),
        "arithmetic": threaded(arithmetic, threads),
        "arithmetic, 1 thread": threaded(arithmetic, 1),
    }

    def check(results: dict) -> None:
        assert torch.equal(results[OURS], results["treefilter, 1 thread"])

    race(Record("scaling, threads", what, f"{threads} threads", 1, "cpu", threads), calls, check)


def edge_weight_of(channels: int) -> Callable:
    x, graph = inputs.features(4, channels, 128, 128), tf.grid(128, 128)
    return lambda: tf.edge_weight(x, graph)


def affinity_of(shape: tuple[int, int]) -> Callable:
    weight = inputs.weights("photograph", *shape)
    tree = tf.mst(weight, tf.grid(*shape))
    return lambda: tf.affinity(weight, tree, inputs.SIGMA)


BESIDE_LOAD = {
    **THREADED,
    "edge_weight 4x256x128x128": lambda: edge_weight_of(256),
    "affinity 1024x2048": lambda: affinity_of(LARGE),
}


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that computes all the time."""
    load = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        load.kill()
        load.wait()


@pytest.mark.parametrize("what", BESIDE_LOAD)
def test_beside_a_busy_core(race, what):
    """A thread for every core, one of which another process keeps busy, beside a single thread."""
    threads = os.cpu_count() or 1
    if threads < 2:
        pytest.skip("this machine has one core")
    call = BESIDE_LOAD[what]()
    calls = {OURS: threaded(call, threads), "treefilter, 1 thread": threaded(call, 1)}

    def check(results: dict) -> None:
        assert torch.equal(results[OURS], results["treefilter, 1 thread"])

    with busy_core():
        race(
            Record("scaling, busy core", what, f"{threads} threads", 1, "cpu", threads),
            calls,
            check,
        )


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16, pytest.param(64, marks=full)])
def test_batch(race, device, batch):
    """The same images as one batch and one by one."""
    weight, graph = inputs.weights("photograph", 128, 128, 16), tf.grid(128, 128)
    weight = weight.repeat(-(-batch // 16), 1)[:batch]
    on_device = weight.to(device)
    alone = on_device.split(1)
    calls = {
        OURS: lambda: tf.mst(on_device, graph),
        "treefilter, one by one": lambda: [tf.mst(w, graph) for w in alone],
    }

    def check(results: dict) -> None:
        for i, tree in enumerate(results["treefilter, one by one"]):
            assert torch.equal(tree.parent[0], results[OURS].parent[i])
        verify.minimum(weight, graph, verify.edges_of(results[OURS], graph.edge_index), {})

    record = Record(
        "scaling, batch", "photographs", f"{batch}x128x128", batch * graph.num_nodes, device.type
    )
    race(record, calls, check)
