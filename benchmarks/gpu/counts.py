"""What a GPU does one after the other in a step, counted without a GPU: results/gpu_counts.md.

    PYTHONPATH=build/emulated python -m gpu.counts [--results FOLDER]    `make gpu-counts`

The emulation runs the device code as the device would, so that launches, barriers and dependent
steps are counted exactly; what torch launches by itself is not. Times are left to `make gpu-check`.
"""

import argparse
import json
from pathlib import Path

import inputs
import torch
from report import RESULTS, table

import treefilter as tf
from gpu.cases import CASES, FEATURES, IMAGE, MST, STEP, Case
from gpu.floor import bytes_moved
from gpu.peak import peak
from gpu.work import Work
from treefilter._native import _C

JSON, BEFORE, PAGE = "gpu_counts.json", "gpu_counts_before.json", "gpu_counts.md"
REGISTERS = RESULTS.parents[1] / "tests" / "ptxas_budget.json"
BUDGET = 40
"""Launches of ours in a step of the tree energy loss, each a node of a captured graph."""
COLUMNS = (
    "launches", "grid barriers", "cluster barriers", "block barriers", "dependent steps",
    "in shared memory", "workspaces, MiB",
)  # fmt: skip
EARLIER_COLUMNS = (0, 1, 3)
"""Of the columns those that were counted before, too."""
TREES_ALONE = Case("1024²", 1, 1, (1024, 1024), (IMAGE,), backward=False)
COUNTED = [*((case, STEP) for case in CASES if case.drill), (TREES_ALONE, MST)]
TARGETS = {
    "TEL 128² B=4": 0.4,
    "TEL 128² B=16": 0.7,
    "1024×2048": 2.5,
    "per channel 56² B=64": 1.2,
    "1024²": 0.5,
}
"""ms, captured, on an H200."""
# What the estimate takes for granted, in µs and bytes a µs. `make gpu-check` measures all of these.
NODE, GRID, CLUSTER, BLOCK, LATENCY, SHARED, BANDWIDTH = 0.9, 1.8, 0.3, 0.022, 0.15, 0.03, 4.3e6
PHASE_LOADS = 4
"""Loads that wait for each other in a phase of a phased kernel, for each vertex of a thread."""
CLUSTER_VERTICES = 2
THREADS = {"cluster_kernel": 1024, "block_kernel<ImageKernel": 512, "phased_kernel": 256}
INTRODUCTION = f"""\
# What a step does one after the other on a GPU

Made by `make gpu-counts`, which counts in the emulation of the device code; no GPU is needed, and
nothing here is a time that was measured. *Launches* of this library are nodes of a captured
graph; a step of the tree energy loss may have {BUDGET} (a test compares). *Grid barriers* are
those of cooperative kernels, *cluster barriers* and *block barriers* those of the cluster or the
block that has most, summed over the launches. *Dependent steps* are those of loops in which each
needs what the one before it has loaded, of the thread that has most, summed over what is between
barriers; they are counted for trees and plans (climbs, searches), light children and lists of
edges, and not along pointers that threads shorten for each other, nor within a scan of the filter.
Those that load from *shared memory* are apart. *Workspaces*: memory besides the tensors that go in
and out, all launches together. In brackets: when this was first counted, in November 2026. An
audit before that found 265 nodes in the step at B=4.
"""
ESTIMATE = f"""\
## Estimate from counts, not a measurement

Nodes × {NODE} µs, grid barriers × {GRID} µs, cluster barriers × {CLUSTER} µs, block barriers ×
{BLOCK} µs, dependent steps × {LATENCY} µs (a hit in L2), those in shared memory × {SHARED} µs; for
each phase of a grid {PHASE_LOADS} waits for L2, of a cluster, where a thread has
{CLUSTER_VERTICES} vertices, {PHASE_LOADS * CLUSTER_VERTICES}; and, at {BANDWIDTH / 1e6:g} TB/s,
the bytes of all tensors, once, and of all workspaces, which are written and read once at least.
All constants are assumed. What is not in it: loads that wait for each other within the filter's
scans, torch's own kernels, caches. So a time below the target does not mean that it is reached.
"""
ONE_THREAD, PEAK = "one thread", "peak memory"
STAR = 1_000_000
SHAPE = (1024, 2048)
ONE_THREAD_TEXT = f"""\
## Work of one thread on trees that are not photographs

The dependent steps of the thread that has most between two barriers. The *star* is a vertex with
{STAR - 1:,} neighbours, the others are images of {SHAPE[0]}×{SHAPE[1]}. One channel in float32:
`edge_weight`, `filter` and `distance` with their gradients, `mst`, `distance_transform`,
`dendrogram`, `persistence`.
"""
PEAK_TEXT = """\
## Peak memory of a step of the loss

The bytes of all tensors that are alive at the same time, with the workspaces of our kernels; what
torch's own kernels need within themselves is not in it. *Must be there*: logits, image, labels,
features, and the gradients of logits and features. The target is 1.5 times that.
"""
KERNELS = """\
## Registers of trees and plans

For sm_90, by ptxas (`tests/ptxas_budget.json`); no kernel spills, none has static shared memory,
and these have 128 bytes of dynamic shared memory, with 4 bytes a vertex more where a block or a
cluster makes the plan of an image. *Blocks*: at the same time on a multiprocessor,
as registers and threads allow.
"""


