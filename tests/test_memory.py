"""Peak memory of large problems, each in a process of its own."""

import subprocess
import sys

import pytest

MEASURE = """
import re, torch
import treefilter as tf

on_gpu = "{device}" == "cuda"
torch.set_default_device("{device}")

def peak():
    if on_gpu:
        return torch.cuda.max_memory_allocated()
    # Not getrusage: its peak is inherited from the process that started this one.
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024

torch.set_num_threads(2)
tf.mst(torch.zeros(1, tf.grid(9, 9).num_edges), tf.grid(9, 9))  # what loading costs, once
{prepare}
if on_gpu:
    torch.cuda.reset_peak_memory_stats()  # to what there is now
before = peak()
{run}
print((peak() - before) / {size})
"""

CASES = {
    # At most so many bytes a pixel above the input: the tree's 12, on CUDA its plan's 16, and the
    # workspace.
    "mst 4096x4096, random": (
        "graph = tf.grid(4096, 4096)\nweight = torch.rand(1, graph.num_edges)",
        "tree = tf.mst(weight, graph)",
        "graph.num_nodes",
        {"cpu": 80, "cuda": 110},
    ),
    "mst 4096x4096, constant": (
        "graph = tf.grid(4096, 4096)\nweight = torch.zeros(1, graph.num_edges)",
        "tree = tf.mst(weight, graph)",
        "graph.num_nodes",
        {"cpu": 80, "cuda": 110},
    ),
    # A path of 16 million vertices: neither recursion nor quadratic time.
    "mst and distance on a path of 2**24 vertices": (
        "graph = tf.grid(1, 2**24)\nweight = torch.rand(1, graph.num_edges)",
        "tree = tf.mst(weight, graph)\n"
        "far = tf.distance(weight, tree, torch.tensor([0]))[0, 0, -1]\n"
        "torch.testing.assert_close(far, weight.double().sum().float(), rtol=1e-3, atol=0)",
        "graph.num_nodes",
        {"cpu": 80, "cuda": 110},
    ),
    # The result's 12 bytes and 40 more; on CUDA torch sorts numbers of 8 bytes.
    "dendrogram 1024x2048, random": (
        "graph = tf.grid(1024, 2048)\nweight = torch.rand(1, graph.num_edges)\n"
        "tree = tf.mst(weight, graph)",
        "h = tf.dendrogram(weight, tree)",
        "graph.num_nodes",
        {"cpu": 52, "cuda": 200},
    ),
    # Bytes per (B, C, N) value: the gradient's 4, and nothing else that has channels.
    "edge_weight 256x512x512, forward and backward": (
        "guide = torch.rand(1, 256, 512, 512, requires_grad=True)\ngraph = tf.grid(512, 512)",
        "tf.edge_weight(guide, graph).sum().backward()",
        "guide.numel()",
        {"cpu": 4.5, "cuda": 4.5},
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", CASES)
def test_peak_memory(device, name, tmp_path):
    prepare, run, size, limits = CASES[name]
    script = MEASURE.format(device=device.type, prepare=prepare, run=run, size=size)
    command = [sys.executable, "-c", script]
    result = subprocess.run(  # in another folder, because here the source folder would be imported
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert 0 < float(result.stdout) <= limits[device.type]
    print(f"{name}: {result.stdout.strip()} bytes")


STEADY = """
import ctypes, itertools, resource, statistics, torch
import treefilter as tf

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: all pages are equally large
torch.set_num_threads(1)
graph = tf.grid(512, 512)
weight, x = torch.rand(1, graph.num_edges), torch.rand(1, 16, 512, 512)
tree = tf.mst(weight, graph)
a = tf.affinity(weight, tree)


def faults(run):
    counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(13):
        run()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return statistics.median(b - a for a, b in itertools.pairwise(counts[2:]))


print(faults(lambda: tf.mst(weight, graph)), faults(lambda: tf.filter(x, tree, a)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_workspaces_are_kept(tmp_path):
    """The workspaces of these calls have thousands of pages: after some calls they are not new.

    torch may take outputs from the system in every call. Here on the CPU; on CUDA torch keeps
    workspaces, too (test_cuda.py).
    """
    result = subprocess.run(
        [sys.executable, "-c", STEADY], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    mst, filtered = map(float, result.stdout.split())
    channel = 4 * 512 * 512 / 4096  # its pages
    assert mst < 3 * channel + 500
    assert filtered < 16 * channel + 500
