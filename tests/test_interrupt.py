"""Ctrl-C in long native calls: seen soon, nothing left behind."""

import os
import subprocess
import sys
import textwrap

import pytest

from treefilter import _ops

pytestmark = [
    pytest.mark.skipif(_ops._C.emulated, reason="the CPU back end is not in this build"),
    pytest.mark.skipif(os.name == "nt", reason="no os.kill with SIGINT"),
]

# Measures a call, interrupts a second one early, and makes a third. On a busy machine the threads
# of a call may take all its time before the thread that interrupts it runs: so it has five chances.
PROGRAM = """
import os, signal, sys, threading, time
import torch, treefilter as tf
torch.set_num_threads({threads})
torch.manual_seed(0)

def interrupt(after):
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()

{setup}
start, begin = time.perf_counter(), time.process_time()
expected = call()
whole = time.process_time() - begin
early = (time.perf_counter() - start) / 8
shares = []
for attempt in range(5):
    interrupt(early)
    begin = time.process_time()
    try:
        call()
        time.sleep(early + 60)  # the signal is still to come
        sys.exit("not interrupted")
    except KeyboardInterrupt:
        shares.append((time.process_time() - begin) / whole)
    if shares[-1] < max(0.6, 0.3 / whole):
        break
print("interrupted after", min(shares), "of", whole)
assert all(torch.equal(a, b) for a, b in zip(expected, call()))
print("same")
"""

GRAPH = """
graph = tf.grid({side}, {side})
weight = torch.rand(1, graph.num_edges)
"""
TREE = (
    GRAPH
    + """
tree = tf.mst(weight, graph)
"""
)
CALLS = {
    "mst": (
        3072,
        GRAPH,
        "tree = tf.mst(weight, graph); return tree.parent, tree.edge, tree.order",
    ),
    "mst, float64": (
        2048,
        GRAPH + "weight = weight.double() + torch.rand_like(weight, dtype=torch.float64)",
        "tree = tf.mst(weight, graph); return tree.parent, tree.edge, tree.order",
    ),
    "mst of a list": (
        1024,
        GRAPH + "graph = tf.graph(graph.edge_index, graph.num_nodes)",
        "tree = tf.mst(weight, graph); return tree.parent, tree.edge, tree.order",
    ),
    # With two threads, the calling one takes the first graph, which has no edges, and then waits.
    "mst of two lists": (
        1024,
        GRAPH
        + "graph = tf.graph(graph.edge_index, graph.num_nodes)\n"
        + "weight = torch.cat([torch.full_like(weight, torch.inf), weight])",
        "tree = tf.mst(weight, graph); return tree.parent, tree.edge, tree.order",
    ),
    "filter": (
        1024,
        TREE + "x = torch.rand(1, 64, 1024, 1024); a = tf.affinity(weight, tree)",
        "return (tf.filter(x, tree, a),)",
    ),
    "gradient": (
        1024,
        TREE
        + "x = torch.rand(1, 32, 1024, 1024, requires_grad=True)\n"
        + "a = tf.affinity(weight, tree).requires_grad_()",
        "return torch.autograd.grad(tf.filter(x, tree, a).sum(), (x, a))",
    ),
    "distance": (
        1024,
        TREE + "source = torch.arange(24)",
        "return (tf.distance(weight, tree, source),)",
    ),
    "edge_weight": (
        1024,
        GRAPH + "guide = torch.rand(1, 128, 1024, 1024)",
        "return (tf.edge_weight(guide, graph),)",
    ),
}


@pytest.mark.parametrize(
    ("name", "threads"),
    [*((name, 1) for name in CALLS), ("mst", 2), ("filter", 2), ("mst of two lists", 2)],
)
def test_interrupt(name, threads, tmp_path):
    side, setup, body = CALLS[name]
    setup = textwrap.dedent(setup).format(side=side) + f"\ndef call():\n    {body}\n"
    program = PROGRAM.format(threads=threads, setup=setup)
    command = [sys.executable, "-c", program]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith("interrupted after"), result.stdout
    share, whole = float(first.split()[2]), float(first.split()[4])
    # In processor time, which does not depend on what else the machine does. Signals are looked
    # for every 50 ms.
    assert share < max(0.6, 0.3 / whole), first
    assert second == "same"


def test_a_handler_of_another_kind_is_called_and_the_call_goes_on(tmp_path):
    program = """
import signal, threading, os
import torch, treefilter as tf
torch.set_num_threads(1)
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
graph = tf.grid(2048, 2048)
weight = torch.rand(1, graph.num_edges)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
a = tf.mst(weight, graph).parent
while not seen: pass
assert torch.equal(a, tf.mst(weight, graph).parent)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=600)


def test_calls_of_other_threads_are_not_interrupted(tmp_path):
    program = """
import threading
import torch, treefilter as tf
graph = tf.grid(1024, 1024)
weight = torch.rand(1, graph.num_edges)
expected = tf.mst(weight, graph).parent
results = []
def run(): results.append(tf.mst(weight, graph).parent)
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(results) == 3 and all(torch.equal(r, expected) for r in results)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=600)