def count(case: Case, stage: str = STEP) -> dict[str, list[int]]:
    """What COLUMNS says, by the name of the kernel; of workspaces the bytes."""
    work = Work(case, torch.device("cpu"))
    step = work.stage(stage)
    _C.take_counts()
    step()
    return {name: each[: len(COLUMNS)] for name, each in sorted(_C.take_counts().items())}


def one_thread() -> dict[str, dict[str, int]]:
    """By the name of the tree and of the kernel: the most steps between two barriers."""
    centre = torch.zeros(STAR - 1, dtype=torch.int64)
    star = tf.graph(torch.stack([centre, torch.arange(1, STAR)]), STAR)
    grid, generator = tf.grid(*SHAPE), torch.Generator().manual_seed(1)
    weights = {
        "star": (star, torch.rand(1, STAR - 1, generator=generator)),
        "ramp": (grid, inputs.weights("ramp", *SHAPE)),
        "constant": (grid, inputs.weights("constant", *SHAPE)),
    }
    return {name: _longest(*each) for name, each in weights.items()}


def _longest(graph: tf.Graph, weight: torch.Tensor) -> dict[str, int]:
    _C.take_counts()
    tree = tf.mst(weight, graph)
    shape = tree.shape or (tree.num_nodes,)
    x = torch.ones(1, 1, *shape, requires_grad=True)
    tf.edge_weight(x, graph).sum().backward()
    affinity = tf.affinity(weight, tree).requires_grad_()
    tf.filter(x, tree, affinity).sum().backward()
    edges = weight.clone().requires_grad_()
    far = tf.distance(edges, tree, torch.tensor([tree.num_nodes // 2]))
    far.sum().backward()
    seeds = torch.arange(tree.num_nodes).remainder(1000) == 0
    tf.distance_transform(weight, tree, seeds.reshape(1, *shape))
    tf.dendrogram(weight, tree)
    tf.persistence(torch.arange(1.0 * tree.num_nodes).reshape(1, *shape), graph)
    return {name: each[len(COLUMNS)] for name, each in sorted(_C.take_counts().items())}


def totals(kernels: dict[str, list[int]]) -> list[int]:
    return [sum(column) for column in zip(*kernels.values(), strict=True)]


def title(case: Case, stage: str) -> str:
    return case.title if stage == STEP else f"{case.title}; {stage} alone"


def estimate(case: Case, stage: str, counts: list[int]) -> float:
    """ms."""
    launches, grid, cluster, block, steps, shared, workspaces = counts
    waits = PHASE_LOADS * (grid + CLUSTER_VERTICES * cluster) + steps
    moved = (bytes_moved(case, stage) + 2 * workspaces) / BANDWIDTH
    fixed = launches * NODE + grid * GRID + cluster * CLUSTER + block * BLOCK
    return (fixed + waits * LATENCY + shared * SHARED + moved) / 1e3


def page(counts: dict[str, dict], before: dict[str, dict[str, list[int]]]) -> str:
    parts, estimates = [INTRODUCTION], []
    for case, stage in COUNTED:
        name = title(case, stage)
        kernels, earlier = counts[name], before.get(name, {})
        rows = [_row(kernel, each, earlier.get(kernel)) for kernel, each in kernels.items()]
        rows.append(_row("all", totals(kernels), totals(earlier) if earlier else None, "**"))
        parts.append(f"## {name}\n\n" + table(["kernel", *COLUMNS], rows))
        target = f"{TARGETS[case.name]:g}" if case.name in TARGETS else "–"
        mebibytes = f"{(bytes_moved(case, stage) + 2 * totals(kernels)[-1]) / 2**20:.0f}"
        time = f"{estimate(case, stage, totals(kernels)):.2f}"
        estimates.append([name, mebibytes, time, target])
    head = ["case", "MiB moved", "estimate, ms", "target, ms"]
    parts.append(ESTIMATE + "\n" + table(head, estimates))
    parts.append(PEAK_TEXT + "\n" + _peak_table(counts[PEAK]))
    parts.append(ONE_THREAD_TEXT + "\n" + _one_thread_table(counts[ONE_THREAD]))
    parts.append(KERNELS + "\n" + table(["kernel", "threads", "registers", "blocks"], registers()))
    return "\n".join(parts)


def _row(name: str, now: list[int], before: list[int] | None, mark: str = "") -> list[str]:
    cells = [*map(str, now[:-1]), f"{now[-1] / 2**20:.0f}"]
    for value, column in zip(before or [], EARLIER_COLUMNS, strict=False):
        cells[column] += f" ({value})" if value != now[column] else ""
    return [f"{mark}{cell}{mark}" for cell in (name, *cells)]


def _one_thread_table(trees: dict[str, dict[str, int]]) -> str:
    kernels = sorted({name for each in trees.values() for name, most in each.items() if most})
    rows = [[name, *(str(each.get(name, 0)) for each in trees.values())] for name in kernels]
    return table(["kernel", *trees], rows)


def _peak_table(peaks: dict[str, list[int]]) -> str:
    rows = [
        [name, f"{needed / 2**20:.0f}", f"{most / 2**20:.0f}", f"{most / needed:.2f}"]
        for name, (needed, most) in peaks.items()
    ]
    return table(["case", "must be there, MiB", "peak, MiB", "ratio"], rows)


def registers() -> list[list[str]]:
    """Kernels of whole images: threads, registers, and blocks of a multiprocessor."""
    rows = []
    for name, types in json.loads(REGISTERS.read_text(encoding="utf-8")).items():
        threads = next((n for begin, n in THREADS.items() if name.startswith(begin)), None)
        if threads is None or not ("Boruvka" in name or "RootAndOrder" in name):
            continue
        most = max(types.values())
        blocks = min(2048 // threads, 65536 // (threads * -(-most // 8) * 8))
        rows.append([f"`{name}`", str(threads), str(most), str(blocks)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    counts = {title(case, stage): count(case, stage) for case, stage in COUNTED}
    counts[ONE_THREAD] = one_thread()
    losses = [case for case, _ in COUNTED if FEATURES in case.guides and not case.per_channel]
    counts[PEAK] = {case.name: list(peak(case)) for case in losses}
    before = json.loads((RESULTS / BEFORE).read_text(encoding="utf-8"))
    (folder / JSON).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(page(counts, before), encoding="utf-8")


if __name__ == "__main__":
    main()
