"""The builds of the native module: which one is chosen, and that all give the same bits.

Run as a script, it prints a digest of every result in ``results()``: with one build in a process.
With the name of a file of such digests, it compares them.
"""

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from strategies import normal, photograph, uniform

import treefilter as tf
from treefilter import _native
from treefilter.edge_weight import METRICS

VARIANTS = [name for name in _native.runnable() if name in _native.built()]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPE = (51, 67)  # no multiple of any vector's length


def edge_weights():
    guides = {
        "photograph": (photograph(*SHAPE), tf.grid(*SHAPE)),
        "21 channels": (normal(1, 2, 21, 19, 23), tf.grid(19, 23, connectivity=8)),
        "volume": (normal(2, 1, 5, 7, 9, 11), tf.grid(7, 9, 11, connectivity=26)),
        "edge list": (normal(3, 2, 6, 300), edge_list()),
    }
    for name, (guide, graph) in guides.items():
        for metric in METRICS:
            for dtype in DTYPES:
                f = guide.to(dtype).requires_grad_()
                w = tf.edge_weight(f, graph, metric)
                (gradient,) = torch.autograd.grad(w, f, normal(4, *w.shape).to(w.dtype))
                yield f"edge_weight {metric} {name} {dtype}", (w, gradient)


def edge_list(num_nodes=300, num_edges=1500):
    ends = torch.randint(num_nodes, (2, num_edges), generator=torch.Generator().manual_seed(5))
    return tf.graph(ends, num_nodes)


def weights():
    """Of each kind: its name, graph and float64 weights."""
    graph = tf.grid(*SHAPE)
    yield "photograph", graph, tf.edge_weight(photograph(*SHAPE).double(), graph)
    large = tf.grid(300, 400)  # several tiles
    yield "random", large, normal(6, 1, large.num_edges)
    yield "ties", graph, uniform(7, 2, graph.num_edges, high=4).floor()
    forest = uniform(8, 2, graph.num_edges)
    yield "forest", graph, forest.masked_fill(forest > 0.6, torch.inf)
    eight = tf.grid(*SHAPE, connectivity=8)
    yield "8 neighbours", eight, uniform(9, 1, eight.num_edges)
    volume = tf.grid(11, 13, 17, connectivity=26)
    yield "volume", volume, uniform(10, 1, volume.num_edges)
    yield "edge list", edge_list(), uniform(11, 2, edge_list().num_edges)


def trees():
    for name, graph, weight in weights():
        tree = tf.mst(weight.float(), graph, root=graph.num_nodes // 2)
        yield f"mst {name}", (tree.parent, tree.edge, tree.order)
        yield f"order {name}", (tf.Tree.from_parents(tree.parent).order,)


PASSES = {
    "mean": tf.filter,
    "sum": lambda x, tree, a: tf.filter(x, tree, a, normalize=False),
    "leaf_to_root": tf.leaf_to_root,
    "root_to_leaf": tf.root_to_leaf,
}


GROUPS = {1: (1,), 3: (1, 3), 21: (1, 7, 21), 40: (1, 8, 40)}  # of channels: numbers of groups


def filters():
    for name, graph, weight in weights():
        if name not in ("photograph", "forest"):
            continue
        tree = tf.mst(weight, graph)
        for channels, numbers in GROUPS.items():
            for groups in numbers:
                x = normal(12, len(tree), channels, *SHAPE)
                sigma = uniform(13, groups, low=0.01, high=0.5)
                expanded = weight[:, None].expand(-1, groups, -1)
                a = tf.affinity(expanded, tree, sigma.expand(len(tree), groups))
                yield f"affinity {name} C={channels} G={groups}", (a,)
                for kind, result in filtered(x, tree, a):
                    yield f"filter {name} C={channels} G={groups} {kind}", result


def filtered(x, tree, affinity):
    """All passes, dtypes and layouts: the result and both gradients."""
    for dtype in DTYPES:
        for layout in (torch.contiguous_format, torch.channels_last):
            leaf = x.to(dtype, memory_format=layout).requires_grad_()
            a = affinity.to(torch.float64 if dtype == torch.float64 else torch.float32)
            a = a.detach().requires_grad_()
            for name, function in PASSES.items():
                y = function(leaf, tree, a)
                gradients = torch.autograd.grad(y.double().square().sum(), (leaf, a))
                yield f"{name} {dtype} {layout}", (y, *gradients)


def distances():
    for name, graph, weight in weights():
        tree = tf.mst(weight, graph)
        seeds = uniform(14, len(tree), graph.num_nodes) > 0.99
        for path in ("sum", "max"):
            for dtype in (torch.float32, torch.float64):
                w = weight.abs().to(dtype).requires_grad_()
                d = tf.distance(w, tree, torch.tensor([0, 7]), path=path)
                t, nearest = tf.distance_transform(w, tree, seeds, path=path)
                total = d[d.isfinite()].square().sum() + t[t.isfinite()].square().sum()
                result = (d, t, nearest, *torch.autograd.grad(total, w))
                yield f"distance {name} {path} {dtype}", result


def hierarchies():
    for name, graph, weight in weights():
        tree = tf.mst(weight, graph)
        h = tf.dendrogram(weight, tree)
        markers = (uniform(14, len(tree), graph.num_nodes) * 100).long() // 99
        labels = tf.watershed(weight, tree, markers)
        pairs = tf.malis_pairs(h, labels + 1)
        values = normal(15, len(tree), graph.num_nodes)
        a = uniform(16, len(tree), graph.num_nodes).requires_grad_()
        y = tf.filter(values[:, None], tree, a, path="min")
        (grad,) = torch.autograd.grad(y.square().sum(), a)
        yield f"hierarchies {name}", (h.parent, h.edge, labels, *pairs, y, grad)
        yield f"persistence {name}", tf.persistence(values, graph)


def second_derivatives():
    graph = tf.grid(19, 23)
    for dtype in (torch.float32, torch.float64):
        guide = normal(15, 2, 5, 19, 23, dtype=dtype).requires_grad_()
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight, graph)
        y = tf.filter(guide, tree, tf.affinity(weight, tree, sigma=9.0))
        d = tf.distance(weight, tree, torch.tensor([0, 99]))
        (first,) = torch.autograd.grad(y.sin().sum() + d.sin().sum(), guide, create_graph=True)
        yield f"second derivative {dtype}", torch.autograd.grad(first.sin().sum(), guide)


def results():
    for stage in (edge_weights, trees, filters, distances, hierarchies, second_derivatives):
        yield from stage()


def digest(tensors):
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


# --- the tests ------------------------------------------------------------------------------------


def run(*arguments, **variables):
    """Python with these environment variables; None: without."""
    environment = {"TREEFILTER_INSTRUCTION_SET": None, "ATEN_CPU_CAPABILITY": None, **variables}
    environment = {**os.environ, **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, *arguments]
    folder = Path(__file__).parent  # not the source folder, whose package has no native module
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder
    )


@functools.cache
def digests(variant):
    done = run(__file__, TREEFILTER_INSTRUCTION_SET=variant)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("from") == [variant, tf.__file__]
    assert len(found) > 600
    return found


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_same_bits(variant):
    baseline, other = digests("baseline"), digests(variant)
    assert other.keys() == baseline.keys()
    assert [name for name in baseline if other[name] != baseline[name]] == []


CHOSEN = "from treefilter._native import _C; print(_C.instruction_set)"


def flags():
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_default_is_what_the_processor_offers():
    can = platform.machine() == "x86_64" and {"avx2", "fma"} <= flags()
    expected = "avx2" if can and "avx2" in _native.built() else "baseline"
    assert run("-c", CHOSEN).stdout.split() == [expected]
    assert run("-c", CHOSEN, TREEFILTER_INSTRUCTION_SET="").stdout.split() == [expected]


@pytest.mark.parametrize("variant", VARIANTS)
def test_forced(variant):
    assert run("-c", CHOSEN, TREEFILTER_INSTRUCTION_SET=variant).stdout.split() == [variant]


def test_torch_may_be_told_to_see_less():
    assert run("-c", CHOSEN, ATEN_CPU_CAPABILITY="default").stdout.split() == ["baseline"]


def test_unknown():
    done = run("-c", "import treefilter", TREEFILTER_INSTRUCTION_SET="sse9")
    assert done.returncode != 0
    expected = f"TREEFILTER_INSTRUCTION_SET must be {' or '.join(VARIANTS)}, got 'sse9' (built: "
    assert f"ImportError: treefilter: {expected}" in done.stderr


@pytest.mark.parametrize(
    ("capability", "built", "message"),
    [
        ("DEFAULT", ["baseline", "avx2"], r"built: baseline, avx2; this .* run: baseline\)"),
        ("AVX512", ["baseline"], r"built: baseline; this processor can run: baseline, avx2\)"),
    ],
)
def test_not_here(monkeypatch, capability, built, message):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(_native, "built", lambda: built)
    monkeypatch.delenv("TREEFILTER_INSTRUCTION_SET", raising=False)
    assert _native._chosen() == "treefilter._C"
    monkeypatch.setenv("TREEFILTER_INSTRUCTION_SET", "avx2")
    with pytest.raises(ImportError, match=r"must be baseline, got 'avx2' .*" + message):
        _native._chosen()
    monkeypatch.setenv("TREEFILTER_INSTRUCTION_SET", "baseline")
    assert _native._chosen() == "treefilter._C"


def test_torch_that_does_not_know(monkeypatch):
    monkeypatch.delattr(torch.backends.cpu, "get_cpu_capability")
    assert _native.runnable() == ["baseline"]


def test_big_endian_processors_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(ImportError, match="must be little-endian, got a big-endian one"):
        _native._chosen()


if __name__ == "__main__":
    torch.set_num_threads(1)
    origin = [_native._C.instruction_set, tf.__file__]
    found = {name: digest(result) for name, result in results()}
    if len(sys.argv) > 1:  # what another build has printed
        expected = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        print(*origin, "compared with", *expected.pop("from"))
        differ = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
        sys.exit("\n".join(["other bits:", *sorted(differ)]) if differ else 0)
    print(json.dumps({"from": origin, **found}))
